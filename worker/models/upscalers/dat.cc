// DAT: blocks that attend over places, in two shapes of windows, and over channels, in turn. Source: spec
// extras.md 5.2.
#include <array>

#include "worker/models/network.h"
#include "worker/models/upscalers/parts.h"

namespace atelier::models::dat {
namespace {

using engine::Cast;
using engine::Conv2d;
using engine::LayerBuilder;
using engine::Linear;
using engine::WeightSource;

at::Tensor ToImage(const at::Tensor& map) { return map.permute({0, 3, 1, 2}); }
at::Tensor ToMap(const at::Tensor& image) { return image.permute({0, 2, 3, 1}); }

// fc2(h1 conv(norm(h2))) of the halves of GELU(fc1 x).
struct FeedForward {
  Linear fc1, fc2;
  engine::LayerNorm norm;
  DepthwiseConv conv;
  at::Tensor operator()(const at::Tensor& x) const {
    const at::Tensor h = at::gelu(fc1(x));
    const int64_t half = h.size(3) / 2;
    const at::Tensor gate = ToMap(conv(ToImage(norm(h.narrow(3, half, half)))));
    return fc2(h.narrow(3, 0, half) * gate);
  }
};

// The bias of each pair of tokens, computed from their offset.
struct PositionBias {
  Linear in;
  std::array<engine::LayerNorm, 3> norm;
  std::array<Linear, 3> layer;
  at::Tensor operator()(Extent window, const at::TensorOptions& options) const {
    const at::Tensor dy = at::arange(1 - window.h, window.h, options), dx = at::arange(1 - window.w, window.w, options);
    const at::Tensor pairs = at::stack({dy.repeat_interleave(dx.size(0)), dx.repeat({dy.size(0)})}, 1);
    at::Tensor p = in(pairs);
    for (size_t i = 0; i < 3; ++i) p = layer[i](at::relu(norm[i](p)));
    return SpreadBias(p, RelativeIndex(window));
  }
};

struct Attention {
  bool spatial = false, shifted = false;
  Linear qkv, proj;
  std::array<PositionBias, 2> position;  // spatial
  engine::Param temperature;             // over channels
  int64_t heads = 1;
  Extent split;
  DepthwiseConv conv;
  BatchNorm conv_norm, channel_norm, spatial_norm;
  Conv2d channel_in, channel_out, spatial_in, spatial_out;

  at::Tensor ChannelMap(const at::Tensor& image) const {
    return at::sigmoid(channel_out(at::gelu(channel_norm(channel_in(image.mean({2, 3}, true))))));
  }
  at::Tensor SpatialMap(const at::Tensor& image) const {
    return at::sigmoid(spatial_out(at::gelu(spatial_norm(spatial_in(image)))));
  }

  at::Tensor operator()(const at::Tensor& x) const {
    const int64_t c = x.size(3);
    const at::Tensor all = qkv(x);
    const at::Tensor local = at::gelu(conv_norm(conv(ToImage(all.narrow(3, 2 * c, c)))));
    const at::Tensor attended = ToImage(spatial ? OverPlaces(all) : OverChannels(all));
    const at::Tensor sum = spatial ? attended * ChannelMap(local) + local * SpatialMap(attended)
                                   : attended * SpatialMap(local) + local * ChannelMap(attended);
    return proj(ToMap(sum));
  }

  // Two halves of the channels, in windows of split.h x split.w and split.w x split.h.
  at::Tensor OverPlaces(const at::Tensor& all) const {
    const int64_t h = all.size(1), w = all.size(2), c = all.size(3) / 3, half = c / 2;
    const int64_t multiple = std::max(split.h, split.w);
    const auto missing = [multiple](int64_t n) { return (multiple - n % multiple) % multiple; };
    const at::Tensor padded = at::constant_pad_nd(all, {0, 0, 0, missing(w), 0, missing(h)});
    const Extent map{padded.size(1), padded.size(2)};
    std::array<at::Tensor, 2> halves;
    for (size_t i = 0; i < 2; ++i) {
      const Extent window = i == 0 ? split : Extent{split.w, split.h};
      const Extent shift = shifted ? Extent{window.h / 2, window.w / 2} : Extent{0, 0};
      const auto part = [&](int64_t which) {
        const at::Tensor p = padded.narrow(3, which * c + static_cast<int64_t>(i) * half, half);
        return ToWindows(shifted ? at::roll(p, {-shift.h, -shift.w}, {1, 2}) : p, window);
      };
      const at::Tensor mask = shifted ? ShiftMask(map, window, shift, all.device()) : at::Tensor();
      const at::Tensor y = FromWindows(
          AttendWindows(part(0), part(1), part(2), heads / 2, position[i](window, all.options()), mask), window, map);
      halves[i] = (shifted ? at::roll(y, {shift.h, shift.w}, {1, 2}) : y).narrow(1, 0, h).narrow(2, 0, w);
    }
    return at::cat({halves[0], halves[1]}, 3);
  }

