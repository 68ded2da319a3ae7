// Model files: what jobs lack is brought, and told.
#include <algorithm>
#include <set>

#include "master/gateway/core.h"

namespace atelier {
namespace {

constexpr size_t kTellMax = 100;  // lines at a job's acceptance; all are in its description

}  // namespace

std::vector<ModelHub::Name> Core::ModelsOfOpenJobs() {
  std::set<ModelHub::Name> names;
  for (const auto& [id, job] : control_->jobs())
    if (!job.ended()) names.insert(job.models.begin(), job.models.end());
  return {names.begin(), names.end()};
}

void Core::BringModels() {
  if (config()->models.share != "auto") return;
  const std::vector<Control::MissingModel> bring =
      control_->ModelsToBring([this](const std::string& worker, const ModelHub::Name& model) {
        return hub_->CanBring(worker, model, NowMs());
      });
  if (bring.empty()) return;
  const std::vector<ModelHub::Name> keep = ModelsOfOpenJobs();
  for (const Control::MissingModel& lack : bring) hub_->Bring(lack.worker, {lack.folder, lack.name}, keep, NowMs());
}

void Core::TellMissing(const std::string& id) {
  const std::shared_ptr<const ClusterConfig> config = this->config();
  const std::vector<Control::MissingModel> missing = control_->MissingModels(id);
  for (size_t i = 0; i < std::min(missing.size(), kTellMax); ++i) {
    const Control::MissingModel& lack = missing[i];
    const std::string line =
        Cat("worker \"", lack.worker, "\" has no ", lack.folder, "/", lack.name, ", which job ", id, " needs; it ",
            hub_->Outlook(lack.worker, {lack.folder, lack.name}, config->models.share));
    AddLog(id, line);
    LogInfo(line);
    Notify(id, "", "", line);
  }
}

// A file of open jobs moves: those who watch them see how far it is.
void Core::ModelsMoved(const std::string& worker, const v1::ModelProgress& progress) {
  const ModelHub::Name name{progress.folder(), progress.name()};
  std::vector<std::string> jobs;
  for (const auto& [id, job] : control_->jobs())
    if (!job.ended() && job.models.contains(name)) jobs.push_back(id);
  std::string line;
  if (progress.state() == "done") line = Cat("worker \"", worker, "\" has ", name.first, "/", name.second, " now");
  if (progress.state() == "failed")
    line = Cat("worker \"", worker, "\" could not get ", name.first, "/", name.second, ": ", progress.error());
  if (progress.state() == "failed")
    LogWarning(line);
  else if (!line.empty())
    LogInfo(line);
  for (const std::string& id : jobs) {
    if (!line.empty()) AddLog(id, line);
    Notify(id, "", "", line);
  }
}

StatusOr<v1::ModelEntry> Core::OrderModel(const v1::OrderModelRequest& request) {
  std::vector<ModelHub::Name> keep;
  if (!queue_.Run([&] { keep = ModelsOfOpenJobs(); })) return Unavailable("the master is ending");
  return hub_->Order(request, keep);
}

}  // namespace atelier
