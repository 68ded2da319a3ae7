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

/// The prompt applies where `mask` is set, with this strength; `set_cond_area` is the widget's value. Thread: any.
inline void SetMask(CondEntry& entry, const Mask& mask, double strength, const std::string& set_cond_area) {
  entry.tensors["mask"] = mask.values.dim() < 3 ? mask.values.unsqueeze(0) : mask.values;
  entry.options["set_area_to_bounds"] = set_cond_area != "default";
  entry.options["mask_strength"] = strength;
}

/// The prompt applies during a part of the run: shares of it, 0 is its beginning. Thread: any.
inline void SetTimesteps(CondEntry& entry, double start, double end) {
  entry.options["start_percent"] = start;
  entry.options["end_percent"] = end;
}

}  // namespace atelier::nodes
