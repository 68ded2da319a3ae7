#include "worker/sampling/conditioning.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/sampling/control.h"
#include "worker/sampling/hooks.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::engine {
namespace {

constexpr int64_t kFeather = 8;  // latent pixels
constexpr int64_t kContextRepeatMax = 4;

StatusOr<double> NumberOption(const CondEntry& entry, const char* key, double fallback) {
  const auto it = entry.options.find(key);
  if (it == entry.options.end() || it->is_null()) return fallback;
  if (!it->is_number())
    return InvalidArgument("conditioning option \"", key, "\" is ", it->dump(), ", expected a number");
  return it->get<double>();
}

StatusOr<std::optional<std::array<int64_t, 4>>> AreaOption(const CondEntry& entry, int64_t height, int64_t width) {
  const auto it = entry.options.find("area");
  if (it == entry.options.end() || it->is_null()) return std::nullopt;
  const bool percentage = it->is_array() && it->size() == 5 && (*it)[0] == "percentage";
  if (!percentage && !(it->is_array() && it->size() == 4))
    return InvalidArgument("conditioning option \"area\" is ", it->dump(), ", expected [height, width, y, x]");
  std::array<int64_t, 4> area{};
  for (size_t i = 0; i < 4; ++i) {
    const Json& part = (*it)[i + (percentage ? 1 : 0)];
    if (!part.is_number() || std::fabs(part.get<double>()) > 1e9)
      return InvalidArgument("conditioning option \"area\" is ", it->dump(), ", expected four numbers");
    if (!percentage) {
      area[i] = part.get<int64_t>();
      continue;
    }
    const auto scaled =
        static_cast<int64_t>(std::nearbyint(part.get<double>() * static_cast<double>(i % 2 ? width : height)));
    area[i] = i < 2 ? std::max<int64_t>(1, scaled) : scaled;
  }
  return std::optional(area);
}

// Bounding box of the non-zero part of a mask [M,h,w].
std::array<int64_t, 4> MaskBounds(const at::Tensor& mask) {
  const at::Tensor set = mask.abs().amax(0).to(at::kCPU) > 0;
  const at::Tensor rows = set.any(1).nonzero(), columns = set.any(0).nonzero();
  if (rows.numel() == 0) return {8, 8, 0, 0};
  const auto y1 = rows[0].item<int64_t>(), y2 = rows[-1].item<int64_t>();
  const auto x1 = columns[0].item<int64_t>(), x2 = columns[-1].item<int64_t>();
  return {std::max<int64_t>(8, y2 - y1 + 1), std::max<int64_t>(8, x2 - x1 + 1), y1, x1};
}

bool Encloses(const std::array<int64_t, 4>& a, const std::array<int64_t, 4>& b) {
  return b[2] >= a[2] && b[3] >= a[3] && a[0] + a[2] >= b[0] + b[2] && a[1] + a[3] >= b[1] + b[3];
}

void AddCounterpart(CondList& list, const PreparedCond& c) {
  const PreparedCond* smallest = nullptr;
  for (const PreparedCond& x : list) {
    if (!x.area) {
      if (smallest == nullptr) smallest = &x;
    } else if (Encloses(*x.area, *c.area)) {
      if (smallest == nullptr || !smallest->area ||
          (*smallest->area)[0] * (*smallest->area)[1] > (*x.area)[0] * (*x.area)[1])
        smallest = &x;
    }
  }
  if (smallest == nullptr || smallest->area == c.area) return;
  PreparedCond added = c;
  added.context = smallest->context;
  added.inputs = smallest->inputs;
  list.push_back(std::move(added));
}

// One network call that is due: which part of x, with which weight and inputs, for which list.
struct Call {
  size_t list;
  const PreparedCond* cond;
  at::Tensor x;     // [B,C,...,h',w']
  at::Tensor mult;  // same shape
  int64_t y = 0, left = 0;
  ModelCallInputs inputs;  // for all of x's items
};

// `t` repeated and cut on its first dimension to `items`.
at::Tensor ToItems(const at::Tensor& t, int64_t items) {
  if (!t.defined() || t.size(0) == items) return t;
  std::vector<int64_t> repeats(static_cast<size_t>(t.dim()), 1);
  repeats[0] = (items + t.size(0) - 1) / t.size(0);
  return t.repeat(repeats).narrow(0, 0, items);
}

// Fills in what the family gave, with the parts that lie on the latent's grid cut like x.
void TakeInputs(Call& call, bool cropped) {
  call.inputs = call.cond->inputs;
  const int64_t items = call.x.size(0);
  for (at::Tensor ModelCallInputs::*field : ModelCallInputs::kBatched) {
    at::Tensor& t = call.inputs.*field;
    if (!t.defined()) continue;
    if (cropped && std::ranges::find(ModelCallInputs::kOnGrid, field) != ModelCallInputs::kOnGrid.end())
      t = t.narrow(-2, call.y, call.x.size(-2)).narrow(-1, call.left, call.x.size(-1));
    t = ToItems(t, items);
  }
  for (at::Tensor& t : call.inputs.ref_latents) t = ToItems(t, items);
}

// Linear edges of an area, except where it meets the picture's own edge. Source: spec engine.md 4.10 "Per call".
void Feather(at::Tensor& mult, const std::array<int64_t, 4>& area, int64_t height, int64_t width) {
  for (size_t axis = 0; axis < 2; ++axis) {
    const int64_t dim = axis == 0 ? -2 : -1;
    const int64_t rows = std::min(kFeather, area[axis] / 4);
    const int64_t size = axis == 0 ? height : width;
    for (int64_t t = 0; t < rows; ++t) {
      const double weight = 1.0 / static_cast<double>(rows) * static_cast<double>(t + 1);
      if (area[axis + 2] != 0) mult.narrow(dim, t, 1).mul_(weight);
      if (area[axis] + area[axis + 2] < size) mult.narrow(dim, area[axis] - 1 - t, 1).mul_(weight);
    }
  }
}

std::optional<Call> MakeCall(size_t list, const PreparedCond& cond, const at::Tensor& x, double sigma) {
  if (!InWindow(sigma, cond.start_sigma, cond.end_sigma, x.scalar_type())) return std::nullopt;
  Call call;
  call.list = list;
  call.cond = &cond;
  call.x = x;
  const int64_t height = x.size(-2), width = x.size(-1);
  std::array<int64_t, 4> area{height, width, 0, 0};
  if (cond.area) {
    area = *cond.area;
    area[2] = std::clamp<int64_t>(area[2], 0, height);
    area[3] = std::clamp<int64_t>(area[3], 0, width);
    area[0] = std::min(area[0], height - area[2]);
    area[1] = std::min(area[1], width - area[3]);
    if (area[0] <= 0 || area[1] <= 0) return std::nullopt;  // lies outside the picture
    call.x = x.narrow(-2, area[2], area[0]).narrow(-1, area[3], area[1]);
    call.y = area[2];
    call.left = area[3];
  }
  TakeInputs(call, cond.area.has_value());
  call.mult = at::ones_like(call.x, call.x.options(), at::MemoryFormat::Contiguous) * cond.strength;
  if (cond.mask.defined()) {
    at::Tensor mask = cond.mask.narrow(1, area[2], area[0]).narrow(2, area[3], area[1]) * cond.mask_strength;
    const int64_t repeat = std::max<int64_t>(1, x.size(0) / mask.size(0));
    mask = mask.repeat({repeat, 1, 1}).narrow(0, 0, x.size(0)).unsqueeze(1);
    while (mask.dim() < x.dim()) mask = mask.unsqueeze(2);
    call.mult = mask.expand_as(call.x) * cond.strength;
  } else if (cond.area) {
    Feather(call.mult, area, height, width);
  }
  return call;
}

// The calls of one list that are due. Entries that fill what is left get the weight that the others leave at each
// place, not below 0; they are left out where that is nothing.
void AddCalls(size_t list, const CondList& conds, const at::Tensor& x, double sigma, std::vector<Call>& due) {
  const size_t first = due.size();
  for (const PreparedCond& cond : conds) {
    if (cond.fills_rest) continue;
    if (std::optional<Call> call = MakeCall(list, cond, x, sigma)) due.push_back(std::move(*call));
  }
  const size_t end = due.size();
  at::Tensor rest;
  for (const PreparedCond& cond : conds) {
    if (!cond.fills_rest) continue;
    if (!rest.defined()) {
      rest = at::ones_like(x);
      for (size_t i = first; i < end; ++i)
        rest.narrow(-2, due[i].y, due[i].x.size(-2)).narrow(-1, due[i].left, due[i].x.size(-1)).sub_(due[i].mult);
      rest = rest.clamp_min(0.0);
      if (rest.count_nonzero().item<int64_t>() == 0) return;
    }
    std::optional<Call> call = MakeCall(list, cond, x, sigma);
    if (!call) continue;
    call->mult = rest.narrow(-2, call->y, call->x.size(-2)).narrow(-1, call->left, call->x.size(-1));
    due.push_back(std::move(*call));
  }
}

bool CanBatch(const Model& model, const Call& a, const Call& b) {
  if (a.cond->control_run != b.cond->control_run) return false;
  if (a.x.sizes() != b.x.sizes()) return false;
  const at::Tensor &ca = a.cond->context, &cb = b.cond->context;
  if (ca.size(0) != cb.size(0) || ca.size(2) != cb.size(2)) return false;
  if (model.fixed_context && ca.size(1) != cb.size(1)) return false;
  const int64_t multiple = std::lcm(ca.size(1), cb.size(1));
  if (multiple / std::min(ca.size(1), cb.size(1)) > kContextRepeatMax) return false;
  for (at::Tensor ModelCallInputs::*field : ModelCallInputs::kBatched) {
    const at::Tensor &ta = a.inputs.*field, &tb = b.inputs.*field;
    if (ta.defined() != tb.defined() || (ta.defined() && ta.sizes() != tb.sizes())) return false;
  }
  const std::vector<at::Tensor>&ra = a.inputs.ref_latents, &rb = b.inputs.ref_latents;
  if (ra.size() != rb.size() || a.inputs.ref_latents_method != b.inputs.ref_latents_method) return false;
  for (size_t i = 0; i < ra.size(); ++i)
    if (ra[i].sizes() != rb[i].sizes()) return false;
  return true;
}

}  // namespace

