#include "master/store/outputs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/image/png_text.h"
#include "common/json/json.h"
#include "common/media/tags.h"
#include "common/tensorio/safetensors.h"
#include "master/store/files.h"

namespace atelier {
namespace {

constexpr size_t kBaseBytesMax = 200;  // leaves room for counter and extension in the 255 bytes of a file name
constexpr size_t kSubfolderBytesMax = 1024;
constexpr size_t kExtensionBytesMax = 16;
constexpr uint64_t kChunk = 1 << 20;
constexpr std::string_view kBatchToken = "%batch_num%";

void ReplaceAll(std::string& text, std::string_view what, std::string_view with) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
}

// The number of `<base>_<digits>_...` or 0.
uint64_t CounterOf(std::string_view name, std::string_view base) {
  if (name.size() <= base.size() || !name.starts_with(base) || name[base.size()] != '_') return 0;
  uint64_t number = 0;
  size_t digits = 0;
  for (const char c : name.substr(base.size() + 1)) {
    if (c == '_') return number;
    if (c < '0' || c > '9' || ++digits > 15) return 0;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return 0;
}

// The number of a name of the shared kind: `<base>_<digits><no digits>.<anything>`, case ignored, or 0. Source: spec
// extras.md 4.3.
uint64_t SharedCounterOf(std::string_view name, std::string_view base) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (name.size() <= base.size() || name[base.size()] != '_' ||
      !std::equal(base.begin(), base.end(), name.begin(), [&](char a, char b) { return lower(a) == lower(b); }))
    return 0;
  name.remove_prefix(base.size() + 1);
  uint64_t number = 0;
  size_t at = 0;
  for (; at < name.size() && digit(name[at]) && at < 16; ++at)
    number = number * 10 + static_cast<uint64_t>(name[at] - '0');
  if (at == 0 || at == 16) return 0;
  const size_t dot = name.find('.', at);
  if (dot == std::string_view::npos || dot + 1 == name.size()) return 0;
  return std::any_of(name.begin() + static_cast<std::ptrdiff_t>(at), name.begin() + static_cast<std::ptrdiff_t>(dot),
                     digit)
             ? 0
             : number;
}

StatusOr<std::vector<std::string>> ListFolder(const std::string& root, const std::string& subfolder) {
  std::vector<std::string> names;
  StatusOr<Fd> fd = OpenFolderBeneath(root, subfolder, false);
  if (!fd.ok()) {
    if (fd.status().code() == StatusCode::kNotFound) return names;
    return fd.status();
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(fdopendir(fd->get()), &closedir);
  if (folder == nullptr) return FileError(errno, "list the outputs", root);
  fd->release();
  errno = 0;
  while (const dirent* entry = readdir(folder.get())) names.emplace_back(entry->d_name);
  if (errno != 0) return FileError(errno, "list the outputs", root);
  return names;
}

// Bytes in memory, or a blob too large for it.
class Content {
 public:
  explicit Content(std::string bytes) : bytes_(std::move(bytes)), size_(bytes_.size()) {}
  explicit Content(BlobReader reader) : reader_(std::move(reader)), size_(reader_->size()) {}
  uint64_t size() const { return size_; }
  StatusOr<std::string> Read(uint64_t offset) {
    if (reader_.has_value()) return reader_->Read(offset, kChunk);
    return bytes_.substr(offset, kChunk);
  }

 private:
  std::string bytes_;
  std::optional<BlobReader> reader_;
  uint64_t size_;
};

// Also makes a file that has the bytes durable, since whoever wrote it may have died before that.
StatusOr<bool> HoldsAndSync(int folder, const std::string& name, Content& content, const std::string& folder_path) {
  const Fd fd(openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  if (static_cast<uint64_t>(info.st_size) != content.size()) return false;
  std::string there;
  for (uint64_t offset = 0; offset < content.size();) {
    ASSIGN_OR_RETURN(const std::string chunk, content.Read(offset));
    there.resize(chunk.size());
    for (size_t have = 0; have < there.size();) {
      const ssize_t n = pread(fd.get(), there.data() + have, there.size() - have, static_cast<off_t>(offset + have));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      have += static_cast<size_t>(n);
    }
    if (there != chunk) return false;
    offset += chunk.size();
  }
  if (fsync(fd.get()) != 0) return FileError(errno, Cat("write '", name, "'"), folder_path);
  return true;
}

Status WriteContent(int fd, Content& content, const std::string& doing, const std::string& folder_path) {
  for (uint64_t offset = 0; offset < content.size();) {
    ASSIGN_OR_RETURN(const std::string chunk, content.Read(offset));
    if (const int error = WriteFully(fd, chunk); error != 0) return FileError(error, doing, folder_path);
    offset += chunk.size();
    Failpoint("output half written");
  }
  if (fsync(fd) != 0) return FileError(errno, doing, folder_path);
  return OkStatus();
}

// A file of a folder that has its bytes but not yet its name. Nameless where the file system can do that, so that a
// crash leaves nothing behind; else under a name that a repeated write uses again.
class PendingFile {
 public:
  PendingFile(int folder, std::string folder_path, std::string temp_name)
      : folder_(folder), folder_path_(std::move(folder_path)), temp_name_(std::move(temp_name)) {}
  ~PendingFile() {
    if (named_) unlinkat(folder_, temp_name_.c_str(), 0);
  }
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  Status Fill(Content& content, const std::string& doing) {
    fd_ = Fd(openat(folder_, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666));
    if (!fd_.valid()) return FillNamed(content, doing);
    return WriteContent(fd_.get(), content, doing, folder_path_);
  }

  // 0, EEXIST, or another errno.
  StatusOr<int> LinkAs(const std::string& name, Content& content, const std::string& doing) {
    if (!named_) {
      const std::string self = Cat("/proc/self/fd/", fd_.get());
      if (linkat(AT_FDCWD, self.c_str(), folder_, name.c_str(), AT_SYMLINK_FOLLOW) == 0) return 0;
      if (errno == EEXIST || errno == ENOSPC || errno == EDQUOT) return errno;
      RETURN_IF_ERROR(FillNamed(content, doing));
    }
    if (renameat2(folder_, temp_name_.c_str(), folder_, name.c_str(), RENAME_NOREPLACE) == 0) {
      named_ = false;
      return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) return errno;
    return linkat(folder_, temp_name_.c_str(), folder_, name.c_str(), 0) == 0 ? 0 : errno;
  }

 private:
  Status FillNamed(Content& content, const std::string& doing) {
    unlinkat(folder_, temp_name_.c_str(), 0);  // of a run that crashed
    fd_ = Fd(openat(folder_, temp_name_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    if (!fd_.valid()) return FileError(errno, doing, folder_path_);
    named_ = true;
    return WriteContent(fd_.get(), content, doing, folder_path_);
  }

  int folder_;
  std::string folder_path_, temp_name_;
  Fd fd_;
  bool named_ = false;
};

StatusOr<Content> MakeContent(BlobStore& blobs, const OutputFileMeta& file, const TextPairs& texts) {
  const bool embed = file.embed_workflow && !texts.empty();
  if (embed && file.extension == "png") {
    ASSIGN_OR_RETURN(const std::string bytes, blobs.ReadAll(file.blob.hash));
    ASSIGN_OR_RETURN(std::string with_text, InsertPngText(bytes, texts));
    return Content(std::move(with_text));
  }
  if (embed && file.extension == "latent") {
    ASSIGN_OR_RETURN(const std::string bytes, blobs.ReadAll(file.blob.hash));
    ASSIGN_OR_RETURN(std::string with_text, AddSafetensorsMetadata(bytes, {texts.begin(), texts.end()}));
    return Content(std::move(with_text));
  }
  if (embed && media::CarriesTags(file.extension)) {
    ASSIGN_OR_RETURN(std::string bytes, blobs.ReadAll(file.blob.hash));
    StatusOr<std::string> with_tags = media::AddTags(bytes, file.extension, texts);
    if (with_tags.ok()) return Content(std::move(*with_tags));
    if (with_tags.status().code() == StatusCode::kInvalidArgument) return with_tags.status();
    // This machine is short of something, which is no reason to lose what is done.
    LogWarning("a ", file.extension, " file is saved without its workflow: ", Message(with_tags.status()));
    return Content(std::move(bytes));
  }
  ASSIGN_OR_RETURN(BlobReader reader, blobs.OpenBlob(file.blob.hash));
  return Content(std::move(reader));
}

}  // namespace

StatusOr<OutputName> ResolveOutputPrefix(std::string_view prefix, uint32_t width, uint32_t height,
                                         int64_t unix_seconds) {
  std::string text(prefix);
  if (text.find('%') != std::string::npos) {
    const std::time_t seconds = unix_seconds;
    std::tm local{};
    localtime_r(&seconds, &local);
    const auto digits = [](int number, int count) {
      std::string value = std::to_string(number);
      if (value.size() < static_cast<size_t>(count)) value.insert(0, static_cast<size_t>(count) - value.size(), '0');
      return value;
    };
    ReplaceAll(text, "%width%", std::to_string(width));
    ReplaceAll(text, "%height%", std::to_string(height));
    ReplaceAll(text, "%year%", digits(local.tm_year + 1900, 4));
    ReplaceAll(text, "%month%", digits(local.tm_mon + 1, 2));
    ReplaceAll(text, "%day%", digits(local.tm_mday, 2));
    ReplaceAll(text, "%hour%", digits(local.tm_hour, 2));
    ReplaceAll(text, "%minute%", digits(local.tm_min, 2));
    ReplaceAll(text, "%second%", digits(local.tm_sec, 2));
  }
  if (std::any_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; })) {
    return InvalidArgument("the file name prefix '", Sha256Hex(prefix).substr(0, 8), "...' (its hash) has control ",
                           "characters; use letters, digits and '/'");
  }
  const auto bad = [&](std::string_view what) {
    return InvalidArgument("the file name prefix '", text.substr(0, kBaseBytesMax), "' ", what);
  };
  if (text.starts_with('/')) return bad("is an absolute path; use one below the output folder");
  std::vector<std::string> parts;  // as Python's normpath
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('/', at), text.size());
    std::string part = text.substr(at, end - at);
    at = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == ".." && !parts.empty() && parts.back() != "..") {
      parts.pop_back();
    } else {
      parts.push_back(std::move(part));
    }
  }
  OutputName name;
  name.base = parts.empty() ? "." : parts.back();
  if (!parts.empty()) parts.pop_back();
  if (!parts.empty() && parts.front() == "..") return bad("leads out of the output folder; use a name below it");
  for (const std::string& part : parts) {
    if (part.size() > kBaseBytesMax) return bad("has too long a folder name; at most 200 bytes");
    name.subfolder += (name.subfolder.empty() ? "" : "/") + part;
  }
  if (name.base.size() > kBaseBytesMax) return bad("is too long; at most 200 bytes");
  if (name.subfolder.size() > kSubfolderBytesMax) return bad("has too many folders; at most 1024 bytes");
  return name;
}

