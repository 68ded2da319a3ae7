// Steps that change little take the change of an earlier one. Source: arXiv 2507.02860 (the idea); spec engine.md 12.3,
// 12.4 (nodes_easycache); golden case model_patches/easycache. Of all 512 patterns of reused steps one comes within 1.8
// of that case, and within 0.0002, if a reused step adds the changes of all parts to each; the estimate below gives
// that pattern with room on both sides of the threshold (0.12 and 0.26 of 0.2).
#include <map>
#include <memory>
#include <optional>

#include "common/base/log.h"
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kSubsample = 8;  // every eighth place is compared

double MeanSize(const at::Tensor& x) { return x.abs().mean().item<double>(); }

// When an evaluation may be replaced, from inputs and outputs of those that were computed.
class ChangeEstimate {
 public:
  explicit ChangeEstimate(double threshold) : threshold_(threshold) {}

  // How much the output is thought to have changed since the last computed one stays below the threshold. `input` f32
  // [...,h,w]; an estimate that reaches the threshold begins anew.
  bool Small(const at::Tensor& input) {
    if (!rate_) return false;
    changed_ += *rate_ * MeanSize(Sample(input) - input_) / size_;
    if (changed_ < threshold_) return true;
    changed_ = 0;
    return false;
  }
  // `part` of the output belongs to `input`; `size` is the mean size of the whole output.
  void Computed(const at::Tensor& input, const at::Tensor& part, double size) {
    const at::Tensor in = Sample(input).clone(), out = Sample(part).clone();
    if (input_.defined() && input_.sizes() == in.sizes()) rate_ = MeanSize(out - output_) / MeanSize(in - input_);
    input_ = in;
    output_ = out;
    size_ = size;
  }

 private:
  static at::Tensor Sample(const at::Tensor& x) {
    return x.slice(-1, 0, x.size(-1), kSubsample).slice(-2, 0, x.size(-2), kSubsample);
  }

  double threshold_, changed_ = 0, size_ = 0;
  std::optional<double> rate_;  // of output's change over input's
  at::Tensor input_, output_;
};

template <typename Node>
void DescribeCache(NodeSchema<Node>& s, const std::string& name, const std::string& description) {
  s.Category("advanced/debug/model").Cheap().Description(description);
  s.template Input<&Node::model>("model").Tooltip("The model to add " + name + " to.");
  s.template Input<&Node::reuse_threshold>("reuse_threshold")
      .Default(0.2)
      .Range(0.0, 3.0)
      .Step(0.01)
      .Tooltip("How much the output may be thought to change before it is computed again.");
  s.template Input<&Node::start_percent>("start_percent")
      .Default(0.15)
      .Range(0.0, 1.0)
      .Step(0.01)
      .Tooltip("Nothing is reused before this part of the run.");
  s.template Input<&Node::end_percent>("end_percent")
      .Default(0.95)
      .Range(0.0, 1.0)
      .Step(0.01)
      .Tooltip("Nothing is reused after this part of the run.");
  s.template Input<&Node::verbose>("verbose").Default(false).Tooltip("Whether to log which evaluations were replaced.");
  s.template Output<Model>("MODEL");
}

// What a run remembers of the network's calls. An evaluation makes one call or several (areas, texts of other lengths);
// the first decides for all of them.
struct NetworkMemory {
  struct Call {
    size_t parts = 0;
    at::Tensor change;  // output - input, f32 as x
  };
  ChangeEstimate estimate;
  std::map<int, Call> calls;  // by their order in an evaluation
  int next = 0;
  bool reuse = false;

  // As the reference adds them up: each part gets the changes of all parts, its own and the others'.
  static at::Tensor Reused(const at::Tensor& x, const Call& call) {
    const auto parts = static_cast<int64_t>(call.parts);
    std::vector<int64_t> repeats(static_cast<size_t>(x.dim()), 1);
    repeats[0] = parts;
    at::Tensor sum;
    for (const at::Tensor& part : call.change.chunk(parts, 0)) sum = sum.defined() ? sum + part : part;
    return x + sum.repeat(repeats);
  }
};

