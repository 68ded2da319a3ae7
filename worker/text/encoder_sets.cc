#include "worker/text/encoder_sets.h"

#include <algorithm>
#include <utility>

#include "worker/engine/guard.h"
#include "worker/text/encoder_weights.h"

namespace atelier::text {
namespace {

using engine::Conditioning;
using engine::PromptFor;
using engine::Prompts;

constexpr int64_t kSd3Width = 4096;
constexpr int64_t kWidthL = 768, kWidthG = 1280;  // of an absent encoder's zeros
constexpr int64_t kTokens = 77;

Conditioning OneEntry(at::Tensor cond, at::Tensor pooled) {
  Conditioning conditioning;
  engine::CondEntry& entry = conditioning.entries.emplace_back();
  entry.cond = std::move(cond);
  entry.tensors["pooled_output"] = std::move(pooled);
  return conditioning;
}

template <typename Encoder>
void AddNamed(const std::shared_ptr<const Encoder>& encoder, std::vector<NamedWeights>& named) {
  if (encoder != nullptr) named.push_back({encoder->options().name, &encoder->weights()});
}

class FluxEncoders final : public engine::TextEncoder {
 public:
  FluxEncoders(std::shared_ptr<const ClipEncoder> l, std::shared_ptr<const T5Encoder> t5)
      : l_(std::move(l)), t5_(std::move(t5)) {}

  std::vector<std::string> keys() const override { return {"l", "t5xxl"}; }
  StatusOr<Conditioning> EncodeEach(const Prompts& prompts, int64_t layer) const override {
    ASSIGN_OR_RETURN(const auto chunks, l_->Tokenize(PromptFor(prompts, "l")));
    ASSIGN_OR_RETURN(const auto tokens, t5_->Tokenize(PromptFor(prompts, "t5xxl")));
    ASSIGN_OR_RETURN(at::Tensor cond, t5_->Encode(tokens, layer));
    ASSIGN_OR_RETURN(Encoded l, l_->Encode(chunks, layer));
    return OneEntry(std::move(cond), std::move(l.pooled));
  }
  engine::WeightSource weights() const override {
    std::vector<NamedWeights> named;
    AddNamed(l_, named);
    AddNamed(t5_, named);
    return SetWeights(named);
  }
  StatusOr<std::shared_ptr<const engine::TextEncoder>> Patched(const engine::WeightPatches& patches) const override {
    ASSIGN_OR_RETURN(auto l, PatchedOfSet(l_, patches));
    ASSIGN_OR_RETURN(auto t5, PatchedOfSet(t5_, patches));
    return FluxSet(std::move(l), std::move(t5));
  }

 private:
  std::shared_ptr<const ClipEncoder> l_;
  std::shared_ptr<const T5Encoder> t5_;
};

class Sd3Encoders final : public engine::TextEncoder {
 public:
  Sd3Encoders(std::shared_ptr<const ClipEncoder> l, std::shared_ptr<const ClipEncoder> g,
              std::shared_ptr<const T5Encoder> t5)
      : l_(std::move(l)), g_(std::move(g)), t5_(std::move(t5)) {}

