#include "worker/nodes/support.h"

#include <cmath>
#include <cstring>

#include "common/base/limits.h"

namespace atelier::nodes {

Status CheckTensorSize(std::string_view what, std::initializer_list<int64_t> shape) {
  int64_t bytes = 4;
  bool too_large = false;
  for (const int64_t side : shape) {
    if (side < 0) return InvalidArgument(what, " would have a side of ", side, ", expected 0 or more");
    if (side != 0 && bytes > limits::kTensorBytesMax / side) too_large = true;
    if (!too_large) bytes *= side;
    if (side == 0) return OkStatus();
  }
  if (too_large || bytes > limits::kTensorBytesMax)
    return ResourceExhausted(what, " of ", ShapeText(std::vector<int64_t>(shape)), " numbers exceeds the limit of ",
                             limits::kTensorBytesMax >> 30, " GiB; use a smaller size or batch");
  return OkStatus();
}

Status CheckPixels(std::string_view what, const Image& image) {
  const at::Tensor& p = image.pixels;
  if (!p.defined() || p.dim() != 4) return InvalidArgument(what, " holds no [batch, height, width, channels] tensor");
  if (p.size(0) < 1 || p.size(1) < 1 || p.size(2) < 1 || p.size(3) < 1 || p.size(3) > 4)
    return InvalidArgument(what, " is ", ShapeText(p.sizes()), ", expected at least one picture of 1 to 4 channels");
  return OkStatus();
}

Status CheckMask(std::string_view what, const Mask& mask) {
  if (!mask.values.defined() || mask.values.dim() < 2 || mask.values.numel() == 0)
    return InvalidArgument(what, " is empty");
  return OkStatus();
}

Status CheckSamples(std::string_view what, const Latent& latent) {
  const at::Tensor& s = latent.samples;
  if (!s.defined() || s.dim() < 4 || s.dim() > 5 || s.numel() == 0)
    return InvalidArgument(what, " holds no latent of [batch, channels, height, width]");
  return OkStatus();
}

StatusOr<ImageU8> ToImageU8(const at::Tensor& pixels, int64_t index) {
  const at::Tensor item = pixels[index].to(at::kCPU, at::kFloat).contiguous();
  return QuantizeFloats(item.const_data_ptr<float>(), item.size(1), item.size(0), static_cast<int>(item.size(2)));
}

at::Tensor ToPixels(const std::vector<ImageU8>& pictures) {
  const ImageU8& first = pictures.front();
  at::Tensor pixels =
      at::empty({static_cast<int64_t>(pictures.size()), first.height, first.width, first.channels}, at::kFloat);
  float* out = pixels.mutable_data_ptr<float>();
  for (const ImageU8& picture : pictures) {
    ToFloats(picture, out);
    out += picture.data.size();
  }
  return pixels;
}

std::string ShapeText(at::IntArrayRef shape) {
  std::string text;
  for (const int64_t side : shape) text += (text.empty() ? "" : "x") + std::to_string(side);
  return text;
}

at::Tensor RepeatToBatch(const at::Tensor& tensor, int64_t items) {
  const int64_t have = tensor.size(0);
  if (have == items) return tensor;
  if (have > items) return tensor.narrow(0, 0, items);
  std::vector<int64_t> repeats(static_cast<size_t>(tensor.dim()), 1);
  repeats[0] = (items + have - 1) / have;
  return tensor.repeat(repeats).narrow(0, 0, items);
}

int64_t RoundHalfEven(double value) { return static_cast<int64_t>(std::nearbyint(value)); }

}  // namespace atelier::nodes
