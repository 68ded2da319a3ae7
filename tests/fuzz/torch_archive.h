// What both targets of torch.save's formats check.
#pragma once

#include <string_view>

#include "common/base/check.h"
#include "common/tensorio/torch_archive.h"

namespace atelier::fuzz {

/// Every element of every tensor lies inside the file.
inline void CheckTorchArchive(std::string_view bytes) {
  const auto tensors = ParseTorchArchive(bytes, "fuzz.pt");
  if (!tensors.ok()) return;
  for (const ArchiveTensor& tensor : *tensors) {
    ATELIER_CHECK(tensor.shape.size() == tensor.strides.size());
    uint64_t last = 0;
    bool empty = false;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      ATELIER_CHECK(tensor.shape[i] >= 0 && tensor.strides[i] >= 0);
      empty = empty || tensor.shape[i] == 0;
      if (!empty) last += static_cast<uint64_t>((tensor.shape[i] - 1) * tensor.strides[i]);
    }
    if (empty) continue;
    const auto width = static_cast<uint64_t>(DTypeBytes(tensor.dtype));
    ATELIER_CHECK(tensor.begin <= bytes.size() && (last + 1) * width <= bytes.size() - tensor.begin);
  }
}

}  // namespace atelier::fuzz
