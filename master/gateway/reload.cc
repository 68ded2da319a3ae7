#include "master/gateway/reload.h"

#include <sstream>

#include "common/base/log.h"
#include "common/base/log_fields.h"

namespace atelier {

void ApplyLogSettings(const ClusterConfig::Log& log) {
  SetLogLevel(log.level == "debug"     ? LogLevel::kDebug
              : log.level == "warning" ? LogLevel::kWarning
              : log.level == "error"   ? LogLevel::kError
                                       : LogLevel::kInfo);
  SetLogFormat(log.format == "json" ? LogFormat::kJson : LogFormat::kText);
}

bool Reloader::Reload() {
  const StatusOr<ClusterConfig> next = LoadClusterConfig(path_);
  if (!next.ok()) {
    ++core_->figures().reloads_refused;
    std::istringstream faults(Message(next.status()));
    for (std::string fault; std::getline(faults, fault);)
      LogError("the changed configuration is refused, the running one stays: ", fault);
    return false;
  }
  ++core_->figures().reloads_taken;
  const std::vector<SettingChange> changes = DiffClusterConfig(running_, *next);
  if (changes.empty()) LogInfo("the configuration was read again; nothing differs");
  bool workers = false;
  for (const SettingChange& change : changes) {
    workers |= change.key.starts_with("workers.");
    const auto shown = [](const std::string& value) { return value.empty() ? std::string("(none)") : value; };
    const std::string line = Cat(change.key, ": ", shown(change.before), " -> ", shown(change.after));
    if (change.live)
      LogInfo("configuration: ", line);
    else
      LogWarning("configuration: ", line, " needs a restart");
  }
  running_ = TakeLiveSettings(running_, *next);
  ApplyLogSettings(running_.log);
  core_->Reconfigure(running_);
  if (workers) workers_changed_(running_);
  return true;
}

}  // namespace atelier
