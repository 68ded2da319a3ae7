// HAT: shifted windows with a channel attention beside, and windows that overlap at the end of each group. Source: spec
// extras.md 5.4.
#include "worker/models/network.h"
#include "worker/models/upscalers/parts.h"

namespace atelier::models::hat {
namespace {

using engine::Cast;
using engine::Conv2d;
using engine::WeightSource;

constexpr std::string_view kGroup = "layers.0.residual_group.";

// Two convolutions and a gate for each channel. x [B,C,H,W].
struct ChannelBlock {
  Conv2d down, up, squeeze, excite;
  at::Tensor operator()(const at::Tensor& x) const {
    const at::Tensor y = up(at::gelu(down(x)));
    return y * at::sigmoid(excite(at::relu(squeeze(y.mean({2, 3}, true)))));
  }
};

struct Block {
  engine::LayerNorm norm1, norm2;
  WindowAttention attention;
  ChannelBlock channels;
  Mlp mlp;
};

// Queries from windows, keys and values from larger windows around them.
struct OverlapAttention {
  engine::LayerNorm norm1, norm2;
  engine::Linear qkv, proj;
  engine::Param table;
  Mlp mlp;
  int64_t heads = 1, side = 8, over = 12;

  // Row of the table for each query and key; negative rows count from the table's end, as in the reference.
  at::Tensor Index() const {
    const auto positions = [](int64_t n) {
      return std::pair(at::arange(n, at::kLong).repeat_interleave(n), at::arange(n, at::kLong).repeat({n}));
    };
    const auto [qy, qx] = positions(side);
    const auto [ky, kx] = positions(over);
    const at::Tensor dy = ky.unsqueeze(0) - qy.unsqueeze(1) + (side - over + 1);
    const at::Tensor dx = kx.unsqueeze(0) - qx.unsqueeze(1) + (side - over + 1);
    return at::remainder(dy * (side + over - 1) + dx, (side + over - 1) * (side + over - 1));
  }
  at::Tensor operator()(const at::Tensor& t) const {
    const int64_t c = t.size(3), pad = (over - side) / 2;
    const at::Tensor all = qkv(norm1(t));
    const at::Tensor q = ToWindows(all.narrow(3, 0, c), {side, side});
    const at::Tensor kv = at::constant_pad_nd(all.narrow(3, c, 2 * c), {0, 0, pad, pad, pad, pad})
                              .unfold(1, over, side)
                              .unfold(2, over, side)
                              .permute({0, 1, 2, 4, 5, 3})
                              .reshape({-1, over * over, 2 * c});
    const at::Tensor bias = SpreadBias(Cast(table, t.scalar_type()), Index());
    const at::Tensor out = AttendWindows(q, kv.narrow(2, 0, c), kv.narrow(2, c, c), heads, bias, {});
    const at::Tensor y = t + proj(FromWindows(out, {side, side}, {t.size(1), t.size(2)}));
    return y + mlp(norm2(y));
  }
};

class Hat final : public engine::UpscaleNetwork {
 public:
  explicit Hat(engine::Engine& engine) : params_(engine.device(), engine::Part::kUpscaler, engine.residency()) {}

  Status Build(const WeightSource& w) {
    engine::LayerBuilder b(w, params_);
    const int64_t in = w.Dim("conv_first.weight", 1), c = w.Dim("conv_first.weight", 0);
    if (in != 3) b.Fail(Cat("an upscale model for ", in, " channels, expected 3"));
    side_ = SquareSide(w.Dim("relative_position_index_SA", 0));
    over_ = SquareSide(w.Dim("relative_position_index_OCA", 1));
    if (side_ < 2 || side_ > 64 || over_ < side_ || over_ > 2 * side_ || (over_ - side_) % 2 != 0) {
      b.Fail(Cat("windows of ", side_, " and ", over_, " pixels, expected 2 to 64 and up to twice that"));
      return b.status();
    }
    first_ = b.TakeConv("conv_first", in, c, 3);
    patch_norm_ = b.TakeLayerNorm("patch_embed.norm", c);
    if (b.Has("absolute_pos_embed")) position_ = b.Take("absolute_pos_embed", {1, 0, c});
    const int64_t groups = SequenceLength(w, "layers.");
    for (int64_t g = 0; g < groups && b.status().ok(); ++g) {
      Group& group = groups_.emplace_back();
      const std::string at = Cat("layers.", g, ".residual_group.");
      const int64_t blocks = SequenceLength(w, at + "blocks.");
      for (int64_t i = 0; i < blocks && b.status().ok(); ++i)
        group.blocks.push_back(TakeBlock(b, Cat(at, "blocks.", i, "."), c));
      group.overlap = TakeOverlap(b, at + "overlap_attn.", c);
      if (b.Has(Cat("layers.", g, ".conv.weight"))) {
        group.conv = b.TakeConv(Cat("layers.", g, ".conv"), c, c, 3);
      }
    }
    norm_ = b.TakeLayerNorm("norm", c);
    if (b.Has("conv_after_body.weight")) after_ = b.TakeConv("conv_after_body", c, c, 3);
    tail_ = TakePixelShuffleTail(b, c);
    return b.status();
  }

