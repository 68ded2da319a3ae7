// GLoRA: a change that depends on the weight, W a + b. Source: spec engine.md 8.1.
#include "worker/models/adapter.h"

namespace atelier::models::glora {
namespace {

// W x over the weight's input dimension; a convolution keeps its kernel.
at::Tensor TimesInputs(const at::Tensor& weight, const at::Tensor& x) {
  if (weight.dim() > 2) return at::einsum("oi...,ij->oj...", {weight, x});
  return at::mm(weight, x);
}

std::optional<AdapterChange> Read(AdapterFile& file, const std::string& prefix, std::string_view suffix) {
  if (suffix != ".weight") return std::nullopt;
  for (const char* name : {".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight"})
    if (!file.Has(prefix + name)) return std::nullopt;
  const at::Tensor a1 = file.Take(prefix + ".a1.weight"), a2 = file.Take(prefix + ".a2.weight"),
                   b1 = file.Take(prefix + ".b1.weight"), b2 = file.Take(prefix + ".b2.weight"),
                   dora = file.Take(prefix + ".dora_scale");
  const auto size = [](const at::Tensor& t, int64_t dim) { return t.dim() > dim ? t.size(dim) : 0; };
  // The older layout has the factors the other way round. On a square weight both chains of sizes close, and the rank
  // is the side that is smaller than the weight's; where the factors are square as well, the older one counts.
  const bool old = size(b2, 1) == size(b1, 0) && size(b1, 0) == size(a1, 0) && size(a1, 0) == size(a2, 1) &&
                   size(a1, 0) <= size(a1, 1);
  const int64_t rank = old ? size(a1, 0) : size(a2, 0);
  const std::optional<double> alpha = TakeNumber(file, prefix + ".alpha");
  const double scale = alpha && rank > 0 ? *alpha / static_cast<double>(rank) : 1.0;
  return [=](const at::Tensor& weight, double strength) {
    const at::Tensor x1 = Beside(a1, weight).flatten(1), x2 = Beside(a2, weight).flatten(1),
                     y1 = Beside(b1, weight).flatten(1), y2 = Beside(b2, weight).flatten(1);
    const at::Tensor delta = old ? at::mm(y2, y1).reshape(weight.sizes()) + TimesInputs(weight, at::mm(x2, x1))
                                 : TimesInputs(weight, at::mm(x1, x2)) + at::mm(y1, y2).reshape(weight.sizes());
    return Applied(weight, delta, dora, scale, strength);
  };
}
ATELIER_REGISTER_ADAPTER("glora", 3, {Read});

}  // namespace
}  // namespace atelier::models::glora
