#include "worker/models/clip_vision.h"

#include <cmath>
#include <optional>
#include <vector>

#include "worker/engine/guard.h"
#include "worker/engine/layers.h"
#include "worker/models/network.h"
#include "worker/text/clip_block.h"
#include "worker/text/clip_encoder.h"

namespace atelier::models {
namespace {

using engine::LayerBuilder;
using engine::LayerNorm;
using engine::Linear;
using engine::WeightSource;
using text::ClipActivation;
using Encoder = std::shared_ptr<const engine::VisionEncoder>;
using Style = std::shared_ptr<const engine::StyleNetwork>;

constexpr int64_t kHeads = 16;               // of all published sizes
constexpr int64_t kQuickGeluLayersMax = 24;  // CLIP-L; the larger ones are OpenCLIP's and use GELU

class VisionTransformer final : public engine::VisionEncoder {
 public:
  explicit VisionTransformer(engine::Engine& engine)
      : params_(engine.device(), engine::Part::kTextEncoder, engine.residency()) {}

  Status Build(const WeightSource& weights) {
    LayerBuilder b(weights, params_);
    const std::string root = "vision_model.", embeddings = root + "embeddings.";
    width_ = weights.Dim(embeddings + "patch_embedding.weight", 0);
    const int64_t patch = weights.Dim(embeddings + "patch_embedding.weight", 2);
    siglip_ = weights.Has(embeddings + "patch_embedding.bias");
    if (width_ <= 0 || width_ % kHeads != 0)
      b.Fail(Cat("a vision encoder of width ", width_, ", which ", kHeads, " heads do not divide"));
    patch_ = b.TakeConv(embeddings + "patch_embedding", 3, width_, patch, patch, 0,
                        siglip_ ? engine::Bias::kRequired : engine::Bias::kNone);
    if (!siglip_) {
      class_ = b.Take(embeddings + "class_embedding", {width_});
      pre_norm_ = b.TakeLayerNorm(root + "pre_layrnorm", width_, siglip_ ? 1e-6 : 1e-5);
    }
    const int64_t positions = weights.Dim(embeddings + "position_embedding.weight", 0);
    const int64_t patches = positions - (siglip_ ? 0 : 1);
    const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(std::max<int64_t>(patches, 0)))));
    if (side <= 0 || side * side != patches) b.Fail(Cat("it has ", positions, " positions, which make no square"));
    position_ = b.Take(embeddings + "position_embedding.weight", {positions, width_});
    size_ = side * patch;
    const double eps = siglip_ ? 1e-6 : 1e-5;
    const int64_t layers = weights.CountBlocks(root + "encoder.layers.");
    if (layers < 2) b.Fail(Cat("it has ", layers, " layers, expected at least 2"));
    for (int64_t i = 0; i < layers && b.status().ok(); ++i)
      blocks_.push_back(text::TakeClipBlock(b, Cat(root, "encoder.layers.", i, "."), width_, eps));
    activation_ = siglip_                         ? ClipActivation::kGeluTanh
                  : layers <= kQuickGeluLayersMax ? ClipActivation::kQuickGelu
                                                  : ClipActivation::kGelu;
    post_norm_ = b.TakeLayerNorm(root + "post_layernorm", width_, eps);
    if (!siglip_) projection_ = b.TakeLinear("visual_projection", width_, 0, engine::Bias::kNone);
    return b.status();
  }

  StatusOr<engine::VisionOutput> Encode(const at::Tensor& pixels, bool crop) const override {
    if (pixels.dim() != 4 || pixels.size(3) < 3 || pixels.numel() == 0)
      return InvalidArgument("a vision encoder takes pictures [B,H,W,3]");
    return engine::Guard([&] { return Run(pixels, crop); });
  }

 private:
  // Source: spec engine.md 8.3 "Preprocess".
  at::Tensor Preprocessed(const at::Tensor& pixels, bool crop) const {
    at::Tensor x = pixels.narrow(3, 0, 3).to(at::kFloat).permute({0, 3, 1, 2}).contiguous();
    if (x.size(2) != size_ || x.size(3) != size_) {
      int64_t height = size_, width = size_;
      if (crop) {
        const double scale = static_cast<double>(size_) / static_cast<double>(std::min(pixels.size(1), pixels.size(2)));
        height = static_cast<int64_t>(std::nearbyint(scale * static_cast<double>(pixels.size(1))));
        width = static_cast<int64_t>(std::nearbyint(scale * static_cast<double>(pixels.size(2))));
      }
      x = at::_upsample_bicubic2d_aa(x, {height, width}, /*align_corners=*/false);
      x = x.narrow(2, (height - size_) / 2, size_).narrow(3, (width - size_) / 2, size_);
    }
    x = (x * 255.0).clamp(0, 255).round() / 255.0;
    const auto channels = [](double r, double g, double b) {
      return at::tensor({r, g, b}, at::kFloat).view({1, 3, 1, 1});
    };
    if (siglip_) return (x - 0.5) / 0.5;
    return (x - channels(0.48145466, 0.4578275, 0.40821073)) / channels(0.26862954, 0.26130258, 0.27577711);
  }

  engine::VisionOutput Run(const at::Tensor& pixels, bool crop) const {
    params_.Load();
    const auto options = at::TensorOptions(params_.device()).dtype(at::kFloat);
    at::Tensor x = patch_(Preprocessed(pixels, crop).to(options)).flatten(2).transpose(1, 2);
    if (class_ != nullptr)
      x = at::cat({class_->As(at::kFloat).view({1, 1, width_}).expand({x.size(0), 1, width_}), x}, 1);
    x = x + position_->As(at::kFloat);
    if (!siglip_) x = pre_norm_(x);
    engine::VisionOutput output;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      if (i + 1 == blocks_.size()) output.penultimate = x.to(at::kCPU);
      x = blocks_[i](std::move(x), kHeads, /*causal=*/false, activation_);
    }
    if (siglip_) {
      x = post_norm_(x);
      output.image_embeds = x.to(at::kCPU);
    } else {
      output.image_embeds = projection_(post_norm_(x.select(1, 0))).to(at::kCPU);
    }
    output.last_hidden = x.to(at::kCPU);
    return output;
  }

  mutable engine::ParamSet params_;
  bool siglip_ = false;
  int64_t width_ = 0, size_ = 224;
  engine::Conv2d patch_;
  engine::Param class_, position_;
  LayerNorm pre_norm_, post_norm_;
  std::vector<text::ClipBlock> blocks_;
  ClipActivation activation_ = ClipActivation::kQuickGelu;
  Linear projection_;
};

