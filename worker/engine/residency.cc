#include "worker/engine/residency.h"

#include <algorithm>
#include <numeric>

#include "common/base/log.h"
#include "common/tensorio/mapped_file.h"
#include "worker/engine/guard.h"
#include "worker/engine/packed_conv.h"

namespace atelier::engine {
namespace {

// A set that memory ran out for is streamed within half, then a quarter and so on of what was tried.
constexpr int kHalvings = 6;

std::string_view BytesOf(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

}  // namespace

ParamSet::ParamSet(at::Device device, Part part, std::shared_ptr<Residency> residency)
    : device_(device), part_(part), residency_(std::move(residency)) {}

ParamSet::~ParamSet() {
  if (residency_ != nullptr) residency_->Forget(*this);
}

at::Tensor ParamSlot::Live() const {
  if (stream != nullptr) stream->Enter(block);
  return live;
}

at::Tensor ParamSlot::As(at::ScalarType type) const {
  at::Tensor weight = Live();
  if (weight.is_mkldnn()) weight = Unpacked(weight);
  if (!decoder) return weight.to(type);
  weight = decoder(weight);
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
  stored_bytes_ += static_cast<int64_t>(stored.nbytes());
  slot->stored = std::move(stored);
  params_.push_back(slot);
  sizes_.clear();
  return slot;
}

// What a parameter is kept in. On a GPU 8-bit weights that nobody patches stay, and text encoders round full floats to
// halves. Source: spec engine.md 10.2.
at::ScalarType ParamSet::KeptType(const ParamSlot& slot) const {
  const Precision p = precision();
  const at::ScalarType stored = slot.stored.scalar_type();
  if (!slot.stored.is_floating_point()) return stored;
  if (!device_.is_cpu()) {
    if (part_ == Part::kTextEncoder && stored == at::kFloat) return at::kHalf;
    if (c10::isFloat8Type(stored) && slot.patches.empty()) return stored;
  }
  return p.keep_stored ? stored : p.storage;
}

// As Prepared() makes it.
int64_t ParamSet::LiveBytes(const ParamSlot& slot) const {
  const auto stored = static_cast<int64_t>(slot.stored.nbytes());
  if (slot.decoder) return device_.is_cpu() ? 0 : stored;
  const at::ScalarType type = KeptType(slot);
  const int64_t elements = slot.stored.numel();
  if (!device_.is_cpu()) return elements * static_cast<int64_t>(c10::elementSize(type));
  if (!slot.patches.empty() || (slot.packing && type == at::kFloat))
    return elements * static_cast<int64_t>(sizeof(float));
  return type == slot.stored.scalar_type() ? 0 : elements * static_cast<int64_t>(c10::elementSize(type));
}

const std::vector<int64_t>& ParamSet::Sizes() const {
  if (sizes_.empty())
    for (const Param& param : params_) sizes_.push_back(LiveBytes(*param));
  return sizes_;
}

int64_t ParamSet::WholeBytes() const {
  const std::vector<int64_t>& sizes = Sizes();
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
}

int64_t ParamSet::live_bytes() const {
  if (stream_ != nullptr) return stream_->plan().resident_bytes + stream_->plan().pool_bytes;
  const int64_t whole = WholeBytes();
  if (residency_ == nullptr || whole <= residency_->bytes_max()) return whole;
  const StreamPlan plan = PlanStream(Sizes(), residency_->bytes_max());
  return plan.resident_bytes + plan.pool_bytes;
}

// The parameter as layers use it. A streamed one comes to a GPU through page-locked memory, so that the copy runs
// beside the network.
at::Tensor ParamSet::Prepared(const ParamSlot& slot, bool streamed) const {
  at::Tensor stored = slot.stored;
  if (streamed && device_.is_cuda()) stored = stored.pin_memory();
  const auto moved = [&](at::ScalarType type) {
    return stored.to(at::TensorOptions(device_), /*non_blocking=*/streamed).to(type);
  };
  if (slot.decoder) return moved(stored.scalar_type());
  const at::ScalarType type = KeptType(slot);
  at::Tensor weight;
  if (slot.patches.empty()) {
    weight = moved(type);
  } else {
    weight = moved(at::kFloat);
    for (const WeightPatch& patch : slot.patches) weight = patch(weight);
    // The CPU computes in float32, so a rounding would gain nothing; but text encoders are kept as stored everywhere in
    // the reference, and a patched one is rounded to that. Source: spec engine.md 8.1 "Precision", 10.2.
    if (part_ == Part::kTextEncoder) weight = weight.to(stored.scalar_type());
    weight = weight.to(device_.is_cpu() ? at::kFloat : type);
  }
  // cuDNN would bring the weights of each call into the order of the pictures.
  if (slot.packing && !device_.is_cpu() && weight.dim() == 4)
    weight = weight.contiguous(at::MemoryFormat::ChannelsLast);
  // Others are packed by their first picture (Conv2d).
  if (streamed && slot.packing && device_.is_cpu() && weight.scalar_type() == at::kFloat)
    weight = Packed(weight, slot.packing->stride, slot.packing->padding, std::nullopt);
  // What was copied is not read again until the set is loaded anew.
  const bool copied = !device_.is_cpu() || weight.is_mkldnn() || !weight.is_alias_of(slot.stored);
  if (copied && slot.stored.is_cpu() && slot.stored.is_contiguous()) MappedFile::GiveBack(BytesOf(slot.stored));
  return weight;
}

void ParamSet::LoadWithin(int64_t bytes_max) {
  if (WholeBytes() <= bytes_max) {
    for (const Param& param : params_) param->live = Prepared(*param, false);
    return;
  }
  const auto bring = [this](size_t i) { params_[i]->live = Prepared(*params_[i], true); };
  const auto drop = [this](size_t i) { return std::exchange(params_[i]->live, at::Tensor()); };
  stream_ = std::make_unique<WeightStream>(PlanStream(Sizes(), bytes_max), device_, bring, drop);
  for (size_t i = 0; i < params_.size(); ++i) {
    params_[i]->block = stream_->BlockOf(i);
    params_[i]->stream = stream_->plan().blocks[params_[i]->block].streamed ? stream_.get() : nullptr;
  }
  if (within_ == bytes_max) return;
  within_ = bytes_max;
  LogInfo("a network of ", WholeBytes() >> 20, " MiB is streamed: ", stream_->plan().resident_bytes >> 20,
          " MiB stay, the others pass through ", stream_->plan().pool_bytes >> 20, " MiB");
}

void ParamSet::Load() {
  if (residency_ != nullptr) residency_->Use(*this);
  if (loaded_) return;
  int64_t bound = residency_ != nullptr ? residency_->bytes_max() : WholeBytes();
  for (int tries = 0;; ++tries) {
    const std::exception_ptr error = Try([&] { LoadWithin(bound); });
    if (error == nullptr) break;
    Unload();
    const Status status = StatusOf(error);
    if (residency_ == nullptr || tries == kHalvings || status.code() != StatusCode::kResourceExhausted)
      std::rethrow_exception(error);
    LogWarning("memory ran out while a network was loaded, others are unloaded for it: ", Message(status));
    residency_->UnloadAll(this);
    if (tries > 0) bound = std::min(bound, WholeBytes()) / 2;
  }
  loaded_ = true;
}

void ParamSet::Unload() {
  stream_.reset();
  for (const Param& param : params_) {
    param->live = at::Tensor();
    param->stream = nullptr;
  }
  loaded_ = false;
}

void ParamSet::GivePagesBack() const {
  if (!device_.is_cpu() || stream_ != nullptr) return;  // a stream's thread changes the parameters
  for (const Param& param : params_) {
    const at::Tensor& live = param->live;
    if (live.defined() && !live.is_mkldnn() && live.is_alias_of(param->stored) && live.is_contiguous())
      MappedFile::GiveBack(BytesOf(live));
  }
}

void Residency::Use(ParamSet& set) {
  const std::lock_guard lock(mutex_);
  sets_.remove(&set);
  if (set.part() == Part::kAutoencoder || set.part() == Part::kUpscaler)
    for (const ParamSet* other : sets_) other->GivePagesBack();
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

int Residency::UnloadAll(const ParamSet* keep) {
  const std::lock_guard lock(mutex_);
  int unloaded = 0;
  for (auto it = sets_.begin(); it != sets_.end();) {
    if (*it == keep) {
      ++it;
    } else {
      (*it)->Unload();
      it = sets_.erase(it);
      ++unloaded;
    }
  }
  return unloaded;
}

int64_t Residency::bytes() const {
  const std::lock_guard lock(mutex_);
  int64_t total = 0;
  for (const ParamSet* set : sets_) total += set->live_bytes();
  return total;
}

}  // namespace atelier::engine
