// WAN 2.1 and 2.2: text, pictures, first and last frames, control videos, a camera to video. Source: spec
// engine.md 9.3.
#include "worker/models/wan.h"

#include "worker/models/family.h"
#include "worker/models/text_files.h"
#include "worker/models/unet_conditioning.h"
#include "worker/models/wan_latents.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::models::wan {
namespace {

constexpr double kShift = 8.0;
constexpr int64_t kMaskChannels = 4;  // a mask has one for each frame of a latent frame
constexpr int64_t kVaceChannels = 32, kVaceMaskChannels = 64;

// Networks of the same blocks with further inputs that are not supported, by a tensor that only they have.
constexpr std::pair<const char*, const char*> kOthers[] = {
    {"casual_audio_encoder.encoder.final_linear.weight", "speech to video (S2V)"},
    {"audio_proj.audio_proj_glob_1.layer.bias", "HuMo"},
    {"face_adapter.fuser_blocks.0.k_norm.weight", "Animate"}};

bool Detect(const engine::WeightSource& diffusion) { return diffusion.Has("head.modulation"); }

// A video at x's height and width, with as many items.
at::Tensor Fit(const at::Tensor& video, const at::Tensor& like) {
  const at::Tensor pictures = video.transpose(1, 2).flatten(0, 1);
  const at::Tensor fitted =
      FitLatent(pictures, like.narrow(0, 0, 1).select(2, 0).expand({pictures.size(0), -1, -1, -1}));
  const at::Tensor back = fitted.unflatten(0, {video.size(0), -1}).transpose(1, 2);
  return back.size(0) == like.size(0)
             ? back
             : back.repeat({(like.size(0) + back.size(0) - 1) / back.size(0), 1, 1, 1, 1}).narrow(0, 0, like.size(0));
}

// Model space for each group of a latent's channels.
at::Tensor ProcessGroups(const at::Tensor& video, const engine::LatentFormat& format) {
  std::vector<at::Tensor> groups;
  for (const at::Tensor& group : video.split(format.channels, 1)) groups.push_back(format.ProcessIn(group));
  return groups.size() == 1 ? groups[0] : at::cat(groups, 1);
}

// The mask of a picture's latent frames: 1 = given, with four channels.
at::Tensor ConcatMask(const engine::CondEntry& entry, const engine::CondRun& run) {
  const at::Tensor& latent = run.latent;
  const at::Tensor* given = TensorOf(entry, "concat_mask");
  if (given == nullptr && run.denoise_mask.defined()) given = &run.denoise_mask;
  if (given == nullptr) return at::zeros_like(latent.narrow(1, 0, kMaskChannels));
  at::Tensor mask = given->to(latent.options());
  if (mask.dim() < 5) mask = mask.reshape({1, 1, -1, mask.size(-2), mask.size(-1)});  // a mask a latent frame
  if (mask.size(1) != kMaskChannels) mask = mask.mean(1, true);
  mask = Fit(1.0 - mask, latent);
  const int64_t frames = latent.size(2);
  if (mask.size(2) < frames) mask = at::constant_pad_nd(mask, {0, 0, 0, 0, 0, frames - mask.size(2)});
  if (mask.size(1) == 1) mask = mask.repeat({1, kMaskChannels, 1, 1, 1});
  return mask;
}

// What is joined to the latent on `extra` channels: a picture's latent, with its mask where there is room for one.
StatusOr<at::Tensor> Concat(const engine::CondEntry& entry, const engine::CondRun& run, int64_t extra, bool pictures) {
  const at::Tensor& latent = run.latent;
  at::Tensor image;
  if (const at::Tensor* given = TensorOf(entry, "concat_latent_image")) {
    if (given->dim() != 5 || given->size(2) != latent.size(2))
      return InvalidArgument("the conditioning's picture is for a video of ", given->dim() == 5 ? given->size(2) : 0,
                             " latent frames, the latent has ", latent.size(2), "; use the latent of the same node");
    image = ProcessGroups(Fit(given->to(latent.options()), latent), run.latent_format);
  } else {
    std::vector<int64_t> shape = latent.sizes().vec();
    shape[1] = extra;
    image = at::zeros(shape, latent.options());
  }
  const bool with_mask = image.size(1) + kMaskChannels == extra || (pictures && image.size(1) != extra);
  if (!with_mask) {
    if (image.size(1) != extra)
      return InvalidArgument("the conditioning joins ", image.size(1), " channels to the latent, the model takes ",
                             extra, "; use the node that is for this model");
    return image;
  }
  image = image.narrow(1, 0, std::min(image.size(1), extra - kMaskChannels));
  const at::Tensor mask = ConcatMask(entry, run);
  if (mask.size(2) != latent.size(2))
    return InvalidArgument("the conditioning's mask is for ", mask.size(2), " latent frames, the latent has ",
                           latent.size(2), "; use the latent of the same node");
  const auto index = static_cast<int64_t>(OptionOr(entry, "concat_mask_index", 0));
  if (index <= 0 || index >= image.size(1)) return at::cat({mask, image}, 1);
  return at::cat({image.narrow(1, 0, index), mask, image.narrow(1, index, image.size(1) - index)}, 1);
}

// Control videos in model space with their masks, and how strong each is.
Status AddVace(const engine::CondEntry& entry, const engine::CondRun& run, engine::ModelCallInputs& inputs) {
  const at::Tensor& latent = run.latent;
  std::vector<at::Tensor> videos;
  std::vector<double> strengths;
  const auto given = entry.options.find("vace_strength");
  for (int64_t i = 0;; ++i) {
    const at::Tensor* frames = TensorOf(entry, Cat("vace_frames.", i).c_str());
    const at::Tensor* mask = TensorOf(entry, Cat("vace_mask.", i).c_str());
    if (frames == nullptr && i > 0) break;
    std::vector<int64_t> shape = latent.sizes().vec();
    shape[0] = 1;
    shape[1] = kVaceChannels;
    const at::Tensor video = frames != nullptr ? frames->to(latent.options()) : at::zeros(shape, latent.options());
    shape[1] = kVaceMaskChannels;
    const at::Tensor where = mask != nullptr ? mask->to(latent.options()) : at::ones(shape, latent.options());
    const auto fits = [&](const at::Tensor& t, int64_t channels) {
      return t.dim() == 5 && t.size(1) == channels && t.sizes().slice(2) == latent.sizes().slice(2);
    };
    if (!fits(video, kVaceChannels) || !fits(where, kVaceMaskChannels))
      return InvalidArgument(
          "the conditioning's control video has another size than the latent; use the latent of the ", "same node");
    videos.push_back(at::cat({ProcessGroups(video, run.latent_format), where}, 1));
    const bool known = given != entry.options.end() && given->is_array() && static_cast<int64_t>(given->size()) > i &&
                       (*given)[static_cast<size_t>(i)].is_number();
    strengths.push_back(known ? (*given)[static_cast<size_t>(i)].get<double>() : 1.0);
  }
  inputs.vace = at::stack(videos, 1);
  inputs.vace_strength = at::tensor(strengths, at::kFloat).unsqueeze(0).to(latent.device());
  return OkStatus();
}

engine::CondEncoder Encoder(const WanShape& shape) {
  return [shape](const engine::CondEntry& entry, const engine::CondRun& run) -> StatusOr<engine::ModelCallInputs> {
    engine::ModelCallInputs inputs;
    const auto options = run.latent.options();
    const int64_t extra = shape.channels - shape.out_channels;
    if (extra > 0) {
      ASSIGN_OR_RETURN(inputs.c_concat, Concat(entry, run, extra, shape.image_tokens));
    }
    if (shape.image_tokens) {
      if (const at::Tensor* seen = TensorOf(entry, "clip_vision_output")) inputs.clip_vision = seen->to(options);
    }
    if (shape.per_frame_time && run.denoise_mask.defined()) inputs.denoise_mask = run.denoise_mask;
    if (shape.reference) {
      const at::Tensor* last = nullptr;
      for (int64_t i = 0;; ++i) {
        const at::Tensor* reference = TensorOf(entry, Cat("reference_latents.", i).c_str());
        if (reference == nullptr) break;
        last = reference;
      }
      if (last != nullptr) {
        if (last->dim() != 5 || last->size(1) != shape.out_channels || last->size(3) != run.latent.size(3) ||
            last->size(4) != run.latent.size(4))
          return InvalidArgument("a reference latent of the conditioning is not of the form [batch, ",
                                 shape.out_channels, ", frames, ", run.latent.size(3), ", ", run.latent.size(4),
                                 "] as the latent; give its picture the video's size");
        inputs.ref_latents.push_back(run.latent_format.ProcessIn(last->to(options)).select(2, 0));
      }
    }
    if (shape.camera_channels > 0) {
      if (const at::Tensor* camera = TensorOf(entry, "camera_conditions")) inputs.camera = camera->to(options);
    }
    if (shape.vace_channels > 0) RETURN_IF_ERROR(AddVace(entry, run, inputs));
    return inputs;
  };
}

StatusOr<engine::Model> Build(const engine::WeightSource& diffusion, const engine::WeightSource&,
                              engine::Engine& engine) {
  for (const auto& [tensor, kind] : kOthers) {
    if (diffusion.Has(tensor))
      return InvalidArgument("file \"", diffusion.file(), "\" is a WAN model for ", kind,
                             ", which is not supported; choose one for text, pictures, control videos or a camera");
  }
  const WanShape shape = ShapeOfWan(diffusion);
  engine::Model model;
  model.latent_format = shape.out_channels == 48 ? Wan22Latents() : Wan21Latents();
  if (shape.out_channels != model.latent_format.channels || shape.channels < shape.out_channels)
    return InvalidArgument(
        "file \"", diffusion.file(), "\" is a WAN model of ", shape.channels, " input and ", shape.out_channels,
        " output channels, expected 16 or 48 to come out and as many or more to ", "go in; choose another file");
  if (shape.vace_channels != 0 && shape.vace_channels != kVaceChannels + kVaceMaskChannels)
    return InvalidArgument("file \"", diffusion.file(), "\" takes control videos of ", shape.vace_channels,
                           " channels, expected ", kVaceChannels + kVaceMaskChannels, "; choose another file");
  ASSIGN_OR_RETURN(model.network, BuildWan(diffusion, engine));
  model.sampling = engine::ModelSampling::DiscreteFlow(kShift);
  model.masked_is_clean = shape.per_frame_time;
  model.encode_cond = Encoder(shape);
  return model;
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> BuildText(const engine::WeightSource& file,
                                                               engine::Engine& engine) {
  const TextFiles files = TextFilesOfCheckpoint(file);
  if (!files.contains("t5")) return std::shared_ptr<const engine::TextEncoder>();
  return Registry<TextSet>::Get().Find("wan")->build(files, engine);
}

ATELIER_REGISTER_FAMILY("wan", {Detect, Build, BuildText});

}  // namespace
}  // namespace atelier::models::wan
