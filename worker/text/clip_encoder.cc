#include "worker/text/clip_encoder.h"

#include <algorithm>

#include "common/base/log.h"
#include "worker/engine/guard.h"
#include "worker/engine/layers.h"
#include "worker/text/clip_block.h"
#include "worker/text/clip_bpe.h"
#include "worker/text/embeddings.h"
#include "worker/text/encoder_weights.h"

namespace atelier::text {
namespace {

using engine::LayerBuilder;
using engine::LayerNorm;
using engine::Linear;
using engine::Param;

class ClipTransformer final : public ClipEncoder {
 public:
  ClipTransformer(engine::WeightSource weights, ClipOptions options, engine::Engine& engine)
      : engine_(engine),
        weights_(std::move(weights)),
        options_(std::move(options)),
        params_(engine.device(), engine::Part::kTextEncoder, engine.residency()),
        embedding_folders_(engine.options().embedding_folders) {}

  Status Build(const engine::WeightPatches& patches) {
    const engine::WeightSource weights = weights_.Patched(patches);
    LayerBuilder b(weights, params_);
    const std::string root = "text_model.";
    width_ = weights.Dim(root + "embeddings.token_embedding.weight", 1);
    token_embedding_ = b.Take(root + "embeddings.token_embedding.weight", {kClipVocabulary, width_});
    position_embedding_ = b.Take(root + "embeddings.position_embedding.weight", {77, width_});
    if (width_ % 64 != 0) b.Fail(Cat("a text encoder of width ", width_, ", which 64 does not divide"));
    heads_ = width_ / 64;
    const int64_t count = weights.CountBlocks(root + "encoder.layers.");
    if (count == 0) b.Fail("a text encoder without layers");
    for (int64_t i = 0; i < count; ++i)
      blocks_.push_back(TakeClipBlock(b, Cat(root, "encoder.layers.", i, "."), width_));
    final_norm_ = b.TakeLayerNorm(root + "final_layer_norm", width_);
    if (options_.project && b.Has("text_projection.weight"))
      projection_ = b.TakeLinear("text_projection", width_, 0, engine::Bias::kNone);
    return b.status();
  }

  int64_t width() const override { return width_; }
  const ClipOptions& options() const override { return options_; }
  const engine::WeightSource& weights() const override { return weights_; }
  StatusOr<std::shared_ptr<const ClipEncoder>> Patched(const engine::WeightPatches& patches) const override {
    return Made(weights_, options_, engine_, patches);
  }
  static StatusOr<std::shared_ptr<const ClipEncoder>> Made(const engine::WeightSource& weights,
                                                           const ClipOptions& options, engine::Engine& engine,
                                                           const engine::WeightPatches& patches) {
    return engine::Guard([&]() -> StatusOr<std::shared_ptr<const ClipEncoder>> {
      auto encoder = std::make_shared<ClipTransformer>(weights, options, engine);
      RETURN_IF_ERROR(encoder->Build(patches));
      return std::shared_ptr<const ClipEncoder>(std::move(encoder));
    });
  }

  StatusOr<std::vector<std::vector<Token>>> Tokenize(const std::string& prompt) const override {
    std::vector<std::string> missing;
    auto chunks =
        text::Tokenize(prompt, {options_.pad, EmbeddingsIn(embedding_folders_, options_.name, width_)}, &missing);
    for (const std::string& name : missing)
      LogWarning("embedding \"", name, "\" is absent, the prompt goes on without it");
    return chunks;
  }

  StatusOr<Encoded> Encode(const std::vector<std::vector<Token>>& chunks, int64_t layer) const override {
    return engine::Guard([&]() -> StatusOr<Encoded> { return Run(chunks, layer); });
  }

