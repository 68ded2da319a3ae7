// Blobs over the wire: bytes named by their SHA-256, in chunks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace atelier {

/// Client of BlobService. Every call has a deadline that grows with the bytes it moves. Errors beside those of the
/// service: UNAVAILABLE when the master cannot be reached, DEADLINE_EXCEEDED, CANCELLED after CancelAll(). Thread: any.
class BlobClient {
 public:
  explicit BlobClient(const std::shared_ptr<grpc::Channel>& channel);
  ~BlobClient();

  /// Calls from now on take this channel; those that run end on theirs.
  void SetChannel(const std::shared_ptr<grpc::Channel>& channel);

  /// The blob's bytes, checked against its name. Errors: NOT_FOUND; DATA_LOSS; RESOURCE_EXHAUSTED beyond `bytes_max`.
  StatusOr<std::string> Get(const std::string& hash, int64_t bytes_max);
  /// The same, handed to `sink` chunk by chunk and checked at the end. An error of `sink` ends the call.
  Status GetTo(const std::string& hash, int64_t bytes_max, const std::function<Status(std::string_view)>& sink);
  /// Stores `bytes` under `hash`, which must be theirs; durable when this returns OK.
  Status Put(const std::string& hash, std::string_view bytes);
  /// For each hash whether the master has it.
  StatusOr<std::vector<bool>> Have(const std::vector<std::string>& hashes);

  /// Ends all running calls and refuses further ones with CANCELLED.
  void CancelAll();

 private:
  class Call;
  struct Stub;
  // Get with `begin` told the blob's size before the first bytes.
  Status Stream(const std::string& hash, int64_t bytes_max, const std::function<void(uint64_t size)>& begin,
                const std::function<Status(std::string_view)>& sink);

  std::shared_ptr<Stub> Service();

  std::mutex mutex_;
  std::shared_ptr<Stub> stub_;
  bool cancelled_ = false;
  std::set<grpc::ClientContext*> calls_;
};

}  // namespace atelier
