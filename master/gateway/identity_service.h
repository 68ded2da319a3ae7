// IdentityService: certificates for those who bring a token, renewed for those who have one, taken from those who must
// go.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "atelier/v1/identity.grpc.pb.h"
#include "common/config/cluster_config.h"
#include "master/gateway/access.h"

namespace atelier {

/// What a master with TLS has: its authority, its list of identities, its gate. Made by OpenSecurity.
struct Security {
  explicit Security(Authority made) : authority(std::move(made)) {}
  Authority authority;
  std::unique_ptr<IdentityStore> identities;
  Identity server;
  std::string http_key_file;
  std::shared_ptr<Gate> gate;
  int64_t worker_seconds = 0, person_seconds = 0;  // of a certificate's life
};

class IdentityServer final : public v1::IdentityService::Service {
 public:
  /// `security` null: a master without TLS, which refuses all calls. `forgotten` is told the name after its identities
  /// were revoked, to end its sessions; called by a gRPC thread.
  IdentityServer(Security* security, std::function<void(const std::string& name)> forgotten)
      : security_(security), forgotten_(std::move(forgotten)) {}

  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest*, v1::CertificateReply*) override;
  grpc::Status Renew(grpc::ServerContext*, const v1::RenewRequest*, v1::CertificateReply*) override;
  grpc::Status Forget(grpc::ServerContext*, const v1::ForgetRequest*, v1::ForgetReply*) override;

 private:
  Security* const security_;
  const std::function<void(const std::string&)> forgotten_;
  std::atomic<int64_t> told_unix_ = 0;  // of the last refusal in the log
};

}  // namespace atelier
