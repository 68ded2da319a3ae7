#include "worker/models/gligen.h"

#include <array>
#include <map>
#include <utility>

#include "worker/engine/layers.h"
#include "worker/models/network.h"
#include "worker/sampling/control.h"

namespace atelier::models {
namespace {

using engine::BlockCall;
using engine::LayerBuilder;
using engine::LayerNorm;
using engine::Linear;

constexpr int64_t kBoxesMax = 30;
constexpr int64_t kFrequencies = 8;
constexpr double kTemperature = 100.0;
constexpr int64_t kPositionWidth = kFrequencies * 2 * 4;

// A gated self-attention over the picture's tokens and the boxes', then a gated feed-forward layer.
struct Fuser {
  Linear in, q, k, v, out, ff_in, ff_out;
  LayerNorm norm1, norm2;
  engine::Param gate_attention, gate_feed;
  int64_t heads = 8;

  // A parameter that stays, also one that was streamed.
  static engine::Param Kept(const engine::ParamSlot& slot) {
    auto kept = std::make_shared<engine::ParamSlot>(slot);
    kept->live = slot.Live();
    kept->stream = nullptr;
    return kept;
  }
  // The same layers, whose weights stay when the set that they belong to is unloaded.
  Fuser Pinned() const {
    Fuser copy = *this;
    for (engine::Param* param : {&copy.in.weight, &copy.in.bias, &copy.q.weight, &copy.k.weight, &copy.v.weight,
                                 &copy.out.weight, &copy.out.bias, &copy.ff_in.weight, &copy.ff_in.bias,
                                 &copy.ff_out.weight, &copy.ff_out.bias, &copy.norm1.weight, &copy.norm1.bias,
                                 &copy.norm2.weight, &copy.norm2.bias, &copy.gate_attention, &copy.gate_feed})
      *param = Kept(**param);
    return copy;
  }

  at::Tensor operator()(const at::Tensor& x, const at::Tensor& tokens) const {
    const at::Tensor boxes = in(tokens.to(x.options()));
    const at::Tensor all = norm1(at::cat({x, boxes.expand({x.size(0), -1, -1})}, 1));
    const at::Tensor seen = out(engine::Attention(q(all), k(all), v(all), heads)).narrow(1, 0, x.size(1));
    const at::Tensor y = x + at::tanh(engine::Cast(gate_attention, x.scalar_type())) * seen;
    const std::vector<at::Tensor> halves = ff_in(norm2(y)).chunk(2, -1);
    return y + at::tanh(engine::Cast(gate_feed, x.scalar_type())) * ff_out(halves[0] * at::gelu(halves[1]));
  }
};

class TextBoxes final : public GligenNetwork {
  using Place = std::array<int64_t, 3>;  // part, number, depth of a BlockCall

 public:
  explicit TextBoxes(engine::Engine& engine) : params_(engine.device(), engine::Part::kDiffusion, engine.residency()) {}

  Status Build(const engine::WeightSource& weights) {
    LayerBuilder b(weights, params_);
    width_ = weights.Dim("position_net.null_positive_feature", 0);
    if (width_ == 0) b.Fail("this is no GLIGEN network for described boxes: \"position_net\" is missing");
    no_text_ = b.Take("position_net.null_positive_feature", {width_});
    no_place_ = b.Take("position_net.null_position_feature", {kPositionWidth});
    const int64_t hidden = weights.Dim("position_net.linears.0.weight", 0);
    first_ = b.TakeLinear("position_net.linears.0", width_ + kPositionWidth, hidden);
    second_ = b.TakeLinear("position_net.linears.2", hidden, hidden);
    third_ = b.TakeLinear("position_net.linears.4", hidden);
    const int64_t tokens = weights.Dim("position_net.linears.4.weight", 0);
    for (const auto& [name, tensor] : weights.tensors()) {
      constexpr std::string_view kLast = ".fuser.linear.weight";
      if (!name.ends_with(kLast)) continue;
      const std::string at = name.substr(0, name.size() - kLast.size());
      const std::optional<Place> place = PlaceOf(at);
      if (place) fusers_.emplace(*place, Take(b, at + ".fuser.", tokens));
    }
    if (b.status().ok() && fusers_.empty()) b.Fail("it has no gated self-attention layers (\"fuser\")");
    return b.status();
  }

