// Omni-SR: attention over places and over channels, in windows and on grids. Source: spec extras.md 5.9.
#include "worker/models/network.h"
#include "worker/models/upscalers/parts.h"

namespace atelier::models::omnisr {
namespace {

using engine::Bias;
using engine::Cast;
using engine::Conv2d;
using engine::LayerBuilder;
using engine::WeightSource;

constexpr int64_t kHeads = 4;
constexpr std::string_view kBlock = "residual_layer.0.residual_layer.0.layer.";

at::Tensor OverChannels(const engine::LayerNorm& norm, const at::Tensor& x) {
  return norm(x.permute({0, 2, 3, 1})).permute({0, 3, 1, 2});
}

// x [B,C,H,W] to [B, windows, C, tokens]: windows of side^2 neighbours, or grids of places `side` apart.
at::Tensor Split(const at::Tensor& x, int64_t side, bool grid) {
  const int64_t b = x.size(0), c = x.size(1), h = x.size(2) / side, w = x.size(3) / side;
  const at::Tensor v = x.reshape({b, c, h, side, w, side});
  return grid ? v.permute({0, 3, 5, 1, 2, 4}).reshape({b, side * side, c, h * w})
              : v.permute({0, 2, 4, 1, 3, 5}).reshape({b, h * w, c, side * side});
}

at::Tensor Join(const at::Tensor& parts, int64_t side, bool grid, at::IntArrayRef sizes) {
  const int64_t b = sizes[0], c = sizes[1], h = sizes[2] / side, w = sizes[3] / side;
  const at::Tensor v = grid ? parts.reshape({b, side, side, c, h, w}).permute({0, 3, 4, 1, 5, 2})
                            : parts.reshape({b, h, w, c, side, side}).permute({0, 3, 1, 4, 2, 5});
  return v.reshape(sizes);
}

struct MbConv {
  Conv2d in, out;
  DepthwiseConv middle;
  engine::Linear squeeze, excite;
  at::Tensor operator()(const at::Tensor& x) const {
    const at::Tensor y = at::gelu(middle(at::gelu(in(x))));
    const at::Tensor gate = at::sigmoid(excite(at::silu(squeeze(y.mean({2, 3})))));
    return x + out(y * gate.unsqueeze(2).unsqueeze(3));
  }
};

struct FeedForward {
  engine::LayerNorm norm;
  Conv2d in, out;
  DepthwiseConv middle;
  at::Tensor operator()(const at::Tensor& x) const {
    const at::Tensor y = middle(in(OverChannels(norm, x)));
    const int64_t half = y.size(1) / 2;
    return x + out(at::gelu(y.narrow(1, 0, half)) * y.narrow(1, half, half));
  }
};

// Tokens of a window, or of a block grid, attend to each other.
struct PlaceAttention {
  engine::LayerNorm norm;
  engine::Linear qkv, proj;
  engine::Param table;
  int64_t side = 8;
  at::Tensor operator()(const at::Tensor& x, bool grid) const {
    const int64_t c = x.size(1), h = x.size(2), w = x.size(3);
    // On the grid, tokens lie H/side apart: the same as grids of stride H/side with side^2 places each.
    at::Tensor tokens;
    if (grid) {
      tokens = x.reshape({x.size(0), c, side, h / side, side, w / side})
                   .permute({0, 3, 5, 2, 4, 1})
                   .reshape({-1, side * side, c});
    } else {
      tokens = ToWindows(x.permute({0, 2, 3, 1}), {side, side});
    }
    const at::Tensor all = qkv(norm(tokens));
    const at::Tensor bias =
        table == nullptr ? at::Tensor() : SpreadBias(Cast(table, x.scalar_type()), RelativeIndex({side, side}));
    const at::Tensor y = tokens + proj(AttendWindows(all.narrow(2, 0, c), all.narrow(2, c, c), all.narrow(2, 2 * c, c),
                                                     kHeads, bias, {}));
    if (grid) {
      return y.reshape({x.size(0), h / side, w / side, side, side, c}).permute({0, 5, 3, 1, 4, 2}).reshape(x.sizes());
    }
    return FromWindows(y, {side, side}, {h, w}).permute({0, 3, 1, 2});
  }
};

struct ChannelAttention {
  engine::LayerNorm norm;
  Conv2d qkv, out;
  DepthwiseConv spread;
  engine::Param temperature;
  int64_t side = 8;
  at::Tensor operator()(const at::Tensor& x, bool grid) const {
    const int64_t c = x.size(1);
    const at::Tensor all = spread(qkv(OverChannels(norm, x)));
    const auto part = [&](int64_t i) {
      const at::Tensor p = Split(all.narrow(1, i * c, c), side, grid);
      return p.reshape({p.size(0), p.size(1), kHeads, c / kHeads, p.size(3)});
    };
    const auto unit = [](const at::Tensor& t) { return t / t.norm(2, -1, true).clamp_min(1e-12); };
    const at::Tensor scores = at::matmul(unit(part(0)), unit(part(1)).transpose(-2, -1));
    const at::Tensor weights = at::softmax(scores * Cast(temperature, x.scalar_type()), -1);
    return x + out(Join(at::matmul(weights, part(2)), side, grid, x.sizes()));
  }
};

struct Block {
  MbConv conv;
  PlaceAttention window, grid;
  ChannelAttention window_channels, grid_channels;
  std::array<FeedForward, 4> feed;
  at::Tensor operator()(const at::Tensor& x) const {
    at::Tensor t = window(conv(x), false);
    t = window_channels(feed[0](t), false);
    t = grid(feed[1](t), true);
    t = grid_channels(feed[2](t), true);
    return feed[3](t);
  }
};

// A gate for each place from a look at a much smaller map.
struct SpatialGate {
  Conv2d conv1, conv2, conv3, conv4, conv_f;
  at::Tensor operator()(const at::Tensor& x) const {
    const at::Tensor c = conv1(x);
    at::Tensor z = conv3(at::max_pool2d(conv2(c), {7, 7}, {3, 3}));
    z = at::upsample_bilinear2d(z, {x.size(2), x.size(3)}, false);
    return x * at::sigmoid(conv4(z + conv_f(c)));
  }
};

class OmniSr final : public engine::UpscaleNetwork {
 public:
  explicit OmniSr(engine::Engine& engine) : params_(engine.device(), engine::Part::kUpscaler, engine.residency()) {}

