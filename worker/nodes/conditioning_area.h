// How nodes say where and when a prompt applies. Source: spec engine.md 4.10.
#pragma once

#include "worker/nodes/support.h"

namespace atelier::nodes {

/// Declares the widget set_cond_area of N.
template <typename N>
void DescribeCondArea(NodeSchema<N>& s) {
  s.template Input<&N::set_cond_area>("set_cond_area")
      .OneOf({"default", "mask bounds"})
      .Tooltip("mask bounds samples only the rectangle around the mask.");
}

/// The options that say which box of a tile's canvas an entry's "mask" and its "reference_latents.N" are, where they
/// are not whole: BoxJson, in pixels; of the latents with N after it. Only CropConditioning reads them.
inline constexpr const char* kMaskPart = "mask_part";
inline constexpr const char* kLatentPart = "reference_latent_part.";
/// [x1, y1, x2, y2]. Thread: any.
inline Json BoxJson(const Box& box) { return Json::array({box.x1, box.y1, box.x2, box.y2}); }

/// The prompt applies where `mask` is set, with this strength; `set_cond_area` is the widget's value. Thread: any.
inline void SetMask(CondEntry& entry, const Mask& mask, double strength, const std::string& set_cond_area) {
  entry.tensors["mask"] = mask.values.dim() < 3 ? mask.values.unsqueeze(0) : mask.values;
  entry.options["set_area_to_bounds"] = set_cond_area != "default";
  entry.options["mask_strength"] = strength;
  entry.options.erase(kMaskPart);
  if (mask.part) entry.options[kMaskPart] = BoxJson(*mask.part);
}

/// The prompt applies during a part of the run: shares of it, 0 is its beginning. Thread: any.
inline void SetTimesteps(CondEntry& entry, double start, double end) {
  entry.options["start_percent"] = start;
  entry.options["end_percent"] = end;
}

}  // namespace atelier::nodes
