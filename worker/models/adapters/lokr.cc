// LoKr: the Kronecker product of two matrices, each whole or as a low-rank product. Source: spec engine.md 8.1.
#include "worker/models/adapter.h"

namespace atelier::models::lokr {
namespace {

struct Factor {
  at::Tensor whole, a, b, core;

  bool defined() const { return whole.defined() || (a.defined() && b.defined()); }
  at::Tensor On(const at::Tensor& weight) const {
    if (whole.defined()) return Beside(whole, weight);
    if (!core.defined()) return at::mm(Beside(a, weight), Beside(b, weight));
    return at::einsum("ijkl,jr,ip->prkl", {Beside(core, weight), Beside(b, weight), Beside(a, weight)});
  }
};

Factor TakeFactor(AdapterFile& file, const std::string& prefix, const std::string& which) {
  return {file.Take(prefix + ".lokr_w" + which), file.Take(prefix + ".lokr_w" + which + "_a"),
          file.Take(prefix + ".lokr_w" + which + "_b"), file.Take(prefix + ".lokr_t" + which)};
}

std::optional<AdapterChange> Read(AdapterFile& file, const std::string& prefix, std::string_view suffix) {
  if (suffix != ".weight") return std::nullopt;
  const Factor first = TakeFactor(file, prefix, "1"), second = TakeFactor(file, prefix, "2");
  if (!first.defined() || !second.defined()) return std::nullopt;
  const at::Tensor dora = file.Take(prefix + ".dora_scale");
  const std::optional<double> alpha = TakeNumber(file, prefix + ".alpha");
  // The rank is known only of a factor that is a product.
  int64_t rank = 0;
  for (const Factor* factor : {&first, &second})
    if (!factor->whole.defined() && factor->b.dim() > 0) rank = factor->b.size(0);
  const double scale = alpha && rank > 0 ? *alpha / static_cast<double>(rank) : 1.0;
  return [first, second, dora, scale](const at::Tensor& weight, double strength) {
    at::Tensor w1 = first.On(weight);
    const at::Tensor w2 = second.On(weight);
    if (w2.dim() == 4) w1 = w1.unsqueeze(2).unsqueeze(2);
    return Applied(weight, at::kron(w1.contiguous(), w2.contiguous()).reshape(weight.sizes()), dora, scale, strength);
  };
}
ATELIER_REGISTER_ADAPTER("lokr", 2, {Read});

}  // namespace
}  // namespace atelier::models::lokr