StatusOr<CondList> PrepareConds(const Conditioning& conditioning, const Model& model, const CondRun& run) {
  const int64_t height = run.latent.size(-2), width = run.latent.size(-1);
  const at::Device device = model.network->device();
  CondList list;
  for (const CondEntry& entry : conditioning.entries) {
    PreparedCond cond;
    if (!entry.cond.defined() || entry.cond.dim() != 3) return InvalidArgument("conditioning holds no [1,T,D] tensor");
    cond.context = entry.cond.to(device, at::kFloat);
    ASSIGN_OR_RETURN(cond.area, AreaOption(entry, height, width));
    ASSIGN_OR_RETURN(cond.strength, NumberOption(entry, "strength", 1.0));
    ASSIGN_OR_RETURN(cond.mask_strength, NumberOption(entry, "mask_strength", 1.0));
    if (const auto it = entry.tensors.find("mask"); it != entry.tensors.end() && it->second.defined()) {
      at::Tensor mask = it->second.to(device, at::kFloat);
      if (mask.dim() == 2) mask = mask.unsqueeze(0);
      if (mask.dim() != 3) return InvalidArgument("conditioning mask has ", mask.dim(), " dimensions, expected 2 or 3");
      if (mask.size(1) != height || mask.size(2) != width)
        mask = at::upsample_bilinear2d(mask.unsqueeze(1), {height, width}, false).squeeze(1);
      cond.mask = mask;
      const auto bounds = entry.options.find("set_area_to_bounds");
      if (bounds != entry.options.end() && bounds->is_boolean() && bounds->get<bool>()) cond.area = MaskBounds(mask);
    }
    if (entry.options.contains("start_percent")) {
      ASSIGN_OR_RETURN(const double percent, NumberOption(entry, "start_percent", 0.0));
      cond.start_sigma = model.sampling->PercentToSigma(percent);
    }
    if (entry.options.contains("end_percent")) {
      ASSIGN_OR_RETURN(const double percent, NumberOption(entry, "end_percent", 1.0));
      cond.end_sigma = model.sampling->PercentToSigma(percent);
    }
    if (model.encode_cond) {
      CondRun own = run;
      own.input_channels = model.network->input_channels();
      ASSIGN_OR_RETURN(cond.inputs, model.encode_cond(entry, own));
    }
    cond.control = entry.control;
    const auto fills = entry.options.find("default");
    cond.fills_rest = fills != entry.options.end() && fills->is_boolean() && fills->get<bool>();
    list.push_back(std::move(cond));
  }
  return list;
}

