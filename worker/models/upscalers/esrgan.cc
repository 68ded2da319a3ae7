// The ESRGAN family (RRDBNet): ESRGAN, Real-ESRGAN with or without pixel unshuffle, BSRGAN, ESRGAN+. Source: spec
// extras.md 5.6.
#include <array>
#include <cctype>
#include <charconv>
#include <set>
#include <string_view>
#include <vector>

#include "worker/engine/layers.h"
#include "worker/models/family.h"
#include "worker/models/network.h"

namespace atelier::models::esrgan {
namespace {

using engine::Conv2d;
using engine::WeightSource;

struct DenseBlock {
  std::array<Conv2d, 5> conv;
  Conv2d extra;  // ESRGAN+ only: 1x1 around conv2

  static at::Tensor Activate(const at::Tensor& x) { return at::leaky_relu(x, 0.2); }
  at::Tensor operator()(const at::Tensor& x) const {
    const at::Tensor x1 = Activate(conv[0](x));
    at::Tensor x2 = Activate(conv[1](at::cat({x, x1}, 1)));
    if (extra.weight != nullptr) x2 = x2 + extra(x);
    const at::Tensor x3 = Activate(conv[2](at::cat({x, x1, x2}, 1)));
    at::Tensor x4 = Activate(conv[3](at::cat({x, x1, x2, x3}, 1)));
    if (extra.weight != nullptr) x4 = x4 + x2;
    return conv[4](at::cat({x, x1, x2, x3, x4}, 1)) * 0.2 + x;
  }
};

class Rrdb final : public engine::UpscaleNetwork {
 public:
  explicit Rrdb(engine::Engine& engine) : params_(engine.device(), engine::Part::kUpscaler, engine.residency()) {}

  Status Build(const WeightSource& w) {
    engine::LayerBuilder b(w, params_);
    const int64_t in = w.Dim("model.0.weight", 1), features = w.Dim("model.0.weight", 0);
    first_ = b.TakeConv("model.0", in, features, 3);
    const int64_t blocks = w.CountBlocks("model.1.sub.") - 1;
    for (int64_t i = 0; i < blocks && b.status().ok(); ++i) {
      std::array<DenseBlock, 3>& block = blocks_.emplace_back();
      for (int64_t r = 0; r < 3; ++r) {
        const std::string at = Cat("model.1.sub.", i, ".RDB", r + 1, ".conv");
        DenseBlock& dense = block[static_cast<size_t>(r)];
        const int64_t growth = w.Dim(at + "1.0.weight", 0);
        for (int64_t c = 0; c < 5; ++c) {
          dense.conv[static_cast<size_t>(c)] =
              b.TakeConv(Cat(at, c + 1, ".0"), features + c * growth, c < 4 ? growth : features, 3);
        }
        if (b.Has(at + "1x1.weight"))
          dense.extra = b.TakeConv(at + "1x1", features, growth, 1, 1, 0, engine::Bias::kNone);
      }
    }
    trunk_ = b.TakeConv(Cat("model.1.sub.", blocks), features, features, 3);
    // "model.3", "model.6", ... enlarge; the last two layers are the tail.
    std::set<int64_t> numbers;  // by any tensor of theirs, so that a missing one is noticed
    for (const auto& [name, tensor] : w.tensors()) {
      int64_t n = 0;
      if (!name.starts_with("model.")) continue;
      const auto parsed = std::from_chars(name.data() + 6, name.data() + name.size(), n);
      const std::string_view kind(parsed.ptr, static_cast<size_t>(name.data() + name.size() - parsed.ptr));
      if (parsed.ec == std::errc() && n > 1 && (kind == ".weight" || kind == ".bias")) numbers.insert(n);
    }
    const std::vector<int64_t> layers(numbers.begin(), numbers.end());
    if (layers.size() < 2) {
      b.Fail("the layers at its end are missing");
      return b.status();
    }
    for (size_t i = 0; i + 2 < layers.size(); ++i)
      ups_.push_back(b.TakeConv(Cat("model.", layers[i]), features, features, 3));
    high_ = b.TakeConv(Cat("model.", layers[layers.size() - 2]), features, features, 3);
    const int64_t out = w.Dim(Cat("model.", layers.back(), ".weight"), 0);
    last_ = b.TakeConv(Cat("model.", layers.back()), features, out, 3);
    for (const int64_t u : {2, 4}) {
      if (in == out * u * u) unshuffle_ = u;
    }
    if (out != 3 || in != 3 * unshuffle_ * unshuffle_)
      b.Fail(Cat("it maps ", in, " channels to ", out, ", expected images of 3"));
    if (ups_.size() > 4) b.Fail(Cat("it enlarges ", ups_.size(), " times"));
    const int64_t net_scale = int64_t{1} << ups_.size();
    if (net_scale < unshuffle_) b.Fail("it would make images smaller");
    scale_ = net_scale / unshuffle_;
    return b.status();
  }

