// OFT and BOFT: rotations of a weight's outputs, in blocks or as a butterfly of blocks. Source: spec engine.md 8.1.
#include "worker/models/adapter.h"

namespace atelier::models::oft {
namespace {

// The rotations of skew-symmetric matrices by Cayley's transform. blocks: f32 [...,n,n]. limit: norm of the whole that
// is not exceeded, 0: none.
at::Tensor Rotations(const at::Tensor& blocks, double limit) {
  at::Tensor q = blocks - blocks.transpose(-2, -1);
  if (limit > 0) {
    // q / norm of a longer one; without at::where, which has no kernel that works on shapes alone.
    const at::Tensor norm = q.norm() + 1e-8;
    q = q * (limit / norm).clamp_max(1.0);
  }
  const at::Tensor one = at::eye(blocks.size(-1), blocks.options()).expand_as(q);
  return at::matmul(one + q, at::linalg_inv(one - q));
}

std::optional<AdapterChange> Read(AdapterFile& file, const std::string& prefix, std::string_view suffix) {
  if (suffix != ".weight" || !file.Has(prefix + ".oft_blocks")) return std::nullopt;
  const at::Tensor blocks = file.source().Find(prefix + ".oft_blocks");
  if (blocks.dim() != 3 && blocks.dim() != 4) return std::nullopt;
  file.Take(prefix + ".oft_blocks");
  const at::Tensor rescale = file.Take(prefix + ".rescale"), dora = file.Take(prefix + ".dora_scale");
  const double limit = TakeNumber(file, prefix + ".alpha").value_or(0.0);
  if (blocks.dim() == 3) {
    return [=](const at::Tensor& weight, double strength) {
      const at::Tensor r = Rotations(Beside(blocks, weight), limit);
      const int64_t count = r.size(0), size = r.size(1);
      TORCH_CHECK(count * size == weight.size(0), "rotations of another size");
      const at::Tensor one = at::eye(size, r.options()).expand_as(r);
      const at::Tensor delta =
          at::einsum("knm,knj->kmj", {r * strength - one * strength, weight.reshape({count, size, -1})});
      return Applied(weight, delta.reshape(weight.sizes()), dora, 1.0, strength);
    };
  }
  return [=](const at::Tensor& weight, double strength) {
    const at::Tensor r = Rotations(Beside(blocks, weight), limit);
    const int64_t stages = r.size(0), size = r.size(2), half = size / 2;
    TORCH_CHECK(size % 2 == 0 && r.size(1) * size == weight.size(0), "rotations of another size");
    const at::Tensor one = at::eye(size, r.options());
    at::Tensor w = weight.flatten(1);
    const int64_t inputs = w.size(1);
    for (int64_t i = 0; i < stages; ++i) {
      const at::Tensor stage = r[i] * strength + one * (1 - strength);
      const int64_t run = half << i;
      w = w.reshape({-1, 2, run, inputs}).transpose(1, 2).reshape({-1, size, inputs});
      w = at::einsum("bij,bjk->bik", {stage, w});
      w = w.reshape({-1, run, 2, inputs}).transpose(1, 2).reshape({-1, inputs});
    }
    w = w.reshape(weight.sizes());
    if (rescale.defined()) w = w * Beside(rescale, weight);
    return Applied(weight, w - weight, dora, 1.0, strength);
  };
}
ATELIER_REGISTER_ADAPTER("oft", 4, {Read});

}  // namespace
}  // namespace atelier::models::oft