OutputWriter::OutputWriter(const std::string& output_dir, const std::string& temp_dir)
    : output_dir_(std::filesystem::absolute(output_dir).lexically_normal().string()),
      temp_dir_(std::filesystem::absolute(temp_dir).lexically_normal().string()) {}

StatusOr<std::vector<OutputIntent>> OutputWriter::Plan(std::string_view job_id,
                                                       const std::vector<OutputFileMeta>& files, int64_t unix_seconds) {
  using Group = std::tuple<std::string, std::string, std::string, bool>;  // node, type, prefix, one number for all
  struct GroupFiles {
    Group key;
    std::vector<size_t> files;
  };
  std::vector<GroupFiles> groups;  // in the order of their first file
  std::map<Group, size_t> group_of;
  for (size_t i = 0; i < files.size(); ++i) {
    const OutputFileMeta& file = files[i];
    if (file.type != "output" && file.type != "temp") {
      return InvalidArgument("node ", file.node, " made a file of type '", file.type, "'; expected output or temp");
    }
    const auto legal = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    };
    if (file.extension.empty() || file.extension.size() > kExtensionBytesMax ||
        !std::all_of(file.extension.begin(), file.extension.end(), legal)) {
      return InvalidArgument("node ", file.node, " made a file with the extension '", file.extension.substr(0, 64),
                             "'; expected letters and digits");
    }
    if (file.suffix.has_value() && (file.suffix->size() > kExtensionBytesMax ||
                                    !std::all_of(file.suffix->begin(), file.suffix->end(), [&](char c) {
                                      return legal(c) || c == '-' || c == '.' || c == '_';
                                    }))) {
      return InvalidArgument("node ", file.node, " made a file with the suffix '",
                             file.suffix->substr(0, kExtensionBytesMax), "'; expected letters, digits and -._");
    }
    const Group key(file.node, file.type, file.prefix, file.suffix.has_value());
    const auto [at, is_new] = group_of.emplace(key, groups.size());
    if (is_new) groups.push_back({key, {}});
    groups[at->second].files.push_back(i);
  }

  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<OutputIntent> intents(files.size());
  std::vector<OutputIntent> planned;
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> listed;  // type, subfolder
  for (const GroupFiles& group : groups) {
    const OutputFileMeta& first = files[group.files.front()];
    StatusOr<OutputName> resolved = ResolveOutputPrefix(first.prefix, first.width, first.height, unix_seconds);
    if (!resolved.ok()) return Annotate(resolved.status(), Cat("node ", first.node));
    std::set<std::string> bases;
    for (const size_t i : group.files) {
      OutputIntent& intent = intents[i];
      intent.index = static_cast<uint32_t>(i);
      intent.type = first.type;
      intent.subfolder = resolved->subfolder;
      intent.base = resolved->base;
      ReplaceAll(intent.base, kBatchToken, std::to_string(files[i].batch_index));
      intent.extension = files[i].extension;
      intent.suffix = files[i].suffix;
      bases.insert(intent.base);
    }
    const auto [list, is_new] = listed.try_emplace({first.type, resolved->subfolder});
    if (is_new) {
      ASSIGN_OR_RETURN(list->second, ListFolder(first.type == "temp" ? temp_dir_ : output_dir_, resolved->subfolder));
    }
    uint64_t counter = 0;
    for (const std::string& base : bases) {
      for (const std::string& name : list->second)
        counter = std::max(counter, first.suffix.has_value() ? SharedCounterOf(name, base) : CounterOf(name, base));
    }
    const auto count = [&](const std::vector<OutputIntent>& taken) {
      for (const OutputIntent& other : taken) {
        if (other.type == first.type && other.subfolder == resolved->subfolder && bases.contains(other.base)) {
          counter = std::max(counter, other.counter);
        }
      }
    };
    count(planned);
    for (const auto& [job, taken] : reserved_) {
      if (job != job_id) count(taken);
    }
    if (first.suffix.has_value()) ++counter;
    for (const size_t i : group.files) {
      intents[i].counter = first.suffix.has_value() ? counter : ++counter;
      planned.push_back(intents[i]);
    }
  }
  reserved_.insert_or_assign(std::string(job_id), std::move(planned));
  return intents;
}

