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
  return Cat(home != nullptr ? home : "", "/.config/atelier/cluster.yaml");
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
    default: {
      const Status status = SetSettingInFile(path, line.key, line.value);
      if (!status.ok()) return Complain(status, io);
      io.err << path << ": " << line.key << " is now " << line.value << "\n";
      return kExitDone;
    }
  }
}

}  // namespace atelier::cli
