#include "common/config/cluster_config.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "common/config/settings.h"

namespace atelier {
namespace {

constexpr std::string_view kList = "workers.list";

std::vector<std::string> Sections() {
  std::vector<std::string> sections;
  for (const auto& setting : RootSettings()) {
    std::string section = setting.info.key.substr(0, setting.info.key.find('.'));
    if (sections.empty() || sections.back() != section) sections.push_back(std::move(section));
  }
  return sections;
}

/// `text` as comment lines of at most 110 columns.
std::string Comment(std::string_view indent, std::string_view text) {
  std::string out;
  std::string line = Cat(indent, "#");
  std::istringstream words{std::string(text)};
  for (std::string word; words >> word;) {
    if (line.size() + 1 + word.size() > 110) {
      out += line + "\n";
      line = Cat(indent, "#");
    }
    line += " " + word;
  }
  return out + line + "\n";
}

std::string Facts(const SettingInfo& info) {
  std::string facts = "[" + info.type;
  if (!info.range.empty()) facts += ", " + info.range;
  if (!info.unit.empty()) facts += ", " + info.unit;
  facts += info.key == "name" ? "; required" : "; default " + info.default_value;
  return facts + (info.live ? "; at once]" : "]");
}

std::string WorkerLines(const WorkerConfig& worker) {
  std::string out;
  for (const auto& setting : WorkerSettings()) {
    out += Cat(out.empty() ? "    - " : "      ", setting.info.key, ": ", setting.print(worker), "\n");
  }
  return out;
}

std::string Write(const ClusterConfig& config, bool documented) {
  std::string out;
  if (documented) {
    out +=
        "# Every setting of a master, with its default. `atelier config set KEY VALUE` edits a line and keeps the "
        "rest;\n"
        "# `atelier config check` names faults by line. A key that is left out has its default. A running master "
        "takes\n"
        "# over what says \"at once\" when the file changes (or at SIGHUP); all else needs a restart.\n";
  }
  std::string open;
  for (const auto& setting : RootSettings()) {
    const std::string& key = setting.info.key;
    const std::string section = key.substr(0, key.find('.'));
    if (section != open) {
      if (documented) out += "\n" + Comment("", SectionHelp(section));
      out += section + ":\n";
      open = section;
    }
    if (documented) out += Comment("  ", setting.info.help) + Comment("  ", Facts(setting.info));
    const std::string name = key.substr(section.size() + 1);
    if (key == kList && documented) {
      out += "  # The keys of a worker:\n";
      for (const auto& part : WorkerSettings()) {
        out += Comment("  ", Cat("  ", part.info.key, ": ", part.info.help, " ", Facts(part.info)));
      }
      out +=
          "  # For example:\n  #   list:\n  #     - name: gpu0\n  #       device: cuda:0\n  #     - name: attic\n  #   "
          "    start: no\n";
    }
    if (key == kList && !config.workers.list.empty()) {
      out += "  list:\n";
      for (const WorkerConfig& worker : config.workers.list) out += WorkerLines(worker);
    } else {
      out += Cat("  ", name, ": ", setting.print(config), "\n");
    }
  }
  return out;
}

}  // namespace

std::optional<std::map<std::string, double>> ParseShares(std::string_view text) {
  std::map<std::string, double> shares;
  std::istringstream entries{std::string(text)};
  for (std::string entry; std::getline(entries, entry, ',');) {
    const size_t equals = entry.rfind('='), begin = entry.find_first_not_of(' ');
    if (equals == std::string::npos || begin == equals) return std::nullopt;
    char* end = nullptr;
    const double weight = std::strtod(entry.c_str() + equals + 1, &end);
    if (end == entry.c_str() + equals + 1 || !(weight >= 0.01) || weight > 100) return std::nullopt;
    if (std::string_view(end).find_first_not_of(' ') != std::string_view::npos) return std::nullopt;
    std::string name = entry.substr(begin, equals - begin);
    name.erase(name.find_last_not_of(' ') + 1);
    shares[name] = weight;
  }
  return shares;
}

ClusterConfig DefaultClusterConfig() { return ClusterConfig(); }

StatusOr<ClusterConfig> ParseClusterConfig(std::string_view text, std::string_view name) {
  ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(text, name));
  Faults faults(name);
  ClusterConfig config;
  if (root.kind != YamlNode::Kind::kMap) {
    return InvalidArgument(name, ":", root.line,
                           ": not a configuration, expected sections: ", QuotedChoices(Sections()));
  }
  std::vector<Setting<ClusterConfig>> sections;
  for (const std::string& section : Sections()) {
    auto read = [section](ClusterConfig& c, const YamlNode& node, Faults& f) {
      if (node.kind == YamlNode::Kind::kMap) {
        ReadPairs(node, section + ".", RootSettings(), c, f);
      } else if (node.kind != YamlNode::Kind::kNull) {
        f.Add(node.line, "\"", section, "\" is a section, expected keys below it");
      }
    };
    sections.push_back({{section, "section", "", "", "", ""}, read, nullptr});
  }
  ReadPairs(root, "", sections, config, faults);
  RETURN_IF_ERROR(faults.ToStatus());
  return config;
}

