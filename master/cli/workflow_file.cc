#include "master/cli/workflow_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/base/limits.h"
#include "common/image/png_text.h"
#include "common/json/json.h"
#include "common/media/tags.h"

namespace atelier::cli {
namespace {

// A picture by its first bytes; all else is taken for text.
bool LooksLikePicture(std::string_view bytes) {
  using namespace std::string_view_literals;
  return bytes.starts_with("\x89PNG"sv) || bytes.starts_with("\xFF\xD8\xFF"sv) ||
         (bytes.starts_with("RIFF"sv) && bytes.substr(0, 12).ends_with("WEBP"sv));
}

// A video or a sound likewise.
bool LooksLikeMedia(std::string_view bytes) {
  using namespace std::string_view_literals;
  return bytes.substr(0, 8).ends_with("ftyp"sv) || bytes.starts_with("\x1A\x45\xDF\xA3"sv) ||
         bytes.starts_with("fLaC"sv) || bytes.starts_with("OggS"sv) || bytes.starts_with("ID3"sv);
}

// Tags `prompt` and `workflow`; older files have both in a `comment`, the prompt as text within.
StatusOr<TextPairs> ReadMediaText(std::string_view bytes) {
  ASSIGN_OR_RETURN(TextPairs texts, media::ReadTags(bytes));
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].first != "comment") continue;
    const StatusOr<Json> comment = ParseJson(texts[i].second);
    if (!comment.ok() || !comment->is_object()) continue;
    for (const char* key : {"prompt", "workflow"}) {
      const auto at = comment->find(key);
      if (at == comment->end()) continue;
      texts.emplace_back(key, at->is_string() ? at->get<std::string>() : DumpJson(*at));
    }
    break;
  }
  return texts;
}

StatusOr<std::string> ReadWhole(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return NotFound("there is no file \"", path, "\"; check the path");
    return InvalidArgument("cannot open \"", path, "\": ", std::strerror(errno));
  }
  struct Closer {
    int fd;
    ~Closer() { close(fd); }
  } closer{fd};
  struct stat info {};
  if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode))
    return InvalidArgument("\"", path, "\" is a folder; name a workflow file");
  std::string bytes;
  for (;;) {
    const size_t before = bytes.size();
    const bool carrier = LooksLikePicture(bytes) || LooksLikeMedia(bytes);
    const int64_t bound = carrier ? limits::kWorkflowFileBytesMax : limits::kJsonBytesMax;
    if (static_cast<int64_t>(before) > bound)
      return InvalidArgument("\"", path, "\" is larger than the limit of ", bound, " bytes; it is no workflow");
    bytes.resize(before + (256 << 10));
    const ssize_t got = read(fd, bytes.data() + before, bytes.size() - before);
    if (got < 0 && errno == EINTR) {
      bytes.resize(before);
      continue;
    }
    if (got < 0) return InvalidArgument("cannot read \"", path, "\": ", std::strerror(errno));
    bytes.resize(before + static_cast<size_t>(got));
    if (got == 0) return bytes;
  }
}

}  // namespace

StatusOr<std::string> ReadWorkflowFile(const std::string& path, PictureChunk first) {
  ASSIGN_OR_RETURN(std::string bytes, ReadWhole(path));
  if (bytes.find_first_not_of(" \t\r\n") == std::string::npos)
    return InvalidArgument("\"", path, "\" is empty; save the workflow again");
  const bool media = LooksLikeMedia(bytes);
  if (!media && !LooksLikePicture(bytes)) return bytes;
  const StatusOr<TextPairs> texts = media ? ReadMediaText(bytes) : ReadImageText(bytes);
  if (!texts.ok()) return Annotate(texts.status(), Cat(media ? "video or sound \"" : "picture \"", path, "\""));
  std::string prompt;
  std::string workflow;
  for (const auto& [key, text] : *texts) {
    if (key == "prompt") prompt = text;
    if (key == "workflow") workflow = text;
  }
  if (prompt.empty() && workflow.empty())
    return InvalidArgument(media ? "video or sound \"" : "picture \"", path,
                           "\" carries no workflow; take one that was saved with its metadata");
  if (first == PictureChunk::kWorkflow) return workflow.empty() ? prompt : workflow;
  if (workflow.empty()) return prompt;
  if (prompt.empty()) return workflow;
  // The reference may write NaN into a prompt, which is no JSON; the editor's file has no such values.
  StatusOr<Json> executed = ParseJson(prompt);
  if (!executed.ok()) return workflow;
  StatusOr<Json> editor = ParseJson(workflow);
  if (!editor.ok()) return prompt;
  Json both;
  both["prompt"] = std::move(*executed);
  both["extra_data"]["extra_pnginfo"]["workflow"] = std::move(*editor);
  return DumpJson(both);
}

}  // namespace atelier::cli
