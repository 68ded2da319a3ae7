// What the reducer asks its surroundings to do. Plain data; the shell (master/gateway/server.cc) carries effects out in
// order.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "common/base/status.h"
#include "master/state/plan.h"

namespace atelier {

using MadeFile = OutputFileMeta;

struct ResolvedBinding {
  std::string node;
  std::string input;
  std::vector<Blob> blobs;
  bool gather = false;
};

namespace effect {

struct SendLease {
  std::string worker, job, task;
  uint64_t attempt = 0;
  const TaskSpec* spec = nullptr;  // owned by the state; valid until the next event
  std::vector<ResolvedBinding> bindings;
  std::vector<std::pair<std::string, Blob>> inputs;
};
struct SendCancel {
  std::string worker, task;
  uint64_t attempt = 0;
  std::string reason;
};
/// Sent after every earlier effect of the same step is durable.
struct SendAck {
  std::string worker, task;
  uint64_t attempt = 0;
  bool accepted = false;
  std::string note;
};
struct SendDrain {
  std::string worker, reason;
};
/// To be durable before the acknowledgement that follows.
struct RecordAccepted {
  std::string job, task, worker;
  uint64_t attempt = 0;
  double seconds = 0;
  std::vector<Blob> results;
  std::vector<MadeFile> files;
};
struct OpenCanvas {
  std::string job, stage;
  std::string order;        // "exact" or "independent"
  bool documented = false;  // Plan::compat
  TileSplit split;
  Blob image;
  Json settings;                                     // the tiled node's literal inputs, by name
  std::vector<std::pair<std::string, Blob>> linked;  // those that are values of other tasks, and the measures of a base
  std::vector<Blob> pictures;                        // StageSpec::pictures
};
/// The windows of a stream are to be found: from the text that tells them, or by taking a batch of pictures apart.
struct OpenStream {
  std::string job, stream;
  bool cut = false;
  int64_t window_frames = 0;  // 0: as the text says
  Blob from;
};
struct CutTile {
  std::string job, stage;
  int tile = 0;                // number of the step
  std::vector<Blob> pictures;  // of each its part is wanted too
};
struct PasteTile {
  std::string job, stage;
  int tile = 0;
  Blob pixels;
};
struct CloseCanvas {
  std::string job, stage;
  bool keep = false;  // hand the canvas over as a blob; else it is only dropped
};
/// All tasks are accepted: write the files in this order, then report JobSaved.
struct SaveOutputs {
  std::string job;
  std::vector<MadeFile> files;
};
/// The job ended otherwise.
struct EndJob {
  std::string job, state, error;
};
/// A change of state that the table (transitions.h) does not have: a bug. It was not made; tell it.
struct Refused {
  std::string what;
};
/// Something that watchers see changed. Empty task: the job itself.
struct Changed {
  std::string job, task;
};

}  // namespace effect

using Effect =
    std::variant<effect::SendLease, effect::SendCancel, effect::SendAck, effect::SendDrain, effect::RecordAccepted,
                 effect::OpenCanvas, effect::OpenStream, effect::CutTile, effect::PasteTile, effect::CloseCanvas,
                 effect::SaveOutputs, effect::EndJob, effect::Refused, effect::Changed>;
using Effects = std::vector<Effect>;

}  // namespace atelier
