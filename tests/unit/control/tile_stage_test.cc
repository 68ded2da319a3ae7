#include "master/control/tile_stage.h"

#include <catch2/catch.hpp>

namespace atelier {
namespace {

Json Settings() {
  return {
      {"tile_width", 64},     {"tile_height", 64},       {"tile_padding", 16},         {"mask_blur", 4},
      {"denoise", 0.2},       {"batch_size", 1},         {"mode_type", "Chess"},       {"seam_fix_mode", "Half Tile"},
      {"init_width", 96},     {"init_height", 64},       {"seam_fix_padding", 16},     {"seam_fix_denoise", 0.7},
      {"seam_fix_width", 64}, {"seam_fix_mask_blur", 8}, {"force_uniform_tiles", true}};
}

const TileSplit& Split() {
  static const TileSplit split{
      .tile_node = "Tile", .image_input = "image", .padding_input = "tile_padding", .canvas_multiple = 8};
  return split;
}

StatusOr<TileStage> Stage(const Json& settings, bool documented = false) {
  return PlanTileStage(settings, Split(), "exact", documented, 192, 128);
}

TEST_CASE("tile stage: steps, seams and geometry of the settings") {
  const auto stage = Stage(Settings());
  INFO(Message(stage.status()));
  REQUIRE(stage.ok());
  REQUIRE(stage->graph.tiles.size() == 6 + 3 + 4);
  const Json& hidden = stage->graph.tiles[1].hidden;  // chess: the third tile of the first row
  CHECK(hidden["crops"] == "112,0,192,80");
  CHECK(hidden["process_width"] == 80);
  CHECK(hidden["canvas_width"] == 192);
  CHECK(hidden["init_width"] == 96);
  CHECK(hidden["init_height"] == 64);
  CHECK(stage->graph.tiles[0].cut_after.empty());
  CHECK_FALSE(stage->graph.tiles[6].cut_after.empty());  // a seam sees the redraw
}

TEST_CASE("tile stage: seams have a denoise of their own only as documented") {
  const auto reference = Stage(Settings());
  for (const StageGraph::Tile& tile : reference->graph.tiles) CHECK_FALSE(tile.hidden.contains("denoise"));
  const auto documented = Stage(Settings(), true);
  for (size_t s = 0; s < documented->graph.tiles.size(); ++s) {
    const Json& hidden = documented->graph.tiles[s].hidden;
    CHECK(hidden.contains("denoise") == (s >= 6));
    if (s >= 6) CHECK(hidden["denoise"] == 0.7);
  }
}

TEST_CASE("tile stage: batches name all their crops; the node's order goes before the job's") {
  Json settings = Settings();
  settings["batch_size"] = 2;
  settings["seam_fix_mode"] = "None";
  const auto batches = Stage(settings);
  REQUIRE(batches->graph.tiles.size() == 4);
  CHECK(batches->graph.tiles[0].hidden["crops"] == "0,0,80,80;112,0,192,80");
  size_t waits = 0;
  settings["order"] = "independent";
  const auto independent = Stage(settings);
  for (const StageGraph::Tile& tile : independent->graph.tiles) waits += tile.cut_after.size();
  CHECK(waits == 0);
}

TEST_CASE("tile stage: bad settings are named") {
  for (const auto& [name, value] : std::vector<std::pair<std::string, Json>>{{"tile_width", "wide"},
                                                                             {"mode_type", "Spiral"},
                                                                             {"seam_fix_mode", 3},
                                                                             {"batch_size", 0},
                                                                             {"tile_padding", -1}}) {
    Json settings = Settings();
    settings[name] = value;
    const auto stage = Stage(settings);
    INFO(name);
    REQUIRE(stage.status().code() == StatusCode::kInvalidArgument);
    CHECK(Message(stage.status()).find(name == "tile_padding" ? "padding" : name) != std::string::npos);
  }
}

}  // namespace
}  // namespace atelier
