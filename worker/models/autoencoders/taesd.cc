// TAESD: tiny autoencoders that come close to those of SD, SDXL, SD3 and Flux at a fraction of the time. Both halves
// are sequences of numbered layers; some files of decoders count the clamp in front, which has no weights, others do
// not. Source: spec engine.md 6.2, 6.4; madebyollin/taesd (MIT).
#include <array>
#include <functional>
#include <set>
#include <utility>
#include <vector>

#include "worker/engine/layers.h"
#include "worker/models/family.h"
#include "worker/models/network.h"
#include "worker/models/saving.h"
#include "worker/models/vae_parts.h"

namespace atelier::models::taesd {
namespace {

using engine::Bias;
using engine::Conv2d;
using engine::LayerBuilder;

constexpr char kEncoder[] = "taesd_encoder.", kDecoder[] = "taesd_decoder.";
constexpr int64_t kLevelsMax = 8;

struct Block {
  std::array<Conv2d, 3> convs;
  Conv2d skip;  // absent where the width stays

  at::Tensor operator()(const at::Tensor& x) const {
    at::Tensor h = convs[2](convs[1](convs[0](x).relu_()).relu_());
    return h.add_(skip.weight != nullptr ? skip(x) : x).relu_();
  }
};

class TinyAutoencoder final : public PictureAutoencoder {
 public:
  using PictureAutoencoder::PictureAutoencoder;

  Status Build(const engine::WeightSource& w) {
    LayerBuilder b(w, params_);
    const int64_t halved = TakeEncoder(b), doubled = TakeDecoder(b);
    if (b.status().ok() && halved != doubled)
      b.Fail(Cat("its encoder halves a picture ", halved, " times, its decoder doubles it ", doubled, " times"));
    for (const auto& [name, tensor] : w.tensors()) {
      if ((name.starts_with(kEncoder) || name.starts_with(kDecoder)) && !taken_.contains(name))
        b.Fail(Cat("tensor \"", name, "\" belongs to no layer of a tiny autoencoder, or the layer before is missing"));
    }
    ratio_ = int64_t{1} << halved;
    scale_ = Number(b, "vae_scale", 1.0);
    shift_ = Number(b, "vae_shift", 0.0);
    if (!(scale_ > 0.0)) b.Fail(Cat("\"vae_scale\" is ", scale_, ", expected a number above 0"));
    return b.status();
  }

 private:
  using Layer = std::function<at::Tensor(const at::Tensor&)>;

  Conv2d TakeConv(LayerBuilder& b, const std::string& name, int64_t in, int64_t out, int64_t kernel, int64_t stride,
                  Bias bias) {
    taken_.insert(name + ".weight");
    if (bias == Bias::kRequired) taken_.insert(name + ".bias");
    return b.TakeConv(name, in, out, kernel, stride, -1, bias);
  }

  Block TakeBlock(LayerBuilder& b, const std::string& name, int64_t& channels) {
    Block block;
    const int64_t in = channels;
    for (size_t i = 0; i < block.convs.size(); ++i) {
      const std::string conv = Cat(name, ".conv.", 2 * i);
      const int64_t out = b.weights().Dim(conv + ".weight", 0);
      block.convs[i] = TakeConv(b, conv, channels, out, 3, 1, Bias::kRequired);
      channels = out;
    }
    if (in != channels) block.skip = TakeConv(b, name + ".skip", in, channels, 1, 1, Bias::kNone);
    return block;
  }

