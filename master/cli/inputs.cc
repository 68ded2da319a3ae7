#include "master/cli/inputs.h"

#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <vector>

#include "common/base/hash.h"
#include "common/files/files.h"
#include "common/graph/input_folder.h"
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

// The file that `text` names in `folder`, or the pictures of the folder that it names there; mostly nothing.
std::vector<std::string> FilesNamed(const std::string& folder, const std::string& text) {
  const StatusOr<UniqueFd> fd = ConfinedOpen(folder, text);
  struct stat info {};
  if (!fd.ok() || fstat(fd->get(), &info) != 0) return {};
  if (S_ISREG(info.st_mode)) return {text};
  if (!S_ISDIR(info.st_mode)) return {};
  std::vector<std::string> files;
  std::error_code error;
  for (std::filesystem::directory_iterator it(std::filesystem::path(folder) / text, error), end; !error && it != end;
       it.increment(error))
    if (it->is_regular_file(error)) files.push_back(text + "/" + it->path().filename().string());
  return PicturesIn(text + "/", files);
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
  std::set<std::string> files;
  for (const std::string& text : texts) {
    const std::vector<std::string> named = FilesNamed(folder, text);
    files.insert(named.begin(), named.end());
  }
  for (const std::string& name : files) {
    ASSIGN_OR_RETURN(const UniqueFd fd, ConfinedOpen(folder, name));
    ASSIGN_OR_RETURN(const std::string bytes, ReadFdBounded(fd.get(), name, kInputBytesMax));
    const std::string hash = Sha256Hex(bytes);
    RETURN_IF_ERROR(Annotate(client.PutBlob(hash, bytes), Cat("input file \"", name, "\"")));
    v1::SubmittedInput& input = *request.add_inputs();
    input.set_name(name);
    input.set_hash(hash);
  }
  return OkStatus();
}

}  // namespace atelier::cli