 private:
  StatusOr<Encoded> Run(const std::vector<std::vector<Token>>& chunks, int64_t layer) const {
    if (chunks.empty()) return InvalidArgument("no tokens to encode");
    params_.Load();
    const auto count = static_cast<int64_t>(chunks.size());
    const bool weighted = std::any_of(chunks.begin(), chunks.end(), [](const std::vector<Token>& chunk) {
      return std::any_of(chunk.begin(), chunk.end(), [](const Token& t) { return t.weight != 1.0; });
    });
    const int64_t rows = count + (weighted ? 1 : 0);

    // Ids first, then embedding vectors in place of theirs. A vector of another width is left out and the rest moves
    // up.
    at::Tensor ids = at::full({rows, 77}, options_.pad, at::kLong);
    auto id = ids.accessor<int64_t, 2>();
    std::vector<int64_t> end_at(static_cast<size_t>(rows), 0);
    struct Placed {
      int64_t row, column;
      at::Tensor vector;
    };
    std::vector<Placed> vectors;
    for (int64_t row = 0; row < count; ++row) {
      int64_t column = 0;
      for (const Token& token : chunks[static_cast<size_t>(row)]) {
        if (token.embedding.defined()) {
          if (token.embedding.size(0) != width_) {
            LogWarning("an embedding of width ", token.embedding.size(0), " does not fit an encoder of width ", width_);
            continue;
          }
          vectors.push_back({row, column, token.embedding});
        } else {
          id[row][column] = token.id;
        }
        ++column;
      }
    }
    if (weighted) {
      id[count][0] = kClipStart;
      id[count][1] = kClipEnd;
    }
    std::vector<std::pair<int64_t, int64_t>> taken;
    for (const Placed& placed : vectors) taken.emplace_back(placed.row, placed.column);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < 77; ++column) {
        if (id[row][column] == kClipEnd &&
            std::find(taken.begin(), taken.end(), std::pair(row, column)) == taken.end()) {
          end_at[static_cast<size_t>(row)] = column;
          break;
        }
      }
    }

    const at::Device& device = params_.device();
    at::Tensor x = engine::Embed(token_embedding_, ids.to(device));
    for (const Placed& placed : vectors) x[placed.row][placed.column].copy_(placed.vector);
    x = x + engine::Cast(position_embedding_, at::kFloat);

    if (layer == 0) layer = options_.layer;
    const auto blocks = static_cast<int64_t>(blocks_.size());
    const int64_t stop =
        -layer > blocks || layer > 0 ? blocks : blocks + layer + 1;  // hidden state after that many blocks
    at::Tensor chosen = stop == 0 ? x : at::Tensor();
    const ClipActivation activation = options_.quick_gelu ? ClipActivation::kQuickGelu : ClipActivation::kGelu;
    for (int64_t i = 0; i < blocks; ++i) {
      x = blocks_[static_cast<size_t>(i)](x, heads_, /*causal=*/true, activation);
      if (i + 1 == stop) chosen = x;
    }
    const at::Tensor last = final_norm_(x);
    // A layer before the first one means the encoder's plain output, which is normalised in every family.
    const bool plain = -layer > blocks || (options_.final_norm && stop == blocks);
    at::Tensor z = plain ? last : options_.final_norm ? final_norm_(chosen) : chosen;
    at::Tensor pooled = last[0][end_at[0]].unsqueeze(0);
    if (projection_.weight != nullptr) pooled = projection_(pooled);

    z = z.to(at::kCPU);
    if (weighted) {
      at::Tensor weights = at::ones({count, 77, 1});
      auto w = weights.accessor<float, 3>();
      for (int64_t row = 0; row < count; ++row) {
        for (int64_t column = 0; column < 77; ++column) {
          w[row][column][0] = static_cast<float>(chunks[static_cast<size_t>(row)][static_cast<size_t>(column)].weight);
        }
      }
      const at::Tensor empty = z.narrow(0, count, 1), text = z.narrow(0, 0, count);
      // Weight 1 leaves the state as it is, bit by bit.
      z = at::where(weights == 1.0, text, empty + weights * (text - empty));
    }
    return Encoded{z.reshape({1, count * 77, width_}), pooled.to(at::kCPU)};
  }

