// Control networks of SD1, SD2 and SDXL: the encoder half of a UNet that sees a picture, as first published and as
// diffusers stores them. Source: spec engine.md 8.2.
#include <set>

#include "worker/engine/guard.h"
#include "worker/models/control.h"
#include "worker/models/network.h"
#include "worker/models/unet.h"
#include "worker/text/clip_block.h"

namespace atelier::models {
namespace {

using engine::Conv2d;
using engine::LayerBuilder;
using engine::Linear;
using Network = std::shared_ptr<const engine::ControlNetwork>;

constexpr int64_t kPixelsPerLatent = 8;
constexpr int64_t kUnionHeads = 8, kKindSinusoid = 256;

// What networks of several kinds do to the picture's features, a layer of a transformer over their mean, and to the
// embedding. Source: the published ControlNet Union (Apache-2.0), by its tensors.
struct KindMixer {
  engine::Param task_embedding;  // [kinds,C]
  std::vector<text::FusedClipBlock> layers;
  Linear channel, add_in, add_out;
  int64_t kinds = 0;

  void Take(LayerBuilder& b, int64_t channels, int64_t embedding) {
    kinds = b.weights().Dim("task_embedding", 0);
    task_embedding = b.Take("task_embedding", {kinds, channels});
    layers = text::TakeFusedClipBlocks(b, "transformer_layes.", channels);
    channel = b.TakeLinear("spatial_ch_projs", channels, channels);
    add_in = b.TakeLinear("control_add_embedding.linear_1", 0, embedding);
    add_out = b.TakeLinear("control_add_embedding.linear_2", embedding, embedding);
  }

  // features [N,C,h,w] of a picture of these kinds.
  at::Tensor Mix(const at::Tensor& features, const std::vector<int64_t>& shown) const {
    at::Tensor x = features.mean({2, 3});
    const at::Tensor table = task_embedding->As(features.scalar_type());
    for (const int64_t kind : shown) x = x + table[kind];
    x = x.unsqueeze(1);
    for (const text::FusedClipBlock& layer : layers) x = layer(std::move(x), kUnionHeads);
    return features + channel(x.squeeze(1)).unsqueeze(-1).unsqueeze(-1);
  }

  // The embedding's offset [1,4mc].
  at::Tensor Offset(const std::vector<int64_t>& shown, const at::TensorOptions& options) const {
    at::Tensor marks = at::zeros({kinds}, at::TensorOptions(options.device()).dtype(at::kFloat));
    for (const int64_t kind : shown) marks[kind] = 1;
    const at::Tensor flat = engine::SinusoidalEmbedding(marks, kKindSinusoid).view({1, -1}).to(options);
    return add_out(at::silu(add_in(flat)));
  }
};

class UNetControl final : public engine::ControlNetwork {
 public:
  UNetControl(bool averaged, engine::Engine& engine)
      : params_(engine.device(), engine::Part::kDiffusion, engine.residency()), averaged_(averaged) {}

  Status Build(const engine::WeightSource& weights) {
    LayerBuilder b(weights, params_);
    const UNetShape shape = ShapeOfUNet(weights);
    // SD2 is the one that has linear projections and no vector.
    encoder_ = TakeUNetEncoder(b, shape.linear_projection && shape.vector_width == 0);
    RETURN_IF_ERROR(b.status());
    hint_channels_ = weights.Dim("input_hint_block.0.weight", 1);
    int64_t channels = hint_channels_;
    for (int64_t i = 0; weights.Has(Cat("input_hint_block.", i, ".weight")); i += 2) {
      const int64_t out = weights.Dim(Cat("input_hint_block.", i, ".weight"), 0);
      const bool halves = i == 4 || i == 8 || i == 12;
      hint_.push_back(b.TakeConv(Cat("input_hint_block.", i), channels, out, 3, halves ? 2 : 1));
      channels = out;
    }
    if (channels != shape.model_channels || hint_.size() != 8)
      b.Fail(Cat("its \"input_hint_block\" has ", hint_.size(), " layers and ends with ", channels,
                 " channels, expected 8 and ", shape.model_channels));
    const std::vector<int64_t>& blocks = encoder_->block_channels();
    for (size_t i = 0; i < blocks.size(); ++i)
      zero_.push_back(b.TakeConv(Cat("zero_convs.", i, ".0"), blocks[i], blocks[i], 1));
    zero_middle_ = b.TakeConv("middle_block_out.0", encoder_->middle_channels(), encoder_->middle_channels(), 1);
    if (weights.Has("task_embedding")) {
      mixer_.emplace();
      mixer_->Take(b, channels, shape.model_channels * 4);
    }
    return b.status();
  }

  StatusOr<std::vector<at::Tensor>> Prepare(const engine::ControlPicture& picture, int64_t height, int64_t width,
                                            const engine::LatentFormat&) const override {
    ASSIGN_OR_RETURN(const at::Tensor pixels,
                     HintPixels(picture.pixels, height * kPixelsPerLatent, width * kPixelsPerLatent, hint_channels_));
    params_.Load();
    const auto options = at::TensorOptions(params_.device()).dtype(params_.compute());
    at::Tensor features = pixels.to(options);
    for (size_t i = 0; i < hint_.size(); ++i) {
      if (i > 0) features = at::silu(features);
      features = hint_[i](features);
    }
    if (!mixer_ || picture.kinds.empty()) return std::vector<at::Tensor>{features, at::Tensor()};
    for (const int64_t kind : picture.kinds) {
      if (kind < 0 || kind >= mixer_->kinds)
        return InvalidArgument("the control network knows ", mixer_->kinds, " kinds of pictures, kind ", kind,
                               " is not among them; choose another type");
    }
    const at::Tensor offset = mixer_->Offset(picture.kinds, options);
    return std::vector<at::Tensor>{mixer_->Mix(features, picture.kinds),
                                   offset.expand({features.size(0), offset.size(1)})};
  }

