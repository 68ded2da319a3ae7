// Pictures in blobs, compressed without loss: how crops and redrawn tiles travel. Source: docs/architecture.md "Values
// and blobs".
#pragma once

#include <string>
#include <string_view>

#include "common/base/limits.h"
#include "common/base/status.h"

namespace atelier {

/// The blob with its 8-bit tensor "image" ([B,H,W,C]) in the place of which stands "packed": per row the differences of
/// neighbouring pixels, then Zstandard. Blobs of another kind, and those that would not shrink, come back unchanged.
/// Equal inputs give equal bytes. Errors: those of ParseSafetensors. Thread: any.
StatusOr<std::string> PackBlob(std::string blob);

/// The blob that was packed; others unchanged. Errors: DATA_LOSS when `blob` is no whole packed blob,
/// RESOURCE_EXHAUSTED for more than `bytes_max` bytes of pixels, before memory is taken. Thread: any.
StatusOr<std::string> UnpackBlob(std::string blob, int64_t bytes_max = limits::kTensorBytesMax);

/// Whether UnpackBlob would change it. Reads the header alone. Thread: any.
bool IsPackedBlob(std::string_view blob);

}  // namespace atelier
