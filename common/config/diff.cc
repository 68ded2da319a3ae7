// What differs between two configurations, and what of it a running master takes over.
#include "common/config/settings.h"

namespace atelier {
namespace {

constexpr std::string_view kWorkersList = "workers.list";

std::string Printed(const WorkerConfig& worker) {
  std::string all;
  for (const auto& setting : WorkerSettings())
    if (setting.info.key != "name") all += Cat(all.empty() ? "" : ", ", setting.info.key, ": ", setting.print(worker));
  return "{" + all + "}";
}

void DiffWorkers(const ClusterConfig& before, const ClusterConfig& after, std::vector<SettingChange>& changes) {
  for (const WorkerConfig& worker : before.workers.list)
    if (FindWorker(after, worker.name) == nullptr)
      changes.push_back({Cat(kWorkersList, ".", worker.name), Printed(worker), "", true});
  for (const WorkerConfig& worker : after.workers.list) {
    const WorkerConfig* old = FindWorker(before, worker.name);
    if (old == nullptr) {
      changes.push_back({Cat(kWorkersList, ".", worker.name), "", Printed(worker), true});
      continue;
    }
    for (const auto& setting : WorkerSettings()) {
      const std::string was = setting.print(*old), is = setting.print(worker);
      if (was != is) changes.push_back({Cat(kWorkersList, ".", worker.name, ".", setting.info.key), was, is, true});
    }
  }
}

}  // namespace

std::vector<SettingChange> DiffClusterConfig(const ClusterConfig& before, const ClusterConfig& after) {
  std::vector<SettingChange> changes;
  for (const auto& setting : RootSettings()) {
    if (setting.info.key == kWorkersList) {
      DiffWorkers(before, after, changes);
      continue;
    }
    const std::string was = setting.print(before), is = setting.print(after);
    if (was != is) changes.push_back({setting.info.key, was, is, setting.info.live});
  }
  return changes;
}

ClusterConfig TakeLiveSettings(const ClusterConfig& running, const ClusterConfig& next) {
  ClusterConfig out = running;
  for (const auto& setting : RootSettings())
    if (setting.info.live) setting.copy(out, next);
  return out;
}

}  // namespace atelier
