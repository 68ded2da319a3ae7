#include "worker/models/wan.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "worker/engine/layers.h"
#include "worker/engine/network_hooks.h"
#include "worker/models/dit.h"
#include "worker/models/network.h"

namespace atelier::models {
namespace {

using engine::Conv2d;
using engine::Conv3d;
using engine::HeadAttention;
using engine::LayerBuilder;
using engine::LayerNorm;
using engine::Linear;
using engine::Param;
using engine::RmsNorm;

constexpr int64_t kPatch = 2, kHeadWidth = 128, kSinusoid = 256, kCameraPixels = 8;
const std::vector<int64_t> kAxes{44, 42, 42};  // of a head: frame, row, column

// cos then sin of t times 10000^(-i / half), f32 [n,dim] of t f32 [n]. The powers are taken in float32, other than in
// engine::SinusoidalEmbedding: at large t the difference shows.
at::Tensor Sinusoid(const at::Tensor& t) {
  const at::Tensor exponents = -(at::arange(kSinusoid / 2, t.options()) / (kSinusoid / 2));
  const at::Tensor angles = at::outer(t, at::pow(10000.0, exponents));
  return at::cat({angles.cos(), angles.sin()}, 1);
}

at::Tensor Gelu(const at::Tensor& x) { return at::gelu(x, "tanh"); }

struct Attend {
  Linear q, k, v, out;
  RmsNorm query_norm, key_norm;
};

struct ImageKeys {
  Linear k, v;
  RmsNorm norm;
};

struct Block {
  Param modulation;  // [1,6,width]
  Attend self, cross;
  std::optional<ImageKeys> image;
  LayerNorm cross_norm;
  Linear feed_in, feed_out;
};

// A block of the control branch; only the first one has `before`.
struct VaceBlock {
  std::optional<Linear> before;
  Block block;
  Linear after;
};

// Linear layers between two normalisations, for what a vision encoder sees.
struct ImageEmbedding {
  LayerNorm before, after;
  Linear in, out;
  Param positions;  // [1,n,W] of two pictures, or null
};

struct CameraResidual {
  Conv2d conv1, conv2;
};
struct CameraAdapter {
  Conv2d conv;
  std::vector<CameraResidual> blocks;
};

// What the blocks of one call share.
struct CallState {
  std::vector<at::Tensor> time;  // six of [B,F,width], F frames or 1
  at::Tensor context;            // [B,T,width]
  at::Tensor image;              // [B,T,width], or undefined
  Rope rope;
};

class Wan final : public engine::DiffusionNetwork {
 public:
  explicit Wan(engine::Engine& engine) : params_(engine.device(), engine::Part::kDiffusion, engine.residency()) {}

  Status Build(const engine::WeightSource& weights) {
    LayerBuilder b(weights, params_);
    shape_ = ShapeOfWan(weights);
    width_ = shape_.width;
    if (width_ <= 0 || width_ % kHeadWidth != 0)
      b.Fail(Cat("this is no WAN network: \"head.modulation\" is ", width_, " wide, which 128 does not divide"));
    heads_ = width_ / kHeadWidth;
    patch_in_ = TakePatches(b, "patch_embedding", shape_.channels);
    text_in_ = b.TakeLinear("text_embedding.0", shape_.text_width, width_);
    text_out_ = b.TakeLinear("text_embedding.2", width_, width_);
    time_in_ = {b.TakeLinear("time_embedding.0", kSinusoid, width_), b.TakeLinear("time_embedding.2", width_, width_)};
    time_projection_ = b.TakeLinear("time_projection.1", width_, 6 * width_);
    if (shape_.image_tokens) image_in_ = TakeImage(b);
    const int64_t blocks = weights.CountBlocks("blocks.");
    for (int64_t i = 0; i < blocks && b.status().ok(); ++i) blocks_.push_back(TakeBlock(b, Cat("blocks.", i, ".")));
    if (blocks == 0) b.Fail("tensor \"blocks.0.modulation\" is missing");
    if (shape_.vace_channels > 0) TakeVace(b);
    if (shape_.camera_channels > 0) camera_ = TakeCamera(b);
    if (shape_.reference) reference_ = b.TakeConv("ref_conv", shape_.out_channels, width_, kPatch, kPatch, 0);
    head_modulation_ = b.Take("head.modulation", {1, 2, width_});
    head_ = b.TakeLinear("head.head", width_, shape_.out_channels * kPatch * kPatch);
    return b.status();
  }

  at::Device device() const override { return params_.device(); }

