// Videos in windows of frames: how node types treat frames, and windows that come one after another. docs/frames.md.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/graph/node.h"

namespace atelier {

/// How a node type treats the frames of a video. It stands in the schema as a hidden input, "frame_split", whose default
/// is its JSON form: so a catalogue carries it, and a program that does not know of it goes on as before.
struct FrameSplit {
  /// source: makes the frames of a file (output 0) and can be opened in the middle by the type of its name with "Open"
  ///   behind; what it tells beside them comes from the type with "Rest" behind;
  /// each: every frame of output 0 depends on the same frame of `input` alone, to the last bit;
  /// pass: hands the frames of `input` on unread, in output 0;
  /// sink: takes the frames of `input` one after another.
  std::string role;
  std::string input = {};
  std::string encoding = {};  // sink, what it makes of a frame: "u8" trunc(255 v), "rounded" trunc(255 v + 0.5), "" floats
  // sink: literal inputs and the values with which it needs floats.
  std::vector<std::pair<std::string, std::vector<std::string>>> floats_if = {};
  std::string replays_if = {};  // sink: BOOLEAN input that, when true, has frames taken again
};

/// Declares it; once, after the node's inputs.
void DeclareFrames(NodeSpec& spec, const FrameSplit& split);
inline void DeclareFrames(NodeDeclaration& node, const FrameSplit& split) { DeclareFrames(node.spec, split); }
/// The role "each": what most nodes of pictures are.
inline void PerFrame(NodeDeclaration& node, std::string_view input) {
  DeclareFrames(node.spec, {.role = "each", .input = std::string(input)});
}

/// What a type declares; nothing for one that declares nothing, or nothing that this program understands. Thread: any.
std::optional<FrameSplit> FramesOf(const NodeSpec& spec);

/// Whether windows of frames may come in at an input instead of all frames at once: of a sink, or of a node that passes.
/// Thread: any.
bool TakesWindows(const NodeSpec& spec, std::string_view input);

/// The node type that hands out one window of frames: inputs "source" (an opened file) with "start" and "count", or
/// "image"; outputs the frames and their number. Made by the planner; who takes windows has to have it.
inline constexpr char kFrameWindowType[] = "FrameWindow";
inline bool IsFrameWindow(const NodeSpec& spec) { return spec.type == kFrameWindowType; }

/// Held by a value where an input takes windows. Valid while the node runs that got it. Thread: the executor's.
struct FrameWindows {
  int64_t count = -1;  // windows; -1: until one is absent
  /// The value of a window, an IMAGE of one or more frames; absent behind the last one. Windows are asked for in order
  /// from 0, or again from an earlier one, which may take as long as all before it. Errors: those of the nodes that
  /// make it, the host's.
  std::function<StatusOr<Value>(int64_t index)> window;
};

}  // namespace atelier