// OpenCLIP's names as transformers'.
WeightSource TransformersNames(const WeightSource& file) {
  if (!file.HasPrefix("visual.")) return file;
  const WeightSource inner = file.Prefixed("visual.");
  WeightSource::Tensors tensors = text::OpenClipToHf(inner).tensors();
  if (const auto projection = tensors.find("proj"); projection != tensors.end()) {
    tensors.emplace("visual_projection.weight", projection->second.t());
    tensors.erase("proj");
  }
  return WeightSource(file.file(), std::move(tensors)).Renamed([](const std::string& name) -> std::string {
    static const std::pair<const char*, const char*> kNames[] = {
        {"text_model.embeddings.position_embedding.", "vision_model.embeddings.position_embedding."},
        {"text_model.encoder.", "vision_model.encoder."},
        {"class_embedding", "vision_model.embeddings.class_embedding"},
        {"conv1.", "vision_model.embeddings.patch_embedding."},
        {"ln_pre.", "vision_model.pre_layrnorm."},
        {"ln_post.", "vision_model.post_layernorm."}};
    for (const auto& [from, to] : kNames)
      if (name.starts_with(from)) return to + name.substr(std::string_view(from).size());
    return name;
  });
}

// FLUX Redux: two layers over what SigLIP sees. Source: spec engine.md 8.3.
class Redux final : public engine::StyleNetwork {
 public:
  explicit Redux(engine::Engine& engine) : params_(engine.device(), engine::Part::kTextEncoder, engine.residency()) {}

  Status Build(const WeightSource& weights) {
    LayerBuilder b(weights, params_);
    width_ = weights.Dim("redux_up.weight", 1);
    const int64_t hidden = weights.Dim("redux_up.weight", 0);
    up_ = b.TakeLinear("redux_up", width_, hidden);
    down_ = b.TakeLinear("redux_down", hidden, 0);
    return b.status();
  }
  StatusOr<at::Tensor> Tokens(const engine::VisionOutput& seen) const override {
    if (seen.last_hidden.size(-1) != width_)
      return InvalidArgument("the style model takes a vision encoder of width ", width_, ", not ",
                             seen.last_hidden.size(-1), "; load the one it was made for");
    return engine::Guard([&] {
      params_.Load();
      const at::Tensor x = seen.last_hidden.to(at::TensorOptions(params_.device()).dtype(at::kFloat));
      return down_(at::silu(up_(x))).to(at::kCPU);
    });
  }

