// Blobs that this worker fetched or made, in memory.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace atelier {

/// Bytes by hash, least recently used first out. Two callers that want the same blob share one fetch. Thread: any.
class BlobCache {
 public:
  using Bytes = std::shared_ptr<const std::string>;
  using Fetch = std::function<StatusOr<std::string>(const std::string& hash)>;

  explicit BlobCache(int64_t bytes_max) : bytes_max_(bytes_max) {}

  /// The blob, fetched by `fetch` when it is not here. Errors: those of `fetch`.
  StatusOr<Bytes> Get(const std::string& hash, const Fetch& fetch);
  /// The blob if it is here, else null.
  Bytes Find(const std::string& hash);
  void Put(const std::string& hash, Bytes bytes);
  int64_t bytes() const;

 private:
  struct Entry {
    std::string hash;
    Bytes bytes;
  };
  void Insert(const std::string& hash, Bytes bytes);  // mutex_ held

  const int64_t bytes_max_;
  mutable std::mutex mutex_;
  std::condition_variable fetched_;
  std::set<std::string, std::less<>> in_flight_;
  std::list<Entry> entries_;  // last used first
  std::map<std::string, std::list<Entry>::iterator, std::less<>> by_hash_;
  int64_t bytes_ = 0;
};

}  // namespace atelier
