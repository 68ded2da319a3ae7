// EasyCache and LazyCache: where the output of the network, or of a whole step, is expected to change little, the last
// change is used again. Source: arXiv 2507.02860; spec engine.md 8.1, 12.4.
#include <map>
#include <memory>

#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {
namespace {

using engine::CondKind;
using engine::ModelCallInputs;
using engine::NetworkHooks;

struct Settings {
  double start, end;  // noise levels
  double threshold;
  Settings(const Model& model, double from, double to, double reuse)
      : start(model.sampling->PercentToSigma(from)), end(model.sampling->PercentToSigma(to)), threshold(reuse) {}
};

// What is kept of a run. Changes are measured on the first part of the batch that was seen, on every eighth pixel.
class Memory {
 public:
  /// The output for x [B,...], made of one part for each of `kinds`, at noise level `level`.
  at::Tensor Call(const Settings& set, const at::Tensor& x, const std::vector<CondKind>& kinds, double level,
                  const std::function<at::Tensor()>& compute) {
    if (level <= set.end) return compute();
    const bool active = level <= set.start;
    if (level != level_) reuse_ = false;
    level_ = level;
    if (active && reuse_ && Known(x, kinds)) return Reused(x, kinds);
    if (active && !first_) first_ = kinds.front();
    const at::Tensor thin = Thinned(x, kinds);
    double input_change = -1;
    if (active && thin.defined()) {
      if (input_.defined() && input_.sizes() == thin.sizes()) input_change = MeanSize(thin - input_);
      if (has_rate_ && input_change >= 0 && output_size_ > 0) {
        expected_ += rate_ * input_change / output_size_;
        if (expected_ < set.threshold && Known(x, kinds)) {
          reuse_ = true;
          return Reused(x, kinds);
        }
        expected_ = 0;
      }
    }
    const at::Tensor output = compute();
    if (thin.defined()) {
      const at::Tensor thin_output = Thinned(output, kinds);
      if (output_.defined() && output_.sizes() == thin_output.sizes() && input_change > 0) {
        rate_ = MeanSize(thin_output - output_) / input_change;
        has_rate_ = true;
      }
      input_ = thin;
      output_ = thin_output;
      output_size_ = MeanSize(output);
    }
    if (output.sizes() == x.sizes()) {
      const std::vector<at::Tensor> parts = (output - x).chunk(static_cast<int64_t>(kinds.size()), 0);
      for (size_t i = 0; i < parts.size(); ++i) changes_[kinds[i]] = parts[i];
    }
    return output;
  }

 private:
  static double MeanSize(const at::Tensor& x) { return x.abs().mean().item<double>(); }
  at::Tensor Thinned(const at::Tensor& x, const std::vector<CondKind>& kinds) const {
    for (size_t i = 0; first_ && i < kinds.size(); ++i) {
      if (kinds[i] != *first_) continue;
      const at::Tensor part = x.chunk(static_cast<int64_t>(kinds.size()), 0)[i];
      return part.slice(-2, 0, at::nullopt, 8).slice(-1, 0, at::nullopt, 8).clone();
    }
    return {};
  }
  bool Known(const at::Tensor& x, const std::vector<CondKind>& kinds) const {
    for (const CondKind kind : kinds) {
      const auto it = changes_.find(kind);
      if (it == changes_.end() || it->second.numel() * static_cast<int64_t>(kinds.size()) != x.numel()) return false;
    }
    return true;
  }
  at::Tensor Reused(const at::Tensor& x, const std::vector<CondKind>& kinds) const {
    std::vector<at::Tensor> changes;
    for (const CondKind kind : kinds) changes.push_back(changes_.at(kind));
    return x + at::cat(changes, 0);
  }

  std::optional<CondKind> first_;
  std::map<CondKind, at::Tensor> changes_;  // output - input of the last call that was made
  at::Tensor input_, output_;               // of that call, thinned out
  double output_size_ = 0;                  // its mean absolute output
  double rate_ = 0, expected_ = 0;          // output change an input change; the sum of expected changes
  bool has_rate_ = false, reuse_ = false;
  double level_ = -1;  // of the last call
};

template <typename Node>
void DescribeCache(NodeSchema<Node>& s) {
  s.template Input<&Node::model>("model").Tooltip("The model.");
  s.template Input<&Node::reuse_threshold>("reuse_threshold")
      .Default(0.2)
      .Range(0.0, 3.0)
      .Step(0.01)
      .Tooltip("How much change is let pass before the model is asked again.");
  s.template Input<&Node::start_percent>("start_percent")
      .Default(0.15)
      .Range(0.0, 1.0)
      .Step(0.01)
      .Tooltip("From this part of the run on.");
  s.template Input<&Node::end_percent>("end_percent")
      .Default(0.95)
      .Range(0.0, 1.0)
      .Step(0.01)
      .Tooltip("Up to this part of the run.");
  s.template Input<&Node::verbose>("verbose").Default(false).Tooltip("Has no effect here.");
  s.template Output<Model>("MODEL");
}

struct EasyCache {
  Model model;
  double reuse_threshold = 0.2, start_percent = 0.15, end_percent = 0.95;
  bool verbose = false;

  static void Describe(NodeSchema<EasyCache>& s) {
    s.Name("EasyCache")
        .Category("advanced/debug/model")
        .Cheap()
        .Description("Skips network calls whose result can be told from the last one.");
    DescribeCache(s);
  }
  StatusOr<Model> Run(NodeContext&) const {
    const Settings set(model, start_percent, end_percent, reuse_threshold);
    return engine::WithHook(model, [set](const engine::HookRun&, engine::RunHooks& hooks) {
      const auto memory = std::make_shared<Memory>();
      hooks.network.around.push_back([=](const at::Tensor& x, const at::Tensor& t, const ModelCallInputs& inputs,
                                         const NetworkHooks::Network& network) {
        return memory->Call(set, x, inputs.kinds, inputs.sigma, [&] { return network(x, t, inputs); });
      });
      return OkStatus();
    });
  }
};
ATELIER_REGISTER_NODE(EasyCache);

struct LazyCache {
  Model model;
  double reuse_threshold = 0.2, start_percent = 0.15, end_percent = 0.95;
  bool verbose = false;

  static void Describe(NodeSchema<LazyCache>& s) {
    s.Name("LazyCache")
        .Category("advanced/debug/model")
        .Cheap()
        .Description("Skips whole steps whose result can be told from the last one; works with every model.");
    DescribeCache(s);
  }
  StatusOr<Model> Run(NodeContext&) const {
    const Settings set(model, start_percent, end_percent, reuse_threshold);
    return engine::WithHook(model, [set](const engine::HookRun&, engine::RunHooks& hooks) {
      const auto memory = std::make_shared<Memory>();
      hooks.around_step.push_back([=](const at::Tensor& x, double sigma, const engine::RunHooks::Step& step) {
        return memory->Call(set, x, {CondKind::kPositive}, sigma, [&] { return step(x, sigma); });
      });
      return OkStatus();
    });
  }
};
ATELIER_REGISTER_NODE(LazyCache);

}  // namespace
}  // namespace atelier::nodes
