#include "worker/nodes/resize.h"

#include <ATen/Parallel.h>

#include "common/image/bicubic.h"
#include "common/image/resize.h"

namespace atelier::nodes {
namespace {

at::Tensor CenterCrop(const at::Tensor& samples, int64_t width, int64_t height) {
  const int64_t old_width = samples.size(-1), old_height = samples.size(-2);
  const auto w = static_cast<double>(old_width), h = static_cast<double>(old_height);
  const double old_aspect = w / h, new_aspect = static_cast<double>(width) / static_cast<double>(height);
  int64_t x = 0, y = 0;
  if (old_aspect > new_aspect)
    x = RoundHalfEven((w - w * (new_aspect / old_aspect)) / 2);
  else if (old_aspect < new_aspect)
    y = RoundHalfEven((h - h * (old_aspect / new_aspect)) / 2);
  return samples.narrow(-2, y, old_height - 2 * y).narrow(-1, x, old_width - 2 * x);
}

StatusOr<at::Tensor> Lanczos(const at::Tensor& samples, int64_t width, int64_t height) {
  const at::Tensor pixels = samples.permute({0, 2, 3, 1});
  std::vector<ImageU8> pictures;
  for (int64_t i = 0; i < pixels.size(0); ++i) {
    ASSIGN_OR_RETURN(const ImageU8 picture, ToImageU8(pixels, i));
    ASSIGN_OR_RETURN(ImageU8 resized, Resize(picture, width, height, ResizeFilter::kLanczos));
    pictures.push_back(std::move(resized));
  }
  return ToPixels(pictures).permute({0, 3, 1, 2});
}

// Spherical interpolation of latent vectors b1, b2 [N,C] at r [N,1].
at::Tensor Slerp(const at::Tensor& b1, const at::Tensor& b2, const at::Tensor& r) {
  const at::Tensor norm1 = b1.norm(2, {-1}, true), norm2 = b2.norm(2, {-1}, true);
  const at::Tensor unit1 = at::where(norm1 == 0, at::zeros_like(b1), b1 / norm1);
  const at::Tensor unit2 = at::where(norm2 == 0, at::zeros_like(b2), b2 / norm2);
  const at::Tensor dot = (unit1 * unit2).sum(1, true);
  const at::Tensor omega = dot.acos(), so = omega.sin();
  at::Tensor mixed = ((1.0 - r) * omega).sin() / so * unit1 + (r * omega).sin() / so * unit2;
  mixed = mixed * (norm1 * (1.0 - r) + norm2 * r);
  mixed = at::where(dot > 1 - 1e-5, b1, mixed);
  return at::where(dot < 1e-5 - 1, b1 * (1.0 - r) + b2 * r, mixed);
}

// One axis of bislerp: `samples` [B,C,H,W] along W to `size`.
at::Tensor BislerpWidth(const at::Tensor& samples, int64_t size) {
  const int64_t width = samples.size(3);
  const at::Tensor ramp = at::arange(width, at::kFloat).view({1, 1, 1, width});
  const at::Tensor next = (ramp + 1).clamp_max(static_cast<double>(width - 1));
  const at::Tensor at1 = at::upsample_bilinear2d(ramp, {1, size}, false).view({-1});
  const at::Tensor at2 = at::upsample_bilinear2d(next, {1, size}, false).view({-1});
  const at::Tensor ratio = (at1 - at1.floor()).to(samples.device());
  const at::Tensor columns = samples.permute({0, 2, 3, 1});  // [B,H,W,C]
  const int64_t channels = samples.size(1);
  auto gather = [&](const at::Tensor& index) {
    return columns.index_select(2, index.to(samples.device(), at::kLong)).reshape({-1, channels});
  };
  const at::Tensor r = ratio.repeat({samples.size(0) * samples.size(2)}).view({-1, 1});
  return Slerp(gather(at1), gather(at2), r)
      .view({samples.size(0), samples.size(2), size, channels})
      .permute({0, 3, 1, 2});
}

at::Tensor BicubicInTwoPasses(const at::Tensor& pixels, int64_t width, int64_t height) {
  const at::Tensor source = pixels.contiguous();
  const FloatPictures pictures{source.const_data_ptr<float>(), source.size(1), source.size(2), source.size(3)};
  at::Tensor out = at::empty({source.size(0), height, width, pictures.channels}, at::kFloat);
  float* const rows = out.mutable_data_ptr<float>();
  at::parallel_for(0, source.size(0) * height, 32, [&](int64_t begin, int64_t end) {
    ResizeBicubic(pictures, height, width, begin, end, rows + begin * width * pictures.channels);
  });
  return out;
}

// Whether libtorch rounds on this processor as the two passes do: tried once.
bool TwoPassesAreLibtorchs() {
  static const bool same = [] {
    if (!HasFloatBicubic()) return false;
    const at::Tensor pixels = at::arange(31 * 43 * 3, at::kFloat).sin().view({1, 31, 43, 3});
    for (const auto& [width, height] : {std::pair<int64_t, int64_t>{101, 64}, {13, 17}}) {
      const at::Tensor expected = at::upsample_bicubic2d(pixels.movedim(-1, 1), {height, width}, false);
      if (!at::equal(BicubicInTwoPasses(pixels, width, height), expected.movedim(1, -1))) return false;
    }
    return true;
  }();
  return same;
}

at::Tensor Bicubic(const at::Tensor& samples, int64_t width, int64_t height) {
  const int64_t channels = samples.size(1);
  if (!samples.is_cpu() || samples.numel() == 0 || (channels != 1 && channels != 3 && channels != 4) ||
      !TwoPassesAreLibtorchs())
    return at::upsample_bicubic2d(samples, {height, width}, false);
  return BicubicInTwoPasses(samples.movedim(1, -1), width, height).movedim(-1, 1);
}

// In any layout.
StatusOr<at::Tensor> Resized(const at::Tensor& samples, int64_t width, int64_t height, const std::string& method,
                             const std::string& crop) {
  if (width < 1 || height < 1) return InvalidArgument("target size is ", width, "x", height, ", expected at least 1x1");
  RETURN_IF_ERROR(CheckTensorSize("resized picture", {samples.size(0), samples.size(1), height, width}));
  return Guard([&]() -> StatusOr<at::Tensor> {
    at::Tensor flat = samples.to(at::kFloat);
    if (samples.dim() == 5) flat = flat.movedim(2, 1).reshape({-1, samples.size(1), samples.size(3), samples.size(4)});
    if (crop == "center") flat = CenterCrop(flat, width, height);
    at::Tensor out;
    if (method == "nearest-exact") {
      out = at::_upsample_nearest_exact2d(flat, {height, width});
    } else if (method == "bilinear") {
      out = at::upsample_bilinear2d(flat, {height, width}, false);
    } else if (method == "area") {
      out = at::adaptive_avg_pool2d(flat, {height, width});
    } else if (method == "bicubic") {
      out = Bicubic(flat, width, height);
    } else if (method == "bislerp") {
      out = BislerpWidth(flat, width);
      out = BislerpWidth(out.transpose(2, 3), height).transpose(2, 3).contiguous();
    } else if (method == "lanczos") {
      ASSIGN_OR_RETURN(out, Lanczos(flat, width, height));
    } else {
      return InvalidArgument("upscale_method is \"", method, "\", expected nearest-exact, bilinear, area, bicubic, ",
                             "lanczos or bislerp");
    }
    if (samples.dim() == 5)
      out = out.reshape({samples.size(0), samples.size(2), samples.size(1), height, width}).movedim(1, 2);
    return out;
  });
}

}  // namespace

std::vector<std::string> ImageResizeMethods() { return {"nearest-exact", "bilinear", "area", "bicubic", "lanczos"}; }
std::vector<std::string> LatentResizeMethods() { return {"nearest-exact", "bilinear", "area", "bicubic", "bislerp"}; }
std::vector<std::string> CropMethods() { return {"disabled", "center"}; }

StatusOr<at::Tensor> ResizeSamples(const at::Tensor& samples, int64_t width, int64_t height, const std::string& method,
                                   const std::string& crop) {
  ASSIGN_OR_RETURN(const at::Tensor out, Resized(samples, width, height, method, crop));
  return out.contiguous();
}

StatusOr<at::Tensor> ResizePixels(const at::Tensor& pixels, int64_t width, int64_t height, const std::string& method,
                                  const std::string& crop) {
  ASSIGN_OR_RETURN(const at::Tensor out, Resized(pixels.movedim(-1, 1), width, height, method, crop));
  return out.movedim(1, -1).contiguous();
}

}  // namespace atelier::nodes
