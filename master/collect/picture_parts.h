// The parts of a picture, mask or latent that tiles need. Source: docs/architecture.md "Values and blobs"; spec
// distributed.md 3.6.
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
/// A mask (a MASK blob: tensor `mask`, F32 [...,H,W]): the blob MASK_PART of the first crop, in 8 bits as the reference
/// has the mask of a canvas (brought to its size with Pillow's bicubic). Errors: ResizeBox's too.
/// A latent (a LATENT blob: tensor `samples`, [B,C,h,w] or [B,C,T,h,w]): the blob LATENT_PART of the first crop
/// (LatentBox), values unchanged. REQUIRES: IsCut.
StatusOr<std::string> CutParts(const SafetensorsView& picture, const std::vector<Box>& crops, int canvas_width,
                               int canvas_height);

/// Whether CutParts of `crop` gives less than the whole. Not of a latent that is not as large as the canvas in latents:
/// it would have to be resized first, which the workers do. Not of masks whose parts would take more bytes than they do
/// themselves (a small one of a large canvas). Thread: any.
bool IsCut(const SafetensorsView& picture, const Box& crop, int canvas_width, int canvas_height);

}  // namespace atelier
