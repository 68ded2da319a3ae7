#include "worker/nodes/wan_support.h"

#include <algorithm>

#include "worker/nodes/resize.h"

namespace atelier::nodes {

Status CheckVideoVae(const Vae& vae, int64_t channels) {
  if (vae.autoencoder == nullptr) return InvalidArgument("the checkpoint holds no autoencoder; use Load VAE");
  if (vae.autoencoder->frame_ratio() == 0)
    return InvalidArgument("vae is one for pictures, expected one for videos; load WAN's VAE");
  if (channels != 0 && vae.autoencoder->channels() != channels)
    return InvalidArgument("vae makes latents of ", vae.autoencoder->channels(), " channels, expected ", channels,
                           "; load the VAE of ", channels == 48 ? "WAN 2.2 (5B)" : "WAN 2.1");
  return OkStatus();
}

StatusOr<at::Tensor> ZeroVideo(const VideoSize& size, int64_t channels, int64_t ratio) {
  const std::initializer_list<int64_t> shape = {size.batch_size, channels, size.latent_frames(), size.height / ratio,
                                                size.width / ratio};
  RETURN_IF_ERROR(CheckTensorSize("empty latent", shape));
  return Guard([&] { return at::zeros(shape, at::kFloat); });
}

StatusOr<at::Tensor> FitFrames(std::string_view what, const Image& pictures, const VideoSize& size, bool from_end) {
  RETURN_IF_ERROR(CheckPixels(what, pictures));
  if (pictures.pixels.size(3) < 3)
    return InvalidArgument(what, " has ", pictures.pixels.size(3), " channels, expected 3");
  RETURN_IF_ERROR(CheckTensorSize("video", {size.length, size.height, size.width, 3}));
  const int64_t have = pictures.pixels.size(0), count = std::min(have, size.length);
  const at::Tensor taken = pictures.pixels.narrow(0, from_end ? have - count : 0, count).narrow(3, 0, 3);
  return ResizePixels(taken, size.width, size.height, "bilinear", "center");
}

void SetTensor(Conditioning& conditioning, const std::string& key, const at::Tensor& tensor) {
  for (CondEntry& entry : conditioning.entries) entry.tensors[key] = tensor;
}

void AppendTensor(CondEntry& entry, const std::string& key, const at::Tensor& tensor) {
  int64_t count = 0;
  while (entry.tensors.contains(Cat(key, ".", count))) ++count;
  entry.tensors[Cat(key, ".", count)] = tensor;
}

Status AddVision(Conditioning& positive, Conditioning& negative, const engine::VisionOutput* first,
                 const engine::VisionOutput* second) {
  std::vector<at::Tensor> seen;
  for (const engine::VisionOutput* output : {first, second}) {
    if (output == nullptr) continue;
    if (!output->penultimate.defined() || output->penultimate.dim() != 3)
      return InvalidArgument("clip_vision_output has no tokens; use a CLIP vision encoder");
    seen.push_back(output->penultimate);
  }
  if (seen.empty()) return OkStatus();
  if (seen.size() == 2 && (seen[0].size(0) != seen[1].size(0) || seen[0].size(2) != seen[1].size(2)))
    return InvalidArgument(
        "the two vision outputs differ in batch or width; describe one picture each, by one encoder");
  const at::Tensor tokens = seen.size() == 1 ? seen[0] : at::cat(seen, 1);
  SetTensor(positive, "clip_vision_output", tokens);
  SetTensor(negative, "clip_vision_output", tokens);
  return OkStatus();
}

at::Tensor FrameChannels(const at::Tensor& mask) {
  return mask.view({1, mask.size(2) / 4, 4, mask.size(3), mask.size(4)}).transpose(1, 2).contiguous();
}

}  // namespace atelier::nodes
