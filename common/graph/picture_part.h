// The node that hands a tile its part of a picture of the whole canvas. Source: docs/tiles.md "What is sent".
#pragma once

namespace atelier {

/// Made by the planner in a tile's fragment, in the place of the link from the picture. Its input "image" gets the
/// parts (an IMAGE_PARTS blob); a worker whose catalogue does not have it gets no such tile. A catalogue without it:
/// the whole picture goes to each worker.
inline constexpr const char* kPicturePartType = "PicturePart";

}  // namespace atelier
