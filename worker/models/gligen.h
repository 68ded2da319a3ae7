// Prompts bound to places: boxes with descriptions that further attention layers in a UNet look at (GLIGEN). Source:
// spec engine.md 4.1 "gligen", 4.10; arXiv 2301.07093 and its published network (MIT), by its tensors.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/graph/node.h"
#include "worker/engine/model_cache.h"
#include "worker/engine/network_hooks.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// A described box in latent pixels.
struct GroundedBox {
  at::Tensor description;  // f32 [1,D], the text's pooled output
  int64_t height = 0, width = 0, y = 0, x = 0;
};

/// The layers for UNets of one layout. Thread: one at a time.
class GligenNetwork {
 public:
  virtual ~GligenNetwork() = default;
  /// How many boxes one prompt may have.
  virtual int64_t boxes_max() const = 0;
  /// Tokens f32 [1,boxes_max,D'] of boxes in a picture of height x width latent pixels. REQUIRES: at most boxes_max
  /// boxes. Throws torch's exceptions when the descriptions have another width.
  virtual at::Tensor Tokens(const std::vector<GroundedBox>& boxes, int64_t height, int64_t width) const = 0;
  /// What a transformer layer's state x [B,T,C] becomes at the gated layer that looks at `tokens`; x itself where the
  /// network has none. Keeps the weights where they are until it is gone.
  virtual engine::NetworkHooks::OnResult Layers(const at::Tensor& tokens) const = 0;
};

/// A GLIGEN handle.
struct Gligen {
  std::shared_ptr<const GligenNetwork> network;
};

/// Reads names and shapes only. Errors: INVALID_ARGUMENT naming file and tensor.
StatusOr<std::shared_ptr<const GligenNetwork>> BuildGligen(const engine::WeightSource& weights, engine::Engine& engine);

/// A file of models/gligen. Errors: as LoadCheckpoint. Thread: any.
StatusOr<std::shared_ptr<const GligenNetwork>> LoadGligen(const std::string& path,
                                                          engine::Engine& engine = engine::TheEngine());

/// The entry with one more box, which counts for the other lists of the run as well unless they have boxes. Errors:
/// INVALID_ARGUMENT when the network takes no more boxes.
StatusOr<engine::CondEntry> WithBox(const engine::CondEntry& entry, const Gligen& gligen, GroundedBox box);

/// Brings a box to a tile; false when they do not meet.
using BoxCutter = std::function<bool(GroundedBox&)>;

/// The network of WithBox with what `cut` leaves of its boxes; null when it leaves none, nothing when `network` is of
/// another kind. Thread: any.
std::optional<std::shared_ptr<const engine::ControlNetwork>> CutBoxes(const engine::ControlNetwork& network,
                                                                      const BoxCutter& cut);

}  // namespace atelier::models

namespace atelier {
template <>
struct SocketTraits<models::Gligen> {
  static constexpr std::string_view kName = "GLIGEN";
};
}  // namespace atelier
