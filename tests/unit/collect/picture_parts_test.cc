#include "master/collect/picture_parts.h"

#include <catch2/catch.hpp>

#include "common/image/tiles.h"
#include "common/json/json.h"
#include "common/tensorio/packed_blob.h"

namespace atelier {
namespace {

std::string Picture(DType dtype, int64_t batch, int64_t height, int64_t width) {
  std::string bytes(static_cast<size_t>(batch * height * width * 3 * DTypeBytes(dtype)), '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 31 / 7);
  return WriteSafetensors({{"image", dtype, {batch, height, width, 3}, bytes}}, {{"atelier_type", "IMAGE"}});
}

TEST_CASE("parts hold the pixels below the crops, of every picture of the batch") {
  for (const DType dtype : {DType::kU8, DType::kF32}) {
    const std::string blob = Picture(dtype, 2, 24, 30);
    const auto view = ParseSafetensors(blob);
    REQUIRE(view.ok());
    const std::string_view all = view->Data(*view->Find("image"));
    // A canvas twice as large as the picture along x, three times along y.
    const std::vector<Box> crops{{0, 0, 20, 30}, {11, 31, 60, 72}};
    const auto parts = CutParts(*view, crops, 60, 72);
    REQUIRE(parts.ok());
    CHECK(parts == CutParts(*view, crops, 60, 72));
    const auto cut = ParseSafetensors(*parts);
    REQUIRE(cut.ok());
    CHECK(cut->metadata().find("atelier_type")->second == "IMAGE_PARTS");
    const Json json = *ParseJson(cut->metadata().find("json")->second);
    CHECK(json["width"] == 30);
    CHECK(json["height"] == 24);
    CHECK(json["boxes"] == Json({{0, 0, 10, 10}, {5, 10, 30, 24}}));
    const auto part = UnpackBlob(std::string(cut->Data(*cut->Find("1"))));
    REQUIRE(part.ok());
    const auto pixels = ParseSafetensors(*part);
    REQUIRE(pixels.ok());
    const TensorInfo& info = *pixels->Find("image");
    CHECK(info.dtype == dtype);
    REQUIRE(info.shape == std::vector<int64_t>{2, 14, 25, 3});
    const size_t pixel = static_cast<size_t>(3 * DTypeBytes(dtype));
    for (size_t i = 0; i < 2; ++i)
      for (size_t y = 0; y < 14; ++y)
        REQUIRE(pixels->Data(info).substr((i * 14 + y) * 25 * pixel, 25 * pixel) ==
                all.substr(((i * 24 + y + 10) * 30 + 5) * pixel, 25 * pixel));
  }
}

TEST_CASE("of a mask the first crop is cut, in 8 bits") {
  const std::vector<float> values{0, 0.5F, 1, 2, 0.25F, -1, 0.999F, 0, 1.0F / 255};
  const std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  const std::string mask = WriteSafetensors({{"mask", DType::kF32, {3, 3}, bytes}}, {{"atelier_type", "MASK"}});
  const auto part = CutParts(*ParseSafetensors(mask), {{1, 0, 3, 3}, {0, 0, 1, 1}}, 3, 3);
  REQUIRE(part.ok());
  const auto cut = ParseSafetensors(*part);
  REQUIRE(cut.ok());
  CHECK(cut->metadata().find("atelier_type")->second == "MASK_PART");
  CHECK((*ParseJson(cut->metadata().find("json")->second))["boxes"] == Json::array({{1, 0, 3, 3}}));
  CHECK(cut->tensors().size() == 1);
  const auto blob = UnpackBlob(std::string(cut->Data(*cut->Find("0"))));
  REQUIRE(blob.ok());
  const auto pixels = ParseSafetensors(*blob);
  REQUIRE(pixels.ok());
  CHECK(pixels->Find("image")->shape == std::vector<int64_t>{1, 3, 2, 1});
  CHECK(pixels->Data(*pixels->Find("image")) == std::string_view("\x7f\xff\x3f\0\0\1", 6));
}

TEST_CASE("masks that are smaller than their parts go whole, however many there are") {
  const std::string bytes(size_t{4} * 64 * 64 * 100, '\0');
  const std::string masks = WriteSafetensors({{"mask", DType::kF32, {100, 64, 64}, bytes}}, {{"atelier_type", "MASK"}});
  const auto view = ParseSafetensors(masks);
  CHECK(IsCut(*view, {0, 0, 128, 128}, 1024, 1024));  // a byte each, of four
  CHECK_FALSE(IsCut(*view, {0, 0, 129, 128}, 1024, 1024));
  CHECK_FALSE(IsCut(*view, {0, 0, 1024, 1024}, 4096, 4096));
}

TEST_CASE("what is no picture, or a packed one, is refused") {
  const std::string mask = WriteSafetensors({{"mask", DType::kF32, {1}, "abcd"}}, {{"atelier_type", "MASK"}});
  CHECK_FALSE(CutParts(*ParseSafetensors(mask), {{0, 0, 8, 8}}, 8, 8).ok());
  const auto packed = PackBlob(Picture(DType::kU8, 1, 64, 64));
  REQUIRE(IsPackedBlob(*packed));
  CHECK_FALSE(CutParts(*ParseSafetensors(*packed), {{0, 0, 8, 8}}, 8, 8).ok());
}

TEST_CASE("the box below a crop lies inside the picture and is never empty") {
  for (const int side : {1, 3, 64, 200}) {
    for (int at = 0; at < 64; ++at) {
      const Box box = BoxOnPicture({at, at, at + 1, 64}, 64, 64, side, side);
      CHECK(box.x1 >= 0);
      CHECK(box.x1 < box.x2);
      CHECK(box.x2 <= side);
      CHECK(box.y1 == at * side / 64);
      CHECK(box.y2 == side);
    }
  }
}

}  // namespace
}  // namespace atelier
