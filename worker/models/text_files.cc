#include "worker/models/text_files.h"

#include <utility>

#include "worker/engine/guard.h"

namespace atelier::models {
namespace {

using engine::WeightSource;

constexpr const char* kTokenEmbedding = "text_model.embeddings.token_embedding.weight";

// L, G and H differ in depth and width alone. Widths of 128 and more than 12 layers do not occur in L.
std::string ClipKind(const WeightSource& w) {
  const int64_t layers = w.CountBlocks("text_model.encoder.layers."), width = w.Dim(kTokenEmbedding, 1);
  if (layers > 30 || width == 1280 || width == 128) return "g";
  if (layers > 22 || width == 1024) return "h";
  return "l";
}

// Some files keep the prefix that their checkpoint gave them.
WeightSource WithoutPrefix(const WeightSource& file) {
  for (const char* prefix : {"transformer.", "text_encoder.", "model."}) {
    const WeightSource inner = file.Prefixed(prefix);
    if (inner.Has(kTokenEmbedding) || text::IsT5(inner)) return inner;
  }
  return file;
}

std::string List(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
  return list;
}

}  // namespace

text::ClipOptions OptionsOfL() { return {}; }

text::ClipOptions OptionsOfG() {
  text::ClipOptions options;
  options.name = "clip_g";
  options.quick_gelu = false;
  options.pad = 0;
  options.project = true;
  return options;
}

text::ClipOptions OptionsOfH() {
  text::ClipOptions options = OptionsOfG();
  options.name = "clip_h";
  return options;
}

StatusOr<std::shared_ptr<const text::ClipEncoder>> ClipOf(const TextFiles& files, const std::string& kind,
                                                          const text::ClipOptions& options, engine::Engine& engine) {
  using Clip = std::shared_ptr<const text::ClipEncoder>;
  const auto it = files.find(kind);
  if (it == files.end()) return Clip();
  const auto build = [&]() -> StatusOr<Clip> { return text::ClipEncoder::Build(it->second.weights, options, engine); };
  if (it->second.path.empty()) return build();
  return engine.models().Get<text::ClipEncoder>(
      it->second.path,
      Cat("clip ", options.name, " ", options.layer, options.final_norm ? " norm" : "",
          options.project ? " project" : ""),
      build);
}

StatusOr<std::shared_ptr<const text::T5Encoder>> T5Of(const TextFiles& files, const text::T5Options& options,
                                                      engine::Engine& engine) {
  using T5 = std::shared_ptr<const text::T5Encoder>;
  const auto it = files.find("t5");
  if (it == files.end()) return T5();
  const auto build = [&]() -> StatusOr<T5> { return text::T5Encoder::Build(it->second.weights, options, engine); };
  if (it->second.path.empty()) return build();
  return engine.models().Get<text::T5Encoder>(
      it->second.path, Cat("t5 ", options.name, " ", options.length_min, options.mask ? " mask" : ""), build);
}

StatusOr<std::pair<std::string, WeightSource>> RecogniseTextFile(const WeightSource& file) {
  WeightSource weights = WithoutPrefix(file);
  if (weights.Has("transformer.resblocks.0.ln_1.weight")) weights = text::OpenClipToHf(weights);
  if (weights.Has(kTokenEmbedding)) return std::pair(ClipKind(weights), weights);
  if (text::IsT5(weights)) return std::pair(std::string("t5"), weights);
  return InvalidArgument("file \"", file.file(),
                         "\" holds no text encoder of a known kind (known: CLIP-L, CLIP-G, CLIP-H, T5-XXL, UMT5-XXL); "
                         "choose another file");
}

TextFiles TextFilesOfCheckpoint(const WeightSource& file) {
  constexpr std::pair<const char*, const char*> kParts[] = {{"l", "text_encoders.clip_l."},
                                                            {"g", "text_encoders.clip_g."},
                                                            {"h", "text_encoders.clip_h."},
                                                            {"t5", "text_encoders.t5xxl."},
                                                            {"t5", "text_encoders.umt5xxl."}};
  TextFiles files;
  for (const auto& [kind, prefix] : kParts) {
    const WeightSource part = WithoutPrefix(file.Prefixed(prefix));
    if (part.Has(kTokenEmbedding) || text::IsT5(part)) files[kind] = {part, ""};
  }
  return files;
}

StatusOr<std::shared_ptr<const engine::TextEncoder>> LoadTextEncoder(const std::vector<std::string>& paths,
                                                                     const std::string& type, engine::Engine& engine) {
  return engine::Guard([&]() -> StatusOr<std::shared_ptr<const engine::TextEncoder>> {
    TextFiles files;
    for (const std::string& path : paths) {
      ASSIGN_OR_RETURN(const WeightSource file, WeightSource::Open(path));
      ASSIGN_OR_RETURN(auto found, RecogniseTextFile(file));
      // Two files of one kind: only one of them can be used.
      if (!files.emplace(found.first, TextFile{std::move(found.second), path}).second)
        return InvalidArgument("file \"", file.file(), "\" holds a text encoder of kind ", found.first,
                               " as another chosen file does; choose one file of each kind");
    }
    const Registry<TextSet>& registry = Registry<TextSet>::Get();
    const TextSet* set = registry.Find(type);
    const auto fits = [&files](const TextSet& s) {
      return std::all_of(s.needs.begin(), s.needs.end(), [&files](const std::string& k) { return files.contains(k); });
    };
    // A CLIP alone means its own family whatever the type says; SD1's choice is the default one.
    if (files.size() == 1 && (set == nullptr || !fits(*set))) {
      const TextSet* own = registry.Find("stable_diffusion");
      if (own != nullptr && !files.contains("t5")) set = own;
    }
    if (set == nullptr)
      return InvalidArgument("text encoders of type \"", type, "\" are not supported, expected one of ",
                             List(registry.Names()));
    if (!fits(*set)) {
      std::vector<std::string> have;
      for (const auto& [kind, file] : files) have.push_back(kind);
      return InvalidArgument("type \"", type, "\" takes text encoders of the kinds ", List(set->needs),
                             ", the chosen files hold ", List(have), "; choose other files or another type");
    }
    return set->build(files, engine);
  });
}

}  // namespace atelier::models
