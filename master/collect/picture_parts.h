// The parts of a picture that tiles need. Source: docs/architecture.md "Values and blobs"; spec distributed.md 3.6.
#pragma once

#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/image/image_u8.h"
#include "common/tensorio/safetensors.h"

namespace atelier {

/// The blob IMAGE_PARTS of a picture that is shown for a whole canvas: what of each picture of its batch lies below
/// `crops` (BoxOnPicture), values unchanged, compressed where they have 8 bits. `picture`: an IMAGE blob (tensor
/// `image`, U8 or F32 [B,H,W,C]), not packed; only the rows of the parts are read. Equal inputs give equal bytes. Takes
/// memory for the parts. REQUIRES: at least one crop, a canvas of positive size. Errors: INVALID_ARGUMENT (no such
/// blob). Thread: any.
StatusOr<std::string> CutParts(const SafetensorsView& picture, const std::vector<Box>& crops, int canvas_width,
                               int canvas_height);

}  // namespace atelier
