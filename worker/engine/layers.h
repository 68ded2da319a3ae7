// Layers as plain structs of parameters, and the builder that takes them from a file and checks their shapes.
//
// A layer computes in the type of its input: parameters kept in another type are cast as they are used.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "worker/engine/residency.h"
#include "worker/engine/weights.h"

namespace atelier::engine {

/// The parameter in type `type`, or an undefined tensor for a null one.
inline at::Tensor Cast(const Param& param, at::ScalarType type) {
  return param == nullptr ? at::Tensor() : param->As(type);
}

/// Rows `ids` (int64, any shape) of a table [n,D] as f32 [...,D]. Of a table that is kept encoded as [n,bytes] only
/// these rows are decoded: its decoder gives some rows for some rows.
at::Tensor Embed(const Param& table, const at::Tensor& ids);

/// y = x W^T + b over the last dimension. weight [out,in], or [out,in,1,1] of a convolution.
struct Linear {
  Param weight, bias;
  at::Tensor operator()(const at::Tensor& x) const;
};

/// 2-D convolution, weight [out,in,k,k]. Channels last is the fast order everywhere.
struct Conv2d {
  Param weight, bias;
  int64_t stride = 1, padding = 0;
  at::Tensor operator()(const at::Tensor& x) const;
};

/// 3-D convolution of [B,C,T,H,W], weight [out,in,kt,k,k].
struct Conv3d {
  Param weight, bias;
  std::array<int64_t, 3> stride{1, 1, 1}, padding{0, 0, 0};  // frames, rows, columns
  at::Tensor operator()(const at::Tensor& x) const;
};

/// Normalisation over the last dimension.
struct LayerNorm {
  Param weight, bias;
  double eps = 1e-5;
  at::Tensor operator()(const at::Tensor& x) const;
};

/// Normalisation over groups of channels (dimension 1). With our own kernels where they do it: on a GPU, and for
/// channels last on the CPU.
struct GroupNorm {
  Param weight, bias;
  int64_t groups = 32;
  double eps = 1e-5;
  at::Tensor operator()(const at::Tensor& x) const;
  /// The same of x + offset with SiLU after it, which is fewer passes over memory; offset [B,C], or undefined.
  at::Tensor WithSilu(const at::Tensor& x, const at::Tensor& offset = {}) const;
};

/// x / sqrt(mean(x^2) + eps) * weight over the last dimension.
struct RmsNorm {
  Param weight;
  double eps = 1e-6;
  at::Tensor operator()(const at::Tensor& x) const;
};

/// softmax(q k^T / sqrt(d)) v with `heads` heads. q [B,Lq,heads*d], k and v [B,Lk,heads*d]; returns [B,Lq,heads*d].
at::Tensor Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads, bool causal = false);

/// The same for q, k, v [B,heads,L,d] with their heads apart; returns [B,Lq,heads*d]. bias: added to the scores, shape
/// [1 or B, heads or 1, Lq, Lk], or undefined. scale: in place of 1 / sqrt(d).
at::Tensor HeadAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& bias = {},
                         std::optional<double> scale = std::nullopt);

/// cos then sin of t times exp(-ln(10000) i / half), f32 [B,dim] of t f32 [B]. Source: spec engine.md 4.4.
at::Tensor SinusoidalEmbedding(const at::Tensor& t, int64_t dim);

/// Whether a layer of some layout has a bias.
enum class Bias {
  kRequired,  ///< a file without it is damaged, or of another layout
  kNone,      ///< never read, as the reference leaves a stray one alone
  kOptional,  ///< good files of one layout differ: taken when there
};

/// Takes layers from a WeightSource by name. The first missing or misshapen tensor is kept in status(), naming file and
/// tensor; the layers made after that are unusable. An expected size of 0 takes any. Thread: one at a time.
class LayerBuilder {
 public:
  LayerBuilder(const WeightSource& weights, ParamSet& params, std::string prefix_for_errors = "")
      : weights_(weights), params_(params), prefix_(std::move(prefix_for_errors)) {}

  const WeightSource& weights() const { return weights_; }
  bool Has(std::string_view name) const { return weights_.Has(name); }
  /// A parameter of exactly that shape (0: any size).
  Param Take(const std::string& name, std::initializer_list<int64_t> shape);
  /// A [out,in,1,1] convolution serves as linear weight as well.
  Linear TakeLinear(const std::string& name, int64_t in, int64_t out = 0, Bias bias = Bias::kRequired);
  /// Square kernels only. A padding of -1 is half the kernel.
  Conv2d TakeConv(const std::string& name, int64_t in, int64_t out, int64_t kernel, int64_t stride = 1,
                  int64_t padding = -1, Bias bias = Bias::kRequired);
  /// Kernel of frames, rows, columns. No padding but what the caller sets.
  Conv3d TakeConv3d(const std::string& name, int64_t in, int64_t out, const std::array<int64_t, 3>& kernel,
                    Bias bias = Bias::kRequired);
  LayerNorm TakeLayerNorm(const std::string& name, int64_t width, double eps = 1e-5, Bias bias = Bias::kRequired);
  /// `tensor` is the whole name of the scale ("norm.query_norm.scale").
  RmsNorm TakeRmsNorm(const std::string& tensor, int64_t width, double eps = 1e-6);
  GroupNorm TakeGroupNorm(const std::string& name, int64_t channels, double eps = 1e-5);
  /// Notes an error found by the caller, with the file's name before it.
  void Fail(const std::string& what);

  const Status& status() const { return status_; }

 private:
  // `name`.bias of `width` elements, or null where `bias` lets it be absent.
  Param TakeBias(const std::string& name, int64_t width, Bias bias);

  const WeightSource& weights_;
  ParamSet& params_;
  std::string prefix_;
  Status status_;
};

}  // namespace atelier::engine