  at::Tensor OverChannels(const at::Tensor& all) const {
    const int64_t b = all.size(0), n = all.size(1) * all.size(2), c = all.size(3) / 3;
    const auto part = [&](int64_t which) {
      return all.narrow(3, which * c, c).reshape({b, n, heads, c / heads}).permute({0, 2, 3, 1});
    };
    const auto unit = [](const at::Tensor& t) { return t / t.norm(2, -1, true).clamp_min(1e-12); };
    const at::Tensor scores = at::matmul(unit(part(0)), unit(part(1)).transpose(-2, -1));
    const at::Tensor weights = at::softmax(scores * Cast(temperature, all.scalar_type()), -1);
    return at::matmul(weights, part(2)).permute({0, 3, 1, 2}).reshape({b, all.size(1), all.size(2), c});
  }
};

struct Block {
  engine::LayerNorm norm1, norm2;
  Attention attention;
  FeedForward feed;
};

class Dat final : public engine::UpscaleNetwork {
 public:
  explicit Dat(engine::Engine& engine) : params_(engine.device(), engine::Part::kUpscaler, engine.residency()) {}

  Status Build(const WeightSource& w) {
    LayerBuilder b(w, params_);
    const int64_t in = w.Dim("conv_first.weight", 1), c = w.Dim("conv_first.weight", 0);
    if (in != 3) b.Fail(Cat("an upscale model for ", in, " channels, expected 3"));
    const at::Tensor offsets = w.Find("layers.0.blocks.0.attn.attns.0.rpe_biases");
    if (offsets.dim() == 2 && offsets.size(1) == 2 && offsets.size(0) > 0) {
      const at::Tensor last = offsets[offsets.size(0) - 1].to(at::kFloat).contiguous();
      split_ = {static_cast<int64_t>(last[0].item<float>()) + 1, static_cast<int64_t>(last[1].item<float>()) + 1};
    }
    const int64_t large = std::max(split_.h, split_.w), small = std::min(split_.h, split_.w);
    if (small < 1 || large > 128 || large % small != 0) {
      b.Fail(Cat("windows of ", split_.h, " x ", split_.w, " pixels, expected sides of 1 to 128, one a multiple"));
      return b.status();
    }
    first_ = b.TakeConv("conv_first", in, c, 3);
    before_ = b.TakeLayerNorm("before_RG.1", c);
    const int64_t groups = SequenceLength(w, "layers.");
    for (int64_t g = 0; g < groups && b.status().ok(); ++g) {
      Group& group = groups_.emplace_back();
      const std::string at = Cat("layers.", g, ".");
      const int64_t blocks = SequenceLength(w, at + "blocks.");
      const int64_t heads = blocks > 1 ? w.Dim(at + "blocks.1.attn.temperature", 0)
                                       : 2 * w.Dim(at + "blocks.0.attn.attns.0.pos.pos3.2.weight", 0);
      if (heads < 2 || heads % 2 != 0 || c % heads != 0) {
        b.Fail(Cat("\"", at, "\" has ", heads, " heads, expected an even number that divides ", c));
        return b.status();
      }
      for (int64_t i = 0; i < blocks && b.status().ok(); ++i) {
        Block block = TakeBlock(b, Cat(at, "blocks.", i, "."), c, heads, i % 2 == 0);
        block.attention.shifted = (g % 2 == 0 && i % 4 == 2) || (g % 2 == 1 && i % 4 == 0);
        group.blocks.push_back(std::move(block));
      }
      group.conv = TakeGroupConv(b, at + "conv", c);
    }
    norm_ = b.TakeLayerNorm("norm", c);
    after_ = TakeGroupConv(b, "conv_after_body", c);
    if (b.Has("conv_last.weight")) {
      tail_ = TakePixelShuffleTail(b, c);
      scale_ = tail_.scale;
    } else {
      const int64_t out = w.Dim("upsample.0.weight", 0);
      scale_ = out % 3 == 0 ? SquareSide(out / 3) : 0;
      if (scale_ < 1 || scale_ > 16) b.Fail(Cat("its last layer has ", out, " channels, expected 3 n^2"));
      direct_ = b.TakeConv("upsample.0", c, out, 3);
    }
    return b.status();
  }

  int64_t scale() const override { return scale_; }
  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input) const override {
    params_.Load();
    const int64_t h = input.size(2), w = input.size(3);
    const at::Tensor mean = ImageMean(input);
    const at::Tensor f = first_(PadToMultiple(input, 16, 1) - mean);
    at::Tensor t = before_(ToMap(f));
    for (const Group& group : groups_) {
      const at::Tensor r = t;
      for (const Block& block : group.blocks) {
        t = t + block.attention(block.norm1(t));
        t = t + block.feed(block.norm2(t));
      }
      t = r + ToMap(group.conv(ToImage(t)));
    }
    t = after_(ToImage(norm_(t))) + f;
    const at::Tensor y = (direct_.weight != nullptr ? at::pixel_shuffle(direct_(t), scale_) : tail_(t)) + mean;
    return y.narrow(2, 0, h * scale_).narrow(3, 0, w * scale_);
  }

