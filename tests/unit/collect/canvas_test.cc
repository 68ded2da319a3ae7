#include "master/collect/canvas.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/tensorio/safetensors.h"

namespace atelier {
namespace {

std::string Blob(DType dtype, const std::vector<int64_t>& shape, std::string_view bytes,
                 const std::string& type = "IMAGE") {
  return WriteSafetensors({{"image", dtype, shape, bytes}}, {{"atelier_type", type}, {"json", "{}"}});
}

std::string Noise(size_t count, uint32_t seed) {
  std::string bytes(count, '\0');
  for (char& byte : bytes) {
    seed = seed * 1664525 + 1013904223;
    byte = static_cast<char>(seed >> 24);
  }
  return bytes;
}

TEST_CASE("a canvas of bytes goes through unchanged") {
  const std::string pixels = Noise(2 * 6 * 10 * 3, 1);
  const auto canvas = Canvas::FromBlob(Blob(DType::kU8, {2, 6, 10, 3}, pixels));
  REQUIRE(canvas.ok());
  CHECK(canvas->batch() == 2);
  CHECK(canvas->width() == 10);
  CHECK(canvas->height() == 6);
  CHECK(canvas->ToBlob() == Blob(DType::kU8, {2, 6, 10, 3}, pixels));
}

TEST_CASE("floats are cut off to bytes, whatever they are and wherever they lie") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {0.F, 0.5F,  1.F,       nan,  -1.F, 2.F,  infinity, -infinity, 254.9F / 255,
                                     0.F, 0.25F, 1.F / 255, 0.1F, 0.2F, 0.3F, 0.4F,     0.9F,      1e-9F};
  std::string bytes(values.size() * 4, '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  const std::string blob = Blob(DType::kF32, {1, 2, 3, 3}, bytes);
  std::string shifted = "x" + blob;  // not aligned for floats
  const auto canvas = Canvas::FromBlob(std::string_view(shifted).substr(1));
  REQUIRE(canvas.ok());
  std::vector<uint8_t> expected;
  for (const float v : values) {
    expected.push_back(std::isnan(v) || v <= 0 ? 0 : v >= 1 ? 255 : static_cast<uint8_t>(255.F * v));
  }
  CHECK(canvas->images()[0].data == expected);
  CHECK(expected[1] == 127);
}

TEST_CASE("alpha is dropped") {
  const auto canvas = Canvas::FromBlob(Blob(DType::kU8, {1, 1, 2, 4}, "abcdefgh"));
  REQUIRE(canvas.ok());
  CHECK(canvas->ToBlob() == Blob(DType::kU8, {1, 1, 2, 3}, "abcefg"));
}

TEST_CASE("a cut has the pixels of its box") {
  std::string pixels;
  for (int b = 0; b < 2; ++b)
    for (int y = 0; y < 3; ++y)
      for (int x = 0; x < 4; ++x) pixels += {static_cast<char>(b), static_cast<char>(y), static_cast<char>(x)};
  const auto canvas = Canvas::FromBlob(Blob(DType::kU8, {2, 3, 4, 3}, pixels));
  const std::string expected = {0, 1, 2, 0, 1, 3, 0, 2, 2, 0, 2, 3, 1, 1, 2, 1, 1, 3, 1, 2, 2, 1, 2, 3};
  CHECK(canvas->Cut({2, 1, 4, 3}).value() == Blob(DType::kU8, {2, 2, 2, 3}, expected));
  for (const Box& box : {Box{0, 0, 0, 1}, Box{-1, 0, 2, 2}, Box{0, 0, 5, 1}, Box{0, 0, 1, 4}, Box{3, 0, 1, 2}}) {
    CHECK(canvas->Cut(box).status().code() == StatusCode::kInvalidArgument);
  }
}

TEST_CASE("tiles pasted in order make what blending the whole picture makes") {
  const int width = 96, height = 64;
  const auto plan = MakeTilePlan(
      width, height, {.tile_width = 32, .tile_height = 32, .padding = 8, .mask_blur = 4, .force_uniform = false});
  REQUIRE(plan.ok());
  auto canvas = Canvas::FromBlob(Blob(DType::kU8, {2, height, width, 3}, Noise(size_t{2} * width * height * 3, 7)));
  REQUIRE(canvas.ok());
  std::vector<ImageU8> expected = canvas->images();
  uint32_t seed = 1;
  for (const std::vector<int>& step : plan->steps) {
    const Tile& tile = plan->tiles[static_cast<size_t>(step.front())];
    const int64_t w = tile.process_width, h = tile.process_height;
    const size_t bytes = static_cast<size_t>(w * h * 3);
    const std::string redrawn = Noise(2 * bytes, ++seed);
    REQUIRE(canvas->Paste(*plan, step, Blob(DType::kU8, {2, h, w, 3}, redrawn)).ok());
    for (size_t i = 0; i < 2; ++i) {
      ImageU8 one = MakeImage(w, h, 3).value();
      std::memcpy(one.data.data(), redrawn.data() + i * bytes, bytes);
      REQUIRE(BlendTile(*plan, tile, one, &expected[i]).ok());
    }
  }
  CHECK(canvas->images() == expected);
  CHECK(canvas->images()[0] != canvas->images()[1]);
}

TEST_CASE("a tile that does not fit leaves the canvas as it is") {
  const auto plan = MakeTilePlan(64, 64, {.tile_width = 32, .tile_height = 32, .padding = 8, .mask_blur = 0});
  auto canvas = Canvas::FromBlob(Blob(DType::kU8, {1, 64, 64, 3}, Noise(64 * 64 * 3, 7)));
  const std::vector<ImageU8> before = canvas->images();
  const auto code = [&](const std::string& blob) { return canvas->Paste(*plan, {0}, blob).code(); };
  CHECK(code(Blob(DType::kU8, {2, 8, 8, 3}, Noise(2 * 8 * 8 * 3, 1))) == StatusCode::kInvalidArgument);
  CHECK(code(Blob(DType::kU8, {1, 8, 8, 1}, Noise(8 * 8, 1))) == StatusCode::kInvalidArgument);
  CHECK(code("not a blob at all") != StatusCode::kOk);
  const auto other = MakeTilePlan(128, 64, {.tile_width = 32, .tile_height = 32});
  CHECK(canvas->Paste(*other, {0}, Blob(DType::kU8, {1, 8, 8, 3}, Noise(8 * 8 * 3, 1))).code() ==
        StatusCode::kInvalidArgument);
  CHECK(canvas->images() == before);
  CHECK(code(Blob(DType::kU8, {1, 8, 8, 3}, Noise(8 * 8 * 3, 1))) == StatusCode::kOk);  // resized
  CHECK(canvas->images() != before);
}

TEST_CASE("what is no picture, torn or too large is refused") {
  const std::string good = Blob(DType::kU8, {1, 4, 4, 3}, Noise(48, 1));
  CHECK(Canvas::FromBlob(good.substr(0, good.size() - 1)).status().code() == StatusCode::kDataLoss);
  CHECK(Canvas::FromBlob(good, 15).status().code() == StatusCode::kResourceExhausted);
  CHECK(Canvas::FromBlob(good, 16, 47).status().code() == StatusCode::kResourceExhausted);
  CHECK(Canvas::FromBlob(good, 16, 48).ok());
  const auto code = [](const std::string& blob) { return Canvas::FromBlob(blob).status().code(); };
  CHECK(code(Blob(DType::kU8, {1, 4, 4, 3}, Noise(48, 1), "LATENT")) == StatusCode::kInvalidArgument);
  CHECK(code(Blob(DType::kU8, {4, 4, 3}, Noise(48, 1))) == StatusCode::kInvalidArgument);
  CHECK(code(Blob(DType::kU8, {0, 4, 4, 3}, "")) == StatusCode::kInvalidArgument);
  CHECK(code(Blob(DType::kU8, {1, 4, 6, 2}, Noise(48, 1))) == StatusCode::kInvalidArgument);
  CHECK(code(Blob(DType::kF16, {1, 2, 4, 3}, Noise(48, 1))) == StatusCode::kInvalidArgument);
  CHECK(code(WriteSafetensors({}, {{"atelier_type", "IMAGE"}})) == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atelier
