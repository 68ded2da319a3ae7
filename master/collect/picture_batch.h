// A batch of pictures taken apart. Source: docs/architecture.md "Values and blobs".
#pragma once

#include <functional>
#include <string>

#include "common/base/limits.h"
#include "common/base/status.h"

namespace atelier {

/// Hands over each picture of an IMAGE blob (tensor `image`, U8 or F32 [B,H,W,C], also packed) as an IMAGE blob of its
/// own with the same values, compressed where it has 8 bits. Takes memory for the batch and one picture. Errors:
/// INVALID_ARGUMENT (no such blob, no picture), DATA_LOSS (torn), RESOURCE_EXHAUSTED beyond `bytes_max`, those of
/// `take`. Thread: any.
Status SplitBatch(std::string blob, const std::function<Status(std::string picture)>& take,
                  int64_t bytes_max = limits::kTensorBytesMax);

}  // namespace atelier