void OutputWriter::Reserve(std::string_view job_id, const std::vector<OutputIntent>& intents) {
  const std::lock_guard<std::mutex> lock(mutex_);
  reserved_.insert_or_assign(std::string(job_id), intents);
}

void OutputWriter::Release(std::string_view job_id) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto at = reserved_.find(job_id); at != reserved_.end()) reserved_.erase(at);
}

StatusOr<std::vector<SavedOutput>> OutputWriter::WriteAll(BlobStore& blobs, std::string_view job_id,
                                                          const std::vector<OutputFileMeta>& files,
                                                          const std::vector<OutputIntent>& intents,
                                                          std::string_view prompt_json,
                                                          std::string_view workflow_json) {
  if (intents.size() != files.size()) {
    return Internal("job ", job_id, " has ", files.size(), " files and ", intents.size(), " planned names");
  }
  TextPairs texts;
  if (std::any_of(files.begin(), files.end(), [](const OutputFileMeta& file) { return file.embed_workflow; })) {
    for (const auto& [key, text] : {std::pair("prompt", prompt_json), std::pair("workflow", workflow_json)}) {
      if (text.empty()) continue;
      StatusOr<Json> json = ParseJson(text);
      if (!json.ok()) return Annotate(json.status(), Cat("the ", key, " of job ", job_id));
      texts.emplace_back(key, DumpJsonPython(*json));
    }
  }
  // Names that belong to someone else: of other jobs, and of this job's other files.
  std::set<std::tuple<std::string, std::string, std::string>> taken;
  const auto key_of = [](const OutputIntent& intent) {
    return std::tuple(intent.type, intent.subfolder, intent.filename());
  };
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [job, names] : reserved_) {
      if (job == job_id) continue;
      for (const OutputIntent& intent : names) taken.insert(key_of(intent));
    }
  }
  for (const OutputIntent& intent : intents) taken.insert(key_of(intent));

  std::vector<SavedOutput> saved;
  saved.reserve(files.size());
  for (size_t i = 0; i < files.size(); ++i) {
    OutputIntent name = intents[i];
    const std::string& root = name.type == "temp" ? temp_dir_ : output_dir_;
    const std::string folder_path = name.subfolder.empty() ? root : Cat(root, "/", name.subfolder);
    ASSIGN_OR_RETURN(const Fd folder, OpenFolderBeneath(root, name.subfolder, true));
    StatusOr<Content> content = MakeContent(blobs, files[i], texts);
    if (!content.ok()) return Annotate(content.status(), Cat("output of node ", files[i].node));
    const std::string doing = Cat("write '", name.filename(), "'");
    PendingFile pending(folder.get(), folder_path, Cat(".", Sha256Hex(job_id).substr(0, 16), "-", i, ".part"));
    bool filled = false;
    for (bool intended = true;; intended = false, ++name.counter) {
      if (!intended && !taken.insert(key_of(name)).second) continue;
      ASSIGN_OR_RETURN(const bool there, HoldsAndSync(folder.get(), name.filename(), *content, folder_path));
      if (there) break;
      if (!filled) RETURN_IF_ERROR(pending.Fill(*content, doing));
      filled = true;
      Failpoint("output before link");
      ASSIGN_OR_RETURN(const int error, pending.LinkAs(name.filename(), *content, doing));
      if (error == 0) break;
      if (error != EEXIST) return FileError(error, doing, folder_path);
    }
    Failpoint("output after link");
    if (fsync(folder.get()) != 0) return FileError(errno, doing, folder_path);
    saved.push_back({.index = name.index,
                     .node = files[i].node,
                     .type = name.type,
                     .path = Cat(folder_path, "/", name.filename()),
                     .subfolder = name.subfolder,
                     .filename = name.filename(),
                     .batch_index = files[i].batch_index});
  }
  return saved;
}

}  // namespace atelier
