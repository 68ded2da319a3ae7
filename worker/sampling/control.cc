#include "worker/sampling/control.h"

#include <algorithm>
#include <map>

#include "worker/sampling/conditioning.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::engine {
namespace {

// `mine` times `strength`, and `before` on top; what only one has is taken as it is.
void Merge(std::vector<at::Tensor>& mine, const std::vector<at::Tensor>& before, double strength) {
  if (strength != 1.0) {
    for (at::Tensor& t : mine)
      if (t.defined()) t = t * strength;
  }
  if (mine.size() < before.size()) mine.resize(before.size());
  for (size_t i = 0; i < before.size(); ++i) {
    if (!before[i].defined()) continue;
    mine[i] = mine[i].defined() ? mine[i] + before[i].to(mine[i].options()) : before[i];
  }
}

// `pictures` [N,...] repeated or cut to `items`, and that `parts` times.
at::Tensor Spread(const at::Tensor& pictures, int64_t items, int64_t parts) {
  std::vector<int64_t> repeats(static_cast<size_t>(pictures.dim()), 1);
  repeats[0] = (items + pictures.size(0) - 1) / pictures.size(0);
  const at::Tensor part = pictures.repeat(repeats).narrow(0, 0, items);
  repeats[0] = parts;
  return part.repeat(repeats);
}

}  // namespace

StatusOr<std::shared_ptr<ControlRun>> ControlRun::Make(const AppliedControl& control, const Model& model,
                                                       std::shared_ptr<ControlRun> previous) {
  if (control.net.network == nullptr) return Internal("an applied control has no network");
  const bool grounds = dynamic_cast<const GroundingNetwork*>(control.net.network.get()) != nullptr;
  if (!grounds && !control.picture.pixels.defined()) return InvalidArgument("a control net was shown no picture");
  if (!grounds && (control.picture.pixels.dim() != 4 || control.picture.pixels.numel() == 0))
    return InvalidArgument("a control net was shown no picture");
  std::shared_ptr<ControlRun> run(new ControlRun());
  ASSIGN_OR_RETURN(run->network_, control.net.network->For(model));
  if (run->network_ == nullptr) run->network_ = control.net.network;
  run->picture_ = control.picture;
  run->picture_.kinds = control.net.kinds;
  run->strength_ = control.strength;
  run->start_sigma_ = model.sampling->PercentToSigma(control.start_percent);
  run->end_sigma_ = model.sampling->PercentToSigma(control.end_percent);
  run->model_ = model;
  run->previous_ = std::move(previous);
  if (const AppliedControl* grounding = GroundingOf(&control)) run->grounding_ = grounding->net.network;
  return run;
}

const std::vector<at::Tensor>& ControlRun::Prepared(int64_t height, int64_t width, int64_t items, int64_t parts) {
  const std::vector<int64_t> key{height, width, items, parts};
  if (prepared_for_ == key) return prepared_;
  if (prepared_for_.empty() || prepared_for_[0] != height || prepared_for_[1] != width) {
    prepared_for_.clear();
    auto derived = network_->Prepare(picture_, height, width, model_.latent_format);
    TORCH_CHECK(derived.ok(), Message(derived.status()));
    derived_ = std::move(*derived);
  }
  prepared_.clear();
  for (const at::Tensor& t : derived_) prepared_.push_back(t.defined() ? Spread(t, items, parts) : t);
  prepared_for_ = key;
  return prepared_;
}

ControlResiduals ControlRun::Evaluate(const at::Tensor& x, float sigma, const ModelCallInputs& inputs) {
  ControlResiduals before;
  if (previous_ != nullptr) before = previous_->Evaluate(x, sigma, inputs);
  if (!InWindow(sigma, start_sigma_, end_sigma_, x.scalar_type())) return before;
  const auto parts = static_cast<int64_t>(std::max<size_t>(1, inputs.kinds.size()));
  const std::vector<at::Tensor>& prepared = Prepared(x.size(-2), x.size(-1), x.size(0) / parts, parts);
  const at::Tensor sigmas = at::full({x.size(0)}, sigma, x.options());
  ControlResiduals mine = network_->Residuals(prepared, model_.sampling->CalculateInput(sigmas, x),
                                              model_.sampling->Timestep(sigmas), inputs);
  Merge(mine.input, before.input, strength_);
  Merge(mine.middle, before.middle, strength_);
  Merge(mine.output, before.output, strength_);
  return mine;
}

