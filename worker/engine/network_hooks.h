// Places in a network's forward pass where nodes may reach in. Source: spec engine.md 4.10 "Hook points", 8.1.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "worker/engine/types.h"

namespace atelier::engine {

/// Where in a UNet a block stands, and what the call is about. Valid during the call.
struct BlockCall {
  enum class Part { kInput, kMiddle, kOutput };
  Part part = Part::kInput;
  int64_t number = 0;                            // of the block in its part
  int64_t depth = 0;                             // of the transformer layer in its block
  int64_t heads = 1;                             // of the attention layer
  int64_t height = 0, width = 0;                 // of the network's input, in latent pixels
  const std::vector<CondKind>* kinds = nullptr;  // of the equal parts of the batch
  float sigma = 0;                               // noise level
};

/// What goes into an attention layer: f32 or f16 [B,T,C], before the projections to queries, keys and values.
struct AttentionInputs {
  at::Tensor query, key, value;
};

/// Hooks of a network, run in order. Networks without such places leave them alone.
struct NetworkHooks {
  using OnInputs = std::function<void(AttentionInputs&, const BlockCall&)>;
  /// Of the layer's result [B,T,C] after its output projection.
  using OnResult = std::function<at::Tensor(const at::Tensor&, const BlockCall&)>;
  /// In place of the attention itself, of projected q, k, v [B,T,heads*d]; nothing: as usual.
  using Replace = std::function<std::optional<at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                                          const BlockCall&)>;
  /// Of what a block gives, [B,C,h,w].
  using OnBlock = std::function<at::Tensor(const at::Tensor&, const BlockCall&)>;
  /// Of what an output block takes: the state and the skip tensor that is joined to it.
  using OnOutputBlock = std::function<void(at::Tensor& state, at::Tensor& skip, const BlockCall&)>;
  using Network = std::function<at::Tensor(const at::Tensor& x, const at::Tensor& t, const ModelCallInputs&)>;
  /// Around the whole network.
  using Around =
      std::function<at::Tensor(const at::Tensor& x, const at::Tensor& t, const ModelCallInputs&, const Network&)>;

  std::vector<OnInputs> self_inputs, cross_inputs;
  std::vector<OnResult> self_results, cross_results;
  std::vector<Replace> self_replace, cross_replace;
  /// Of a layer's state [B,T,C] between its attention to itself and that to the text.
  std::vector<OnResult> after_self;
  std::vector<OnBlock> input_blocks, input_blocks_after_skip;
  std::vector<OnOutputBlock> output_blocks;
  std::vector<Around> around;
  std::set<int64_t> skip_double, skip_single;  // blocks of a transformer that are left out
};

}  // namespace atelier::engine
