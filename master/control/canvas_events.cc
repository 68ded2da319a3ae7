// Canvases: what is cut, pasted and handed on when.
#include <algorithm>

#include "master/control/chains.h"
#include "master/control/control.h"
#include "master/control/transitions.h"

namespace atelier {

Effects Control::CanvasOpened(const std::string& job_id, const std::string& stage_id, StageGraph graph,
                              int64_t now_ms) {
  Effects out;
  auto it = jobs_.find(job_id);
  if (it == jobs_.end() || it->second.ended()) return out;
  Job& job = it->second;
  Stage& stage = job.stages.at(stage_id);
  if (stage.state != Stage::State::kOpening) return out;
  Become(stage.state, Stage::State::kRunning, WireId(job.id, stage_id), out);
  stage.graph = std::move(graph);
  stage.urgency = ChainsFrom(stage.graph);
  stage.chained = std::any_of(stage.urgency.begin(), stage.urgency.end(), [](int u) { return u > 1; });
  const size_t first_place = job.task_order.size();
  const size_t count = stage.graph.tiles.size();
  stage.tiles.resize(count);
  stage.waits.resize(count);
  std::deque<int> all;
  for (size_t t = 0; t < count; ++t) {
    const StageGraph::Tile& tile = stage.graph.tiles[t];
    for (const auto* earlier : {&tile.cut_after, &tile.paste_after_cut, &tile.paste_after})
      for (int e : *earlier) stage.waits[static_cast<size_t>(e)].push_back(static_cast<int>(t));
    Task task;
    const std::string id = Cat(stage_id, ".", t);
    task.spec = stage.spec.tile;
    task.spec.id = id;
    task.spec.label = Cat("tile ", t + 1, "/", count, " of node ", stage.spec.node);
    for (const auto& [name, value] : tile.hidden.items()) task.spec.nodes[stage.spec.node]["inputs"][name] = value;
    for (const Binding& binding : stage.spec.bindings)
      if (binding.input != stage.spec.split.image_input && !tile.hidden.contains(binding.input))
        task.spec.bindings.push_back(binding);
    task.stage = stage_id;
    task.tile = static_cast<int>(t);
    task.rank = {first_place, -stage.urgency[t], job.task_order.size()};
    auto restored = job.restored.find(id);
    const bool done = restored != job.restored.end();
    if (done) {
      task.results = std::move(restored->second.first);
      stage.tiles[t].cut_asked = true;
      job.restored.erase(restored);
    }
    stage.tiles[t].task = id;
    AddTask(job, std::move(task), tile.shape, done, out);
    all.push_back(static_cast<int>(t));
  }
  CheckTiles(job, stage, std::move(all), out);
  out.push_back(effect::Changed{job.id, ""});
  Schedule(out, now_ms);
  return out;
}

// Asks for every cut that is due, then for every paste that is due, until nothing more follows. The canvas's one thread
// works in the order of asking, so "asked" is as good as "done" for what is asked later.
void Control::CheckTiles(Job& job, Stage& stage, std::deque<int> check, Effects& out) {
  if (stage.state != Stage::State::kRunning) return;
  auto cut = [&](int e) { return stage.tiles[static_cast<size_t>(e)].cut_asked; };
  auto pasted = [&](int e) { return stage.tiles[static_cast<size_t>(e)].paste_asked; };
  while (!check.empty()) {
    std::deque<int> next;
    auto wake = [&](size_t t) { next.insert(next.end(), stage.waits[t].begin(), stage.waits[t].end()); };
    for (int n : check) {
      const size_t t = static_cast<size_t>(n);
      const StageGraph::Tile& tile = stage.graph.tiles[t];
      if (stage.tiles[t].cut_asked || !std::all_of(tile.cut_after.begin(), tile.cut_after.end(), pasted)) continue;
      stage.tiles[t].cut_asked = true;
      out.push_back(effect::CutTile{job.id, stage.spec.id, n, PicturesOf(job, stage)});
      wake(t);
    }
    for (int n : check) {
      const size_t t = static_cast<size_t>(n);
      const StageGraph::Tile& tile = stage.graph.tiles[t];
      const Task& task = job.tasks.at(stage.tiles[t].task);
      if (stage.tiles[t].paste_asked || task.state != TaskState::kDone ||
          !std::all_of(tile.paste_after_cut.begin(), tile.paste_after_cut.end(), cut) ||
          !std::all_of(tile.paste_after.begin(), tile.paste_after.end(), pasted))
        continue;
      stage.tiles[t].paste_asked = true;
      ++stage.pasted;
      out.push_back(effect::PasteTile{job.id, stage.spec.id, n, task.results.at(0)});
      wake(t);
    }
    check = std::move(next);
  }
  if (stage.pasted == stage.tiles.size()) {
    Become(stage.state, Stage::State::kClosing, WireId(job.id, stage.spec.id), out);
    out.push_back(effect::CloseCanvas{job.id, stage.spec.id, true});
  }
}

std::vector<Blob> Control::PicturesOf(const Job& job, const Stage& stage) const {
  std::vector<Blob> pictures;
  for (const Binding& binding : stage.spec.pictures) pictures.push_back(ResultOf(job, binding.sources[0]));
  return pictures;
}

Effects Control::TileCut(const std::string& job_id, const std::string& stage_id, int tile, std::vector<Blob> crops,
                         int64_t now_ms, std::vector<Blob> parts) {
  Effects out;
  auto it = jobs_.find(job_id);
  if (it == jobs_.end() || it->second.ended()) return out;
  Stage& stage = it->second.stages.at(stage_id);
  Stage::Tile& cut = stage.tiles.at(static_cast<size_t>(tile));
  cut.crops = std::move(crops);
  cut.parts = std::move(parts);
  Task& task = it->second.tasks.at(cut.task);
  if (task.state == TaskState::kWaiting) SetReady(it->second, task, out);
  Schedule(out, now_ms);
  return out;
}

Effects Control::CanvasClosed(const std::string& job_id, const std::string& stage_id, Blob result, int64_t now_ms) {
  Effects out;
  auto it = jobs_.find(job_id);
  if (it == jobs_.end() || it->second.ended()) return out;
  Job& job = it->second;
  Stage& stage = job.stages.at(stage_id);
  if (stage.state != Stage::State::kClosing) return out;
  Become(stage.state, Stage::State::kDone, WireId(job.id, stage_id), out);
  stage.result = result;
  out.push_back(effect::RecordAccepted{job.id, stage_id, "", 0, 0, {result}, {}});
  Advance(job, out, now_ms);
  Schedule(out, now_ms);
  return out;
}
}  // namespace atelier
