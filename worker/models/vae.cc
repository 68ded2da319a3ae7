#include "worker/models/vae.h"

#include <algorithm>
#include <vector>

#include "common/base/log.h"
#include "worker/engine/guard.h"
#include "worker/engine/layers.h"
#include "worker/models/network.h"
#include "worker/models/saving.h"
#include "worker/models/vae_parts.h"

namespace atelier::models {
namespace {

using engine::Conv2d;
using engine::GroupNorm;
using engine::LayerBuilder;

struct ResBlock {
  GroupNorm norm1, norm2;
  Conv2d conv1, conv2, shortcut;

  at::Tensor operator()(const at::Tensor& x) const {
    at::Tensor h = conv2(norm2.WithSilu(conv1(norm1.WithSilu(x))));
    return h.add_(shortcut.weight != nullptr ? shortcut(x) : x);
  }
};

struct AttentionBlock {
  GroupNorm norm;
  Conv2d q, k, v, out;

  at::Tensor operator()(const at::Tensor& x) const {
    const int64_t b = x.size(0), c = x.size(1), h = x.size(2), w = x.size(3);
    const at::Tensor n = norm(x);
    const auto tokens = [&](const at::Tensor& t) { return t.reshape({b, c, h * w}).transpose(1, 2).contiguous(); };
    const at::Tensor mixed = engine::Attention(tokens(q(n)), tokens(k(n)), tokens(v(n)), 1);
    return x + out(mixed.transpose(1, 2).reshape({b, c, h, w}));
  }
};

struct Middle {
  ResBlock block1, block2;
  AttentionBlock attention;
  at::Tensor operator()(const at::Tensor& x) const { return block2(attention(block1(x))); }
};

struct Level {
  std::vector<ResBlock> blocks;
  Conv2d resample;  // absent at the last level
};

ResBlock TakeRes(LayerBuilder& b, const std::string& name, int64_t in) {
  ResBlock block;
  const int64_t out = b.weights().Dim(name + ".conv1.weight", 0);
  block.norm1 = b.TakeGroupNorm(name + ".norm1", in, 1e-6);
  block.conv1 = b.TakeConv(name + ".conv1", in, out, 3);
  block.norm2 = b.TakeGroupNorm(name + ".norm2", out, 1e-6);
  block.conv2 = b.TakeConv(name + ".conv2", out, out, 3);
  if (in != out) block.shortcut = b.TakeConv(name + ".nin_shortcut", in, out, 1);
  return block;
}

Middle TakeMiddle(LayerBuilder& b, const std::string& name, int64_t channels) {
  Middle middle;
  middle.block1 = TakeRes(b, name + ".block_1", channels);
  middle.attention.norm = b.TakeGroupNorm(name + ".attn_1.norm", channels, 1e-6);
  middle.attention.q = b.TakeConv(name + ".attn_1.q", channels, channels, 1);
  middle.attention.k = b.TakeConv(name + ".attn_1.k", channels, channels, 1);
  middle.attention.v = b.TakeConv(name + ".attn_1.v", channels, channels, 1);
  middle.attention.out = b.TakeConv(name + ".attn_1.proj_out", channels, channels, 1);
  middle.block2 = TakeRes(b, name + ".block_2", channels);
  return middle;
}

class Vae final : public PictureAutoencoder {
 public:
  using PictureAutoencoder::PictureAutoencoder;

