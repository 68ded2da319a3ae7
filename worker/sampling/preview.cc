#include "worker/sampling/preview.h"

#include <algorithm>
#include <cmath>

#include "common/image/codec.h"
#include "common/image/resize.h"

namespace atelier::engine {
namespace {

constexpr int64_t kPreviewSize = 512;
constexpr int kPreviewQuality = 95;

StatusOr<std::string> Preview(const at::Tensor& denoised, LatentColors colors) {
  const auto channels = static_cast<int64_t>(colors.size());
  if (denoised.dim() < 4 || denoised.dim() > 5 || denoised.size(1) != channels) return std::string();
  const at::Tensor first = denoised.dim() == 5 ? denoised[0].select(1, 0) : denoised[0];
  const at::Tensor latent = first.to(at::kCPU, at::kFloat).permute({1, 2, 0}).contiguous();
  const int64_t height = latent.size(0), width = latent.size(1);
  std::vector<float> rgb(static_cast<size_t>(height * width * 3));
  const float* in = latent.const_data_ptr<float>();
  for (int64_t p = 0; p < height * width; ++p) {
    for (int64_t c = 0; c < 3; ++c) {
      float v = 0;
      for (int64_t k = 0; k < channels; ++k)
        v += in[p * channels + k] * colors[static_cast<size_t>(k)][static_cast<size_t>(c)];
      rgb[static_cast<size_t>(p * 3 + c)] = std::clamp((v + 1) / 2, 0.0f, 1.0f);
    }
  }
  ASSIGN_OR_RETURN(ImageU8 image, QuantizeFloats(rgb.data(), width, height, 3));
  const double scale = static_cast<double>(kPreviewSize) / static_cast<double>(std::max(width, height));
  const auto to_width = std::max<int64_t>(1, std::lround(static_cast<double>(width) * scale));
  const auto to_height = std::max<int64_t>(1, std::lround(static_cast<double>(height) * scale));
  ASSIGN_OR_RETURN(image, Resize(image, to_width, to_height, ResizeFilter::kBilinear));
  return EncodeJpeg(image, kPreviewQuality);
}

}  // namespace

std::string PreviewJpeg(const at::Tensor& denoised, LatentColors colors) {
  StatusOr<std::string> bytes = Preview(denoised, colors);
  return bytes.ok() ? *std::move(bytes) : std::string();
}

}  // namespace atelier::engine
