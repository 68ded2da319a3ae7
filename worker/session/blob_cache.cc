#include "worker/session/blob_cache.h"

#include <utility>

namespace atelier {

StatusOr<BlobCache::Bytes> BlobCache::Get(const std::string& hash, const Fetch& fetch) {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (const auto it = by_hash_.find(hash); it != by_hash_.end()) {
      entries_.splice(entries_.begin(), entries_, it->second);
      return it->second->bytes;
    }
    if (in_flight_.insert(hash).second) break;
    fetched_.wait(lock);
  }
  lock.unlock();
  StatusOr<std::string> fetched = fetch(hash);
  const Status status = fetched.status();
  const Bytes bytes = fetched.ok() ? std::make_shared<const std::string>(*std::move(fetched)) : nullptr;
  lock.lock();
  in_flight_.erase(hash);
  fetched_.notify_all();
  if (bytes == nullptr) return status;
  Insert(hash, bytes);
  return bytes;
}

BlobCache::Bytes BlobCache::Find(const std::string& hash) {
  const std::lock_guard lock(mutex_);
  const auto it = by_hash_.find(hash);
  if (it == by_hash_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, it->second);
  return it->second->bytes;
}

void BlobCache::Put(const std::string& hash, Bytes bytes) {
  const std::lock_guard lock(mutex_);
  Insert(hash, std::move(bytes));
}

int64_t BlobCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

void BlobCache::Insert(const std::string& hash, Bytes bytes) {
  const auto size = static_cast<int64_t>(bytes->size());
  if (size > bytes_max_ || by_hash_.count(hash) != 0) return;
  bytes_ += size;
  entries_.push_front({hash, std::move(bytes)});
  by_hash_[hash] = entries_.begin();
  while (bytes_ > bytes_max_) {
    bytes_ -= static_cast<int64_t>(entries_.back().bytes->size());
    by_hash_.erase(entries_.back().hash);
    entries_.pop_back();
  }
}

}  // namespace atelier