  int64_t scale() const override { return scale_; }
  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input) const override {
    params_.Load();
    const int64_t h = input.size(2), w = input.size(3);
    at::Tensor x = unshuffle_ > 1 ? PadToMultiple(input, 4, 4) : PadToMultiple(input, 2, 1);
    if (unshuffle_ > 1) x = at::pixel_unshuffle(x, unshuffle_);
    const at::Tensor f = first_(x);
    at::Tensor t = f;
    for (const std::array<DenseBlock, 3>& block : blocks_) t = block[2](block[1](block[0](t))) * 0.2 + t;
    t = f + trunk_(t);
    for (const Conv2d& up : ups_) {
      t = DenseBlock::Activate(up(at::upsample_nearest2d(t, {t.size(2) * 2, t.size(3) * 2})));
    }
    const at::Tensor y = last_(DenseBlock::Activate(high_(t)));
    return y.narrow(2, 0, h * scale_).narrow(3, 0, w * scale_);
  }

 private:
  mutable engine::ParamSet params_;
  Conv2d first_, trunk_, high_, last_;
  std::vector<std::array<DenseBlock, 3>> blocks_;
  std::vector<Conv2d> ups_;
  int64_t unshuffle_ = 1, scale_ = 1;
};

bool IsOld(const WeightSource& w) {
  return w.Has("model.0.weight") &&
         (w.Has("model.1.sub.0.RDB1.conv1.0.weight") || w.Has("model.1.sub.0.RDB1.conv1x1.weight"));
}

bool Detect(const WeightSource& w) {
  return IsOld(w) || (w.Has("conv_first.weight") && w.Has("conv_last.weight") &&
                      (w.Has("body.0.rdb1.conv1.weight") || w.Has("RRDB_trunk.0.RDB1.conv1.weight")));
}

// The newer names in the old layout.
WeightSource ToOldNames(const WeightSource& w) {
  if (IsOld(w)) return w;
  const std::string trunk = w.HasPrefix("RRDB_trunk.") ? "RRDB_trunk." : "body.";
  const int64_t blocks = w.CountBlocks(trunk);
  int64_t ups = 0;
  while (w.HasPrefix(Cat("conv_up", ups + 1, ".")) || w.HasPrefix(Cat("upconv", ups + 1, "."))) ++ups;
  WeightSource::Tensors out;
  for (const auto& [name, tensor] : w.tensors()) {
    const size_t dot = name.rfind('.');
    if (dot == std::string::npos) continue;
    const std::string layer = name.substr(0, dot), kind = name.substr(dot);
    std::string to;
    if (layer == "conv_first") to = "model.0";
    if (layer == "conv_body" || layer == "trunk_conv") to = Cat("model.1.sub.", blocks);
    if (layer == "conv_hr" || layer == "HRconv") to = Cat("model.", 3 * ups + 2);
    if (layer == "conv_last") to = Cat("model.", 3 * ups + 4);
    for (const std::string prefix : {"conv_up", "upconv"}) {
      if (layer.starts_with(prefix) && layer.size() == prefix.size() + 1) to = Cat("model.", 3 * (layer.back() - '0'));
    }
    if (layer.starts_with(trunk)) {
      // "body.B.rdbR.convC" to "model.1.sub.B.RDBR.convC.0"
      std::string rest = layer.substr(trunk.size());
      if (const size_t rdb = rest.find(".rdb"); rdb != std::string::npos) rest.replace(rdb, 4, ".RDB");
      to = "model.1.sub." + rest + ".0";
    }
    if (!to.empty()) out.emplace(to + kind, tensor);
  }
  return WeightSource(w.file(), std::move(out));
}

StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> Build(const WeightSource& w, engine::Engine& engine) {
  return BuildNetwork<engine::UpscaleNetwork, Rrdb>(ToOldNames(w), engine);
}

ATELIER_REGISTER_UPSCALER("esrgan", 10, {Detect, Build});

}  // namespace
}  // namespace atelier::models::esrgan
