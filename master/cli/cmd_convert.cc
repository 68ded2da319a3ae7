// `atelier convert`: local, no master.
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "common/graph/convert.h"
#include "common/graph/schema.h"
#include "common/graph/widgets.h"
#include "master/cli/commands.h"
#include "master/cli/workflow_file.h"

namespace atelier::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInstalled = "/usr/share/atelier";

// The folder of widgets.json and catalog.json.
StatusOr<std::string> DataFolder() {
  const char* named = std::getenv("ATELIER_DATA_DIR");
  if (named != nullptr && *named != '\0') return std::string(named);
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const fs::path built = (self.parent_path() / "../../config").lexically_normal();
  if (!error && fs::exists(built / "widgets.json", error)) return built.string();
  if (fs::exists(fs::path(kInstalled) / "widgets.json", error)) return std::string(kInstalled);
  return NotFound("widgets.json is neither in ", built.string(), " nor in ", kInstalled,
                  "; name its folder with the environment's ATELIER_DATA_DIR");
}

ConvertOptions Options() {
  ConvertOptions options;
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  if (localtime_r(&now, &parts) != nullptr)
    options.now = {parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec};
  return options;
}

StatusOr<LoadedWorkflow> Convert(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadWorkflowFile(path, PictureChunk::kWorkflow));
  ASSIGN_OR_RETURN(const std::string folder, DataFolder());
  ASSIGN_OR_RETURN(WidgetTable widgets, WidgetTable::Load(folder + "/widgets.json"));
  const std::string catalog_path = folder + "/catalog.json";
  if (access(catalog_path.c_str(), F_OK) == 0) {  // absent before the first worker was built
    ASSIGN_OR_RETURN(const Catalog catalog, Catalog::Load(catalog_path));
    widgets.Merge(catalog);
  }
  return LoadWorkflow(text, widgets, Options());
}

}  // namespace

int ConvertWorkflow(const CommandLine& line, Surroundings& io) {
  const StatusOr<LoadedWorkflow> loaded = Convert(line.workflows[0]);
  if (!loaded.ok()) {
    io.err << "atelier: " << line.workflows[0] << ": " << Message(loaded.status()) << "\n";
    return kExitInvalid;
  }
  for (const std::string& warning : loaded->warnings)
    io.err << "atelier: " << line.workflows[0] << ": " << warning << "\n";
  io.out << DumpJsonJs(loaded->prompt, 2) << "\n";
  return kExitDone;
}

}  // namespace atelier::cli
