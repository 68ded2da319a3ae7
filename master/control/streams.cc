// Windows of frames: the part of the reducer that makes tasks of a stream. docs/frames.md.
#include <algorithm>
#include <utility>

#include "master/control/control.h"
#include "master/control/transitions.h"

namespace atelier {

void Control::OpenStreams(Job& job, Effects& out) {
  for (auto& [id, stream] : job.streams) {
    const std::string what = WireId(job.id, id);
    if (stream.state == Stream::State::kRunning && stream.left == 0)
      Become(stream.state, Stream::State::kDone, what, out);
    const bool cut = stream.spec.batch.has_value();
    const std::optional<Source>& from = cut ? stream.spec.batch : stream.spec.extent;
    if (stream.state != Stream::State::kWaiting || !from || !IsDone(job, from->task) ||
        !BindingsDone(job, stream.spec.window.bindings))
      continue;
    Become(stream.state, Stream::State::kOpening, what, out);
    out.push_back(effect::OpenStream{job.id, id, cut, stream.spec.window_frames, ResultOf(job, *from)});
  }
}

Effects Control::StreamOpened(const std::string& job_id, const std::string& stream_id, int64_t frames, int64_t window,
                              std::vector<Blob> crops, int64_t now_ms) {
  Effects out;
  auto it = jobs_.find(job_id);
  if (it == jobs_.end() || it->second.ended()) return out;
  Job& job = it->second;
  Stream& stream = job.streams.at(stream_id);
  if (stream.state != Stream::State::kOpening || frames < 1 || window < 1) return out;
  Become(stream.state, Stream::State::kRunning, WireId(job.id, stream_id), out);
  stream.crops = std::move(crops);
  const int64_t count = (frames + window - 1) / window;
  for (int64_t w = 0; w < count; ++w) {
    Task task;
    const std::string id = Cat(stream_id, ".", w);
    task.spec = stream.spec.window;
    task.spec.id = id;
    task.spec.label = Cat("window ", w + 1, "/", count, " of ", stream.spec.label);
    if (stream.crops.empty()) {
      Json& inputs = task.spec.nodes[stream.spec.node]["inputs"];
      inputs["start"] = w * window;
      inputs["count"] = std::min(window, frames - w * window);
    }
    task.stream = stream_id;
    task.tile = static_cast<int>(w);
    task.place = job.task_order.size();
    auto restored = job.restored.find(id);
    if (restored != job.restored.end() && restored->second.first.size() == task.spec.wanted.size()) {
      Become(task.state, TaskState::kDone, WireId(job.id, id), out);
      task.results = std::move(restored->second.first);
      job.restored.erase(restored);
    } else {
      ++stream.left;
    }
    stream.tasks.push_back(id);
    job.task_order.push_back(id);
    job.tasks.emplace(id, std::move(task));
  }
  out.push_back(effect::Changed{job.id, ""});
  Advance(job, out, now_ms);
  Schedule(out, now_ms);
  return out;
}

}  // namespace atelier
