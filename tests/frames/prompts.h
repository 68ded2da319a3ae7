// Prompts of videos for the tests and benches.
#pragma once

#include <utility>

#include "common/json/json.h"

namespace atelier::test {

inline Json Node(const char* type, Json inputs) { return {{"class_type", type}, {"inputs", std::move(inputs)}}; }
inline Json Link(const char* node, int slot = 0) { return Json::array({node, slot}); }

/// VHS_LoadVideo of clip.mp4; `cap`: frames at most, 0: all.
inline Json LoadNode(int cap = 0) {
  return Node("VHS_LoadVideo", {{"video", "clip.mp4"},
                                {"force_rate", 0},
                                {"custom_width", 0},
                                {"custom_height", 0},
                                {"frame_load_cap", cap},
                                {"skip_first_frames", 0},
                                {"select_every_nth", 1},
                                {"format", "None"}});
}

/// H.264 of the pictures of a node, with the sound of node 1 if `sound`; `more` goes over the inputs.
inline Json CombineNode(const char* images, bool sound, const Json& more = Json::object()) {
  Json inputs{{"images", Link(images)}, {"frame_rate", 25},  {"loop_count", 0},
              {"filename_prefix", "out"}, {"format", "video/h264-mp4"}, {"pix_fmt", "yuv420p"},
              {"crf", 20},              {"pingpong", false}, {"save_output", true}};
  if (sound) inputs["audio"] = Link("1", 2);
  inputs.update(more);
  return Node("VHS_VideoCombine", std::move(inputs));
}

inline Json ScaleNode(const char* image, const char* method, int width, int height) {
  return Node("ImageScale", {{"image", Link(image)},
                             {"upscale_method", method},
                             {"width", width},
                             {"height", height},
                             {"crop", "disabled"}});
}

}  // namespace atelier::test
