// T2I-Adapters: small convolution networks whose features are added inside the encoder of a UNet. Source: spec
// engine.md 8.2 "T2I-Adapter"; the published networks of TencentARC (Apache-2.0), by their tensors.
#include <algorithm>

#include "worker/engine/guard.h"
#include "worker/engine/layers.h"
#include "worker/models/control.h"
#include "worker/models/network.h"

namespace atelier::models::t2i_adapter {
namespace {

using engine::Conv2d;
using engine::LayerBuilder;
using engine::WeightSource;
using Network = std::shared_ptr<const engine::ControlNetwork>;

constexpr int64_t kPixelsPerLatent = 8;
constexpr int64_t kLevels = 4;

struct Block {
  bool halves = false;
  Conv2d down, in, block1, block2, skip;  // those without weight are left out

  at::Tensor operator()(at::Tensor x) const {
    if (down.weight != nullptr)
      x = down(x);
    else if (halves)
      x = at::avg_pool2d(x, {2, 2}, {2, 2}, {0, 0}, /*ceil_mode=*/true);
    if (in.weight != nullptr) x = in(x);
    const at::Tensor h = block2(at::relu(block1(x)));
    return h + (skip.weight != nullptr ? skip(x) : x);
  }
};

// One resolution: blocks, in light adapters between two convolutions.
struct Level {
  bool halves = false;
  Conv2d in, out;
  std::vector<Block> blocks;

  at::Tensor operator()(at::Tensor x) const {
    if (halves) x = at::avg_pool2d(x, {2, 2}, {2, 2}, {0, 0}, /*ceil_mode=*/true);
    if (in.weight != nullptr) x = in(x);
    for (const Block& block : blocks) x = block(std::move(x));
    return out.weight != nullptr ? out(x) : x;
  }
};

class T2IAdapter final : public engine::ControlNetwork {
 public:
  explicit T2IAdapter(engine::Engine& engine)
      : params_(engine.device(), engine::Part::kDiffusion, engine.residency()) {}

  Status Build(const WeightSource& weights) {
    LayerBuilder b(weights, params_);
    const bool light = weights.Has("body.0.in_conv.weight") && !weights.Has("conv_in.weight");
    const int64_t in = weights.Dim(light ? "body.0.in_conv.weight" : "conv_in.weight", 1);
    large_ = in == 256 || in == 768;
    shuffle_ = large_ ? 16 : 8;
    if (in == 0 || in % (shuffle_ * shuffle_) != 0) {
      b.Fail(Cat("it takes ", in, " channels, expected a multiple of ", shuffle_ * shuffle_));
      return b.status();
    }
    channels_ = in / (shuffle_ * shuffle_);
    if (light)
      TakeLight(b, in);
    else
      TakeFull(b, in);
    if (b.status().ok() && levels_.size() != kLevels)
      b.Fail(Cat("it has ", levels_.size(), " resolutions, expected ", kLevels));
    return b.status();
  }

  StatusOr<std::vector<at::Tensor>> Prepare(const engine::ControlPicture& picture, int64_t height, int64_t width,
                                            const engine::LatentFormat&) const override {
    const auto rounded = [this](int64_t latents) {
      return (latents * kPixelsPerLatent + shuffle_ - 1) / shuffle_ * shuffle_;
    };
    const bool grey = channels_ == 1 && picture.pixels.size(3) > 1;
    ASSIGN_OR_RETURN(at::Tensor pixels,
                     HintPixels(picture.pixels, rounded(height), rounded(width), grey ? 0 : channels_));
    if (grey) pixels = pixels.mean(1, true);
    params_.Load();
    at::Tensor x =
        at::pixel_unshuffle(pixels.to(at::TensorOptions(params_.device()).dtype(params_.compute())), shuffle_);
    if (first_.weight != nullptr) x = first_(x);
    std::vector<at::Tensor> features;
    for (const Level& level : levels_) {
      x = level(std::move(x));
      features.push_back(x);
    }
    return features;
  }

  engine::ControlResiduals Residuals(const std::vector<at::Tensor>& prepared, const at::Tensor&, const at::Tensor&,
                                     const engine::ModelCallInputs&) const override {
    engine::ControlResiduals residuals;
    // After which input block a resolution's features are added: the last of the UNet's own, and with 16 pixels a
    // feature after the first halving.
    const std::vector<size_t> places = large_ ? std::vector<size_t>{3, 5, 8} : std::vector<size_t>{2, 5, 8, 11};
    residuals.input.resize(places.back() + 1);
    for (size_t i = 0; i < places.size(); ++i) residuals.input[places[i]] = prepared[i];
    if (large_) residuals.middle.push_back(prepared.back());
    return residuals;
  }

