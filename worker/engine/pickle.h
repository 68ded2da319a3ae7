// State dictionaries as torch.save writes them (a zip archive with a pickle and raw storages), by a reader that knows
// tensors and containers only. Nothing a file says is ever called: an unknown global is an error. Source: the public
// zip and pickle formats.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>

#include "common/base/status.h"

namespace atelier::engine {

/// Whether the file starts as a zip archive. Thread: any.
bool IsTorchZip(const std::string& path);

/// The tensors of the file as views on its mapping; nested dictionaries and lists give names joined by dots, values
/// that are no tensors are left out. Errors: NOT_FOUND; INVALID_ARGUMENT for a pickle that holds anything but tensors,
/// containers and plain values, or is malformed; DATA_LOSS for a cut off archive. Messages name the file without its
/// folder. Thread: any.
StatusOr<std::map<std::string, at::Tensor, std::less<>>> ReadTorchZip(const std::string& path);

}  // namespace atelier::engine