  int64_t boxes_max() const override { return kBoxesMax; }

  at::Tensor Tokens(const std::vector<GroundedBox>& boxes, int64_t height, int64_t width) const override {
    params_.Load();
    const auto options = at::TensorOptions(params_.device()).dtype(params_.compute());
    at::Tensor texts = engine::Cast(no_text_, at::kFloat).expand({kBoxesMax, width_}).clone();
    at::Tensor places = engine::Cast(no_place_, at::kFloat).expand({kBoxesMax, kPositionWidth}).clone();
    const auto h = static_cast<double>(height), w = static_cast<double>(width);
    for (size_t i = 0; i < boxes.size(); ++i) {
      const GroundedBox& box = boxes[i];
      TORCH_CHECK(box.description.dim() == 2 && box.description.size(1) == width_, "the boxes' descriptions have ",
                  box.description.size(-1), " numbers, the GLIGEN network takes ", width_,
                  "; use the text encoder of its model");
      const auto n = static_cast<int64_t>(i);
      texts.select(0, n).copy_(box.description[0]);
      const at::Tensor corners =
          at::tensor({static_cast<double>(box.x) / w, static_cast<double>(box.y) / h,
                      static_cast<double>(box.x + box.width) / w, static_cast<double>(box.y + box.height) / h},
                     at::kDouble)
              .to(at::kFloat);
      std::vector<at::Tensor> waves;
      const at::Tensor bands = at::pow(kTemperature, at::arange(kFrequencies, at::kFloat) / kFrequencies);
      for (int64_t f = 0; f < kFrequencies; ++f) {
        waves.push_back(at::sin(bands[f] * corners));
        waves.push_back(at::cos(bands[f] * corners));
      }
      places.select(0, n).copy_(at::cat(waves, 0));
    }
    const at::Tensor both = at::cat({texts, places}, 1).to(options);
    return third_(at::silu(second_(at::silu(first_(both))))).unsqueeze(0);
  }

  engine::NetworkHooks::OnResult Layers(const at::Tensor& tokens) const override {
    params_.Load();
    // The UNet that these layers act in is loaded after them and may push them out.
    auto fusers = std::make_shared<std::map<Place, Fuser>>();
    for (const auto& [place, fuser] : fusers_) fusers->emplace(place, fuser.Pinned());
    return [fusers, tokens](const at::Tensor& x, const BlockCall& call) {
      const auto it = fusers->find({static_cast<int64_t>(call.part), call.number, call.depth});
      return it == fusers->end() ? x : it->second(x, tokens);
    };
  }

 private:
  // "input_blocks.1.1.transformer_blocks.0"
  static std::optional<Place> PlaceOf(const std::string& at) {
    std::vector<std::string> parts(1);
    for (const char c : at) {
      if (c == '.')
        parts.emplace_back();
      else
        parts.back() += c;
    }
    const auto number = [](const std::string& text) { return std::strtoll(text.c_str(), nullptr, 10); };
    if (parts.size() == 5 && parts[3] == "transformer_blocks") {
      const BlockCall::Part part = parts[0] == "input_blocks" ? BlockCall::Part::kInput : BlockCall::Part::kOutput;
      return Place{static_cast<int64_t>(part), number(parts[1]), number(parts[4])};
    }
    if (parts.size() == 4 && parts[0] == "middle_block")
      return Place{static_cast<int64_t>(BlockCall::Part::kMiddle), 0, number(parts[3])};
    return std::nullopt;
  }

