#include "worker/sampling/noise.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <algorithm>
#include <map>

namespace atelier::engine {
namespace {
constexpr int64_t kBatchIndexMax = 1 << 16;  // each index below the largest costs one draw
}

at::Generator MakeGenerator(const at::Device& device, uint64_t seed) {
  if (device.is_cpu()) return at::detail::createCPUGenerator(seed);
  at::Generator generator =
      at::globalContext().getAcceleratorHooksInterface(device.type()).getNewGenerator(device.index());
  generator.set_current_seed(seed);
  return generator;
}

at::Tensor Randn(at::IntArrayRef shape, at::Generator& generator, const at::Device& device) {
  return at::randn(shape, generator, at::TensorOptions().dtype(at::kFloat).device(device));
}

StatusOr<at::Tensor> PrepareNoise(at::IntArrayRef shape, uint64_t seed,
                                  const std::optional<std::vector<int64_t>>& batch_index) {
  at::Generator generator = MakeGenerator(at::kCPU, seed);
  if (!batch_index) return Randn(shape, generator, at::kCPU);
  if (static_cast<int64_t>(batch_index->size()) != shape[0])
    return InvalidArgument("latent has ", shape[0], " items but batch_index lists ", batch_index->size());
  const auto [low, high] = std::minmax_element(batch_index->begin(), batch_index->end());
  if (*low < 0 || *high > kBatchIndexMax)
    return InvalidArgument("batch_index holds ", *low < 0 ? *low : *high, ", expected 0..", kBatchIndexMax);
  std::vector<int64_t> item_shape(shape.begin(), shape.end());
  item_shape[0] = 1;
  std::map<int64_t, at::Tensor> kept;
  for (int64_t i = 0; i <= *high; ++i) {
    at::Tensor noise = Randn(item_shape, generator, at::kCPU);
    if (std::find(batch_index->begin(), batch_index->end(), i) != batch_index->end()) kept[i] = noise;
  }
  std::vector<at::Tensor> items;
  for (const int64_t i : *batch_index) items.push_back(kept[i]);
  return at::cat(items, 0);
}

}  // namespace atelier::engine