  int64_t scale() const override { return tail_.scale; }
  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input) const override {
    params_.Load();
    const int64_t h = input.size(2), w = input.size(3);
    const at::Tensor mean = ImageMean(input);
    const at::Tensor x = ReflectToMultiple(PadToMultiple(input, 16, 1) - mean, side_);
    const at::Tensor f = first_(x);
    at::Tensor t = patch_norm_(f.permute({0, 2, 3, 1}));
    if (position_ != nullptr) {
      const at::Tensor add = Cast(position_, t.scalar_type());
      if (add.size(1) == t.size(1) * t.size(2)) t = t + add.view({1, t.size(1), t.size(2), t.size(3)});
    }
    for (const Group& group : groups_) {
      const at::Tensor r = t;
      bool shifted = false;
      for (const Block& block : group.blocks) {
        const at::Tensor n = block.norm1(t);
        const at::Tensor channels = block.channels(n.permute({0, 3, 1, 2})).permute({0, 2, 3, 1});
        t = t + block.attention(n, shifted) + channels * 0.01;
        t = t + block.mlp(block.norm2(t));
        shifted = !shifted;
      }
      t = group.overlap(t);
      t = r + (group.conv.weight == nullptr ? t : group.conv(t.permute({0, 3, 1, 2})).permute({0, 2, 3, 1}));
    }
    t = norm_(t).permute({0, 3, 1, 2});
    if (after_.weight != nullptr) t = after_(t);
    const at::Tensor y = tail_(t + f) + mean;
    return y.narrow(2, 0, h * scale()).narrow(3, 0, w * scale());
  }

 private:
  struct Group {
    std::vector<Block> blocks;
    OverlapAttention overlap;
    Conv2d conv;
  };

  Block TakeBlock(engine::LayerBuilder& b, const std::string& name, int64_t c) const {
    Block block;
    block.norm1 = b.TakeLayerNorm(name + "norm1", c);
    block.norm2 = b.TakeLayerNorm(name + "norm2", c);
    block.attention = TakeWindowAttention(b, name + "attn", c, side_);
    const std::string cab = name + "conv_block.cab.", gate = cab + "3.attention.";
    const int64_t narrow = b.weights().Dim(cab + "0.weight", 0), squeezed = b.weights().Dim(gate + "1.weight", 0);
    block.channels = {b.TakeConv(cab + "0", c, narrow, 3), b.TakeConv(cab + "2", narrow, c, 3),
                      b.TakeConv(gate + "1", c, squeezed, 1), b.TakeConv(gate + "3", squeezed, c, 1)};
    block.mlp = TakeMlp(b, name + "mlp", c);
    return block;
  }
  OverlapAttention TakeOverlap(engine::LayerBuilder& b, const std::string& name, int64_t c) const {
    OverlapAttention o;
    o.side = side_;
    o.over = over_;
    o.heads = b.weights().Dim(name + "relative_position_bias_table", 1);
    if (o.heads <= 0 || c % o.heads != 0) {
      b.Fail(Cat("\"", name, "\" has ", o.heads, " heads, which do not divide its width of ", c));
      return o;
    }
    o.norm1 = b.TakeLayerNorm(name + "norm1", c);
    o.norm2 = b.TakeLayerNorm(name + "norm2", c);
    o.qkv = b.TakeLinear(name + "qkv", c, 3 * c, BiasOfAll(b.weights(), ".qkv.bias"));
    o.proj = b.TakeLinear(name + "proj", c, c);
    o.table = b.Take(name + "relative_position_bias_table", {(side_ + over_ - 1) * (side_ + over_ - 1), o.heads});
    o.mlp = TakeMlp(b, name + "mlp", c);
    return o;
  }

  mutable engine::ParamSet params_;
  Conv2d first_, after_;
  engine::LayerNorm patch_norm_, norm_;
  engine::Param position_;
  std::vector<Group> groups_;
  PixelShuffleTail tail_;
  int64_t side_ = 8, over_ = 12;
};

bool Detect(const WeightSource& w) {
  return HasAll(w, "", {"relative_position_index_SA", "conv_first.weight", "conv_last.weight"}) &&
         HasAll(w, kGroup,
                {"blocks.0.norm1.weight", "blocks.0.conv_block.cab.0.weight", "blocks.0.conv_block.cab.2.weight",
                 "blocks.0.conv_block.cab.3.attention.1.weight", "blocks.0.conv_block.cab.3.attention.3.weight",
                 "blocks.0.mlp.fc1.bias", "blocks.0.mlp.fc2.weight", "overlap_attn.relative_position_bias_table",
                 "overlap_attn.qkv.weight", "overlap_attn.proj.weight", "overlap_attn.mlp.fc1.weight",
                 "overlap_attn.mlp.fc2.weight"});
}

StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> Build(const WeightSource& w, engine::Engine& engine) {
  return BuildNetwork<engine::UpscaleNetwork, Hat>(w, engine);
}

ATELIER_REGISTER_UPSCALER("hat", 1, {Detect, Build});

}  // namespace
}  // namespace atelier::models::hat
