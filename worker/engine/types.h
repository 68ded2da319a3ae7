// The engine's values: what IMAGE, LATENT, CONDITIONING, MODEL, CLIP, VAE and UPSCALE_MODEL are between nodes.
// Source: spec engine.md 4.1. Data tensors between nodes live on the CPU in float32; models on their own device.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/graph/node.h"
#include "common/image/image_u8.h"
#include "worker/engine/latent_colors.h"
#include "worker/engine/weights.h"

namespace atelier::engine {

/// pixels: f32 [B,H,W,C], 0..1, C = 3 (4 with alpha).
struct Image {
  at::Tensor pixels;
};

/// values: f32 [B,H,W] (or [H,W]), 1 = to be changed. part: in the task of a tile the mask of the whole canvas may be
/// there in this box alone, in pixels of the canvas (docs/tiles.md "What is sent"); for nodes that say so only.
struct Mask {
  at::Tensor values;
  std::optional<Box> part = std::nullopt;
};

/// samples: f32 [B,C,h,w], or [B,C,T,h,w] of a video; unscaled VAE latents. noise_mask: f32 [B,1,H,W] of any resolution
/// (of a video also [B,1,T,H,W]), or undefined. part: as of Mask.
struct Latent {
  at::Tensor samples;
  at::Tensor noise_mask;
  std::optional<std::vector<int64_t>> batch_index = std::nullopt;  // noise index of each item
  std::optional<Box> part = std::nullopt;
};

struct AppliedControl;

/// One entry of a CONDITIONING list. cond: f32 [1,T,D]. Tensors and plain options under the reference's key names
/// (pooled_output, mask, ...; area, strength, start_percent, ...). Source: spec engine.md 4.1.
struct CondEntry {
  at::Tensor cond;
  std::map<std::string, at::Tensor> tensors;
  Json options = Json::object();
  std::shared_ptr<const AppliedControl> control = nullptr;  // the last one of a chain; entries may share it
};
struct Conditioning {
  std::vector<CondEntry> entries;
};

/// Noise levels of a sampling run. values: f32 [n+1], descending, usually ending at 0.
struct Sigmas {
  at::Tensor values;
};

/// waveform: f32 [B,C,n], -1..1; sample_rate in Hz.
struct Audio {
  at::Tensor waveform;
  int64_t sample_rate = 44100;
};

/// Residuals that a control network adds to a UNet's skip tensors, on the network's device. `output` is consumed from
/// its end. Undefined tensors are skipped. Source: spec engine.md 4.5.
struct ControlResiduals {
  std::vector<at::Tensor> input, middle, output;
};

/// Which list of a guided run an item of a network's batch belongs to.
enum class CondKind { kPositive = 0, kNegative = 1, kOther = 2 };

struct NetworkHooks;  // worker/engine/network_hooks.h
struct RunHooks;      // worker/sampling/hooks.h
struct HookRun;
/// Makes the hooks of one run. Errors: as documented by the node that put it there.
using Hook = std::function<Status(const HookRun&, RunHooks&)>;

/// Inputs of one network call beside x and t. Undefined tensors and empty lists are absent; a family says which ones
/// it takes. B is the batch of x.
struct ModelCallInputs {
  at::Tensor context;                   // f32 [B,T,D] text conditioning
  at::Tensor y;                         // f32 [B,A] vector conditioning
  at::Tensor c_concat;                  // f32 [B,C',...] of x's other sizes, joined to x on the channels
  at::Tensor guidance;                  // f32 [B] distilled guidance (Flux)
  at::Tensor attention_mask;            // f32 [B,T] of the context, 1 = attended
  at::Tensor clip_vision;               // f32 [B,T',D'] image tokens (Wan image to video)
  at::Tensor denoise_mask;              // f32 [B,C,...] the run's mask, for networks with a noise level a frame
  std::vector<at::Tensor> ref_latents;  // f32 [B,C,h',w'] in model space
  std::string ref_latents_method;       // how these are placed; empty: the family's default
  at::Tensor vace;                      // f32 [B,n,C',T,h,w] n control videos (Wan VACE)
  at::Tensor vace_strength;             // f32 [B,n] of each of them
  at::Tensor camera;                    // f32 [B,C',T,H,W] rays of a moving camera, at pixel size (Wan camera)
  const ControlResiduals* control = nullptr;
  std::vector<CondKind> kinds;  // one for each of the equal parts that the batch is made of
  float sigma = 0;              // noise level of the call
  const NetworkHooks* hooks = nullptr;
  std::optional<at::ScalarType> compute;  // what to compute in, in place of the network's own choice

