#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "worker/sampling/noise.h"
#include "worker/sampling/sample.h"
#include "worker/sampling/schedule.h"

namespace atelier::engine {
namespace {

// The ideal denoiser of data that are normal with deviation s: the exact path of the flow is known.
constexpr double kDeviation = 2.0;

StatusOr<Prediction0> Ideal(const at::Tensor& x, double sigma) {
  const double s2 = kDeviation * kDeviation;
  const at::Tensor denoised = x * (s2 / (s2 + sigma * sigma));
  return Prediction0{denoised, denoised};
}

StatusOr<at::Tensor> Draw(const std::string& name, int64_t steps, SampleRun::Reporter reporter = nullptr) {
  const auto sampling = ModelSampling::Discrete(Prediction::kEps);
  const SamplerType sampler = FindSampler(name);
  ASSIGN_OR_RETURN(const at::Tensor sigmas, RunSigmas(*sampling, sampler.traits, "karras", steps, 1.0));
  at::Generator generator = MakeGenerator(at::kCPU, 5);
  const at::Tensor start = Randn({1, 4, 32, 32}, generator, at::kCPU) * std::hypot(sigmas[0].item<float>(), kDeviation);
  std::vector<float> levels(sigmas.const_data_ptr<float>(), sigmas.const_data_ptr<float>() + sigmas.numel());
  SampleRun run(start, levels, *sampling, 7, Ideal, std::move(reporter));
  return sampler.sample(run);
}

TEST_CASE("every sampler turns noise into the data's distribution") {
  for (const std::string& name : SamplerNames()) {
    INFO(name);
    auto drawn = Draw(name, 40);
    REQUIRE(drawn.ok());
    CHECK(drawn->isfinite().all().item<bool>());
    // lcm jumps to the mean prediction, and the reference's dpmpp_2s_ancestral_cfg_pp mixes predictions of two levels:
    // both lose spread by design.
    if (name != "lcm" && name != "dpmpp_2s_ancestral_cfg_pp")
      CHECK(drawn->std().item<float>() == Approx(kDeviation).epsilon(0.15));
  }
}

TEST_CASE("deterministic samplers follow the exact path") {
  at::Generator generator = MakeGenerator(at::kCPU, 5);
  const at::Tensor exact = Randn({1, 4, 32, 32}, generator, at::kCPU) * kDeviation;
  for (const std::string name : {"euler", "heun", "dpm_2", "lms", "dpmpp_2m", "uni_pc", "uni_pc_bh2", "ddim", "ipndm",
                                 "rk", "ipndm_v", "res_multistep"}) {
    INFO(name);
    auto drawn = Draw(name, 60);
    REQUIRE(drawn.ok());
    CHECK((*drawn - exact).abs().max().item<float>() < 0.6f);
    CHECK((*drawn - exact).abs().mean().item<float>() < 0.1f);
  }
}

TEST_CASE("rk is of second order, and needs two steps") {
  const auto sampling = ModelSampling::Discrete(Prediction::kEps);
  at::Generator generator = MakeGenerator(at::kCPU, 5);
  const at::Tensor noise = Randn({1, 4, 16, 16}, generator, at::kCPU);
  // Without the step to 0: from 10 to 0.5 in equal steps of log sigma.
  const auto error = [&](int steps) {
    std::vector<float> levels;
    for (int i = 0; i <= steps; ++i) levels.push_back(static_cast<float>(10 * std::pow(0.05, 1.0 * i / steps)));
    SampleRun run(noise * std::hypot(10.0, kDeviation), levels, *sampling, 7, Ideal);
    const auto x = FindSampler("rk").sample(run);
    REQUIRE(x.ok());
    return (*x - noise * std::hypot(0.5, kDeviation)).abs().max().item<double>();
  };
  CHECK(error(16) / error(32) == Approx(4.0).epsilon(0.3));
  CHECK(error(32) / error(64) == Approx(4.0).epsilon(0.3));
  for (const int64_t steps : {2, 3}) {
    const auto drawn = Draw("rk", steps);
    REQUIRE(drawn.ok());
    CHECK(drawn->isfinite().all().item<bool>());
  }
  CHECK(Draw("rk", 1).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("levels are compared with percents as torch compares a tensor with a number") {
  const auto flow = ModelSampling::DiscreteFlow(3.0);
  const float level = flow->Sigma(at::scalar_tensor(750.0f)).item<float>();  // 0.9 rounded up to float32
  const double start = flow->PercentToSigma(0.25);
  REQUIRE(static_cast<double>(level) != start);
  CHECK(InWindow(level, start, 0.0, at::kFloat));
  CHECK(InWindow(level, 1.0, start, at::kFloat));
  CHECK(InWindow(level, start, 0.0, at::kDouble) != InWindow(level, 1.0, start, at::kDouble));
  CHECK_FALSE(InWindow(0.91, start, 0.0, at::kFloat));
  CHECK_FALSE(InWindow(0.89, 1.0, start, at::kFloat));
}

TEST_CASE("Cosmos' flow starts at the noise times the level, at the highest level as well") {
  const auto cosmos = ModelSampling::CosmosFlow(0.002, 2.0),
             edm = ModelSampling::ContinuousEdm(Prediction::kEps, 0.002, 2.0);
  const at::Tensor noise = at::full({1, 4, 2, 2}, 3.0), latent = at::full({1, 4, 2, 2}, 1.0);
  const at::Tensor level = at::scalar_tensor(2.0f);
  CHECK(cosmos->NoiseScaling(level, noise, latent, true)[0][0][0][0].item<float>() == Approx(7.0));
  CHECK(edm->NoiseScaling(level, noise, latent, true)[0][0][0][0].item<float>() == Approx(3 * std::sqrt(5.0) + 1));
}

TEST_CASE("a run ends when its reporter says so") {
  int calls = 0;
  auto stop = [&calls](int64_t step, int64_t, const at::Tensor&, const at::Tensor&) -> Status {
    ++calls;
    return step == 2 ? Status(Cancelled("stopped")) : OkStatus();
  };
  for (const std::string& name : SamplerNames()) {
    INFO(name);
    calls = 0;
    auto drawn = Draw(name, 10, stop);
    CHECK(drawn.status().code() == StatusCode::kCancelled);
    CHECK(calls == 3);
  }
}

TEST_CASE("names come in the reference's order") {
  CHECK(ScheduleNames() == std::vector<std::string>{"simple", "sgm_uniform", "karras", "exponential", "ddim_uniform",
                                                    "beta", "normal", "linear_quadratic", "kl_optimal", "bong_tangent",
                                                    "beta57"});
  CHECK(SamplerNames() == std::vector<std::string>{"euler",
                                                   "euler_cfg_pp",
                                                   "euler_ancestral",
                                                   "euler_ancestral_cfg_pp",
                                                   "heun",
                                                   "heunpp2",
                                                   "dpm_2",
                                                   "dpm_2_ancestral",
                                                   "lms",
                                                   "dpm_fast",
                                                   "dpm_adaptive",
                                                   "dpmpp_2s_ancestral",
                                                   "dpmpp_2s_ancestral_cfg_pp",
                                                   "dpmpp_sde",
                                                   "dpmpp_sde_gpu",
                                                   "dpmpp_2m",
                                                   "dpmpp_2m_cfg_pp",
                                                   "dpmpp_2m_sde",
                                                   "dpmpp_2m_sde_gpu",
                                                   "dpmpp_2m_sde_heun",
                                                   "dpmpp_2m_sde_heun_gpu",
                                                   "dpmpp_3m_sde",
                                                   "dpmpp_3m_sde_gpu",
                                                   "ddpm",
                                                   "lcm",
                                                   "ipndm",
                                                   "ipndm_v",
                                                   "deis",
                                                   "res_multistep",
                                                   "res_multistep_cfg_pp",
                                                   "res_multistep_ancestral",
                                                   "res_multistep_ancestral_cfg_pp",
                                                   "gradient_estimation",
                                                   "gradient_estimation_cfg_pp",
                                                   "er_sde",
                                                   "seeds_2",
                                                   "seeds_3",
                                                   "sa_solver",
                                                   "sa_solver_pece",
                                                   "ddim",
                                                   "uni_pc",
                                                   "uni_pc_bh2",
                                                   "rk",
                                                   "rk_beta",
                                                   "deis_3m_ode",
                                                   "deis_2m_ode",
                                                   "deis_3m",
                                                   "deis_2m",
                                                   "res_6s_ode",
                                                   "res_5s_ode",
                                                   "res_3s_ode",
                                                   "res_2s_ode",
                                                   "res_3m_ode",
                                                   "res_2m_ode",
                                                   "res_6s",
                                                   "res_5s",
                                                   "res_3s",
                                                   "res_2s",
                                                   "res_3m",
                                                   "res_2m"});
}

TEST_CASE("noise of a batch index is the item's own") {
  auto whole = PrepareNoise({3, 4, 8, 8}, 11, std::nullopt);
  auto single = PrepareNoise({1, 4, 8, 8}, 11, std::vector<int64_t>{0});
  REQUIRE(whole.ok());
  REQUIRE(single.ok());
  CHECK(at::equal(whole->narrow(0, 0, 1), *single));
  CHECK(PrepareNoise({1, 4, 8, 8}, 11, std::vector<int64_t>{-1}).status().code() == StatusCode::kInvalidArgument);
  CHECK(PrepareNoise({2, 4, 8, 8}, 11, std::vector<int64_t>{0}).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("denoise 0 and too small values") {
  const auto sampling = ModelSampling::Discrete(Prediction::kEps);
  CHECK(RunSigmas(*sampling, {}, "normal", 20, 0.0)->numel() == 0);
  CHECK(RunSigmas(*sampling, {}, "normal", 20, 0.5)->numel() == 21);
  CHECK(RunSigmas(*sampling, {}, "normal", 20, 1e-9).status().code() == StatusCode::kInvalidArgument);
  CHECK(RunSigmas(*sampling, {}, "normal", 0, 1.0).status().code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atelier::engine
