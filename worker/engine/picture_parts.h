// A control network's picture of a whole canvas, of which a tile's task has its own parts alone. Source: spec
// distributed.md 3.6; docs/tiles.md "What is sent".
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "common/image/image_u8.h"
#include "worker/engine/types.h"

namespace atelier::engine {

/// Parts of a picture of width x height: a box of it, and f32 [B,h,w,C].
struct PictureParts {
  int64_t width = 0, height = 0;
  std::vector<std::pair<Box, at::Tensor>> parts;
};

/// A control network in the state of having been shown such parts. Who cuts the prompt to the tile puts `network` and
/// its picture in the place of this (worker/nodes/tile_control.h); elsewhere it is of no use, and says so.
class ShownInParts final : public ControlNetwork {
 public:
  ShownInParts(std::shared_ptr<const ControlNetwork> network, PictureParts picture)
      : network_(std::move(network)), picture_(std::move(picture)) {}
  const std::shared_ptr<const ControlNetwork>& network() const { return network_; }
  const PictureParts& picture() const { return picture_; }

  StatusOr<std::vector<at::Tensor>> Prepare(const ControlPicture&, int64_t, int64_t,
                                            const LatentFormat&) const override {
    return Internal("a control net was shown parts of a picture and is used where the whole one is needed");
  }
  ControlResiduals Residuals(const std::vector<at::Tensor>&, const at::Tensor&, const at::Tensor&,
                             const ModelCallInputs&) const override {
    return {};
  }
  StatusOr<std::shared_ptr<const ControlNetwork>> For(const Model&) const override {
    return Internal("a control net was shown parts of a picture and is used where the whole one is needed");
  }

 private:
  std::shared_ptr<const ControlNetwork> network_;
  PictureParts picture_;
};

}  // namespace atelier::engine
