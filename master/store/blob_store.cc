#include "master/store/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <system_error>
#include <utility>

#include "master/store/files.h"

namespace atelier {
namespace {

constexpr size_t kBufferBytes = 256 << 10;        // below it a write call costs more than the copy
constexpr uint64_t kWriteBehindBytes = 64 << 20;  // the disk starts on each so much while the next is hashed
constexpr uint64_t kReadBytes = 1 << 20;
constexpr double kInUseSeconds = 60;            // what was used within is about to be used again
constexpr uint64_t kReserveBytesMin = 1 << 20;  // smaller files are not worth the call

Status NotAHash(std::string_view text) {
  return InvalidArgument("'", text.substr(0, 80), "' is no blob name; expected 64 lower-case hex digits");
}

std::string Short(std::string_view hash) { return std::string(hash.substr(0, 12)); }

}  // namespace

// ---------------------------------------------------------------- writer

BlobWriter::~BlobWriter() {
  if (fd_ >= 0) close(fd_);
  if (!temp_path_.empty()) unlink(temp_path_.c_str());
}

Status BlobWriter::Flush() {
  if (buffer_.empty()) return OkStatus();
  if (const int error = WriteFully(fd_, buffer_); error != 0) return FileError(error, "store a blob", store_->dir_);
  written_ += buffer_.size();
  buffer_.clear();
  return OkStatus();
}

Status BlobWriter::Append(std::string_view bytes) {
  if (!failed_.ok()) return failed_;
  if (fd_ < 0) return failed_ = Internal("bytes for a blob that was committed");
  if (expected_size_ != 0 && bytes.size() > expected_size_ - size_) {
    return failed_ = InvalidArgument("a blob has more bytes than the ", expected_size_, " announced");
  }
  if (bytes.size() > store_->bytes_max_ - size_) {
    return failed_ = ResourceExhausted("a blob is larger than the ", store_->bytes_max_,
                                       " bytes allowed; raise limits.blob_bytes_max");
  }
  hash_.Update(bytes);
  size_ += bytes.size();
  if (buffer_.size() + bytes.size() <= kBufferBytes) {
    buffer_.append(bytes);
    return OkStatus();
  }
  failed_ = Flush();
  if (!failed_.ok()) return failed_;
  if (const int error = WriteFully(fd_, bytes); error != 0) {
    return failed_ = FileError(error, "store a blob", store_->dir_);
  }
  written_ += bytes.size();
  if (written_ - synced_ >= kWriteBehindBytes) {
    // A hint only: without it the whole write-out would wait for Commit().
    sync_file_range(fd_, static_cast<off64_t>(synced_), static_cast<off64_t>(written_ - synced_),
                    SYNC_FILE_RANGE_WRITE);
    synced_ = written_;
  }
  return OkStatus();
}

StatusOr<std::string> BlobWriter::Commit() {
  if (!failed_.ok()) return failed_;
  if (fd_ < 0) return failed_ = Internal("a blob committed twice");
  if (expected_size_ != 0 && size_ != expected_size_) {
    return failed_ = DataLoss("a blob ended after ", size_, " of ", expected_size_, " bytes; send it again");
  }
  std::string hash = hash_.HexDigest();
  if (!expected_hash_.empty() && hash != expected_hash_) {
    return failed_ = DataLoss("a blob's bytes have the hash ", Short(hash), "... and not the announced ",
                              Short(expected_hash_), "...; send it again");
  }
  failed_ = Flush();
  if (!failed_.ok()) return failed_;
  const std::string path = store_->PathOf(hash);
  if (!store_->Has(hash)) {
    Failpoint("blob before fsync");
    if (fdatasync(fd_) != 0) return failed_ = FileError(errno, "store a blob", store_->dir_);
    Failpoint("blob before rename");
    if (rename(temp_path_.c_str(), path.c_str()) != 0) return failed_ = FileError(errno, "store a blob", store_->dir_);
    temp_path_.clear();
    Failpoint("blob before folder fsync");
  }
  close(std::exchange(fd_, -1));
  // Also when it was there: whoever renamed it may not have come to this point yet.
  if (const int error = SyncFolder(path.substr(0, path.rfind('/'))); error != 0) {
    return failed_ = FileError(error, "store a blob", store_->dir_);
  }
  return hash;
}

// ---------------------------------------------------------------- reader

BlobReader::BlobReader(BlobReader&& other) noexcept { *this = std::move(other); }

BlobReader& BlobReader::operator=(BlobReader&& other) noexcept {
  if (this == &other) return *this;
  if (fd_ >= 0) close(fd_);
  store_ = other.store_;
  fd_ = std::exchange(other.fd_, -1);
  hash_ = std::move(other.hash_);
  size_ = other.size_;
  hashed_ = other.hashed_;
  check_ = std::move(other.check_);
  return *this;
}

BlobReader::~BlobReader() {
  if (fd_ >= 0) close(fd_);
}

StatusOr<std::string> BlobReader::Read(uint64_t offset, uint64_t length) {
  std::string bytes;
  RETURN_IF_ERROR(ReadInto(offset, length, bytes));
  return bytes;
}

Status BlobReader::ReadInto(uint64_t offset, uint64_t length, std::string& bytes) {
  if (offset > size_)
    return InvalidArgument("offset ", offset, " is beyond the ", size_, " bytes of blob ", Short(hash_));
  bytes.resize(static_cast<size_t>(std::min(length, size_ - offset)));
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t n = pread(fd_, bytes.data() + have, bytes.size() - have, static_cast<off_t>(offset + have));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      check_.reset();
      store_->MoveAside(hash_);
      return DataLoss("blob ", Short(hash_), "... cannot be read at byte ", offset + have, "; check the disk of '",
                      store_->dir_, "'");
    }
    have += static_cast<size_t>(n);
  }
  if (check_ == nullptr || offset != hashed_) {
    if (offset != 0) {
      check_.reset();
      return OkStatus();
    }
    check_ = std::make_unique<Sha256>();
    hashed_ = 0;
  }
  check_->Update(bytes);
  hashed_ += bytes.size();
  if (hashed_ == size_) {
    const std::string found = check_->HexDigest();
    check_.reset();
    hashed_ = 0;
    if (found != hash_) {
      store_->MoveAside(hash_);
      return DataLoss("blob ", Short(hash_), "... is damaged on the disk of '", store_->dir_,
                      "'; it was moved to 'damaged' there");
    }
  }
  return OkStatus();
}