  Status Build(const WeightSource& w) {
    LayerBuilder b(w, params_);
    const int64_t in = w.Dim("input.weight", 1), c = w.Dim("input.weight", 0), out = w.Dim("up.0.weight", 0);
    if (in != 3) b.Fail(Cat("an upscale model for ", in, " channels, expected 3"));
    if (c % kHeads != 0) b.Fail(Cat("it has ", c, " channels, which 4 does not divide"));
    scale_ = ScaleOfChannels(out, in);
    if (scale_ < 1 || scale_ > 16) b.Fail(Cat("its last layer has ", out, " channels, expected 3 n^2"));
    if (const int64_t rows = w.Dim(Cat(kBlock, "2.fn.rel_pos_bias.weight"), 0); rows > 0)
      side_ = (SquareSide(rows) + 1) / 2;
    if (side_ < 2 || side_ > 64) b.Fail(Cat("windows of ", side_, " pixels, expected 2 to 64"));
    input_ = b.TakeConv("input", in, c, 3);
    const int64_t groups = SequenceLength(w, "residual_layer.");
    for (int64_t g = 0; g < groups && b.status().ok(); ++g) {
      Group& group = groups_.emplace_back();
      const std::string at = Cat("residual_layer.", g, ".");
      const int64_t blocks = SequenceLength(w, at + "residual_layer.") - 1;
      for (int64_t i = 0; i < blocks && b.status().ok(); ++i)
        group.blocks.push_back(TakeBlock(b, Cat(at, "residual_layer.", i, ".layer."), c));
      group.conv = b.TakeConv(Cat(at, "residual_layer.", blocks), c, c, 1);
      const std::string esa = at + "esa.";
      const int64_t f = w.Dim(esa + "conv1.weight", 0);
      group.gate = {b.TakeConv(esa + "conv1", c, f, 1), b.TakeConv(esa + "conv2", f, f, 3, 2, 0),
                    b.TakeConv(esa + "conv3", f, f, 3), b.TakeConv(esa + "conv4", f, c, 1),
                    b.TakeConv(esa + "conv_f", f, f, 1)};
    }
    output_ = b.TakeConv("output", c, c, 3);
    up_ = b.TakeConv("up.0", c, out, 3);
    return b.status();
  }

