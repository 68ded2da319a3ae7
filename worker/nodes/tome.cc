// Token merging: similar queries of the largest self-attention layers are merged before and spread again after it.
// Source: arXiv 2303.17604 (the authors' MIT code tomesd tells the order of draws); spec engine.md 8.1.
#include <cmath>
#include <memory>

#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"
#include "worker/sampling/noise.h"

namespace atelier::nodes {
namespace {

// Which tokens [B,N,C] go into which. Of each 2x2 window one token, drawn at random, receives; the rest may be merged.
struct Matching {
  int64_t tokens = 0, merged = 0;
  at::Tensor from, to;               // int64 [1,N-n,1], [1,n,1]: places of givers and of receivers
  at::Tensor kept, given, receiver;  // int64 [B,.,1]: givers kept, givers merged, and into which receiver

  at::Tensor Merge(const at::Tensor& x) const {
    const int64_t batch = x.size(0), width = x.size(2);
    const auto pick = [&](const at::Tensor& t, const at::Tensor& index) {
      return t.gather(1, index.expand({batch, index.size(1), width}));
    };
    const at::Tensor givers = pick(x, from), receivers = pick(x, to);
    const at::Tensor reduced =
        receivers.scatter_reduce(1, receiver.expand({batch, merged, width}), pick(givers, given), "mean");
    return at::cat({pick(givers, kept), reduced}, 1);
  }
  at::Tensor Spread(const at::Tensor& x) const {
    const int64_t batch = x.size(0), width = x.size(2), plain = kept.size(1);
    const at::Tensor receivers = x.narrow(1, plain, x.size(1) - plain);
    at::Tensor out = at::zeros({batch, tokens, width}, x.options());
    const auto put = [&](const at::Tensor& index, const at::Tensor& values) {
      out.scatter_(1, index.expand({batch, index.size(1), width}), values);
    };
    const at::Tensor places = from.expand({batch, from.size(1), 1});
    put(to, receivers);
    put(places.gather(1, kept), x.narrow(1, 0, plain));
    put(places.gather(1, given), receivers.gather(1, receiver.expand({batch, merged, width})));
    return out;
  }
};

constexpr int64_t kStride = 2;

Matching MatchTokens(const at::Tensor& x, int64_t height, int64_t width, int64_t wanted, at::Generator& generator) {
  const int64_t rows = height / kStride, columns = width / kStride;
  const auto index = at::TensorOptions(x.device()).dtype(at::kLong);
  const at::Tensor chosen = at::randint(kStride * kStride, {rows, columns, 1}, generator, index);
  const at::Tensor window = at::zeros({rows, columns, kStride * kStride}, index).scatter(2, chosen, -1);
  at::Tensor marks = at::zeros({height, width}, index);
  marks.narrow(0, 0, rows * kStride)
      .narrow(1, 0, columns * kStride)
      .copy_(
          window.view({rows, columns, kStride, kStride}).transpose(1, 2).reshape({rows * kStride, columns * kStride}));
  const at::Tensor order = std::get<1>(marks.reshape({1, -1, 1}).sort(1));
  const int64_t receivers = rows * columns, givers = order.size(1) - receivers;

  Matching m;
  m.tokens = x.size(1);
  m.from = order.narrow(1, receivers, givers);
  m.to = order.narrow(1, 0, receivers);
  m.merged = std::min(wanted, givers);
  const at::Tensor unit = x / x.norm(2, {-1}, true);
  const auto pick = [&](const at::Tensor& places) {
    return unit.gather(1, places.expand({x.size(0), places.size(1), x.size(2)}));
  };
  const auto [best, best_at] = at::matmul(pick(m.from), pick(m.to).transpose(-1, -2)).max(-1);
  const at::Tensor by_likeness = std::get<1>(best.sort(-1, /*descending=*/true)).unsqueeze(-1);
  m.kept = by_likeness.narrow(1, m.merged, givers - m.merged);
  m.given = by_likeness.narrow(1, 0, m.merged);
  m.receiver = best_at.unsqueeze(-1).gather(1, m.given);
  return m;
}

struct TomePatchModel {
  Model model;
  double ratio = 0.3;

  static void Describe(NodeSchema<TomePatchModel>& s) {
    s.Category("model_patches/unet").Cheap().Description("Merges similar places of large pictures, for speed.");
    s.Input<&TomePatchModel::model>("model").Tooltip("The model, a UNet.");
    s.Input<&TomePatchModel::ratio>("ratio").Default(0.3).Range(0.0, 1.0).Step(0.01).Tooltip("Part that is merged.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    return engine::WithHook(model, [part = ratio](const engine::HookRun& run, engine::RunHooks& hooks) {
      const auto generator = std::make_shared<at::Generator>(run.DrawAfterNoise());
      const auto matching = std::make_shared<std::optional<Matching>>();
      hooks.network.self_inputs.push_back([=](engine::AttentionInputs& in, const engine::BlockCall& at) {
        matching->reset();
        const int64_t tokens = in.query.size(1);
        if (tokens != at.height * at.width || at.height < kStride || at.width < kStride) return;
        const auto wanted = static_cast<int64_t>(static_cast<double>(tokens) * part);
        if (wanted <= 0) return;
        *matching = MatchTokens(in.query, at.height, at.width, wanted, *generator);
        in.query = (*matching)->Merge(in.query);
      });
      hooks.network.self_results.push_back([=](const at::Tensor& result, const engine::BlockCall&) {
        return *matching ? (*matching)->Spread(result) : result;
      });
      return OkStatus();
    });
  }
};
ATELIER_REGISTER_NODE(TomePatchModel);

}  // namespace
}  // namespace atelier::nodes