  std::vector<std::string> keys() const override { return {"l", "g", "t5xxl"}; }
  StatusOr<Conditioning> EncodeEach(const Prompts& prompts, int64_t layer) const override {
    Encoded l, g;
    if (prompts.contains("l") || prompts.contains("g")) RETURN_IF_ERROR(EncodeClips(prompts, layer, &l, &g));
    at::Tensor t5;
    if (t5_ != nullptr && prompts.contains("t5xxl")) {
      ASSIGN_OR_RETURN(const auto tokens, t5_->Tokenize(PromptFor(prompts, "t5xxl")));
      ASSIGN_OR_RETURN(t5, t5_->Encode(tokens, layer));
      if (t5.size(2) != kSd3Width)
        return InvalidArgument("the T5 text encoder is ", t5.size(2), " wide, SD3 takes one of ", kSd3Width);
    }
    return engine::Guard([&]() -> StatusOr<Conditioning> {
      at::Tensor cond;
      if (l.cond.defined() || g.cond.defined()) {
        if (!g.cond.defined()) {
          cond = l.cond;
        } else if (!l.cond.defined()) {
          cond = at::constant_pad_nd(g.cond, {kWidthL, 0});
        } else {
          const int64_t tokens = std::min(l.cond.size(1), g.cond.size(1));
          cond = at::cat({l.cond.narrow(1, 0, tokens), g.cond.narrow(1, 0, tokens)}, 2);
        }
        if (cond.size(2) > kSd3Width)
          return InvalidArgument("the CLIP text encoders are ", cond.size(2), " wide, SD3 takes at most ", kSd3Width);
        cond = at::constant_pad_nd(cond, {0, kSd3Width - cond.size(2)});
      }
      if (t5.defined()) cond = cond.defined() ? at::cat({cond, t5}, 1) : t5;
      if (!cond.defined()) cond = at::zeros({1, kTokens, kSd3Width});
      return OneEntry(std::move(cond), at::cat({l.pooled.defined() ? l.pooled : at::zeros({1, kWidthL}),
                                                g.pooled.defined() ? g.pooled : at::zeros({1, kWidthG})},
                                               1));
    });
  }
  engine::WeightSource weights() const override {
    std::vector<NamedWeights> named;
    AddNamed(l_, named);
    AddNamed(g_, named);
    AddNamed(t5_, named);
    return SetWeights(named);
  }
  StatusOr<std::shared_ptr<const engine::TextEncoder>> Patched(const engine::WeightPatches& patches) const override {
    ASSIGN_OR_RETURN(auto l, PatchedOfSet(l_, patches));
    ASSIGN_OR_RETURN(auto g, PatchedOfSet(g_, patches));
    ASSIGN_OR_RETURN(auto t5, PatchedOfSet(t5_, patches));
    return Sd3Set(std::move(l), std::move(g), std::move(t5));
  }

 private:
  Status EncodeClips(const Prompts& prompts, int64_t layer, Encoded* l, Encoded* g) const {
    std::vector<std::vector<Token>> chunks_l, chunks_g;
    if (l_ != nullptr) {
      ASSIGN_OR_RETURN(chunks_l, l_->Tokenize(PromptFor(prompts, "l")));
    }
    if (g_ != nullptr) {
      ASSIGN_OR_RETURN(chunks_g, g_->Tokenize(PromptFor(prompts, "g")));
    }
    // The shorter one goes on with empty prompts. Source: spec engine.md 4.3 "Nodes".
    const auto fill = [](const ClipEncoder& clip, size_t count, std::vector<std::vector<Token>>& chunks) -> Status {
      if (chunks.size() >= count) return OkStatus();
      ASSIGN_OR_RETURN(const auto empty, clip.Tokenize(""));
      while (chunks.size() < count) chunks.insert(chunks.end(), empty.begin(), empty.end());
      return OkStatus();
    };
    if (l_ != nullptr) {
      RETURN_IF_ERROR(fill(*l_, chunks_g.size(), chunks_l));
      ASSIGN_OR_RETURN(*l, l_->Encode(chunks_l, layer));
    }
    if (g_ != nullptr) {
      RETURN_IF_ERROR(fill(*g_, chunks_l.size(), chunks_g));
      ASSIGN_OR_RETURN(*g, g_->Encode(chunks_g, layer));
    }
    return OkStatus();
  }

  std::shared_ptr<const ClipEncoder> l_, g_;
  std::shared_ptr<const T5Encoder> t5_;
};

}  // namespace

std::shared_ptr<const engine::TextEncoder> FluxSet(std::shared_ptr<const ClipEncoder> l,
                                                   std::shared_ptr<const T5Encoder> t5) {
  return std::make_shared<FluxEncoders>(std::move(l), std::move(t5));
}

std::shared_ptr<const engine::TextEncoder> Sd3Set(std::shared_ptr<const ClipEncoder> l,
                                                  std::shared_ptr<const ClipEncoder> g,
                                                  std::shared_ptr<const T5Encoder> t5) {
  return std::make_shared<Sd3Encoders>(std::move(l), std::move(g), std::move(t5));
}

}  // namespace atelier::text