  engine::Engine& engine_;
  engine::WeightSource weights_;
  ClipOptions options_;
  mutable engine::ParamSet params_;
  std::vector<std::string> embedding_folders_;
  int64_t width_ = 0, heads_ = 0;
  Param token_embedding_, position_embedding_;
  std::vector<ClipBlock> blocks_;
  LayerNorm final_norm_;
  Linear projection_;
};

engine::Conditioning OneEntry(Encoded encoded) {
  engine::Conditioning conditioning;
  engine::CondEntry& entry = conditioning.entries.emplace_back();
  entry.cond = std::move(encoded.cond);
  entry.tensors["pooled_output"] = std::move(encoded.pooled);
  return conditioning;
}

NamedWeights Named(const ClipEncoder& clip) { return {clip.options().name, &clip.weights()}; }

// "l" of "clip_l".
std::string PromptKey(const std::string& name) { return name.substr(name.rfind('_') + 1); }

class SingleClipEncoder final : public engine::TextEncoder {
 public:
  explicit SingleClipEncoder(std::shared_ptr<const ClipEncoder> clip) : clip_(std::move(clip)) {}
  std::vector<std::string> keys() const override { return {PromptKey(clip_->options().name)}; }
  StatusOr<engine::Conditioning> EncodeEach(const engine::Prompts& prompts, int64_t layer) const override {
    ASSIGN_OR_RETURN(const auto chunks, clip_->Tokenize(engine::PromptFor(prompts, keys().front())));
    ASSIGN_OR_RETURN(Encoded encoded, clip_->Encode(chunks, layer));
    return OneEntry(std::move(encoded));
  }
  engine::WeightSource weights() const override { return SetWeights({Named(*clip_)}); }
  StatusOr<std::shared_ptr<const engine::TextEncoder>> Patched(const engine::WeightPatches& patches) const override {
    ASSIGN_OR_RETURN(auto clip, PatchedOfSet(clip_, patches));
    return SingleClip(std::move(clip));
  }

 private:
  std::shared_ptr<const ClipEncoder> clip_;
};

class DualClipEncoder final : public engine::TextEncoder {
 public:
  DualClipEncoder(std::shared_ptr<const ClipEncoder> l, std::shared_ptr<const ClipEncoder> g)
      : l_(std::move(l)), g_(std::move(g)) {}
  std::vector<std::string> keys() const override { return {"l", "g"}; }
  StatusOr<engine::Conditioning> EncodeEach(const engine::Prompts& prompts, int64_t layer) const override {
    ASSIGN_OR_RETURN(auto chunks_l, l_->Tokenize(engine::PromptFor(prompts, "l")));
    ASSIGN_OR_RETURN(auto chunks_g, g_->Tokenize(engine::PromptFor(prompts, "g")));
    // The shorter one goes on with empty prompts. Source: spec engine.md 4.3 "Nodes".
    for (const auto& [clip, chunks, other] :
         {std::tuple(&l_, &chunks_l, &chunks_g), std::tuple(&g_, &chunks_g, &chunks_l)}) {
      if (chunks->size() >= other->size()) continue;
      ASSIGN_OR_RETURN(const auto empty, (*clip)->Tokenize(""));
      while (chunks->size() < other->size()) chunks->insert(chunks->end(), empty.begin(), empty.end());
    }
    ASSIGN_OR_RETURN(Encoded l, l_->Encode(chunks_l, layer));
    ASSIGN_OR_RETURN(Encoded g, g_->Encode(chunks_g, layer));
    return engine::Guard([&]() -> StatusOr<engine::Conditioning> {
      const int64_t tokens = std::min(l.cond.size(1), g.cond.size(1));
      return OneEntry({at::cat({l.cond.narrow(1, 0, tokens), g.cond.narrow(1, 0, tokens)}, 2), g.pooled});
    });
  }
  engine::WeightSource weights() const override { return SetWeights({Named(*l_), Named(*g_)}); }
  StatusOr<std::shared_ptr<const engine::TextEncoder>> Patched(const engine::WeightPatches& patches) const override {
    ASSIGN_OR_RETURN(auto l, PatchedOfSet(l_, patches));
    ASSIGN_OR_RETURN(auto g, PatchedOfSet(g_, patches));
    return DualClip(std::move(l), std::move(g));
  }

