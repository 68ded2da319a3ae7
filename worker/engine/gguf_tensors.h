// GGUF's block formats as tensor arithmetic, for devices where the loops of common/tensorio/gguf_blocks.cc do not run.
#pragma once

#include <ATen/ATen.h>

#include "common/tensorio/gguf.h"

namespace atelier::engine {

/// The values of blocks u8 [count * type.block_bytes], flat, in `value_type` (f32, f16 or bf16), in which each product
/// and sum is rounded; on the device of `blocks`. The same bits as DecodeGgufBlocks. REQUIRES: a quantised type that is
/// readable. Source: spec extras.md 3.3. Thread: any.
at::Tensor DecodeGgufTensor(const GgufType& type, const at::Tensor& blocks, at::ScalarType value_type);

}  // namespace atelier::engine