std::optional<NetworkHooks> ControlRun::Hooks(const NetworkHooks* hooks, const at::Tensor& x) const {
  const auto* grounding = dynamic_cast<const GroundingNetwork*>(grounding_.get());
  if (grounding == nullptr) return std::nullopt;
  NetworkHooks all = hooks == nullptr ? NetworkHooks() : *hooks;
  grounding->AddHooks(all, x.size(-2), x.size(-1));
  return all;
}

const AppliedControl* GroundingOf(const AppliedControl* control) {
  for (; control != nullptr; control = control->previous.get())
    if (dynamic_cast<const GroundingNetwork*>(control->net.network.get()) != nullptr) return control;
  return nullptr;
}

namespace {

// The last of a chain that adds residuals; null when there is none.
const AppliedControl* SteeringOf(const AppliedControl* control) {
  while (control != nullptr && dynamic_cast<const GroundingNetwork*>(control->net.network.get()) != nullptr)
    control = control->previous.get();
  return control;
}

// Gives the places of the first list's entries to entries without area of the others that have none of their own.
void ShareGrounding(std::vector<CondList>& lists) {
  std::vector<const AppliedControl*> shared;
  for (const PreparedCond& cond : lists.front())
    if (const AppliedControl* grounding = cond.area ? nullptr : GroundingOf(cond.control.get()))
      shared.push_back(grounding);
  if (shared.empty()) return;
  for (size_t i = 1; i < lists.size(); ++i) {
    std::vector<PreparedCond*> takers;
    bool has_own = false;
    for (PreparedCond& cond : lists[i]) {
      if (cond.area) continue;
      has_own |= GroundingOf(cond.control.get()) != nullptr;
      takers.push_back(&cond);
    }
    if (has_own || takers.empty()) continue;
    for (size_t k = 0; k < shared.size() && k < takers.size(); ++k) {
      AppliedControl own = *shared[k];
      own.previous = takers[k]->control;
      takers[k]->control = std::make_shared<const AppliedControl>(std::move(own));
    }
  }
}

using Runs = std::map<const AppliedControl*, std::shared_ptr<ControlRun>>;

StatusOr<std::shared_ptr<ControlRun>> RunOf(const AppliedControl* control, const Model& model, Runs& runs) {
  std::vector<const AppliedControl*> chain;
  for (; control != nullptr && !runs.contains(control); control = control->previous.get()) chain.push_back(control);
  std::shared_ptr<ControlRun> last = control == nullptr ? nullptr : runs.at(control);
  for (auto it = chain.rbegin(); it != chain.rend(); ++it) {
    ASSIGN_OR_RETURN(last, ControlRun::Make(**it, model, last));
    runs.emplace(*it, last);
  }
  return last;
}

}  // namespace

Status PrepareControls(std::vector<CondList>& lists, const Model& model) {
  std::vector<std::shared_ptr<const AppliedControl>> shared;
  if (!lists.empty()) {
    for (const PreparedCond& cond : lists.front())
      if (const AppliedControl* steering = SteeringOf(cond.control.get());
          !cond.area && steering != nullptr && steering->to_uncond)
        shared.push_back(std::shared_ptr<const AppliedControl>(cond.control, steering));
  }
  for (size_t i = 1; i < lists.size(); ++i) {
    std::vector<PreparedCond*> takers;
    bool has_own = false;
    for (PreparedCond& cond : lists[i]) {
      if (cond.area) continue;
      has_own |= SteeringOf(cond.control.get()) != nullptr;
      if (cond.control == nullptr) takers.push_back(&cond);
    }
    if (has_own || takers.empty()) continue;
    for (size_t k = 0; k < shared.size(); ++k) takers[k % takers.size()]->control = shared[k];
  }
  if (!lists.empty()) ShareGrounding(lists);
  Runs runs;
  for (CondList& list : lists) {
    for (PreparedCond& cond : list) {
      ASSIGN_OR_RETURN(cond.control_run, RunOf(cond.control.get(), model, runs));
    }
  }
  return OkStatus();
}

}  // namespace atelier::engine