 private:
  std::shared_ptr<const ClipEncoder> l_, g_;
};

}  // namespace

StatusOr<std::shared_ptr<const ClipEncoder>> ClipEncoder::Build(const engine::WeightSource& weights,
                                                                const ClipOptions& options, engine::Engine& engine) {
  return ClipTransformer::Made(weights, options, engine, {});
}

engine::WeightSource OpenClipToHf(const engine::WeightSource& weights) {
  if (weights.HasPrefix("text_model.")) return weights;
  engine::WeightSource::Tensors out;
  const auto ends = [](const std::string& name, std::string_view suffix) { return name.ends_with(suffix); };
  for (const auto& [name, tensor] : weights.tensors()) {
    constexpr std::string_view kBlocks = "transformer.resblocks.";
    if (name == "positional_embedding") {
      out["text_model.embeddings.position_embedding.weight"] = tensor;
    } else if (name == "token_embedding.weight") {
      out["text_model.embeddings.token_embedding.weight"] = tensor;
    } else if (name.starts_with("ln_final.")) {
      out["text_model.final_layer_norm." + name.substr(9)] = tensor;
    } else if (name == "text_projection" && tensor.dim() == 2) {
      out["text_projection.weight"] = tensor.t();
    } else if (name == "text_projection.weight") {
      out[name] = tensor;
    } else if (name.starts_with(kBlocks)) {
      const size_t dot = name.find('.', kBlocks.size());
      if (dot == std::string::npos) continue;
      const std::string at = "text_model.encoder.layers." + name.substr(kBlocks.size(), dot - kBlocks.size()) + ".";
      const std::string rest = name.substr(dot + 1);
      if (rest.starts_with("attn.in_proj_") && tensor.dim() >= 1 && tensor.size(0) % 3 == 0) {
        const std::string kind = ends(rest, "weight") ? "weight" : "bias";
        const std::vector<at::Tensor> parts = tensor.chunk(3, 0);
        out[at + "self_attn.q_proj." + kind] = parts[0];
        out[at + "self_attn.k_proj." + kind] = parts[1];
        out[at + "self_attn.v_proj." + kind] = parts[2];
      } else {
        const std::pair<std::string_view, std::string_view> renames[] = {{"ln_1.", "layer_norm1."},
                                                                         {"ln_2.", "layer_norm2."},
                                                                         {"mlp.c_fc.", "mlp.fc1."},
                                                                         {"mlp.c_proj.", "mlp.fc2."},
                                                                         {"attn.out_proj.", "self_attn.out_proj."}};
        for (const auto& [from, to] : renames) {
          if (rest.starts_with(from)) out[at + std::string(to) + rest.substr(from.size())] = tensor;
        }
      }
    }
  }
  return engine::WeightSource(weights.file(), std::move(out));
}

std::shared_ptr<const engine::TextEncoder> SingleClip(std::shared_ptr<const ClipEncoder> encoder) {
  return std::make_shared<SingleClipEncoder>(std::move(encoder));
}

std::shared_ptr<const engine::TextEncoder> DualClip(std::shared_ptr<const ClipEncoder> l,
                                                    std::shared_ptr<const ClipEncoder> g) {
  return std::make_shared<DualClipEncoder>(std::move(l), std::move(g));
}

}  // namespace atelier::text
