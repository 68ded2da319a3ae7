// Model files to networks. Building reads names and shapes only; weights take memory when a network first runs, so a
// part that a task does not use costs nothing. Built networks are kept in the engine's cache. Source: spec
// engine.md 4.2.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/tensorio/gguf.h"
#include "worker/models/family.h"

namespace atelier::models {

/// The parts of a full checkpoint. Errors: NOT_FOUND; DATA_LOSS or INVALID_ARGUMENT for a damaged file, an unknown
/// family or a missing tensor: one sentence naming the file. Thread: any.
StatusOr<std::shared_ptr<const CheckpointParts>> LoadCheckpoint(const std::string& path,
                                                                engine::Engine& engine = engine::TheEngine());

/// A diffusion network alone (models/diffusion_models), with or without its prefix. Errors: as LoadCheckpoint. Thread:
/// any.
/// weight_type: the weights are rounded to that type first (fp8 of UNETLoader), those that are no wider stay.
StatusOr<engine::Model> LoadDiffusion(const std::string& path, engine::Engine& engine = engine::TheEngine(),
                                      std::optional<at::ScalarType> weight_type = std::nullopt);

/// The same from a GGUF file whose blocks are decoded in `precision`; LoadDiffusion takes half. Errors: as
/// LoadCheckpoint; INVALID_ARGUMENT for a file of another format. Source: spec extras.md 3.3. Thread: any.
StatusOr<engine::Model> LoadGgufDiffusion(const std::string& path, GgufPrecision precision,
                                          engine::Engine& engine = engine::TheEngine());

/// An autoencoder alone (models/vae), or the one inside a checkpoint. Errors: as LoadCheckpoint. Thread: any.
StatusOr<std::shared_ptr<const engine::Autoencoder>> LoadAutoencoder(const std::string& path,
                                                                     engine::Engine& engine = engine::TheEngine());

/// How the latents of a tiny autoencoder lie to those of the one that it stands for: full = tiny / scale + shift.
struct TinyLatents {
  double scale = 1.0, shift = 0.0;
};

/// A tiny autoencoder from the files of its halves (models/vae_approx). The result is that of one file with both under
/// "taesd_encoder." and "taesd_decoder.", "vae_scale" and "vae_shift". Errors: as LoadCheckpoint. Source: spec
/// engine.md 6.2. Thread: any.
StatusOr<std::shared_ptr<const engine::Autoencoder>> LoadTinyAutoencoder(const std::string& encoder,
                                                                         const std::string& decoder,
                                                                         const TinyLatents& latents,
                                                                         engine::Engine& engine = engine::TheEngine());

/// The autoencoder whose latents are the picture itself, in -1..1: 3 channels, ratio 1. Source: spec engine.md 6.2.
/// Thread: any.
StatusOr<std::shared_ptr<const engine::Autoencoder>> LoadPixelSpace(engine::Engine& engine = engine::TheEngine());

/// A super-resolution network (models/upscale_models). Errors: as LoadCheckpoint. Thread: any.
StatusOr<std::shared_ptr<const engine::UpscaleNetwork>> LoadUpscaler(const std::string& path,
                                                                     engine::Engine& engine = engine::TheEngine());

/// Enlarges images f32 [B,H,W,3] by the network's scale in tiles of 512 with an overlap of 32; when memory runs out the
/// tile is halved, below 128 RESOURCE_EXHAUSTED is returned. `tick` runs after each tile, with the number done and in
/// all, and may stop. Returns f32 [B,H*s,W*s,3] in 0..1 on the CPU. Source: spec engine.md 7.1. Thread: one at a time
/// per network.
StatusOr<at::Tensor> UpscaleWithModel(const engine::UpscaleNetwork& network, const at::Tensor& pixels,
                                      const std::function<Status(int64_t done, int64_t total)>& tick = nullptr);

}  // namespace atelier::models
