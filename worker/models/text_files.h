// Text encoders in files of their own: what a file holds, and the sets that CLIPLoader and its kin make of some. Each
// set is registered beside its family. Source: spec engine.md 4.2 "Loaders", 9.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/registry.h"
#include "worker/engine/model_cache.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"
#include "worker/text/clip_encoder.h"
#include "worker/text/t5_encoder.h"

namespace atelier::models {

/// One text encoder's weights under the names of transformers.
struct TextFile {
  engine::WeightSource weights;
  std::string path;  // for the cache; empty: a part of a checkpoint, which is cached as a whole
};

/// By kind: "l", "g", "h" (CLIP), "t5" (gated T5 and UMT5).
using TextFiles = std::map<std::string, TextFile, std::less<>>;

/// Builds a set of encoders. The kinds that it `needs` are there; others may be.
struct TextSet {
  std::vector<std::string> needs;
  std::function<StatusOr<std::shared_ptr<const engine::TextEncoder>>(const TextFiles&, engine::Engine&)> build;
};

#define ATELIER_REGISTER_TEXT_SET(name, ...)                 \
  static const bool ATELIER_CONCAT_(kTextSet, __COUNTER__) = \
      ::atelier::Registry<::atelier::models::TextSet>::Get().Add(name, 0, ::atelier::models::TextSet __VA_ARGS__)

/// The encoders of a family's kind; null when `files` has none of it. Errors: as ClipEncoder::Build.
StatusOr<std::shared_ptr<const text::ClipEncoder>> ClipOf(const TextFiles& files, const std::string& kind,
                                                          const text::ClipOptions& options, engine::Engine& engine);
StatusOr<std::shared_ptr<const text::T5Encoder>> T5Of(const TextFiles& files, const text::T5Options& options,
                                                      engine::Engine& engine);

/// Options of CLIP-L, and of G and H with their projection; the family sets layer and normalisation.
text::ClipOptions OptionsOfL();
text::ClipOptions OptionsOfG();
text::ClipOptions OptionsOfH();

/// What a file of its own holds: its kind and the weights without prefixes, in the layout of transformers. Errors:
/// INVALID_ARGUMENT for none of the known kinds.
StatusOr<std::pair<std::string, engine::WeightSource>> RecogniseTextFile(const engine::WeightSource& file);

/// The encoders inside a checkpoint ("text_encoders.clip_l.transformer." and so on); empty when it has none.
TextFiles TextFilesOfCheckpoint(const engine::WeightSource& file);

/// The set `type` of the encoders in these files, in any order; a single CLIP of any type but its family's is taken
/// for the family it belongs to. Errors: NOT_FOUND; INVALID_ARGUMENT for an unknown type or when a kind is missing or
/// twice there, naming it. Thread: any.
StatusOr<std::shared_ptr<const engine::TextEncoder>> LoadTextEncoder(const std::vector<std::string>& paths,
                                                                     const std::string& type,
                                                                     engine::Engine& engine = engine::TheEngine());

}  // namespace atelier::models
