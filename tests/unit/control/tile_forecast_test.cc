// What is told of a tiled stage before it runs.
#include "master/control/tile_forecast.h"

#include <catch2/catch.hpp>

namespace atelier {
namespace {

const TileSplit kSplit{.tile_node = "UltimateSDUpscaleTile", .image_input = "image", .canvas_multiple = 8};

Json LinearSettings() { return {{"tile_width", 128}, {"tile_height", 128}, {"mode_type", "Linear"}}; }

TEST_CASE("chains and speed-ups of each order") {
  const auto f = ForecastTiles("tiles-5", LinearSettings(), kSplit, "exact", false, 512, 512, 4, std::nullopt);
  REQUIRE(f.ok());
  CHECK(f->tiles == 16);
  CHECK(f->columns == 4);
  CHECK(f->phases == std::vector<int>{16});
  REQUIRE(f->orders.size() == 3);
  // Tile (r, c) cannot begin before step c + 2r: 10 steps (docs/bench.md).
  CHECK(f->orders[0].name == "exact, Linear");
  CHECK(f->orders[0].chosen);
  CHECK(f->orders[0].chain == 10);
  CHECK(f->orders[0].speed_ups == std::vector<double>{1.0, 1.6, 1.6, 1.6});
  // One colour sees nothing of itself but at corners, which the padding brings in: never longer than linear.
  CHECK(f->orders[1].name == "exact, Chess");
  CHECK_FALSE(f->orders[1].chosen);
  CHECK(f->orders[1].chain < f->orders[0].chain);
  CHECK(f->orders[2].name == "independent");
  CHECK(f->orders[2].chain == 1);
  CHECK(f->orders[2].speed_ups == std::vector<double>{1.0, 2.0, 16.0 / 6, 4.0});
}

TEST_CASE("the node's own order goes before the job's, seam passes are phases") {
  Json settings = LinearSettings();
  settings["order"] = "independent";
  settings["seam_fix_mode"] = "Band Pass";
  const auto f = ForecastTiles("s", settings, kSplit, "exact", false, 512, 256, 2, 1.5);
  REQUIRE(f.ok());
  CHECK(f->phases == std::vector<int>{8, 3, 1});
  CHECK(f->orders[2].chosen);
  CHECK(f->orders[2].steps == 12);
  CHECK(f->orders[2].chain == 3);  // one step of each phase
  const std::string text = ForecastText(*f);
  CHECK(text.find("4 x 2 grid, 8 tiles") != std::string::npos);
  CHECK(text.find("8 redraw + 3 seam pass 1 + 1 seam pass 2") != std::string::npos);
  CHECK(text.find("1.50 s a step, 18.0 s with 1 worker, at least 9.0 s with 2") != std::string::npos);
  const Json json = ForecastJson(*f);
  CHECK(json["orders"][2]["seconds_one_worker"] == 18.0);
  CHECK(json["canvas"] == Json({512, 256}));
}

TEST_CASE("times of the workers that are there give what a stage will take") {
  auto f = ForecastTiles("s", LinearSettings(), kSplit, "independent", false, 512, 512, 2, std::nullopt);
  REQUIRE(f.ok());
  CHECK_FALSE(f->shape.empty());
  AddTimes(*f, {4, 2});
  CHECK(f->step_seconds == 2.0);
  const OrderForecast& independent = f->orders.back();
  CHECK(independent.steps == 16);
  CHECK(ExpectedSeconds(independent, f->worker_seconds) == Approx(22));  // 11 of them on the fast one
  CHECK(ExpectedSeconds(f->orders[0], {2}) == Approx(2.0 * 16));
  CHECK(ExpectedSeconds(f->orders[0], {2, 2, 2, 2}) == Approx(2.0 * f->orders[0].chain));  // nobody shortens a chain
  CHECK(ExpectedSeconds(f->orders[0], {2, 1000}) == Approx(2.0 * 16));  // one that is too slow to help gets none
  CHECK(ForecastText(*f).find(" s with the 2 workers that are there") != std::string::npos);
  CHECK(ForecastJson(*f)["orders"].back()["seconds_expected"].is_number());
}

TEST_CASE("without redraw there is one exact order; without times that is said") {
  Json settings = LinearSettings();
  settings["mode_type"] = "None";
  settings["seam_fix_mode"] = "Band Pass";
  const auto f = ForecastTiles("s", settings, kSplit, "exact", false, 512, 256, 1, std::nullopt);
  REQUIRE(f.ok());
  CHECK(f->tiles == 0);
  CHECK(f->orders.size() == 2);
  CHECK(f->orders[0].chosen);
  CHECK(ForecastText(*f).find("time: unknown") != std::string::npos);
  CHECK(ForecastJson(*f)["step_seconds"].is_null());
}

// "1" makes the picture, "2.base" enlarges it, "2" is tiled.
Plan PlanWith(const Json& source) {
  Plan plan;
  TaskSpec task;
  task.id = "shared";
  task.nodes = {{"1", source},
                {"2.base",
                 {{"class_type", "UltimateSDUpscaleTileCanvas"},
                  {"inputs", {{"image", Json::array({"1", 0})}, {"upscale_by", 1.55}}}}}};
  task.wanted = {{"2.base", 0, "u8"}};
  task.input_files = {"cat.png"};
  plan.tasks.push_back(task);
  StageSpec stage;
  stage.split = kSplit;
  stage.bindings = {{"2", "image", {{"shared", 0}}, false}};
  plan.stages.push_back(stage);
  return plan;
}

TEST_CASE("the canvas's size as far as the plan tells") {
  const FileSize files = [](const std::string& name) -> StatusOr<CanvasSize> {
    if (name != "cat.png") return NotFound(name);
    return CanvasSize{100, 60};
  };
  const auto size = [&](const Json& source, const std::string& canvas = "") {
    const Plan plan = PlanWith(source);
    return ExpectedCanvas(plan, plan.stages[0], canvas, files);
  };
  const Json empty{{"class_type", "EmptyImage"}, {"inputs", {{"width", 64}, {"height", 128}}}};
  const auto made = size(empty);
  REQUIRE(made.ok());
  CHECK(made->width == 96);    // 99.2 -> 12.4 eights -> 12
  CHECK(made->height == 200);  // 198.4 -> 24.8 eights -> 25
  const auto loaded = size({{"class_type", "LoadImage"}, {"inputs", {{"image", "cat.png"}}}});
  REQUIRE(loaded.ok());
  CHECK(loaded->width == 152);
  CHECK(loaded->height == 96);  // 93 -> 11.625 -> 12
  CHECK(size({{"class_type", "VAEDecode"}, {"inputs", Json::object()}}).status().code() ==
        StatusCode::kFailedPrecondition);
  const auto told = size(empty, "3840x2160");
  REQUIRE(told.ok());
  CHECK(told->width == 3840);
  CHECK(told->height == 2160);
  for (const char* bad : {"x", "3840", "3840x", "0x5", "1x2x3", "-1x4"}) {
    INFO(bad);
    CHECK(size(empty, bad).status().code() == StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace atelier