  at::Tensor Forward(const at::Tensor& input, const at::Tensor& t,
                     const engine::ModelCallInputs& inputs) const override {
    params_.Load();
    const auto options = at::TensorOptions(params_.device()).dtype(inputs.compute.value_or(params_.compute()));
    const at::Tensor joined = JoinedInput(input, inputs);
    CheckChannels(joined, 5, shape_.channels);
    CheckContext(inputs, shape_.text_width);
    const int64_t batch = input.size(0), frames = joined.size(2), height = input.size(3), width = input.size(4);
    const int64_t rows = (height + kPatch - 1) / kPatch, columns = (width + kPatch - 1) / kPatch;

    at::Tensor grid = patch_in_(PadToPatch(joined.to(params_.device()).to(at::kFloat), kPatch)).to(options);
    if (camera_ && inputs.camera.defined()) grid = grid + Camera(inputs.camera.to(options));
    at::Tensor x = Tokens(grid);
    int64_t before = 0;  // reference frames in front
    if (reference_ && !inputs.ref_latents.empty()) {
      x = at::cat({Reference(inputs.ref_latents, batch, options), x}, 1);
      before = 1;
    }

    CallState call;
    call.rope = MakeRope(Positions(frames + before, rows, columns).to(params_.device()), kAxes);
    at::Tensor levels = t.to(params_.device()).to(at::kFloat);
    if (shape_.per_frame_time && inputs.denoise_mask.defined() && levels.dim() == 1)
      levels = inputs.denoise_mask.to(levels.options()).mean({1, 3, 4}) * levels.unsqueeze(1);
    if (levels.dim() == 1) levels = levels.unsqueeze(1);
    const at::Tensor time = time_in_(Sinusoid(levels.flatten()).to(options)).view({batch, -1, width_});
    call.time = time_projection_(at::silu(time)).unflatten(2, {6, width_}).unbind(2);
    call.context = text_out_(Gelu(text_in_(inputs.context.to(options))));
    if (image_in_) {
      // Without a picture the text stands in for it.
      call.image = inputs.clip_vision.defined() ? Image(inputs.clip_vision.to(options)) : call.context;
    }

    const std::set<int64_t> none;
    const std::set<int64_t>& skip = inputs.hooks != nullptr ? inputs.hooks->skip_double : none;
    std::vector<at::Tensor> control;
    if (!vace_.empty() && inputs.vace.defined()) {
      for (const at::Tensor& video : inputs.vace.unbind(1))
        control.push_back(Tokens(vace_in_(PadToPatch(video.to(params_.device()).to(at::kFloat), kPatch)).to(options)));
    }
    const at::Tensor start = x;
    const size_t stride = vace_.empty() ? 1 : std::max<size_t>(1, blocks_.size() / vace_.size());
    for (size_t n = 0; n < blocks_.size(); ++n) {
      if (!skip.contains(static_cast<int64_t>(n))) x = Run(blocks_[n], x, call);
      if (control.empty() || n % stride != 0 || n / stride >= vace_.size()) continue;
      const VaceBlock& side = vace_[n / stride];
      for (size_t i = 0; i < control.size(); ++i) {
        if (side.before) control[i] = (*side.before)(control[i]) + start;
        control[i] = Run(side.block, control[i], call);
        at::Tensor hint = side.after(control[i]);
        if (inputs.vace_strength.defined())
          hint = hint * inputs.vace_strength.select(1, static_cast<int64_t>(i)).to(options).view({-1, 1, 1});
        x = x + hint;
      }
    }
    const at::Tensor modulation = engine::Cast(head_modulation_, x.scalar_type());
    x = head_(Modulated(x, time + modulation.select(1, 0), time + modulation.select(1, 1)));
    x = x.narrow(1, before * rows * columns, frames * rows * columns);
    x = x.view({batch, frames, rows, columns, kPatch, kPatch, shape_.out_channels}).permute({0, 6, 1, 2, 4, 3, 5});
    x = x.reshape({batch, shape_.out_channels, frames, rows * kPatch, columns * kPatch});
    return x.narrow(3, 0, height).narrow(4, 0, width).to(at::kFloat);
  }

 private:
  Conv3d TakePatches(LayerBuilder& b, const std::string& name, int64_t channels) const {
    Conv3d layer = b.TakeConv3d(name, channels, width_, {1, kPatch, kPatch});
    layer.stride = {1, kPatch, kPatch};
    return layer;
  }

  Attend TakeAttend(LayerBuilder& b, const std::string& name) const {
    Attend a;
    a.q = b.TakeLinear(name + "q", width_, width_);
    a.k = b.TakeLinear(name + "k", width_, width_);
    a.v = b.TakeLinear(name + "v", width_, width_);
    a.out = b.TakeLinear(name + "o", width_, width_);
    a.query_norm = b.TakeRmsNorm(name + "norm_q.weight", width_);
    a.key_norm = b.TakeRmsNorm(name + "norm_k.weight", width_);
    return a;
  }

