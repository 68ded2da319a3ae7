#include "common/files/model_manifest.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "common/base/hash.h"
#include "common/files/files.h"

namespace atelier {
namespace {

constexpr const char* kMagic = "atelier-manifest-1";
constexpr int64_t kCacheFileBytesMax = 8 << 20;

StatusOr<ModelIdentity> FromStat(const struct stat& info, const std::string& name) {
  if (!S_ISREG(info.st_mode)) return NotFound("\"", name, "\" is no regular file");
  return ModelIdentity{static_cast<uint64_t>(info.st_size), info.st_ino,
                       info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec};
}

// Fills `bytes` from `offset`.
Status ReadAt(int fd, uint64_t offset, std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return DataLoss("cannot be read at ", offset + done, ": ", std::strerror(errno));
    if (n == 0) return DataLoss("ends at ", offset + done, ", expected more bytes");
    done += static_cast<size_t>(n);
  }
  return OkStatus();
}

}  // namespace

uint64_t ModelManifest::ChunkSize(size_t index) const {
  return std::min(kModelChunkBytes, size - index * kModelChunkBytes);
}

size_t ModelChunkCount(uint64_t size) {
  return static_cast<size_t>(size / kModelChunkBytes + (size % kModelChunkBytes != 0 ? 1 : 0));
}

Status CheckManifest(const ModelManifest& manifest) {
  if (!IsSha256Hex(manifest.hash)) return InvalidArgument("a manifest without a SHA-256 hash");
  if (manifest.chunks.size() > kModelChunksMax || manifest.chunks.size() != ModelChunkCount(manifest.size))
    return InvalidArgument("a manifest of ", manifest.chunks.size(), " chunks for ", manifest.size,
                           " bytes; expected chunks of ", kModelChunkBytes, " bytes, at most ", kModelChunksMax);
  if (!std::all_of(manifest.chunks.begin(), manifest.chunks.end(), [](const auto& c) { return IsSha256Hex(c); }))
    return InvalidArgument("a manifest with a chunk that has no SHA-256 hash");
  return OkStatus();
}

StatusOr<ModelIdentity> IdentifyModel(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return NotFound("cannot read \"", path, "\": ", std::strerror(errno));
  return FromStat(info, path);
}

StatusOr<ModelIdentity> IdentifyModel(int fd) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return NotFound("cannot read an open file: ", std::strerror(errno));
  return FromStat(info, "an open file");
}

StatusOr<ModelManifest> DigestModel(const std::string& path, const std::atomic<bool>& stop) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return NotFound("cannot open \"", path, "\": ", std::strerror(errno));
  ASSIGN_OR_RETURN(const ModelIdentity before, IdentifyModel(fd.get()));
  ModelManifest manifest;
  manifest.size = before.size;
  const size_t count = ModelChunkCount(before.size);
  if (count > kModelChunksMax)
    return ResourceExhausted("\"", path, "\" has ", before.size, " bytes, at most ", kModelChunksMax * kModelChunkBytes,
                             " can be passed on");
  posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  Sha256 whole;
  for (size_t i = 0; i < count; ++i) {
    if (stop) return Cancelled("hashing was stopped");
    ASSIGN_OR_RETURN(const std::string bytes, ReadModelChunk(fd.get(), manifest, i));
    whole.Update(bytes);
    manifest.chunks.push_back(Sha256Hex(bytes));
  }
  manifest.hash = whole.HexDigest();
  ASSIGN_OR_RETURN(const ModelIdentity after, IdentifyModel(fd.get()));
  if (before != after) return Aborted("\"", path, "\" changed while it was hashed");
  return manifest;
}

StatusOr<std::string> ReadModelChunk(int fd, const ModelManifest& manifest, size_t index) {
  if (index >= ModelChunkCount(manifest.size))
    return InvalidArgument("chunk ", index, " of a file with ", ModelChunkCount(manifest.size));
  std::string bytes(manifest.ChunkSize(index), '\0');
  RETURN_IF_ERROR(Annotate(ReadAt(fd, index * kModelChunkBytes, bytes), Cat("chunk ", index)));
  return bytes;
}

StatusOr<ManifestCache> ManifestCache::Open(const std::string& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error || access(dir.c_str(), W_OK) != 0)
    return FailedPrecondition("the folder ", dir, " for the hashes of models cannot be made or written",
                              error ? ": " + error.message() : "", "; name another with --state");
  return ManifestCache(dir);
}

std::string ManifestCache::PathOf(const std::string& path) const { return Cat(dir_, "/", Sha256Hex(path)); }

std::optional<ModelManifest> ManifestCache::Find(const std::string& path, const ModelIdentity& identity) const {
  const StatusOr<std::string> text = ReadFileBounded(PathOf(path), kCacheFileBytesMax);
  if (!text.ok()) return std::nullopt;
  std::istringstream in(*text);
  std::string magic;
  ModelIdentity known;
  ModelManifest manifest;
  if (!(in >> magic >> known.size >> known.inode >> known.mtime_ns >> manifest.hash) || magic != kMagic ||
      known != identity)
    return std::nullopt;
  manifest.size = known.size;
  const size_t count = ModelChunkCount(known.size);
  if (count > kModelChunksMax) return std::nullopt;
  for (std::string chunk; manifest.chunks.size() < count && in >> chunk;) manifest.chunks.push_back(std::move(chunk));
  if (!CheckManifest(manifest).ok()) return std::nullopt;
  return manifest;
}

Status ManifestCache::Put(const std::string& path, const ModelIdentity& identity, const ModelManifest& manifest) const {
  std::string text =
      Cat(kMagic, " ", identity.size, " ", identity.inode, " ", identity.mtime_ns, " ", manifest.hash, "\n");
  for (const std::string& chunk : manifest.chunks) text += chunk + "\n";
  return WriteFileAtomic(PathOf(path), text);
}

ManifestCache::Turn::~Turn() {
  if (fd_ >= 0) close(fd_);
}

std::optional<ManifestCache::Turn> ManifestCache::TryTurn() const {
  UniqueFd fd(open(Cat(dir_, "/turn").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd.valid() || flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  return Turn(fd.Release());
}

}  // namespace atelier
