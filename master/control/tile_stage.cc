#include "master/control/tile_stage.h"

#include <algorithm>
#include <array>

namespace atelier {
namespace {

// Settings of the geometry beside the padding, whose name differs among the nodes.
constexpr std::array<std::string_view, 14> kSettings = {
    "tile_width",    "tile_height",    "mask_blur",          "force_uniform_tiles", "mode_type",
    "seam_fix_mode", "seam_fix_width", "seam_fix_padding",   "batch_size",          "order",
    "init_width",    "init_height",    "seam_fix_mask_blur", "seam_fix_denoise"};

Status ReadInt(const Json& settings, const std::string& name, int* out) {
  const auto it = settings.find(name);
  if (it == settings.end() || it->is_null()) return OkStatus();
  if (!it->is_number()) return InvalidArgument(name, " is ", it->dump(), ", expected a number");
  *out = static_cast<int>(std::clamp(it->get<double>(), -1e9, 1e9));
  return OkStatus();
}

// The text of a choice, or `fallback`.
StatusOr<std::string> ReadText(const Json& settings, const char* name, const char* fallback) {
  const auto it = settings.find(name);
  if (it == settings.end() || it->is_null()) return std::string(fallback);
  if (!it->is_string()) return InvalidArgument(name, " is ", it->dump(), ", expected one of its choices");
  return it->get<std::string>();
}

StatusOr<TileSettings> ReadSettings(const Json& settings, const TileSplit& split) {
  TileSettings tiles;
  RETURN_IF_ERROR(ReadInt(settings, "tile_width", &tiles.tile_width));
  RETURN_IF_ERROR(ReadInt(settings, "tile_height", &tiles.tile_height));
  RETURN_IF_ERROR(ReadInt(settings, split.padding_input, &tiles.padding));
  RETURN_IF_ERROR(ReadInt(settings, "mask_blur", &tiles.mask_blur));
  RETURN_IF_ERROR(ReadInt(settings, "seam_fix_width", &tiles.seam_width));
  RETURN_IF_ERROR(ReadInt(settings, "seam_fix_mask_blur", &tiles.seam_blur));
  RETURN_IF_ERROR(ReadInt(settings, "seam_fix_padding", &tiles.seam_padding));
  RETURN_IF_ERROR(ReadInt(settings, "batch_size", &tiles.batch));
  const auto uniform = settings.find("force_uniform_tiles");
  tiles.force_uniform = uniform == settings.end() || !uniform->is_boolean() || uniform->get<bool>();
  tiles.round_tiles = split.canvas_multiple == 1;
  ASSIGN_OR_RETURN(const std::string mode, ReadText(settings, "mode_type", kRedrawModes[0]));
  ASSIGN_OR_RETURN(tiles.mode, ParseRedrawMode(mode));
  ASSIGN_OR_RETURN(const std::string seams, ReadText(settings, "seam_fix_mode", kSeamFixes[0]));
  ASSIGN_OR_RETURN(tiles.seam_fix, ParseSeamFix(seams));
  return tiles;
}

}  // namespace

bool IsTileSetting(std::string_view input, const TileSplit& split) {
  return input == split.padding_input || std::find(kSettings.begin(), kSettings.end(), input) != kSettings.end();
}

StatusOr<TileStage> PlanTileStage(const Json& settings, const TileSplit& split, const std::string& order,
                                  bool documented, int width, int height) {
  ASSIGN_OR_RETURN(const TileSettings tiles, ReadSettings(settings, split));
  ASSIGN_OR_RETURN(const std::string own_order, ReadText(settings, "order", ""));
  int init_width = width, init_height = height;
  RETURN_IF_ERROR(ReadInt(settings, "init_width", &init_width));
  RETURN_IF_ERROR(ReadInt(settings, "init_height", &init_height));
  const std::string& wanted = own_order == "exact" || own_order == "independent" ? own_order : order;
  TileStage stage;
  ASSIGN_OR_RETURN(stage.plan, MakeTilePlan(width, height, tiles));
  ASSIGN_OR_RETURN(const TileGraph links,
                   MakeTileGraph(stage.plan, wanted == "independent" ? TileOrder::kIndependent : TileOrder::kExact));
  stage.graph.tiles.resize(stage.plan.steps.size());
  for (size_t s = 0; s < stage.plan.steps.size(); ++s) {
    const std::vector<int>& step = stage.plan.steps[s];
    const Tile& first = stage.plan.tiles[static_cast<size_t>(step.front())];
    std::string crops;
    for (const int index : step) {
      const Box& crop = stage.plan.tiles[static_cast<size_t>(index)].crop;
      crops += Cat(crops.empty() ? "" : ";", crop.x1, ",", crop.y1, ",", crop.x2, ",", crop.y2);
    }
    StageGraph::Tile& out = stage.graph.tiles[s];
    out.hidden = {{"process_width", first.process_width},
                  {"process_height", first.process_height},
                  {"crops", std::move(crops)},
                  {"canvas_width", width},
                  {"canvas_height", height},
                  {"init_width", init_width},
                  {"init_height", init_height}};
    out.shape = Cat(first.process_width, "x", first.process_height, "x", step.size());
    const auto seam_denoise = settings.find("seam_fix_denoise");
    if (documented && first.phase > 0 && seam_denoise != settings.end() && seam_denoise->is_number())
      out.hidden["denoise"] = *seam_denoise;
    out.cut_after = links.cut_after[s];
    out.paste_after_cut = links.paste_after_cut_of[s];
    out.paste_after = links.paste_after[s];
  }
  return stage;
}

}  // namespace atelier
