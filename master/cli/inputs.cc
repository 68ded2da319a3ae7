#include "master/cli/inputs.h"

#include <sys/stat.h>

#include <filesystem>
#include <set>

#include "common/base/hash.h"
#include "common/files/files.h"
#include "common/graph/prompt.h"
#include "common/json/json.h"

namespace atelier::cli {
namespace {

constexpr int64_t kInputBytesMax = 4LL << 30;  // of one file, as the master bounds it
constexpr size_t kNameBytesMax = 1024;

void CollectTexts(const Json& json, std::set<std::string>& texts) {
  if (json.is_string()) {
    std::string text = json.get<std::string>();
    constexpr std::string_view kAnnotation = " [input]";
    if (text.ends_with(kAnnotation)) text.resize(text.size() - kAnnotation.size());
    if (text.size() <= kNameBytesMax && IsSafeRelativeName(text)) texts.insert(std::move(text));
  }
  if (json.is_structured())
    for (const Json& value : json) CollectTexts(value, texts);
}

}  // namespace

Status UploadInputs(Client& client, const std::string& folder, v1::SubmitRequest& request) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    return NotFound("there is no folder \"", folder, "\"; --input names the one with the workflow's input files");
  ASSIGN_OR_RETURN(const Json workflow, ParseJson(request.workflow()));
  std::set<std::string> texts;
  CollectTexts(workflow, texts);
  for (const std::string& set : request.sets()) CollectTexts(Json(set.substr(set.find('=') + 1)), texts);
  for (const std::string& name : texts) {
    const StatusOr<UniqueFd> fd = ConfinedOpen(folder, name);
    struct stat info {};
    if (!fd.ok() || fstat(fd->get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    ASSIGN_OR_RETURN(const std::string bytes, ReadFdBounded(fd->get(), name, kInputBytesMax));
    const std::string hash = Sha256Hex(bytes);
    RETURN_IF_ERROR(Annotate(client.PutBlob(hash, bytes), Cat("input file \"", name, "\"")));
    v1::SubmittedInput& input = *request.add_inputs();
    input.set_name(name);
    input.set_hash(hash);
  }
  return OkStatus();
}

}  // namespace atelier::cli
