#include "worker/models/dit.h"

namespace atelier::models {

Rope MakeRope(const at::Tensor& positions, const std::vector<int64_t>& widths, double theta) {
  std::vector<at::Tensor> angles;
  for (size_t axis = 0; axis < widths.size(); ++axis) {
    const int64_t width = widths[axis];
    const auto options = at::TensorOptions(positions.device()).dtype(at::kDouble);
    const at::Tensor omega = 1.0 / at::pow(theta, at::arange(0, width, 2, options) / static_cast<double>(width));
    angles.push_back(positions.select(1, static_cast<int64_t>(axis)).to(at::kDouble).unsqueeze(1) * omega.unsqueeze(0));
  }
  const at::Tensor all = at::cat(angles, 1).unsqueeze(0).unsqueeze(0);
  return {all.cos().to(at::kFloat), all.sin().to(at::kFloat)};
}

at::Tensor ApplyRope(const at::Tensor& x, const Rope& rope) {
  const at::Tensor pairs = x.to(at::kFloat).unflatten(-1, {-1, 2});
  const at::Tensor a = pairs.select(-1, 0), b = pairs.select(-1, 1);
  return at::stack({a * rope.cos - b * rope.sin, a * rope.sin + b * rope.cos}, -1).flatten(-2).to(x.scalar_type());
}

at::Tensor PlainNorm(const at::Tensor& x) { return at::layer_norm(x, {x.size(-1)}, {}, {}, 1e-6); }

at::Tensor Modulate(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale) {
  return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1);
}

at::Tensor PadToPatch(const at::Tensor& x, int64_t patch) {
  at::Tensor padded = x;
  for (const int64_t dim : {x.dim() - 2, x.dim() - 1}) {
    const int64_t missing = (patch - x.size(dim) % patch) % patch;
    if (missing > 0) padded = at::cat({padded, padded.narrow(dim, 0, missing)}, dim);
  }
  return padded;
}

at::Tensor GuardHalf(const at::Tensor& x) {
  return x.scalar_type() == at::kHalf ? at::nan_to_num(x, 0.0, 65504.0, -65504.0) : x;
}

Qkv SplitQkv(const at::Tensor& fused, int64_t heads) {
  const at::Tensor parts = fused.view({fused.size(0), fused.size(1), 3, heads, -1}).permute({2, 0, 3, 1, 4});
  return {parts[0], parts[1], parts[2]};
}

}  // namespace atelier::models
