// Parts and repeats of latent batches. Source: spec engine.md 4.8 (batch_index), 12.4.
#include <algorithm>

#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// The noise mask with one item for each of the latent's, or as it is when it has one for all.
at::Tensor MaskPerItem(const Latent& latent) {
  if (latent.noise_mask.size(0) == 1) return latent.noise_mask;
  return RepeatToBatch(latent.noise_mask, latent.samples.size(0));
}

// The noise index of each item.
std::vector<int64_t> NoiseIndex(const Latent& latent) {
  if (latent.batch_index) return *latent.batch_index;
  std::vector<int64_t> index;
  for (int64_t i = 0; i < latent.samples.size(0); ++i) index.push_back(i);
  return index;
}

struct LatentFromBatch {
  Latent samples;
  int64_t batch_index = 0, length = 1;

  static void Describe(NodeSchema<LatentFromBatch>& s) {
    s.Name("Latent From Batch")
        .Category("latent/batch")
        .Description("Takes items of a batch; each keeps its own noise.");
    s.Input<&LatentFromBatch::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentFromBatch::batch_index>("batch_index")
        .Default(0)
        .Range(0, 63)
        .Tooltip("The first item to take, from 0.");
    s.Input<&LatentFromBatch::length>("length").Default(1).Range(1, 64).Tooltip("How many items.");
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
    s.Input<&RepeatLatentBatch::samples>("samples").Tooltip("The latents.");
    s.Input<&RepeatLatentBatch::amount>("amount").Default(1).Range(1, 64).Tooltip("How many times.");
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

struct LatentBatch {
  Latent samples1;
  Latent samples2;

  static void Describe(NodeSchema<LatentBatch>& s) {
    s.Name("LatentBatch")
        .Category("latent/batch")
        .Description("Joins two batches; the second takes the size of the first.");
    s.Input<&LatentBatch::samples1>("samples1").Tooltip("The first latents.");
    s.Input<&LatentBatch::samples2>("samples2").Tooltip("The second latents, brought to the size of the first.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples1", samples1));
    RETURN_IF_ERROR(CheckSamples("samples2", samples2));
    at::Tensor second = samples2.samples;
    if (second.dim() != samples1.samples.dim() || second.size(1) != samples1.samples.size(1))
      return InvalidArgument("samples2 is ", ShapeText(second.sizes()), ", which does not go with samples1 of ",
                             ShapeText(samples1.samples.sizes()));
    if (second.size(-1) != samples1.samples.size(-1) || second.size(-2) != samples1.samples.size(-2)) {
      ASSIGN_OR_RETURN(
          second, ResizeSamples(second, samples1.samples.size(-1), samples1.samples.size(-2), "bilinear", "center"));
    }
    return Guard([&]() -> StatusOr<Latent> {
      Latent result = samples1;
      result.samples = at::cat({samples1.samples, second}, 0);
      std::vector<int64_t> index = NoiseIndex(samples1);
      for (const int64_t i : NoiseIndex(samples2)) index.push_back(i);
      result.batch_index = std::move(index);
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(LatentBatch);

struct LatentBatchSeedBehavior {
  Latent samples;
  std::string seed_behavior = "fixed";

  static void Describe(NodeSchema<LatentBatchSeedBehavior>& s) {
    s.Name("LatentBatchSeedBehavior")
        .Category("latent/advanced")
        .Description("Chooses whether the items of a batch get different noise.");
    s.Input<&LatentBatchSeedBehavior::samples>("samples").Tooltip("The latents.");
    s.Input<&LatentBatchSeedBehavior::seed_behavior>("seed_behavior")
        .OneOf({"random", "fixed"})
        .Default("fixed")
        .Tooltip("fixed gives every item the noise of the first.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    Latent result = samples;
    if (seed_behavior == "random")
      result.batch_index.reset();
    else
      result.batch_index.emplace(
          static_cast<size_t>(samples.samples.size(0)),
          samples.batch_index && !samples.batch_index->empty() ? samples.batch_index->front() : 0);
    return result;
  }
};
ATELIER_REGISTER_NODE(LatentBatchSeedBehavior);

}  // namespace
}  // namespace atelier::nodes