  static Fuser Take(LayerBuilder& b, const std::string& at, int64_t tokens) {
    Fuser fuser;
    const int64_t width = b.weights().Dim(at + "linear.weight", 0);
    fuser.in = b.TakeLinear(at + "linear", tokens, width);
    fuser.q = b.TakeLinear(at + "attn.to_q", width, width, engine::Bias::kNone);
    fuser.k = b.TakeLinear(at + "attn.to_k", width, width, engine::Bias::kNone);
    fuser.v = b.TakeLinear(at + "attn.to_v", width, width, engine::Bias::kNone);
    fuser.out = b.TakeLinear(at + "attn.to_out.0", width, width);
    const int64_t hidden = b.weights().Dim(at + "ff.net.2.weight", 1);
    fuser.ff_in = b.TakeLinear(at + "ff.net.0.proj", width, hidden * 2);
    fuser.ff_out = b.TakeLinear(at + "ff.net.2", hidden, width);
    fuser.norm1 = b.TakeLayerNorm(at + "norm1", width);
    fuser.norm2 = b.TakeLayerNorm(at + "norm2", width);
    fuser.gate_attention = b.Take(at + "alpha_attn", {});
    fuser.gate_feed = b.Take(at + "alpha_dense", {});
    // SD1 has 8 heads everywhere, later UNets heads of 64.
    fuser.heads = tokens == 768 || width % 64 != 0 ? 8 : width / 64;
    if (fuser.heads == 0 || width % fuser.heads != 0)
      b.Fail(Cat("\"", at, "\" has ", width, " channels, which ", fuser.heads, " heads do not divide"));
    return fuser;
  }

  mutable engine::ParamSet params_;
  int64_t width_ = 0;
  engine::Param no_text_, no_place_;
  Linear first_, second_, third_;
  std::map<Place, Fuser> fusers_;
};

// The boxes of one prompt.
class Boxes final : public engine::GroundingNetwork {
 public:
  Boxes(std::shared_ptr<const GligenNetwork> network, std::vector<GroundedBox> boxes)
      : network_(std::move(network)), boxes_(std::move(boxes)) {}

  const std::shared_ptr<const GligenNetwork>& network() const { return network_; }
  const std::vector<GroundedBox>& boxes() const { return boxes_; }

  void AddHooks(engine::NetworkHooks& hooks, int64_t height, int64_t width) const override {
    hooks.after_self.push_back(network_->Layers(network_->Tokens(boxes_, height, width)));
  }

 private:
  std::shared_ptr<const GligenNetwork> network_;
  std::vector<GroundedBox> boxes_;
};

}  // namespace

StatusOr<std::shared_ptr<const GligenNetwork>> BuildGligen(const engine::WeightSource& weights,
                                                           engine::Engine& engine) {
  return BuildNetwork<GligenNetwork, TextBoxes>(weights, engine);
}

StatusOr<std::shared_ptr<const GligenNetwork>> LoadGligen(const std::string& path, engine::Engine& engine) {
  using Network = std::shared_ptr<const GligenNetwork>;
  return engine.models().Get<GligenNetwork>(path, "gligen", [&]() -> StatusOr<Network> {
    ASSIGN_OR_RETURN(const engine::WeightSource file, engine::WeightSource::Open(path));
    return BuildGligen(file, engine);
  });
}

StatusOr<engine::CondEntry> WithBox(const engine::CondEntry& entry, const Gligen& gligen, GroundedBox box) {
  std::vector<GroundedBox> boxes;
  if (const engine::AppliedControl* before = engine::GroundingOf(entry.control.get())) {
    if (const auto* own = dynamic_cast<const Boxes*>(before->net.network.get())) boxes = own->boxes();
  }
  if (static_cast<int64_t>(boxes.size()) >= gligen.network->boxes_max())
    return InvalidArgument("a prompt has more than ", gligen.network->boxes_max(), " boxes; use fewer");
  boxes.push_back(std::move(box));
  engine::AppliedControl applied;
  applied.net.network = std::make_shared<const Boxes>(gligen.network, std::move(boxes));
  applied.to_uncond = true;
  applied.previous = entry.control;
  engine::CondEntry result = entry;
  result.control = std::make_shared<const engine::AppliedControl>(std::move(applied));
  return result;
}

std::optional<std::shared_ptr<const engine::ControlNetwork>> CutBoxes(const engine::ControlNetwork& network,
                                                                      const BoxCutter& cut) {
  const auto* all = dynamic_cast<const Boxes*>(&network);
  if (all == nullptr) return std::nullopt;
  std::vector<GroundedBox> left;
  for (GroundedBox box : all->boxes())
    if (cut(box)) left.push_back(std::move(box));
  if (left.empty()) return std::shared_ptr<const engine::ControlNetwork>();
  return std::make_shared<const Boxes>(all->network(), std::move(left));
}

}  // namespace atelier::models
