#include "worker/text/t5_encoder.h"

#include <algorithm>
#include <cmath>

#include "common/base/log.h"
#include "worker/engine/guard.h"
#include "worker/engine/layers.h"
#include "worker/text/embeddings.h"
#include "worker/text/encoder_weights.h"

namespace atelier::text {
namespace {

using engine::Bias;
using engine::LayerBuilder;
using engine::Linear;
using engine::Param;
using engine::RmsNorm;

constexpr int64_t kEnd = 1, kPad = 0, kHeadWidth = 64;
constexpr int64_t kBuckets = 32, kDistanceMax = 128;
constexpr int64_t kTokensMax = 16384;  // the attention's square is what costs

struct Block {
  RmsNorm norm1, norm2;
  Linear q, k, v, out, gate, up, down;
  Param bias;  // [32, heads]; null: that of the block before
};

// The bucket of each key seen from each query, i64 [tokens, tokens].
at::Tensor Buckets(int64_t tokens) {
  const at::Tensor at = at::arange(tokens, at::kLong);
  const at::Tensor relative = at.unsqueeze(0) - at.unsqueeze(1), distance = relative.abs();
  constexpr int64_t half = kBuckets / 2, exact = half / 2;
  const double span = std::log(static_cast<double>(kDistanceMax) / exact);
  at::Tensor far =
      exact + ((distance.to(at::kFloat) / static_cast<double>(exact)).log() / span * static_cast<double>(half - exact))
                  .to(at::kLong);
  far = far.clamp_max(half - 1);
  return (relative > 0).to(at::kLong) * half + at::where(distance < exact, distance, far);
}

class T5Transformer final : public T5Encoder {
 public:
  T5Transformer(engine::WeightSource weights, T5Options options, engine::Engine& engine)
      : engine_(engine),
        weights_(std::move(weights)),
        options_(std::move(options)),
        params_(engine.device(), engine::Part::kTextEncoder, engine.residency()),
        embedding_folders_(engine.options().embedding_folders) {}

  static StatusOr<std::shared_ptr<const T5Encoder>> Made(const engine::WeightSource& weights, const T5Options& options,
                                                         engine::Engine& engine, const engine::WeightPatches& patches) {
    return engine::Guard([&]() -> StatusOr<std::shared_ptr<const T5Encoder>> {
      auto encoder = std::make_shared<T5Transformer>(weights, options, engine);
      RETURN_IF_ERROR(encoder->Build(patches));
      return std::shared_ptr<const T5Encoder>(std::move(encoder));
    });
  }

  Status Build(const engine::WeightPatches& patches) {
    const engine::WeightSource weights = weights_.Patched(patches);
    if (const at::Tensor model = weights.Find("spiece_model"); model.defined()) {
      const at::Tensor bytes = model.to(at::kByte).contiguous();
      ASSIGN_OR_RETURN(UnigramTokenizer::Model read,
                       UnigramTokenizer::ReadModel({reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()),
                                                    static_cast<size_t>(bytes.numel())}));
      ASSIGN_OR_RETURN(own_tokenizer_, UnigramTokenizer::Build(std::move(read)));
    }
    LayerBuilder b(weights, params_);
    width_ = weights.Dim("shared.weight", 1);
    embedding_ = b.Take("shared.weight", {0, width_});
    if (b.status().ok() && weights.Dim("shared.weight", 0) < tokenizer().size())
      b.Fail(Cat("it has vectors for ", weights.Dim("shared.weight", 0), " tokens, its tokenizer makes ",
                 tokenizer().size()));
    const int64_t count = weights.CountBlocks("encoder.block.");
    if (count == 0) b.Fail("a text encoder without blocks");
    const std::string first = "encoder.block.0.layer.0.SelfAttention.";
    const int64_t inner = weights.Dim(first + "q.weight", 0);
    heads_ = inner / kHeadWidth;
    if (heads_ == 0 || inner % kHeadWidth != 0) b.Fail(Cat("attention of ", inner, " rows, which 64 does not divide"));
    if (!b.Has(first + "relative_attention_bias.weight"))
      b.Fail(Cat("tensor \"", first, "relative_attention_bias.weight\" is missing"));
    for (int64_t i = 0; i < count && b.status().ok(); ++i) {
      const std::string attention = Cat("encoder.block.", i, ".layer.0."), feed = Cat("encoder.block.", i, ".layer.1.");
      const int64_t hidden = weights.Dim(feed + "DenseReluDense.wi_0.weight", 0);
      Block& block = blocks_.emplace_back();
      block.norm1 = b.TakeRmsNorm(attention + "layer_norm.weight", width_);
      block.q = b.TakeLinear(attention + "SelfAttention.q", width_, inner, Bias::kNone);
      block.k = b.TakeLinear(attention + "SelfAttention.k", width_, inner, Bias::kNone);
      block.v = b.TakeLinear(attention + "SelfAttention.v", width_, inner, Bias::kNone);
      block.out = b.TakeLinear(attention + "SelfAttention.o", inner, width_, Bias::kNone);
      const std::string bias = attention + "SelfAttention.relative_attention_bias.weight";
      if (b.Has(bias)) block.bias = b.Take(bias, {kBuckets, heads_});
      block.norm2 = b.TakeRmsNorm(feed + "layer_norm.weight", width_);
      block.gate = b.TakeLinear(feed + "DenseReluDense.wi_0", width_, hidden, Bias::kNone);
      block.up = b.TakeLinear(feed + "DenseReluDense.wi_1", width_, hidden, Bias::kNone);
      block.down = b.TakeLinear(feed + "DenseReluDense.wo", hidden, width_, Bias::kNone);
    }
    final_norm_ = b.TakeRmsNorm("encoder.final_layer_norm.weight", width_);
    return b.status();
  }