  /// The tensors that are joined when entries share a call.
  static const std::array<at::Tensor ModelCallInputs::*, 9> kBatched;
  /// Those of them that lie on x's grid of height and width.
  static const std::array<at::Tensor ModelCallInputs::*, 3> kOnGrid;
};
inline constexpr std::array<at::Tensor ModelCallInputs::*, 9> ModelCallInputs::kBatched = {
    &ModelCallInputs::y,           &ModelCallInputs::c_concat,
    &ModelCallInputs::guidance,    &ModelCallInputs::attention_mask,
    &ModelCallInputs::clip_vision, &ModelCallInputs::denoise_mask,
    &ModelCallInputs::vace,        &ModelCallInputs::vace_strength,
    &ModelCallInputs::camera};
inline constexpr std::array<at::Tensor ModelCallInputs::*, 3> ModelCallInputs::kOnGrid = {
    &ModelCallInputs::c_concat, &ModelCallInputs::denoise_mask, &ModelCallInputs::vace};

/// A diffusion network on its device. Thread: one at a time.
class DiffusionNetwork {
 public:
  virtual ~DiffusionNetwork() = default;
  /// Raw network output F in float32. x: f32 [B,C,h,w] (or [B,C,T,h,w]) already scaled by the parameterisation; t: f32
  /// [B] model timesteps.
  virtual at::Tensor Forward(const at::Tensor& x, const at::Tensor& t, const ModelCallInputs& inputs) const = 0;
  virtual at::Device device() const = 0;
  /// Channels of x with those joined to it, where adapters may change their number; 0: what the file says.
  virtual int64_t input_channels() const { return 0; }
};

/// Scale and shift between VAE latents and model latents. Source: spec engine.md 4.7.
struct LatentFormat {
  int64_t channels = 4;
  int64_t dims = 2;  // 2: [B,C,h,w]; 3: [B,C,T,h,w]
  double scale = 0.18215;
  double shift = 0.0;
  std::vector<double> mean, deviation;  // of each channel, or empty; then scale comes on top and shift is unused
  LatentColors colors = kSd15Colors;    // for previews; of another number of channels: there are none
  at::Tensor ProcessIn(const at::Tensor& latent) const;
  at::Tensor ProcessOut(const at::Tensor& latent) const;
};

class ModelSampling;  // worker/sampling/model_sampling.h

/// What an entry's encoding may depend on. All on the sampling device.
struct CondRun {
  at::Tensor latent;        // f32 [B,C,...] the run's latent in model space
  at::Tensor noise;         // f32, the run's initial noise
  at::Tensor denoise_mask;  // f32 [B,C,...], or undefined
  CondKind kind = CondKind::kPositive;
  LatentFormat latent_format;
  int64_t input_channels = 0;  // the network's, 0: what the file says
};

/// A family's network inputs for one conditioning entry of a run: everything but `context` (the entry's own), control,
/// kinds and sigma. Errors: INVALID_ARGUMENT naming the key that is absent or wrong.
using CondEncoder = std::function<StatusOr<ModelCallInputs>(const CondEntry&, const CondRun&)>;

/// The network of a file with these changes of its weights, by tensor names without prefix. Reads names and shapes
/// only. Errors: as the loader's.
using NetworkBuilder = std::function<StatusOr<std::shared_ptr<const DiffusionNetwork>>(const WeightPatches&)>;

/// A MODEL handle: clones share the network. Nodes that alter a model copy the handle and replace parts.
struct Model {
  std::shared_ptr<const DiffusionNetwork> network;
  std::shared_ptr<const ModelSampling> sampling;
  LatentFormat latent_format;
  std::string family;                       // registered name, for messages
  std::optional<at::ScalarType> compute;    // what the network computes in; empty: its own choice
  bool fixed_context = false;               // text attends, too: a context repeated to another length is another one
  bool masked_is_clean = false;             // what a mask keeps is shown to the network as it is, not with noise
  CondEncoder encode_cond;                  // null: text only
  NetworkBuilder rebuild;                   // null: weights cannot be altered
  WeightSource weights;                     // of the file, by names without prefix; `patches` are not in it
  WeightPatches patches;                    // that `network` was built with
  std::string identity;                     // of file and patches, for caches; empty: unknown
  std::vector<Hook> hooks;                  // what nodes change about a run
  std::shared_ptr<const RunHooks> running;  // set within a run: made by `hooks`
};

class Autoencoder;

/// What a control network is shown.
struct ControlPicture {
  at::Tensor pixels;                               // f32 [N,H,W,C], 0..1
  at::Tensor mask;                                 // f32 [N,H,W], 1 = to be painted anew, or undefined (inpainting)
  std::shared_ptr<const Autoencoder> autoencoder;  // for networks that look at latents; may be null
  std::vector<int64_t> kinds;                      // what the picture shows, for networks of several kinds
};

/// A network that turns a picture into residuals for a diffusion network. Thread: one at a time.
class ControlNetwork {
 public:
  virtual ~ControlNetwork() = default;
  /// What is derived from the picture alone, for latents of height x width in `format`: tensors of N items each, made
  /// once a run and size. Errors: INVALID_ARGUMENT when the picture or a part of it does not fit the network.
  virtual StatusOr<std::vector<at::Tensor>> Prepare(const ControlPicture& picture, int64_t height, int64_t width,
                                                    const LatentFormat& format) const = 0;
  /// Residuals at strength 1. x: f32 [B,C,h,w] as the sampled network takes it, t: f32 [B] its timesteps; `prepared`
  /// has B items; of `inputs` context, y, guidance and sigma are used. Throws torch's exceptions.
  virtual ControlResiduals Residuals(const std::vector<at::Tensor>& prepared, const at::Tensor& x, const at::Tensor& t,
                                     const ModelCallInputs& inputs) const = 0;
  /// The network to use beside `model`, for those whose file completes a model's own weights; null: this one as it is.
  /// Errors: INVALID_ARGUMENT when the model does not fit.
  virtual StatusOr<std::shared_ptr<const ControlNetwork>> For(const Model&) const {
    return std::shared_ptr<const ControlNetwork>();
  }
};

/// A CONTROL_NET handle.
struct ControlNet {
  std::shared_ptr<const ControlNetwork> network;
  std::vector<int64_t> kinds;  // ControlPicture::kinds of what it will be shown
};

/// A control network with its picture and settings, on top of those before it. Source: spec engine.md 8.2.
struct AppliedControl {
  ControlNet net;
  ControlPicture picture;
  double strength = 1.0, start_percent = 0.0, end_percent = 1.0;
  bool to_uncond = false;  // also for the entries of other lists
  std::shared_ptr<const AppliedControl> previous;
};

/// A prompt for each encoder of a set, by the encoder's key ("l", "g", "h", "t5xxl", ...).
using Prompts = std::map<std::string, std::string, std::less<>>;

/// Text encoders with their tokenizers: one, or the set that a family takes. Thread: one at a time.
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  /// Keys of the encoders in the set.
  virtual std::vector<std::string> keys() const = 0;
  /// Encodes one prompt for each key with the weights grammar of spec 4.3. layer: 0 = the family's default, else
  /// -1..-24 (CLIPSetLastLayer). Returns one entry: cond f32 [1,T,D] on the CPU (CLIP: T = 77 n) and pooled_output f32
  /// [1,D]. A key that is absent stands for the empty prompt.
  virtual StatusOr<Conditioning> EncodeEach(const Prompts& prompts, int64_t layer) const = 0;
  /// The same text for all.
  StatusOr<Conditioning> Encode(const std::string& text, int64_t layer) const {
    Prompts prompts;
    for (const std::string& key : keys()) prompts.emplace(key, text);
    return EncodeEach(prompts, layer);
  }
  /// The weights of all encoders as their files have them, named "clip_l.transformer.text_model...." and so on: the
  /// encoder's name in embedding files, then the names of transformers. Empty when they cannot be altered.
  virtual WeightSource weights() const { return {}; }
  /// The same set with these changes of weights(), in place of any that it was made with. Reads names and shapes only.
  /// Errors: INVALID_ARGUMENT when the weights cannot be altered.
  virtual StatusOr<std::shared_ptr<const TextEncoder>> Patched(const WeightPatches&) const {
    return InvalidArgument("the weights of this text encoder cannot be altered; leave the node out");
  }
};

