#include "worker/models/wan_vae.h"

#include <algorithm>
#include <functional>
#include <variant>
#include <vector>

#include "common/base/log.h"
#include "worker/engine/guard.h"
#include "worker/engine/tiler.h"
#include "worker/models/causal.h"
#include "worker/models/network.h"
#include "worker/models/saving.h"
#include "worker/models/vae_parts.h"

namespace atelier::models {
namespace {

using engine::Conv2d;
using engine::LayerBuilder;

constexpr int64_t kFrames = 4;  // of a latent frame after the first

struct ResBlock {
  ChannelNorm norm1, norm2;
  CausalConv conv1, conv2;
  std::optional<CausalConv> shortcut;

  at::Tensor operator()(const at::Tensor& x, FrameCache& cache) const {
    const at::Tensor h = conv2(norm2.WithSilu(conv1(norm1.WithSilu(x), cache)), cache);
    return (shortcut ? (*shortcut)(x, cache) : x) + h;
  }
};

// Half as many rows and columns, and frames where there is a convolution for them.
struct Downsample {
  Conv2d conv;
  std::optional<CausalConv> time;

  at::Tensor operator()(const at::Tensor& x, FrameCache& cache) const {
    const at::Tensor pictures = conv(at::constant_pad_nd(AsPictures(x), {0, 1, 0, 1}));
    const at::Tensor h = AsVideo(pictures, x.size(0));
    if (!time) return h;
    // The first frame stays; later pieces are taken together with the frame before them.
    at::Tensor& last = cache[time->slot];
    const at::Tensor joined = last.defined() ? at::cat({last, h}, 2) : h;
    const bool skip = !last.defined();
    last = h.narrow(2, h.size(2) - 1, 1).clone();
    return skip ? h : time->conv(joined);
  }
};

// Twice as many rows and columns, and frames where there is a convolution for them.
struct Upsample {
  Conv2d conv;
  std::optional<CausalConv> time;

  at::Tensor operator()(const at::Tensor& x, FrameCache& cache) const {
    at::Tensor h = x;
    if (time && !cache.first()) {
      // Twice the channels are two frames. The first frame is no history of the second.
      const std::vector<at::Tensor> pair = (*time)(h, cache).chunk(2, 1);
      h = at::empty({h.size(0), h.size(1), 2 * h.size(2), h.size(3), h.size(4)}, h.options(),
                    at::MemoryFormat::ChannelsLast3d);
      for (int64_t i = 0; i < 2; ++i) h.slice(2, i, h.size(2), 2).copy_(pair[static_cast<size_t>(i)]);
    }
    const at::Tensor pictures = AsPictures(h);
    return AsVideo(conv(at::upsample_nearest2d(pictures, {pictures.size(2) * 2, pictures.size(3) * 2})), x.size(0));
  }
};

// Attention within each frame.
struct AttentionBlock {
  ChannelNorm norm;
  Conv2d qkv, out;

  at::Tensor operator()(const at::Tensor& x) const {
    const at::Tensor pictures = AsPictures(x);
    const int64_t b = pictures.size(0), c = pictures.size(1), h = pictures.size(2), w = pictures.size(3);
    const std::vector<at::Tensor> parts =
        qkv(norm(pictures)).reshape({b, 3 * c, h * w}).transpose(1, 2).contiguous().chunk(3, 2);
    const at::Tensor mixed = engine::Attention(parts[0], parts[1], parts[2], 1);
    return x + AsVideo(out(mixed.transpose(1, 2).reshape({b, c, h, w})), x.size(0));
  }
};

struct Middle {
  ResBlock block1, block2;
  AttentionBlock attention;
  at::Tensor operator()(const at::Tensor& x, FrameCache& cache) const {
    return block2(attention(block1(x, cache)), cache);
  }
};

// WAN 2.2: what goes past a level without parameters.
struct Bypass {
  int64_t frames = 1, side = 1, channels = 0;

