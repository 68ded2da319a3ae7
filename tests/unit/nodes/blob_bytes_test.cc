// What a tile of a 4K canvas with a control net sends, counted in blob bytes.
#include <catch2/catch.hpp>
#include <cstdio>

#include "common/executor/executor.h"
#include "common/image/tiles.h"
#include "common/tensorio/safetensors.h"
#include "master/collect/picture_parts.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// Waves with grain, in 8 bits as files and canvases have them.
Image Picture(int64_t height, int64_t width) {
  const at::Tensor x = at::arange(width, at::kFloat).view({1, 1, width, 1});
  const at::Tensor y = at::arange(height, at::kFloat).view({1, height, 1, 1});
  const at::Tensor channel = at::arange(3, at::kFloat).view({1, 1, 1, 3});
  const at::Tensor grain = at::remainder(x * 7919 + y * 104729 + at::floor(x * y / 13), 8);
  const at::Tensor waves = 128 + 60 * at::sin(x / 90 + channel) + 50 * at::cos(y / 70) + grain;
  return Image{waves.to(at::kByte).to(at::kFloat) / 255.0};
}

TEST_CASE("bytes sent for a tile of a 4K canvas with a control net") {
  constexpr int kWidth = 3840, kHeight = 2160;
  const auto plan = MakeTilePlan(kWidth, kHeight, TileSettings{});
  REQUIRE(plan.ok());
  const auto tiles = static_cast<double>(plan->tiles.size());
  const Image hint = Picture(kHeight, kWidth);
  const auto encoded = EncodeBlob(Value::Of<Image>("IMAGE", hint), "");
  REQUIRE(encoded.ok());
  const auto back = DecodeBlob(*encoded);
  REQUIRE(back.ok());
  CHECK(at::equal(back->Get<Image>()->pixels, hint.pixels));  // bit for bit

  const auto plain = EncodeBlob(Value::Of<Image>("IMAGE", hint), "plain");
  REQUIRE(plain.ok());
  double raw = 0, packed = 0, parts = 0,
         largest = 0;  // crops there and results back, the part of the control's picture
  for (const Tile& tile : plan->tiles) {
    const Box& c = tile.crop;
    const Image crop{hint.pixels.slice(1, c.y1, c.y2).slice(2, c.x1, c.x2).contiguous()};
    const auto blob = EncodeBlob(Value::Of<Image>("IMAGE", crop), "packed");
    REQUIRE(blob.ok());
    const auto part = CutParts(*ParseSafetensors(*plain), {c}, kWidth, kHeight);
    REQUIRE(part.ok());
    raw += 2.0 * c.width() * c.height() * 3;
    packed += 2.0 * static_cast<double>(blob->size());
    parts += static_cast<double>(part->size());
    largest = std::max(largest, static_cast<double>(part->size()));
  }
  const double hint_raw = double{kWidth} * kHeight * 3 * 4, hint_whole = static_cast<double>(encoded->size());
  std::printf(
      "4K canvas, %zu tiles: a tile's pixels there and back %.2f MB, %.2f packed; of the control net's picture %.2f "
      "MB, "
      "at most %.2f (whole, once a worker: %.1f MB as floats, %.1f packed)\n",
      plan->tiles.size(), raw / tiles / 1e6, packed / tiles / 1e6, parts / tiles / 1e6, largest / 1e6, hint_raw / 1e6,
      hint_whole / 1e6);
  CHECK(packed < raw * 0.8);
  CHECK(hint_whole * 4 < hint_raw);
  CHECK(largest * 10 < hint_whole);  // no tile's worker gets the whole picture
}

TEST_CASE("pictures that are no bytes over 255 cross as floats, to the last bit") {
  Image image = Picture(16, 16);
  image.pixels[0][3][4][1] += 1e-7;
  image.pixels[0][5][6][2] = 1.5;
  const auto blob = EncodeBlob(Value::Of<Image>("IMAGE", image), "");
  REQUIRE(blob.ok());
  const auto back = DecodeBlob(*blob);
  REQUIRE(back.ok());
  CHECK(at::equal(back->Get<Image>()->pixels, image.pixels));
}

}  // namespace
}  // namespace atelier::nodes
