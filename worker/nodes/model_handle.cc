#include "worker/nodes/model_handle.h"

#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {

StatusOr<Model> MakeModel(const models::DiffusionParts& parts) {
  engine::Prediction prediction = engine::Prediction::kEps;
  if (parts.prediction == "v_prediction") {
    prediction = engine::Prediction::kV;
  } else if (parts.prediction != "eps") {
    return InvalidArgument("family ", parts.family, " asks for prediction \"", parts.prediction,
                           "\", expected eps or v_prediction");
  }
  return Guard([&] {
    Model model;
    model.network = parts.network;
    model.latent_format = parts.latent_format;
    engine::DiscreteOptions options;
    options.zero_terminal_snr = parts.zero_terminal_snr;
    model.sampling = engine::ModelSampling::Discrete(prediction, options);
    return model;
  });
}

}  // namespace atelier::nodes