Status BlobReader::Verify() {
  uint64_t offset = 0;
  std::string bytes;
  do {
    RETURN_IF_ERROR(ReadInto(offset, kReadBytes, bytes));
    offset += bytes.size();
  } while (offset < size_);
  return OkStatus();
}

// ---------------------------------------------------------------- store

StatusOr<std::unique_ptr<BlobStore>> BlobStore::Open(const std::string& dir, uint64_t bytes_max_per_blob) {
  RETURN_IF_ERROR(MakeFolders(dir));
  static constexpr char kHex[] = "0123456789abcdef";
  bool made = false;
  for (int i = 0; i < 256; ++i) {
    const std::string path = Cat(dir, "/", kHex[i >> 4], kHex[i & 15]);
    if (mkdir(path.c_str(), 0777) == 0) {
      made = true;
    } else if (errno != EEXIST) {
      return FileError(errno, "make folders for blobs", dir);
    }
  }
  const std::string temp = Cat(dir, "/tmp");
  std::error_code error;
  std::filesystem::remove_all(temp, error);
  if (mkdir(temp.c_str(), 0777) != 0 && errno != EEXIST) return FileError(errno, "make folders for blobs", dir);
  if (access(temp.c_str(), W_OK | X_OK) != 0) return FileError(errno, "write blobs", dir);
  if (made) {
    if (const int failed = SyncFolder(dir); failed != 0) return FileError(failed, "make folders for blobs", dir);
  }
  std::unique_ptr<BlobStore> store(new BlobStore);
  store->dir_ = dir;
  store->bytes_max_ = bytes_max_per_blob;
  return store;
}

