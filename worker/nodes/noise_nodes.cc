// NOISE values. Source: spec engine.md 4.12.
#include <cmath>

#include "common/json/json.h"
#include "common/tensorio/safetensors.h"
#include "worker/engine/tensor_blob.h"
#include "worker/nodes/support.h"
#include "worker/sampling/guider.h"
#include "worker/sampling/model_sampling.h"
#include "worker/sampling/sample.h"

namespace atelier::nodes {
namespace {

using engine::NoiseSource;
using engine::Sigmas;

struct RandomNoise {
  uint64_t noise_seed = 0;

  static void Describe(NodeSchema<RandomNoise>& s) {
    s.Name("RandomNoise").Category("sampling/custom_sampling/noise").Description("Normal noise of a seed.");
    s.Input<&RandomNoise::noise_seed>("noise_seed")
        .Default(0)
        .Range(0, UINT64_MAX)
        .Seed()
        .Tooltip("Seed of the noise.");
    s.Output<NoiseSource>("NOISE");
  }
  StatusOr<NoiseSource> Run(NodeContext&) const { return NoiseSource{noise_seed}; }
};
ATELIER_REGISTER_NODE(RandomNoise);

struct DisableNoise {
  static void Describe(NodeSchema<DisableNoise>& s) {
    s.Name("DisableNoise").Category("sampling/custom_sampling/noise").Description("No noise.");
    s.Output<NoiseSource>("NOISE");
  }
  StatusOr<NoiseSource> Run(NodeContext&) const { return NoiseSource{}; }
};
ATELIER_REGISTER_NODE(DisableNoise);

struct AddNoise {
  Model model;
  NoiseSource noise;
  Sigmas sigmas;
  Latent latent_image;

  static void Describe(NodeSchema<AddNoise>& s) {
    s.Name("AddNoise")
        .Category("_for_testing/custom_sampling/noise")
        .Description("Adds the noise that lies between the first and the last noise level.");
    s.Input<&AddNoise::model>("model").Tooltip("The model to sample with.");
    s.Input<&AddNoise::noise>("noise").Tooltip("The noise that is added to the latent.");
    s.Input<&AddNoise::sigmas>("sigmas").Tooltip("The noise levels.");
    s.Input<&AddNoise::latent_image>("latent_image").Tooltip("The latent to start from.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("latent_image", latent_image));
    if (!sigmas.values.defined() || sigmas.values.numel() == 0) return latent_image;
    ASSIGN_OR_RETURN(const at::Tensor drawn, engine::GenerateNoise(noise, latent_image));
    return Guard([&] {
      const at::Tensor levels = sigmas.values.to(at::kCPU, at::kFloat);
      const at::Tensor scale = levels.numel() > 1 ? (levels[0] - levels[-1]).abs() : levels[0];
      at::Tensor latent = latent_image.samples;
      if (latent.count_nonzero().item<int64_t>() > 0) latent = model.latent_format.ProcessIn(latent);
      const at::Tensor noisy = model.sampling->NoiseScaling(scale, drawn, latent, false);
      Latent result = latent_image;
      result.samples = model.latent_format.ProcessOut(noisy).nan_to_num(0.0, 0.0, 0.0).contiguous();
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(AddNoise);

// A blob of two numbers, so that noise may be made in another task than the run's.
const bool kCodec = Registry<BlobCodec>::Get().Add(
    "NOISE", 0,
    BlobCodec{[](const Value& value, std::string_view) -> StatusOr<std::string> {
                const NoiseSource* noise = value.Get<NoiseSource>();
                if (noise == nullptr) return InvalidArgument("a value of type ", value.type(), " is no NOISE");
                Json json = Json::object();
                if (noise->seed) json["seed"] = *noise->seed;
                return engine::WriteTensors({}, {{"atelier_type", "NOISE"}, {"json", DumpJson(json)}});
              },
              [](std::string_view bytes) -> StatusOr<Value> {
                ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(bytes, "blob"));
                const auto type = view.metadata().find("atelier_type"), text = view.metadata().find("json");
                if (type == view.metadata().end() || type->second != "NOISE" || text == view.metadata().end())
                  return InvalidArgument("blob is no NOISE");
                ASSIGN_OR_RETURN(const Json json, ParseJson(text->second));
                NoiseSource noise;
                if (json.is_object() && json.contains("seed")) {
                  if (!json["seed"].is_number_unsigned())
                    return InvalidArgument("a NOISE blob has the seed ", json["seed"].dump(), ", expected a number");
                  noise.seed = json["seed"].get<uint64_t>();
                }
                return Value::Of<NoiseSource>("NOISE", noise);
              }});

}  // namespace
}  // namespace atelier::nodes
