// Cuts batches into equal parts, or into what replicas gave. Source: spec distributed.md 1.5, 1.6.
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

// The same, but as many parts as replicas gave are those replicas' own, whatever their lengths.
std::vector<at::Tensor> DivideOrPart(const at::Tensor& whole, int64_t dim, int64_t parts,
                                     const std::vector<at::Tensor>& joined) {
  int64_t length = 0;
  for (const at::Tensor& one : joined) length += one.defined() && one.dim() > dim ? one.size(dim) : 0;
  if (static_cast<int64_t>(joined.size()) != parts || parts > kParts || length != whole.size(dim))
    return Divide(whole, dim, parts);
  std::vector<at::Tensor> divided;
  int64_t begin = 0;
  for (int64_t i = 0; i < kParts; ++i) {
    const at::Tensor* one = i < parts ? &joined[static_cast<size_t>(i)] : nullptr;
    const int64_t size = one != nullptr && one->defined() && one->dim() > dim ? one->size(dim) : 0;
    divided.push_back(whole.narrow(dim, begin, size).contiguous());
    begin += size;
  }
  return divided;
}

struct ImageBatchDivider {
  Image images;
  int64_t divide_by = 2;
  std::vector<Image> clips;  // what a collector joined to `images`, one a replica; bound by the planner

  static void Describe(NodeSchema<ImageBatchDivider>& s) {
    s.Name("Image Batch Divider")
        .Category("image")
        .OutputNode()
        .Description("Cuts a batch into parts: as many as replicas are theirs, else they have equal lengths.");
    s.Input<&ImageBatchDivider::images>("images").Tooltip("The pictures.");
    s.Input<&ImageBatchDivider::divide_by>("divide_by").Default(2).Range(1, 10).Step(1).Tooltip("Into how many parts.");
    s.Input<&ImageBatchDivider::clips>("clips").Hidden();
    for (int64_t i = 1; i <= kParts; ++i) s.Output<Image>(Cat("batch_", i));
  }
  StatusOr<std::vector<Value>> Run(NodeContext&) const {
    if (!images.pixels.defined() || images.pixels.dim() != 4)
      return InvalidArgument("images hold no batch of pictures");
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      std::vector<Value> values;
      std::vector<at::Tensor> lengths;
      for (const Image& clip : clips) lengths.push_back(clip.pixels);
      for (at::Tensor& part : DivideOrPart(images.pixels, 0, divide_by, lengths))
        values.push_back(Value::Of<Image>("IMAGE", Image{part}));
      return values;
    });
  }
};
ATELIER_REGISTER_NODE(ImageBatchDivider);

struct AudioBatchDivider {
  Audio audio;
  int64_t divide_by = 2;
  std::vector<Audio> clips;  // as of ImageBatchDivider

  static void Describe(NodeSchema<AudioBatchDivider>& s) {
    s.Name("Audio Batch Divider")
        .Category("audio")
        .OutputNode()
        .Description("Cuts a sound into parts: as many as replicas are theirs, else they have equal lengths.");
    s.Input<&AudioBatchDivider::audio>("audio").Tooltip("The sound.");
    s.Input<&AudioBatchDivider::divide_by>("divide_by").Default(2).Range(1, 10).Step(1).Tooltip("Into how many parts.");
    s.Input<&AudioBatchDivider::clips>("clips").Hidden();
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
      std::vector<at::Tensor> lengths;
      for (const Audio& clip : clips) lengths.push_back(clip.waveform);
      for (at::Tensor& part : DivideOrPart(wave, wave.dim() - 1, divide_by, lengths))
        values.push_back(Value::Of<Audio>("AUDIO", Audio{part, audio.sample_rate}));
      return values;
    });
  }
};
ATELIER_REGISTER_NODE(AudioBatchDivider);

}  // namespace
}  // namespace atelier::nodes
