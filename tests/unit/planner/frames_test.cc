// Chains that frames go through in windows. docs/frames.md.
#include <catch2/catch.hpp>

#include "common/graph/frames.h"
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
    CHECK(binding.sources == std::vector<Source>{binding.input == "images" ? Source{stream.id, 0}
                                                                           : Source{shared.id, 1 - stream.extent->output}});
  }
  CHECK(ExplainPlan(plan).find("stream " + stream.id) != std::string::npos);
}

TEST_CASE("frames: what is cheap is made by the sink's task as it goes, unless windows or whole are asked for") {
  Json prompt = VideoPrompt();
  prompt["5"]["inputs"]["images"] = Link("3");
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
