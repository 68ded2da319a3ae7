#include "worker/engine/residency.h"

#include <algorithm>

namespace atelier::engine {

ParamSet::ParamSet(at::Device device, Part part, std::shared_ptr<Residency> residency)
    : device_(device), part_(part), residency_(std::move(residency)) {}

ParamSet::~ParamSet() {
  if (residency_ != nullptr) residency_->Forget(*this);
}

at::Tensor ParamSlot::As(at::ScalarType type) const {
  if (!decoder) return live.to(type);
  at::Tensor weight = decoder(live);
  for (const WeightPatch& patch : patches) weight = patch(weight.to(at::kFloat));
  return weight.to(type);
}

Param ParamSet::Add(at::Tensor stored, const WeightExtras* extras) {
  auto slot = std::make_shared<ParamSlot>();
  if (extras != nullptr) {
    slot->patches = extras->patches;
    slot->decoder = extras->decoder;
    if (slot->decoder) stored = extras->encoded;
  }
  const auto bytes = static_cast<int64_t>(stored.nbytes());
  stored_bytes_ += bytes;
  if (slot->decoder) {
    encoded_bytes_ += bytes;
  } else {
    elements_ += stored.numel();
    if (!slot->patches.empty()) patched_bytes_ += stored.numel() * static_cast<int64_t>(sizeof(float));
  }
  slot->stored = std::move(stored);
  params_.push_back(slot);
  return slot;
}

int64_t ParamSet::live_bytes() const {
  const Precision p = precision();
  if (p.keep_stored) return device_.is_cpu() ? patched_bytes_ : stored_bytes_;
  return elements_ * static_cast<int64_t>(c10::elementSize(p.storage)) + (device_.is_cpu() ? 0 : encoded_bytes_);
}

void ParamSet::Load() {
  if (residency_ != nullptr) residency_->Use(*this);
  if (loaded_) return;
  const Precision p = precision();
  for (const Param& param : params_) {
    const at::Tensor& stored = param->stored;
    if (param->decoder) {
      param->live = stored.to(device_);
      continue;
    }
    const at::ScalarType type = p.keep_stored || !stored.is_floating_point() ? stored.scalar_type() : p.storage;
    if (param->patches.empty()) {
      param->live = stored.to(at::TensorOptions(device_).dtype(type));
      continue;
    }
    at::Tensor weight = stored.to(at::TensorOptions(device_).dtype(at::kFloat));
    for (const WeightPatch& patch : param->patches) weight = patch(weight);
    // The CPU computes in float32, so a rounding would gain nothing; but text encoders are kept as stored everywhere in
    // the reference, and a patched one is rounded to that. Source: spec engine.md 8.1 "Precision", 10.2.
    if (part_ == Part::kTextEncoder) weight = weight.to(stored.scalar_type());
    param->live = weight.to(device_.is_cpu() ? at::kFloat : type);
  }
  loaded_ = true;
}

void ParamSet::Unload() {
  for (const Param& param : params_) param->live = at::Tensor();
  loaded_ = false;
}

void Residency::Use(ParamSet& set) {
  const std::lock_guard lock(mutex_);
  sets_.remove(&set);
  int64_t total = set.live_bytes();
  for (const ParamSet* other : sets_) total += other->live_bytes();
  while (total > bytes_max_ && !sets_.empty()) {
    total -= sets_.front()->live_bytes();
    sets_.front()->Unload();
    sets_.pop_front();
  }
  sets_.push_back(&set);
}

void Residency::Forget(ParamSet& set) {
  const std::lock_guard lock(mutex_);
  sets_.remove(&set);
}

void Residency::UnloadAll(const ParamSet* keep) {
  const std::lock_guard lock(mutex_);
  for (auto it = sets_.begin(); it != sets_.end();) {
    if (*it == keep) {
      ++it;
    } else {
      (*it)->Unload();
      it = sets_.erase(it);
    }
  }
}

int64_t Residency::bytes() const {
  const std::lock_guard lock(mutex_);
  int64_t total = 0;
  for (const ParamSet* set : sets_) total += set->live_bytes();
  return total;
}

}  // namespace atelier::engine
