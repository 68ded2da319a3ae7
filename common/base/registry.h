// A named table filled by static initialisers, one registration per extension (node, sampler, schedule, family,
// policy).
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/check.h"

namespace atelier {

/// Entries of type T under unique names. Filled before main() by objects linked directly into the executable, read-only
/// after that. Thread: any, once main() runs.
template <typename T>
class Registry {
 public:
  struct Entry {
    int order = 0;  // place in combo lists: the reference's order is API
    T value;
  };
  static Registry& Get() {
    static Registry registry;
    return registry;
  }
  /// REQUIRES: `name` is not taken.
  bool Add(std::string_view name, int order, T value) {
    ATELIER_CHECK(entries_.find(name) == entries_.end());
    entries_.emplace(std::string(name), Entry{order, std::move(value)});
    return true;
  }
  /// The entry, or null.
  const T* Find(std::string_view name) const {
    auto it = entries_.find(name);
    return it == entries_.end() ? nullptr : &it->second.value;
  }
  /// All names by (order, name).
  std::vector<std::string> Names() const {
    std::vector<std::pair<int, std::string>> keyed;
    for (const auto& [name, entry] : entries_) keyed.emplace_back(entry.order, name);
    std::sort(keyed.begin(), keyed.end());
    std::vector<std::string> names;
    for (auto& [order, name] : keyed) names.push_back(std::move(name));
    return names;
  }

 private:
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace atelier
