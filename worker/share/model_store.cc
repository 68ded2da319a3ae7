#include "worker/share/model_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/base/log.h"
#include "common/files/files.h"
#include "common/files/models.h"
#include "common/json/json.h"

namespace atelier {
namespace {

constexpr const char* kList = "/.atelier-brought.json";
constexpr const char* kLock = "/.atelier-brought.lock";
constexpr int64_t kListBytesMax = 64 << 20;
constexpr uint64_t kDiskReserve = 256 << 20;  // left free on the disk
constexpr int64_t kUsedEverySeconds = 60;     // a use is written down no more often

StatusOr<std::string> PlaceOf(const std::string& root, const std::string& folder, const std::string& name) {
  ASSIGN_OR_RETURN(const std::string directory, ModelPlace(folder, name));
  return Cat(root, "/", directory, "/", name);
}

Status Remove(const std::string& root, const ModelStore::Entry& entry) {
  ASSIGN_OR_RETURN(const std::string directory, ModelPlace(entry.folder, entry.name));
  const size_t slash = entry.name.rfind('/');
  ASSIGN_OR_RETURN(
      const UniqueFd folder,
      ConfinedFolder(root, slash == std::string::npos ? directory : Cat(directory, "/", entry.name.substr(0, slash))));
  const std::string leaf = slash == std::string::npos ? entry.name : entry.name.substr(slash + 1);
  if (unlinkat(folder.get(), leaf.c_str(), 0) != 0 && errno != ENOENT)
    return Unavailable("\"", entry.name, "\" cannot be removed: ", std::strerror(errno));
  return OkStatus();
}

}  // namespace

std::vector<ModelStore::Entry> ModelStore::Read() {
  std::vector<Entry> entries;
  const StatusOr<std::string> text = ReadFileBounded(root_ + kList, kListBytesMax);
  if (!text.ok()) return entries;
  const StatusOr<Json> json = ParseJson(*text);
  if (!json.ok() || !json->is_object() || !json->contains("files") || !(*json)["files"].is_array()) {
    LogWarning("the list of brought models ", root_, kList, " is damaged: its files count as the user's own now");
    return entries;
  }
  for (const Json& file : (*json)["files"]) {
    const auto is = [&](const char* key, bool (Json::*kind)() const noexcept) {
      return !file.contains(key) || (file[key].*kind)();
    };
    if (!file.is_object() || !is("folder", &Json::is_string) || !is("name", &Json::is_string) ||
        !is("hash", &Json::is_string) || !is("size", &Json::is_number_integer) ||
        !is("inode", &Json::is_number_integer) || !is("mtime_ns", &Json::is_number_integer) ||
        !is("pinned", &Json::is_boolean) || !is("used", &Json::is_number_integer))
      continue;
    Entry entry;
    entry.folder = file.value("folder", "");
    entry.name = file.value("name", "");
    entry.hash = file.value("hash", "");
    entry.identity = {file.value("size", uint64_t{0}), file.value("inode", uint64_t{0}),
                      file.value("mtime_ns", int64_t{0})};
    entry.pinned = file.value("pinned", false);
    entry.used_unix = file.value("used", int64_t{0});
    const StatusOr<std::string> path = PlaceOf(root_, entry.folder, entry.name);
    if (!path.ok()) continue;
    const StatusOr<ModelIdentity> now = IdentifyModel(*path);
    if (now.ok() && *now == entry.identity) entries.push_back(std::move(entry));
  }
  return entries;
}

Status ModelStore::Edit(const std::function<StatusOr<bool>(std::vector<Entry>&)>& change) {
  const std::lock_guard lock(mutex_);
  const UniqueFd turn(open((root_ + kLock).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!turn.valid())
    return FailedPrecondition("the models folder ", root_, " cannot be written: ", std::strerror(errno),
                              "; check its owner and mode");
  while (flock(turn.get(), LOCK_EX) != 0)
    if (errno != EINTR) return Unavailable("the models folder ", root_, " cannot be locked: ", std::strerror(errno));
  std::vector<Entry> entries = Read();
  ASSIGN_OR_RETURN(const bool write, change(entries));
  if (!write) return OkStatus();
  Json files = Json::array();
  for (const Entry& entry : entries)
    files.push_back({{"folder", entry.folder},
                     {"name", entry.name},
                     {"hash", entry.hash},
                     {"size", entry.identity.size},
                     {"inode", entry.identity.inode},
                     {"mtime_ns", entry.identity.mtime_ns},
                     {"pinned", entry.pinned},
                     {"used", entry.used_unix}});
  return WriteFileAtomic(root_ + kList, DumpJson(Json{{"files", std::move(files)}}));
}

std::vector<ModelStore::Entry> ModelStore::Entries() {
  const std::lock_guard lock(mutex_);
  return Read();  // the list is replaced as a whole, so no lock between processes is needed
}

Status ModelStore::Added(const std::string& folder, const std::string& name, const std::string& hash,
                         const ModelIdentity& identity, int64_t now_unix) {
  return Edit([&](std::vector<Entry>& entries) -> StatusOr<bool> {
    std::erase_if(entries, [&](const Entry& e) { return e.folder == folder && e.name == name; });
    entries.push_back({folder, name, hash, identity, false, now_unix});
    return true;
  });
}

Status ModelStore::Pin(const std::string& folder, const std::string& name, bool pinned) {
  ASSIGN_OR_RETURN(const std::string path, PlaceOf(root_, folder, name));
  RETURN_IF_ERROR(IdentifyModel(path).status());
  return Edit([&](std::vector<Entry>& entries) -> StatusOr<bool> {
    for (Entry& entry : entries) {
      if (entry.folder != folder || entry.name != name) continue;
      entry.pinned = pinned;
      return true;
    }
    return FailedPrecondition("\"", name, "\" was put there by its owner and is never removed, pinned or not");
  });
}

void ModelStore::Used(const std::string& folder, const std::string& name, int64_t now_unix) {
  const auto due = [&](const Entry& e) {
    return e.folder == folder && e.name == name && now_unix - e.used_unix >= kUsedEverySeconds;
  };
  const std::vector<Entry> entries = Entries();
  if (std::none_of(entries.begin(), entries.end(), due)) return;
  const Status edited = Edit([&](std::vector<Entry>& list) -> StatusOr<bool> {
    for (Entry& entry : list)
      if (due(entry)) entry.used_unix = now_unix;
    return true;
  });
  if (!edited.ok()) LogWarning("the use of \"", name, "\" could not be noted: ", Message(edited));
}

StatusOr<std::vector<ModelStore::Entry>> ModelStore::MakeRoom(uint64_t bytes, uint64_t on_disk,
                                                              const std::set<Name>& keep) {
  std::vector<Entry> removed;
  struct statvfs disk {};
  uint64_t free = UINT64_MAX;
  if (statvfs(root_.c_str(), &disk) == 0) free = uint64_t{disk.f_bavail} * disk.f_frsize;
  const Status made = Edit([&](std::vector<Entry>& entries) -> StatusOr<bool> {
    uint64_t held = 0, movable = 0;
    std::vector<Entry> candidates;
    for (const Entry& entry : entries) {
      held += entry.identity.size;
      if (entry.pinned || keep.contains({entry.folder, entry.name})) continue;
      movable += entry.identity.size;
      candidates.push_back(entry);
    }
    std::sort(candidates.begin(), candidates.end(),
              [](const Entry& a, const Entry& b) { return a.used_unix < b.used_unix; });
    uint64_t excess = bytes_max_ > 0 && held + bytes > bytes_max_ ? held + bytes - bytes_max_ : 0;
    const uint64_t needed = on_disk < bytes ? bytes - on_disk + kDiskReserve : 0;
    if (needed > free) excess = std::max(excess, needed - free);
    if (excess > movable)
      return ResourceExhausted("no room for ", bytes, " bytes below ", root_, ": brought models have ", held, " of ",
                               bytes_max_ == 0 ? Cat("the disk's") : Cat(bytes_max_), " bytes, ", held - movable,
                               " of them pinned or needed by open jobs, and the disk has ", free,
                               " free; unpin some or raise models_disk_max");
    for (uint64_t freed = 0; freed < excess && !candidates.empty();) {
      const Entry entry = candidates.front();
      candidates.erase(candidates.begin());
      RETURN_IF_ERROR(Remove(root_, entry));
      freed += entry.identity.size;
      std::erase_if(entries, [&](const Entry& e) { return e.folder == entry.folder && e.name == entry.name; });
      removed.push_back(entry);
    }
    return !removed.empty();
  });
  if (!made.ok()) return made;
  return removed;
}

}  // namespace atelier