StatusOr<ClusterConfig> LoadClusterConfig(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return NotFound("cannot read the configuration \"", path,
                    "\"; config/cluster.yaml of the source tree is one to start from");
  std::string text(1 << 20, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.gcount() == 0 && !file.eof()))
    return NotFound("cannot read the configuration \"", path, "\": it is no file");
  if (!file.eof()) return InvalidArgument("the configuration \"", path, "\" is larger than ", text.size(), " bytes");
  text.resize(static_cast<size_t>(file.gcount()));
  return ParseClusterConfig(text, path.substr(path.rfind('/') + 1));
}

std::vector<SettingInfo> ClusterSettings() {
  std::vector<SettingInfo> all;
  for (const auto& setting : RootSettings()) {
    all.push_back(setting.info);
    if (setting.info.key != kList) continue;
    for (const auto& part : WorkerSettings()) {
      all.push_back(part.info);
      all.back().key = Cat(kList, ".NAME.", part.info.key);
    }
  }
  return all;
}

StatusOr<std::string> GetSetting(const ClusterConfig& config, std::string_view key) {
  std::vector<std::string> names;
  for (const auto& setting : RootSettings()) {
    if (setting.info.key == key) return setting.print(config);
    names.push_back(setting.info.key);
  }
  for (const WorkerConfig& worker : config.workers.list) {
    for (const auto& setting : WorkerSettings()) {
      names.push_back(Cat(kList, ".", worker.name, ".", setting.info.key));
      if (names.back() == key) return setting.print(worker);
    }
  }
  const std::string near = Nearest(key, names);
  return InvalidArgument("unknown key \"", key, "\"",
                         near.empty() ? "; config/cluster.yaml lists them" : Cat(", did you mean \"", near, "\"?"));
}

std::string ShowClusterConfig(const ClusterConfig& config) { return Write(config, false); }
std::string DocumentedClusterConfig(const ClusterConfig& config) { return Write(config, true); }

std::string StateDir() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (std::string dir = variable("ATELIER_STATE_DIR"); !dir.empty()) return dir;
  const char* daemon = "/var/lib/atelier";
  if (access(daemon, W_OK | X_OK) == 0) return daemon;
  if (std::string dir = variable("XDG_STATE_HOME"); !dir.empty()) return dir + "/atelier";
  return variable("HOME") + "/.local/state/atelier";
}

const WorkerConfig* FindWorker(const ClusterConfig& config, const std::string& name) {
  for (const WorkerConfig& worker : config.workers.list)
    if (worker.name == name) return &worker;
  return nullptr;
}

}  // namespace atelier