  // Pixels and frames become channels, and groups of these their mean.
  at::Tensor Down(const at::Tensor& x) const {
    at::Tensor h = x;
    const int64_t missing = (frames - x.size(2) % frames) % frames;
    if (missing > 0) h = at::constant_pad_nd(h, {0, 0, 0, 0, missing, 0});
    const int64_t b = h.size(0), c = h.size(1), t = h.size(2) / frames, rows = h.size(3) / side,
                  columns = h.size(4) / side;
    h = h.reshape({b, c, t, frames, rows, side, columns, side}).permute({0, 1, 3, 5, 7, 2, 4, 6});
    return h.reshape({b, channels, -1, t, rows, columns}).mean(2);
  }
  // Channels are repeated and become pixels and frames; of the first piece only one frame.
  at::Tensor Up(const at::Tensor& x, bool first) const {
    const int64_t b = x.size(0), t = x.size(2), rows = x.size(3), columns = x.size(4);
    at::Tensor h = x.repeat_interleave(channels * frames * side * side / x.size(1), 1);
    h = h.view({b, channels, frames, side, side, t, rows, columns}).permute({0, 1, 5, 2, 6, 3, 7, 4});
    h = h.reshape({b, channels, t * frames, rows * side, columns * side});
    return first ? h.slice(2, frames - 1) : h;
  }
};

struct Level {
  std::vector<std::variant<ResBlock, Downsample, Upsample>> layers;
  std::optional<Bypass> bypass;
};

class WanVae final : public engine::Autoencoder, public StoredAutoencoder {
 public:
  WanVae(engine::Engine& engine, engine::WeightSource weights)
      : params_(engine.device(), engine::Part::kAutoencoder, engine.residency()),
        residency_(engine.residency()),
        weights_(std::move(weights)) {}

  const engine::WeightSource& weights() const override { return weights_; }

  Status Build(const engine::WeightSource& w) {
    LayerBuilder layers(w, params_);
    CausalBuilder b{layers};
    z_ = w.Dim("conv2.weight", 0);
    grouped_ = w.HasPrefix("decoder.upsamples.0.upsamples.");
    patch_ = grouped_ ? 2 : 1;
    const int64_t pixel = 3 * patch_ * patch_;

    int64_t channels = w.Dim("encoder.conv1.weight", 0);
    enc_in_ = TakeCausal(b, "encoder.conv1", pixel, channels, 3, 3);
    TakeLevels(b, "encoder.downsamples.", "downsamples.", channels, down_);
    enc_middle_ = TakeMiddle(b, "encoder.middle.", channels);
    enc_norm_ = TakeChannelNorm(b, "encoder.head.0", channels, 4);
    enc_out_ = TakeCausal(b, "encoder.head.2", channels, 2 * z_, 3, 3);
    moments_ = TakeCausal(b, "conv1", 2 * z_, 2 * z_, 1, 1);

    latent_in_ = TakeCausal(b, "conv2", z_, z_, 1, 1);
    channels = w.Dim("decoder.conv1.weight", 0);
    dec_in_ = TakeCausal(b, "decoder.conv1", z_, channels, 3, 3);
    dec_middle_ = TakeMiddle(b, "decoder.middle.", channels);
    TakeLevels(b, "decoder.upsamples.", "upsamples.", channels, up_);
    dec_norm_ = TakeChannelNorm(b, "decoder.head.0", channels, 4);
    dec_out_ = TakeCausal(b, "decoder.head.2", channels, pixel, 3, 3);
    slots_ = b.slots;
    if (layers.status().ok() && (Resamplings(down_) != Resamplings(up_) || Resamplings(up_) > 6))
      layers.Fail("its decoder enlarges by another factor than its encoder reduces by");
    if (layers.status().ok() && (TimeFactor<Downsample>(down_) != kFrames || TimeFactor<Upsample>(up_) != kFrames))
      layers.Fail("its latent frames do not stand for four frames each");
    ratio_ = patch_ << Resamplings(up_);
    return layers.status();
  }

  int64_t ratio() const override { return ratio_; }
  int64_t channels() const override { return z_; }
  int64_t frame_ratio() const override { return kFrames; }

  StatusOr<at::Tensor> Encode(const at::Tensor& pixels) const override {
    ASSIGN_OR_RETURN(const at::Tensor x, FromPixels(pixels));
    return WholeOrTiled(
        "encoding a video", "encoded", *residency_, params_, [&] { return EncodeRaw(x); },
        [&] {
          return EncodeTiled(pixels, {256, 64});
        });
  }

