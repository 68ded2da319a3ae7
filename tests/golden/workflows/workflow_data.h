// Where the golden workflows lie, and how they are read.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "common/json/json.h"

namespace atelier {

inline std::filesystem::path GoldenWorkflows() {
  const char* set = std::getenv("ATELIER_GOLDEN");
  const std::filesystem::path root = set != nullptr
                                         ? std::filesystem::path(set)
                                         : std::filesystem::path(ATELIER_SOURCE_DIR) / ".." / "shared" / "golden";
  const std::filesystem::path folder = root / "workflows";
  if (!std::filesystem::exists(folder / "index.json")) {
    std::fprintf(stderr, "SKIPPED: no golden workflows in %s; set ATELIER_GOLDEN to the folder that holds them\n",
                 folder.c_str());
    std::exit(77);
  }
  return folder;
}

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Equal as JSON values: key order and the form of numbers do not count.
inline bool SameJson(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a == b || a.get<double>() == b.get<double>();
  if (a.type() != b.type()) return false;
  if (a.is_object()) {
    if (a.size() != b.size()) return false;
    for (const auto& [key, value] : a.get_ref<const Json::object_t&>()) {
      auto it = b.find(key);
      if (it == b.end() || !SameJson(value, *it)) return false;
    }
    return true;
  }
  if (a.is_array()) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i)
      if (!SameJson(a[i], b[i])) return false;
    return true;
  }
  return a == b;
}

}  // namespace atelier
