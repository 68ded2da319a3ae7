// The nodes that hand a tile its part of a picture, mask or latent of the whole canvas. Source: docs/tiles.md "What is
// sent".
#pragma once

namespace atelier {

/// Made by the planner in a tile's fragment, in the place of the link from the picture. Its input "image" gets the
/// parts (an IMAGE_PARTS blob); a worker whose catalogue does not have it gets no such tile. A catalogue without it:
/// the whole picture goes to each worker.
inline constexpr const char* kPicturePartType = "PicturePart";
/// The same of a mask: input "mask", a MASK_PART blob.
inline constexpr const char* kMaskPartType = "MaskPart";
/// The same of a latent: input "latent", a LATENT_PART blob, or the LATENT itself where the master cannot cut it.
inline constexpr const char* kLatentPartType = "LatentPart";

}  // namespace atelier
