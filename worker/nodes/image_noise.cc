// Noise on pictures. Source: spec engine.md 11.2, extras.md 2.1.
#include "worker/nodes/support.h"
#include "worker/sampling/noise.h"

namespace atelier::nodes {
namespace {

struct ImageAddNoise {
  Image image;
  uint64_t seed = 0;
  double strength = 0.5;

  static void Describe(NodeSchema<ImageAddNoise>& s) {
    s.Name("ImageAddNoise").Category("image").Description("Adds noise to pictures.");
    s.Input<&ImageAddNoise::image>("image").Tooltip("The pictures.");
    s.Input<&ImageAddNoise::seed>("seed").Default(0).Range(0, UINT64_MAX).Seed().Tooltip("The seed of the noise.");
    s.Input<&ImageAddNoise::strength>("strength")
        .Default(0.5)
        .Range(0.0, 1.0)
        .Step(0.01)
        .Tooltip("How strong the noise is.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&] {
      at::Generator generator = engine::MakeGenerator(at::kCPU, seed);
      const at::Tensor noise = engine::Randn(image.pixels.sizes(), generator, at::kCPU);
      return Image{(image.pixels + strength * noise).clamp(0.0, 1.0)};
    });
  }
};
ATELIER_REGISTER_NODE(ImageAddNoise);

struct ImageNoiseAugmentation {
  Image image;
  double noise_aug_strength = 0.0;
  uint64_t seed = 123;

  static void Describe(NodeSchema<ImageNoiseAugmentation>& s) {
    s.Name("Image Noise Augmentation")
        .Category("KJNodes/image")
        .Description("Adds noise to pictures that a video starts from; values may leave 0 to 1.");
    s.Input<&ImageNoiseAugmentation::image>("image").Tooltip("The pictures.");
    s.Input<&ImageNoiseAugmentation::noise_aug_strength>("noise_aug_strength")
        .Default(0.0)
        .Range(0.0, 100.0)
        .Step(0.001)
        .Tooltip("How strong the noise is.");
    s.Input<&ImageNoiseAugmentation::seed>("seed")
        .Default(123)
        .Range(0, UINT64_MAX)
        .Seed()
        .Tooltip("The seed of the noise.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&] {
      at::Generator generator = engine::MakeGenerator(at::kCPU, seed);
      const at::Tensor noise = engine::Randn(image.pixels.sizes(), generator, at::kCPU) * noise_aug_strength;
      return Image{image.pixels + at::where(image.pixels == -1, at::zeros_like(noise), noise)};
    });
  }
};
ATELIER_REGISTER_NODE(ImageNoiseAugmentation);

}  // namespace
}  // namespace atelier::nodes
