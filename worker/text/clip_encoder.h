// CLIP's text transformer, in the sizes of its file. Source: spec engine.md 4.3 "Encoders".
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"
#include "worker/text/prompt.h"

namespace atelier::text {

/// What of an encoder does not show in its tensors.
struct ClipOptions {
  std::string name = "clip_l";  // key in embedding files
  bool quick_gelu = true;       // CLIP-L; G and H use GELU
  int64_t pad = 49407;          // 0 for G and H
  int64_t layer = -1;           // the default: -1 the last, -2 the last but one
  bool final_norm = true;       // whether the chosen layer passes the final normalisation (not for SDXL)
  bool project = false;         // whether pooled passes text_projection (H and G)
};

/// What one encoder gives for a prompt. cond: f32 [1,77 n,D]; pooled: f32 [1,D]. Both on the CPU.
struct Encoded {
  at::Tensor cond, pooled;
};

/// One CLIP encoder with its tokenizer. Thread: one at a time.
class ClipEncoder {
 public:
  /// weights: names as in transformers, starting at "text_model." (OpenClipToHf makes them from OpenCLIP's). Heads are
  /// width / 64. Reads names and shapes only. Errors: INVALID_ARGUMENT naming file and tensor.
  static StatusOr<std::shared_ptr<const ClipEncoder>> Build(const engine::WeightSource& weights,
                                                            const ClipOptions& options, engine::Engine& engine);
  virtual ~ClipEncoder() = default;
  virtual int64_t width() const = 0;
  virtual const ClipOptions& options() const = 0;
  /// What Build() was given.
  virtual const engine::WeightSource& weights() const = 0;
  /// The same encoder with these changes of weights(). Errors: as Build's.
  virtual StatusOr<std::shared_ptr<const ClipEncoder>> Patched(const engine::WeightPatches& patches) const = 0;
  /// Chunks of `prompt` for this encoder, with the engine's embeddings. Missing ones are logged and dropped.
  virtual StatusOr<std::vector<std::vector<Token>>> Tokenize(const std::string& prompt) const = 0;
  /// layer: 0 the default, else -1..-24; beyond the first layer means the last.
  virtual StatusOr<Encoded> Encode(const std::vector<std::vector<Token>>& chunks, int64_t layer) const = 0;
};

/// The names of transformers for an encoder in OpenCLIP's layout ("transformer.resblocks.0.attn.in_proj_weight", ...).
/// Weights that are in that layout already are passed through.
engine::WeightSource OpenClipToHf(const engine::WeightSource& weights);

/// A TextEncoder of one CLIP: cond and pooled are its own (SD1, SD2).
std::shared_ptr<const engine::TextEncoder> SingleClip(std::shared_ptr<const ClipEncoder> encoder);

/// SDXL's pair: cond is [L | G] cut to the shorter count of tokens, pooled is G's.
std::shared_ptr<const engine::TextEncoder> DualClip(std::shared_ptr<const ClipEncoder> l,
                                                    std::shared_ptr<const ClipEncoder> g);

}  // namespace atelier::text
