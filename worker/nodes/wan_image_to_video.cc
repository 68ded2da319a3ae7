// Videos from their first frames, or from first and last ones. Source: spec engine.md 9.3 "Nodes", 12.3.
#include <algorithm>

#include "worker/models/wan_latents.h"
#include "worker/nodes/wan_support.h"

namespace atelier::nodes {
namespace {

using engine::VisionOutput;
const VisionOutput* Pointer(const std::optional<VisionOutput>& output) { return output ? &*output : nullptr; }

// A grey video of which some frames are known.
StatusOr<at::Tensor> GreyVideo(const VideoSize& size) {
  RETURN_IF_ERROR(CheckTensorSize("video", {size.length, size.height, size.width, 3}));
  return Guard([&] { return at::full({size.length, size.height, size.width, 3}, 0.5, at::kFloat); });
}

struct WanImageToVideo : VideoInputs {
  using T = WanImageToVideo;
  std::optional<VisionOutput> clip_vision_output;
  std::optional<Image> start_image;

  static void Describe(NodeSchema<T>& s) {
    s.Name("WanImageToVideo").Category("conditioning/video_models");
    s.Description("Prepares a video that begins with given pictures, for WAN's image-to-video models.");
    DescribeInputs(s);
    s.Input<&T::clip_vision_output>("clip_vision_output").Tooltip("What CLIP vision sees in the first picture.");
    s.Input<&T::start_image>("start_image").Tooltip("The first frames.");
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
    ASSIGN_OR_RETURN(latent.samples, ZeroVideo(*this, 16, 8));
    if (start_image) {
      ASSIGN_OR_RETURN(const at::Tensor start, FitFrames("start_image", *start_image, *this));
      ASSIGN_OR_RETURN(at::Tensor video, GreyVideo(*this));
      video.narrow(0, 0, start.size(0)).copy_(start);
      ASSIGN_OR_RETURN(const at::Tensor picture, vae.autoencoder->Encode(video));
      at::Tensor mask = at::ones({1, 1, latent_frames(), picture.size(-2), picture.size(-1)});
      mask.narrow(2, 0, (start.size(0) - 1) / 4 + 1).zero_();
      for (Conditioning* conditioning : {&to, &from}) {
        SetTensor(*conditioning, "concat_latent_image", picture);
        SetTensor(*conditioning, "concat_mask", mask);
      }
    }
    RETURN_IF_ERROR(AddVision(to, from, Pointer(clip_vision_output)));
    return out;
  }
};
ATELIER_REGISTER_NODE(WanImageToVideo);

// What both nodes of first and last frames do.
StatusOr<PreparedVideo> BetweenFrames(const VideoInputs& in, const std::optional<Image>& start_image,
                                      const std::optional<Image>& end_image, const VisionOutput* first,
                                      const VisionOutput* last) {
  RETURN_IF_ERROR(CheckVideoVae(in.vae));
  const int64_t ratio = in.vae.autoencoder->ratio();
  PreparedVideo out{in.positive, in.negative, {}};
  auto& [to, from, latent] = out;
  ASSIGN_OR_RETURN(latent.samples, ZeroVideo(in, in.vae.autoencoder->channels(), ratio));
  ASSIGN_OR_RETURN(at::Tensor video, GreyVideo(in));
  at::Tensor mask = at::ones({1, 1, in.latent_frames() * 4, in.height / ratio, in.width / ratio});
  if (start_image) {
    ASSIGN_OR_RETURN(const at::Tensor start, FitFrames("start_image", *start_image, in));
    video.narrow(0, 0, start.size(0)).copy_(start);
    mask.narrow(2, 0, std::min(start.size(0) + 3, mask.size(2))).zero_();
  }
  if (end_image) {
    ASSIGN_OR_RETURN(const at::Tensor end, FitFrames("end_image", *end_image, in, /*from_end=*/true));
    video.narrow(0, in.length - end.size(0), end.size(0)).copy_(end);
    mask.narrow(2, mask.size(2) - end.size(0), end.size(0)).zero_();
  }
  ASSIGN_OR_RETURN(const at::Tensor picture, in.vae.autoencoder->Encode(video));
  mask = FrameChannels(mask);
  for (Conditioning* conditioning : {&to, &from}) {
    SetTensor(*conditioning, "concat_latent_image", picture);
    SetTensor(*conditioning, "concat_mask", mask);
  }
  RETURN_IF_ERROR(AddVision(to, from, first, last));
  return out;
}

struct WanFirstLastFrameToVideo : VideoInputs {
  using T = WanFirstLastFrameToVideo;
  std::optional<VisionOutput> clip_vision_start_image, clip_vision_end_image;
  std::optional<Image> start_image, end_image;