void MatchAreas(std::vector<CondList>& lists) {
  for (size_t from = 0; from < lists.size(); ++from) {
    const CondList fixed = lists[from];  // a list may grow while others look at it
    for (const PreparedCond& c : fixed) {
      if (!c.area) continue;
      for (size_t to = 0; to < lists.size(); ++to)
        if (to != from) AddCounterpart(lists[to], c);
    }
  }
}

at::Tensor BatchedDenoise(const Model& model, const at::Tensor& x, double sigma, ModelCallInputs inputs) {
  const at::Tensor sigmas = at::full({x.size(0)}, sigma, x.options());
  const at::Tensor scaled = model.sampling->CalculateInput(sigmas, x);
  inputs.sigma = static_cast<float>(sigma);
  inputs.compute = model.compute;
  if (inputs.hooks == nullptr && model.running != nullptr) inputs.hooks = &model.running->network;
  const NetworkHooks* hooks = inputs.hooks;
  NetworkHooks::Network forward = [&model](const at::Tensor& in, const at::Tensor& t, const ModelCallInputs& more) {
    return model.network->Forward(in, t, more);
  };
  if (hooks != nullptr) {
    for (const NetworkHooks::Around& around : hooks->around) {
      forward = [&around, inner = std::move(forward)](const at::Tensor& in, const at::Tensor& t,
                                                      const ModelCallInputs& more) {
        return around(in, t, more, inner);
      };
    }
  }
  const at::Tensor output = forward(scaled.to(at::kFloat), model.sampling->Timestep(sigmas).to(at::kFloat), inputs);
  return model.sampling->CalculateDenoised(sigmas, output.to(at::kFloat), x);
}

