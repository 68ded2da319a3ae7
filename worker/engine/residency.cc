#include "worker/engine/residency.h"

#include <algorithm>

namespace atelier::engine {

ParamSet::ParamSet(at::Device device, Part part, std::shared_ptr<Residency> residency)
    : device_(device), part_(part), residency_(std::move(residency)) {}

ParamSet::~ParamSet() {
  if (residency_ != nullptr) residency_->Forget(*this);
}

Param ParamSet::Add(at::Tensor stored) {
  stored_bytes_ += static_cast<int64_t>(stored.nbytes());
  elements_ += stored.numel();
  params_.push_back(std::make_shared<ParamSlot>(ParamSlot{std::move(stored), {}}));
  return params_.back();
}

int64_t ParamSet::live_bytes() const {
  const Precision p = precision();
  if (p.keep_stored) return device_.is_cpu() ? 0 : stored_bytes_;
  return elements_ * static_cast<int64_t>(c10::elementSize(p.storage));
}

void ParamSet::Load() {
  if (residency_ != nullptr) residency_->Use(*this);
  if (loaded_) return;
  const Precision p = precision();
  for (const Param& param : params_) {
    const at::ScalarType type =
        p.keep_stored || !param->stored.is_floating_point() ? param->stored.scalar_type() : p.storage;
    param->live = param->stored.to(at::TensorOptions(device_).dtype(type));
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