  Block TakeBlock(LayerBuilder& b, const std::string& name) const {
    Block block;
    block.modulation = b.Take(name + "modulation", {1, 6, width_});
    block.self = TakeAttend(b, name + "self_attn.");
    block.cross = TakeAttend(b, name + "cross_attn.");
    if (shape_.image_tokens) {
      block.image = ImageKeys{b.TakeLinear(name + "cross_attn.k_img", width_, width_),
                              b.TakeLinear(name + "cross_attn.v_img", width_, width_),
                              b.TakeRmsNorm(name + "cross_attn.norm_k_img.weight", width_)};
    }
    block.cross_norm = b.TakeLayerNorm(name + "norm3", width_, 1e-6);
    const int64_t feed = b.weights().Dim(name + "ffn.0.weight", 0);
    block.feed_in = b.TakeLinear(name + "ffn.0", width_, feed);
    block.feed_out = b.TakeLinear(name + "ffn.2", feed, width_);
    return block;
  }

  ImageEmbedding TakeImage(LayerBuilder& b) const {
    ImageEmbedding e;
    const int64_t seen = b.weights().Dim("img_emb.proj.0.weight", 0);
    e.before = b.TakeLayerNorm("img_emb.proj.0", seen);
    e.in = b.TakeLinear("img_emb.proj.1", seen);
    e.out = b.TakeLinear("img_emb.proj.3", b.weights().Dim("img_emb.proj.1.weight", 0), width_);
    e.after = b.TakeLayerNorm("img_emb.proj.4", width_);
    if (b.Has("img_emb.emb_pos")) e.positions = b.Take("img_emb.emb_pos", {1, 0, seen});
    return e;
  }

  void TakeVace(LayerBuilder& b) {
    vace_in_ = TakePatches(b, "vace_patch_embedding", shape_.vace_channels);
    const int64_t count = b.weights().CountBlocks("vace_blocks.");
    for (int64_t i = 0; i < count && b.status().ok(); ++i) {
      const std::string at = Cat("vace_blocks.", i, ".");
      VaceBlock& side = vace_.emplace_back();
      if (i == 0) side.before = b.TakeLinear(at + "before_proj", width_, width_);
      side.block = TakeBlock(b, at);
      side.after = b.TakeLinear(at + "after_proj", width_, width_);
    }
    if (vace_.empty() || vace_.size() > blocks_.size())
      b.Fail(Cat("it has ", vace_.size(), " control blocks beside ", blocks_.size(), " blocks"));
  }

  CameraAdapter TakeCamera(LayerBuilder& b) const {
    CameraAdapter camera;
    const std::string at = "control_adapter.";
    camera.conv =
        b.TakeConv(at + "conv", shape_.camera_channels * kCameraPixels * kCameraPixels, width_, kPatch, kPatch, 0);
    const int64_t count = b.weights().CountBlocks(at + "residual_blocks.");
    for (int64_t i = 0; i < count && b.status().ok(); ++i) {
      const std::string name = Cat(at, "residual_blocks.", i, ".");
      camera.blocks.push_back(
          {b.TakeConv(name + "conv1", width_, width_, 3), b.TakeConv(name + "conv2", width_, width_, 3)});
    }
    return camera;
  }

  // [B,C,T,h,w] to [B,T*h*w,C].
  static at::Tensor Tokens(const at::Tensor& grid) { return grid.flatten(2).transpose(1, 2).contiguous(); }

  // (frame, row, column) of each token, f32 [frames*rows*columns, 3].
  static at::Tensor Positions(int64_t frames, int64_t rows, int64_t columns) {
    const std::vector<at::Tensor> axes = at::meshgrid(
        {at::arange(frames, at::kFloat), at::arange(rows, at::kFloat), at::arange(columns, at::kFloat)}, "ij");
    return at::stack(axes, -1).view({frames * rows * columns, 3});
  }

  // Rays at pixel size, eight by eight of them as channels.
  at::Tensor Camera(const at::Tensor& rays) const {
    TORCH_CHECK(rays.dim() == 5 && rays.size(1) == shape_.camera_channels, "the model takes camera rays of ",
                shape_.camera_channels, " channels, not ", rays.size(1));
    at::Tensor x = at::pixel_unshuffle(rays.transpose(1, 2).flatten(0, 1), kCameraPixels);
    x = camera_->conv(x);
    for (const CameraResidual& block : camera_->blocks) x = x + block.conv2(at::relu(block.conv1(x)));
    return x.unflatten(0, {rays.size(0), -1}).transpose(1, 2);
  }

