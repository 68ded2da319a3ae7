#include "worker/nodes/tile_control.h"

#include <algorithm>

#include "common/image/tiles.h"
#include "worker/engine/picture_parts.h"

namespace atelier::nodes {
namespace {

// f32 [B,h,w,C] of a box. Throws what torch throws.
at::Tensor PartAt(const engine::PictureParts& picture, const Box& box) {
  const auto found =
      std::find_if(picture.parts.begin(), picture.parts.end(), [&](const auto& part) { return part.first == box; });
  TORCH_CHECK(found != picture.parts.end(), "the task brought no part ", box.x1, ",", box.y1, " to ", box.x2, ",",
              box.y2, " of the picture that a control net is shown");
  return found->second;
}

}  // namespace

at::Tensor ControlCutter::CutPicture(int64_t width, int64_t height,
                                     const std::function<at::Tensor(const Box&)>& pixels_at) const {
  std::vector<at::Tensor> cut;
  for (const Box& crop : crops_) {
    const at::Tensor part =
        pixels_at(BoxOnPicture(crop, canvas_width_, canvas_height_, width, height)).permute({0, 3, 1, 2});
    cut.push_back(at::_upsample_nearest_exact2d(part.contiguous(), {process_height_, process_width_}));
  }
  return at::cat(cut, 0).permute({0, 2, 3, 1}).contiguous();
}

// Of one control without those before it; no network: nothing is left of it.
engine::AppliedControl ControlCutter::CutOne(engine::AppliedControl control) const {
  const auto* shown = dynamic_cast<const engine::ShownInParts*>(control.net.network.get());
  if (const auto boxes = models::CutBoxes(*control.net.network, cut_box_)) {
    control.net.network = *boxes;
  } else if (shown != nullptr) {
    const engine::PictureParts& picture = shown->picture();
    control.picture.pixels =
        CutPicture(picture.width, picture.height, [&](const Box& box) { return PartAt(picture, box); });
    control.net.network = std::shared_ptr<const engine::ControlNetwork>(shown->network());
  } else {
    const at::Tensor whole = control.picture.pixels;
    control.picture.pixels = CutPicture(whole.size(2), whole.size(1), [&](const Box& box) {
      return whole.slice(1, box.y1, box.y2).slice(2, box.x1, box.x2);
    });
  }
  return control;
}

void ControlCutter::Cut(Conditioning& conditioning) {
  for (CondEntry& entry : conditioning.entries) {
    std::vector<Control> chain;
    Control control = entry.control;
    for (; control != nullptr && !cut_.contains(control); control = control->previous) chain.push_back(control);
    Control last = control == nullptr ? nullptr : cut_.at(control);
    for (auto it = chain.rbegin(); it != chain.rend(); ++it) {
      engine::AppliedControl made = CutOne(**it);
      made.previous = last;
      if (made.net.network != nullptr) last = std::make_shared<const engine::AppliedControl>(std::move(made));
      cut_.emplace(*it, last);
    }
    entry.control = last;
  }
}

}  // namespace atelier::nodes
