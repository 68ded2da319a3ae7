// Noise as a latent. Source: spec extras.md 2.2.
#include "worker/nodes/support.h"
#include "worker/sampling/noise.h"

namespace atelier::nodes {
namespace {

using engine::Sigmas;

struct GenerateNoise {
  int64_t width = 512, height = 512, batch_size = 1;
  uint64_t seed = 123;
  double multiplier = 1.0;
  bool constant_batch_noise = false, normalize = false;
  std::optional<Model> model;
  std::optional<Sigmas> sigmas;
  std::string latent_channels = "4";
  std::string shape = "BCHW";

  static void Describe(NodeSchema<GenerateNoise>& s) {
    using N = GenerateNoise;
    s.Name("Generate Noise").Category("KJNodes/noise").Description("Normal noise as a latent, or as a video's.");
    s.Input<&N::width>("width").Default(512).Range(16, 16384).Step(1).Tooltip("Pixels.");
    s.Input<&N::height>("height").Default(512).Range(16, 16384).Step(1).Tooltip("Pixels.");
    s.Input<&N::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("Pictures, or latent frames of a video.");
    s.Input<&N::seed>("seed").Default(123).Range(0, UINT64_MAX).Seed().Tooltip("Seed of the noise.");
    s.Input<&N::multiplier>("multiplier").Default(1.0).Range(0.0, 4096.0).Step(0.01).Tooltip("How strong it is.");
    s.Input<&N::constant_batch_noise>("constant_batch_noise")
        .Default(false)
        .Tooltip("Gives all pictures the noise of the first.");
    s.Input<&N::normalize>("normalize").Default(false).Tooltip("Scales the whole to a deviation of 1.");
    s.Input<&N::model>("model").Tooltip("Scales the noise for this model; with sigmas.");
    s.Input<&N::sigmas>("sigmas").Tooltip("Noise levels: the noise lies between the first and the last.");
    s.Input<&N::latent_channels>("latent_channels")
        .OneOf({"4", "16"})
        .Optional()
        .Default("4")
        .Tooltip("Channels of the latent.");
    s.Input<&N::shape>("shape")
        .OneOf({"BCHW", "BCTHW", "BTCHW"})
        .Optional()
        .Default("BCHW")
        .Tooltip("BCHW for pictures; the others make the batch the frames of one video.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    const int64_t channels = latent_channels == "16" ? 16 : 4;
    const int64_t h = height / kPixelsPerLatent, w = width / kPixelsPerLatent;
    RETURN_IF_ERROR(CheckTensorSize("noise", {batch_size, channels, h, w}));
    if (sigmas && !model) return InvalidArgument("input \"sigmas\" is linked and \"model\" is not; link both or none");
    if (sigmas && (!sigmas->values.defined() || sigmas->values.numel() == 0))
      return InvalidArgument("input \"sigmas\" is empty, expected at least one noise level");
    if (constant_batch_noise && batch_size > 1 && shape != "BCHW")
      return InvalidArgument("constant_batch_noise repeats pictures, and shape is ", shape, "; expected BCHW");
    return Guard([&] {
      std::vector<int64_t> sides = {batch_size, channels, h, w};
      if (shape == "BCTHW") sides = {1, channels, batch_size, h, w};
      if (shape == "BTCHW") sides = {1, batch_size, channels, h, w};
      at::Generator generator = engine::MakeGenerator(at::kCPU, seed);
      at::Tensor noise = engine::Randn(sides, generator, at::kCPU);
      if (sigmas) {
        const at::Tensor levels = sigmas->values.to(at::kCPU, at::kFloat);
        noise = noise * ((levels[0] - levels[-1]) / model->latent_format.scale);
      }
      noise = noise * multiplier;
      if (normalize) noise = noise / noise.std(/*unbiased=*/true);
      if (constant_batch_noise) noise = RepeatToBatch(noise.narrow(0, 0, 1), noise.size(0)).contiguous();
      return Latent{noise, {}};
    });
  }
};
ATELIER_REGISTER_NODE(GenerateNoise);

}  // namespace
}  // namespace atelier::nodes
