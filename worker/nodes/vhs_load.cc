#include "worker/nodes/vhs_load.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "worker/nodes/resize.h"

namespace atelier::nodes {
namespace {

const std::array<std::pair<const char*, VhsPreset>, 7> kPresets = {{{"None", {1, 1, 0}},
                                                                    {"AnimateDiff", {8, 1, 0}},
                                                                    {"Mochi", {16, 6, 1}},
                                                                    {"LTXV", {32, 8, 1}},
                                                                    {"Hunyuan", {16, 4, 1}},
                                                                    {"Cosmos", {16, 8, 1}},
                                                                    {"Wan", {8, 4, 1}}}};
constexpr int64_t kPiece = 16;  // frames that are floats at a time while they are resized

}  // namespace

std::vector<std::string> VhsLoadFormats() {
  std::vector<std::string> names;
  for (const auto& [name, preset] : kPresets) names.emplace_back(name);
  return names;
}

StatusOr<VhsPreset> FindVhsPreset(const std::string& format) {
  for (const auto& [name, preset] : kPresets)
    if (format == name) return preset;
  return InvalidArgument("format \"", format, "\" is unknown; for example Wan or None");
}

Status VhsVideoInputs::Blame(const Status& status) const {
  return status.ok() ? status : Annotate(status, Cat("input file \"", video, "\""));
}

StatusOr<VhsVideo> VhsVideoInputs::OpenVideo(NodeContext& ctx) const {
  VhsVideo opened;
  ASSIGN_OR_RETURN(opened.preset, FindVhsPreset(format.value_or("None")));
  ASSIGN_OR_RETURN(std::string bytes, ctx.InputFile(video));
  opened.bytes = std::make_shared<const std::string>(std::move(bytes));
  const StatusOr<media::MediaInfo> probed = media::Probe(*opened.bytes);
  if (!probed.ok()) return Blame(probed.status());
  if (!probed->video.has_value()) return Blame(InvalidArgument("the file has no video"));
  opened.source = *probed->video;
  if (!(opened.source.fps > 0)) return Blame(InvalidArgument("the file does not say how many frames a second it has"));
  const bool encodes = vae.has_value() && vae->autoencoder != nullptr;
  opened.side = encodes ? vae->autoencoder->ratio() : opened.preset.side;
  return opened;
}

StatusOr<VhsSize> VhsLoadSize(int64_t width, int64_t height, int64_t custom_width, int64_t custom_height,
                              int64_t side) {
  auto w = static_cast<double>(width), h = static_cast<double>(height);
  if (custom_width > 0 && custom_height > 0) {
    w = static_cast<double>(custom_width);
    h = static_cast<double>(custom_height);
  } else if (custom_width > 0) {
    h *= static_cast<double>(custom_width) / w;
    w = static_cast<double>(custom_width);
  } else if (custom_height > 0) {
    w *= static_cast<double>(custom_height) / h;
    h = static_cast<double>(custom_height);
  }
  const auto rounded = [&](double v) { return static_cast<int64_t>(v / static_cast<double>(side) + 0.5) * side; };
  const VhsSize size{rounded(w), rounded(h)};
  if (size.width < 1 || size.height < 1)
    return InvalidArgument("pictures of ", width, "x", height, " would become ", size.width, "x", size.height,
                           " in multiples of ", side, "; choose another format or a custom size");
  return size;
}

StatusOr<at::Tensor> VhsResize(const at::Tensor& frames, const VhsSize& size) {
  const int64_t n = frames.size(0);
  RETURN_IF_ERROR(CheckTensorSize("loaded video", {n, size.height, size.width, 3}));
  if (frames.size(1) == size.height && frames.size(2) == size.width) return frames.to(at::kFloat).div_(255.0);
  at::Tensor out = at::empty({n, size.height, size.width, 3}, at::kFloat);
  for (int64_t at = 0; at < n; at += kPiece) {
    const int64_t count = std::min(kPiece, n - at);
    ASSIGN_OR_RETURN(const at::Tensor piece, ResizePixels(frames.narrow(0, at, count).to(at::kFloat).div_(255.0),
                                                          size.width, size.height, "lanczos", "center"));
    out.narrow(0, at, count).copy_(piece);
  }
  return out;
}

StatusOr<Value> VhsPicturesOrLatents(NodeContext& ctx, const at::Tensor& pixels, const std::optional<Vae>& vae) {
  if (!vae.has_value()) return Value::Of<Image>("IMAGE", Image{pixels});
  if (vae->autoencoder == nullptr) return InvalidArgument("the checkpoint holds no autoencoder; use Load VAE");
  const int64_t piece = std::max<int64_t>(1, int64_t{1920} * 1080 * 16 / (pixels.size(1) * pixels.size(2)));
  std::vector<at::Tensor> parts;
  for (int64_t at = 0; at < pixels.size(0); at += piece) {
    if (ctx.cancelled()) return Cancelled("cancelled");
    ASSIGN_OR_RETURN(at::Tensor part,
                     vae->autoencoder->Encode(pixels.narrow(0, at, std::min(piece, pixels.size(0) - at))));
    parts.push_back(std::move(part));
  }
  Latent latent;
  latent.samples = at::cat(parts, 0);
  return Value::Of<Latent>("LATENT", std::move(latent));
}

StatusOr<Audio> VhsAudio(std::string_view bytes, double start, double seconds) {
  ASSIGN_OR_RETURN(const auto sound, media::DecodeAudio(bytes, start, seconds));
  if (!sound.has_value()) return Audio{at::zeros({1, 2, 0}, at::kFloat), 44100};
  return ToAudio(*sound);
}

}  // namespace atelier::nodes
