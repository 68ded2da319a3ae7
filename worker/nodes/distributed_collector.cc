// Brings the results of all replicas together, in replica order. Source: spec distributed.md 1.2; design.md section 4.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct DistributedCollector {
  std::vector<Image> images;  // one a replica
  bool load_balance = false;
  std::vector<Audio> audio;

  static void Describe(NodeSchema<DistributedCollector>& s) {
    s.Name("Distributed Collector").Category("image").Gathers("load_balance");
    s.Description("Joins the pictures of all replicas into one batch, in their order.");
    s.Input<&DistributedCollector::images>("images").Tooltip("The pictures of one replica.");
    s.Input<&DistributedCollector::load_balance>("load_balance")
        .Default(false)
        .Tooltip("One replica only, on the worker that is free first.");
    s.Input<&DistributedCollector::audio>("audio").Optional().Tooltip("The sound of one replica.");
    s.Output<Image>("images").Output<Audio>("audio");
  }

  StatusOr<Image> JoinImages() const {
    if (images.empty()) return InvalidArgument("images are missing");
    std::vector<at::Tensor> parts;
    for (size_t i = 0; i < images.size(); ++i) {
      const at::Tensor& p = images[i].pixels;
      if (!p.defined() || p.dim() != 4) return InvalidArgument("replica ", i, " gave no batch of pictures");
      if (p.size(0) == 0) continue;
      if (!parts.empty() && p.sizes().slice(1) != parts[0].sizes().slice(1))
        return InvalidArgument("replica ", i, " gave pictures of ", ShapeText(p.sizes().slice(1)), ", expected ",
                               ShapeText(parts[0].sizes().slice(1)),
                               " (height x width x channels) as the replicas before");
      parts.push_back(p);
    }
    if (parts.empty()) return images[0];
    return Image{parts.size() == 1 ? parts[0] : at::cat(parts, 0)};
  }

  StatusOr<Audio> JoinAudio() const {
    std::vector<at::Tensor> parts;
    int64_t rate = 44100;
    for (size_t i = 0; i < audio.size(); ++i) {
      const at::Tensor& w = audio[i].waveform;
      if (!w.defined() || w.numel() == 0) continue;
      if (w.dim() != 3) return InvalidArgument("replica ", i, " gave a sound of ", w.dim(), " dimensions, expected 3");
      if (!parts.empty()) {
        if (audio[i].sample_rate != rate)
          return InvalidArgument("replica ", i, " gave a sound of ", audio[i].sample_rate, " Hz, expected ", rate,
                                 " Hz as the replicas before");
        if (w.size(0) != parts[0].size(0) || w.size(1) != parts[0].size(1))
          return InvalidArgument("replica ", i, " gave a sound of ", w.size(1), " channels, expected ",
                                 parts[0].size(1), " as the replicas before");
      }
      rate = audio[i].sample_rate;
      parts.push_back(w);
    }
    if (parts.empty()) return Audio{at::zeros({1, 2, 1}, at::kFloat), 44100};
    return Audio{parts.size() == 1 ? parts[0] : at::cat(parts, 2), rate};
  }

  StatusOr<std::tuple<Image, Audio>> Run(NodeContext&) const {
    return Guard([&]() -> StatusOr<std::tuple<Image, Audio>> {
      ASSIGN_OR_RETURN(Image image, JoinImages());
      ASSIGN_OR_RETURN(Audio sound, JoinAudio());
      return std::tuple(std::move(image), std::move(sound));
    });
  }
};
ATELIER_REGISTER_NODE(DistributedCollector);

}  // namespace
}  // namespace atelier::nodes