  engine::ControlResiduals Residuals(const std::vector<at::Tensor>& prepared, const at::Tensor& x, const at::Tensor& t,
                                     const engine::ModelCallInputs& inputs) const override {
    params_.Load();
    const std::vector<at::Tensor> results = encoder_->Encode(x, t, inputs, prepared[1], prepared[0]);
    engine::ControlResiduals residuals;
    for (size_t i = 0; i < zero_.size(); ++i) residuals.output.push_back(Averaged(zero_[i](results[i])));
    residuals.middle.push_back(Averaged(zero_middle_(results.back())));
    return residuals;
  }

 private:
  at::Tensor Averaged(const at::Tensor& t) const { return averaged_ ? t.mean({2, 3}, true).expand_as(t) : t; }

  mutable engine::ParamSet params_;
  bool averaged_;
  std::unique_ptr<const UNetEncoder> encoder_;
  int64_t hint_channels_ = 3;
  std::vector<Conv2d> hint_, zero_;
  Conv2d zero_middle_;
  std::optional<KindMixer> mixer_;
};

// The layers of diffusers' residual blocks under the names first published.
std::string RenamedResnet(const std::string& name) {
  static const std::pair<const char*, const char*> kNames[] = {
      {"norm1.", "in_layers.0."},  {"conv1.", "in_layers.2."},  {"time_emb_proj.", "emb_layers.1."},
      {"norm2.", "out_layers.0."}, {"conv2.", "out_layers.3."}, {"conv_shortcut.", "skip_connection."}};
  for (const auto& [from, to] : kNames)
    if (name.starts_with(from)) return to + name.substr(std::string_view(from).size());
  return name;
}

struct Rename {
  std::string from, to;
  bool resnet = false;
};

// Where the parts of a file of diffusers belong.
std::vector<Rename> DiffusersParts(const engine::WeightSource& file) {
  std::vector<Rename> parts{{"conv_in.", "input_blocks.0.0."},
                            {"time_embedding.linear_1.", "time_embed.0."},
                            {"time_embedding.linear_2.", "time_embed.2."},
                            {"add_embedding.linear_1.", "label_emb.0.0."},
                            {"add_embedding.linear_2.", "label_emb.0.2."},
                            {"controlnet_cond_embedding.conv_in.", "input_hint_block.0."},
                            {"controlnet_mid_block.", "middle_block_out.0."}};
  const int64_t hints = file.CountBlocks("controlnet_cond_embedding.blocks.");
  for (int64_t i = 0; i < hints; ++i)
    parts.push_back({Cat("controlnet_cond_embedding.blocks.", i, "."), Cat("input_hint_block.", 2 * i + 2, ".")});
  parts.push_back({"controlnet_cond_embedding.conv_out.", Cat("input_hint_block.", 2 * hints + 2, ".")});
  for (int64_t i = 0; i < file.CountBlocks("controlnet_down_blocks."); ++i)
    parts.push_back({Cat("controlnet_down_blocks.", i, "."), Cat("zero_convs.", i, ".0.")});
  int64_t block = 1;
  for (int64_t i = 0; i < file.CountBlocks("down_blocks."); ++i) {
    const std::string down = Cat("down_blocks.", i, ".");
    for (int64_t j = 0; j < file.CountBlocks(down + "resnets."); ++j, ++block) {
      parts.push_back({Cat(down, "resnets.", j, "."), Cat("input_blocks.", block, ".0."), true});
      parts.push_back({Cat(down, "attentions.", j, "."), Cat("input_blocks.", block, ".1.")});
    }
    if (file.HasPrefix(down + "downsamplers.0.")) {
      parts.push_back({down + "downsamplers.0.conv.", Cat("input_blocks.", block, ".0.op.")});
      ++block;
    }
  }
  const bool attends = file.HasPrefix("mid_block.attentions.0.");
  parts.push_back({"mid_block.resnets.0.", "middle_block.0.", true});
  parts.push_back({"mid_block.attentions.0.", "middle_block.1."});
  parts.push_back({"mid_block.resnets.1.", attends ? "middle_block.2." : "middle_block.1.", true});
  return parts;
}

bool IsDiffusers(const engine::WeightSource& file) { return file.Has("controlnet_cond_embedding.conv_in.weight"); }

StatusOr<Network> BuildDiffusers(const engine::WeightSource& file, engine::Engine& engine) {
  const std::vector<Rename> parts = DiffusersParts(file);
  return BuildUNetControl(file.Renamed([&parts](const std::string& name) {
    for (const Rename& part : parts) {
      if (!name.starts_with(part.from)) continue;
      const std::string rest = name.substr(part.from.size());
      return part.to + (part.resnet ? RenamedResnet(rest) : rest);
    }
    return name;
  }),
                          engine);
}

bool IsClassic(const engine::WeightSource& file) { return file.Has("zero_convs.0.0.weight"); }

ATELIER_REGISTER_CONTROL("diffusers", 20, {IsDiffusers, BuildDiffusers});
ATELIER_REGISTER_CONTROL("classic", 80, {IsClassic, BuildUNetControl});

}  // namespace

StatusOr<Network> BuildUNetControl(const engine::WeightSource& weights, engine::Engine& engine) {
  return engine::Guard([&]() -> StatusOr<Network> {
    std::string name = weights.file();
    name = name.substr(0, name.rfind('.'));
    return BuildNetwork<engine::ControlNetwork, UNetControl>(
        weights, name.ends_with("_shuffle") || name.ends_with("_shuffle_fp16"), engine);
  });
}

}  // namespace atelier::models