 private:
  void TakeLight(LayerBuilder& b, int64_t channels) {
    for (int64_t i = 0; i < b.weights().CountBlocks("body."); ++i) {
      const std::string at = Cat("body.", i, ".");
      Level& level = levels_.emplace_back();
      level.halves = i > 0;
      const int64_t inner = b.weights().Dim(at + "in_conv.weight", 0);
      const int64_t out = b.weights().Dim(at + "out_conv.weight", 0);
      level.in = b.TakeConv(at + "in_conv", channels, inner, 1);
      for (int64_t j = 0; j < b.weights().CountBlocks(at + "body."); ++j) {
        Block& block = level.blocks.emplace_back();
        block.block1 = b.TakeConv(Cat(at, "body.", j, ".block1"), inner, inner, 3);
        block.block2 = b.TakeConv(Cat(at, "body.", j, ".block2"), inner, inner, 3);
      }
      level.out = b.TakeConv(at + "out_conv", inner, out, 1);
      channels = out;
    }
  }

  void TakeFull(LayerBuilder& b, int64_t in) {
    const WeightSource& w = b.weights();
    int64_t channels = w.Dim("conv_in.weight", 0);
    first_ = b.TakeConv("conv_in", in, channels, w.Dim("conv_in.weight", 2));
    const int64_t blocks = w.CountBlocks("body.");
    if (blocks == 0 || blocks % kLevels != 0) {
      b.Fail(Cat("it has ", blocks, " blocks, expected a multiple of ", kLevels));
      return;
    }
    const int64_t each = blocks / kLevels;
    for (int64_t i = 0; i < blocks; ++i) {
      const std::string at = Cat("body.", i, ".");
      const int64_t level = i / each;
      const bool first = i % each == 0;
      if (first) levels_.emplace_back();
      Block& block = levels_.back().blocks.emplace_back();
      // With 16 pixels a feature there is one halving, else one before each resolution but the first.
      block.halves = first && (large_ ? level == 2 : level > 0);
      if (block.halves && b.Has(at + "down_opt.op.weight"))
        block.down = b.TakeConv(at + "down_opt.op", channels, channels, 3, 2);
      const int64_t out = w.Dim(at + "block1.weight", 0);
      const auto take = [&](const char* name, int64_t from) {
        return b.TakeConv(at + name, from, out, w.Dim(at + name + ".weight", 2));
      };
      const int64_t before = channels;
      if (b.Has(at + "in_conv.weight")) {
        block.in = take("in_conv", channels);
        channels = out;
      }
      block.block1 = take("block1", channels);
      block.block2 = take("block2", out);
      if (b.Has(at + "skep.weight")) block.skip = take("skep", block.in.weight != nullptr ? out : before);
      channels = out;
    }
  }

  mutable engine::ParamSet params_;
  bool large_ = false;
  int64_t shuffle_ = 8, channels_ = 3;
  Conv2d first_;
  std::vector<Level> levels_;
};

// Without a level of its own, and diffusers' blocks in one row.
WeightSource Renamed(const WeightSource& file) {
  WeightSource inner = file.HasPrefix("adapter.") ? file.Prefixed("adapter.") : file;
  const int64_t each = inner.CountBlocks("body.0.resnets.");
  if (each == 0) return inner;
  const int64_t levels = inner.CountBlocks("body.");
  return inner.Renamed([each, levels](const std::string& name) {
    for (int64_t i = 0; i < levels; ++i) {
      const std::string level = Cat("body.", i, ".");
      if (!name.starts_with(level)) continue;
      for (int64_t j = 0; j < each; ++j) {
        const std::string block = Cat(level, "resnets.", j, ".");
        if (name.starts_with(block)) return Cat("body.", i * each + j, ".", name.substr(block.size()));
      }
      return Cat("body.", i * each, ".", name.substr(level.size()));
    }
    return name;
  });
}

bool Detect(const WeightSource& file) {
  const WeightSource weights = Renamed(file);
  return weights.HasPrefix("body.0.") && (weights.Has("conv_in.weight") || weights.Has("body.0.in_conv.weight"));
}

StatusOr<Network> Build(const WeightSource& file, engine::Engine& engine) {
  return engine::Guard([&] { return BuildNetwork<engine::ControlNetwork, T2IAdapter>(Renamed(file), engine); });
}

ATELIER_REGISTER_CONTROL("t2i_adapter", 90, {Detect, Build});

}  // namespace
}  // namespace atelier::models::t2i_adapter
