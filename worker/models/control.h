// Control networks: how a file is recognised and what it becomes. One file below controlnets/ and one registration
// each. Source: spec engine.md 8.2.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/registry.h"
#include "worker/models/family.h"

namespace atelier::models {

/// A layout of control network files. They are asked in order, the first that recognises a file builds it.
struct ControlArch {
  std::function<bool(const engine::WeightSource&)> detect;
  std::function<StatusOr<std::shared_ptr<const engine::ControlNetwork>>(const engine::WeightSource&, engine::Engine&)>
      build;
};

#define ATELIER_REGISTER_CONTROL(name, order, ...)                                \
  static const bool ATELIER_CONCAT_(kControl, __COUNTER__) =                      \
      ::atelier::Registry<::atelier::models::ControlArch>::Get().Add(name, order, \
                                                                     ::atelier::models::ControlArch __VA_ARGS__)

/// The control network of an open file, by the first layout that recognises it. `base`: the model that a file of
/// differences is added to; null: such a file is taken as it is. Errors: INVALID_ARGUMENT naming file and tensor.
/// Thread: any.
StatusOr<std::shared_ptr<const engine::ControlNetwork>> BuildControlNet(const engine::WeightSource& file,
                                                                        const engine::Model* base,
                                                                        engine::Engine& engine);

/// A control network (models/controlnet). `base`: as for BuildControlNet. Errors: as LoadCheckpoint. Thread: any.
StatusOr<std::shared_ptr<const engine::ControlNetwork>> LoadControlNet(const std::string& path,
                                                                       const engine::Model* base = nullptr,
                                                                       engine::Engine& engine = engine::TheEngine());

/// A control network for UNets, from weights named "input_blocks.", "zero_convs.", "input_hint_block." and so on. Those
/// of several kinds ("union") have "task_embedding" too. `file` decides whether residuals are averaged over the picture
/// (names ending in "_shuffle"). Errors: INVALID_ARGUMENT naming file and tensor.
StatusOr<std::shared_ptr<const engine::ControlNetwork>> BuildUNetControl(const engine::WeightSource& weights,
                                                                         engine::Engine& engine);

/// Pictures [N,H,W,C] as [N,C,height,width]: cut to the aspect about the centre, the nearest pixel of each place.
/// Errors: INVALID_ARGUMENT when the number of channels differs from `channels` (0: any).
StatusOr<at::Tensor> HintPixels(const at::Tensor& pixels, int64_t height, int64_t width, int64_t channels);

}  // namespace atelier::models
