#include "worker/nodes/tile_control.h"

#include <algorithm>

namespace atelier::nodes {
namespace {

// [first, last) of a picture's axis that lies below a range of the canvas; at least one pixel.
std::pair<int64_t, int64_t> Range(int64_t from, int64_t to, int64_t canvas, int64_t size) {
  const int64_t first = std::clamp<int64_t>(from * size / canvas, 0, size - 1);
  const int64_t last = std::clamp<int64_t>((to * size + canvas - 1) / canvas, first + 1, size);
  return {first, last};
}

}  // namespace

at::Tensor ControlCutter::CutPixels(const at::Tensor& pixels) const {
  std::vector<at::Tensor> parts;
  for (const Box& crop : crops_) {
    const auto [y1, y2] = Range(crop.y1, crop.y2, canvas_height_, pixels.size(1));
    const auto [x1, x2] = Range(crop.x1, crop.x2, canvas_width_, pixels.size(2));
    const at::Tensor part = pixels.slice(1, y1, y2).slice(2, x1, x2).permute({0, 3, 1, 2});
    parts.push_back(at::_upsample_nearest_exact2d(part.contiguous(), {process_height_, process_width_}));
  }
  return at::cat(parts, 0).permute({0, 2, 3, 1}).contiguous();
}

void ControlCutter::Cut(Conditioning& conditioning) {
  for (CondEntry& entry : conditioning.entries) {
    std::vector<Control> chain;
    Control control = entry.control;
    for (; control != nullptr && !cut_.contains(control); control = control->previous) chain.push_back(control);
    Control last = control == nullptr ? nullptr : cut_.at(control);
    for (auto it = chain.rbegin(); it != chain.rend(); ++it) {
      engine::AppliedControl made = **it;
      made.picture.pixels = CutPixels(made.picture.pixels);
      made.previous = last;
      last = std::make_shared<const engine::AppliedControl>(std::move(made));
      cut_.emplace(*it, last);
    }
    entry.control = last;
  }
}

}  // namespace atelier::nodes
