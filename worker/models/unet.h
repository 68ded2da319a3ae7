// The classic UNet of SD1, SD2 and SDXL, in the shape of its file. Source: spec engine.md 4.2 "Classic UNet shape
// inference", 4.5.
#pragma once

#include <memory>
#include <vector>

#include "worker/engine/layers.h"
#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// A UNet and what its shapes say.
struct UNetShape {
  int64_t model_channels = 0, in_channels = 0, out_channels = 0;
  int64_t context_width = 0;       // of the text conditioning
  int64_t vector_width = 0;        // of y; 0 when it takes none
  bool linear_projection = false;  // SD2 and SDXL; SD1 projects with 1x1 convolutions
};

/// The encoder half of a UNet with its middle, as control networks have it. Its parameters belong to the set of the
/// builder that took them, which the owner loads before a call. Thread: one at a time.
class UNetEncoder {
 public:
  virtual ~UNetEncoder() = default;
  virtual const UNetShape& unet_shape() const = 0;
  /// Channels of the results of Encode but the last, and of the last.
  virtual const std::vector<int64_t>& block_channels() const = 0;
  virtual int64_t middle_channels() const = 0;
  /// The results of each input block and of the middle. x: f32 [B,C,h,w] as the network takes it; t: f32 [B]; of
  /// `inputs` context and y are used; `embedding_offset` [B,4mc], or undefined, is added to the embedding of t and y;
  /// `hint` [B,mc,h,w] to the first block's result, and its type and device are those of the computation. Throws
  /// torch's exceptions.
  virtual std::vector<at::Tensor> Encode(const at::Tensor& x, const at::Tensor& t,
                                         const engine::ModelCallInputs& inputs, const at::Tensor& embedding_offset,
                                         const at::Tensor& hint) const = 0;
};

/// Takes an encoder from weights named as a UNet's; what is missing is told by the builder's status.
std::unique_ptr<const UNetEncoder> TakeUNetEncoder(engine::LayerBuilder& builder, bool attention_fp32);

/// Reads the shape from names alone; zeros where tensors are missing. Thread: any.
UNetShape ShapeOfUNet(const engine::WeightSource& weights);

/// Builds the network from weights named "input_blocks.0.0.weight" and so on; reads names and shapes only. SD1 has 8
/// heads everywhere, the others heads of 64. `attention_fp32`: queries and keys are multiplied in float32 (SD2).
/// Errors: INVALID_ARGUMENT naming file and tensor. Forward: t are timesteps, context is required, y exactly when
/// vector_width > 0.
StatusOr<std::shared_ptr<const engine::DiffusionNetwork>> BuildUNet(const engine::WeightSource& weights,
                                                                    bool attention_fp32, engine::Engine& engine);

}  // namespace atelier::models
