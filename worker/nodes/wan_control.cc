// Videos that follow a control video: WAN's Fun control models and VACE. Source: spec engine.md 9.3 "Nodes", 12.3.
#include <algorithm>

#include "worker/models/wan_latents.h"
#include "worker/nodes/resize.h"
#include "worker/nodes/wan_support.h"

namespace atelier::nodes {
namespace {

using engine::VisionOutput;
// Two empty latents of a video on the channels, one picture in each of them known from its first frame on.
struct TwoLatents {
  at::Tensor latent;  // f32 [batch, 2C, T, h, w]
  int64_t channels = 0;

  static StatusOr<TwoLatents> Make(const Vae& vae, const VideoSize& size) {
    TwoLatents two;
    two.channels = vae.autoencoder->channels();
    ASSIGN_OR_RETURN(const at::Tensor zeros, ZeroVideo(size, two.channels, vae.autoencoder->ratio()));
    const engine::LatentFormat format = two.channels == 48 ? models::Wan22Latents() : models::Wan21Latents();
    return Guard([&]() -> StatusOr<TwoLatents> {
      two.latent = format.ProcessOut(zeros).repeat({1, 2, 1, 1, 1});
      return two;
    });
  }
  // Puts encoded frames into the first or the second one.
  Status Put(const Vae& vae, const at::Tensor& frames, bool second) const {
    ASSIGN_OR_RETURN(const at::Tensor encoded, vae.autoencoder->Encode(frames));
    const int64_t count = std::min(encoded.size(2), latent.size(2));
    latent.narrow(1, second ? channels : 0, channels)
        .narrow(2, 0, count)
        .copy_(encoded.narrow(2, 0, count).expand({latent.size(0), -1, -1, -1, -1}));
    return OkStatus();
  }
};

struct WanFunControlToVideo : VideoInputs {
  using T = WanFunControlToVideo;
  std::optional<VisionOutput> clip_vision_output;
  std::optional<Image> start_image, control_video;

  static void Describe(NodeSchema<T>& s) {
    s.Name("WanFunControlToVideo").Category("conditioning/video_models");
    s.Description("Prepares a video that follows a control video, for WAN 2.1's Fun control models.");
    DescribeInputs(s);
    s.Input<&T::clip_vision_output>("clip_vision_output").Tooltip("What CLIP vision sees in the first picture.");
    s.Input<&T::start_image>("start_image").Tooltip("The first frames.");
    s.Input<&T::control_video>("control_video").Tooltip("What the video follows: edges, depths, poses.");
    DescribeOutputs(s);
  }
  StatusOr<PreparedVideo> Run(NodeContext&) const {
    return Guard([this] { return Prepare(); });
  }

 private:
  StatusOr<PreparedVideo> Prepare() const {
    RETURN_IF_ERROR(CheckVideoVae(vae, 16));
    PreparedVideo out{positive, negative, {}};
    auto& [to, from, latent] = out;
    ASSIGN_OR_RETURN(latent.samples, ZeroVideo(*this, 16, 8));
    ASSIGN_OR_RETURN(const TwoLatents joined, TwoLatents::Make(vae, *this));
    if (start_image) {
      ASSIGN_OR_RETURN(const at::Tensor frames, FitFrames("start_image", *start_image, *this));
      RETURN_IF_ERROR(joined.Put(vae, frames, true));
    }
    if (control_video) {
      ASSIGN_OR_RETURN(const at::Tensor frames, FitFrames("control_video", *control_video, *this));
      RETURN_IF_ERROR(joined.Put(vae, frames, false));
    }
    for (Conditioning* conditioning : {&to, &from}) SetTensor(*conditioning, "concat_latent_image", joined.latent);
    RETURN_IF_ERROR(AddVision(to, from, clip_vision_output ? &*clip_vision_output : nullptr));
    return out;
  }
};
ATELIER_REGISTER_NODE(WanFunControlToVideo);

struct Wan22FunControlToVideo : VideoInputs {
  using T = Wan22FunControlToVideo;
  std::optional<Image> ref_image, control_video;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Wan22FunControlToVideo").Category("conditioning/video_models");
    s.Description("Prepares a video that follows a control video, for WAN 2.2's Fun control models.");
    DescribeInputs(s);
    s.Input<&T::ref_image>("ref_image").Tooltip("A picture of what the video shows.");
    s.Input<&T::control_video>("control_video").Tooltip("What the video follows: edges, depths, poses.");
    DescribeOutputs(s);
  }
  StatusOr<PreparedVideo> Run(NodeContext&) const {
    return Guard([this] { return Prepare(); });
  }

 private:
  StatusOr<PreparedVideo> Prepare() const {
    RETURN_IF_ERROR(CheckVideoVae(vae));
    PreparedVideo out{positive, negative, {}};
    auto& [to, from, latent] = out;
    ASSIGN_OR_RETURN(const TwoLatents joined, TwoLatents::Make(vae, *this));
    ASSIGN_OR_RETURN(latent.samples, ZeroVideo(*this, joined.channels, vae.autoencoder->ratio()));
    if (control_video) {
      ASSIGN_OR_RETURN(const at::Tensor frames, FitFrames("control_video", *control_video, *this));
      RETURN_IF_ERROR(joined.Put(vae, frames, false));
    }
    at::Tensor reference;
    if (ref_image) {
      ASSIGN_OR_RETURN(const at::Tensor frames, FitFrames("ref_image", *ref_image, *this));
      ASSIGN_OR_RETURN(reference, vae.autoencoder->Encode(frames.narrow(0, 0, 1)));
    }
    const at::Tensor mask =
        at::ones({1, 4, latent_frames(), latent.samples.size(-2), latent.samples.size(-1)}, at::kFloat);
    for (Conditioning* conditioning : {&to, &from}) {
      for (CondEntry& entry : conditioning->entries) {
        entry.tensors["concat_latent_image"] = joined.latent;
        entry.tensors["concat_mask"] = mask;
        entry.options["concat_mask_index"] = joined.channels;
        if (reference.defined()) AppendTensor(entry, "reference_latents", reference);
      }
    }
    return out;
  }
};
ATELIER_REGISTER_NODE(Wan22FunControlToVideo);

struct WanVaceToVideo : VideoInputs {
  using T = WanVaceToVideo;
  double strength = 1.0;
  std::optional<Image> control_video;
  std::optional<Mask> control_masks;
  std::optional<Image> reference_image;

