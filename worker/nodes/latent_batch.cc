// Parts and repeats of latent batches. Source: spec engine.md 4.8 (batch_index), 12.4.
#include <algorithm>

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// The noise mask with one item for each of the latent's, or as it is when it has one for all.
at::Tensor MaskPerItem(const Latent& latent) {
  if (latent.noise_mask.size(0) == 1) return latent.noise_mask;
  return RepeatToBatch(latent.noise_mask, latent.samples.size(0));
}

struct LatentFromBatch {
  Latent samples;
  int64_t batch_index = 0, length = 1;

  static void Describe(NodeSchema<LatentFromBatch>& s) {
    s.Name("Latent From Batch")
        .Category("latent/batch")
        .Description("Takes items of a batch; each keeps its own noise.");
    s.Input<&LatentFromBatch::samples>("samples");
    s.Input<&LatentFromBatch::batch_index>("batch_index").Default(0).Range(0, 63);
    s.Input<&LatentFromBatch::length>("length").Default(1).Range(1, 64);
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    return Guard([&] {
      const int64_t items = samples.samples.size(0);
      const int64_t first = std::clamp<int64_t>(batch_index, 0, items - 1);
      const int64_t count = std::clamp<int64_t>(length, 1, items - first);
      Latent result = samples;
      result.samples = samples.samples.narrow(0, first, count).clone();
      if (samples.noise_mask.defined()) {
        const at::Tensor mask = MaskPerItem(samples);
        result.noise_mask = mask.size(0) == 1 ? mask : mask.narrow(0, first, count).clone();
      }
      std::vector<int64_t> index;
      for (int64_t i = first; i < first + count; ++i)
        index.push_back(samples.batch_index ? samples.batch_index->at(static_cast<size_t>(i)) : i);
      result.batch_index = std::move(index);
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(LatentFromBatch);

struct RepeatLatentBatch {
  Latent samples;
  int64_t amount = 1;

  static void Describe(NodeSchema<RepeatLatentBatch>& s) {
    s.Name("Repeat Latent Batch").Category("latent/batch").Description("Repeats a batch some times.");
    s.Input<&RepeatLatentBatch::samples>("samples");
    s.Input<&RepeatLatentBatch::amount>("amount").Default(1).Range(1, 64);
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    RETURN_IF_ERROR(CheckTensorSize("repeated latent", {samples.samples.numel(), amount}));
    return Guard([&] {
      Latent result = samples;
      result.samples = RepeatToBatch(samples.samples, samples.samples.size(0) * amount).contiguous();
      if (samples.noise_mask.defined() && samples.noise_mask.size(0) > 1) {
        const at::Tensor mask = MaskPerItem(samples);
        result.noise_mask = RepeatToBatch(mask, mask.size(0) * amount).contiguous();
      }
      if (samples.batch_index && !samples.batch_index->empty()) {
        const auto [low, high] = std::minmax_element(samples.batch_index->begin(), samples.batch_index->end());
        const int64_t offset = *high - *low + 1;
        std::vector<int64_t> index;
        for (int64_t i = 0; i < amount; ++i)
          for (const int64_t item : *samples.batch_index) index.push_back(item + i * offset);
        result.batch_index = std::move(index);
      }
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(RepeatLatentBatch);

}  // namespace
}  // namespace atelier::nodes
