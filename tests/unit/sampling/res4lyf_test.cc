#include "worker/sampling/samplers/res4lyf.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "worker/sampling/noise.h"
#include "worker/sampling/sample.h"
#include "worker/sampling/samplers/res4lyf_tableau.h"
#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

StatusOr<Prediction0> Toy(const at::Tensor& x, double sigma) {
  return Prediction0{0.8 * (x / (1 + sigma)).tanh() + 0.1, {}};
}

StatusOr<at::Tensor> DrawToy(const std::string& name, const ModelSampling& sampling) {
  ASSIGN_OR_RETURN(const at::Tensor sigmas, ScheduleSigmas(sampling, "beta57", 6));
  const std::vector<float> levels(sigmas.const_data_ptr<float>(), sigmas.const_data_ptr<float>() + sigmas.numel());
  const at::Tensor start = at::linspace(-2, 2, 256, at::kDouble).reshape({1, 4, 8, 8}) * levels[0];
  SampleRun run(start, levels, sampling, 7, Toy);
  return FindSampler(name).sample(run);
}

// The table of spec res4lyf.md 10: x[0,0,0,0], x[0,3,7,7] and the mean, for an eps and for a flow model.
TEST_CASE("the solvers give the toy denoiser's known values") {
  const std::map<std::string, std::array<double, 6>> want{
      {"res_2m", {-0.198210403455, 0.518860924409, 0.259515464522, 0.007182084155, 0.445424814726, 0.297048720520}},
      {"res_2m_ode", {-0.176570915023, 0.571015728210, 0.236350391478, 0.031318810622, 0.478297518980, 0.285464762470}},
      {"res_3m", {-0.031650172643, 0.562882234764, 0.266807528977, 0.184309244505, 0.461408009331, 0.314180326228}},
      {"res_3m_ode", {-0.158737435078, 0.566122686123, 0.242981521495, 0.084975434918, 0.465769126554, 0.304158561197}},
      {"res_2s", {-0.099627519015, 0.556746673794, 0.263770551018, 0.030298162908, 0.455436470488, 0.298005492289}},
      {"res_2s_ode", {-0.173407173945, 0.570056716891, 0.237485174253, 0.031459926188, 0.478283182806, 0.285498930927}},
      {"res_3s", {0.307051181442, 0.535123501389, 0.273981657255, 0.182848287819, 0.462005232173, 0.316587048297}},
      {"res_3s_ode", {-0.154270173798, 0.564826058006, 0.244689633779, 0.085222713479, 0.465738743640, 0.304267596006}},
      {"res_5s", {0.143865567392, 0.434534441597, 0.283924660883, 0.351694970257, 0.437109048588, 0.322929853358}},
      {"res_6s", {0.017541552801, 0.401826773885, 0.285438830521, 0.251037016985, 0.385624161302, 0.319059123044}},
      {"deis_2m", {-0.272078977417, 0.528265393821, 0.235085394323, -0.134971431163, 0.458496029778, 0.244719349297}},
      {"deis_3m", {0.095450389455, 0.583619678064, 0.237654286297, 0.307957689375, 0.498248874382, 0.245912353926}}};
  const std::array<std::shared_ptr<const ModelSampling>, 2> models{ModelSampling::Discrete(Prediction::kEps),
                                                                   ModelSampling::DiscreteFlow(3.0)};
  for (const auto& [name, values] : want) {
    for (size_t m = 0; m < 2; ++m) {
      INFO(name << (m == 0 ? " eps" : " flow"));
      auto x = DrawToy(name, *models[m]);
      REQUIRE(x.ok());
      const at::Tensor got = x->flatten();
      CHECK(got[0].item<double>() == Approx(values[3 * m]).margin(1e-11));
      CHECK(got[-1].item<double>() == Approx(values[3 * m + 1]).margin(1e-11));
      CHECK(got.mean().item<double>() == Approx(values[3 * m + 2]).margin(1e-11));
    }
  }
}

TEST_CASE("noise of the solvers is normalised") {
  at::Generator steps = MakeGenerator(at::kCPU, UINT64_MAX), substeps = MakeGenerator(at::kCPU, 9999);
  const at::Tensor z = NormalizedNoise({1, 4, 8, 8}, steps, at::kCPU).flatten();
  CHECK(z[0].item<double>() == Approx(-2.070265335157282).epsilon(1e-12));
  CHECK(z[-1].item<double>() == Approx(-0.7686065354927757).epsilon(1e-12));
  const at::Tensor y = NormalizedNoise({1, 4, 8, 8}, substeps, at::kCPU).flatten();
  CHECK(y[0].item<double>() == Approx(-0.6517363377351082).epsilon(1e-12));
  CHECK(y[-1].item<double>() == Approx(1.619002360232799).epsilon(1e-12));
}

TEST_CASE("coefficients of the multistep solvers") {
  // Levels with the step widths of the spec's probes: h = 0.6, the steps before 0.48 and 0.66 wide.
  const std::vector<double> s{std::exp(1.14), std::exp(1.14), std::exp(0.48), 1.0, std::exp(-0.6)};
  const Tableau two = RkMethods().at("res_2m").tableau(s, 3, 0.6);
  REQUIRE(two.history == 1);
  CHECK(two.b[0] == Approx(1.268687676280881).epsilon(1e-12));
  CHECK(two.b[1] == Approx(-0.5167070697709251).epsilon(1e-12));
  const Tableau three = RkMethods().at("res_3m").tableau(s, 3, 0.6);
  REQUIRE(three.history == 2);
  CHECK(three.b[0] == Approx(1.1691983888682511).epsilon(1e-12));
  CHECK(three.b[1] == Approx(-0.34486193696729167).epsilon(1e-12));
  CHECK(three.b[2] == Approx(-0.07235584539100358).epsilon(1e-12));
}

TEST_CASE("levels that the solvers cannot use are told") {
  const auto sampling = ModelSampling::Discrete(Prediction::kEps);
  SampleRun from_zero(at::zeros({1, 4, 8, 8}), {0.0f, 1.0f, 2.0f}, *sampling, 7, Toy);
  CHECK(FindSampler("res_2m").sample(from_zero).status().code() == StatusCode::kInvalidArgument);
  SampleRun unknown(at::zeros({1, 4, 8, 8}), {2.0f, 1.0f}, *sampling, 7, Toy);
  CHECK(RkSampler({.kind = "res_9z"}).sample(unknown).status().code() == StatusCode::kInvalidArgument);
  CHECK(ScheduleSigmas(*sampling, "bong_tangent", 1).status().code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atelier::engine
