// Frames of a video that come in windows, one after another, instead of all at once. docs/frames.md.
#pragma once

#include <cstdint>
#include <functional>

#include "common/base/status.h"
#include "common/graph/value.h"

namespace atelier {

/// The node type that hands out one window of frames: inputs "source" (an opened file) with "start" and "count", or
/// "image"; outputs the frames and their number. Made by the planner; who takes windows has to have it.
inline constexpr char kFrameWindowType[] = "FrameWindow";

/// Held by a value where an input takes windows (NodeSpec::TakesWindows). Valid while the node runs that got it. Thread:
/// the executor's.
struct FrameWindows {
  int64_t count = -1;  // windows; -1: until one is absent
  /// The value of a window, an IMAGE of one or more frames; absent behind the last one. Windows are asked for in order
  /// from 0, or again from an earlier one, which may take as long as all before it. Errors: those of the nodes that
  /// make it, the host's.
  std::function<StatusOr<Value>(int64_t index)> window;
};

}  // namespace atelier
