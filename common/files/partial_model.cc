#include "common/files/partial_model.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "common/base/hash.h"
#include "common/files/models.h"

namespace atelier {
namespace {

constexpr size_t kHeaderBytes = 128;   // of the map: what file it is of; then a byte a chunk
constexpr size_t kLeafBytesMax = 200;  // the temporary names are longer than the file's
constexpr size_t kHashShown = 16;

Status IoError(int error, const std::string& path) {
  if (error == ENOSPC || error == EDQUOT)
    return ResourceExhausted("the disk is full: no room for \"", path,
                             "\"; free some space or lower the models' limit");
  if (error == EACCES || error == EPERM || error == EROFS)
    return FailedPrecondition("\"", path, "\" cannot be written: ", std::strerror(error),
                              "; check owner and mode of the models folder");
  return Unavailable("\"", path, "\" cannot be written: ", std::strerror(error));
}

Status WriteAt(int fd, uint64_t offset, std::string_view bytes, const std::string& path) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return IoError(errno, path);
    done += static_cast<size_t>(n);
  }
  return OkStatus();
}

std::string Header(const ModelManifest& manifest) {
  std::string header = Cat("atelier-part-1 ", manifest.hash, " ", manifest.size, "\n");
  header.resize(kHeaderBytes, ' ');
  return header;
}

}  // namespace

