// Model files that are no safetensors files as named tensors: what the torch-free parsers found, as views on the
// mapping, with decoders where the bytes are no plain numbers.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "common/tensorio/gguf.h"
#include "common/tensorio/mapped_file.h"
#include "worker/engine/weights.h"

namespace atelier::engine {

/// The tensors of a file that torch.save wrote. Errors: as ParseTorchArchive. Thread: any.
StatusOr<WeightSource> ReadTorchArchive(const std::shared_ptr<const MappedFile>& file);

/// The tensors of a GGUF file under the names of the original checkpoint; `metadata`, unless null, gets
/// `general.architecture` and `general.type`. Quantised tensors are decoded as `precision` says. Errors: as ParseGguf;
/// INVALID_ARGUMENT for a tensor of a type that cannot be decoded or with a wrong original shape. Source: spec
/// extras.md 3.2 to 3.5. Thread: any.
StatusOr<WeightSource> ReadGguf(const std::shared_ptr<const MappedFile>& file,
                                GgufPrecision precision = GgufPrecision::kHalf,
                                std::map<std::string, std::string, std::less<>>* metadata = nullptr);

/// A text encoder's tensor name in llama.cpp's words as the original one; any other architecture's name as it is.
/// Source: spec extras.md 3.5. Thread: any.
std::string GgufTextName(std::string_view architecture, std::string_view name);

/// The source with decoders for the weights of scaled fp8 layers: a `scale_weight` beside an fp8 `weight` where the
/// file has a `scaled_fp8` marker. Other sources are returned as they are. Source: spec engine.md 4.2. Thread: any.
WeightSource WithScaledFp8(const WeightSource& source);

}  // namespace atelier::engine
