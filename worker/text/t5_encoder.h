// The encoder half of T5, in the sizes of its file: T5-XXL and UMT5-XXL. Source: spec engine.md 9.1.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"
#include "worker/text/prompt.h"
#include "worker/text/unigram.h"

namespace atelier::text {

/// How a family uses T5.
struct T5Options {
  std::string name = "t5xxl";  // key in embedding files
  int64_t length_min = 77;     // tokens, padded with 0
  bool mask = false;           // padding is not attended to and comes out as zeros
};

/// One T5 with its tokenizer: the one that a tensor "spiece_model" of the file holds, else T5's own. Thread: one at a
/// time.
class T5Encoder {
 public:
  /// weights: names as in transformers ("encoder.block.0.layer.0.SelfAttention.q.weight", "shared.weight"). Heads are
  /// the rows of q / 64. Reads names, shapes and the tokenizer only. Errors: INVALID_ARGUMENT naming file and tensor.
  static StatusOr<std::shared_ptr<const T5Encoder>> Build(const engine::WeightSource& weights, const T5Options& options,
                                                          engine::Engine& engine);
  virtual ~T5Encoder() = default;
  virtual int64_t width() const = 0;
  virtual const T5Options& options() const = 0;
  /// What Build() was given.
  virtual const engine::WeightSource& weights() const = 0;
  /// The same encoder with these changes of weights(). Errors: as Build's.
  virtual StatusOr<std::shared_ptr<const T5Encoder>> Patched(const engine::WeightPatches& patches) const = 0;
  /// One chunk of `prompt`, as long as it needs. Missing embeddings are logged and dropped.
  virtual StatusOr<std::vector<std::vector<Token>>> Tokenize(const std::string& prompt) const = 0;
  /// f32 [1, tokens, width] on the CPU. layer: 0 the last, else -1..-24; beyond the first layer means the last.
  virtual StatusOr<at::Tensor> Encode(const std::vector<std::vector<Token>>& chunks, int64_t layer) const = 0;
};

/// Whether these are weights of a gated T5 encoder.
bool IsT5(const engine::WeightSource& weights);

/// A TextEncoder of one T5 alone: no pooled output (Wan).
std::shared_ptr<const engine::TextEncoder> SingleT5(std::shared_ptr<const T5Encoder> encoder);

}  // namespace atelier::text