  Status Build(const engine::WeightSource& w) {
    LayerBuilder b(w, params_);
    z_ = w.Dim("decoder.conv_in.weight", 1);
    if (z_ <= 0) {
      b.Fail("this is no image autoencoder: \"decoder.conv_in.weight\" is missing");
      return b.status();
    }
    // Encoder.
    int64_t channels = w.Dim("encoder.conv_in.weight", 0);
    enc_in_ = b.TakeConv("encoder.conv_in", 3, channels, 3);
    const int64_t levels = w.CountBlocks("encoder.down.");
    if (levels == 0 || levels > 8) b.Fail(Cat("an encoder of ", levels, " levels"));
    for (int64_t i = 0; i < levels && b.status().ok(); ++i) {
      const std::string at = Cat("encoder.down.", i, ".");
      Level& level = down_.emplace_back();
      TakeBlocks(b, at, channels, level);
      if (i + 1 < levels) level.resample = b.TakeConv(at + "downsample.conv", channels, channels, 3, 2, 0);
    }
    enc_middle_ = TakeMiddle(b, "encoder.mid", channels);
    enc_norm_ = b.TakeGroupNorm("encoder.norm_out", channels, 1e-6);
    enc_out_ = b.TakeConv("encoder.conv_out", channels, 2 * z_, 3);
    const bool quantized = w.HasPrefix("quant_conv.") || w.HasPrefix("post_quant_conv.");
    if (quantized) quant_ = b.TakeConv("quant_conv", 2 * z_, 2 * z_, 1);
    // Decoder.
    if (quantized) post_quant_ = b.TakeConv("post_quant_conv", z_, z_, 1);
    channels = w.Dim("decoder.conv_in.weight", 0);
    dec_in_ = b.TakeConv("decoder.conv_in", z_, channels, 3);
    dec_middle_ = TakeMiddle(b, "decoder.mid", channels);
    if (b.status().ok() && w.CountBlocks("decoder.up.") != levels)
      b.Fail("its decoder has another number of levels than its encoder");
    for (int64_t i = levels - 1; i >= 0 && b.status().ok(); --i) {
      const std::string at = Cat("decoder.up.", i, ".");
      Level& level = up_.emplace_back();
      TakeBlocks(b, at, channels, level);
      if (i > 0) level.resample = b.TakeConv(at + "upsample.conv", channels, channels, 3);
    }
    dec_norm_ = b.TakeGroupNorm("decoder.norm_out", channels, 1e-6);
    dec_out_ = b.TakeConv("decoder.conv_out", channels, 3, 3);
    ratio_ = int64_t{1} << (levels - 1);
    return b.status();
  }

 private:
  static void TakeBlocks(LayerBuilder& b, const std::string& at, int64_t& channels, Level& level) {
    const int64_t count = b.weights().CountBlocks(at + "block.");
    for (int64_t j = 0; j < count; ++j) {
      const std::string name = Cat(at, "block.", j);
      level.blocks.push_back(TakeRes(b, name, channels));
      channels = b.weights().Dim(name + ".conv1.weight", 0);
    }
  }

  at::Tensor EncodeRaw(const at::Tensor& image) const override {
    at::Tensor h = enc_in_(Prepare(image));
    for (const Level& level : down_) {
      for (const ResBlock& block : level.blocks) h = block(h);
      if (level.resample.weight != nullptr) h = level.resample(at::constant_pad_nd(h, {0, 1, 0, 1}));
    }
    h = enc_out_(enc_norm_.WithSilu(enc_middle_(h)));
    if (quant_.weight != nullptr) h = quant_(h);
    return h.narrow(1, 0, z_).to(at::kFloat);
  }

  at::Tensor DecodeRaw(const at::Tensor& latent) const override {
    at::Tensor h = Prepare(latent);
    if (post_quant_.weight != nullptr) h = post_quant_(h);
    h = dec_middle_(dec_in_(h));
    for (const Level& level : up_) {
      for (const ResBlock& block : level.blocks) h = block(h);
      if (level.resample.weight != nullptr)
        h = level.resample(at::upsample_nearest2d(h, {h.size(2) * 2, h.size(3) * 2}));
    }
    return dec_out_(dec_norm_.WithSilu(h)).to(at::kFloat);
  }

  Conv2d enc_in_, enc_out_, quant_, post_quant_, dec_in_, dec_out_;
  GroupNorm enc_norm_, dec_norm_;
  std::vector<Level> down_, up_;  // in the order they run
  Middle enc_middle_, dec_middle_;
};

}  // namespace

StatusOr<std::shared_ptr<const engine::Autoencoder>> BuildVae(const engine::WeightSource& weights,
                                                              engine::Engine& engine) {
  return BuildNetwork<engine::Autoencoder, Vae>(weights, engine, weights);
}

}  // namespace atelier::models
