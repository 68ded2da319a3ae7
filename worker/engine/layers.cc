#include "worker/engine/layers.h"

#include <cmath>
#include <optional>

#include "common/tensorio/mapped_file.h"
#include "worker/engine/cpu_kernels.h"
#include "worker/engine/cuda_kernels.h"
#include "worker/engine/packed_conv.h"

namespace atelier::engine {
namespace {

std::string ShapeText(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += Cat(i > 0 ? "," : "", shape[i] == 0 ? "*" : std::to_string(shape[i]));
  return text + "]";
}

}  // namespace

at::Tensor Embed(const Param& table, const at::Tensor& ids) {
  const at::Tensor live = table->Live();
  if (!table->decoder) return at::embedding(live, ids).to(at::kFloat);
  if (live.dim() != 2 || !table->patches.empty()) return at::embedding(table->As(at::kFloat), ids);
  // Only the rows that are asked for are decoded: whole tables take gigabytes.
  const at::Tensor stored = live.view(at::kByte).index_select(0, ids.flatten());
  const at::Tensor rows = table->decoder(stored.view(live.scalar_type())).to(at::kFloat);
  return rows.unflatten(0, ids.sizes());
}

at::Tensor Linear::operator()(const at::Tensor& x) const {
  const at::ScalarType type = x.scalar_type();
  const at::Tensor w = Cast(weight, type);
  return at::linear(x, w.dim() > 2 ? w.flatten(1) : w, Cast(bias, type));
}

at::Tensor Conv2d::operator()(const at::Tensor& x) const {
  const at::ScalarType type = x.scalar_type();
  at::Tensor live = weight->Live();
  if (weight->packing && weight->stream == nullptr && live.layout() == at::kStrided && live.is_cpu() &&
      live.scalar_type() == at::kFloat && type == at::kFloat) {
    live = Packed(live, stride, padding, x.sizes());
    if (weight->live.is_alias_of(weight->stored) && weight->stored.is_contiguous())
      MappedFile::GiveBack({static_cast<const char*>(weight->stored.const_data_ptr()), weight->stored.nbytes()});
    weight->live = live;
  }
  if (live.is_mkldnn() && type == at::kFloat) return PackedConv(x, live, Cast(bias, type), stride, padding);
  return at::conv2d(x, Cast(weight, type), Cast(bias, type), stride, padding);
}

at::Tensor Conv3d::operator()(const at::Tensor& x) const {
  const at::ScalarType type = x.scalar_type();
  return at::conv3d(x, Cast(weight, type), Cast(bias, type), stride, padding);
}

at::Tensor LayerNorm::operator()(const at::Tensor& x) const {
  const at::ScalarType type = x.scalar_type();
  return at::layer_norm(x, {x.size(-1)}, Cast(weight, type), Cast(bias, type), eps);
}

at::Tensor GroupNorm::operator()(const at::Tensor& x) const {
  const at::Tensor w = Cast(weight, x.scalar_type()), b = Cast(bias, x.scalar_type());
  if (auto y = FusedGroupNorm(x, w, b, groups, eps, /*silu=*/false)) return *std::move(y);
  if (auto y = CpuGroupNorm(x, w, b, {}, groups, eps, /*silu=*/false)) return *std::move(y);
  return at::group_norm(x, groups, w, b, eps);
}

at::Tensor GroupNorm::WithSilu(const at::Tensor& x, const at::Tensor& offset) const {
  const at::Tensor w = Cast(weight, x.scalar_type()), b = Cast(bias, x.scalar_type());
  if (auto y = CpuGroupNorm(x, w, b, offset, groups, eps, /*silu=*/true)) return *std::move(y);
  const at::Tensor sum = offset.defined() ? x + offset.unsqueeze(-1).unsqueeze(-1) : x;
  if (auto y = FusedGroupNorm(sum, w, b, groups, eps, /*silu=*/true)) return *std::move(y);
  return at::silu(at::group_norm(sum, groups, w, b, eps));
}

at::Tensor RmsNorm::operator()(const at::Tensor& x) const {
  return at::rms_norm(x, {x.size(-1)}, Cast(weight, x.scalar_type()), eps);
}

at::Tensor Attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads, bool causal) {
  const int64_t batch = q.size(0), width = q.size(2);
  const auto split = [&](const at::Tensor& x) {
    return x.view({batch, x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
  };
  const at::Tensor out = at::scaled_dot_product_attention(split(q), split(k), split(v), std::nullopt, 0.0, causal);
  return out.transpose(1, 2).reshape({batch, q.size(1), width});
}

at::Tensor HeadAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& bias,
                         std::optional<double> scale) {
  const std::optional<at::Tensor> mask = bias.defined() ? std::optional(bias) : std::nullopt;
  const at::Tensor out = at::scaled_dot_product_attention(q, k, v, mask, 0.0, false, scale);
  return out.transpose(1, 2).reshape({q.size(0), q.size(2), q.size(1) * q.size(3)});
}

at::Tensor SinusoidalEmbedding(const at::Tensor& t, int64_t dim) {
  const int64_t half = dim / 2;
  const auto options = at::TensorOptions(t.device()).dtype(at::kFloat);
  const at::Tensor freqs = at::exp(at::arange(half, options) * (-std::log(10000.0)) / static_cast<double>(half));
  const at::Tensor angles = t.to(at::kFloat).unsqueeze(1) * freqs.unsqueeze(0);
  at::Tensor out = at::cat({at::cos(angles), at::sin(angles)}, 1);
  if (dim % 2 != 0) out = at::constant_pad_nd(out, {0, 1});
  return out;
}

void LayerBuilder::Fail(const std::string& what) {
  if (status_.ok())
    status_ = InvalidArgument("file \"", weights_.file(), "\": ", what, "; download it again or choose another file");
}

Param LayerBuilder::Take(const std::string& name, std::initializer_list<int64_t> shape) {
  const at::Tensor tensor = weights_.Find(name);
  if (!tensor.defined()) {
    Fail(Cat("tensor \"", prefix_, name, "\" is missing"));
    return std::make_shared<ParamSlot>();
  }
  bool fits = static_cast<size_t>(tensor.dim()) == shape.size() && tensor.is_floating_point();
  for (size_t i = 0; fits && i < shape.size(); ++i) {
    const int64_t want = shape.begin()[i];
    fits = want == 0 ? tensor.size(static_cast<int64_t>(i)) > 0 : tensor.size(static_cast<int64_t>(i)) == want;
  }
  if (!fits) {
    Fail(Cat("tensor \"", prefix_, name, "\" is ", c10::toString(tensor.scalar_type()), " ", ShapeText(tensor.sizes()),
             ", expected floating point ", ShapeText(shape)));
  }
  return params_.Add(tensor, weights_.ExtrasOf(name));
}

Param LayerBuilder::TakeBias(const std::string& name, int64_t width, Bias bias) {
  if (bias == Bias::kNone || (bias == Bias::kOptional && !Has(name + ".bias"))) return nullptr;
  return Take(name + ".bias", {width});
}

Linear LayerBuilder::TakeLinear(const std::string& name, int64_t in, int64_t out, Bias bias) {
  Linear layer;
  const at::Tensor weight = weights_.Find(name + ".weight");
  if (weight.defined() && weight.dim() == 4 && weight.size(2) == 1 && weight.size(3) == 1) {
    if ((in != 0 && weight.size(1) != in) || (out != 0 && weight.size(0) != out)) {
      Fail(Cat("tensor \"", prefix_, name, ".weight\" is ", ShapeText(weight.sizes()), ", expected ",
               ShapeText({out, in, 1, 1})));
    }
    layer.weight = params_.Add(weight, weights_.ExtrasOf(name + ".weight"));
  } else {
    layer.weight = Take(name + ".weight", {out, in});
  }
  layer.bias = TakeBias(name, weights_.Dim(name + ".weight", 0), bias);
  return layer;
}

Conv2d LayerBuilder::TakeConv(const std::string& name, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                              int64_t padding, Bias bias) {
  Conv2d layer;
  layer.stride = stride;
  layer.padding = padding >= 0 ? padding : kernel / 2;
  layer.weight = Take(name + ".weight", {out, in, kernel, kernel});
  if (!layer.weight->decoder) layer.weight->packing = ConvPacking{layer.stride, layer.padding};
  layer.bias = TakeBias(name, weights_.Dim(name + ".weight", 0), bias);
  return layer;
}

Conv3d LayerBuilder::TakeConv3d(const std::string& name, int64_t in, int64_t out, const std::array<int64_t, 3>& kernel,
                                Bias bias) {
  Conv3d layer;
  layer.weight = Take(name + ".weight", {out, in, kernel[0], kernel[1], kernel[2]});
  layer.bias = TakeBias(name, weights_.Dim(name + ".weight", 0), bias);
  return layer;
}

LayerNorm LayerBuilder::TakeLayerNorm(const std::string& name, int64_t width, double eps, Bias bias) {
  LayerNorm layer;
  layer.weight = Take(name + ".weight", {width});
  layer.bias = TakeBias(name, width, bias);
  layer.eps = eps;
  return layer;
}

RmsNorm LayerBuilder::TakeRmsNorm(const std::string& tensor, int64_t width, double eps) {
  return {Take(tensor, {width}), eps};
}

GroupNorm LayerBuilder::TakeGroupNorm(const std::string& name, int64_t channels, double eps) {
  GroupNorm layer;
  layer.weight = Take(name + ".weight", {channels});
  layer.bias = Take(name + ".bias", {channels});
  layer.eps = eps;
  if (channels % layer.groups != 0)
    Fail(Cat("\"", prefix_, name, "\" has ", channels, " channels, which 32 does not divide"));
  return layer;
}

}  // namespace atelier::engine
