#include <ATen/ATen.h>

#include "common/base/registry.h"
#include "common/executor/executor.h"
#include "worker/engine/picture_parts.h"
#include "worker/engine/types.h"
#include "worker/engine/video.h"

namespace atelier {
namespace {

// What it keeps alive: of a part of a batch, the whole batch.
int64_t Bytes(const at::Tensor& tensor) {
  if (!tensor.defined()) return 0;
  return static_cast<int64_t>(tensor.has_storage() ? tensor.storage().nbytes() : tensor.nbytes());
}

template <typename T>
bool Register(std::string_view type, int64_t (*bytes)(const T&)) {
  return Registry<ValueSize>::Get().Add(type, 0, ValueSize{[bytes](const Value& value) {
                                          const T* object = value.Get<T>();
                                          return object == nullptr ? 0 : bytes(*object);
                                        }});
}

int64_t Bytes(const engine::PictureParts& picture) {
  int64_t bytes = 0;
  for (const auto& [box, pixels] : picture.parts) bytes += Bytes(pixels);
  return bytes;
}

int64_t BytesInParts(const engine::AppliedControl& control) {
  const auto* shown = dynamic_cast<const engine::ShownInParts*>(control.net.network.get());
  return shown == nullptr ? 0 : Bytes(shown->picture());
}

const bool kImage = Registry<ValueSize>::Get().Add("IMAGE", 0, ValueSize{[](const Value& value) -> int64_t {
                                                     if (const auto* image = value.Get<engine::Image>())
                                                       return Bytes(image->pixels);
                                                     const auto* parts = value.Get<engine::PictureParts>();
                                                     return parts == nullptr ? 0 : Bytes(*parts);
                                                   }});
const bool kMask = Register<engine::Mask>("MASK", [](const engine::Mask& mask) { return Bytes(mask.values); });
const bool kLatent = Register<engine::Latent>(
    "LATENT", [](const engine::Latent& latent) { return Bytes(latent.samples) + Bytes(latent.noise_mask); });
const bool kSigmas =
    Register<engine::Sigmas>("SIGMAS", [](const engine::Sigmas& sigmas) { return Bytes(sigmas.values); });
const bool kAudio = Register<engine::Audio>("AUDIO", [](const engine::Audio& audio) { return Bytes(audio.waveform); });
const bool kVideo = Register<engine::Video>("VIDEO", [](const engine::Video& video) {
  return Bytes(video.images.pixels) + (video.audio ? Bytes(video.audio->waveform) : 0) +
         (video.file == nullptr ? 0 : static_cast<int64_t>(video.file->size()));
});
const bool kConditioning = Register<engine::Conditioning>("CONDITIONING", [](const engine::Conditioning& conditioning) {
  int64_t bytes = 0;
  for (const engine::CondEntry& entry : conditioning.entries) {
    bytes += Bytes(entry.cond);
    for (const auto& [name, tensor] : entry.tensors) bytes += Bytes(tensor);
    for (const engine::AppliedControl* c = entry.control.get(); c != nullptr; c = c->previous.get())
      bytes += Bytes(c->picture.pixels) + Bytes(c->picture.mask) + BytesInParts(*c);
  }
  return bytes;
});

}  // namespace
}  // namespace atelier
