// The tables of declared keys. Used by this module only.
#pragma once

#include <vector>

#include "common/config/setting.h"

namespace atelier {

/// Keys below "workers.list.NAME." and all others, in the order of the file.
const std::vector<Setting<WorkerConfig>>& WorkerSettings();
const std::vector<Setting<ClusterConfig>>& RootSettings();

/// The help of a section, for the documented file.
std::string_view SectionHelp(std::string_view section);

/// The declared name that `word` may have been meant as, or "".
std::string Nearest(std::string_view word, const std::vector<std::string>& names);

/// Reads the pairs of one map into `t`: unknown and doubled keys, and what the settings find, become faults.
template <typename T>
void ReadPairs(const YamlNode& map, std::string_view prefix, const std::vector<Setting<T>>& settings, T& t,
               Faults& faults) {
  std::vector<std::string> names;
  for (const Setting<T>& setting : settings) {
    if (setting.info.key.rfind(prefix, 0) == 0) names.push_back(setting.info.key.substr(prefix.size()));
  }
  std::vector<std::string> seen;
  for (const YamlNode::Pair& pair : map.pairs) {
    bool doubled = false;
    for (const std::string& name : seen) doubled = doubled || name == pair.key;
    seen.push_back(pair.key);
    if (doubled) {
      faults.Add(pair.line, "key \"", prefix, pair.key, "\" stands twice; keep one");
      continue;
    }
    const Setting<T>* found = nullptr;
    for (const Setting<T>& setting : settings) {
      if (setting.info.key.size() == prefix.size() + pair.key.size() && setting.info.key == Cat(prefix, pair.key))
        found = &setting;
    }
    if (found != nullptr) {
      // A key without a value has its default.
      if (pair.value.kind != YamlNode::Kind::kNull) found->read(t, pair.value, faults);
      continue;
    }
    const std::string near = Nearest(pair.key, names);
    faults.Add(pair.line, "unknown key \"", pair.key, "\"",
               near.empty() ? Cat(", known here: ", QuotedChoices(names)) : Cat(", did you mean \"", near, "\"?"));
  }
}

}  // namespace atelier
