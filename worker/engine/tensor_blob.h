// The bridge between tensors and {dtype, shape, bytes}: the form in which values cross the torch wall.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "common/tensorio/safetensors.h"

namespace atelier::engine {

/// The tensor type of a format type. Thread: any.
at::ScalarType ScalarTypeOf(DType dtype);

/// The format type of a tensor type. Errors: INVALID_ARGUMENT for types the format does not have (complex, quantised).
/// Thread: any.
StatusOr<DType> DTypeOf(at::ScalarType type);

/// The tensor `info` of `file` as a view on the mapping, which it keeps alive, in its stored type; only a tensor whose
/// bytes lie unaligned in the file is copied. The result must not be written to. REQUIRES: `info` belongs to `file`.
/// Thread: any.
at::Tensor TensorView(const std::shared_ptr<const SafetensorsFile>& file, const TensorInfo& info);

/// The tensor `info` of `view` as a copy of its own. Thread: any.
at::Tensor TensorCopy(const SafetensorsView& view, const TensorInfo& info);

/// A safetensors file of the tensors (any device and strides) in the map's order. Errors: INVALID_ARGUMENT naming a
/// tensor whose type the format does not have. Thread: any.
StatusOr<std::string> WriteTensors(const std::map<std::string, at::Tensor>& tensors,
                                   const std::map<std::string, std::string, std::less<>>& metadata = {});

}  // namespace atelier::engine