  StatusOr<at::Tensor> Decode(const at::Tensor& latents) const override {
    RETURN_IF_ERROR(CheckLatents(latents));
    const int64_t tile = 256 / ratio_;
    return WholeOrTiled(
        "decoding a video", "decoded", *residency_, params_,
        [&] {
          const int64_t videos = latents.size(0), frames = FramesOut(latents.size(2));
          at::Tensor pixels = at::empty({videos * frames, latents.size(3) * ratio_, latents.size(4) * ratio_, 3});
          for (int64_t i = 0; i < videos; ++i) {
            int64_t at = i * frames;
            DecodePieces(latents.narrow(0, i, 1), [&](const at::Tensor& piece) {
              pixels.narrow(0, at, piece.size(2)).copy_(ToPixels(piece));
              at += piece.size(2);
            });
          }
          return pixels;
        },
        [&] {
          return DecodeTiled(latents, {tile, tile / 4});
        });
  }

  StatusOr<at::Tensor> EncodeTiled(const at::Tensor& pixels, const engine::VaeTiles& tiles) const override {
    ASSIGN_OR_RETURN(const at::Tensor x, FromPixels(pixels));
    const double side = 1.0 / static_cast<double>(ratio_), time = 1.0 / kFrames;
    const engine::TileAxis frames{tiles.frames > 0 ? tiles.frames : x.size(2),
                                  tiles.frames > 0 ? tiles.frame_overlap : 0, time, FramesIn};
    const engine::TileAxis across{tiles.size, tiles.overlap, side, nullptr};
    return engine::Guard([&] {
      return engine::RunTiled(x, {frames, across, across}, z_, [&](const at::Tensor& tile) { return EncodeRaw(tile); });
    });
  }

  StatusOr<at::Tensor> DecodeTiled(const at::Tensor& latents, const engine::VaeTiles& tiles) const override {
    RETURN_IF_ERROR(CheckLatents(latents));
    const engine::TileAxis frames{tiles.frames > 0 ? tiles.frames : latents.size(2),
                                  tiles.frames > 0 ? tiles.frame_overlap : 0, kFrames, FramesOut};
    const engine::TileAxis across{tiles.size, tiles.overlap, static_cast<double>(ratio_), nullptr};
    return engine::Guard([&]() -> StatusOr<at::Tensor> {
      ASSIGN_OR_RETURN(const at::Tensor y,
                       engine::RunTiled(latents, {frames, across, across}, 3, [&](const at::Tensor& tile) {
                         std::vector<at::Tensor> pieces;
                         DecodePieces(tile, [&](const at::Tensor& piece) { pieces.push_back(piece.to(at::kCPU)); });
                         return at::cat(pieces, 2);
                       }));
      std::vector<at::Tensor> videos;
      for (int64_t i = 0; i < y.size(0); ++i) videos.push_back(ToPixels(y.narrow(0, i, 1)));
      return videos.size() == 1 ? videos[0] : at::cat(videos, 0);
    });
  }

 private:
  static int64_t FramesOut(int64_t latent) { return std::max<int64_t>(0, latent * kFrames - (kFrames - 1)); }
  static int64_t FramesIn(int64_t frames) { return (frames + kFrames - 1) / kFrames; }

  static ResBlock TakeRes(CausalBuilder& b, const std::string& name, int64_t& channels) {
    ResBlock block;
    const int64_t out = b.layers.weights().Dim(name + "residual.2.weight", 0);
    block.norm1 = TakeChannelNorm(b, name + "residual.0", channels, 4);
    block.conv1 = TakeCausal(b, name + "residual.2", channels, out, 3, 3);
    block.norm2 = TakeChannelNorm(b, name + "residual.3", out, 4);
    block.conv2 = TakeCausal(b, name + "residual.6", out, out, 3, 3);
    if (channels != out) block.shortcut = TakeCausal(b, name + "shortcut", channels, out, 1, 1);
    channels = out;
    return block;
  }

  static Middle TakeMiddle(CausalBuilder& b, const std::string& name, int64_t channels) {
    Middle middle;
    int64_t same = channels;
    middle.block1 = TakeRes(b, name + "0.", same);
    middle.attention.norm = TakeChannelNorm(b, name + "1.norm", channels, 3);
    middle.attention.qkv = b.layers.TakeConv(name + "1.to_qkv", channels, 3 * channels, 1);
    middle.attention.out = b.layers.TakeConv(name + "1.proj", channels, channels, 1);
    middle.block2 = TakeRes(b, name + "2.", same);
    if (same != channels) b.layers.Fail(Cat("the blocks of \"", name, "\" differ in width"));
    return middle;
  }

