// The sets of text encoders that FLUX and SD3 take. Source: spec engine.md 9.2, 9.4.
#pragma once

#include <memory>

#include "worker/engine/types.h"
#include "worker/text/clip_encoder.h"
#include "worker/text/t5_encoder.h"

namespace atelier::text {

/// FLUX: cond is T5's, pooled is CLIP-L's. Keys "l", "t5xxl".
std::shared_ptr<const engine::TextEncoder> FluxSet(std::shared_ptr<const ClipEncoder> l,
                                                   std::shared_ptr<const T5Encoder> t5);

/// SD3: cond is [L | G] filled up with zeros to 4096, then T5's tokens; pooled is [L | G]. Any of the three may be
/// null: its place holds zeros, and T5's tokens are left out. Keys "l", "g", "t5xxl"; a key that is absent in the
/// prompts means no tokens: T5 is then left out, as are L and G when both are absent. REQUIRES: one is not null.
std::shared_ptr<const engine::TextEncoder> Sd3Set(std::shared_ptr<const ClipEncoder> l,
                                                  std::shared_ptr<const ClipEncoder> g,
                                                  std::shared_ptr<const T5Encoder> t5);

}  // namespace atelier::text
