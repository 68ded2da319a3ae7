// Control nets of a whole canvas, cut to tiles. Source: spec distributed.md 3.6.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "common/image/image_u8.h"
#include "worker/models/gligen.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {

/// Cuts the pictures that control nets are shown. A control that is met again gives the same result, so that the lists
/// of a run still share it when they are cut by one cutter. Thread: one at a time.
class ControlCutter {
 public:
  /// `crops`: boxes on a canvas of canvas_width x canvas_height; each picture (or the parts of it that are there)
  /// becomes one of process_width x process_height for every crop, crop after crop. cut_box: models::CutBoxes.
  /// REQUIRES: positive sizes, at least one crop.
  ControlCutter(std::vector<Box> crops, int64_t canvas_width, int64_t canvas_height, int64_t process_width,
                int64_t process_height, models::BoxCutter cut_box)
      : crops_(std::move(crops)),
        canvas_width_(canvas_width),
        canvas_height_(canvas_height),
        process_width_(process_width),
        process_height_(process_height),
        cut_box_(std::move(cut_box)) {}

  /// Puts cut ones in the place of each entry's control nets, and boxes that are bound to prompts on the tile; where
  /// none of these is left, nothing is bound. May throw what torch throws.
  void Cut(Conditioning& conditioning);

 private:
  using Control = std::shared_ptr<const engine::AppliedControl>;
  at::Tensor CutPicture(int64_t width, int64_t height, const std::function<at::Tensor(const Box&)>& pixels_at) const;
  engine::AppliedControl CutOne(engine::AppliedControl control) const;

  std::vector<Box> crops_;
  int64_t canvas_width_, canvas_height_, process_width_, process_height_;
  models::BoxCutter cut_box_;
  std::map<Control, Control> cut_;
};

}  // namespace atelier::nodes
