// How one key is declared: a name, the field it fills, its range and its help; reading, printing and documenting
// follow. Used by settings.cc only.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/config/cluster_config.h"
#include "common/config/yaml_tree.h"

namespace atelier {

/// Faults of one file, each "name:line: what".
class Faults {
 public:
  explicit Faults(std::string_view name) : name_(name) {}
  template <typename... Args>
  void Add(int line, const Args&... args) {
    list_.emplace_back(line, Cat(name_, ":", line, ": ", args...));
  }
  bool empty() const { return list_.empty(); }
  /// All of them by line as one INVALID_ARGUMENT, or OK.
  Status ToStatus() const;

 private:
  std::string name_;
  std::vector<std::pair<int, std::string>> list_;
};

/// One key of a struct T. `read` fills the field or adds a fault and leaves it alone.
template <typename T>
struct Setting {
  SettingInfo info;  // key below T; default_value is filled by the owner of the table
  std::function<void(T&, const YamlNode&, Faults&)> read;
  std::function<std::string(const T&)> print;
  std::function<void(T& to, const T& from)> copy = nullptr;
};

/// Marks a setting that a running master takes over when the file changes; all others need a restart.
template <typename T>
Setting<T> Live(Setting<T> setting) {
  setting.info.live = true;
  return setting;
}

/// Each reads one scalar; a fault names the key, the value and what was expected.
void ReadText(const std::string& key, const YamlNode& node, std::string& out, Faults& faults);
void ReadFlag(const std::string& key, const YamlNode& node, bool& out, Faults& faults);
void ReadNumber(const std::string& key, const YamlNode& node, double low, double high, double& out, Faults& faults);
/// `bytes` also takes the suffixes KiB, MiB, GiB and TiB.
void ReadInteger(const std::string& key, const YamlNode& node, int64_t low, int64_t high, bool bytes, int64_t& out,
                 Faults& faults);
std::string PrintBytes(int64_t value);
std::string PrintNumber(double value);
std::string QuotedChoices(const std::vector<std::string>& choices);

/// Makers: `get` returns a reference to the field of a (const) T.
template <typename T, typename Get>
Setting<T> TextSetting(std::string key, Get get, std::string help, std::string range = "",
                       const std::function<bool(const std::string&)>& valid = nullptr) {
  auto read = [=](T& t, const YamlNode& node, Faults& faults) {
    std::string value = get(t);
    ReadText(key, node, value, faults);
    if (valid && !valid(value)) {
      faults.Add(node.line, "\"", key, "\" is \"", value, "\", expected ", range);
      return;
    }
    get(t) = std::move(value);
  };
  return {{key, "text", "", range, "", help},
          read,
          [=](const T& t) { return YamlScalar(get(t)); },
          [=](T& to, const T& from) { get(to) = get(from); }};
}

template <typename T, typename Get>
Setting<T> ChoiceSetting(std::string key, Get get, std::string help, const std::vector<std::string>& choices) {
  std::string range = QuotedChoices(choices);
  return TextSetting<T>(std::move(key), get, std::move(help), range, [choices](const std::string& value) {
    for (const std::string& choice : choices) {
      if (choice == value) return true;
    }
    return false;
  });
}

template <typename T, typename Get>
Setting<T> FlagSetting(std::string key, Get get, std::string help) {
  auto read = [=](T& t, const YamlNode& node, Faults& faults) { ReadFlag(key, node, get(t), faults); };
  return {{key, "yes or no", "", "", "", help},
          read,
          [=](const T& t) { return std::string(get(t) ? "yes" : "no"); },
          [=](T& to, const T& from) { get(to) = get(from); }};
}

template <typename T, typename Get>
Setting<T> NumberSetting(std::string key, Get get, std::string help, double low, double high, std::string unit) {
  auto read = [=](T& t, const YamlNode& node, Faults& faults) { ReadNumber(key, node, low, high, get(t), faults); };
  return {{key, "number", "", Cat(PrintNumber(low), " to ", PrintNumber(high)), unit, help},
          read,
          [=](const T& t) { return PrintNumber(get(t)); },
          [=](T& to, const T& from) { get(to) = get(from); }};
}

template <typename T, typename Get>
Setting<T> IntegerSetting(std::string key, Get get, std::string help, int64_t low, int64_t high,
                          std::string unit = "") {
  auto read = [=](T& t, const YamlNode& node, Faults& faults) {
    ReadInteger(key, node, low, high, false, get(t), faults);
  };
  return {{key, "integer", "", Cat(low, " to ", high), unit, help},
          read,
          [=](const T& t) { return Cat(get(t)); },
          [=](T& to, const T& from) { get(to) = get(from); }};
}

template <typename T, typename Get>
Setting<T> BytesSetting(std::string key, Get get, std::string help, int64_t low, int64_t high) {
  auto read = [=](T& t, const YamlNode& node, Faults& faults) {
    ReadInteger(key, node, low, high, true, get(t), faults);
  };
  return {{key, "bytes", "", Cat(PrintBytes(low), " to ", PrintBytes(high)), "or with KiB, MiB, GiB, TiB", help},
          read,
          [=](const T& t) { return PrintBytes(get(t)); },
          [=](T& to, const T& from) { get(to) = get(from); }};
}

}  // namespace atelier
