// Blobs on disk: DIR/ab/abcdef... holds the bytes whose SHA-256 is abcdef.... A name appears only when its bytes are
// whole, checked and durable, so a crash at any instant leaves every blob either absent or right.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/base/status.h"
#include "common/tensorio/safetensors.h"
#include "master/store/records.h"

namespace atelier {

class BlobStore;

/// One blob being written. Dropping it without Commit() leaves nothing. Thread: one at a time; the store must outlive
/// it.
class BlobWriter {
 public:
  ~BlobWriter();
  BlobWriter(const BlobWriter&) = delete;
  BlobWriter& operator=(const BlobWriter&) = delete;

  /// Adds bytes. Errors: RESOURCE_EXHAUSTED when the disk is full or the blob is larger than allowed, INVALID_ARGUMENT
  /// for more bytes than announced.
  Status Append(std::string_view bytes);
  /// Makes the blob durable and returns its hash; also when it was there already. Call once. Errors: DATA_LOSS when
  /// hash or size is not the announced one, RESOURCE_EXHAUSTED when the disk is full.
  StatusOr<std::string> Commit();
  uint64_t size() const { return size_; }
  /// Whether the disk has set the announced bytes aside.
  bool reserved() const { return reserved_; }

 private:
  friend class BlobStore;
  BlobWriter() = default;
  Status Flush();

  BlobStore* store_ = nullptr;
  int fd_ = -1;
  std::string temp_path_, expected_hash_;
  uint64_t expected_size_ = 0, size_ = 0, written_ = 0, synced_ = 0;
  std::string buffer_;  // small appends are gathered
  Sha256 hash_;
  Status failed_;
  bool reserved_ = false;
};

/// One blob open for reading; stays readable after it was collected. Thread: one at a time.
class BlobReader {
 public:
  BlobReader(BlobReader&& other) noexcept;
  BlobReader& operator=(BlobReader&& other) noexcept;
  ~BlobReader();

  const std::string& hash() const { return hash_; }
  uint64_t size() const { return size_; }
  /// At most `length` bytes from `offset`; fewer only at the end. Reads that run from 0 to the end in order are
  /// verified: the one that reaches the end gives DATA_LOSS when the whole does not match the name, and the blob is
  /// moved aside. Other errors: INVALID_ARGUMENT for an offset beyond the end, DATA_LOSS when the disk cannot read.
  StatusOr<std::string> Read(uint64_t offset, uint64_t length);
  /// The same into `bytes`, whose memory is used again when it is large enough.
  Status ReadInto(uint64_t offset, uint64_t length, std::string& bytes);
  /// Reads and checks everything. Errors: DATA_LOSS.
  Status Verify();

 private:
  friend class BlobStore;
  BlobReader() = default;

  BlobStore* store_ = nullptr;
  int fd_ = -1;
  std::string hash_;
  uint64_t size_ = 0, hashed_ = 0;
  std::unique_ptr<Sha256> check_;  // of bytes [0, hashed_), until a read is out of order
};

/// The folder of all blobs. Thread: any.
class BlobStore {
 public:
  /// Opens or makes the folder and removes half-written files. One store per folder at a time (the master's database
  /// lock sees to that). Errors: RESOURCE_EXHAUSTED (disk full), FAILED_PRECONDITION when the folder cannot be made or
  /// written.
  static StatusOr<std::unique_ptr<BlobStore>> Open(const std::string& dir,
                                                   uint64_t bytes_max_per_blob = limits::kBlobBytesMax);

  /// Whether the blob is there; true counts as a use, so that Collect() leaves it for a while.
  bool Has(std::string_view hash);
  /// Free bytes of the disk. Errors: those of FileError.
  StatusOr<uint64_t> FreeBytes() const;
  /// Its bytes. Errors: NOT_FOUND, INVALID_ARGUMENT (not a hash).
  StatusOr<uint64_t> Size(std::string_view hash) const;

  /// Starts a blob. `expected_hash` and `expected_size` may be "" and 0 when unknown; the disk space of a known size is
  /// reserved now. Errors: INVALID_ARGUMENT (not a hash), RESOURCE_EXHAUSTED (larger than allowed, or the disk is
  /// full).
  StatusOr<std::unique_ptr<BlobWriter>> NewBlob(std::string_view expected_hash = "", uint64_t expected_size = 0);
  /// Errors: NOT_FOUND, INVALID_ARGUMENT.
  StatusOr<BlobReader> OpenBlob(std::string_view hash);
  /// A blob that is a safetensors file, its pages read when they are touched and not checked against its name. Errors:
  /// those of OpenBlob and SafetensorsFile::Open.
  StatusOr<std::shared_ptr<const SafetensorsFile>> Map(std::string_view hash);
  /// The whole blob, checked. Errors: those of OpenBlob, DATA_LOSS.
  StatusOr<std::string> ReadAll(std::string_view hash);
  /// Stores bytes durably. Errors: RESOURCE_EXHAUSTED.
  StatusOr<BlobRef> Put(std::string_view bytes);
  /// Stores a copy of a regular file. The path is the master's own, never a request's. Errors: NOT_FOUND,
  /// RESOURCE_EXHAUSTED.
  StatusOr<BlobRef> PutFile(const std::string& path);

  struct Collected {
    uint64_t blobs = 0, bytes = 0;            // removed
    uint64_t kept_blobs = 0, kept_bytes = 0;  // all that are left
  };
  /// Removes the blobs that are not in `live` and were neither written nor asked for within `age_seconds`; of what is
  /// left of them beyond `idle_bytes_max` (0: any) the least recently used too, but none used within a minute.
  /// `as_of_unix`: when `live` was right; what was written or asked for later stays, also by a master that has been
  /// stopped meanwhile while another one took over. 0: now.
  StatusOr<Collected> Collect(const std::set<std::string>& live, double age_seconds, uint64_t idle_bytes_max = 0,
                              int64_t as_of_unix = 0);
  /// Makes `folder`/ab/abcdef... the same file as that blob (a hard link), or a copy where links cannot be. A blob
  /// that is not there is left out; its bytes, 0 then. Errors: RESOURCE_EXHAUSTED, FAILED_PRECONDITION.
  StatusOr<uint64_t> LinkInto(const std::string& hash, const std::string& folder);

  const std::string& dir() const { return dir_; }

 private:
  friend class BlobWriter;
  friend class BlobReader;
  BlobStore() = default;
  std::string PathOf(std::string_view hash) const;
  // A damaged blob goes to DIR/damaged, so that Has() says no and it is asked for anew.
  void MoveAside(const std::string& hash);

  std::string dir_;
  uint64_t bytes_max_ = 0;
};

}  // namespace atelier
