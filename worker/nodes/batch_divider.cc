// Cuts batches into equal parts. Source: spec distributed.md 1.5, 1.6.
#include <algorithm>

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kParts = 10;  // outputs of both nodes

// Contiguous parts of dimension `dim`, the first ones longer by one; those after the n-th are empty.
std::vector<at::Tensor> Divide(const at::Tensor& whole, int64_t dim, int64_t parts) {
  const int64_t n = std::clamp<int64_t>(parts, 1, kParts), size = whole.size(dim);
  std::vector<at::Tensor> divided;
  int64_t begin = 0;
  for (int64_t i = 0; i < kParts; ++i) {
    const int64_t length = i < n ? size / n + (i < size % n ? 1 : 0) : 0;
    divided.push_back(whole.narrow(dim, begin, length).contiguous());
    begin += length;
  }
  return divided;
}

struct ImageBatchDivider {
  Image images;
  int64_t divide_by = 2;

  static void Describe(NodeSchema<ImageBatchDivider>& s) {
    s.Name("Image Batch Divider")
        .Category("image")
        .OutputNode()
        .Description("Cuts a batch into parts of equal length.");
    s.Input<&ImageBatchDivider::images>("images").Tooltip("The pictures.");
    s.Input<&ImageBatchDivider::divide_by>("divide_by").Default(2).Range(1, 10).Step(1).Tooltip("Into how many parts.");
    for (int64_t i = 1; i <= kParts; ++i) s.Output<Image>(Cat("batch_", i));
  }
  StatusOr<std::vector<Value>> Run(NodeContext&) const {
    if (!images.pixels.defined() || images.pixels.dim() != 4)
      return InvalidArgument("images hold no batch of pictures");
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      std::vector<Value> values;
      for (at::Tensor& part : Divide(images.pixels, 0, divide_by))
        values.push_back(Value::Of<Image>("IMAGE", Image{part}));
      return values;
    });
  }
};
ATELIER_REGISTER_NODE(ImageBatchDivider);

struct AudioBatchDivider {
  Audio audio;
  int64_t divide_by = 2;

  static void Describe(NodeSchema<AudioBatchDivider>& s) {
    s.Name("Audio Batch Divider")
        .Category("audio")
        .OutputNode()
        .Description("Cuts a sound into parts of equal length.");
    s.Input<&AudioBatchDivider::audio>("audio").Tooltip("The sound.");
    s.Input<&AudioBatchDivider::divide_by>("divide_by").Default(2).Range(1, 10).Step(1).Tooltip("Into how many parts.");
    for (int64_t i = 1; i <= kParts; ++i) s.Output<Audio>(Cat("audio_", i));
  }
  StatusOr<std::vector<Value>> Run(NodeContext&) const {
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      std::vector<Value> values;
      const at::Tensor& wave = audio.waveform;
      if (!wave.defined() || wave.numel() == 0) {
        for (int64_t i = 0; i < kParts; ++i)
          values.push_back(Value::Of<Audio>("AUDIO", Audio{at::zeros({1, 2, 1}, at::kFloat), 44100}));
        return values;
      }
      for (at::Tensor& part : Divide(wave, wave.dim() - 1, divide_by))
        values.push_back(Value::Of<Audio>("AUDIO", Audio{part, audio.sample_rate}));
      return values;
    });
  }
};
ATELIER_REGISTER_NODE(AudioBatchDivider);

}  // namespace
}  // namespace atelier::nodes
