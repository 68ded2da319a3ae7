#include "common/files/data_dir.h"

#include <cstdlib>
#include <filesystem>
#include <vector>

namespace atelier {

StatusOr<std::string> DataDir() {
  std::error_code error;
  if (const char* named = std::getenv("ATELIER_DATA_DIR"); named != nullptr && *named != '\0')
    return std::string(named);
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  const std::vector<std::filesystem::path> places{(self / "../../config").lexically_normal(),
                                                  (self / "../share/atelier").lexically_normal(), "/usr/share/atelier"};
  for (const auto& place : places)
    if (std::filesystem::exists(place / "catalog.json", error)) return place.string();
  return NotFound("catalog.json is neither in ", places[0].string(), " nor in ", places[1].string(), " nor in ",
                  places[2].string(), "; name its folder with the environment's ATELIER_DATA_DIR");
}

std::string KeepDir() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const std::string unit = variable("STATE_DIRECTORY"); !unit.empty()) return unit.substr(0, unit.find(':'));
  if (std::string named = variable("ATELIER_STATE_DIR"); !named.empty()) return named;
  if (const std::string state = variable("XDG_STATE_HOME"); !state.empty()) return state + "/atelier";
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.local/state/atelier";
}

}  // namespace atelier