std::string BlobStore::PathOf(std::string_view hash) const { return Cat(dir_, "/", hash.substr(0, 2), "/", hash); }

bool BlobStore::Has(std::string_view hash) {
  if (!IsSha256Hex(hash)) return false;
  const std::string path = PathOf(hash);
  struct stat info {};
  if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  // The time of last use; a change of it costs an inode write, so not at every question.
  if (std::time(nullptr) - info.st_mtim.tv_sec > 60) utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  return true;
}

StatusOr<uint64_t> BlobStore::FreeBytes() const {
  struct statvfs disk {};
  if (statvfs(dir_.c_str(), &disk) != 0) return FileError(errno, "ask for free space", dir_);
  return static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
}

StatusOr<uint64_t> BlobStore::Size(std::string_view hash) const {
  if (!IsSha256Hex(hash)) return NotAHash(hash);
  struct stat info {};
  if (stat(PathOf(hash).c_str(), &info) != 0) return NotFound("blob ", Short(hash), "... is not in '", dir_, "'");
  return static_cast<uint64_t>(info.st_size);
}

StatusOr<std::unique_ptr<BlobWriter>> BlobStore::NewBlob(std::string_view expected_hash, uint64_t expected_size) {
  if (!expected_hash.empty() && !IsSha256Hex(expected_hash)) return NotAHash(expected_hash);
  if (expected_size > bytes_max_) {
    return ResourceExhausted("a blob of ", expected_size, " bytes is larger than the ", bytes_max_,
                             " allowed; raise limits.blob_bytes_max");
  }
  static std::atomic<uint64_t> next{0};
  std::unique_ptr<BlobWriter> writer(new BlobWriter);
  writer->store_ = this;
  writer->expected_hash_ = std::string(expected_hash);
  writer->expected_size_ = expected_size;
  std::string path = Cat(dir_, "/tmp/", getpid(), "-", next.fetch_add(1));
  writer->fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (writer->fd_ < 0) return FileError(errno, "store a blob", dir_);
  writer->temp_path_ = std::move(path);
  if (expected_size >= kReserveBytesMin) {
    writer->reserved_ = fallocate(writer->fd_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(expected_size)) == 0;
    if (!writer->reserved_ && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR)
      return FileError(errno, Cat("store a blob of ", expected_size, " bytes"), dir_);
  }
  return writer;
}

StatusOr<BlobReader> BlobStore::OpenBlob(std::string_view hash) {
  if (!IsSha256Hex(hash)) return NotAHash(hash);
  BlobReader reader;
  reader.store_ = this;
  reader.hash_ = std::string(hash);
  reader.fd_ = open(PathOf(hash).c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (reader.fd_ < 0 || fstat(reader.fd_, &info) != 0) {
    if (errno == ENOENT) return NotFound("blob ", Short(hash), "... is not in '", dir_, "'");
    return FileError(errno, Cat("read blob ", Short(hash), "..."), dir_);
  }
  reader.size_ = static_cast<uint64_t>(info.st_size);
  reader.check_ = std::make_unique<Sha256>();
  return reader;
}

StatusOr<std::shared_ptr<const SafetensorsFile>> BlobStore::Map(std::string_view hash) {
  RETURN_IF_ERROR(OpenBlob(hash).status());
  return SafetensorsFile::Open(PathOf(hash));
}

StatusOr<std::string> BlobStore::ReadAll(std::string_view hash) {
  ASSIGN_OR_RETURN(BlobReader reader, OpenBlob(hash));
  return reader.Read(0, reader.size());
}

StatusOr<BlobRef> BlobStore::Put(std::string_view bytes) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, NewBlob("", bytes.size()));
  RETURN_IF_ERROR(writer->Append(bytes));
  ASSIGN_OR_RETURN(std::string hash, writer->Commit());
  return BlobRef{std::move(hash), bytes.size()};
}

