#include "worker/sampling/model_sampling.h"

#include <cmath>

namespace atelier::engine {
namespace {

// One value per item, shaped to multiply tensors of `like`'s rank.
at::Tensor PerItem(const at::Tensor& sigma, const at::Tensor& like) {
  if (sigma.dim() == 0) return sigma;
  std::vector<int64_t> shape(static_cast<size_t>(like.dim()), 1);
  shape[0] = sigma.size(0);
  return sigma.view(shape);
}

std::vector<double> Betas(const DiscreteOptions& o) {
  const int64_t n = o.timesteps;
  std::vector<double> betas(static_cast<size_t>(n));
  auto linspace = [n](double a, double b, int64_t i) {
    if (n == 1) return a;
    const double step = (b - a) / static_cast<double>(n - 1);
    return i < n / 2 ? a + step * static_cast<double>(i) : b - step * static_cast<double>(n - 1 - i);
  };
  auto cosine = [n](double s, double max_beta, int64_t i) {
    auto bar = [s](double t) {
      const double c = std::cos((t + s) / (1 + s) * M_PI / 2);
      return c * c;
    };
    const double t1 = static_cast<double>(i) / static_cast<double>(n),
                 t2 = static_cast<double>(i + 1) / static_cast<double>(n);
    return std::clamp(1.0 - bar(t2) / bar(t1), 0.0, max_beta);
  };
  for (int64_t i = 0; i < n; ++i) {
    double& beta = betas[static_cast<size_t>(i)];
    switch (o.schedule) {
      case BetaSchedule::kLinear: {
        const double root = linspace(std::sqrt(o.linear_start), std::sqrt(o.linear_end), i);
        beta = root * root;
        break;
      }
      case BetaSchedule::kSqrtLinear:
        beta = linspace(o.linear_start, o.linear_end, i);
        break;
      case BetaSchedule::kSqrt:
        beta = std::sqrt(linspace(o.linear_start, o.linear_end, i));
        break;
      case BetaSchedule::kCosine:
      case BetaSchedule::kSquaredCosCapV2:
        beta = cosine(8e-3, 0.999, i);
        break;
    }
  }
  return betas;
}

class DiscreteSampling final : public ModelSampling {
 public:
  DiscreteSampling(Prediction prediction, const DiscreteOptions& o) : ModelSampling(prediction, o.sigma_data) {
    std::vector<double> bars;
    double product = 1.0;
    for (const double beta : Betas(o)) bars.push_back(product *= 1.0 - beta);
    at::Tensor bar = at::tensor(bars, at::kDouble);
    if (o.zero_terminal_snr) {
      at::Tensor root = bar.sqrt();
      const at::Tensor first = root[0].clone(), last = root[-1].clone();
      root = (root - last) * (first / (first - last));
      bar = root.square();
      bar[-1] = 4.8973451890853435e-08;
    }
    const at::Tensor sigmas = ((1 - bar) / bar).sqrt();
    sigmas_ = sigmas.to(at::kFloat);
    log_sigmas_ = sigmas.log().to(at::kFloat);
  }

  at::Tensor Timestep(const at::Tensor& sigma) const override {
    const at::Tensor log_sigmas = log_sigmas_.to(sigma.device());
    const at::Tensor distance = (sigma.log().unsqueeze(0) - log_sigmas.view({-1, 1})).abs();
    return distance.view({log_sigmas.size(0), -1}).argmin(0).view(sigma.sizes()).to(at::kFloat);
  }
  at::Tensor Sigma(const at::Tensor& timestep) const override {
    const at::Tensor log_sigmas = log_sigmas_.to(timestep.device());
    const at::Tensor t = timestep.to(at::kFloat).clamp(0, log_sigmas.size(0) - 1);
    const at::Tensor low = t.floor(), high = t.ceil();
    const at::Tensor w = t - low;
    const at::Tensor mixed =
        (1 - w) * log_sigmas.index({low.to(at::kLong)}) + w * log_sigmas.index({high.to(at::kLong)});
    return mixed.exp();
  }
  double PercentToSigma(double percent) const override {
    if (percent <= 0) return 999999999.9;
    if (percent >= 1) return 0;
    return Sigma(at::scalar_tensor((1 - percent) * 999.0, at::kFloat)).item<float>();
  }