  // One layer of a level; the side of the network says whether it reduces or enlarges.
  static void TakeLayer(CausalBuilder& b, const std::string& name, bool up, int64_t& channels, Level& level) {
    if (b.layers.Has(name + "residual.0.gamma")) {
      level.layers.emplace_back(TakeRes(b, name, channels));
      return;
    }
    const bool time = b.layers.Has(name + "time_conv.weight");
    if (up) {
      Upsample layer;
      if (time) layer.time = TakeCausal(b, name + "time_conv", channels, 2 * channels, 3, 1);
      const int64_t out = b.layers.weights().Dim(name + "resample.1.weight", 0);
      layer.conv = b.layers.TakeConv(name + "resample.1", channels, out, 3);
      channels = out;
      level.layers.emplace_back(std::move(layer));
    } else {
      Downsample layer;
      layer.conv = b.layers.TakeConv(name + "resample.1", channels, channels, 3, 2, 0);
      if (time) {
        layer.time = TakeCausal(b, name + "time_conv", channels, channels, 3, 1);
        layer.time->conv.stride = {2, 1, 1};
      }
      level.layers.emplace_back(std::move(layer));
    }
  }

  // 2.1 counts its layers through, 2.2 has them in levels with a bypass each.
  void TakeLevels(CausalBuilder& b, const std::string& name, const std::string& inner, int64_t& channels,
                  std::vector<Level>& levels) const {
    const bool up = inner == "upsamples.";
    const engine::WeightSource& w = b.layers.weights();
    const int64_t count = w.CountBlocks(name);
    if (count == 0) b.layers.Fail(Cat("tensor \"", name, "0.residual.0.gamma\" is missing"));
    if (!grouped_) levels.emplace_back();
    for (int64_t i = 0; i < count && b.layers.status().ok(); ++i) {
      const std::string at = Cat(name, i, ".");
      if (!grouped_) {
        TakeLayer(b, at, up, channels, levels.back());
        continue;
      }
      Level& level = levels.emplace_back();
      const int64_t in = channels, layers = w.CountBlocks(at + inner);
      Bypass bypass;
      for (int64_t j = 0; j < layers && b.layers.status().ok(); ++j) {
        const std::string layer = Cat(at, inner, j, ".");
        TakeLayer(b, layer, up, channels, level);
        if (w.Has(layer + "resample.1.weight")) bypass.side = 2;
        if (w.Has(layer + "time_conv.weight")) bypass.frames = 2;
      }
      bypass.channels = channels;
      const int64_t factor = bypass.frames * bypass.side * bypass.side;
      if (up && bypass.side == 1) continue;
      if (!b.layers.status().ok()) return;
      if (up ? channels * factor % in != 0 : in * factor % channels != 0)
        b.layers.Fail(Cat("the widths of \"", at, "\" do not fit its shortcut"));
      level.bypass = bypass;
    }
  }

  static int64_t Resamplings(const std::vector<Level>& levels) {
    int64_t n = 0;
    for (const Level& level : levels)
      for (const auto& layer : level.layers) n += std::holds_alternative<ResBlock>(layer) ? 0 : 1;
    return n;
  }
  template <typename T>
  static int64_t TimeFactor(const std::vector<Level>& levels) {
    int64_t factor = 1;
    for (const Level& level : levels)
      for (const auto& layer : level.layers)
        if (const T* t = std::get_if<T>(&layer); t != nullptr && t->time) factor *= 2;
    return factor;
  }

  Status CheckLatents(const at::Tensor& latents) const {
    if (latents.dim() != 5 || latents.size(1) != z_) {
      return InvalidArgument("the VAE takes latents of videos [B,", z_, ",T,h,w], not ", latents.dim(),
                             " dimensions with ", latents.dim() > 1 ? latents.size(1) : 0,
                             " channels; use the VAE of the model that made them");
    }
    return OkStatus();
  }

  // Frames [T,H,W,C] to a video [1,3,T,H',W'] in -1..1.
  StatusOr<at::Tensor> FromPixels(const at::Tensor& pixels) const {
    ASSIGN_OR_RETURN(const at::Tensor cropped, VaePixels(pixels, ratio_));
    return cropped.permute({3, 0, 1, 2}).unsqueeze(0);
  }
  // One video [1,3,T,H,W] to its frames.
  static at::Tensor ToPixels(const at::Tensor& y) { return VaeColours(y[0]).permute({1, 2, 3, 0}).contiguous(); }

