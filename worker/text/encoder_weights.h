// The weights of a set of text encoders as one, each encoder's under a prefix.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/engine/weights.h"

namespace atelier::text {

/// The prefix of an encoder's weights in a set: "clip_l.transformer." of the name that embedding files have for it.
inline std::string SetPrefix(const std::string& name) { return name + ".transformer."; }

/// Those of `changes` under an encoder's prefix, without it. Thread: any.
engine::WeightPatches PatchesOf(const std::string& name, const engine::WeightPatches& changes);

/// An encoder of a set by its name.
struct NamedWeights {
  std::string name;
  const engine::WeightSource* weights;
};
/// All of them under their prefixes, with the first one's file. Thread: any.
engine::WeightSource SetWeights(const std::vector<NamedWeights>& encoders);

/// `encoder` with what of `changes` is its own; null stays null. Errors: as its Patched().
template <typename Encoder>
StatusOr<std::shared_ptr<const Encoder>> PatchedOfSet(const std::shared_ptr<const Encoder>& encoder,
                                                      const engine::WeightPatches& changes) {
  if (encoder == nullptr) return encoder;
  return encoder->Patched(PatchesOf(encoder->options().name, changes));
}

}  // namespace atelier::text