 private:
  at::Tensor log_sigmas_;
};

// 50 of 1000 timesteps: 19, 39, ..., 999.
class LcmSampling final : public ModelSampling {
 public:
  explicit LcmSampling(const DiscreteOptions& options) : ModelSampling(Prediction::kLcm, options.sigma_data) {
    const DiscreteSampling full(Prediction::kEps, options);
    sigmas_ = full.sigmas().slice(0, kSkip - 1, at::nullopt, kSkip).contiguous();
    log_sigmas_ = sigmas_.log();
  }
  at::Tensor Timestep(const at::Tensor& sigma) const override {
    const at::Tensor log_sigmas = log_sigmas_.to(sigma.device());
    const at::Tensor distance = (sigma.log().reshape({1, -1}) - log_sigmas.view({-1, 1})).abs();
    const at::Tensor nearest = distance.view({log_sigmas.size(0), -1}).argmin(0).view(sigma.sizes());
    return (nearest * kSkip + (kSkip - 1)).to(at::kFloat);
  }
  at::Tensor Sigma(const at::Tensor& timestep) const override {
    const at::Tensor log_sigmas = log_sigmas_.to(timestep.device());
    const at::Tensor t = ((timestep.to(at::kFloat) - (kSkip - 1)) / kSkip).clamp(0, log_sigmas.size(0) - 1);
    const at::Tensor low = t.floor(), high = t.ceil(), w = t - low;
    return ((1 - w) * log_sigmas.index({low.to(at::kLong)}) + w * log_sigmas.index({high.to(at::kLong)})).exp();
  }
  double PercentToSigma(double percent) const override {
    if (percent <= 0) return 999999999.9;
    if (percent >= 1) return 0;
    return Sigma(at::scalar_tensor((1 - percent) * 999.0, at::kFloat)).item<float>();
  }

 private:
  static constexpr int64_t kSkip = 20;
  at::Tensor log_sigmas_;
};

class StableCascadeSampling final : public ModelSampling {
 public:
  explicit StableCascadeSampling(double shift) : ModelSampling(Prediction::kEps, 1.0), shift_(shift) {
    sigmas_ = Sigma(at::arange(1, 10001, at::kFloat) / 10000);
  }
  at::Tensor Timestep(const at::Tensor& sigma) const override {
    const at::Tensor variance = (1 / (sigma.square() + 1)).clamp(0, 1);
    return (variance * Start()).sqrt().acos() / (M_PI * 0.5) * (1 + kOffset) - kOffset;
  }
  at::Tensor Sigma(const at::Tensor& timestep) const override {
    at::Tensor bar = ((timestep + kOffset) / (1 + kOffset) * (M_PI * 0.5)).cos().square() / Start();
    if (shift_ != 1.0) bar = at::sigmoid((bar / (1 - bar)).log() + 2 * std::log(1.0 / shift_));
    bar = bar.clamp(0.0001, 0.9999);
    return ((1 - bar) / bar).sqrt();
  }
  double PercentToSigma(double percent) const override {
    if (percent <= 0) return 999999999.9;
    if (percent >= 1) return 0.0;
    return Sigma(at::scalar_tensor(1.0 - percent, at::kFloat)).item<float>();
  }

