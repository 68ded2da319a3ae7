// State dictionaries as torch.save writes them, today's zip archive or the older row of pickles, by a reader that knows
// tensors and containers only. Nothing a file says is ever called: an unknown global is an error. No torch here: the
// answer is where each tensor's elements lie. Source: the public zip and pickle formats.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/tensorio/safetensors.h"

namespace atelier {

/// One tensor of an archive; several may share bytes.
struct ArchiveTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape, strides;  // strides in elements, 0 or more
  uint64_t begin = 0;                   // byte of the first element in the file, not necessarily aligned
};

/// Whether the file begins as one that torch.save wrote (a zip archive or a pickle). Thread: any.
bool IsTorchArchive(std::string_view bytes);

/// The tensors in the order of their names. Nested dictionaries and lists give names joined by dots; values that are no
/// tensors are left out. The dictionary of weights is taken out of its wrappers: "state_dict", a single entry,
/// "params_ema", "model" and so on. Every element of a tensor lies inside `bytes`. `file` names them in errors. Errors:
/// INVALID_ARGUMENT for a pickle that holds anything but tensors, containers and plain values, or is malformed;
/// DATA_LOSS for a file that is cut off. Source: spec extras.md 5.1. Thread: any.
StatusOr<std::vector<ArchiveTensor>> ParseTorchArchive(std::string_view bytes, std::string_view file);

}  // namespace atelier