 private:
  struct Group {
    std::vector<Block> blocks;
    GroupConv conv;
  };

  Block TakeBlock(LayerBuilder& b, const std::string& name, int64_t c, int64_t heads, bool spatial) const {
    const WeightSource& w = b.weights();
    Block block;
    block.norm1 = b.TakeLayerNorm(name + "norm1", c);
    block.norm2 = b.TakeLayerNorm(name + "norm2", c);
    const std::string ffn = name + "ffn.", attn = name + "attn.";
    const int64_t hidden = w.Dim(ffn + "fc1.weight", 0);
    if (hidden % 2 != 0) b.Fail(Cat("\"", ffn, "fc1\" has an odd number of channels"));
    block.feed = {b.TakeLinear(ffn + "fc1", c, hidden), b.TakeLinear(ffn + "fc2", hidden / 2, c),
                  b.TakeLayerNorm(ffn + "sg.norm", hidden / 2), TakeDepthwise(b, ffn + "sg.conv", hidden / 2)};
    Attention& a = block.attention;
    a.spatial = spatial;
    a.heads = heads;
    a.split = split_;
    a.qkv = b.TakeLinear(attn + "qkv", c, 3 * c, BiasOfAll(b.weights(), ".qkv.bias"));
    a.proj = b.TakeLinear(attn + "proj", c, c);
    if (spatial) {
      for (int64_t i = 0; i < 2; ++i) {
        const std::string pos = Cat(attn, "attns.", i, ".pos.");
        const int64_t p = w.Dim(pos + "pos_proj.weight", 0);
        PositionBias& bias = a.position[static_cast<size_t>(i)];
        bias.in = b.TakeLinear(pos + "pos_proj", 2, p);
        for (int64_t k = 0; k < 3; ++k) {
          const std::string layer = Cat(pos, "pos", k + 1, ".");
          bias.norm[static_cast<size_t>(k)] = b.TakeLayerNorm(layer + "0", p);
          bias.layer[static_cast<size_t>(k)] = b.TakeLinear(layer + "2", p, k < 2 ? p : heads / 2);
        }
      }
    } else {
      a.temperature = b.Take(attn + "temperature", {heads, 1, 1});
    }
    a.conv = TakeDepthwise(b, attn + "dwconv.0", c);
    a.conv_norm = TakeBatchNorm(b, attn + "dwconv.1", c);
    const std::string channel = attn + "channel_interaction.", place = attn + "spatial_interaction.";
    const int64_t narrow = w.Dim(channel + "1.weight", 0), thin = w.Dim(place + "0.weight", 0);
    a.channel_in = b.TakeConv(channel + "1", c, narrow, 1);
    a.channel_norm = TakeBatchNorm(b, channel + "2", narrow);
    a.channel_out = b.TakeConv(channel + "4", narrow, c, 1);
    a.spatial_in = b.TakeConv(place + "0", c, thin, 1);
    a.spatial_norm = TakeBatchNorm(b, place + "1", thin);
    a.spatial_out = b.TakeConv(place + "3", thin, 1, 1);
    return block;
  }

  mutable engine::ParamSet params_;
  Conv2d first_, direct_;
  engine::LayerNorm before_, norm_;
  std::vector<Group> groups_;
  GroupConv after_;
  PixelShuffleTail tail_;
  int64_t scale_ = 1;
  Extent split_;
};

bool Detect(const WeightSource& w) {
  return HasAll(w, "", {"conv_first.weight", "before_RG.1.weight", "before_RG.1.bias", "norm.weight"}) &&
         HasAll(w, "layers.0.blocks.0.",
                {"norm1.weight", "norm2.weight", "ffn.fc1.weight", "ffn.sg.norm.weight", "ffn.sg.conv.weight",
                 "ffn.fc2.weight"}) &&
         HasAll(w, "layers.0.blocks.0.attn.",
                {"qkv.weight", "proj.weight", "dwconv.0.weight", "dwconv.1.running_mean",
                 "channel_interaction.1.weight", "channel_interaction.2.running_mean", "channel_interaction.4.weight",
                 "spatial_interaction.0.weight", "spatial_interaction.1.running_mean", "spatial_interaction.3.weight",
                 "attns.0.rpe_biases", "attns.0.relative_position_index", "attns.0.pos.pos_proj.weight",
                 "attns.0.pos.pos1.0.weight", "attns.0.pos.pos3.0.weight"}) &&
         (w.Has("conv_after_body.weight") || w.Has("conv_after_body.4.weight")) &&
         (HasAll(w, "", {"conv_after_body.weight", "conv_before_upsample.0.weight", "conv_last.weight"}) ||
          w.Has("upsample.0.weight"));
}

StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> Build(const WeightSource& w, engine::Engine& engine) {
  return BuildNetwork<engine::UpscaleNetwork, Dat>(w, engine);
}

ATELIER_REGISTER_UPSCALER("dat", 4, {Detect, Build});

}  // namespace
}  // namespace atelier::models::dat
