#include "worker/share/peer_server.h"

#include <openssl/crypto.h>

#include <chrono>
#include <ctime>

#include "atelier/v1/models.grpc.pb.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/rpc/channel.h"
#include "common/security/peer_ticket.h"

namespace atelier {
namespace {

constexpr int kThreadsMax = 16;

bool SameKey(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

// Who calls, by a certificate of which the library has checked the signature. Errors: UNAUTHENTICATED,
// PERMISSION_DENIED.
StatusOr<IdentityInfo> WorkerOf(const grpc::ServerContext& context) {
  const auto shown = context.auth_context()->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (shown.empty()) return MakeStatus(StatusCode::kUnauthenticated, "workers ask one another for a certificate");
  StatusOr<IdentityInfo> who = ReadCertificate({shown[0].data(), shown[0].size()});
  if (!who.ok()) return MakeStatus(StatusCode::kUnauthenticated, Message(who.status()));
  if (who->Expired(std::time(nullptr))) return MakeStatus(StatusCode::kUnauthenticated, "this certificate has expired");
  if (who->role != Role::kWorker)
    return MakeStatus(StatusCode::kPermissionDenied, "\"", who->name, "\" has the role ", RoleName(who->role),
                      "; chunks are for workers");
  return who;
}

}  // namespace

class PeerServer::Service final : public v1::PeerService::Service {
 public:
  Service(std::string key, bool tls, Read read, Throttle* throttle, std::shared_ptr<std::atomic<uint64_t>> sent)
      : key_(std::move(key)), tls_(tls), read_(std::move(read)), throttle_(throttle), sent_(std::move(sent)) {}

  grpc::Status GetChunk(grpc::ServerContext* context, const v1::ChunkRequest* request,
                        grpc::ServerWriter<v1::ChunkPiece>* writer) override {
    if (const Status allowed = Allow(*context, *request); !allowed.ok()) {
      LogDebug("another worker's question for a chunk was refused: ", Message(allowed));
      return ToGrpc(allowed);
    }
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
    LogDebug("gave chunk ", request->index(), " of ", request->hash().substr(0, 12), " to another worker");
    return grpc::Status::OK;
  }

 private:
  Status Allow(const grpc::ServerContext& context, const v1::ChunkRequest& request) const {
    if (!tls_) {
      if (SameKey(request.key(), key_)) return OkStatus();
      return MakeStatus(StatusCode::kPermissionDenied, "the key is not this worker's; the master gives it");
    }
    ASSIGN_OR_RETURN(const IdentityInfo who, WorkerOf(context));
    return CheckPeerTicket(request.key(), key_, who.name, request.hash(), request.index(), std::time(nullptr));
  }

  const std::string key_;
  const bool tls_;
  const Read read_;
  Throttle* const throttle_;
  const std::shared_ptr<std::atomic<uint64_t>> sent_;
};

StatusOr<std::unique_ptr<PeerServer>> PeerServer::Start(const std::string& listen, const std::string& key,
                                                        const Identity* identity, Read read, Throttle* throttle) {
  const size_t colon = listen.rfind(':');
  const std::string host = listen.substr(0, colon);
  if (colon == std::string::npos || host.empty() || host == "0.0.0.0" || host == "[::]")
    return InvalidArgument("\"", listen, "\" is no address by which other workers can reach this one; name it, as in ",
                           "192.168.1.20:50190, or 127.0.0.1:0 for workers of this machine");
  if (identity == nullptr && !IsLoopback(listen))
    return InvalidArgument("without an identity workers help each other on this machine's loopback address alone, \"",
                           listen, "\" is another; join with a token, use 127.0.0.1:0, or leave it out: models then ",
                           "come through the master");
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  if (identity != nullptr) {
    ASSIGN_OR_RETURN(const IdentityInfo own, ReadCertificate(identity->certificate));
    if (!own.serves)
      return FailedPrecondition(
          "this worker's certificate is of an older master and cannot stand before other workers; ",
          "models come through the master until it is renewed");
    grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    tls.pem_root_certs = identity->authority;
    tls.pem_key_cert_pairs.push_back({identity->key, identity->certificate});
    credentials = grpc::SslServerCredentials(tls);
  }
  std::unique_ptr<PeerServer> made(new PeerServer);
  made->sent_ = std::make_shared<std::atomic<uint64_t>>(0);
  made->service_ = std::make_unique<Service>(key, identity != nullptr, std::move(read), throttle, made->sent_);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, credentials, &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  for (const auto& [name, value] : BulkArguments()) builder.AddChannelArgument(name, value);
  grpc::ResourceQuota quota;
  quota.SetMaxThreads(kThreadsMax);
  builder.SetResourceQuota(quota);
  builder.RegisterService(made->service_.get());
  made->server_ = builder.BuildAndStart();
  if (made->server_ == nullptr || port == 0)
    return Unavailable("cannot listen for other workers on ", listen,
                       ": the port is in use, or the address is not this machine's");
  made->address_ = Cat(host, ":", port);
  return made;
}

PeerServer::~PeerServer() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(500));
  server_->Wait();
}

}  // namespace atelier