/// prompts[key], or "" when absent.
inline std::string PromptFor(const Prompts& prompts, std::string_view key) {
  const auto it = prompts.find(key);
  return it == prompts.end() ? std::string() : it->second;
}

/// A CLIP handle.
struct Clip {
  std::shared_ptr<const TextEncoder> encoder;
  int64_t layer = 0;
  WeightPatches patches = {};  // that `encoder` was made with
  std::string identity = {};   // of files and patches, for caches; empty: unknown
};

/// Tiles of an autoencoder and by how much neighbours overlap: pixels and frames for encoding, latents for decoding.
struct VaeTiles {
  int64_t size = 512, overlap = 64;
  int64_t frames = 0, frame_overlap = 0;  // of a video; 0 frames: all at once
};

/// An autoencoder of images, or of videos: these take a batch of pictures as the frames of one video. Thread: one at a
/// time.
class Autoencoder {
 public:
  virtual ~Autoencoder() = default;
  /// pixels f32 [B,H,W,3] (cropped to a multiple of the ratio, centred) to latents f32 [B,C,h,w], both on the CPU; a
  /// video of B frames to [1,C,1+(B-1)/frame_ratio,h,w]. The mean of the Gaussian. Source: spec engine.md 6.2.
  virtual StatusOr<at::Tensor> Encode(const at::Tensor& pixels) const = 0;
  /// latents f32 [B,C,h,w] to pixels f32 [B,H,W,3] clamped to 0..1; videos [B,C,T,h,w] to the frames of all of them,
  /// one video after the other.
  virtual StatusOr<at::Tensor> Decode(const at::Tensor& latents) const = 0;
  /// The same in tiles: of images the average of three tilings. Source: spec engine.md 6.3.
  virtual StatusOr<at::Tensor> EncodeTiled(const at::Tensor& pixels, const VaeTiles& tiles) const = 0;
  virtual StatusOr<at::Tensor> DecodeTiled(const at::Tensor& latents, const VaeTiles& tiles) const = 0;
  virtual int64_t ratio() const = 0;                 // pixels per latent, 8 for SD
  virtual int64_t channels() const = 0;              // of a latent
  virtual int64_t frame_ratio() const { return 0; }  // frames per latent frame after the first; 0: images
};

