// Pictures with few colours. Source: spec engine.md 11.2, golden image_post/quantize.
#include <algorithm>
#include <cmath>

#include "common/image/quantize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// The ordered-dither matrix of side 2^n, from -0.5 up to 0.5.
at::Tensor BayerMatrix(int n) {
  if (n == 0) return at::zeros({1, 1}, at::kFloat);
  const double q = std::pow(4.0, n);
  const at::Tensor m = q * BayerMatrix(n - 1);
  return at::cat({at::cat({m - 1.5, m + 0.5}, 1), at::cat({m + 1.5, m - 0.5}, 1)}, 0) / q;
}

// The picture with the matrix of side `order` added all over.
ImageU8 Dither(const ImageU8& picture, int order, size_t entries) {
  const double spread = 2.0 * 256.0 / static_cast<double>(entries);
  const at::Tensor matrix = (spread * BayerMatrix(static_cast<int>(std::log2(order))) + 0.5).contiguous();
  const float* values = matrix.const_data_ptr<float>();
  ImageU8 result = picture;
  for (int y = 0; y < picture.height; ++y)
    for (int x = 0; x < picture.width; ++x)
      for (int c = 0; c < 3; ++c) {
        const float value = static_cast<float>(picture.at(x, y, c)) + values[(y % order) * order + x % order];
        result.at(x, y, c) = static_cast<uint8_t>(std::clamp(value, 0.0F, 255.0F));
      }
  return result;
}

struct ImageQuantize {
  Image image;
  int64_t colors = 256;
  std::string dither = "none";

  static void Describe(NodeSchema<ImageQuantize>& s) {
    s.Name("Image Quantize").Category("image/postprocessing").Description("Reduces pictures to few colours.");
    s.Input<&ImageQuantize::image>("image").Tooltip("The pictures.");
    s.Input<&ImageQuantize::colors>("colors").Default(256).Range(1, 256).Step(1).Tooltip("How many colours.");
    s.Input<&ImageQuantize::dither>("dither")
        .OneOf({"none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"})
        .Tooltip("How colours between them are imitated.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    if (image.pixels.size(3) != 3) return InvalidArgument("image has ", image.pixels.size(3), " channels, expected 3");
    return Guard([&]() -> StatusOr<Image> {
      std::vector<ImageU8> pictures;
      for (int64_t i = 0; i < image.pixels.size(0); ++i) {
        if (ctx.cancelled()) return Cancelled("cancelled");
        ASSIGN_OR_RETURN(ImageU8 picture, ToImageU8(image.pixels, i));
        ASSIGN_OR_RETURN(const Palette palette, MedianCutPalette(picture, static_cast<int>(colors)));
        if (dither.rfind("bayer-", 0) == 0) picture = Dither(picture, std::stoi(dither.substr(6)), palette.size());
        ASSIGN_OR_RETURN(ImageU8 reduced, MapToPalette(picture, palette, dither == "floyd-steinberg"));
        pictures.push_back(std::move(reduced));
      }
      return Image{ToPixels(pictures)};
    });
  }
};
ATELIER_REGISTER_NODE(ImageQuantize);

}  // namespace
}  // namespace atelier::nodes
