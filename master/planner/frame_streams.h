// Finds the chains of a prompt that frames of a video, or pictures of a batch, can go through in windows. Pure.
// docs/frames.md.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/graph/schema.h"

namespace atelier {

/// One chain: a window node, nodes that treat each frame by itself, and who takes the windows.
struct FrameStream {
  std::string id;                    // of the plan: "frames-" and the taker's node
  std::vector<std::string> members;  // the window node first; none of them has another consumer
  std::string taker;                 // a node whose frames input is linked to the last member
  std::string extent;                // node whose output 0 tells "FRAMES WINDOW"; "" when a batch is cut
  bool stored = false;               // windows are tasks and blobs; else the taker's task makes them as it goes
  std::string encoding;              // of the windows' blobs, as Wanted has it
};

struct FrameStreams {
  Json prompt;  // with the window nodes and what belongs to them
  std::vector<FrameStream> streams;
  std::set<std::string> by_picture;  // tiled nodes that are run a picture at a time
};

struct FrameOptions {
  int replicas = 1;
  std::string tiles;   // order of tiled nodes; "by-image" makes them treat each picture by itself
  std::string frames;  // "auto": store windows where a model or a second look at frames makes them worth it; "windows":
                       // always; "whole": all frames at once
};

/// Thread: any.
FrameStreams FindFrameStreams(const Json& prompt, const Catalog& catalog, const FrameOptions& options);

}  // namespace atelier
