// Models as files again: what a handle's weights are after all changes, and under which names a file holds them.
// Source: spec engine.md 4.2 "Checkpoint layout", 12.4 (CheckpointSave, CLIPSave, VAESave, ModelSave).
#pragma once

#include <map>
#include <string>

#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// An autoencoder whose weights are at hand: the images' and the videos' are.
class StoredAutoencoder {
 public:
  virtual ~StoredAutoencoder() = default;
  /// By the names that it was built with ("decoder.conv_in.weight").
  virtual const engine::WeightSource& weights() const = 0;
};

using SavedTensors = std::map<std::string, at::Tensor>;

/// Adds the weights of `source` with its changes under prefix + name, in the types that they are stored in. Throws what
/// torch throws (memory).
void AddWeights(const engine::WeightSource& source, const std::string& prefix, SavedTensors& tensors);

/// The tensors of a diffusion model's file. Errors: INVALID_ARGUMENT when the model's weights are not at hand.
StatusOr<SavedTensors> DiffusionTensors(const engine::Model& model);
/// Those of each encoder of a set, by the encoder's name ("clip_l").
StatusOr<std::map<std::string, SavedTensors>> TextTensors(const engine::Clip& clip);
/// Those of an autoencoder's own file.
StatusOr<SavedTensors> AutoencoderTensors(const engine::Vae& vae);
/// Those of a checkpoint that holds all three, in the layout that files with these text encoders have.
StatusOr<SavedTensors> CheckpointTensors(const engine::Model& model, const engine::Clip& clip, const engine::Vae& vae);

}  // namespace atelier::models
