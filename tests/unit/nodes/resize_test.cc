// Pictures are resized by libtorch's numbers to the last bit, whatever way is taken to them.
#include "worker/nodes/resize.h"

#include <catch2/catch.hpp>

namespace atelier::nodes {
namespace {

TEST_CASE("bicubic: the bits of libtorch for pictures of any size, in planes and in pixels") {
  const c10::InferenceMode inference;
  for (const int64_t channels : {1, 2, 3, 4}) {
    for (const auto& [height, width] : {std::pair<int64_t, int64_t>{1, 1}, {2, 3}, {37, 50}, {64, 33}}) {
      const at::Tensor pixels = at::rand({3, height, width, channels}) * 1.2 - 0.1;
      for (const auto& [to_height, to_width] : {std::pair<int64_t, int64_t>{1, 2}, {37, 50}, {74, 100}, {55, 21}}) {
        INFO(width << "x" << height << "x" << channels << " to " << to_width << "x" << to_height);
        const at::Tensor planes = pixels.movedim(-1, 1).contiguous();
        const at::Tensor expected = at::upsample_bicubic2d(planes, {to_height, to_width}, false);
        const auto made = ResizePixels(pixels, to_width, to_height, "bicubic", "disabled");
        REQUIRE(made.ok());
        CHECK(made->is_contiguous());
        CHECK(at::equal(*made, expected.movedim(1, -1)));
        const auto samples = ResizeSamples(planes, to_width, to_height, "bicubic", "disabled");
        REQUIRE(samples.ok());
        CHECK(samples->is_contiguous());
        CHECK(at::equal(*samples, expected));
      }
    }
  }
}

}  // namespace
}  // namespace atelier::nodes