StatusOr<std::unique_ptr<PartialModel>> PartialModel::Open(const std::string& root, const std::string& folder,
                                                           const std::string& name, const ModelManifest& manifest) {
  RETURN_IF_ERROR(CheckManifest(manifest));
  ASSIGN_OR_RETURN(const std::string directory, ModelPlace(folder, name));
  std::string below = directory, leaf = name;
  if (const size_t slash = name.rfind('/'); slash != std::string::npos) {
    below += "/" + name.substr(0, slash);
    leaf = name.substr(slash + 1);
  }
  if (leaf.size() > kLeafBytesMax)
    return InvalidArgument("the name \"", leaf, "\" has more than ", kLeafBytesMax, " bytes");
  std::unique_ptr<PartialModel> made(new PartialModel);
  PartialModel& self = *made;
  self.manifest_ = manifest;
  self.path_ = Cat(root, "/", directory, "/", name);
  ASSIGN_OR_RETURN(self.folder_, ConfinedFolder(root, below));
  const int dir = self.folder_.get();
  self.leaf_ = leaf;
  self.part_ = Cat(".", leaf, ".", manifest.hash.substr(0, kHashShown), ".part");
  self.map_ = Cat(".", leaf, ".", manifest.hash.substr(0, kHashShown), ".map");
  self.file_ = UniqueFd(openat(dir, self.part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!self.file_.valid()) return IoError(errno, self.path_);
  if (flock(self.file_.get(), LOCK_EX | LOCK_NB) != 0)
    return Unavailable("\"", self.path_, "\" is being written by another process");
  RETURN_IF_ERROR(self.CheckInPlace());
  // After the lock: the one before may have finished.
  struct stat there {};
  if (fstatat(dir, leaf.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0) {
    struct stat part {};
    if (fstat(self.file_.get(), &part) == 0 && part.st_size == 0) unlinkat(dir, self.part_.c_str(), 0);
    return MakeStatus(StatusCode::kAlreadyExists, "there is a file \"", self.path_, "\" already");
  }
  self.journal_ = UniqueFd(openat(dir, self.map_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!self.journal_.valid()) return IoError(errno, self.path_);

  const size_t count = manifest.chunks.size();
  self.have_.assign(count, false);
  self.missing_ = count;
  struct stat part {};
  if (fstat(self.file_.get(), &part) != 0) return IoError(errno, self.path_);
  const std::string header = Header(manifest);
  std::string map(kHeaderBytes + count, '\0');
  const ssize_t n = pread(self.journal_.get(), map.data(), map.size(), 0);
  if (n == static_cast<ssize_t>(map.size()) && map.compare(0, kHeaderBytes, header) == 0 &&
      static_cast<uint64_t>(part.st_size) == manifest.size) {
    for (size_t i = 0; i < count; ++i) {
      if (map[kHeaderBytes + i] != '1') continue;
      self.have_[i] = true;
      --self.missing_;
    }
    return made;
  }
  map = header + std::string(count, '0');
  if (ftruncate(self.journal_.get(), 0) != 0) return IoError(errno, self.path_);
  RETURN_IF_ERROR(WriteAt(self.journal_.get(), 0, map, self.path_));
  if (ftruncate(self.file_.get(), 0) != 0) return IoError(errno, self.path_);
  if (manifest.size > 0) {
    int error = posix_fallocate(self.file_.get(), 0, static_cast<off_t>(manifest.size));
    if (error == EOPNOTSUPP || error == EINVAL)
      error = ftruncate(self.file_.get(), static_cast<off_t>(manifest.size)) == 0 ? 0 : errno;
    if (error != 0) {
      made->Discard();
      return IoError(error, self.path_);
    }
  }
  return made;
}

bool PartialModel::Begun(const std::string& root, const std::string& folder, const std::string& name,
                         const ModelManifest& manifest) {
  const StatusOr<std::string> directory = ModelPlace(folder, name);
  if (!directory.ok()) return false;
  const size_t slash = name.rfind('/') + 1;  // 0 without one
  const StatusOr<ModelIdentity> part =
      IdentifyModel(Cat(root, "/", *directory, "/", name.substr(0, slash), ".", name.substr(slash), ".",
                        manifest.hash.substr(0, kHashShown), ".part"));
  return part.ok() && part->size == manifest.size;
}

PartialModel::~PartialModel() = default;

std::vector<bool> PartialModel::Have() const {
  const std::lock_guard lock(mutex_);
  return have_;
}

size_t PartialModel::Missing() const {
  const std::lock_guard lock(mutex_);
  return missing_;
}

Status PartialModel::Mark(size_t index, bool have) {
  if (have_[index] == have) return OkStatus();
  have_[index] = have;
  missing_ += have ? size_t(-1) : size_t(1);
  return WriteAt(journal_.get(), kHeaderBytes + index, have ? "1" : "0", path_);
}

Status PartialModel::Write(size_t index, std::string_view bytes) {
  if (index >= manifest_.chunks.size())
    return InvalidArgument("chunk ", index, " of a file with ", manifest_.chunks.size());
  if (bytes.size() != manifest_.ChunkSize(index) || Sha256Hex(bytes) != manifest_.chunks[index])
    return DataLoss("chunk ", index, " of \"", path_, "\" arrived with other bytes than its hash says");
  RETURN_IF_ERROR(WriteAt(file_.get(), index * kModelChunkBytes, bytes, path_));
  const std::lock_guard lock(mutex_);
  return Mark(index, true);
}

StatusOr<std::string> PartialModel::Read(size_t index) const {
  {
    const std::lock_guard lock(mutex_);
    if (index >= have_.size() || !have_[index]) return NotFound("chunk ", index, " is not here yet");
  }
  return ReadModelChunk(file_.get(), manifest_, index);
}

Status PartialModel::Finish(const std::atomic<bool>& stop,
                            const std::function<Status(const ModelIdentity& identity)>& before_name) {
  Sha256 whole;
  size_t damaged = 0;
  for (size_t i = 0; i < manifest_.chunks.size(); ++i) {
    if (stop) return Cancelled("checking was stopped");
    const StatusOr<std::string> bytes = ReadModelChunk(file_.get(), manifest_, i);
    if (bytes.ok() && Sha256Hex(*bytes) == manifest_.chunks[i]) {
      whole.Update(*bytes);
      continue;
    }
    ++damaged;
    const std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(Mark(i, false));
  }
  if (damaged > 0)
    return DataLoss(damaged, " of ", manifest_.chunks.size(), " chunks of \"", path_, "\" were damaged on the disk");
  if (whole.HexDigest() != manifest_.hash) {
    Discard();
    return DataLoss("the chunks of \"", path_, "\" do not make the file that its hash names");
  }
  if (fsync(file_.get()) != 0) return IoError(errno, path_);
  if (before_name) {
    ASSIGN_OR_RETURN(const ModelIdentity identity, IdentifyModel(file_.get()));
    RETURN_IF_ERROR(before_name(identity));
  }
  RETURN_IF_ERROR(CheckInPlace());
  if (renameat2(folder_.get(), part_.c_str(), folder_.get(), leaf_.c_str(), RENAME_NOREPLACE) != 0) {
    const int error = errno;
    if (error == EEXIST) return MakeStatus(StatusCode::kAlreadyExists, "there is a file \"", path_, "\" already");
    // A file system without RENAME_NOREPLACE: a link replaces nothing either.
    if (error != EINVAL || linkat(folder_.get(), part_.c_str(), folder_.get(), leaf_.c_str(), 0) != 0)
      return IoError(error, path_);
    unlinkat(folder_.get(), part_.c_str(), 0);
  }
  unlinkat(folder_.get(), map_.c_str(), 0);
  if (fsync(folder_.get()) != 0 && errno != EINVAL) return IoError(errno, path_);
  return OkStatus();
}

Status PartialModel::CheckInPlace() const {
  struct stat held {
  }, named{};
  if (fstat(file_.get(), &held) != 0 || fstatat(folder_.get(), part_.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
      held.st_ino != named.st_ino || held.st_dev != named.st_dev)
    return Unavailable("\"", path_, "\" is being written by another process");
  return OkStatus();
}

void PartialModel::Discard() {
  unlinkat(folder_.get(), part_.c_str(), 0);
  unlinkat(folder_.get(), map_.c_str(), 0);
}

size_t RemoveStalePartials(const std::string& root, double age_seconds) {
  namespace fs = std::filesystem;
  size_t removed = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(root, fs::directory_options::skip_permission_denied, error), end;
       !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.empty() || name.front() != '.' || !name.ends_with(".part")) continue;
    const UniqueFd fd(open(it->path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat info {};
    if (!fd.valid() || fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    const double age = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count() -
                       static_cast<double>(info.st_mtim.tv_sec);
    if (age < age_seconds || flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
    std::string map = it->path().string();
    map.replace(map.size() - 5, 5, ".map");
    unlink(map.c_str());
    if (unlink(it->path().c_str()) == 0) ++removed;
  }
  return removed;
}

}  // namespace atelier
