// SRVGGNetCompact (Real-ESRGAN's small networks): convolutions with PReLU, a pixel shuffle, plus the enlarged input.
// Source: spec extras.md 5.7.
#include <vector>

#include "worker/engine/layers.h"
#include "worker/models/family.h"
#include "worker/models/network.h"

namespace atelier::models::compact {
namespace {

class Compact final : public engine::UpscaleNetwork {
 public:
  explicit Compact(engine::Engine& engine) : params_(engine.device(), engine::Part::kUpscaler, engine.residency()) {}

  Status Build(const engine::WeightSource& w) {
    engine::LayerBuilder b(w, params_);
    const int64_t last = w.CountBlocks("body.") - 1;
    int64_t channels = w.Dim("body.0.weight", 1);
    if (channels != 3) b.Fail(Cat("an upscale model for ", channels, " channels, expected 3"));
    for (int64_t i = 0; i <= last && b.status().ok(); i += 2) {
      const int64_t out = w.Dim(Cat("body.", i, ".weight"), 0);
      convs_.push_back(b.TakeConv(Cat("body.", i), channels, out, 3));
      if (i < last) slopes_.push_back(b.Take(Cat("body.", i + 1, ".weight"), {out}));
      channels = out;
    }
    while (3 * (scale_ + 1) * (scale_ + 1) <= channels) ++scale_;
    if (last % 2 != 0 || 3 * scale_ * scale_ != channels)
      b.Fail(Cat("its last layer has ", channels, " channels, expected 3 n^2"));
    return b.status();
  }

  int64_t scale() const override { return scale_; }
  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& x) const override {
    params_.Load();
    at::Tensor h = x;
    for (size_t i = 0; i < convs_.size(); ++i) {
      h = convs_[i](h);
      if (i < slopes_.size()) h = at::prelu(h, engine::Cast(slopes_[i], h.scalar_type()));
    }
    const at::Tensor base = at::upsample_nearest2d(x, {x.size(2) * scale_, x.size(3) * scale_});
    return at::pixel_shuffle(h, scale_) + base;
  }

 private:
  mutable engine::ParamSet params_;
  std::vector<engine::Conv2d> convs_;
  std::vector<engine::Param> slopes_;
  int64_t scale_ = 1;
};

bool Detect(const engine::WeightSource& w) {
  return w.Dim("body.0.weight", 3) == 3 && w.Has("body.1.weight") && w.Find("body.1.weight").dim() == 1;
}

StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> Build(const engine::WeightSource& w, engine::Engine& engine) {
  return BuildNetwork<engine::UpscaleNetwork, Compact>(w, engine);
}

ATELIER_REGISTER_UPSCALER("compact", 0, {Detect, Build});

}  // namespace
}  // namespace atelier::models::compact
