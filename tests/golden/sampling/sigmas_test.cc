#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>

#include "tests/golden/golden_data.h"
#include "worker/sampling/sample.h"
#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

std::shared_ptr<const ModelSampling> MakeSampling(const Json& table) {
  const std::string kind = table.at("kind");
  const Json& s = table.at("settings");
  if (kind == "ModelSamplingDiscreteFlow")
    return ModelSampling::DiscreteFlow(s.at("shift"), s.value("multiplier", 1000.0));
  if (kind == "ModelSamplingFlux") return ModelSampling::Flux(s.at("shift"));
  REQUIRE(kind == "ModelSamplingDiscrete");
  DiscreteOptions options;
  options.zero_terminal_snr = s.value("zsnr", false);
  return ModelSampling::Discrete(Prediction::kEps, options);
}

double Number(const Json& v) { return v.is_string() ? std::nan("") : v.get<double>(); }

// Largest relative difference; infinite when lengths or NaNs differ.
double Difference(const std::vector<double>& got, const Json& want) {
  if (got.size() != want.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double w = Number(want[i]);
    if (std::isnan(w) != std::isnan(got[i])) return INFINITY;
    if (std::isnan(w)) continue;
    worst = std::max(worst, std::fabs(got[i] - w) / std::max(std::fabs(w), 1e-6));
  }
  return worst;
}

std::vector<double> ToVector(const at::Tensor& t) {
  const at::Tensor d = t.to(at::kDouble).contiguous();
  return {d.const_data_ptr<double>(), d.const_data_ptr<double>() + d.numel()};
}

TEST_CASE("sigma tables, schedules and timesteps equal the reference's") {
  for (const Json& c : golden::Cases("sigmas")) {
    if (c.at("kind") != "sigma_tables") continue;
    const std::string id = c.at("id");
    INFO(id);
    const double tolerance = c.at("tolerance_rel");
    const Json table = golden::ReadJson(golden::Root() + "/" + c.at("files")[0].get<std::string>());
    const auto sampling = MakeSampling(table);
    CHECK(sampling->sigma_min() == Approx(table.at("sigma_min").get<double>()).epsilon(1e-6));
    CHECK(sampling->sigma_max() == Approx(table.at("sigma_max").get<double>()).epsilon(1e-6));
    for (const auto& [percent, sigma] : table.at("percent_to_sigma").items())
      CHECK(sampling->PercentToSigma(std::stod(percent)) == Approx(Number(sigma)).epsilon(1e-6).margin(1e-12));
    auto tensor = [](const Json& list) { return at::tensor(list.get<std::vector<double>>(), at::kFloat); };
    CHECK(Difference(ToVector(sampling->Timestep(tensor(table.at("timestep_of_sigma").at("sigma")))),
                     table.at("timestep_of_sigma").at("timestep")) < 1e-6);
    CHECK(Difference(ToVector(sampling->Sigma(tensor(table.at("sigma_of_timestep").at("timestep")))),
                     table.at("sigma_of_timestep").at("sigma")) < 1e-6);

    int wrong = 0;
    for (const auto& [key, value] : table.at("schedulers").items()) {
      std::vector<std::string> part;
      std::istringstream in(key);
      for (std::string p; std::getline(in, p, '|');) part.push_back(p);
      SamplerTraits traits;
      traits.discard_penultimate = part[3] == "dpm_2";
      auto sigmas = RunSigmas(*sampling, traits, part[0], std::stoll(part[1]), std::stod(part[2]));
      REQUIRE(sigmas.ok());
      const double difference = Difference(ToVector(*sigmas), value.at("sigmas"));
      if (!(difference <= tolerance)) {
        ++wrong;
        UNSCOPED_INFO(key << ": " << difference);
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("full sigma tables equal the reference's") {
  const WeightSource::Tensors tables = golden::Tensors("sigmas/full_tables.safetensors").tensors();
  REQUIRE(tables.size() >= 9);
  for (const auto& [id, want] : tables) {
    INFO(id);
    const auto sampling = MakeSampling(golden::ReadJson(golden::Root() + "/" + "sigmas/" + id + ".json"));
    REQUIRE(sampling->sigmas().sizes() == want.sizes());
    CHECK(((sampling->sigmas() - want).abs() / want).max().item<float>() < 1e-6f);
  }
}

TEST_CASE("BasicScheduler equals the reference's node") {
  int checked = 0;
  for (const Json& c : golden::ReadJson(golden::Root() + "/" + "sigmas/scheduler_nodes.json")) {
    if (c.at("class_type") != "BasicScheduler") continue;
    const Json& in = c.at("inputs");
    INFO(c.at("inputs").dump() << c.at("model_sampling").dump());
    const auto sampling = MakeSampling(
        golden::ReadJson(golden::Root() + "/" + "sigmas/" + c.at("model_sampling").get<std::string>() + ".json"));
    auto sigmas = RunSigmas(*sampling, {}, in.at("scheduler"), in.at("steps"), in.at("denoise"));
    REQUIRE(sigmas.ok());
    CHECK(Difference(ToVector(*sigmas), c.at("outputs")[0]) <= 1e-5);
    ++checked;
  }
  CHECK(checked > 0);
}

}  // namespace
}  // namespace atelier::engine
