#include "common/image/tiles.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "common/base/limits.h"
#include "common/image/blur.h"
#include "common/image/composite.h"

namespace atelier {
namespace {

TilePlan Plan(int width, int height, int tw, int th, int padding, bool uniform, int blur = 8, bool chess = false) {
  const auto plan =
      MakeTilePlan(width, height, {tw, th, padding, blur, uniform, chess ? RedrawMode::kChess : RedrawMode::kLinear});
  INFO(Message(plan.status()));
  REQUIRE(plan.ok());
  return *plan;
}

void CheckTile(const TilePlan& plan, size_t index, const Box& crop, int width, int height) {
  INFO("tile " << index);
  CHECK(plan.tiles[index].crop == crop);
  CHECK(plan.tiles[index].process_width == width);
  CHECK(plan.tiles[index].process_height == height);
}

// Source: spec distributed.md 3.18.
TEST_CASE("crops and process sizes are those of the reference") {
  {
    const TilePlan plan = Plan(1024, 1024, 512, 512, 32, true);
    REQUIRE(plan.tiles.size() == 4);
    CheckTile(plan, 0, {0, 0, 544, 544}, 544, 544);
    CheckTile(plan, 1, {480, 0, 1024, 544}, 544, 544);
    CheckTile(plan, 2, {0, 480, 544, 1024}, 544, 544);
    CheckTile(plan, 3, {480, 480, 1024, 1024}, 544, 544);
  }
  {
    const TilePlan plan = Plan(1920, 1080, 1024, 1024, 32, true);
    CheckTile(plan, 0, {0, 0, 1056, 1056}, 1056, 1056);
    CheckTile(plan, 1, {864, 0, 1920, 1056}, 1056, 1056);
    CheckTile(plan, 2, {0, 24, 1056, 1080}, 1056, 1056);
    CheckTile(plan, 3, {992, 152, 1920, 1080}, 1056, 1056);
  }
  {
    const TilePlan plan = Plan(1920, 1080, 1024, 1024, 32, false);
    CheckTile(plan, 0, {0, 0, 1056, 1056}, 1056, 1056);
    CheckTile(plan, 1, {992, 0, 1920, 1056}, 928, 1056);
    CheckTile(plan, 2, {0, 992, 1056, 1080}, 1056, 88);
    CheckTile(plan, 3, {992, 992, 1920, 1080}, 928, 88);
  }
  {
    const TilePlan plan = Plan(2048, 1360, 1024, 1024, 32, true);
    CheckTile(plan, 0, {0, 0, 1056, 1056}, 1056, 1056);
    CheckTile(plan, 1, {992, 0, 2048, 1056}, 1056, 1056);
    CheckTile(plan, 2, {0, 304, 1056, 1360}, 1056, 1056);
    CheckTile(plan, 3, {992, 304, 2048, 1360}, 1056, 1056);
  }
  {
    const TilePlan plan = Plan(2048, 2048, 512, 512, 32, true);
    REQUIRE(plan.tiles.size() == 16);
    CheckTile(plan, 0, {0, 0, 544, 544}, 544, 544);
    CheckTile(plan, 1, {480, 0, 1056, 576}, 544, 544);
    CheckTile(plan, 5, {480, 480, 1056, 1056}, 544, 544);
    CheckTile(plan, 7, {1472, 480, 2048, 1056}, 544, 544);
    CheckTile(plan, 13, {480, 1472, 1056, 2048}, 544, 544);
    CheckTile(plan, 15, {1504, 1504, 2048, 2048}, 544, 544);
  }
  {
    const TilePlan plan = Plan(1000, 700, 512, 512, 32, false);
    CheckTile(plan, 0, {0, 0, 544, 544}, 544, 544);
    CheckTile(plan, 1, {480, 0, 1000, 544}, 520, 544);
    CheckTile(plan, 2, {0, 476, 544, 700}, 544, 224);
    CheckTile(plan, 3, {480, 476, 1000, 700}, 520, 224);
  }
  {
    const TilePlan plan = Plan(3000, 2000, 768, 512, 48, true);
    REQUIRE(plan.columns == 4);
    REQUIRE(plan.rows == 4);
    CheckTile(plan, 1, {720, 0, 1584, 593}, 816, 560);
    CheckTile(plan, 4, {0, 464, 886, 1072}, 816, 560);
    CheckTile(plan, 5, {709, 464, 1595, 1072}, 816, 560);
    CheckTile(plan, 15, {2254, 1488, 3000, 2000}, 816, 560);
  }
}

// Source: spec distributed.md 3.18, last but three line.
TEST_CASE("seam masks get the reference's crops") {
  int width = 0;
  int height = 0;
  CHECK(CropBox({480, 0, 544, 1024}, 1024, 1024, 16, true, 96, 1024, &width, &height) == Box{463, 0, 559, 1024});
  CHECK(width == 96);
  CHECK(height == 1024);
  CHECK(CropBox({0, 257, 512, 767}, 1024, 1024, 16, true, 512, 512, &width, &height) == Box{0, 241, 541, 782});
  CHECK(CropBox({257, 0, 767, 512}, 1024, 1024, 16, true, 512, 512, &width, &height) == Box{241, 0, 782, 541});
  CHECK(CropBox({256, 256, 768, 768}, 1024, 1024, 0, true, 512, 512, &width, &height) == Box{256, 256, 767, 767});
}

// Source: spec distributed.md 3.18, last line.
TEST_CASE("blurred masks have the reference's values") {
  const auto check = [](int sigma, int first_below, int first_zero, const std::vector<std::pair<int, int>>& values) {
    const TilePlan plan = Plan(1024, 1024, 512, 512, 128, true, sigma);
    const ImageU8 mask = *MakeTileMask(plan, plan.tiles[0]);
    for (const auto& [x, value] : values) CHECK(static_cast<int>(mask.at(x, 256)) == value);
    CHECK(mask.at(first_below - 1, 256) == 255);
    CHECK(mask.at(first_below, 256) < 255);
    CHECK(mask.at(first_zero - 1, 256) > 0);
    CHECK(mask.at(first_zero, 256) == 0);
    CHECK(plan.tiles[0].written == Box{0, 0, first_zero, first_zero});
    CHECK(mask.at(0, 0) == 255);
  };
  check(8, 493, 533,
        {{496, 251},
         {500, 239},
         {504, 216},
         {508, 179},
         {511, 145},
         {512, 133},
         {513, 122},
         {516, 87},
         {520, 47},
         {524, 20},
         {528, 6},
         {532, 1}});
  check(16, 472, 554,
        {{492, 228},
         {500, 197},
         {508, 154},
         {511, 136},
         {512, 130},
         {513, 125},
         {516, 107},
         {520, 84},
         {528, 45},
         {536, 19}});
}

TEST_CASE("tile sizes round half to even multiples of 8") {
  for (const auto& [size, rounded] :
       std::vector<std::pair<int, int>>{{64, 64}, {67, 64}, {68, 64}, {69, 72}, {76, 80}, {84, 80}}) {
    CHECK(Plan(200, 200, size, 64, 0, true).settings.tile_width == rounded);
  }
  CHECK(MakeTilePlan(64, 64, {4, 64, 0, 0, true}).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("plans refuse what is beyond the limits") {
  CHECK(MakeTilePlan(16384, 16384, {8, 8, 0, 0, true}).status().code() == StatusCode::kResourceExhausted);
  CHECK(MakeTilePlan(1 << 20, 1 << 20, {}).status().code() == StatusCode::kResourceExhausted);
  CHECK(MakeTilePlan(0, 64, {}).status().code() == StatusCode::kInvalidArgument);
  CHECK(MakeTilePlan(64, 64, {0, 64, 0, 0, true}).status().code() == StatusCode::kInvalidArgument);
  CHECK(MakeTilePlan(64, 64, {64, 64, -1, 0, true}).status().code() == StatusCode::kInvalidArgument);
  CHECK(MakeTilePlan(64, 64, {64, 64, 0, -1, true}).status().code() == StatusCode::kInvalidArgument);
  CHECK(MakeTilePlan(64, 64, {1 << 30, 64, 0, 0, true}).status().code() == StatusCode::kInvalidArgument);
  const TilePlan dense = Plan(2000, 2000, 8, 8, 400, false);
  CHECK(MakeTileGraph(dense, TileOrder::kExact).status().code() == StatusCode::kResourceExhausted);
  ImageU8 small = *MakeImage(10, 10, 3);
  const TilePlan plan = Plan(64, 64, 64, 64, 0, true);
  CHECK(!CutTile(plan, plan.tiles[0], small).ok());
  CHECK(!BlendTile(plan, plan.tiles[0], small, &small).ok());
}

TilePlan RandomPlan(std::mt19937* random, bool chess) {
  const auto pick = [random](int low, int high) { return std::uniform_int_distribution<int>(low, high)(*random); };
  return Plan(pick(1, 150), pick(1, 150), pick(8, 64), pick(8, 64), pick(0, 3) * 8, pick(0, 1) == 1,
              pick(0, 3) == 0 ? 0 : pick(1, 20), chess);
}

TEST_CASE("a tile's mask equals the mask of the whole canvas") {
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const TilePlan plan = RandomPlan(&random, false);
    for (const Tile& tile : plan.tiles) {
      ImageU8 full = *MakeImage(plan.canvas_width, plan.canvas_height, 1);
      for (int y = tile.mark.y1; y < tile.mark.y2; ++y) {
        std::fill(full.row(y) + tile.mark.x1, full.row(y) + tile.mark.x2, uint8_t{255});
      }
      const ImageU8 expected = *Crop(*GaussianBlur(full, plan.settings.mask_blur), tile.crop);
      const ImageU8 mask = *MakeTileMask(plan, tile);
      REQUIRE(mask == expected);
      Box box = BoundingBox(mask);
      if (!box.empty()) {
        box = {box.x1 + tile.crop.x1, box.y1 + tile.crop.y1, box.x2 + tile.crop.x1, box.y2 + tile.crop.y1};
      }
      REQUIRE(box == tile.written);  // nothing outside, and nothing more than there is
    }
  }
}

// A plan with seam passes and batches too.
TilePlan RichPlan(std::mt19937* random) {
  const auto pick = [random](int low, int high) { return std::uniform_int_distribution<int>(low, high)(*random); };
  TileSettings settings;
  settings.tile_width = pick(16, 64);
  settings.tile_height = pick(16, 64);
  settings.padding = pick(0, 3) * 8;
  settings.mask_blur = pick(0, 3) == 0 ? 0 : pick(1, 20);
  settings.force_uniform = pick(0, 2) != 0;
  settings.mode = static_cast<RedrawMode>(pick(0, 2));
  settings.round_tiles = pick(0, 1) == 1;
  settings.seam_fix = static_cast<SeamFix>(pick(0, 3));
  settings.seam_width = pick(8, 40);
  settings.seam_blur = pick(0, 1) * pick(1, 12);
  settings.seam_padding = pick(0, 24);
  settings.batch = settings.force_uniform ? pick(1, 3) : 1;
  const auto plan = MakeTilePlan(pick(8, 100), pick(8, 100), settings);
  INFO(Message(plan.status()));
  REQUIRE(plan.ok());
  return *plan;
}

TEST_CASE("a seam's mask equals the mask of the whole canvas") {
  std::mt19937 random(17);
  int seams = 0;
  for (int round = 0; round < 60; ++round) {
    const TilePlan plan = RichPlan(&random);
    for (const Tile& tile : plan.tiles) {
      if (tile.shape == MaskShape::kRectangle) continue;
      ++seams;
      ImageU8 full = *MakeImage(plan.canvas_width, plan.canvas_height, 1);
      const ImageU8 picture = *SeamPicture(tile.shape, tile.placed.width(), tile.placed.height());
      REQUIRE(Paste(picture, tile.placed.x1, tile.placed.y1, &full).ok());
      REQUIRE(BoundingBox(full) == tile.mark);
      const ImageU8 mask = *MakeTileMask(plan, tile);
      REQUIRE(mask == *Crop(*GaussianBlur(full, tile.blur), tile.crop));
      Box box = BoundingBox(mask);
      if (box.empty()) continue;
      box = {box.x1 + tile.crop.x1, box.y1 + tile.crop.y1, box.x2 + tile.crop.x1, box.y2 + tile.crop.y1};
      REQUIRE(Intersect(box, tile.written) == box);
    }
  }
  CHECK(seams > 100);
}

// Source: spec distributed.md 3.16, 3.18.
TEST_CASE("seam passes are those of the reference") {
  TileSettings settings;
  settings.mode = RedrawMode::kNone;
  settings.seam_fix = SeamFix::kBandPass;
  const TilePlan bands = *MakeTilePlan(1024, 1024, settings);
  REQUIRE(bands.tiles.size() == 2);
  CHECK(bands.tiles[0].mark == Box{480, 0, 544, 1024});
  CheckTile(bands, 0, {463, 0, 559, 1024}, 96, 1024);
  CHECK(bands.tiles[1].mark == Box{0, 480, 1024, 544});
  const ImageU8 band = *SeamPicture(MaskShape::kBandColumn, 64, 1024);
  for (int x = 0; x < 32; ++x) {
    CHECK(static_cast<int>(band.at(x, 500)) == 4 + 8 * x);
    CHECK(band.at(63 - x, 3) == band.at(x, 3));
  }
  settings.seam_fix = SeamFix::kHalfTileIntersections;
  const TilePlan plan = *MakeTilePlan(1024, 1024, settings);
  REQUIRE(plan.tiles.size() == 5);
  CHECK(plan.tiles[0].mark == Box{0, 257, 512, 767});
  CheckTile(plan, 0, {0, 241, 541, 782}, 512, 512);
  CHECK(plan.tiles[2].mark == Box{257, 0, 767, 512});
  CheckTile(plan, 2, {241, 0, 782, 541}, 512, 512);
  CHECK(plan.tiles[4].mark == Box{256, 256, 768, 768});
  CheckTile(plan, 4, {256, 256, 767, 767}, 512, 512);
  const ImageU8 half = *SeamPicture(MaskShape::kHalfRow, 512, 512);
  for (int y = 0; y < 256; ++y) {
    CHECK(static_cast<int>(half.at(5, y)) == y);
    CHECK(static_cast<int>(half.at(5, 511 - y)) == y);
  }
  // Passes of a grid of 3x2: (rows - 1) * columns + rows * (columns - 1), and (rows - 1) * (columns - 1).
  CHECK(MakeTilePlan(1536, 1024, settings)->tiles.size() == 3 + 4 + 2);
}

TEST_CASE("batches are groups of tiles in their order, of one colour") {
  TileSettings settings;
  settings.tile_width = settings.tile_height = 64;
  settings.batch = 2;
  const std::vector<std::vector<int>> linear = {{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8}};
  CHECK(MakeTilePlan(192, 192, settings)->steps == linear);
  settings.mode = RedrawMode::kChess;
  const std::vector<std::vector<int>> chess = {{0, 2}, {4, 6}, {8}, {1, 3}, {5, 7}};
  CHECK(MakeTilePlan(192, 192, settings)->steps == chess);
  settings.force_uniform = false;
  CHECK(MakeTilePlan(192, 192, settings).status().code() == StatusCode::kInvalidArgument);
  settings.batch = 1;
  settings.seam_fix = SeamFix::kBandPass;
  settings.seam_width = 0;
  CHECK(MakeTilePlan(192, 192, settings).status().code() == StatusCode::kInvalidArgument);
}

// Stands for a sampler: every output pixel depends on all crops of the step and on the tile.
std::vector<ImageU8> Redraw(const TilePlan& plan, size_t step, const ImageU8& canvas) {
  std::vector<ImageU8> crops;
  uint32_t state = 2166136261U + static_cast<uint32_t>(step);
  for (const int t : plan.steps[step]) {
    crops.push_back(*CutTile(plan, plan.tiles[static_cast<size_t>(t)], canvas));
    for (const uint8_t v : crops.back().data) state = (state ^ v) * 16777619U;
  }
  for (ImageU8& crop : crops) {
    for (uint8_t& v : crop.data) {
      state = state * 1664525U + 1013904223U;
      v = static_cast<uint8_t>(v / 2 + (state >> 25));
    }
  }
  return crops;
}

void Blend(const TilePlan& plan, size_t step, const std::vector<ImageU8>& redrawn, ImageU8* canvas) {
  for (size_t i = 0; i < redrawn.size(); ++i) {
    const Tile& tile = plan.tiles[static_cast<size_t>(plan.steps[step][i])];
    REQUIRE(BlendTile(plan, tile, redrawn[i], canvas).ok());
  }
}

ImageU8 RandomCanvas(const TilePlan& plan, std::mt19937* random) {
  ImageU8 canvas = *MakeImage(plan.canvas_width, plan.canvas_height, 3);
  for (uint8_t& v : canvas.data) v = static_cast<uint8_t>((*random)());
  return canvas;
}

bool AllIn(const std::vector<int>& steps, const std::vector<bool>& done) {
  return std::all_of(steps.begin(), steps.end(), [&done](int s) { return done[static_cast<size_t>(s)]; });
}

// Runs cuts and pastes in a random order that the lists allow; steps are redrawn at once after their cut.
ImageU8 RunShuffled(const TilePlan& plan, const TileGraph& graph, ImageU8 canvas, std::mt19937* random) {
  const size_t count = plan.steps.size();
  std::vector<bool> cut(count);
  std::vector<bool> pasted(count);
  std::vector<std::vector<ImageU8>> redrawn(count);
  for (;;) {
    std::vector<std::pair<size_t, bool>> ready;  // step, whether to paste
    for (size_t s = 0; s < count; ++s) {
      if (!cut[s] && AllIn(graph.cut_after[s], pasted)) ready.emplace_back(s, false);
      if (cut[s] && !pasted[s] && AllIn(graph.paste_after[s], pasted) && AllIn(graph.paste_after_cut_of[s], cut))
        ready.emplace_back(s, true);
    }
    if (ready.empty()) break;
    const auto [s, paste] = ready[(*random)() % ready.size()];
    if (paste) {
      Blend(plan, s, redrawn[s], &canvas);
      pasted[s] = true;
    } else {
      redrawn[s] = Redraw(plan, s, canvas);
      cut[s] = true;
    }
  }
  REQUIRE(std::all_of(pasted.begin(), pasted.end(), [](bool v) { return v; }));  // nothing waits for ever
  return canvas;
}

int PhaseOf(const TilePlan& plan, size_t step) {
  return plan.tiles[static_cast<size_t>(plan.steps[step].front())].phase;
}

TEST_CASE("any schedule that obeys the graph gives the canvas of the plain loop") {
  std::mt19937 random(11);
  size_t links = 0;
  size_t seams = 0;
  for (int round = 0; round < 45; ++round) {
    const TilePlan plan = round % 3 == 0 ? RandomPlan(&random, round % 2 == 1) : RichPlan(&random);
    const ImageU8 start = RandomCanvas(plan, &random);
    ImageU8 exact = start;
    for (size_t s = 0; s < plan.steps.size(); ++s) Blend(plan, s, Redraw(plan, s, exact), &exact);
    ImageU8 independent = start;
    ImageU8 seen = start;  // by the steps of one phase
    for (size_t s = 0; s < plan.steps.size(); ++s) {
      if (s > 0 && PhaseOf(plan, s) != PhaseOf(plan, s - 1)) seen = independent;
      Blend(plan, s, Redraw(plan, s, seen), &independent);
    }
    const TileGraph graph = *MakeTileGraph(plan, TileOrder::kExact);
    const TileGraph loose = *MakeTileGraph(plan, TileOrder::kIndependent);
    for (int shuffle = 0; shuffle < 2; ++shuffle) {
      REQUIRE(RunShuffled(plan, graph, start, &random) == exact);
      REQUIRE(RunShuffled(plan, loose, start, &random) == independent);
    }
    for (const auto& list : graph.paste_after_cut_of) links += list.size();
    for (const Tile& tile : plan.tiles) seams += tile.phase > 0 ? 1 : 0;
  }
  CHECK(links > 100);
  CHECK(seams > 100);
}

TEST_CASE("the graph lists exactly the overlaps, earlier steps only") {
  std::mt19937 random(13);
  for (int round = 0; round < 30; ++round) {
    TilePlan plan = RichPlan(&random);
    while (plan.settings.batch > 1) plan = RichPlan(&random);
    const TileGraph graph = *MakeTileGraph(plan, TileOrder::kExact);
    REQUIRE(plan.steps.size() == plan.tiles.size());
    for (size_t s = 0; s < plan.steps.size(); ++s) {
      std::vector<int> cut_after;
      std::vector<int> paste_after_cut_of;
      std::vector<int> paste_after;
      const Tile& tile = plan.tiles[static_cast<size_t>(plan.steps[s].front())];
      for (size_t k = 0; k < s; ++k) {
        const Tile& before = plan.tiles[static_cast<size_t>(plan.steps[k].front())];
        if (Meets(before.written, tile.crop)) cut_after.push_back(static_cast<int>(k));
        if (Meets(before.crop, tile.written)) paste_after_cut_of.push_back(static_cast<int>(k));
        if (Meets(before.written, tile.written)) paste_after.push_back(static_cast<int>(k));
      }
      REQUIRE(graph.cut_after[s] == cut_after);
      REQUIRE(graph.paste_after_cut_of[s] == paste_after_cut_of);
      REQUIRE(graph.paste_after[s] == paste_after);
    }
  }
}

// Tiles that run at once when every tile takes one unit of time: design.md section 5 names 4 of 4 busy for chess.
TEST_CASE("chess order lets more tiles run at once than linear order") {
  const auto rounds = [](bool chess) {
    const TilePlan plan = Plan(3840, 2160, 512, 512, 32, true, 8, chess);
    const TileGraph graph = *MakeTileGraph(plan, TileOrder::kExact);
    std::vector<int> level(plan.steps.size(), 0);
    int last = 0;
    for (size_t s = 0; s < plan.steps.size(); ++s) {
      for (const int before : graph.cut_after[s]) level[s] = std::max(level[s], level[static_cast<size_t>(before)] + 1);
      last = std::max(last, level[s]);
    }
    return last + 1;
  };
  CHECK(rounds(true) < rounds(false));
  CHECK(rounds(true) <= 10);
}

}  // namespace
}  // namespace atelier
