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

}  // namespace atelier
