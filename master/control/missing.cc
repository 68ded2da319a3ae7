// Which model files are missing where.
#include <algorithm>

#include "master/control/control.h"

namespace atelier {
namespace {

constexpr int kMissingLookedAtMax = 256;  // ready tasks of one job

bool Has(const Worker& worker, const std::pair<std::string, std::string>& model) {
  if (worker.info.inventory == nullptr) return false;
  const auto files = worker.info.inventory->files.find(model.first);
  return files != worker.info.inventory->files.end() &&
         std::binary_search(files->second.begin(), files->second.end(), model.second);
}

}  // namespace

std::vector<Control::MissingModel> Control::MissingModels(const std::string& id) const {
  std::vector<MissingModel> missing;
  const auto job = jobs_.find(id);
  if (job == jobs_.end() || job->second.ended()) return missing;
  for (const auto& [name, worker] : workers_)
    for (const auto& model : job->second.models)
      if (worker.Serves() && HasTags(worker.tags, job->second.tags) && !Has(worker, model))
        missing.push_back({name, model.first, model.second});
  return missing;
}

std::vector<Control::MissingModel> Control::ModelsToBring(
    const std::function<bool(const std::string& worker, const std::pair<std::string, std::string>& model)>& can) const {
  std::vector<MissingModel> bring;
  std::set<std::string> given;
  const auto could = [&](const auto& entry, const Task& task) {
    const Worker& worker = entry.second;
    return worker.Serves() && worker.credit > 0 && worker.held.empty() && !given.contains(entry.first) &&
           HasTags(worker.tags, task.tags) && !task.failed_on.contains(entry.first) &&
           !worker.too_large.contains(task.kind) && worker.info.catalog != nullptr &&
           std::all_of(task.spec.needs.node_types.begin(), task.spec.needs.node_types.end(),
                       [&](const std::string& type) { return worker.info.catalog->Find(type) != nullptr; }) &&
           std::all_of(task.spec.needs.models.begin(), task.spec.needs.models.end(),
                       [&](const auto& model) { return Has(worker, model) || can(entry.first, model); });
  };
  for (const auto& [id, job] : jobs_) {
    if (job.ended() || job.models.empty()) continue;
    int looked_at = 0;
    for (const auto& rank : job.ready) {
      if (given.size() >= workers_.size()) return bring;
      if (++looked_at > kMissingLookedAtMax) break;
      const Task& task = job.tasks.at(job.task_order[std::get<2>(rank)]);
      // The one with the most room for the models: where they fit, if there is such a one.
      auto worker = workers_.end();
      for (auto it = workers_.begin(); it != workers_.end(); ++it)
        if (could(*it, task) &&
            (worker == workers_.end() || ModelRoom(it->second.info) > ModelRoom(worker->second.info)))
          worker = it;
      if (worker == workers_.end()) continue;
      given.insert(worker->first);
      for (const auto& model : task.spec.needs.models)
        if (!Has(worker->second, model)) bring.push_back({worker->first, model.first, model.second});
    }
  }
  return bring;
}

}  // namespace atelier
