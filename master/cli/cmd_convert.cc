// `atelier convert`: local, no master.
#include <unistd.h>

#include <ctime>

#include "common/files/data_dir.h"
#include "common/graph/js_number.h"
#include "common/graph/load_workflow.h"
#include "common/graph/schema.h"
#include "common/graph/widgets.h"
#include "master/cli/commands.h"
#include "master/cli/workflow_file.h"

namespace atelier::cli {
namespace {

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
  ASSIGN_OR_RETURN(const std::string folder, DataDir());
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