StatusOr<BlobRef> BlobStore::PutFile(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (!file.valid() || fstat(file.get(), &info) != 0) return FileError(errno, Cat("read '", name, "'"), folder);
  if (!S_ISREG(info.st_mode)) return InvalidArgument("'", name, "' is no regular file");
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> writer, NewBlob());
  std::string chunk;
  while (true) {
    chunk.resize(kReadBytes);
    const ssize_t n = read(file.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError(errno, Cat("read '", name, "'"), folder);
    if (n == 0) break;
    RETURN_IF_ERROR(writer->Append(std::string_view(chunk).substr(0, static_cast<size_t>(n))));
  }
  const uint64_t size = writer->size();
  ASSIGN_OR_RETURN(std::string hash, writer->Commit());
  return BlobRef{std::move(hash), size};
}

StatusOr<BlobStore::Collected> BlobStore::Collect(const std::set<std::string>& live, double age_seconds,
                                                  uint64_t idle_bytes_max, int64_t as_of_unix) {
  struct Idle {
    double age;
    uint64_t bytes;
    std::string path;
  };
  Collected collected;
  std::vector<Idle> idle;
  uint64_t idle_bytes = 0;
  const double now = static_cast<double>(as_of_unix > 0 ? as_of_unix : std::time(nullptr));
  const auto remove = [&](const std::string& path, uint64_t bytes) {
    if (unlink(path.c_str()) != 0) return false;
    ++collected.blobs;
    collected.bytes += bytes;
    return true;
  };
  std::error_code error;
  for (const auto& folder : std::filesystem::directory_iterator(dir_, error)) {
    const std::string folder_name = folder.path().filename().string();
    if (folder_name.size() != 2) continue;
    std::error_code inner;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path(), inner)) {
      const std::string name = entry.path().filename().string();
      struct stat info {};
      if (!IsSha256Hex(name) || stat(entry.path().c_str(), &info) != 0) continue;
      const auto bytes = static_cast<uint64_t>(info.st_size);
      if (!live.contains(name)) {
        const double age = now - static_cast<double>(info.st_mtim.tv_sec);
        if (age >= age_seconds && remove(entry.path().string(), bytes)) continue;
        idle_bytes += bytes;
        if (idle_bytes_max > 0 && age >= kInUseSeconds) idle.push_back({age, bytes, entry.path().string()});
      }
      ++collected.kept_blobs;
      collected.kept_bytes += bytes;
    }
    if (inner) return FileError(inner.value(), Cat("list '", folder_name, "'"), dir_);
  }
  if (error) return FileError(error.value(), "list blobs", dir_);
  if (idle_bytes_max == 0 || idle_bytes <= idle_bytes_max) return collected;
  std::sort(idle.begin(), idle.end(), [](const Idle& a, const Idle& b) { return a.age > b.age; });
  for (const Idle& one : idle) {
    if (idle_bytes <= idle_bytes_max) break;
    if (!remove(one.path, one.bytes)) continue;
    idle_bytes -= one.bytes;
    --collected.kept_blobs;
    collected.kept_bytes -= one.bytes;
  }
  return collected;
}

StatusOr<uint64_t> BlobStore::LinkInto(const std::string& hash, const std::string& folder) {
  if (!IsSha256Hex(hash)) return NotAHash(hash);
  const std::string below = Cat(folder, "/", hash.substr(0, 2)), to = Cat(below, "/", hash);
  RETURN_IF_ERROR(MakeFolders(below));
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(PathOf(hash), error);
  if (error) return 0;
  if (link(PathOf(hash).c_str(), to.c_str()) == 0 || errno == EEXIST) return bytes;
  std::filesystem::copy_file(PathOf(hash), to, error);
  if (error) return FileError(error.value(), "copy a blob", folder);
  return bytes;
}

void BlobStore::MoveAside(const std::string& hash) {
  const std::string folder = Cat(dir_, "/damaged");
  mkdir(folder.c_str(), 0777);
  if (rename(PathOf(hash).c_str(), Cat(folder, "/", hash).c_str()) == 0) {
    SyncFolder(Cat(dir_, "/", hash.substr(0, 2)));
  } else {
    unlink(PathOf(hash).c_str());  // better absent than wrong
  }
}

}  // namespace atelier
