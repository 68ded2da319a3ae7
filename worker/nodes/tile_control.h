// Control nets of a whole canvas, cut to tiles. Source: spec distributed.md 3.6.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "common/image/image_u8.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {

/// Cuts the pictures that control nets are shown. A control that is met again gives the same result, so that the lists
/// of a run still share it when they are cut by one cutter. Thread: one at a time.
class ControlCutter {
 public:
  /// `crops`: boxes on a canvas of canvas_width x canvas_height; each picture becomes one of process_width x
  /// process_height for every crop, crop after crop. REQUIRES: positive sizes, at least one crop.
  ControlCutter(std::vector<Box> crops, int64_t canvas_width, int64_t canvas_height, int64_t process_width,
                int64_t process_height)
      : crops_(std::move(crops)),
        canvas_width_(canvas_width),
        canvas_height_(canvas_height),
        process_width_(process_width),
        process_height_(process_height) {}

  /// Puts cut ones in the place of each entry's control nets. May throw what torch throws.
  void Cut(Conditioning& conditioning);

 private:
  using Control = std::shared_ptr<const engine::AppliedControl>;
  at::Tensor CutPixels(const at::Tensor& pixels) const;

  std::vector<Box> crops_;
  int64_t canvas_width_, canvas_height_, process_width_, process_height_;
  std::map<Control, Control> cut_;
};

}  // namespace atelier::nodes
