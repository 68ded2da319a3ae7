// A plan as text: for its digest and for people.
#include <set>

#include "common/base/hash.h"
#include "master/planner/planner.h"

namespace atelier {
namespace {

Json ToJson(const TaskSpec& task) {
  Json json{{"id", task.id}, {"nodes", task.nodes}, {"outputs", task.output_nodes}};
  for (const Binding& b : task.bindings) {
    Json sources = Json::array();
    for (const Source& s : b.sources) sources.push_back(Json::array({s.task, s.output}));
    json["bindings"].push_back(Json::array({b.node, b.input, sources, b.gather}));
  }
  for (const Wanted& w : task.wanted) json["wanted"].push_back(Json::array({w.node, w.slot, w.encoding}));
  return json;
}

}  // namespace

std::string Plan::Digest() const {
  Json json{{"replicas", replicas}, {"tiles", tiles}, {"compat", compat}};
  for (const TaskSpec& task : tasks) json["tasks"].push_back(ToJson(task));
  for (const StageSpec& stage : stages) {
    Json one = ToJson(stage.tile);
    one["stage"] = stage.id;
    for (const Binding& b : stage.bindings)
      one["from"].push_back(Json::array({b.input, b.sources[0].task, b.sources[0].output}));
    for (const Binding& b : stage.pictures)
      one["pictures"].push_back(Json::array({b.node, b.input, b.sources[0].task, b.sources[0].output}));
    for (const Binding& b : stage.measures)
      one["measures"].push_back(Json::array({b.input, b.sources[0].task, b.sources[0].output}));
    json["stages"].push_back(std::move(one));
  }
  for (const StreamSpec& stream : streams) {
    Json one = ToJson(stream.window);
    one["stream"] = stream.id;
    one["window"] = stream.window_frames;
    for (const auto& from : {stream.extent, stream.batch})
      one["from"].push_back(from ? Json::array({from->task, from->output}) : Json());
    json["streams"].push_back(std::move(one));
  }
  return Sha256Hex(DumpJson(json));
}

std::string ExplainPlan(const Plan& plan) {
  std::string text = Cat(plan.tasks.size(), " tasks, ", plan.stages.size(), " tiled stages, ", plan.streams.size(),
                         " streams of frames, ", plan.replicas, " replicas, tiles ", plan.tiles, "\n");
  auto describe = [&text](const TaskSpec& task, const std::vector<Binding>& more) {
    for (const auto& [id, node] : task.nodes.items())
      text += Cat("    ", id, " ", node["class_type"].get<std::string>(), "\n");
    std::set<std::string> after;
    for (const auto* list : {&task.bindings, &more})
      for (const Binding& binding : *list)
        for (const Source& source : binding.sources) after.insert(source.task);
    for (const std::string& id : after) text += Cat("    after ", id, "\n");
  };
  for (const TaskSpec& task : plan.tasks) {
    text += Cat("  task ", task.id, " (", task.label, ")\n");
    describe(task, {});
  }
  for (const StageSpec& stage : plan.stages) {
    text += Cat("  stage ", stage.id, " (", stage.label, ", one task a step)\n");
    std::vector<Binding> more = stage.bindings;
    more.insert(more.end(), stage.pictures.begin(), stage.pictures.end());
    describe(stage.tile, more);
  }
  for (const StreamSpec& stream : plan.streams) {
    text += Cat("  stream ", stream.id, " (", stream.label, ", one task a window)\n");
    const std::optional<Source>& from = stream.extent ? stream.extent : stream.batch;
    describe(stream.window, {{stream.node, "", {*from}, false}});
  }
  return text;
}

}  // namespace atelier
