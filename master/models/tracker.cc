#include "master/models/tracker.h"

#include <algorithm>
#include <functional>

namespace atelier {

void ModelTracker::Forget(const std::string& worker, const std::string& hash) {
  for (auto it = swarms_.begin(); it != swarms_.end();) {
    if (hash.empty() || it->first == hash) it->second.erase(worker);
    if (it->second.empty()) {
      const std::string ended = it->first;
      std::erase_if(damaged_, [&](const auto& entry) { return entry.first.first == ended; });
      it = swarms_.erase(it);
    } else {
      ++it;
    }
  }
  std::erase_if(blocked_,
                [&](const auto& entry) { return entry.first.first == worker || entry.first.second == worker; });
}

ModelTracker::Answer ModelTracker::Next(const Question& question, int64_t now_ms) {
  const std::string& who = question.worker;
  const size_t chunks = question.have.size();
  Swarm& swarm = swarms_[question.hash];
  Fetcher& self = swarm[who];
  self.have = question.have;
  self.asked_ms = now_ms;
  for (const Fault& fault : question.faults) {
    self.assigned.erase(fault.index);
    if (fault.damaged)
      damaged_[{question.hash, fault.index}].insert(fault.source);
    else if (!fault.source.empty())
      blocked_[{who, fault.source}] = now_ms + options_.blocked_ms;
  }
  std::map<std::string, int> giving;  // chunks on their way from each source
  std::vector<int> coming(chunks);    // per chunk: others who are about to have it and can be asked then
  std::set<std::string> peers;        // who can be asked now
  const auto reachable = [&](const std::string& name) {
    const auto blocked = blocked_.find({who, name});
    return name != who && question.reachable.contains(name) && (blocked == blocked_.end() || blocked->second <= now_ms);
  };
  for (auto& [name, fetcher] : swarm) {
    std::erase_if(fetcher.assigned, [&, &fetcher = fetcher](const auto& entry) {
      return entry.second.until_ms <= now_ms || (entry.first < fetcher.have.size() && fetcher.have[entry.first]);
    });
    const bool live = now_ms - fetcher.asked_ms <= options_.silent_ms_max && reachable(name);
    if (live && !question.whole.contains(name)) peers.insert(name);
    for (const auto& [index, assigned] : fetcher.assigned) {
      ++giving[assigned.source];
      if (live && index < chunks) ++coming[index];
    }
  }
  for (const std::string& name : question.whole)
    if (reachable(name)) peers.insert(name);

  const bool busy_master = std::any_of(self.assigned.begin(), self.assigned.end(),
                                       [](const auto& entry) { return entry.second.source.empty(); });
  std::optional<size_t> fresh, shared;
  std::string shared_from;
  size_t fewest = SIZE_MAX;
  bool wait = !self.assigned.empty(), damaged = false, missing = false;
  const size_t first = chunks == 0 ? 0 : std::hash<std::string>()(who) % chunks;
  for (size_t n = 0; n < chunks; ++n) {
    const size_t i = (first + n) % chunks;
    if (self.have[i]) continue;
    missing = true;
    if (self.assigned.contains(i)) continue;
    const auto bad = damaged_.find({question.hash, i});
    const auto good = [&](const std::string& source) { return bad == damaged_.end() || !bad->second.contains(source); };
    size_t holders = 0;
    std::string best;
    for (const std::string& name : peers) {
      if (!good(name)) continue;
      const auto fetcher = swarm.find(name);
      if (!question.whole.contains(name) && !(fetcher->second.have.size() == chunks && fetcher->second.have[i]))
        continue;
      ++holders;
      if (giving[name] < options_.peer_chunks_max && (best.empty() || giving[name] < giving[best])) best = name;
    }
    if (holders > 0) wait = true;
    if (!best.empty() && holders < fewest) {
      shared = i;
      shared_from = best;
      fewest = holders;
    }
    if (holders == 0 && coming[i] > 0) {
      wait = true;
    } else if (holders == 0) {
      if (question.master_has && good(""))
        fresh = fresh.value_or(i);
      else
        damaged |= bad != damaged_.end();
    }
  }
  Answer answer;
  if (fresh && (!busy_master || !shared)) {
    answer = {Answer::kFetch, *fresh, ""};
  } else if (shared) {
    answer = {Answer::kFetch, *shared, shared_from};
  } else {
    answer.kind = wait || !missing ? Answer::kWait : damaged ? Answer::kDamaged : Answer::kNobody;
  }
  if (answer.kind == Answer::kFetch) self.assigned[answer.index] = {answer.source, now_ms + options_.assigned_ms_max};
  return answer;
}

}  // namespace atelier