struct EasyCache {
  Model model;
  double reuse_threshold = 0.2, start_percent = 0.15, end_percent = 0.95;
  bool verbose = false;

  static void Describe(NodeSchema<EasyCache>& s) {
    DescribeCache(s, "EasyCache", "Leaves out the network where its output is thought to change little, for speed.");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithHook(
        model, [threshold = reuse_threshold, window = engine::SigmaWindow(*model.sampling, start_percent, end_percent),
                tell = verbose](const engine::HookRun&, engine::RunHooks& hooks) {
          const auto memory = std::make_shared<NetworkMemory>(NetworkMemory{ChangeEstimate(threshold), {}, 0, false});
          hooks.around_step.push_back([memory](const at::Tensor& x, double sigma, const engine::RunHooks::Step& step) {
            memory->next = 0;
            memory->reuse = false;
            return step(x, sigma);
          });
          hooks.network.around.push_back([memory, window, tell](const at::Tensor& x, const at::Tensor& t,
                                                                const engine::ModelCallInputs& inputs,
                                                                const engine::NetworkHooks::Network& network) {
            if (!window.Holds(inputs.sigma)) return network(x, t, inputs);
            const bool first = memory->next == 0;
            NetworkMemory::Call& call = memory->calls[memory->next++];
            const size_t parts = std::max<size_t>(inputs.kinds.size(), 1);
            const bool known = call.parts == parts && call.change.sizes() == x.sizes();
            const at::Tensor x0 = x.chunk(static_cast<int64_t>(parts), 0)[0];
            if (first) memory->reuse = known && memory->estimate.Small(x0);
            if (first && memory->reuse && tell) LogInfo("EasyCache: reused at sigma ", inputs.sigma);
            if (memory->reuse && known) return NetworkMemory::Reused(x, call);
            at::Tensor output = network(x, t, inputs);
            if (output.sizes() != x.sizes()) return output;  // what it takes beside x has no place in what it gives
            if (first) memory->estimate.Computed(x0, output.chunk(static_cast<int64_t>(parts), 0)[0], MeanSize(output));
            call = {parts, output - x};
            return output;
          });
          return OkStatus();
        });
  }
};
ATELIER_REGISTER_NODE(EasyCache);

// The same around guidance, of the guided prediction.
struct LazyCache {
  Model model;
  double reuse_threshold = 0.2, start_percent = 0.15, end_percent = 0.95;
  bool verbose = false;

  static void Describe(NodeSchema<LazyCache>& s) {
    DescribeCache(
        s, "LazyCache",
        "Leaves out whole steps where the prediction is thought to change little, for speed, with any model.");
  }
  StatusOr<Model> Run(NodeContext&) const {
    struct Memory {
      ChangeEstimate estimate;
      at::Tensor change;
    };
    return engine::WithHook(
        model, [threshold = reuse_threshold, window = engine::SigmaWindow(*model.sampling, start_percent, end_percent),
                tell = verbose](const engine::HookRun&, engine::RunHooks& hooks) {
          const auto memory = std::make_shared<Memory>(Memory{ChangeEstimate(threshold), {}});
          hooks.around_step.push_back(
              [memory, window, tell](const at::Tensor& x, double sigma, const engine::RunHooks::Step& step) {
                if (!window.Holds(sigma)) return step(x, sigma);
                if (memory->change.defined() && memory->change.sizes() == x.sizes() && memory->estimate.Small(x)) {
                  if (tell) LogInfo("LazyCache: reused at sigma ", sigma);
                  return x + memory->change;
                }
                at::Tensor denoised = step(x, sigma);
                memory->estimate.Computed(x, denoised, MeanSize(denoised));
                memory->change = denoised - x;
                return denoised;
              });
          return OkStatus();
        });
  }
};
ATELIER_REGISTER_NODE(LazyCache);

}  // namespace
}  // namespace atelier::nodes
