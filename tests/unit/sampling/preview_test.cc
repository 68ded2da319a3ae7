#include "worker/sampling/preview.h"

#include <catch2/catch.hpp>

#include "common/image/codec.h"

namespace atelier::engine {
namespace {

// The colour in the middle of a preview, 0..255.
std::array<int, 3> Middle(const std::string& jpeg) {
  const auto picture = DecodeImage(jpeg);
  REQUIRE(picture.ok());
  const ImageU8& rgb = picture->rgb;
  return {rgb.at(rgb.width / 2, rgb.height / 2, 0), rgb.at(rgb.width / 2, rgb.height / 2, 1),
          rgb.at(rgb.width / 2, rgb.height / 2, 2)};
}

void CheckNear(const std::array<int, 3>& got, const std::array<float, 3>& row, float value) {
  for (size_t c = 0; c < 3; ++c)
    CHECK(got[c] == Approx(std::clamp((row[c] * value + 1) / 2, 0.0f, 1.0f) * 255).margin(4));
}

TEST_CASE("a preview shows each channel's colour, of every format") {
  for (const LatentColors colors :
       {LatentColors(kSd15Colors), LatentColors(kSdxlColors), LatentColors(kSd3Colors), LatentColors(kFluxColors)}) {
    for (size_t k = 0; k < colors.size(); ++k) {
      at::Tensor latent = at::zeros({2, static_cast<int64_t>(colors.size()), 4, 6});
      latent[0][static_cast<int64_t>(k)] = 1.5;
      CheckNear(Middle(PreviewJpeg(latent, colors)), colors[k], 1.5f);
    }
  }
}

TEST_CASE("a preview fits 512 x 512 and shows a video's first frame") {
  at::Tensor video = at::zeros({1, 16, 3, 8, 4});
  video.select(2, 0).select(1, 3).fill_(2.0);
  const std::string jpeg = PreviewJpeg(video, kFluxColors);
  const auto size = ReadImageSize(jpeg);
  REQUIRE(size.ok());
  CHECK(*size == std::pair<int64_t, int64_t>(256, 512));
  CheckNear(Middle(jpeg), kFluxColors[3], 2.0f);
}

TEST_CASE("a latent of another number of channels has no preview") {
  CHECK(PreviewJpeg(at::zeros({1, 48, 4, 4}), kSd15Colors).empty());
  CHECK(PreviewJpeg(at::zeros({4, 4}), kSd15Colors).empty());
  CHECK(PreviewJpeg(at::zeros({1, 4, 4, 4}), {}).empty());
}

}  // namespace
}  // namespace atelier::engine
