// Conditioning of a canvas, cut to a tile, against boxes worked out by hand.
#include "worker/nodes/tile_conditioning.h"

#include <array>
#include <catch2/catch.hpp>
#include <random>

#include "common/executor/executor.h"
#include "common/image/tiles.h"
#include "common/tensorio/safetensors.h"
#include "master/collect/picture_parts.h"
#include "worker/engine/picture_parts.h"
#include "worker/models/gligen.h"
#include "worker/nodes/conditioning_area.h"
#include "worker/sampling/control.h"

namespace atelier::nodes {
namespace {

// A control net that is never run.
class PictureNetwork : public engine::ControlNetwork {
 public:
  StatusOr<std::vector<at::Tensor>> Prepare(const engine::ControlPicture&, int64_t, int64_t,
                                            const engine::LatentFormat&) const override {
    return std::vector<at::Tensor>();
  }
  engine::ControlResiduals Residuals(const std::vector<at::Tensor>&, const at::Tensor&, const at::Tensor&,
                                     const engine::ModelCallInputs&) const override {
    return {};
  }
};

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

// Remembers the boxes that it is asked for.
class BoxNetwork : public models::GligenNetwork {
 public:
  int64_t boxes_max() const override { return 8; }
  at::Tensor Tokens(const std::vector<models::GroundedBox>& boxes, int64_t, int64_t) const override {
    seen = boxes;
    return at::zeros({1, 8, 4});
  }
  engine::NetworkHooks::OnResult Layers(const at::Tensor&) const override { return {}; }
  mutable std::vector<models::GroundedBox> seen;
};

TEST_CASE("GLIGEN boxes are cut to the tile; those that miss it go, and the last one with its network") {
  const auto network = std::make_shared<BoxNetwork>();
  CondEntry entry = Entry({});
  auto control = std::make_shared<engine::AppliedControl>();
  control->picture.pixels = at::zeros({1, 96, 128, 3});
  control->net.network = std::make_shared<const PictureNetwork>();
  entry.control = control;
  const std::array<std::array<int64_t, 4>, 3> boxes = {{{4, 4, 0, 0}, {8, 8, 2, 6}, {1, 1, 5, 9}}};
  for (size_t i = 0; i < boxes.size(); ++i) {
    const auto& [height, width, y, x] = boxes[i];
    const auto with =
        models::WithBox(entry, {network}, {at::full({1, 4}, static_cast<double>(i)), height, width, y, x});
    REQUIRE(with.ok());
    entry = *with;
  }
  const auto kept = [&](const CondEntry& cut) {
    network->seen.clear();
    const auto* grounding = engine::GroundingOf(cut.control.get());
    if (grounding == nullptr) return Json::array();
    engine::NetworkHooks hooks;
    dynamic_cast<const engine::GroundingNetwork&>(*grounding->net.network).AddHooks(hooks, 8, 8);
    Json all = Json::array();
    for (const auto& box : network->seen)
      all.push_back({box.height, box.width, box.y, box.x, box.description[0][0].item<float>()});
    return all;
  };
  auto cut = Cut({entry}, kRight)[0];
  CHECK(kept(cut) == Json::array({{12, 12, 0, 0, 1}, {2, 2, 2, 2, 2}}));
  cut = Cut({entry}, {0, 128, 64, 192})[0];
  CHECK(kept(cut).empty());
  REQUIRE(cut.control != nullptr);  // the control net before it stays
  CHECK(cut.control->picture.pixels.sizes() == at::IntArrayRef({1, 32, 32, 3}));
  CHECK(cut.control->previous == nullptr);
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

TEST_CASE("the part of a mask makes what the whole one does, to the last bit") {
  std::mt19937 random(7);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 80; ++round) {
    at::Tensor values = at::rand({pick(1, 2), pick(1, 500), pick(1, 500)}) * 1.2 - 0.1;
    if (pick(0, 3) == 0) values = at::rand({192, 256});  // as large as the canvas
    TileGeometry tile = Geometry(kRight);
    const int x = pick(0, 255), y = pick(0, 191);
    tile.crops = {{x, y, pick(x + 1, 256), pick(y + 1, 192)}};
    tile.process_width = 8 * pick(1, 12);
    tile.process_height = 8 * pick(1, 12);
    const auto blob = EncodeBlob(Value::Of<Mask>("MASK", Mask{values}), "plain");
    REQUIRE(blob.ok());
    const auto part = CutParts(*ParseSafetensors(*blob), tile.crops, 256, 192);
    INFO(Message(part.status()));
    REQUIRE(part.ok());
    const auto value = DecodeBlob(*part);
    INFO(Message(value.status()));
    REQUIRE(value.ok());
    CHECK(value->type() == "MASK");
    CondEntry whole = Entry({}), cut = Entry({});
    SetMask(whole, Mask{values}, 0.5, "default");
    SetMask(cut, *value->Get<Mask>(), 0.5, "default");
    const auto expected = CropConditioning({{whole}}, tile), got = CropConditioning({{cut}}, tile);
    INFO(Message(got.status()));
    REQUIRE(expected.ok());
    REQUIRE(got.ok());
    CHECK(at::equal(expected->entries[0].tensors.at("mask"), got->entries[0].tensors.at("mask")));
    CHECK(expected->entries[0].options == got->entries[0].options);
    TileGeometry other = tile;
    other.crops[0] = {0, 0, 1, 1};
    if (!(other.crops[0] == tile.crops[0])) CHECK_FALSE(CropConditioning({{cut}}, other).ok());
  }
}

TEST_CASE("the part of a reference latent makes what the whole one does, to the last bit") {
  std::mt19937 random(9);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 60; ++round) {
    TileGeometry tile = Geometry(kRight);
    tile.canvas_width = pick(5, 300);
    tile.canvas_height = pick(5, 300);
    const int x = pick(0, static_cast<int>(tile.canvas_width) - 1),
              y = pick(0, static_cast<int>(tile.canvas_height) - 1);
    tile.crops = {
        {x, y, pick(x + 1, static_cast<int>(tile.canvas_width)), pick(y + 1, static_cast<int>(tile.canvas_height))}};
    tile.process_width = 8 * pick(1, 12);
    tile.process_height = 8 * pick(1, 12);
    const int cw = static_cast<int>(tile.canvas_width), ch = static_cast<int>(tile.canvas_height);
    std::vector<int64_t> shape{pick(1, 2), 4, LatentSide(ch), LatentSide(cw)};
    if (pick(0, 1) == 1) shape.insert(shape.begin() + 2, 1);
    const at::Tensor samples = at::rand(shape);
    const auto blob = EncodeBlob(Value::Of<Latent>("LATENT", Latent{samples, {}}), "plain");
    REQUIRE(blob.ok());
    const auto view = ParseSafetensors(*blob);
    REQUIRE(IsCut(*view, tile.crops[0], cw, ch));
    CHECK_FALSE(IsCut(*view, tile.crops[0], cw + 8, ch));
    const auto part = CutParts(*view, tile.crops, cw, ch);
    REQUIRE(part.ok());
    const auto value = DecodeBlob(*part);
    INFO(Message(value.status()));
    REQUIRE(value.ok());
    const auto* latent = value->Get<Latent>();
    REQUIRE(latent->part == tile.crops[0]);
    CHECK(latent->samples.numel() <= samples.numel());
    CondEntry whole = Entry({}), cut = Entry({});
    whole.tensors["reference_latents.0"] = samples;
    cut.tensors["reference_latents.0"] = latent->samples;
    cut.options[Cat(kLatentPart, 0)] = BoxJson(*latent->part);
    const auto expected = CropConditioning({{whole}}, tile), got = CropConditioning({{cut}}, tile);
    INFO(Message(got.status()));
    REQUIRE(expected.ok());
    REQUIRE(got.ok());
    CHECK(at::equal(expected->entries[0].tensors.at("reference_latents.0"),
                    got->entries[0].tensors.at("reference_latents.0")));
    CHECK_FALSE(got->entries[0].options.contains(Cat(kLatentPart, 0)));
  }
}

TEST_CASE("a control net is shown its part of the picture") {
  auto control = std::make_shared<engine::AppliedControl>();
  control->net.network = std::make_shared<const PictureNetwork>();
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

// What a chain of control nets is shown on a tile, the last first, each with this picture whole or in the parts that a
// task of the tile gets.
std::vector<at::Tensor> Shown(const std::vector<at::Tensor>& pictures, const TileGeometry& tile, bool parts) {
  CondEntry entry = Entry({});
  const auto network = std::make_shared<const PictureNetwork>();
  for (const at::Tensor& pixels : pictures) {
    auto control = std::make_shared<engine::AppliedControl>();
    control->previous = entry.control;
    auto blob = EncodeBlob(Value::Of<Image>("IMAGE", Image{pixels}), "plain");
    if (parts)
      blob = CutParts(*ParseSafetensors(*blob), tile.crops, static_cast<int>(tile.canvas_width),
                      static_cast<int>(tile.canvas_height));
    const auto value = DecodeBlob(*blob);
    INFO(Message(value.status()));
    REQUIRE(value.ok());
    CHECK(value->type() == "IMAGE");
    if (parts) {
      REQUIRE(value->Get<engine::PictureParts>() != nullptr);
      control->net.network = std::make_shared<const engine::ShownInParts>(network, *value->Get<engine::PictureParts>());
    } else {
      control->net.network = network;
      control->picture.pixels = value->Get<Image>()->pixels;
    }
    entry.control = std::move(control);
  }
  const auto cut = CropConditioning({{entry}}, tile);
  INFO(Message(cut.status()));
  REQUIRE(cut.ok());
  std::vector<at::Tensor> all;
  for (auto* c = cut->entries[0].control.get(); c != nullptr; c = c->previous.get()) {
    CHECK(c->net.network == network);
    all.push_back(c->picture.pixels);
  }
  return all;
}

TEST_CASE("the parts of a picture show control nets what the whole one does, to the last bit") {
  std::mt19937 random(5);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 60; ++round) {
    std::vector<at::Tensor> pictures;  // smaller and larger than the canvas, of bytes and not
    for (int i = pick(1, 3); i > 0; --i) {
      at::Tensor pixels = at::rand({pick(1, 3), pick(1, 500), pick(1, 500), pick(3, 4)});
      if (pick(0, 1) == 1) pixels = (pixels * 255).floor() / 255;
      pictures.push_back(pixels);
    }
    TileGeometry tile = Geometry(kRight);
    tile.process_width = 8 * pick(1, 12);
    tile.process_height = 8 * pick(1, 12);
    tile.crops.clear();
    for (int i = pick(1, 4); i > 0; --i) {
      const int x = pick(0, 255), y = pick(0, 191);
      tile.crops.push_back({x, y, pick(x + 1, 256), pick(y + 1, 192)});
    }
    const auto whole = Shown(pictures, tile, false), parts = Shown(pictures, tile, true);
    REQUIRE(whole.size() == pictures.size());
    REQUIRE(parts.size() == whole.size());
    for (size_t i = 0; i < whole.size(); ++i) CHECK(at::equal(whole[i], parts[i]));
  }
}

TEST_CASE("parts that are not those of the tile are an error") {
  TileGeometry tile = Geometry(kRight);
  auto control = std::make_shared<engine::AppliedControl>();
  control->net.network = std::make_shared<const engine::ShownInParts>(
      std::make_shared<const PictureNetwork>(),
      engine::PictureParts{128, 96, {{{0, 0, 64, 64}, at::zeros({1, 64, 64, 3})}}});
  CondEntry entry = Entry({});
  entry.control = control;
  const auto cut = CropConditioning({{entry}}, tile);
  REQUIRE_FALSE(cut.ok());
  CHECK(Message(cut.status()).find("brought no part") != std::string::npos);
}

TEST_CASE("a malformed area is an error that says what it holds") {
  const auto cut = CropConditioning({{Entry({{"area", {1, 2}}})}}, Geometry(kRight));
  REQUIRE_FALSE(cut.ok());
  CHECK(Message(cut.status()).find("[1,2]") != std::string::npos);
}

}  // namespace
}  // namespace atelier::nodes
