#include "worker/share/peer_server.h"

#include <openssl/crypto.h>

#include <chrono>

#include "atelier/v1/models.grpc.pb.h"
#include "common/base/limits.h"
#include "common/rpc/channel.h"

namespace atelier {
namespace {

constexpr int kThreadsMax = 16;

bool SameKey(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

class PeerServer::Service final : public v1::PeerService::Service {
 public:
  Service(std::string key, Read read, Throttle* throttle, std::shared_ptr<std::atomic<uint64_t>> sent)
      : key_(std::move(key)), read_(std::move(read)), throttle_(throttle), sent_(std::move(sent)) {}

  grpc::Status GetChunk(grpc::ServerContext*, const v1::ChunkRequest* request,
                        grpc::ServerWriter<v1::ChunkPiece>* writer) override {
    if (!SameKey(request->key(), key_))
      return {grpc::StatusCode::PERMISSION_DENIED, "the key is not this worker's; the master gives it"};
    const StatusOr<std::string> bytes = read_(request->hash(), request->index());
    if (!bytes.ok()) return ToGrpc(bytes.status());
    v1::ChunkPiece piece;
    for (size_t sent = 0; sent < bytes->size();) {
      const size_t n = std::min(bytes->size() - sent, static_cast<size_t>(limits::kChunkBytes));
      piece.set_data(bytes->data() + sent, n);
      if (!throttle_->Take(n)) return {grpc::StatusCode::UNAVAILABLE, "the worker is ending"};
      if (!writer->Write(piece)) return {grpc::StatusCode::CANCELLED, "the reader went away"};
      sent += n;
      *sent_ += n;
    }
    return grpc::Status::OK;
  }

 private:
  const std::string key_;
  const Read read_;
  Throttle* const throttle_;
  const std::shared_ptr<std::atomic<uint64_t>> sent_;
};

StatusOr<std::unique_ptr<PeerServer>> PeerServer::Start(const std::string& listen, const std::string& key, Read read,
                                                        Throttle* throttle) {
  const size_t colon = listen.rfind(':');
  const std::string host = listen.substr(0, colon);
  if (colon == std::string::npos || (host != "127.0.0.1" && host != "localhost" && host != "[::1]"))
    return InvalidArgument("workers help each other on this machine's loopback address alone, \"", listen,
                           "\" is another; use 127.0.0.1:0, or leave it out: models then come through the master");
  std::unique_ptr<PeerServer> made(new PeerServer);
  made->sent_ = std::make_shared<std::atomic<uint64_t>>(0);
  made->service_ = std::make_unique<Service>(key, std::move(read), throttle, made->sent_);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  for (const auto& [name, value] : BulkArguments()) builder.AddChannelArgument(name, value);
  grpc::ResourceQuota quota;
  quota.SetMaxThreads(kThreadsMax);
  builder.SetResourceQuota(quota);
  builder.RegisterService(made->service_.get());
  made->server_ = builder.BuildAndStart();
  if (made->server_ == nullptr || port == 0)
    return Unavailable("cannot listen for other workers on ", listen, ": the port is in use");
  made->address_ = Cat(host, ":", port);
  return made;
}

PeerServer::~PeerServer() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
  server_->Wait();
}

}  // namespace atelier
