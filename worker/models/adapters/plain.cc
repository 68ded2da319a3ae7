// Whole differences of weights, biases and norms, and weights that replace the model's. Source: spec engine.md 8.1.
#include "worker/models/adapter.h"

namespace atelier::models::plain {
namespace {

std::optional<AdapterChange> Read(AdapterFile& file, const std::string& prefix, std::string_view suffix) {
  const bool bias = suffix == ".bias";
  std::optional<AdapterChange> change;
  for (const char* name : {bias ? ".b_norm" : ".w_norm", bias ? ".diff_b" : ".diff"}) {
    const at::Tensor difference = file.Take(prefix + name);
    if (!difference.defined()) continue;
    change = [difference](const at::Tensor& weight, double strength) {
      TORCH_CHECK(difference.sizes() == weight.sizes(), "a difference of another shape");
      return weight + Beside(difference, weight) * strength;
    };
  }
  if (bias) return change;
  if (const at::Tensor value = file.Take(prefix + ".set_weight"); value.defined()) {
    change = [value](const at::Tensor& weight, double) { return Beside(value, weight); };
  }
  return change;
}
ATELIER_REGISTER_ADAPTER("plain", 6, {Read});

}  // namespace
}  // namespace atelier::models::plain
