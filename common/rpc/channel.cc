#include "common/rpc/channel.h"

#include <chrono>

#include "common/base/limits.h"

namespace atelier {

namespace {
// Above the bound on contents, for the fields around them.
constexpr int kMessageBytesMax = static_cast<int>(limits::kMessageBytesMax) + (1 << 20);
// One dial: TCP's first packet is sent again after 1 and 3 s, and TLS takes two more round trips of a slow network.
constexpr int kDialMs = 5000;
}  // namespace

std::array<std::pair<const char*, int>, 3> BulkArguments() {
  return {{{GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 1 << 20},
           {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 4 << 20},
           {GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, 1 << 20}}};
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, int backoff_max_ms, const Identity* identity,
                                           const char* server, int ping_ms) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kDialMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, backoff_max_ms);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (ping_ms > 0) {
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, ping_ms);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ping_ms);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  }
  for (const auto& [name, value] : BulkArguments()) arguments.SetInt(name, value);
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  arguments.SetMaxSendMessageSize(kMessageBytesMax);
  if (identity == nullptr) return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  arguments.SetString(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, server);
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = identity->authority;
  options.pem_private_key = identity->key;
  options.pem_cert_chain = identity->certificate;
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(options), arguments);
}

Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return OkStatus();
  return MakeStatus(static_cast<StatusCode>(status.error_code()),
                    status.error_message());  // the codes have equal numbers
}

grpc::Status ToGrpc(const Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), Message(status));
}

void SetDeadline(grpc::ClientContext& context, int64_t milliseconds) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(milliseconds));
}

}  // namespace atelier