  static void Describe(NodeSchema<T>& s) {
    s.Name("WanFirstLastFrameToVideo").Category("conditioning/video_models");
    s.Description("Prepares a video between given first and last frames.");
    DescribeInputs(s);
    s.Input<&T::clip_vision_start_image>("clip_vision_start_image").Tooltip("What CLIP vision sees in the first one.");
    s.Input<&T::clip_vision_end_image>("clip_vision_end_image").Tooltip("What CLIP vision sees in the last one.");
    s.Input<&T::start_image>("start_image").Tooltip("The first frames.");
    s.Input<&T::end_image>("end_image").Tooltip("The last frames.");
    DescribeOutputs(s);
  }
  StatusOr<PreparedVideo> Run(NodeContext&) const {
    return Guard([this] {
      return BetweenFrames(*this, start_image, end_image, Pointer(clip_vision_start_image),
                           Pointer(clip_vision_end_image));
    });
  }
};
ATELIER_REGISTER_NODE(WanFirstLastFrameToVideo);

struct WanFunInpaintToVideo : VideoInputs {
  using T = WanFunInpaintToVideo;
  std::optional<VisionOutput> clip_vision_output;
  std::optional<Image> start_image, end_image;

  static void Describe(NodeSchema<T>& s) {
    s.Name("WanFunInpaintToVideo").Category("conditioning/video_models");
    s.Description("Prepares a video between given first and last frames, for WAN's Fun inpainting models.");
    DescribeInputs(s);
    s.Input<&T::clip_vision_output>("clip_vision_output").Tooltip("What CLIP vision sees in the first picture.");
    s.Input<&T::start_image>("start_image").Tooltip("The first frames.");
    s.Input<&T::end_image>("end_image").Tooltip("The last frames.");
    DescribeOutputs(s);
  }
  StatusOr<PreparedVideo> Run(NodeContext&) const {
    return Guard([this] { return BetweenFrames(*this, start_image, end_image, Pointer(clip_vision_output), nullptr); });
  }
};
ATELIER_REGISTER_NODE(WanFunInpaintToVideo);

struct Wan22ImageToVideoLatent : VideoSize {
  using T = Wan22ImageToVideoLatent;
  static constexpr VideoSize kDefaults{1280, 704, 49};
  Vae vae;
  std::optional<Image> start_image;

  Wan22ImageToVideoLatent() : VideoSize(kDefaults) {}

  static void Describe(NodeSchema<T>& s) {
    s.Name("Wan22ImageToVideoLatent").Category("conditioning/inpaint");
    s.Description("The start of a video of WAN 2.2 5B: empty, or with given first frames that stay.");
    s.Input<&T::vae>("vae").Tooltip("WAN 2.2's autoencoder.");
    DescribeSize(s, kDefaults, 32);
    s.Input<&T::start_image>("start_image").Tooltip("The first frames.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckVideoVae(vae, 48));
    Latent latent;
    ASSIGN_OR_RETURN(latent.samples, ZeroVideo(*this, 48, 16));
    if (!start_image) return latent;
    ASSIGN_OR_RETURN(const at::Tensor start, FitFrames("start_image", *start_image, *this));
    ASSIGN_OR_RETURN(const at::Tensor picture, vae.autoencoder->Encode(start));
    return Guard([&] {
      at::Tensor mask = at::ones({batch_size, 1, latent_frames(), latent.samples.size(-2), latent.samples.size(-1)});
      mask.narrow(2, 0, picture.size(2)).zero_();
      latent.samples = models::Wan22Latents().ProcessOut(latent.samples);
      latent.samples.narrow(2, 0, picture.size(2)).copy_(picture.expand({batch_size, -1, -1, -1, -1}));
      latent.noise_mask = std::move(mask);
      return latent;
    });
  }
};
ATELIER_REGISTER_NODE(Wan22ImageToVideoLatent);

}  // namespace
}  // namespace atelier::nodes
