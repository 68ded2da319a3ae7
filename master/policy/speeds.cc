#include "master/policy/speeds.h"

#include <algorithm>
#include <cmath>

namespace atelier {
namespace {

constexpr double kNew = 0.3;          // weight of a new figure against what was learned
constexpr double kForget = 0.02;      // of the longest gap, with each shorter one
constexpr double kMoved = 0.02;       // a change that others are told of
constexpr double kSecondsMin = 1e-4;  // so that a log exists
constexpr double kBytesPerSecond = 100e6;
constexpr size_t kLoadsMax = 1024;

double Mix(double old, double fresh) { return old + kNew * (fresh - old); }

}  // namespace

int SpeedBook::Worker(const std::string& name, const std::string& device) {
  const auto [it, added] = worker_ids_.emplace(name, kNone);
  if (added) {
    if (workers_.size() >= kWorkersMax) {
      worker_ids_.erase(it);
      return kNone;
    }
    it->second = static_cast<int>(workers_.size());
    workers_.push_back({name, "", 0, false, {}, 0, clock_});
  }
  Rated& worker = workers_[static_cast<size_t>(it->second)];
  if (worker.device != device) ++version_;  // new, or on other hardware now
  worker.device = device;
  return it->second;
}

int SpeedBook::Acquire(const std::string& key) {
  auto it = kind_ids_.find(key);
  if (it == kind_ids_.end()) {
    size_t slot = kinds_.size();
    if (slot < kKindsMax) {
      kinds_.push_back({});
    } else {  // the one that was not used for longest goes
      for (size_t i = 0; i < kinds_.size(); ++i)
        if (kinds_[i].uses == 0 && (slot == kinds_.size() || kinds_[i].used < kinds_[slot].used)) slot = i;
      if (slot == kinds_.size()) return kNone;
      for (Rated& worker : workers_) std::erase(worker.kinds, static_cast<int>(slot));
      kind_ids_.erase(kinds_[slot].key);
      kinds_[slot] = {};
    }
    kinds_[slot].key = key;
    kinds_[slot].used = clock_;
    it = kind_ids_.emplace(key, static_cast<int>(slot)).first;
  }
  ++kinds_[static_cast<size_t>(it->second)].uses;
  return it->second;
}

void SpeedBook::Release(int kind) {
  if (kind != kNone) --kinds_[static_cast<size_t>(kind)].uses;
}

bool SpeedBook::InUse(int kind) const { return kind != kNone && kinds_[static_cast<size_t>(kind)].uses > 0; }

const SpeedBook::Entry* SpeedBook::Find(int worker, int kind) const {
  if (worker == kNone || kind == kNone) return nullptr;
  const Kind& found = kinds_[static_cast<size_t>(kind)];
  if (static_cast<size_t>(worker) >= found.by_worker.size()) return nullptr;
  return &found.by_worker[static_cast<size_t>(worker)];
}

// A worker's factor: the mean of how much longer it takes than the others do, over the kinds that they share.
void SpeedBook::Rate(int worker) {
  Rated& rated = workers_[static_cast<size_t>(worker)];
  double sum = 0;
  int shared = 0;
  for (const int k : rated.kinds) {
    const Kind& kind = kinds_[static_cast<size_t>(k)];
    if (kind.known < 2) continue;
    const double own = std::log(kind.by_worker[static_cast<size_t>(worker)].seconds);
    sum += own - (kind.sum - (own - rated.factor)) / (kind.known - 1);
    ++shared;
  }
  if (shared == 0) return;
  const double factor = sum / shared, moved = factor - rated.factor;
  rated.rated = true;
  if (std::abs(moved) > kMoved) ++version_;
  for (const int k : rated.kinds) kinds_[static_cast<size_t>(k)].sum -= moved;
  rated.factor = factor;
}

void SpeedBook::Observe(int worker, int kind, double seconds, bool rough) {
  if (worker == kNone || kind == kNone || !(seconds >= 0)) return;
  Kind& of = kinds_[static_cast<size_t>(kind)];
  Rated& rated = workers_[static_cast<size_t>(worker)];
  of.used = rated.used = ++clock_;
  if (of.by_worker.size() <= static_cast<size_t>(worker)) of.by_worker.resize(static_cast<size_t>(worker) + 1);
  Entry& entry = of.by_worker[static_cast<size_t>(worker)];
  const double fresh = std::max(seconds, kSecondsMin), before = entry.seconds;
  if (before == 0) {
    entry.seconds = static_cast<float>(fresh);
    entry.rough = rough;
    rated.kinds.push_back(kind);
    ++of.known;
    of.sum += std::log(entry.seconds) - rated.factor;
    ++version_;
    for (size_t w = 0; of.known == 2 && w < of.by_worker.size(); ++w)  // who was alone can be compared now
      if (w != static_cast<size_t>(worker) && of.by_worker[w].seconds > 0 && !workers_[w].rated)
        workers_[w].rated = true;
  } else {
    if (rough && !entry.rough) return;  // what is known is better
    entry.seconds = static_cast<float>(entry.rough ? fresh : Mix(before, fresh));
    entry.rough = rough;
    const double moved = std::log(entry.seconds) - std::log(before);
    of.sum += moved;
    if (std::abs(moved) > kMoved) ++version_;
  }
  Rate(worker);
}

void SpeedBook::ObserveGap(int worker, int kind, double seconds) {
  if (worker == kNone || kind == kNone || !(seconds >= 0)) return;
  Kind& of = kinds_[static_cast<size_t>(kind)];
  if (of.by_worker.size() <= static_cast<size_t>(worker)) of.by_worker.resize(static_cast<size_t>(worker) + 1);
  float& gap = of.by_worker[static_cast<size_t>(worker)].gap;
  gap = static_cast<float>(seconds >= gap ? std::max(seconds, kSecondsMin) : gap - kForget * (gap - seconds));
  ++clock_;
}

void SpeedBook::ObserveLoad(int worker, const std::string& models, double seconds) {
  if (worker == kNone || models.empty() || !(seconds >= 0)) return;
  if (!loads_.contains(models) && loads_.size() >= kLoadsMax) return;
  const auto [it, added] = loads_[models].emplace(worker, seconds);
  if (!added) it->second = Mix(it->second, seconds);
  ++clock_;
}

void SpeedBook::ObserveTransfer(int worker, uint64_t bytes, double seconds) {
  if (worker == kNone || bytes == 0 || !(seconds > 0)) return;
  double& rate = workers_[static_cast<size_t>(worker)].bytes_per_second;
  const double fresh = static_cast<double>(bytes) / seconds;
  rate = rate == 0 ? fresh : Mix(rate, fresh);
  ++clock_;
}

std::optional<double> SpeedBook::Seconds(int worker, int kind) const {
  if (kind == kNone) return std::nullopt;
  const Entry* entry = Find(worker, kind);
  if (entry != nullptr && entry->seconds > 0) return entry->seconds;
  const Kind& of = kinds_[static_cast<size_t>(kind)];
  if (of.known == 0) return std::nullopt;
  return std::exp(of.sum / of.known + Factor(worker));
}

std::optional<double> SpeedBook::SecondsOf(int worker, const std::string& key) const {
  const auto it = kind_ids_.find(key);
  return it == kind_ids_.end() ? std::nullopt : Seconds(worker, it->second);
}

bool SpeedBook::Measured(int worker, int kind) const {
  const Entry* entry = Find(worker, kind);
  return entry != nullptr && entry->seconds > 0 && !entry->rough;
}

bool SpeedBook::Tested(int worker, int kind) const {
  if (worker == kNone) return false;
  const Entry* entry = Find(worker, kind);
  return (entry != nullptr && entry->seconds > 0) || workers_[static_cast<size_t>(worker)].rated;
}

std::optional<double> SpeedBook::Gap(int worker, int kind) const {
  if (kind == kNone) return std::nullopt;
  const Entry* entry = Find(worker, kind);
  if (entry != nullptr && entry->gap > 0) return entry->gap;
  double sum = 0;
  int count = 0;
  const Kind& of = kinds_[static_cast<size_t>(kind)];
  for (size_t w = 0; w < of.by_worker.size(); ++w) {
    if (of.by_worker[w].gap <= 0) continue;
    sum += std::log(of.by_worker[w].gap) - workers_[w].factor;
    ++count;
  }
  if (count == 0) return std::nullopt;
  return std::exp(sum / count + Factor(worker));
}

double SpeedBook::Load(int worker, const std::string& models) const {
  const auto it = loads_.find(models);
  if (it == loads_.end() || it->second.empty()) return 0;
  const auto own = it->second.find(worker);
  if (own != it->second.end()) return own->second;
  double sum = 0;
  for (const auto& [other, seconds] : it->second) sum += seconds;
  return sum / static_cast<double>(it->second.size());
}

double SpeedBook::Transfer(int worker, uint64_t bytes) const {
  const double rate = worker == kNone ? 0 : workers_[static_cast<size_t>(worker)].bytes_per_second;
  return static_cast<double>(bytes) / (rate > 0 ? rate : kBytesPerSecond);
}

double SpeedBook::Base(int kind) const {
  if (kind != kNone && kinds_[static_cast<size_t>(kind)].known > 0)
    return std::exp(kinds_[static_cast<size_t>(kind)].sum / kinds_[static_cast<size_t>(kind)].known);
  double sum = 0;
  int count = 0;
  for (const Kind& one : kinds_) {
    if (one.known == 0) continue;
    sum += one.sum / one.known;
    ++count;
  }
  return count == 0 ? 1.0 : std::exp(sum / count);
}

double SpeedBook::Factor(int worker) const {
  if (worker != kNone && workers_[static_cast<size_t>(worker)].rated)
    return workers_[static_cast<size_t>(worker)].factor;
  if (slowest_of_ != version_) {
    slowest_.clear();
    slowest_of_ = version_;
    for (const Rated& one : workers_) {
      if (!one.rated) continue;
      for (const std::string& device : {one.device, std::string()}) {
        const auto [it, added] = slowest_.emplace(device, one.factor);
        if (!added) it->second = std::max(it->second, one.factor);
      }
    }
  }
  auto it = worker == kNone ? slowest_.end() : slowest_.find(workers_[static_cast<size_t>(worker)].device);
  if (it == slowest_.end()) it = slowest_.find("");
  return it == slowest_.end() ? 0 : it->second;
}

Json SpeedBook::ToJson() const {
  Json json{{"workers", Json::array()}, {"kinds", Json::array()}, {"loads", Json::array()}};
  for (const Rated& worker : workers_)
    json["workers"].push_back({worker.name, worker.device, worker.factor, worker.rated, worker.bytes_per_second});
  for (const Kind& kind : kinds_) {
    Json entries = Json::array();
    for (size_t w = 0; w < kind.by_worker.size(); ++w) {
      const Entry& entry = kind.by_worker[w];
      if (entry.seconds > 0 || entry.gap > 0) entries.push_back({w, entry.seconds, entry.gap, entry.rough});
    }
    if (!entries.empty()) json["kinds"].push_back({{"key", kind.key}, {"entries", std::move(entries)}});
  }
  for (const auto& [models, by_worker] : loads_)
    for (const auto& [worker, seconds] : by_worker) json["loads"].push_back({models, worker, seconds});
  return json;
}

StatusOr<SpeedBook> SpeedBook::FromJson(const Json& json) {
  SpeedBook book;
  try {
    for (const Json& one : json.at("workers")) {
      const int id = book.Worker(one.at(0).get<std::string>(), one.at(1).get<std::string>());
      if (id == kNone) break;
      Rated& worker = book.workers_[static_cast<size_t>(id)];
      worker.factor = one.at(2).get<double>();
      worker.rated = one.at(3).get<bool>();
      worker.bytes_per_second = one.at(4).get<double>();
      if (!std::isfinite(worker.factor) || !(worker.bytes_per_second >= 0)) return InvalidArgument("a worker's speed");
    }
    for (const Json& one : json.at("kinds")) {
      if (book.kinds_.size() >= kKindsMax) break;
      const int id = book.Acquire(one.at("key").get<std::string>());
      book.Release(id);
      Kind& kind = book.kinds_[static_cast<size_t>(id)];
      for (const Json& from : one.at("entries")) {
        const auto w = from.at(0).get<size_t>();
        if (w >= book.workers_.size()) continue;
        if (kind.by_worker.size() <= w) kind.by_worker.resize(w + 1);
        Entry& entry = kind.by_worker[w];
        entry.seconds = from.at(1).get<float>();
        entry.gap = from.at(2).get<float>();
        entry.rough = from.at(3).get<bool>();
        if (!(entry.seconds >= 0) || !(entry.gap >= 0)) return InvalidArgument("seconds of a kind");
        if (entry.seconds == 0) continue;
        ++kind.known;
        kind.sum += std::log(entry.seconds) - book.workers_[w].factor;
        book.workers_[w].kinds.push_back(id);
      }
    }
    for (const Json& one : json.at("loads")) {
      const auto worker = one.at(1).get<size_t>();
      if (worker < book.workers_.size())
        book.ObserveLoad(static_cast<int>(worker), one.at(0).get<std::string>(), one.at(2).get<double>());
    }
  } catch (const Json::exception& error) {
    return InvalidArgument("the learned speeds are damaged: ", error.what());
  }
  return book;
}

}  // namespace atelier