  int64_t width() const override { return width_; }
  const T5Options& options() const override { return options_; }
  const engine::WeightSource& weights() const override { return weights_; }
  StatusOr<std::shared_ptr<const T5Encoder>> Patched(const engine::WeightPatches& patches) const override {
    return Made(weights_, options_, engine_, patches);
  }

  StatusOr<std::vector<std::vector<Token>>> Tokenize(const std::string& prompt) const override {
    TokenizerOptions options;
    options.pad = kPad;
    options.start = -1;
    options.end = kEnd;
    options.chunk = 0;
    options.length_min = options_.length_min;
    options.encode = [this](std::string_view piece) { return tokenizer().Encode(piece); };
    options.embedding = EmbeddingsIn(embedding_folders_, options_.name, width_);
    std::vector<std::string> missing;
    auto chunks = text::Tokenize(prompt, options, &missing);
    for (const std::string& name : missing)
      LogWarning("embedding \"", name, "\" is absent, the prompt goes on without it");
    return chunks;
  }

  StatusOr<at::Tensor> Encode(const std::vector<std::vector<Token>>& chunks, int64_t layer) const override {
    return engine::Guard([&]() -> StatusOr<at::Tensor> { return Run(chunks, layer); });
  }

 private:
  const UnigramTokenizer& tokenizer() const {
    return own_tokenizer_ != nullptr ? *own_tokenizer_ : UnigramTokenizer::T5();
  }

