#include "common/base/check.h"
#include "common/tensorio/safetensors.h"
#include "tests/fuzz/fuzz.h"

namespace atelier::fuzz {

std::vector<std::string> Seeds() {
  const std::string bytes(24, '\1');
  return {WriteSafetensors({{"a", DType::kF32, {2, 2}, std::string_view(bytes).substr(0, 16)},
                            {"b", DType::kBF16, {3}, std::string_view(bytes).substr(0, 6)},
                            {"empty", DType::kI64, {0, 4}, {}}},
                           {{"format", "pt"}, {"\xc3\xa9\"\\", "\n"}}),
          WriteSafetensors({}, {})};
}

}  // namespace atelier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto view = atelier::ParseSafetensors(bytes);
  if (!view.ok()) return 0;
  for (const auto& [name, info] : view->tensors()) {
    const std::string_view tensor = view->Data(info);
    ATELIER_CHECK(tensor.empty() || (tensor.data() >= bytes.data() && tensor.end() <= bytes.end()));
    ATELIER_CHECK(static_cast<int64_t>(tensor.size()) == info.elements() * atelier::DTypeBytes(info.dtype));
  }
  return 0;
}
