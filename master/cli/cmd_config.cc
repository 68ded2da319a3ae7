// `atelier config`: local, no master.
#include <unistd.h>

#include <cstdlib>

#include "common/config/cluster_config.h"
#include "master/cli/commands.h"

namespace atelier::cli {
namespace {

// The file that the person means: named, ./cluster.yaml, or the one of the user's configuration folder.
std::string ConfigFile(const std::string& named) {
  if (!named.empty()) return named;
  if (access("cluster.yaml", F_OK) == 0) return "cluster.yaml";
  const char* xdg = std::getenv("XDG_CONFIG_HOME");
  if (xdg != nullptr && *xdg != '\0') return Cat(xdg, "/atelier/cluster.yaml");
  const char* home = std::getenv("HOME");
  const std::string own = Cat(home != nullptr ? home : "", "/.config/atelier/cluster.yaml");
  const char* daemon = "/etc/atelier/cluster.yaml";
  return access(own.c_str(), F_OK) != 0 && access(daemon, F_OK) == 0 ? daemon : own;
}

// Without a file of their own (and none named), people see the defaults.
StatusOr<ClusterConfig> LoadOrDefault(const std::string& path, bool named, Surroundings& io) {
  if (!named && access(path.c_str(), F_OK) != 0) {
    io.err << "no " << path << "; these are the defaults\n";
    return DefaultClusterConfig();
  }
  return LoadClusterConfig(path);
}

// Faults of a file are a line each; they are for people as they are.
int Refuse(const Status& status, Surroundings& io) {
  io.err << Message(status) << "\n";
  return kExitInvalid;
}

int Set(const std::string& path, const std::string& key, const std::string& value, Surroundings& io) {
  const Status status = SetSettingInFile(path, key, value);
  if (!status.ok()) return Complain(status, io);
  bool live = key.starts_with("workers.list.");
  for (const SettingInfo& info : ClusterSettings()) live |= info.key == key && info.live;
  io.err << path << ": " << key << " is now " << value
         << (live ? "; a running master takes it over at once\n" : "; a running master needs a restart for it\n");
  return kExitDone;
}

}  // namespace

int EditConfig(const CommandLine& line, Surroundings& io) {
  const std::string path = ConfigFile(line.config_file);
  const bool named = !line.config_file.empty();
  switch (line.command) {
    case Command::kConfigCheck: {
      const StatusOr<ClusterConfig> config = LoadClusterConfig(path);
      if (!config.ok()) return Refuse(config.status(), io);
      io.out << path << ": ok\n";
      return kExitDone;
    }
    case Command::kConfigShow: {
      const StatusOr<ClusterConfig> config = LoadOrDefault(path, named, io);
      if (!config.ok()) return Refuse(config.status(), io);
      io.out << ShowClusterConfig(*config);
      return kExitDone;
    }
    case Command::kConfigGet: {
      const StatusOr<ClusterConfig> config = LoadOrDefault(path, named, io);
      if (!config.ok()) return Refuse(config.status(), io);
      const StatusOr<std::string> value = GetSetting(*config, line.key);
      if (!value.ok()) return Complain(value.status(), io);
      io.out << *value << "\n";
      return kExitDone;
    }
    case Command::kConfigAddWorker: {
      std::vector<std::pair<std::string, std::string>> keys;
      for (const std::string& pair : line.pairs) {
        const size_t equals = pair.find('=');
        if (equals == std::string::npos || equals == 0)
          return Complain(InvalidArgument("\"", pair, "\" has not the form KEY=VALUE, as device=cuda:1"), io);
        keys.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
      }
      const Status status = AddWorkerToFile(path, line.id, keys);
      if (!status.ok()) return Complain(status, io);
      io.err << path << ": worker \"" << line.id << "\" is added; a running master takes it over at once\n";
      return kExitDone;
    }
    case Command::kConfigEnable:
    case Command::kConfigDisable:
      return Set(path, Cat("workers.list.", line.id, ".enabled"), line.command == Command::kConfigEnable ? "yes" : "no",
                 io);
    default:
      return Set(path, line.key, line.value, io);
  }
}

}  // namespace atelier::cli
