// Who may call what: one table of every method of every service, and the one place that applies it.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/security/authority.h"
#include "grpcpp/grpcpp.h"
#include "master/store/identity_store.h"

namespace atelier {

/// Bits of AccessRule::who.
inline constexpr unsigned kWorkers = 1, kOperators = 2, kViewers = 4;
/// Also without a certificate; for Join alone.
inline constexpr unsigned kAnyone = 8;

struct AccessRule {
  std::string_view method;  // "/package.Service/Method"
  unsigned who = 0;
};

/// The table. Thread: any.
std::span<const AccessRule> AccessRules();
/// Every method of the services that this build's .proto files declare, and of gRPC's health service. Thread: any.
std::vector<std::string> ServedMethods();
/// Errors: INTERNAL naming the methods that the table lacks, or has and nobody serves. A master starts with OK only.
Status CheckAccessRules();

/// Decides every call of a server with TLS, before the method runs. gRPC asks for the client's certificate and proves
/// that the client has its key; everything else about it is judged here, at every call, so that the caller hears the
/// reason and a long connection does not outlive its certificate.
class Gate final : public grpc::AuthMetadataProcessor {
 public:
  /// Both must outlive the server.
  Gate(const Authority* authority, IdentityStore* identities) : authority_(authority), identities_(identities) {}

  /// OK when the peer may call `method`. Errors: UNAUTHENTICATED (no certificate, another authority, expired, revoked),
  /// PERMISSION_DENIED (its role may not, or nobody may), RESOURCE_EXHAUSTED (it calls too often). Thread: any.
  Status Allow(const grpc::AuthContext& peer, std::string_view method) const;
  /// OK when the peer is a worker and has this name: it may have a session under it. Errors: as Allow. Thread: any.
  Status Admit(const grpc::AuthContext& peer, const std::string& worker) const;
  /// Who calls. Errors: UNAUTHENTICATED as above. Thread: any.
  StatusOr<IdentityInfo> Identify(const grpc::AuthContext& peer) const;

  /// How many calls a second one identity may make; asked at each call. Null: any number. Before the server starts.
  void SetCallsPerSecond(std::function<int64_t()> limit) { calls_per_second_ = std::move(limit); }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* peer, OutputMetadata* consumed,
                       OutputMetadata* response) override;

 private:
  Status Count(const IdentityInfo& who) const;

  const Authority* const authority_;
  IdentityStore* const identities_;
  std::function<int64_t()> calls_per_second_;
  struct Allowance {
    double calls = 0;
    std::chrono::steady_clock::time_point as_of;
  };
  mutable std::mutex mutex_;
  mutable std::map<std::string, Allowance> allowances_;  // by id
};

}  // namespace atelier