 private:
  static constexpr double kOffset = 0.008;
  static double Start() {
    const double c = std::cos(kOffset / (1 + kOffset) * M_PI * 0.5);
    return c * c;
  }
  double shift_;
};

class DiscreteFlowSampling final : public ModelSampling {
 public:
  DiscreteFlowSampling(double shift, double multiplier)
      : ModelSampling(Prediction::kConst, 1.0), shift_(shift), multiplier_(multiplier) {
    sigmas_ = Sigma(at::arange(1, 1001, at::kFloat) / 1000 * multiplier);
  }
  at::Tensor Timestep(const at::Tensor& sigma) const override { return sigma * multiplier_; }
  at::Tensor Sigma(const at::Tensor& timestep) const override {
    at::Tensor t = timestep / multiplier_;
    if (shift_ == 1.0) return t;
    return shift_ * t / (1 + (shift_ - 1) * t);
  }
  double PercentToSigma(double percent) const override {
    if (percent <= 0) return 1.0;
    if (percent >= 1) return 0.0;
    const double t = 1.0 - percent;
    return shift_ == 1.0 ? t : shift_ * t / (1 + (shift_ - 1) * t);
  }

 private:
  double shift_, multiplier_;
};

// Any level of a range; the two kinds differ in the timestep.
class ContinuousSampling : public ModelSampling {
 public:
  ContinuousSampling(Prediction prediction, double sigma_min, double sigma_max, double sigma_data)
      : ModelSampling(prediction, sigma_data) {
    sigmas_ = at::linspace(std::log(sigma_min), std::log(sigma_max), 1000, at::kFloat).exp();
  }
  double PercentToSigma(double percent) const override {
    if (percent <= 0) return 999999999.9;
    if (percent >= 1) return 0.0;
    const double low = std::log(sigma_min());
    return std::exp((std::log(sigma_max()) - low) * (1.0 - percent) + low);
  }
};

class EdmSampling final : public ContinuousSampling {
 public:
  using ContinuousSampling::ContinuousSampling;
  at::Tensor Timestep(const at::Tensor& sigma) const override { return 0.25 * sigma.log(); }
  at::Tensor Sigma(const at::Tensor& timestep) const override { return (timestep / 0.25).exp(); }
};

class CosmosFlowSampling final : public ContinuousSampling {
 public:
  CosmosFlowSampling(double sigma_min, double sigma_max)
      : ContinuousSampling(Prediction::kCosmosFlow, sigma_min, sigma_max, 1.0) {}
  at::Tensor Timestep(const at::Tensor& sigma) const override { return sigma / (sigma + 1); }
  at::Tensor Sigma(const at::Tensor& timestep) const override {
    const double top = sigma_max();
    return at::where(timestep >= top / (top + 1), top, timestep / (1 - timestep));
  }
};

class ContinuousVSampling final : public ContinuousSampling {
 public:
  using ContinuousSampling::ContinuousSampling;
  at::Tensor Timestep(const at::Tensor& sigma) const override { return sigma.atan() / M_PI * 2; }
  at::Tensor Sigma(const at::Tensor& timestep) const override { return (timestep * M_PI / 2).tan(); }
};

class FluxSampling final : public ModelSampling {
 public:
  explicit FluxSampling(double mu) : ModelSampling(Prediction::kConst, 1.0), mu_(mu) {
    sigmas_ = Sigma(at::arange(1, 10001, at::kFloat) / 10000);
  }
  at::Tensor Timestep(const at::Tensor& sigma) const override { return sigma; }
  at::Tensor Sigma(const at::Tensor& timestep) const override {
    return std::exp(mu_) / (std::exp(mu_) + (1 / timestep - 1));
  }
  double PercentToSigma(double percent) const override {
    if (percent <= 0) return 1.0;
    if (percent >= 1) return 0.0;
    return std::exp(mu_) / (std::exp(mu_) + (1 / (1.0 - percent) - 1));
  }

