// Chains that frames go through in windows. docs/frames.md.
#include "common/graph/frames.h"

#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "common/graph/lists.h"
#include "master/planner/planner.h"
#include "tests/unit/planner/catalog_for_tests.h"

namespace atelier {
namespace {

Plan Must(const Json& prompt, const std::string& output, const PlanOptions& options) {
  auto plan = MakePlan(prompt, {output}, TestCatalog(), options);
  INFO(Message(plan.status()));
  REQUIRE(plan.ok());
  return *std::move(plan);
}

PlanOptions Frames(const std::string& frames, const std::string& tiles = "exact") {
  PlanOptions options;
  options.frames = frames;
  options.tiles = tiles;
  return options;
}

TEST_CASE("frames: what a network enlarges goes in windows that are tasks; the sink takes them all, in order") {
  const Plan plan = Must(VideoPrompt(), "5", Frames("auto"));
  REQUIRE(plan.streams.size() == 1);
  const StreamSpec& stream = plan.streams[0];
  CHECK(stream.node == "2");
  CHECK(stream.window.nodes["2"]["class_type"] == "FrameWindow");
  CHECK(stream.window.nodes["2.open"]["class_type"] == "VideoOpen");
  CHECK(stream.window.nodes.contains("1"));  // the network's loader
  CHECK(stream.window.nodes.contains("3"));
  CHECK(stream.window.nodes.contains("4"));
  CHECK_FALSE(stream.window.nodes.contains("5"));
  CHECK(stream.window.bindings.empty());
  CHECK(stream.window.input_files == std::set<std::string>{"a.mp4"});
  CHECK(stream.window.needs.models.contains({"checkpoints", "m.safetensors"}));
  REQUIRE(stream.window.wanted.size() == 1);
  CHECK(stream.window.wanted[0].node == "4");
  CHECK(stream.window.wanted[0].encoding == "rounded");
  CHECK_FALSE(stream.batch.has_value());
  // Number of frames and sound come first, then the windows, then the file.
  REQUIRE(plan.tasks.size() == 2);
  const TaskSpec& shared = plan.tasks[0];
  CHECK(shared.nodes["2.rest"]["class_type"] == "VideoRest");
  CHECK(shared.nodes.size() == 1);
  REQUIRE(stream.extent.has_value());
  CHECK(stream.extent->task == shared.id);
  CHECK(shared.wanted[stream.extent->output].slot == 0);
  const TaskSpec& sink = plan.tasks[1];
  CHECK(sink.output_nodes == std::vector<std::string>{"5"});
  CHECK(sink.nodes.size() == 1);
  CHECK(sink.needs.node_types.contains("FrameWindow"));  // a worker of an older version would not know windows
  REQUIRE(sink.bindings.size() == 2);
  for (const Binding& binding : sink.bindings) {
    CHECK(binding.gather == (binding.input == "images"));
    CHECK(binding.sources == std::vector<Source>{binding.input == "images"
                                                     ? Source{stream.id, 0}
                                                     : Source{shared.id, 1 - stream.extent->output}});
  }
  CHECK(ExplainPlan(plan).find("stream " + stream.id) != std::string::npos);
}

TEST_CASE("frames: what is cheap is made by the sink's task as it goes, unless windows or whole are asked for") {
  Json prompt = VideoPrompt();
  prompt["5"]["inputs"]["images"] = Link("3");
  prompt.erase("4");
  Plan plan = Must(prompt, "5", Frames("auto"));
  CHECK(plan.streams.empty());
  REQUIRE(plan.tasks.size() == 1);
  CHECK(plan.tasks[0].nodes["2"]["class_type"] == "FrameWindow");
  CHECK(plan.tasks[0].nodes["5"]["inputs"]["images"] == Link("3"));
  CHECK(plan.tasks[0].nodes["5"]["inputs"]["audio"] == Link("2.rest", 2));
  CHECK(plan.tasks[0].bindings.empty());
  plan = Must(prompt, "5", Frames("windows"));
  CHECK(plan.streams.size() == 1);
  plan = Must(prompt, "5", Frames("whole"));
  CHECK(plan.streams.empty());
  REQUIRE(plan.tasks.size() == 1);
  CHECK(plan.tasks[0].nodes["2"]["class_type"] == "Video");
  prompt["5"]["inputs"].erase("audio");  // nobody asks for more than the frames
  plan = Must(prompt, "5", Frames("windows"));
  REQUIRE(plan.streams.size() == 1);
  CHECK(plan.tasks.size() == 2);
  // Frames that are played again are not made again.
  prompt["5"]["inputs"]["pingpong"] = true;
  CHECK(Must(prompt, "5", Frames("auto")).streams.size() == 1);
}

TEST_CASE("frames: floats where the format needs them, bytes cut off where the sink does so, through nodes that pass") {
  Json prompt = VideoPrompt();
  prompt["5"]["inputs"]["format"] = "deep";
  CHECK(Must(prompt, "5", Frames("auto")).streams.at(0).window.wanted[0].encoding.empty());
  prompt["5"] = Node("Create", {{"images", Link("4")}, {"audio", Link("2", 2)}});
  prompt["6"] = Node("SaveVideo", {{"video", Link("5")}});
  const Plan plan = Must(prompt, "6", Frames("auto"));
  REQUIRE(plan.streams.size() == 1);
  CHECK(plan.streams[0].window.wanted[0].encoding == "packed");
  REQUIRE(plan.tasks.size() == 2);
  CHECK(plan.tasks[1].nodes.contains("5"));  // hands the windows on, so it runs where the sink runs
  CHECK(plan.tasks[1].nodes.contains("6"));
}

TEST_CASE("frames: whoever else looks at the frames, or at what depends on all of them, keeps them whole") {
  const auto streams = [](const Json& prompt, const std::string& output = "5") {
    return Must(prompt, output, Frames("windows")).streams.size();
  };
  CHECK(streams(VideoPrompt()) == 1);
  Json twice = VideoPrompt();
  twice["6"] = Node("Combine", {{"images", Link("3")}});
  CHECK(streams(twice) == 0);
  Json count = VideoPrompt();
  count["4"]["inputs"]["image"] = Link("2");
  count["3"]["inputs"]["image"] = Link("4");
  count["5"]["inputs"]["images"] = Link("3");
  CHECK(streams(count) == 1);
  count["6"] = Node("Scale", {{"image", Link("4")}, {"width", Link("3", 1)}});
  CHECK(streams(count) == 0);
  Json tiled = VideoPrompt();
  tiled["4"] = Node("Tiled", {{"image", Link("3")}, {"model", Link("1")}, {"seed", 1}});
  CHECK(streams(tiled) == 0);
}

TEST_CASE("frames: by-image runs a tiled node picture by picture, of a video or of any batch") {
  Json prompt = VideoPrompt();
  prompt["4"] = Node("TiledPictures", {{"image", Link("3")}, {"model", Link("1")}, {"seed", 1}});
  CHECK(Must(prompt, "5", Frames("auto")).stages.size() == 1);
  Plan plan = Must(prompt, "5", Frames("auto", "by-image"));
  CHECK(plan.stages.empty());
  REQUIRE(plan.streams.size() == 1);
  CHECK(plan.streams[0].window.nodes["4"]["inputs"]["by_picture"] == true);
  CHECK(plan.streams[0].extent.has_value());

  Json batch = {{"1", Node("Loader", {{"ckpt_name", "m.safetensors"}})},
                {"2", Node("Load", {{"image", "a.png"}})},
                {"4", Node("TiledPictures", {{"image", Link("2")}, {"model", Link("1")}, {"seed", 1}})},
                {"5", Node("Save", {{"images", Link("4")}})}};
  plan = Must(batch, "5", Frames("auto", "by-image"));
  CHECK(plan.stages.empty());
  REQUIRE(plan.streams.size() == 1);
  const StreamSpec& stream = plan.streams[0];
  REQUIRE(stream.batch.has_value());
  CHECK(stream.batch->task == plan.tasks[0].id);
  CHECK(plan.tasks[0].nodes.contains("2"));
  CHECK_FALSE(stream.window.nodes.contains("2"));  // a picture comes as a blob
  CHECK(stream.window.nodes[stream.node]["class_type"] == "FrameWindow");
  CHECK(stream.window.nodes["4"]["inputs"]["image"] == Link(stream.node));
  REQUIRE(plan.tasks.size() == 2);
  CHECK(plan.tasks[1].nodes["4.batch"]["class_type"] == "FrameBatch");
  CHECK(plan.tasks[1].nodes["5"]["inputs"]["images"] == Link("4.batch"));
  // With all pictures in memory it is an ordinary node.
  plan = Must(batch, "5", Frames("whole", "by-image"));
  CHECK(plan.streams.empty());
  REQUIRE(plan.tasks.size() == 1);
  CHECK(plan.tasks[0].nodes["4"]["inputs"]["by_picture"] == true);
}

// Whether every task, stage and stream can be done after what it names.
bool CanBeDone(const Plan& plan) {
  std::map<std::string, std::set<std::string>> after;
  const auto add = [&](const std::string& id, const std::vector<Binding>& bindings) {
    std::set<std::string>& list = after[id];
    for (const Binding& binding : bindings)
      for (const Source& source : binding.sources) list.insert(source.task);
  };
  for (const TaskSpec& task : plan.tasks) add(task.id, task.bindings);
  for (const StageSpec& stage : plan.stages) {
    add(stage.id, stage.bindings);
    add(stage.id, stage.tile.bindings);
  }
  for (const StreamSpec& stream : plan.streams) {
    add(stream.id, stream.window.bindings);
    for (const auto& from : {stream.extent, stream.batch})
      if (from) after[stream.id].insert(from->task);
  }
  for (size_t left = after.size(); left > 0; left = after.size()) {
    std::erase_if(after, [&](const auto& one) {
      return std::none_of(one.second.begin(), one.second.end(), [&](const auto& id) { return after.contains(id); });
    });
    if (after.size() == left) return false;
  }
  return true;
}

TEST_CASE("frames: a batch of redrawn pictures that a video takes, and that its sound depends on, comes before both") {
  Catalog catalog = TestCatalog();
  catalog.Add(MakeSpec("Listen", {{"images", "IMAGE"}}, {"AUDIO"}));
  const Json prompt = {{"1", Node("Loader", {{"ckpt_name", "m.safetensors"}})},
                       {"2", Node("Load", {{"image", "a.png"}})},
                       {"4", Node("TiledPictures", {{"image", Link("2")}, {"model", Link("1")}, {"seed", 1}})},
                       {"5", Node("Tiled", {{"image", Link("4")}, {"model", Link("1")}, {"seed", 1}})},
                       {"6", Node("Listen", {{"images", Link("5")}})},
                       {"7", Node("Create", {{"images", Link("4")}, {"audio", Link("6")}})},
                       {"8", Node("SaveVideo", {{"video", Link("7")}})}};
  const auto plan = MakePlan(prompt, {"8"}, catalog, Frames("auto", "by-image"));
  REQUIRE(plan.ok());
  CHECK(plan->streams.size() == 1);
  CHECK(plan->stages.size() == 1);
  CHECK(CanBeDone(*plan));
}

TEST_CASE("frames: behind a list of batches a tiled node runs as a whole, once for each of them") {
  Catalog catalog = TestCatalog();
  NodeSpec divide = MakeSpec("ToList", {{"image", "IMAGE"}}, {"IMAGE"});
  DeclareLists(divide);
  catalog.Add(divide);
  NodeSpec join = MakeSpec("Join", {{"images", "IMAGE"}}, {"IMAGE"});
  join.inputs[0].gather = true;
  catalog.Add(join);
  Json prompt = {{"1", Node("Loader", {{"ckpt_name", "m.safetensors"}})},
                 {"2", Node("Load", {{"image", "a.png"}})},
                 {"3", Node("ToList", {{"image", Link("2")}})},
                 {"4", Node("Scale", {{"image", Link("3")}, {"width", 64}})},
                 {"5", Node("TiledPictures", {{"image", Link("4")}, {"model", Link("1")}, {"seed", 1}})},
                 {"6", Node("Save", {{"images", Link("5")}})}};
  for (const char* tiles : {"by-image", "exact"}) {
    const auto plan = MakePlan(prompt, {"6"}, catalog, Frames("auto", tiles));
    REQUIRE(plan.ok());
    CHECK(plan->streams.empty());
    CHECK(plan->stages.empty());
    REQUIRE(plan->tasks.size() == 1);
    CHECK(plan->tasks[0].nodes["5"]["class_type"] == "TiledPictures");
    CHECK(plan->tasks[0].nodes["5"]["inputs"].value("by_picture", false) == (std::string(tiles) == "by-image"));
  }
  const auto refused = MakePlan(prompt, {"6"}, catalog, Frames("auto", "independent"));
  CHECK(Message(refused.status()).find("node \"5\": a list comes in") != std::string::npos);
  CHECK(MakePlan(prompt, {"4"}, catalog, Frames("auto", "independent")).ok());  // the tiled node is not needed
  prompt["4"] = Node("Join", {{"images", Link("3")}});  // takes the whole list: one batch comes out
  const auto joined = MakePlan(prompt, {"6"}, catalog, Frames("auto", "by-image"));
  REQUIRE(joined.ok());
  CHECK(joined->streams.size() == 1);
}

TEST_CASE("frames: replicas that differ in their frames keep them whole") {
  Json prompt = VideoPrompt();
  prompt["3"]["inputs"]["width"] = Link("7");
  prompt["7"] = Node("Seed", {{"seed", 64}});
  prompt["8"] = Node("Collect", {{"images", Link("4")}});
  prompt["5"]["inputs"]["images"] = Link("8");
  PlanOptions options = Frames("auto");
  options.replicas = 3;
  const Plan plan = Must(prompt, "5", options);
  CHECK(plan.streams.empty());
}

}  // namespace
}  // namespace atelier
