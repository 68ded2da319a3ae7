#include "worker/engine/packed_conv.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <string_view>

namespace atelier::engine {
namespace {

using Pack = at::Tensor(const at::Tensor&, c10::IntArrayRef, c10::IntArrayRef, c10::IntArrayRef, int64_t,
                        c10::OptionalArrayRef<int64_t>);
using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, at::IntArrayRef,
                             at::IntArrayRef, at::IntArrayRef, int64_t, std::string_view,
                             c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);

template <typename F>
c10::TypedOperatorHandle<F> Operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<F>();
}

}  // namespace

at::Tensor Packed(const at::Tensor& weight, int64_t stride, int64_t padding, at::OptionalIntArrayRef picture) {
  static const auto pack = Operator<Pack>("mkldnn::_reorder_convolution_weight");
  return pack.call(weight.contiguous(), {padding, padding}, {stride, stride}, {1, 1}, 1, picture);
}

at::Tensor Unpacked(const at::Tensor& packed) { return packed.to_dense(); }

at::Tensor PackedConv(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& bias, int64_t stride,
                      int64_t padding) {
  static const auto convolve = Operator<Pointwise>("mkldnn::_convolution_pointwise");
  const std::optional<at::Tensor> given = bias.defined() ? std::optional(bias) : std::nullopt;
  return convolve.call(x, packed, given, {padding, padding}, {stride, stride}, {1, 1}, 1, "none",
                       c10::List<std::optional<at::Scalar>>(), "");
}

}  // namespace atelier::engine