  static void Describe(NodeSchema<T>& s) {
    s.Name("WanVaceToVideo").Category("conditioning/video_models");
    s.Description("Prepares a video that follows a control video where a mask says so, for WAN's VACE models.");
    DescribeInputs(s, "WAN 2.1's autoencoder.");
    s.Input<&T::strength>("strength").Default(1.0).Range(0.0, 1000.0).Step(0.01).Tooltip("How much it counts.");
    s.Input<&T::control_video>("control_video").Tooltip("The video to follow; grey where there is none.");
    s.Input<&T::control_masks>("control_masks").Tooltip("Where it is to be made anew; everywhere without one.");
    s.Input<&T::reference_image>("reference_image").Tooltip("A picture of what the video shows.");
    DescribeOutputs(s);
    s.Output<int64_t>("trim_latent");
  }
  using Controlled = std::tuple<Conditioning, Conditioning, Latent, int64_t>;
  StatusOr<Controlled> Run(NodeContext&) const {
    return Guard([this] { return Prepare(); });
  }

 private:
  StatusOr<Controlled> Prepare() const {
    RETURN_IF_ERROR(CheckVideoVae(vae, 16));
    RETURN_IF_ERROR(CheckTensorSize("video", {length, height, width, 3}));
    at::Tensor control = at::full({length, height, width, 3}, 0.5, at::kFloat);
    if (control_video) {
      ASSIGN_OR_RETURN(const at::Tensor frames, FitFrames("control_video", *control_video, *this));
      control.narrow(0, 0, frames.size(0)).copy_(frames);
    }
    at::Tensor mask = at::ones({length, 1, height, width}, at::kFloat);
    if (control_masks) {
      ASSIGN_OR_RETURN(const at::Tensor given, FitMasks());
      mask.narrow(0, 0, given.size(0)).copy_(given);
    }
    at::Tensor reference;
    if (reference_image) {
      ASSIGN_OR_RETURN(const at::Tensor frames, FitFrames("reference_image", *reference_image, *this));
      ASSIGN_OR_RETURN(reference, vae.autoencoder->Encode(frames.narrow(0, 0, 1)));
    }
    const at::Tensor colours = control - 0.5, where = mask.movedim(1, -1);
    ASSIGN_OR_RETURN(const at::Tensor kept, vae.autoencoder->Encode(colours * (1.0 - where) + 0.5));
    ASSIGN_OR_RETURN(const at::Tensor anew, vae.autoencoder->Encode(colours * where + 0.5));
    at::Tensor video = at::cat({kept, anew}, 1);
    // Eight by eight pixels of a mask on the channels.
    const int64_t rows = height / 8, columns = width / 8;
    at::Tensor fine = mask.narrow(2, height % 8 / 2, rows * 8).narrow(3, width % 8 / 2, columns * 8);
    fine = fine.reshape({length, rows, 8, columns, 8}).permute({2, 4, 0, 1, 3});
    fine = fine.reshape({1, 64, length, rows, columns});
    fine = at::_upsample_nearest_exact3d(fine, {latent_frames(), rows, columns});
    int64_t trim = 0;
    if (reference.defined()) {
      trim = reference.size(2);
      const at::Tensor empty = models::Wan21Latents().ProcessOut(at::zeros_like(reference));
      video = at::cat({at::cat({reference, empty}, 1), video}, 2);
      fine = at::cat({at::zeros({1, 64, trim, rows, columns}), fine}, 2);
    }
    Latent latent;
    latent.samples = at::zeros({batch_size, 16, latent_frames() + trim, rows, columns});
    Conditioning to = positive, from = negative;
    for (Conditioning* conditioning : {&to, &from}) {
      for (CondEntry& entry : conditioning->entries) {
        AppendTensor(entry, "vace_frames", video);
        AppendTensor(entry, "vace_mask", fine);
        Json& strengths = entry.options["vace_strength"];
        if (!strengths.is_array()) strengths = Json::array();
        strengths.push_back(strength);
      }
    }
    return Controlled(std::move(to), std::move(from), std::move(latent), trim);
  }

  // The masks at the video's size, f32 [n,1,height,width].
  StatusOr<at::Tensor> FitMasks() const {
    const at::Tensor& values = control_masks->values;
    RETURN_IF_ERROR(CheckMask("control_masks", *control_masks));
    const at::Tensor masks = values.reshape({-1, 1, values.size(-2), values.size(-1)});
    return ResizeSamples(masks.narrow(0, 0, std::min(masks.size(0), length)), width, height, "bilinear", "center");
  }
};
ATELIER_REGISTER_NODE(WanVaceToVideo);

}  // namespace
}  // namespace atelier::nodes