  at::Tensor Prepare(const at::Tensor& x) const {
    return x.to(at::TensorOptions(params_.device()).dtype(params_.compute()))
        .contiguous(at::MemoryFormat::ChannelsLast3d);
  }

  // Channel order: colour, column, row.
  at::Tensor Patches(const at::Tensor& x) const {
    if (patch_ == 1) return x;
    const int64_t b = x.size(0), c = x.size(1), t = x.size(2), h = x.size(3) / patch_, w = x.size(4) / patch_;
    return x.reshape({b, c, t, h, patch_, w, patch_})
        .permute({0, 1, 6, 4, 2, 3, 5})
        .reshape({b, c * patch_ * patch_, t, h, w});
  }
  at::Tensor Pixels(const at::Tensor& x) const {
    if (patch_ == 1) return x;
    const int64_t b = x.size(0), t = x.size(2), h = x.size(3), w = x.size(4);
    return x.reshape({b, 3, patch_, patch_, t, h, w})
        .permute({0, 1, 4, 5, 3, 6, 2})
        .reshape({b, 3, t, h * patch_, w * patch_});
  }

  static at::Tensor RunLevels(const std::vector<Level>& levels, const at::Tensor& x, bool up, FrameCache& cache) {
    at::Tensor h = x;
    for (const Level& level : levels) {
      const at::Tensor in = level.bypass ? h : at::Tensor();
      for (const auto& layer : level.layers) h = std::visit([&](const auto& l) { return l(h, cache); }, layer);
      if (level.bypass) h = h + (up ? level.bypass->Up(in, cache.first()) : level.bypass->Down(in));
    }
    return h;
  }

  // A video [1,3,T,H,W] to its latent, f32 on the CPU; frames that do not fill a latent frame are left out.
  at::Tensor EncodeRaw(const at::Tensor& video) const {
    params_.Load();
    FrameCache cache(slots_);
    std::vector<at::Tensor> pieces;
    const int64_t count = 1 + (video.size(2) - 1) / kFrames;
    for (int64_t i = 0; i < count; ++i) {
      const at::Tensor piece = i == 0 ? video.narrow(2, 0, 1) : video.narrow(2, 1 + (i - 1) * kFrames, kFrames);
      at::Tensor h = enc_in_(Patches(Prepare(piece)), cache);
      h = enc_middle_(RunLevels(down_, h, false, cache), cache);
      h = moments_(enc_out_(enc_norm_.WithSilu(h), cache), cache);
      pieces.push_back(h.narrow(1, 0, z_).to(at::TensorOptions(at::kCPU).dtype(at::kFloat)));
      cache.EndPiece();
    }
    return at::cat(pieces, 2);
  }

  // The latent [1,z,T,h,w] of one video to its frames: [1,3,1,H,W] of the first latent frame, [1,3,4,H,W] of the
  // others.
  void DecodePieces(const at::Tensor& latent, const std::function<void(const at::Tensor&)>& take) const {
    params_.Load();
    FrameCache cache(slots_);
    for (int64_t i = 0; i < latent.size(2); ++i) {
      at::Tensor h = dec_in_(latent_in_(Prepare(latent.narrow(2, i, 1)), cache), cache);
      h = RunLevels(up_, dec_middle_(h, cache), true, cache);
      take(Pixels(dec_out_(dec_norm_.WithSilu(h), cache)).to(at::kFloat));
      cache.EndPiece();
    }
  }

  mutable engine::ParamSet params_;
  std::shared_ptr<engine::Residency> residency_;
  engine::WeightSource weights_;
  int64_t z_ = 16, ratio_ = 8, patch_ = 1;
  bool grouped_ = false;  // 2.2
  size_t slots_ = 0;
  CausalConv enc_in_, enc_out_, moments_, latent_in_, dec_in_, dec_out_;
  ChannelNorm enc_norm_, dec_norm_;
  std::vector<Level> down_, up_;  // in the order they run
  Middle enc_middle_, dec_middle_;
};

}  // namespace

bool IsWanVae(const engine::WeightSource& weights) { return weights.Has("decoder.middle.0.residual.0.gamma"); }

StatusOr<std::shared_ptr<const engine::Autoencoder>> BuildWanVae(const engine::WeightSource& weights,
                                                                 engine::Engine& engine) {
  return BuildNetwork<engine::Autoencoder, WanVae>(weights, engine, weights);
}

}  // namespace atelier::models