namespace {

// The inputs of calls that share one batch.
ModelCallInputs Joined(const std::vector<Call>& batch) {
  int64_t tokens = 1;
  for (const Call& call : batch) tokens = std::lcm(tokens, call.cond->context.size(1));
  ModelCallInputs joined;
  std::vector<at::Tensor> contexts;
  for (const Call& call : batch) {
    at::Tensor context = ToItems(call.cond->context, call.x.size(0));
    if (context.size(1) != tokens) context = context.repeat({1, tokens / context.size(1), 1});
    contexts.push_back(context);
    joined.kinds.push_back(call.list == 0   ? CondKind::kPositive
                           : call.list == 1 ? CondKind::kNegative
                                            : CondKind::kOther);
  }
  joined.context = at::cat(contexts, 0);
  const auto join = [&batch](const auto& pick) {
    std::vector<at::Tensor> parts;
    for (const Call& call : batch) parts.push_back(pick(call.inputs));
    return at::cat(parts, 0);
  };
  const ModelCallInputs& first = batch.front().inputs;
  for (at::Tensor ModelCallInputs::*field : ModelCallInputs::kBatched) {
    if ((first.*field).defined()) joined.*field = join([field](const ModelCallInputs& in) { return in.*field; });
  }
  for (size_t i = 0; i < first.ref_latents.size(); ++i)
    joined.ref_latents.push_back(join([i](const ModelCallInputs& in) { return in.ref_latents[i]; }));
  joined.ref_latents_method = first.ref_latents_method;
  return joined;
}

}  // namespace

std::vector<at::Tensor> EvaluateConds(const Model& model, const std::vector<const CondList*>& lists,
                                      const at::Tensor& x, double sigma) {
  std::vector<at::Tensor> sums(lists.size()), counts(lists.size());
  std::vector<Call> due;
  for (size_t i = 0; i < lists.size(); ++i) {
    if (lists[i] == nullptr) continue;
    sums[i] = at::zeros_like(x);
    counts[i] = at::full_like(x, 1e-37);
    AddCalls(i, *lists[i], x, sigma, due);
  }
  while (!due.empty()) {
    std::vector<Call> batch, later;
    for (Call& call : due)
      (batch.empty() || CanBatch(model, batch.front(), call) ? batch : later).push_back(std::move(call));
    due = std::move(later);
    std::reverse(batch.begin(), batch.end());

    std::vector<at::Tensor> xs;
    for (const Call& call : batch) xs.push_back(call.x);
    const at::Tensor joined_x = at::cat(xs, 0);
    ModelCallInputs inputs = Joined(batch);
    ControlResiduals residuals;
    std::optional<NetworkHooks> hooks;
    if (ControlRun* control = batch.front().cond->control_run.get()) {
      residuals = control->Evaluate(joined_x.to(at::kFloat), static_cast<float>(sigma), inputs);
      inputs.control = &residuals;
      hooks = control->Hooks(model.running == nullptr ? nullptr : &model.running->network, joined_x);
      if (hooks) inputs.hooks = &*hooks;
    }
    const std::vector<at::Tensor> outputs =
        BatchedDenoise(model, joined_x, sigma, std::move(inputs)).chunk(static_cast<int64_t>(batch.size()), 0);
    for (size_t i = 0; i < batch.size(); ++i) {
      const Call& call = batch[i];
      auto part = [&call](const at::Tensor& whole) {
        return whole.narrow(-2, call.y, call.x.size(-2)).narrow(-1, call.left, call.x.size(-1));
      };
      part(sums[call.list]).add_(outputs[i] * call.mult);
      part(counts[call.list]).add_(call.mult);
    }
  }
  for (size_t i = 0; i < sums.size(); ++i)
    if (sums[i].defined()) sums[i] = sums[i] / counts[i];
  return sums;
}

}  // namespace atelier::engine