  // How often the picture is halved: by each convolution without a bias.
  int64_t TakeEncoder(LayerBuilder& b) {
    int64_t channels = 3, halved = 0;
    bool ended = false;  // by a convolution with a bias
    for (int64_t n = 0; b.status().ok() && halved <= kLevelsMax; ++n) {
      const std::string name = Cat(kEncoder, n);
      if (b.Has(name + ".conv.0.weight")) {
        encoder_.emplace_back(TakeBlock(b, name, channels));
        ended = false;
        continue;
      }
      if (n > 0 && !b.Has(name + ".weight")) break;
      const int64_t out = b.weights().Dim(name + ".weight", 0);
      ended = n == 0 || b.Has(name + ".bias");
      encoder_.emplace_back(TakeConv(b, name, channels, out, 3, ended ? 1 : 2, ended ? Bias::kRequired : Bias::kNone));
      if (!ended) ++halved;
      channels = out;
    }
    z_ = channels;
    if (b.status().ok() && (!ended || encoder_.size() < 2))
      b.Fail(Cat("its encoder does not end with a convolution with a bias, after ", encoder_.size(), " layers"));
    if (halved > kLevelsMax) b.Fail(Cat("an encoder of more than ", kLevelsMax, " levels"));
    return halved;
  }

  // How often the latent is doubled: before each convolution without a bias.
  int64_t TakeDecoder(LayerBuilder& b) {
    int64_t n = b.Has(Cat(kDecoder, 0, ".weight")) ? 0 : 1, doubled = 0;
    const std::string first = Cat(kDecoder, n);
    int64_t channels = b.weights().Dim(first + ".weight", 0);
    const Conv2d in = TakeConv(b, first, z_, channels, 3, 1, Bias::kRequired);
    decoder_.emplace_back([in](const at::Tensor& x) { return in(x).relu_(); });
    n += 2;  // a ReLU lies between
    while (b.status().ok() && doubled <= kLevelsMax) {
      const std::string name = Cat(kDecoder, n), next = Cat(kDecoder, n + 1);
      if (b.Has(name + ".conv.0.weight")) {
        decoder_.emplace_back(TakeBlock(b, name, channels));
        ++n;
      } else if (b.Has(next + ".weight")) {
        const int64_t out = b.weights().Dim(next + ".weight", 0);
        const Conv2d conv = TakeConv(b, next, channels, out, 3, 1, Bias::kNone);
        decoder_.emplace_back([conv](const at::Tensor& x) {
          return conv(at::upsample_nearest2d(x, {x.size(2) * 2, x.size(3) * 2}));
        });
        channels = out;
        n += 2;
        ++doubled;
      } else {
        decoder_.emplace_back(TakeConv(b, name, channels, 3, 3, 1, Bias::kRequired));
        break;
      }
    }
    if (doubled > kLevelsMax) b.Fail(Cat("a decoder of more than ", kLevelsMax, " levels"));
    return doubled;
  }

  static double Number(LayerBuilder& b, const char* name, double otherwise) {
    const at::Tensor value = b.weights().Find(name);
    if (!value.defined()) return otherwise;
    if (value.numel() != 1 || !value.is_floating_point() || b.weights().ExtrasOf(name) != nullptr) {
      b.Fail(Cat("tensor \"", name, "\" has ", value.numel(), " elements, expected one number"));
      return otherwise;
    }
    return value.item<double>();
  }

  at::Tensor Run(const std::vector<Layer>& layers, const at::Tensor& input) const {
    at::Tensor x = Prepare(input);
    for (const Layer& layer : layers) x = layer(x);
    return x.to(at::kFloat);
  }
  at::Tensor EncodeRaw(const at::Tensor& image) const override {
    return Run(encoder_, image * 0.5 + 0.5) / scale_ + shift_;
  }
  at::Tensor DecodeRaw(const at::Tensor& latent) const override {
    return (Run(decoder_, at::tanh((latent - shift_) * scale_ / 3.0) * 3.0) - 0.5) * 2.0;
  }

  std::set<std::string> taken_;
  double scale_ = 1.0, shift_ = 0.0;
  std::vector<Layer> encoder_, decoder_;
};

bool Detect(const engine::WeightSource& w) { return w.HasPrefix(kDecoder); }

StatusOr<std::shared_ptr<const engine::Autoencoder>> Build(const engine::WeightSource& w, engine::Engine& engine) {
  return BuildNetwork<engine::Autoencoder, TinyAutoencoder>(w, engine, w);
}

ATELIER_REGISTER_AUTOENCODER("taesd", {Detect, Build});

}  // namespace
}  // namespace atelier::models::taesd
