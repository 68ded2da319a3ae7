// LoHa: the elementwise product of two low-rank products. Source: spec engine.md 8.1.
#include "worker/models/adapter.h"

namespace atelier::models::loha {
namespace {

at::Tensor Factor(const at::Tensor& a, const at::Tensor& b, const at::Tensor& core, const at::Tensor& weight) {
  const at::Tensor left = Beside(a, weight), right = Beside(b, weight);
  if (!core.defined()) return at::mm(left, right);
  return at::einsum("ijkl,jr,ip->prkl", {Beside(core, weight), right, left});
}

std::optional<AdapterChange> Read(AdapterFile& file, const std::string& prefix, std::string_view suffix) {
  if (suffix != ".weight" || !file.Has(prefix + ".hada_w1_a")) return std::nullopt;
  for (const char* name : {".hada_w1_b", ".hada_w2_a", ".hada_w2_b"})
    if (!file.Has(prefix + name)) return std::nullopt;
  const at::Tensor w1a = file.Take(prefix + ".hada_w1_a"), w1b = file.Take(prefix + ".hada_w1_b"),
                   w2a = file.Take(prefix + ".hada_w2_a"), w2b = file.Take(prefix + ".hada_w2_b"),
                   t1 = file.Take(prefix + ".hada_t1"), t2 = file.Take(prefix + ".hada_t2"),
                   dora = file.Take(prefix + ".dora_scale");
  const std::optional<double> alpha = TakeNumber(file, prefix + ".alpha");
  const double scale = alpha && w1b.dim() > 0 && w1b.size(0) > 0 ? *alpha / static_cast<double>(w1b.size(0)) : 1.0;
  return [=](const at::Tensor& weight, double strength) {
    const at::Tensor delta = Factor(w1a, w1b, t1, weight) * Factor(w2a, w2b, t2, weight);
    return Applied(weight, delta.reshape(weight.sizes()), dora, scale, strength);
  };
}
ATELIER_REGISTER_ADAPTER("loha", 1, {Read});

}  // namespace
}  // namespace atelier::models::loha
