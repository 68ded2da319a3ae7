#include "master/gateway/identity_service.h"

#include <ctime>

#include "common/base/log.h"
#include "common/rpc/channel.h"

namespace atelier {
namespace {

constexpr size_t kRequestBytesMax = 8 << 10;

Status WithoutTls() {
  return FailedPrecondition("this master listens on loopback alone and asks nobody for an identity");
}

StatusOr<std::string> JoinWith(Security& security, const v1::JoinRequest& request) {
  if (request.request().size() > kRequestBytesMax || request.secret().size() > 256)
    return InvalidArgument("the request is too large");
  // A request that cannot be signed, or a name that cannot stand, must not use the token up.
  IdentityInfo wanted{request.name(), Role::kViewer, std::string(32, '0')};
  RETURN_IF_ERROR(security.authority.Sign(request.request(), wanted, 1).status());
  const int64_t now = std::time(nullptr);
  ASSIGN_OR_RETURN(const IdentityInfo info,
                   security.identities->UseToken(HashSecret(request.secret()), request.name(), now,
                                                 security.worker_seconds, security.person_seconds));
  ASSIGN_OR_RETURN(std::string certificate, security.authority.Sign(request.request(), info, info.ends_unix - now));
  LogInfo(RoleName(info.role), " \"", info.name, "\" joined with a token; identity ", info.id);
  return certificate;
}

StatusOr<std::string> RenewFor(Security& security, const grpc::AuthContext& peer, const std::string& request) {
  if (request.size() > kRequestBytesMax) return InvalidArgument("the request is too large");
  ASSIGN_OR_RETURN(const IdentityInfo info, security.gate->Identify(peer));
  const int64_t seconds = info.role == Role::kWorker ? security.worker_seconds : security.person_seconds;
  ASSIGN_OR_RETURN(std::string certificate, security.authority.Sign(request, info, seconds));
  RETURN_IF_ERROR(security.identities->Renewed(info.id, std::time(nullptr) + seconds));
  LogInfo("the certificate of ", RoleName(info.role), " \"", info.name, "\" was renewed");
  return certificate;
}

grpc::Status Answer(StatusOr<std::string> certificate, v1::CertificateReply* reply) {
  if (!certificate.ok()) return ToGrpc(certificate.status());
  reply->set_certificate(*std::move(certificate));
  return grpc::Status::OK;
}

}  // namespace

grpc::Status IdentityServer::Join(grpc::ServerContext*, const v1::JoinRequest* request, v1::CertificateReply* reply) {
  if (security_ == nullptr) return ToGrpc(WithoutTls());
  StatusOr<std::string> certificate = JoinWith(*security_, *request);
  // At most one line a second: strangers must not fill the log.
  const int64_t now = std::time(nullptr);
  if (!certificate.ok() && told_unix_.exchange(now) != now)
    LogWarning("a join was refused: ", Message(certificate.status()));
  return Answer(std::move(certificate), reply);
}

grpc::Status IdentityServer::Renew(grpc::ServerContext* context, const v1::RenewRequest* request,
                                   v1::CertificateReply* reply) {
  if (security_ == nullptr) return ToGrpc(WithoutTls());
  return Answer(RenewFor(*security_, *context->auth_context(), request->request()), reply);
}

grpc::Status IdentityServer::Forget(grpc::ServerContext*, const v1::ForgetRequest* request, v1::ForgetReply* reply) {
  if (security_ == nullptr) return ToGrpc(WithoutTls());
  StatusOr<int> revoked = security_->identities->Revoke(request->name());
  if (!revoked.ok()) return ToGrpc(revoked.status());
  LogInfo("\"", request->name(), "\" was forgotten: ", *revoked, " identities revoked");
  forgotten_(request->name());
  reply->set_identities(static_cast<uint32_t>(*revoked));
  return grpc::Status::OK;
}

}  // namespace atelier
