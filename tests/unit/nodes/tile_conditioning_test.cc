// Conditioning of a canvas, cut to a tile, against boxes worked out by hand.
#include "worker/nodes/tile_conditioning.h"

#include <catch2/catch.hpp>

namespace atelier::nodes {
namespace {

// A picture of 128x96, enlarged to 256x192; the tile's crop is redrawn at half its size.
TileGeometry Geometry(const Box& crop) {
  TileGeometry tile;
  tile.crops = {crop};
  tile.canvas_width = 256;
  tile.canvas_height = 192;
  tile.init_width = 128;
  tile.init_height = 96;
  tile.process_width = crop.width() / 2;
  tile.process_height = crop.height() / 2;
  return tile;
}

CondEntry Entry(Json options) {
  CondEntry entry;
  entry.cond = at::zeros({1, 2, 3});
  entry.options = std::move(options);
  return entry;
}

std::vector<CondEntry> Cut(std::vector<CondEntry> entries, const Box& crop) {
  const StatusOr<Conditioning> cut = CropConditioning({std::move(entries)}, Geometry(crop));
  INFO(Message(cut.status()));
  REQUIRE(cut.ok());
  return cut->entries;
}

const Box kRight{128, 64, 256, 192};

TEST_CASE("an area becomes what of it lies in the tile") {
  // 64x64 from (48, 16): on the canvas [96,224) x [32,160), in the crop [128,224) x [64,160).
  const auto entries = Cut({Entry({{"area", {8, 8, 2, 6}}, {"strength", 0.5}})}, kRight);
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].options["area"] == Json({12, 12, 0, 0}));
  CHECK(entries[0].options["strength"] == 0.5);
  // 8x8 from (72, 40): [144,160) x [80,96).
  CHECK(Cut({Entry({{"area", {1, 1, 5, 9}}})}, kRight)[0].options["area"] == Json({2, 2, 2, 2}));
}

TEST_CASE("an area in shares of the picture") {
  // Half the height and a quarter of the width from (0.5, 0.25): pixels [64,96) x [24,72), canvas [128,192) x [48,144).
  CHECK(Cut({Entry({{"area", {"percentage", 0.5, 0.25, 0.25, 0.5}}})}, kRight)[0].options["area"] ==
        Json({10, 8, 0, 0}));
}

TEST_CASE("a prompt whose area misses the tile is left out, unless none would be left") {
  const CondEntry left = Entry({{"area", {4, 4, 0, 0}}, {"strength", 0.7}});  // canvas [0,64) x [0,64)
  const CondEntry touching = Entry({{"area", {4, 8, 0, 0}}});                 // [0,128) x [0,64): shares no pixel
  auto entries = Cut({left, Entry({{"strength", 0.9}}), touching}, kRight);
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].options == Json({{"strength", 0.9}}));
  entries = Cut({left, touching}, kRight);
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].options == Json::object());
}

TEST_CASE("GLIGEN boxes that miss the tile go with their embeddings") {
  CondEntry entry = Entry({{"gligen", Json::array({{4, 4, 0, 0}, {8, 8, 2, 6}, {1, 1, 5, 9}})}});
  for (int i = 0; i < 3; ++i) entry.tensors[Cat("gligen.", i)] = at::full({1, 4}, i);
  auto entries = Cut({entry}, kRight);
  CHECK(entries[0].options["gligen"] == Json::array({{12, 12, 0, 0}, {2, 2, 2, 2}}));
  CHECK(entries[0].tensors.size() == 2);
  CHECK(entries[0].tensors.at("gligen.0").equal(at::full({1, 4}, 1)));
  CHECK(entries[0].tensors.at("gligen.1").equal(at::full({1, 4}, 2)));
  entries = Cut({entry}, {0, 128, 64, 192});
  CHECK_FALSE(entries[0].options.contains("gligen"));
  CHECK(entries[0].tensors.empty());
}

TEST_CASE("reference latents: the part of the canvas, at the process size") {
  CondEntry entry = Entry({});
  // One value a latent of the canvas: 24 rows of 32.
  const at::Tensor whole = at::arange(24 * 32, at::kFloat).reshape({1, 1, 24, 32});
  entry.tensors["reference_latents.0"] = whole;
  entry.tensors["reference_latents.1"] = whole.unsqueeze(2);
  const auto entries = Cut({entry}, kRight);
  // Rows 8..24 and columns 16..32 halved: each value the mean of four.
  const at::Tensor cut = entries[0].tensors.at("reference_latents.0");
  REQUIRE(cut.sizes() == at::IntArrayRef({1, 1, 8, 8}));
  CHECK(cut[0][0][0][0].item<float>() == 8 * 32 + 16 + 16.5F);
  CHECK(cut[0][0][7][7].item<float>() == 22 * 32 + 30 + 16.5F);
  CHECK(entries[0].tensors.at("reference_latents.1").sizes() == at::IntArrayRef({1, 1, 1, 8, 8}));
  CHECK(entries[0].tensors.at("reference_latents.1").squeeze(2).equal(cut));
  // Half to even: pixels 4..132 are latents 0..16 (0.5 -> 0, 16.5 -> 16).
  TileGeometry tile = Geometry({4, 4, 132, 132});
  tile.process_width = tile.process_height = 128;
  const auto even = CropConditioning({{entry}}, tile);
  REQUIRE(even.ok());
  CHECK(even->entries[0].tensors.at("reference_latents.0").equal(whole.slice(2, 0, 16).slice(3, 0, 16)));
}

TEST_CASE("a mask is cut and brought to the process size") {
  CondEntry entry = Entry({});
  at::Tensor mask = at::zeros({2, 192, 256});
  mask[0].slice(0, 64, 128).slice(1, 128, 192).fill_(1);
  entry.tensors["mask"] = mask;
  const at::Tensor cut = Cut({entry}, kRight)[0].tensors.at("mask");
  REQUIRE(cut.sizes() == at::IntArrayRef({2, 64, 64}));
  CHECK(cut[0][10][10].item<float>() == 1);
  CHECK(cut[0][50][50].item<float>() == 0);
  CHECK(cut[1].sum().item<float>() == 0);
}

TEST_CASE("a control net is shown its part of the picture") {
  auto control = std::make_shared<engine::AppliedControl>();
  // A picture of half the canvas: column x holds x.
  control->picture.pixels = at::arange(128, at::kFloat).reshape({1, 1, 128, 1}).expand({1, 96, 128, 3});
  CondEntry entry = Entry({});
  entry.control = control;
  TileGeometry tile = Geometry({129, 64, 253, 192});  // columns floor(64.5) to ceil(126.5)
  tile.process_width = 63;
  tile.process_height = 64;
  const auto cut = CropConditioning({{entry}}, tile);
  REQUIRE(cut.ok());
  const at::Tensor pixels = cut->entries[0].control->picture.pixels;
  REQUIRE(pixels.sizes() == at::IntArrayRef({1, 64, 63, 3}));
  CHECK(pixels[0][0][0][0].item<float>() == 64);
  CHECK(pixels[0][63][62][0].item<float>() == 126);
}

TEST_CASE("malformed options are errors that say what they hold") {
  for (const char* option : {"area", "gligen"}) {
    const Json bad = option == std::string("area") ? Json({1, 2}) : Json::array({Json({1, 2})});
    const auto cut = CropConditioning({{Entry({{option, bad}})}}, Geometry(kRight));
    REQUIRE_FALSE(cut.ok());
    CHECK(Message(cut.status()).find("[1,2]") != std::string::npos);
  }
}

}  // namespace
}  // namespace atelier::nodes
