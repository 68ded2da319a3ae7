// Workers as the configuration and the store have them: who is known, with which tags, when they may work, and what
// they are told about it. All of the control thread.
#include "common/config/hours.h"
#include "master/gateway/core.h"

namespace atelier {
namespace {

// Why a worker gets no work now, or "". `desktop`: what it said last, or null.
std::string WhyResting(const WorkerConfig& worker, const v1::Desktop* desktop) {
  if (const auto hours = Hours::Parse(worker.hours); hours.ok() && !AreNow(*hours))
    return "is outside its hours (workers.list[].hours of the configuration)";
  if (worker.idle_minutes == 0) return "";
  const std::string setting = Cat("(workers.list[].idle_minutes is ", worker.idle_minutes, ")");
  if (desktop == nullptr) return Cat("has not told whether its desktop is in use ", setting);
  if (desktop->idle_seconds() / 60 >= static_cast<uint64_t>(worker.idle_minutes)) return "";
  if (!desktop->unknown().empty())
    return Cat("has a graphical session that may be in use ", setting, ": ", desktop->unknown());
  return Cat("has somebody at its desktop, or had a short while ago ", setting);
}

}  // namespace

Status Core::RecallWorkers() {
  const auto stored = [this](const char* key) -> StatusOr<Json> {
    const auto text = store_->GetValue(key);
    if (text.status().code() == StatusCode::kNotFound) return Json(Json::object());
    RETURN_IF_ERROR(text.status());
    if (auto json = ParseJson(*text); json.ok() && json->is_object()) return json;
    LogWarning("the stored list \"", key, "\" is damaged and forgotten: workers are known again when they attach");
    return Json(Json::object());
  };
  ASSIGN_OR_RETURN(const Json workers, stored("workers"));
  ASSIGN_OR_RETURN(const Json worker_tags, stored("worker_tags"));
  for (const auto& [name, enabled] : workers.items())
    known_workers_[name] = enabled.is_boolean() && enabled.get<bool>();
  for (const auto& [name, words] : worker_tags.items()) {
    Tags tags;
    for (const Json& word : words)
      if (word.is_string()) tags.push_back(word.get<std::string>());
    if (const StatusOr<Tags> made = MakeTags(std::move(tags)); made.ok()) told_tags_[name] = *made;
  }
  for (const std::string& name : options_.configured_workers) known_workers_.emplace(name, configured_[name] = true);
  for (const std::string& name : options_.disabled_workers) known_workers_[name] = configured_[name] = false;
  for (const auto& [name, enabled] : known_workers_) Apply(control_->SetWorkerEnabled(name, enabled, NowMs()));
  KeepTags();
  KeepSchedules();
  return OkStatus();
}

void Core::RememberWorker(const std::string& name, bool enabled) {
  auto [it, added] = known_workers_.emplace(name, enabled);
  if (!added && it->second == enabled) return;
  it->second = enabled;
  known_changed_ = true;
}

// A thousand workers that attach at once are one write of the list, at the next tick.
void Core::RememberAttached(const v1::Attach& attach) {
  const std::string& name = attach.name();
  desktops_.erase(name);
  told_settings_.erase(name);
  if (!known_workers_.contains(name)) RememberWorker(name, true);
  const StatusOr<Tags> tags = MakeTags({attach.tags().begin(), attach.tags().end()});
  if (!tags.ok())
    LogWarning("worker \"", name, "\": its tags are not taken: ", Message(tags.status()));
  else if (Tags& told = told_tags_[name]; told != *tags) {
    told = *tags;
    known_changed_ = true;
  }
  if (told_tags_[name].empty()) told_tags_.erase(name);
  Apply(control_->SetWorkerTags(name, TagsOf(name, *config()), NowMs()));
}

void Core::StoreKnownWorkers() {
  if (!known_changed_) return;
  Commit();
  Status kept = store_->SetValue("workers", DumpJson(known_workers_));
  if (kept.ok()) kept = store_->SetValue("worker_tags", DumpJson(told_tags_));
  if (!kept.ok()) LogError("the list of workers could not be stored, tried again: ", Message(kept));
  known_changed_ = !kept.ok();
}

Tags Core::TagsOf(const std::string& worker, const ClusterConfig& config) const {
  if (const WorkerConfig* named = FindWorker(config, worker)) return named->tags;
  const auto told = told_tags_.find(worker);
  return told == told_tags_.end() ? Tags() : told->second;
}

void Core::KeepTags() {
  const std::shared_ptr<const ClusterConfig> config = this->config();
  std::map<std::string, Tags> changes;
  for (const auto& [name, worker] : control_->workers())
    if (Tags tags = TagsOf(name, *config); tags != worker.tags) changes[name] = std::move(tags);
  for (auto& [name, tags] : changes) Apply(control_->SetWorkerTags(name, std::move(tags), NowMs()));
}

// Lets workers rest and work by the clock, and by whether somebody sits at their machines.
void Core::KeepSchedules() {
  const std::shared_ptr<const ClusterConfig> config = this->config();
  std::map<std::string, std::string> changes;
  for (const auto& [name, worker] : control_->workers()) {
    const WorkerConfig* named = FindWorker(*config, name);
    const auto desktop = desktops_.find(name);
    std::string why =
        named == nullptr ? "" : WhyResting(*named, desktop == desktops_.end() ? nullptr : &desktop->second);
    if (why == worker.resting) continue;
    if (worker.connected && why.empty() != worker.resting.empty())
      LogInfo("worker \"", name, why.empty() ? "\" works: its time has begun" : "\" rests: it ", why);
    changes[name] = std::move(why);
  }
  for (const auto& [name, why] : changes) Apply(control_->SetWorkerResting(name, why, NowMs()));
}

// Tells a connected worker what the configuration says about it, where it does not know it yet.
void Core::KeepSettings(const std::string& name) {
  v1::ToWorker message;
  v1::Settings& settings = *message.mutable_settings();
  const std::shared_ptr<const ClusterConfig> config = this->config();
  if (const WorkerConfig* named = FindWorker(*config, name)) {
    settings.set_report_desktop(named->idle_minutes > 0);
    settings.set_power_watts(static_cast<uint32_t>(named->power_watts));
  }
  std::string text = settings.SerializeAsString();
  const auto [told, first] = told_settings_.emplace(name, text);
  if (!first && told->second == text) return;
  told->second = std::move(text);
  Send(name, std::move(message));
}

}  // namespace atelier
