// Pictures in blobs, compressed without loss.
#include "common/tensorio/packed_blob.h"

#include <catch2/catch.hpp>
#include <random>

#include "common/tensorio/safetensors.h"

namespace atelier {
namespace {

std::string Blob(const std::vector<int64_t>& shape, const std::string& pixels) {
  return WriteSafetensors({{"image", DType::kU8, shape, pixels}}, {{"atelier_type", "IMAGE"}, {"json", "{}"}});
}

TEST_CASE("packing gives the bytes back, whatever they are") {
  std::mt19937 random(7);
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{1, 1, 1, 3}, {2, 33, 57, 3}, {1, 64, 64, 4}, {5, 7, 9, 1}}) {
    const auto bytes = static_cast<size_t>(shape[0] * shape[1] * shape[2] * shape[3]);
    for (const int noise : {1, 8, 256}) {
      std::string pixels(bytes, '\0');
      for (size_t i = 0; i < bytes; ++i) pixels[i] = static_cast<char>(i / 5 + random() % static_cast<unsigned>(noise));
      const std::string blob = Blob(shape, pixels);
      const StatusOr<std::string> packed = PackBlob(blob);
      REQUIRE(packed.ok());
      CHECK(packed->size() <= blob.size() + 64);
      CHECK(*PackBlob(blob) == *packed);
      CHECK(*UnpackBlob(*packed) == blob);
    }
  }
}

TEST_CASE("a smooth picture shrinks, noise stays as it is") {
  std::string smooth(256 * 256 * 3, '\0'), noise = smooth;
  std::mt19937 random(3);
  for (size_t i = 0; i < smooth.size(); ++i) {
    smooth[i] = static_cast<char>(i / 768 + i % 768 / 6);
    noise[i] = static_cast<char>(random());
  }
  const auto packed = PackBlob(Blob({1, 256, 256, 3}, smooth));
  REQUIRE(packed.ok());
  CHECK(IsPackedBlob(*packed));
  CHECK(packed->size() * 10 < smooth.size());
  CHECK(*PackBlob(Blob({1, 256, 256, 3}, noise)) == Blob({1, 256, 256, 3}, noise));
  CHECK_FALSE(IsPackedBlob(Blob({1, 256, 256, 3}, noise)));
}

TEST_CASE("what is no picture is left alone") {
  const std::string other = WriteSafetensors({}, {{"atelier_type", "LITERAL"}, {"json", "5"}});
  CHECK(*PackBlob(other) == other);
  CHECK(*UnpackBlob(other) == other);
}

TEST_CASE("damaged and hostile packed blobs are errors") {
  const std::string packed = *PackBlob(Blob({1, 64, 64, 3}, std::string(64 * 64 * 3, 'a')));
  REQUIRE(IsPackedBlob(packed));
  const SafetensorsView view = *ParseSafetensors(packed, "blob");
  const std::string body(view.Data(*view.Find("packed")));
  const auto with = [&](const std::string& shape, const std::string& bytes) {
    return UnpackBlob(WriteSafetensors({{"packed", DType::kU8, {static_cast<int64_t>(bytes.size())}, bytes}},
                                       {{"atelier_type", "IMAGE"}, {"packed_shape", shape}}))
        .status()
        .code();
  };
  CHECK(with("1,64,64,3", body) == StatusCode::kOk);
  for (const char* shape : {"", "1,64,64", "1,64,64,3,1", "1,64,64,4", "0,64,64,3", "-1,64,64,3", "1,64,64,x"}) {
    INFO(shape);
    CHECK(with(shape, body) == StatusCode::kDataLoss);
  }
  CHECK(with("99999999,99999999,99999999,3", body) == StatusCode::kResourceExhausted);
  CHECK(with("1,64,64,3", body.substr(0, body.size() / 2)) == StatusCode::kDataLoss);
  CHECK(with("1,64,64,3", "no frame") == StatusCode::kDataLoss);
  CHECK(UnpackBlob(packed, 64 * 64 * 3).ok());
  CHECK(UnpackBlob(packed, 64 * 64 * 3 - 1).status().code() == StatusCode::kResourceExhausted);
  CHECK(with("1,64,64,3", "") == StatusCode::kDataLoss);
}

}  // namespace
}  // namespace atelier