 private:
  double mu_;
};

}  // namespace

std::shared_ptr<const ModelSampling> ModelSampling::Discrete(Prediction prediction, const DiscreteOptions& options) {
  return std::make_shared<DiscreteSampling>(prediction, options);
}
std::shared_ptr<const ModelSampling> ModelSampling::DiscreteFlow(double shift, double multiplier) {
  return std::make_shared<DiscreteFlowSampling>(shift, multiplier);
}
std::shared_ptr<const ModelSampling> ModelSampling::ContinuousEdm(Prediction prediction, double sigma_min,
                                                                  double sigma_max, double sigma_data) {
  return std::make_shared<EdmSampling>(prediction, sigma_min, sigma_max, sigma_data);
}
std::shared_ptr<const ModelSampling> ModelSampling::ContinuousV(Prediction prediction, double sigma_min,
                                                                double sigma_max, double sigma_data) {
  return std::make_shared<ContinuousVSampling>(prediction, sigma_min, sigma_max, sigma_data);
}
std::shared_ptr<const ModelSampling> ModelSampling::Lcm(const DiscreteOptions& options) {
  return std::make_shared<LcmSampling>(options);
}
std::shared_ptr<const ModelSampling> ModelSampling::CosmosFlow(double sigma_min, double sigma_max) {
  return std::make_shared<CosmosFlowSampling>(sigma_min, sigma_max);
}
std::shared_ptr<const ModelSampling> ModelSampling::StableCascade(double shift) {
  return std::make_shared<StableCascadeSampling>(shift);
}
std::shared_ptr<const ModelSampling> ModelSampling::Flux(double mu) { return std::make_shared<FluxSampling>(mu); }

float ModelSampling::sigma_min() const { return sigmas_[0].item<float>(); }
float ModelSampling::sigma_max() const { return sigmas_[-1].item<float>(); }

at::Tensor ModelSampling::CalculateInput(const at::Tensor& sigma, const at::Tensor& x) const {
  if (flow() || prediction_ == Prediction::kImageToImage) return x;
  const at::Tensor s = PerItem(sigma, x);
  if (prediction_ == Prediction::kCosmosFlow) return x * (1.0 - s / (s + 1.0));
  return x / (s.square() + sigma_data_ * sigma_data_).sqrt();
}

at::Tensor ModelSampling::CalculateDenoised(const at::Tensor& sigma, const at::Tensor& output,
                                            const at::Tensor& x) const {
  const at::Tensor s = PerItem(sigma, output);
  const double data2 = sigma_data_ * sigma_data_;
  switch (prediction_) {
    case Prediction::kEps:
    case Prediction::kConst:
      return x - output * s;
    case Prediction::kV:
      return x * data2 / (s.square() + data2) - output * s * sigma_data_ / (s.square() + data2).sqrt();
    case Prediction::kEdm:
      return x * data2 / (s.square() + data2) + output * s * sigma_data_ / (s.square() + data2).sqrt();
    case Prediction::kX0:
    case Prediction::kImageToImage:
      return output;
    case Prediction::kLcm: {
      constexpr double kData = 0.5;
      const at::Tensor t = PerItem(Timestep(sigma), output) * 10.0;
      const at::Tensor keep = kData * kData / (t.square() + kData * kData);
      return t / (t.square() + kData * kData).sqrt() * (x - output * s) + keep * x;
    }
    case Prediction::kCosmosFlow: {
      const at::Tensor part = s / (s + 1.0);
      return x * (1.0 - part) - output * part;
    }
  }
  return output;
}

at::Tensor ModelSampling::NoiseScaling(const at::Tensor& sigma, const at::Tensor& noise, const at::Tensor& latent,
                                       bool max_denoise) const {
  const at::Tensor s = PerItem(sigma, noise);
  if (flow()) return s * noise + (1.0 - s) * latent;
  if (max_denoise && prediction_ != Prediction::kCosmosFlow) return noise * (1.0 + s.square()).sqrt() + latent;
  return noise * s + latent;
}

bool InWindow(double sigma, double start, double end, at::ScalarType type) {
  if (type == at::kDouble) return sigma <= start && sigma >= end;
  const auto level = static_cast<float>(sigma);
  return level <= static_cast<float>(start) && level >= static_cast<float>(end);
}

at::Tensor ModelSampling::InverseNoiseScaling(float sigma, const at::Tensor& latent) const {
  if (!flow()) return latent;
  return latent / (1.0f - sigma);
}

}  // namespace atelier::engine
