#include "common/rpc/blob_client.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <future>

#include "atelier/v1/blobs.grpc.pb.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/rpc/channel.h"

namespace atelier {
namespace {

constexpr int64_t kDeadlineMs = 15'000;    // of a call that moves little
constexpr int64_t kBytesPerMsMin = 1000;   // slower than 1 MB/s counts as lost
constexpr uint64_t kReserveMax = 1 << 30;  // memory asked for on the word of a first chunk
constexpr size_t kHaveHashesMax = 10'000;  // of one Have call, as the service bounds it

int64_t DeadlineFor(int64_t bytes) { return kDeadlineMs + bytes / kBytesPerMsMin; }

}  // namespace

struct BlobClient::Stub {
  std::unique_ptr<v1::BlobService::Stub> service;
};

// One call's context, known to CancelAll while it lives.
class BlobClient::Call {
 public:
  Call(BlobClient& client, int64_t deadline_ms) : client_(client) {
    SetDeadline(context_, deadline_ms);
    const std::lock_guard lock(client_.mutex_);
    client_.calls_.insert(&context_);
    if (client_.cancelled_) context_.TryCancel();
  }
  ~Call() {
    const std::lock_guard lock(client_.mutex_);
    client_.calls_.erase(&context_);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  grpc::ClientContext& context() { return context_; }

 private:
  BlobClient& client_;
  grpc::ClientContext context_;
};

BlobClient::BlobClient(const std::shared_ptr<grpc::Channel>& channel)
    : stub_(std::make_shared<Stub>(Stub{v1::BlobService::NewStub(channel)})) {}

void BlobClient::SetChannel(const std::shared_ptr<grpc::Channel>& channel) {
  auto stub = std::make_shared<Stub>(Stub{v1::BlobService::NewStub(channel)});
  const std::lock_guard lock(mutex_);
  stub_.swap(stub);
}

std::shared_ptr<BlobClient::Stub> BlobClient::Service() {
  const std::lock_guard lock(mutex_);
  return stub_;
}

BlobClient::~BlobClient() = default;

Status BlobClient::Stream(const std::string& hash, int64_t bytes_max, const std::function<void(uint64_t size)>& begin,
                          const std::function<Status(std::string_view)>& sink) {
  // The size is not known before the first chunk; the bound sets the deadline, at most an hour.
  Call call(*this, DeadlineFor(std::min<int64_t>(bytes_max, 3'600'000 * kBytesPerMsMin)));
  v1::GetBlob request;
  request.set_hash(hash);
  const auto stub = Service();
  const auto reader = stub->service->Get(&call.context(), request);
  // While one chunk is hashed the next one comes in: on one thread the two take longer than the master's side.
  std::array<v1::BlobChunk, 2> chunks;
  size_t filled = 0;
  Sha256 digest;
  std::future<void> hashed;
  Status failure;
  int64_t received = 0;
  bool first = true;
  uint64_t size = 0;
  while (reader->Read(&chunks[filled])) {
    const v1::BlobChunk& chunk = chunks[filled];
    if (first) {
      size = chunk.size();
      first = false;
      if (size > static_cast<uint64_t>(bytes_max)) {
        failure = ResourceExhausted("blob ", hash, " has ", size, " bytes, at most ", bytes_max, " are allowed here");
      } else if (begin) {
        begin(size);
      }
    }
    received += static_cast<int64_t>(chunk.data().size());
    if (failure.ok() && received > bytes_max)
      failure = ResourceExhausted("blob ", hash, " has more than the ", bytes_max, " bytes that are allowed here");
    if (failure.ok()) {
      if (hashed.valid()) hashed.get();
      const bool more = size > chunk.data().size();
      const auto launch = more ? std::launch::async | std::launch::deferred : std::launch::deferred;
      hashed = std::async(launch, [&digest, &chunk] { digest.Update(chunk.data()); });
      failure = sink(chunk.data());
      filled = 1 - filled;
    }
    if (!failure.ok()) {
      call.context().TryCancel();
      break;
    }
  }
  if (hashed.valid()) hashed.get();
  while (reader->Read(&chunks[0])) continue;
  const grpc::Status end = reader->Finish();
  if (!failure.ok()) return failure;
  if (!end.ok()) return Annotate(FromGrpc(end), Cat("blob ", hash));
  if (static_cast<uint64_t>(received) != size || digest.HexDigest() != hash)
    return DataLoss("blob ", hash, " arrived damaged: ", received, " of ", size,
                    " bytes, or other bytes than its name says");
  return OkStatus();
}

Status BlobClient::GetTo(const std::string& hash, int64_t bytes_max,
                         const std::function<Status(std::string_view)>& sink) {
  return Stream(hash, bytes_max, nullptr, sink);
}

StatusOr<std::string> BlobClient::Get(const std::string& hash, int64_t bytes_max) {
  std::string bytes;
  RETURN_IF_ERROR(Stream(
      hash, bytes_max, [&](uint64_t size) { bytes.reserve(static_cast<size_t>(std::min(size, kReserveMax))); },
      [&](std::string_view data) {
        bytes.append(data);
        return OkStatus();
      }));
  return bytes;
}

Status BlobClient::Put(const std::string& hash, std::string_view bytes) {
  if (bytes.size() > static_cast<uint64_t>(limits::kBlobBytesMax))
    return ResourceExhausted("a blob of ", bytes.size(), " bytes, at most ", limits::kBlobBytesMax, " are allowed");
  Call call(*this, DeadlineFor(static_cast<int64_t>(bytes.size())));
  v1::PutReply reply;
  const auto stub = Service();
  call.context().set_initial_metadata_corked(true);  // goes with the first chunk
  const auto writer = stub->service->Put(&call.context(), &reply);
  size_t sent = 0;
  v1::BlobChunk chunk;
  chunk.set_hash(hash);
  chunk.set_size(bytes.size());
  do {
    if (sent != 0) {
      chunk.clear_hash();
      chunk.clear_size();
    }
    const size_t n = std::min(bytes.size() - sent, static_cast<size_t>(limits::kChunkBytes));
    chunk.set_data(bytes.data() + sent, n);
    sent += n;
    grpc::WriteOptions options;
    if (sent == bytes.size()) options.set_last_message();  // the stream's end goes with it
    if (!writer->Write(chunk, options))
      break;  // the server answered early (it has the blob) or is gone: Finish() tells
  } while (sent < bytes.size());
  return Annotate(FromGrpc(writer->Finish()), Cat("blob ", hash));
}

StatusOr<std::vector<bool>> BlobClient::Have(const std::vector<std::string>& hashes) {
  std::vector<bool> have;
  for (size_t begin = 0; begin < hashes.size(); begin += kHaveHashesMax) {
    const size_t end = std::min(hashes.size(), begin + kHaveHashesMax);
    v1::HaveBlobs request;
    for (size_t i = begin; i < end; ++i) request.add_hashes(hashes[i]);
    Call call(*this, kDeadlineMs);
    v1::HaveReply reply;
    const grpc::Status status = Service()->service->Have(&call.context(), request, &reply);
    if (!status.ok()) return FromGrpc(status);
    if (static_cast<size_t>(reply.have_size()) != end - begin)
      return Internal("the master answered ", reply.have_size(), " of ", end - begin, " questions about blobs");
    have.insert(have.end(), reply.have().begin(), reply.have().end());
  }
  return have;
}

void BlobClient::CancelAll() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  for (grpc::ClientContext* context : calls_) context->TryCancel();
}

}  // namespace atelier
