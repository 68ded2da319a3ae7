// LoRA (and LoCon): a product of two thin matrices, with a third one between for convolutions. Source: spec engine.md
// 8.1.
#include "worker/models/adapter.h"

namespace atelier::models::lora {
namespace {

struct Spelling {
  const char *up, *down, *mid;
};
// By trainer: kohya, diffusers (three), Mochi's, transformers, PEFT.
constexpr Spelling kSpellings[] = {
    {".lora_up.weight", ".lora_down.weight", ".lora_mid.weight"},
    {"_lora.up.weight", "_lora.down.weight", nullptr},
    {".lora_B.weight", ".lora_A.weight", nullptr},
    {".lora_B", ".lora_A", nullptr},
    {".lora.up.weight", ".lora.down.weight", nullptr},
    {".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight", nullptr},
    {".lora_B.default.weight", ".lora_A.default.weight", nullptr},
};

// The weight with zeros behind it on each dimension, in `shape`.
at::Tensor Widened(const at::Tensor& weight, const std::vector<int64_t>& shape) {
  TORCH_CHECK(static_cast<size_t>(weight.dim()) == shape.size(), "a weight of another number of dimensions");
  std::vector<int64_t> padding;  // from the last dimension on
  for (int64_t d = weight.dim(); d-- > 0;) {
    TORCH_CHECK(shape[static_cast<size_t>(d)] >= weight.size(d), "a weight that is larger than what it is widened to");
    padding.insert(padding.end(), {0, shape[static_cast<size_t>(d)] - weight.size(d)});
  }
  return at::constant_pad_nd(weight, padding);
}

std::optional<AdapterChange> Read(AdapterFile& file, const std::string& prefix, std::string_view suffix) {
  if (suffix != ".weight") return std::nullopt;
  for (const Spelling& spelling : kSpellings) {
    if (!file.Has(prefix + spelling.up) || !file.Has(prefix + spelling.down)) continue;
    const at::Tensor up = file.Take(prefix + spelling.up), down = file.Take(prefix + spelling.down);
    const at::Tensor mid = spelling.mid != nullptr ? file.Take(prefix + spelling.mid) : at::Tensor();
    const at::Tensor dora = file.Take(prefix + ".dora_scale");
    const std::optional<double> alpha = TakeNumber(file, prefix + ".alpha");
    const double scale = alpha && down.dim() > 0 && down.size(0) > 0 ? *alpha / static_cast<double>(down.size(0)) : 1.0;
    const at::Tensor reshape = file.Take(prefix + ".reshape_weight");
    return [up, down, mid, dora, scale, reshape](const at::Tensor& given, double strength) {
      const at::Tensor weight = reshape.defined() ? Widened(given, ShapeIn(reshape)) : given;
      const at::Tensor a = Beside(up, weight);
      at::Tensor b = Beside(down, weight);
      if (mid.defined()) {
        const at::Tensor core = Beside(mid, weight);
        b = at::mm(b.transpose(0, 1).flatten(1), core.transpose(0, 1).flatten(1))
                .reshape({b.size(1), b.size(0), core.size(2), core.size(3)})
                .transpose(0, 1);
      }
      return Applied(weight, at::mm(a.flatten(1), b.flatten(1)).reshape(weight.sizes()), dora, scale, strength);
    };
  }
  return std::nullopt;
}
ATELIER_REGISTER_ADAPTER("lora", 0, {Read});

}  // namespace
}  // namespace atelier::models::lora