  StatusOr<at::Tensor> Run(const std::vector<std::vector<Token>>& chunks, int64_t layer) const {
    if (chunks.size() != 1 || chunks[0].empty()) return InvalidArgument("no tokens to encode");
    std::vector<Token> tokens;
    for (const Token& token : chunks[0]) {
      if (token.embedding.defined() && token.embedding.size(0) != width_) {
        LogWarning("an embedding of width ", token.embedding.size(0), " does not fit an encoder of width ", width_);
        continue;
      }
      tokens.push_back(token);
    }
    tokens.resize(chunks[0].size(), Token{kPad, {}, 1.0, 0});
    const auto length = static_cast<int64_t>(tokens.size());
    if (length > kTokensMax)
      return InvalidArgument("the prompt has ", length, " tokens, this text encoder takes at most ", kTokensMax);
    params_.Load();
    const bool weighted =
        std::any_of(chunks[0].begin(), chunks[0].end(), [](const Token& t) { return t.weight != 1.0; });
    const int64_t rows = weighted ? 2 : 1;  // the prompt, and an empty one that weights lead away from

    at::Tensor ids = at::full({rows, length}, kPad, at::kLong), mask = at::zeros({rows, length});
    at::Tensor weights = at::ones({1, length, 1});
    auto id = ids.accessor<int64_t, 2>();
    auto visible = mask.accessor<float, 2>();
    auto weight = weights.accessor<float, 3>();
    bool ended = false;
    for (int64_t i = 0; i < length; ++i) {
      const Token& token = tokens[static_cast<size_t>(i)];
      weight[0][i][0] = static_cast<float>(chunks[0][static_cast<size_t>(i)].weight);
      if (!ended) visible[0][i] = 1.0f;
      if (token.embedding.defined()) continue;
      id[0][i] = token.id;
      ended = ended || token.id == kEnd;
    }
    if (weighted) id[1][0] = kEnd, visible[1][0] = 1.0f;

    const at::Device& device = params_.device();
    at::Tensor x = engine::Embed(embedding_, ids.to(device));
    for (int64_t i = 0; i < length; ++i) {
      const at::Tensor& vector = tokens[static_cast<size_t>(i)].embedding;
      if (vector.defined()) x[0][i].copy_(vector);
    }
    const at::Tensor buckets = Buckets(length).to(device);
    at::Tensor hidden_keys;  // [rows,1,1,length], the lowest number where a key is padding
    if (options_.mask)
      hidden_keys = ((1.0 - mask) * std::numeric_limits<float>::lowest()).view({rows, 1, 1, length}).to(device);

    const auto blocks = static_cast<int64_t>(blocks_.size());
    const int64_t stop = layer >= 0 || -layer > blocks ? blocks : blocks + layer + 1;
    at::Tensor bias;
    for (int64_t i = 0; i < stop; ++i) {
      const Block& block = blocks_[static_cast<size_t>(i)];
      if (block.bias != nullptr) {
        bias = engine::Embed(block.bias, buckets).permute({2, 0, 1}).unsqueeze(0);
        if (hidden_keys.defined()) bias = bias + hidden_keys;
        bias = bias.contiguous();
      }
      const at::Tensor h = block.norm1(x);
      const auto split = [&](const at::Tensor& t) {
        return t.view({rows, length, heads_, kHeadWidth}).transpose(1, 2);
      };
      x = x + block.out(engine::HeadAttention(split(block.q(h)), split(block.k(h)), split(block.v(h)), bias, 1.0));
      const at::Tensor f = block.norm2(x);
      x = x + block.down(at::gelu(block.gate(f), "tanh") * block.up(f));
    }
    at::Tensor z = final_norm_(x).to(at::kCPU);
    if (options_.mask) z = z * mask.unsqueeze(-1);
    if (weighted) {
      const at::Tensor text = z.narrow(0, 0, 1), empty = z.narrow(0, 1, 1);
      z = at::where(weights == 1.0, text, empty + weights * (text - empty));
    }
    return z;
  }

  engine::Engine& engine_;
  engine::WeightSource weights_;
  T5Options options_;
  mutable engine::ParamSet params_;
  std::vector<std::string> embedding_folders_;
  std::shared_ptr<const UnigramTokenizer> own_tokenizer_;
  int64_t width_ = 0, heads_ = 0;
  Param embedding_;
  std::vector<Block> blocks_;
  RmsNorm final_norm_;
};

class SingleT5Encoder final : public engine::TextEncoder {
 public:
  explicit SingleT5Encoder(std::shared_ptr<const T5Encoder> t5) : t5_(std::move(t5)) {}
  std::vector<std::string> keys() const override { return {t5_->options().name}; }
  StatusOr<engine::Conditioning> EncodeEach(const engine::Prompts& prompts, int64_t layer) const override {
    ASSIGN_OR_RETURN(const auto chunks, t5_->Tokenize(engine::PromptFor(prompts, t5_->options().name)));
    engine::Conditioning conditioning;
    ASSIGN_OR_RETURN(conditioning.entries.emplace_back().cond, t5_->Encode(chunks, layer));
    return conditioning;
  }
  engine::WeightSource weights() const override { return SetWeights({{t5_->options().name, &t5_->weights()}}); }
  StatusOr<std::shared_ptr<const engine::TextEncoder>> Patched(const engine::WeightPatches& patches) const override {
    ASSIGN_OR_RETURN(auto t5, PatchedOfSet(t5_, patches));
    return SingleT5(std::move(t5));
  }

 private:
  std::shared_ptr<const T5Encoder> t5_;
};

}  // namespace

StatusOr<std::shared_ptr<const T5Encoder>> T5Encoder::Build(const engine::WeightSource& weights,
                                                            const T5Options& options, engine::Engine& engine) {
  return T5Transformer::Made(weights, options, engine, {});
}

bool IsT5(const engine::WeightSource& weights) {
  return weights.Has("shared.weight") && weights.Has("encoder.block.0.layer.1.DenseReluDense.wi_1.weight");
}

std::shared_ptr<const engine::TextEncoder> SingleT5(std::shared_ptr<const T5Encoder> encoder) {
  return std::make_shared<SingleT5Encoder>(std::move(encoder));
}

}  // namespace atelier::text