 private:
  mutable engine::ParamSet params_;
  int64_t width_ = 0;
  Linear up_, down_;
};

// The style adapter of T2I-Adapter (Apache-2.0): learned tokens look at what CLIP-L sees.
class StyleAdapter final : public engine::StyleNetwork {
 public:
  explicit StyleAdapter(engine::Engine& engine)
      : params_(engine.device(), engine::Part::kTextEncoder, engine.residency()) {}

  Status Build(const WeightSource& weights) {
    LayerBuilder b(weights, params_);
    width_ = weights.Dim("style_embedding", 2);
    tokens_ = b.Take("style_embedding", {1, 0, width_});
    projection_ = b.Take("proj", {width_, 0});
    pre_norm_ = b.TakeLayerNorm("ln_pre", width_);
    post_norm_ = b.TakeLayerNorm("ln_post", width_);
    layers_ = text::TakeFusedClipBlocks(b, "transformer_layes.", width_);
    return b.status();
  }
  StatusOr<at::Tensor> Tokens(const engine::VisionOutput& seen) const override {
    if (seen.last_hidden.size(-1) != width_)
      return InvalidArgument("the style model takes a vision encoder of width ", width_, ", not ",
                             seen.last_hidden.size(-1), "; load the one it was made for");
    return engine::Guard([&] {
      params_.Load();
      at::Tensor x = seen.last_hidden.to(at::TensorOptions(params_.device()).dtype(at::kFloat));
      const at::Tensor tokens = tokens_->As(at::kFloat);
      const int64_t count = tokens.size(1);
      x = pre_norm_(at::cat({x, tokens.expand({x.size(0), count, width_})}, 1));
      for (const text::FusedClipBlock& layer : layers_) x = layer(std::move(x), kStyleHeads);
      x = post_norm_(x.narrow(1, x.size(1) - count, count));
      return at::matmul(x, projection_->As(at::kFloat)).to(at::kCPU);
    });
  }

 private:
  static constexpr int64_t kStyleHeads = 8;
  mutable engine::ParamSet params_;
  int64_t width_ = 0;
  engine::Param tokens_, projection_;
  LayerNorm pre_norm_, post_norm_;
  std::vector<text::FusedClipBlock> layers_;
};

}  // namespace

StatusOr<Encoder> BuildVisionEncoder(const WeightSource& weights, engine::Engine& engine) {
  return engine::Guard([&]() -> StatusOr<Encoder> {
    const WeightSource named = TransformersNames(weights);
    if (!named.Has("vision_model.embeddings.patch_embedding.weight"))
      return InvalidArgument("file \"", weights.file(), "\" holds no vision encoder of CLIP or SigLIP");
    return BuildNetwork<engine::VisionEncoder, VisionTransformer>(named, engine);
  });
}

StatusOr<Encoder> LoadVisionEncoder(const std::string& path, engine::Engine& engine) {
  return engine.models().Get<engine::VisionEncoder>(path, "vision", [&]() -> StatusOr<Encoder> {
    ASSIGN_OR_RETURN(const WeightSource file, WeightSource::Open(path));
    return BuildVisionEncoder(file, engine);
  });
}

StatusOr<Encoder> LoadCheckpointVision(const std::string& path, engine::Engine& engine) {
  ASSIGN_OR_RETURN(const WeightSource file, WeightSource::Open(path));
  for (const char* prefix : {"embedder.model.", "conditioner.embedders.0.open_clip.model."}) {
    const WeightSource inner = file.Prefixed(prefix);
    if (!inner.HasPrefix("visual.")) continue;
    return engine.models().Get<engine::VisionEncoder>(path, "vision",
                                                      [&] { return BuildVisionEncoder(inner, engine); });
  }
  return Encoder();
}

StatusOr<Style> LoadStyleModel(const std::string& path, engine::Engine& engine) {
  return engine.models().Get<engine::StyleNetwork>(path, "style", [&]() -> StatusOr<Style> {
    return engine::Guard([&]() -> StatusOr<Style> {
      ASSIGN_OR_RETURN(const WeightSource file, WeightSource::Open(path));
      if (file.Has("redux_up.weight")) return BuildNetwork<engine::StyleNetwork, Redux>(file, engine);
      if (file.Has("style_embedding")) return BuildNetwork<engine::StyleNetwork, StyleAdapter>(file, engine);
      return InvalidArgument("file \"", file.file(),
                             "\" holds no style model, expected FLUX Redux or the style adapter of T2I-Adapter");
    });
  });
}

}  // namespace atelier::models
