// How a network's output relates to the denoised latent, and which noise levels it was trained on.
// Source: spec engine.md 4.6.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace atelier::engine {

/// What the raw output F of a network stands for.
enum class Prediction { kEps, kV, kEdm, kX0, kImageToImage, kConst, kLcm, kCosmosFlow };

/// The betas of a discrete noise schedule.
enum class BetaSchedule { kLinear, kSqrtLinear, kSqrt, kCosine, kSquaredCosCapV2 };

/// Settings of the discrete table (SD1, SD2, SDXL).
struct DiscreteOptions {
  BetaSchedule schedule = BetaSchedule::kLinear;
  double linear_start = 0.00085;
  double linear_end = 0.012;
  int64_t timesteps = 1000;
  bool zero_terminal_snr = false;
  double sigma_data = 1.0;
};

/// Parameterisation and noise table of a model. All tensors are f32; the tables live on the CPU, the tensor arguments
/// may be on any device and results follow them. Thread: any (immutable).
class ModelSampling {
 public:
  virtual ~ModelSampling() = default;

  /// eps or v model over 1000 discrete timesteps.
  static std::shared_ptr<const ModelSampling> Discrete(Prediction prediction, const DiscreteOptions& options = {});
  /// Rectified flow with sigma = shift t / (1 + (shift - 1) t) over 1000 timesteps; the network sees sigma *
  /// multiplier.
  static std::shared_ptr<const ModelSampling> DiscreteFlow(double shift, double multiplier = 1000.0);
  /// Any level between sigma_min and sigma_max; 1000 log-spaced ones stand in the table. The network sees ln(sigma)
  /// / 4.
  static std::shared_ptr<const ModelSampling> ContinuousEdm(Prediction prediction, double sigma_min = 0.002,
                                                            double sigma_max = 120.0, double sigma_data = 1.0);
  /// The same with the network seeing 2 atan(sigma) / pi.
  static std::shared_ptr<const ModelSampling> ContinuousV(Prediction prediction, double sigma_min = 0.03,
                                                          double sigma_max = 500.0, double sigma_data = 1.0);
  /// A discrete model distilled to 50 of its 1000 timesteps (LCM).
  static std::shared_ptr<const ModelSampling> Lcm(const DiscreteOptions& options = {});
  /// Flow of Cosmos over the levels of ContinuousEdm: x is scaled by 1 - s, s = sigma / (sigma + 1), which the network
  /// sees.
  static std::shared_ptr<const ModelSampling> CosmosFlow(double sigma_min = 0.002, double sigma_max = 120.0);
  /// The cosine schedule of Stable Cascade, shifted by 2 ln(1 / shift) in logarithmic signal to noise; the network
  /// sees t in 0..1.
  static std::shared_ptr<const ModelSampling> StableCascade(double shift = 1.0);
  /// Rectified flow of Flux: sigma = e^mu / (e^mu + 1/t - 1) over 10000 timesteps; the network sees sigma.
  static std::shared_ptr<const ModelSampling> Flux(double mu);

  Prediction prediction() const { return prediction_; }
  /// Rectified flow: x = sigma n + (1 - sigma) l.
  bool flow() const { return prediction_ == Prediction::kConst; }
  /// Ascending noise levels, f32 [N] on the CPU.
  const at::Tensor& sigmas() const { return sigmas_; }
  float sigma_min() const;
  float sigma_max() const;

  /// Model timesteps of noise levels, elementwise, f32.
  virtual at::Tensor Timestep(const at::Tensor& sigma) const = 0;
  /// Noise levels of model timesteps, elementwise, f32.
  virtual at::Tensor Sigma(const at::Tensor& timestep) const = 0;
  /// The noise level after the fraction `percent` (0..1) of a full run.
  virtual double PercentToSigma(double percent) const = 0;

  /// The network's input for x f32 [B,...] at noise levels sigma f32 [B].
  at::Tensor CalculateInput(const at::Tensor& sigma, const at::Tensor& x) const;
  /// The denoised latent from the raw output, the (unscaled) x and sigma f32 [B].
  at::Tensor CalculateDenoised(const at::Tensor& sigma, const at::Tensor& output, const at::Tensor& x) const;
  /// The start of a run from `noise` and a model-space latent. sigma: f32 [B] or of no dimension.
  at::Tensor NoiseScaling(const at::Tensor& sigma, const at::Tensor& noise, const at::Tensor& latent,
                          bool max_denoise) const;
  /// The latent at the end of a run whose last noise level is `sigma`.
  at::Tensor InverseNoiseScaling(float sigma, const at::Tensor& latent) const;

 protected:
  ModelSampling(Prediction prediction, double sigma_data) : prediction_(prediction), sigma_data_(sigma_data) {}
  Prediction prediction_;
  double sigma_data_;
  at::Tensor sigmas_;
};

/// Whether start >= sigma >= end as torch compares a level in a tensor of type `type` with numbers: in float32 the
/// numbers are rounded to it. Source: spec engine.md 4.10, 5.3. Thread: any.
bool InWindow(double sigma, double start, double end, at::ScalarType type);

/// The noise levels between two fractions (0..1) of a full run.
struct SigmaWindow {
  double start = 0, end = 0;  // the higher level first
  SigmaWindow(const ModelSampling& sampling, double from, double to)
      : start(sampling.PercentToSigma(from)), end(sampling.PercentToSigma(to)) {}
  bool Holds(double sigma) const { return sigma <= start && sigma >= end; }
};

}  // namespace atelier::engine