/// A VAE handle.
struct Vae {
  std::shared_ptr<const Autoencoder> autoencoder;
};

/// A single-image super-resolution network. Thread: one at a time.
class UpscaleNetwork {
 public:
  virtual ~UpscaleNetwork() = default;
  /// f32 [B,3,H,W] 0..1 to f32 [B,3,H*scale,W*scale], on device().
  virtual at::Tensor Forward(const at::Tensor& x) const = 0;
  virtual int64_t scale() const = 0;
  virtual at::Device device() const = 0;
};
struct UpscaleModel {
  std::shared_ptr<const UpscaleNetwork> network;
};

}  // namespace atelier::engine

namespace atelier {
template <>
struct SocketTraits<engine::Image> {
  static constexpr std::string_view kName = "IMAGE";
};
template <>
struct SocketTraits<engine::Mask> {
  static constexpr std::string_view kName = "MASK";
};
template <>
struct SocketTraits<engine::Latent> {
  static constexpr std::string_view kName = "LATENT";
};
template <>
struct SocketTraits<engine::Conditioning> {
  static constexpr std::string_view kName = "CONDITIONING";
};
template <>
struct SocketTraits<engine::Sigmas> {
  static constexpr std::string_view kName = "SIGMAS";
};
template <>
struct SocketTraits<engine::Audio> {
  static constexpr std::string_view kName = "AUDIO";
};
template <>
struct SocketTraits<engine::Model> {
  static constexpr std::string_view kName = "MODEL";
};
template <>
struct SocketTraits<engine::Clip> {
  static constexpr std::string_view kName = "CLIP";
};
template <>
struct SocketTraits<engine::Vae> {
  static constexpr std::string_view kName = "VAE";
};
template <>
struct SocketTraits<engine::ControlNet> {
  static constexpr std::string_view kName = "CONTROL_NET";
};
template <>
struct SocketTraits<engine::UpscaleModel> {
  static constexpr std::string_view kName = "UPSCALE_MODEL";
};
}  // namespace atelier