  int64_t scale() const override { return scale_; }
  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input) const override {
    params_.Load();
    const int64_t h = input.size(2), w = input.size(3);
    at::Tensor x = PadToMultiple(input, 16, 1);
    const auto missing = [this](int64_t size) { return (side_ - size % side_) % side_; };
    x = at::constant_pad_nd(x, {0, missing(x.size(3)), 0, missing(x.size(2))});
    const at::Tensor first = input_(x);
    at::Tensor t = first;
    for (const Group& group : groups_) {
      at::Tensor y = t;
      for (const Block& block : group.blocks) y = block(y);
      t = group.gate(group.conv(y) + t);
    }
    const at::Tensor y = at::pixel_shuffle(up_(output_(t) + first), scale_);
    return y.narrow(2, 0, h * scale_).narrow(3, 0, w * scale_);
  }

 private:
  struct Group {
    std::vector<Block> blocks;
    Conv2d conv;
    SpatialGate gate;
  };

  Block TakeBlock(LayerBuilder& b, const std::string& name, int64_t c) const {
    const WeightSource& w = b.weights();
    Block block;
    const std::string fn = name + "0.fn.";
    const int64_t squeezed = w.Dim(fn + "4.gate.1.weight", 0);
    block.conv = {b.TakeConv(fn + "0", c, c, 1), b.TakeConv(fn + "5", c, c, 1), TakeDepthwise(b, fn + "2", c),
                  b.TakeLinear(fn + "4.gate.1", c, squeezed, Bias::kNone),
                  b.TakeLinear(fn + "4.gate.3", squeezed, c, Bias::kNone)};
    const auto place = [&](int i) {
      const std::string at = Cat(name, i, ".");
      PlaceAttention a{b.TakeLayerNorm(at + "norm", c), b.TakeLinear(at + "fn.to_qkv", c, 3 * c, Bias::kNone),
                       b.TakeLinear(at + "fn.to_out.0", c, c, Bias::kNone), nullptr, side_};
      if (b.Has(at + "fn.rel_pos_bias.weight"))
        a.table = b.Take(at + "fn.rel_pos_bias.weight", {(2 * side_ - 1) * (2 * side_ - 1), kHeads});
      return a;
    };
    const auto channel = [&](int i) {
      const std::string at = Cat(name, i, ".");
      return ChannelAttention{b.TakeLayerNorm(at + "norm", c, 1e-6),
                              b.TakeConv(at + "fn.qkv", c, 3 * c, 1, 1, 0, Bias::kOptional),
                              b.TakeConv(at + "fn.project_out", c, c, 1, 1, 0, Bias::kOptional),
                              TakeDepthwise(b, at + "fn.qkv_dwconv", 3 * c, 3, Bias::kOptional),
                              b.Take(at + "fn.temperature", {kHeads, 1, 1}),
                              side_};
    };
    const auto feed = [&](int i) {
      const std::string at = Cat(name, i, ".");
      const int64_t hidden = w.Dim(at + "fn.project_in.weight", 0);
      if (hidden % 2 != 0) b.Fail(Cat("\"", at, "fn.project_in\" has an odd number of channels"));
      return FeedForward{b.TakeLayerNorm(at + "norm", c, 1e-6),
                         b.TakeConv(at + "fn.project_in", c, hidden, 1, 1, 0, Bias::kOptional),
                         b.TakeConv(at + "fn.project_out", hidden / 2, c, 1, 1, 0, Bias::kOptional),
                         TakeDepthwise(b, at + "fn.dwconv", hidden, 3, Bias::kOptional)};
    };
    block.window = place(2);
    block.grid = place(8);
    block.window_channels = channel(5);
    block.grid_channels = channel(11);
    block.feed = {feed(4), feed(6), feed(10), feed(12)};
    return block;
  }

  mutable engine::ParamSet params_;
  Conv2d input_, output_, up_;
  std::vector<Group> groups_;
  int64_t scale_ = 1, side_ = 8;
};

bool Detect(const WeightSource& w) {
  return w.Has(Cat(kBlock, "0.fn.0.weight")) && HasAll(w, "", {"input.weight", "up.0.weight"});
}

StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> Build(const WeightSource& w, engine::Engine& engine) {
  return BuildNetwork<engine::UpscaleNetwork, OmniSr>(w, engine);
}

ATELIER_REGISTER_UPSCALER("omnisr", 3, {Detect, Build});

}  // namespace
}  // namespace atelier::models::omnisr