  at::Tensor Reference(const std::vector<at::Tensor>& latents, int64_t batch, const at::TensorOptions& options) const {
    at::Tensor latent = latents[0].to(options);
    if (latent.dim() == 5) latent = latent.select(2, 0);
    TORCH_CHECK(latent.size(0) == batch, "a reference latent has ", latent.size(0), " items, x has ", batch);
    return (*reference_)(PadToPatch(latent, kPatch)).flatten(2).transpose(1, 2);
  }

  at::Tensor Image(const at::Tensor& seen) const {
    at::Tensor x = seen;
    if (image_in_->positions != nullptr) {
      const at::Tensor positions = engine::Cast(image_in_->positions, x.scalar_type());
      TORCH_CHECK(x.size(1) <= positions.size(1), "the model takes at most ", positions.size(1), " image tokens, not ",
                  x.size(1));
      x = x + positions.narrow(1, 0, x.size(1));
    }
    return image_in_->after(image_in_->out(at::gelu(image_in_->in(image_in_->before(x)))));
  }

  // One row a frame, or one for all, to one a token or one for all.
  static at::Tensor PerToken(const at::Tensor& rows, int64_t tokens) {
    return rows.size(1) == 1 ? rows : rows.repeat_interleave(tokens / rows.size(1), 1);
  }

  static at::Tensor Modulated(const at::Tensor& x, const at::Tensor& shift, const at::Tensor& scale) {
    return at::addcmul(PerToken(shift, x.size(1)), PlainNorm(x), 1 + PerToken(scale, x.size(1)));
  }

  at::Tensor Split(const at::Tensor& x) const {
    return x.view({x.size(0), x.size(1), heads_, kHeadWidth}).transpose(1, 2);
  }

  at::Tensor Run(const Block& block, const at::Tensor& input, const CallState& call) const {
    const at::Tensor modulation = engine::Cast(block.modulation, input.scalar_type());
    const auto row = [&](int64_t i) { return call.time[static_cast<size_t>(i)] + modulation.select(1, i); };
    const int64_t tokens = input.size(1);

    at::Tensor h = Modulated(input, row(0), row(1));
    const at::Tensor q = ApplyRope(Split(block.self.query_norm(block.self.q(h))), call.rope);
    const at::Tensor k = ApplyRope(Split(block.self.key_norm(block.self.k(h))), call.rope);
    at::Tensor x =
        at::addcmul(input, block.self.out(HeadAttention(q, k, Split(block.self.v(h)))), PerToken(row(2), tokens));
    x = x + Cross(block, block.cross_norm(x), call);
    h = Modulated(x, row(3), row(4));
    return at::addcmul(x, block.feed_out(Gelu(block.feed_in(h))), PerToken(row(5), tokens));
  }

  at::Tensor Cross(const Block& block, const at::Tensor& x, const CallState& call) const {
    const Attend& a = block.cross;
    const at::Tensor q = Split(a.query_norm(a.q(x)));
    at::Tensor out = HeadAttention(q, Split(a.key_norm(a.k(call.context))), Split(a.v(call.context)));
    if (block.image) {
      const ImageKeys& keys = *block.image;
      out = out + HeadAttention(q, Split(keys.norm(keys.k(call.image))), Split(keys.v(call.image)));
    }
    return a.out(out);
  }

  mutable engine::ParamSet params_;
  WanShape shape_;
  int64_t width_ = 0, heads_ = 0;
  Conv3d patch_in_, vace_in_;
  Linear text_in_, text_out_, time_projection_, head_;
  SiluMlp time_in_;
  std::optional<ImageEmbedding> image_in_;
  std::optional<CameraAdapter> camera_;
  std::optional<Conv2d> reference_;
  Param head_modulation_;
  std::vector<Block> blocks_;
  std::vector<VaceBlock> vace_;
};

}  // namespace

WanShape ShapeOfWan(const engine::WeightSource& weights) {
  WanShape shape;
  shape.channels = weights.Dim("patch_embedding.weight", 1);
  shape.width = weights.Dim("head.modulation", 2);
  shape.out_channels = weights.Dim("head.head.weight", 0) / (kPatch * kPatch);
  shape.text_width = weights.Dim("text_embedding.0.weight", 1);
  shape.image_tokens = weights.Has("img_emb.proj.0.bias");
  shape.vace_channels = weights.Dim("vace_patch_embedding.weight", 1);
  shape.camera_channels = weights.Dim("control_adapter.conv.weight", 1) / (kCameraPixels * kCameraPixels);
  shape.reference = weights.Has("ref_conv.weight");
  shape.per_frame_time = shape.out_channels == 48;
  return shape;
}

StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildWan(const engine::WeightSource& weights,
                                                                   engine::Engine& engine) {
  return BuildNetwork<engine::DiffusionNetwork, Wan>(weights, engine);
}

}  // namespace atelier::models
