#include "common/rpc/join.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <sstream>

#include "atelier/v1/identity.grpc.pb.h"
#include "common/base/log.h"
#include "common/rpc/channel.h"
#include "common/security/authority.h"

namespace atelier {
namespace {

constexpr int kFetchSeconds = 10;
constexpr int kConnectMs = 10'000, kJoinMs = 15'000, kRenewMs = 5'000;

StatusOr<Identity> JoinOne(const std::string& address, const JoinToken& token, const std::string& name) {
  Identity identity;
  ASSIGN_OR_RETURN(identity.authority, FetchAuthority(address, token.fingerprint, kFetchSeconds));
  ASSIGN_OR_RETURN(identity.key, NewKey());
  v1::JoinRequest request;
  ASSIGN_OR_RETURN(*request.mutable_request(), NewRequest(identity.key, name));
  request.set_name(name);
  request.set_secret(token.secret);
  const Identity trusted{"", "", identity.authority, ""};
  const auto channel = MakeChannel(address, 1000, &trusted);
  // A lost packet is no reason to make the user come again with a new token. When it does not come to a connection the
  // call says why.
  channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::milliseconds(kConnectMs));
  const auto stub = v1::IdentityService::NewStub(channel);
  grpc::ClientContext context;
  SetDeadline(context, kJoinMs);
  v1::CertificateReply reply;
  RETURN_IF_ERROR(FromGrpc(stub->Join(&context, request, &reply)));
  identity.certificate = reply.certificate();
  identity.token_hash = HashSecret(token.secret);
  return identity;
}

StatusOr<Identity> RenewOne(const std::string& address, const Identity& identity) {
  Identity renewed = identity;
  ASSIGN_OR_RETURN(const IdentityInfo info, ReadCertificate(identity.certificate));
  ASSIGN_OR_RETURN(renewed.key, NewKey());
  v1::RenewRequest request;
  ASSIGN_OR_RETURN(*request.mutable_request(), NewRequest(renewed.key, info.name));
  const auto stub = v1::IdentityService::NewStub(MakeChannel(address, 1000, &identity));
  grpc::ClientContext context;
  SetDeadline(context, kRenewMs);
  v1::CertificateReply reply;
  RETURN_IF_ERROR(FromGrpc(stub->Renew(&context, request, &reply)));
  renewed.certificate = reply.certificate();
  return renewed;
}

// The first answer that does not say that this master cannot be asked now.
template <typename Ask>
StatusOr<Identity> AskEach(const std::string& addresses, const Ask& ask) {
  StatusOr<Identity> answer = Unavailable("no address");
  for (const std::string& address : SplitAddresses(addresses)) {
    answer = ask(address);
    if (answer.status().code() != StatusCode::kUnavailable && answer.status().code() != StatusCode::kDeadlineExceeded)
      break;
  }
  return answer;
}

}  // namespace

std::vector<std::string> SplitAddresses(const std::string& list) {
  std::vector<std::string> addresses;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) {
    std::erase(part, ' ');
    if (!part.empty()) addresses.push_back(std::move(part));
  }
  if (addresses.empty()) addresses.push_back(list);
  return addresses;
}

bool OnLoopback(const std::string& addresses) {
  const std::vector<std::string> each = SplitAddresses(addresses);
  return std::all_of(each.begin(), each.end(), [](const std::string& one) { return IsLoopback(one); });
}

StatusOr<Identity> Join(const std::string& addresses, const JoinToken& token, const std::string& name) {
  return AskEach(addresses, [&](const std::string& address) { return JoinOne(address, token, name); });
}

StatusOr<Identity> Renew(const std::string& addresses, const Identity& identity) {
  return AskEach(addresses, [&](const std::string& address) { return RenewOne(address, identity); });
}

StatusOr<std::shared_ptr<const Identity>> IdentityFor(const std::string& addresses) {
  const std::vector<std::string> each = SplitAddresses(addresses);
  std::string address = each.front(), path;
  StatusOr<Identity> identity = NotFound("no address");
  for (const std::string& one : each) {
    path = IdentityPath(one);
    identity = LoadIdentity(path);
    if (identity.status().code() == StatusCode::kNotFound) continue;
    address = one;
    break;
  }
  if (identity.status().code() == StatusCode::kNotFound) {
    if (OnLoopback(addresses)) return std::shared_ptr<const Identity>();
    path = IdentityPath(address);
    return MakeStatus(StatusCode::kUnauthenticated, "there is no identity for the master at ", address, " (", path,
                      "); on the master's machine run `atelier-master token --role operator`, and here what it prints");
  }
  RETURN_IF_ERROR(identity.status());
  ASSIGN_OR_RETURN(const IdentityInfo info, ReadCertificate(identity->certificate));
  const int64_t now = std::time(nullptr);
  if (info.Expired(now))
    return MakeStatus(StatusCode::kUnauthenticated, "the identity \"", info.name, "\" for the master at ", address,
                      " has expired; on the master's machine run `atelier-master token --role ", RoleName(info.role),
                      "`, and here what it prints");
  if (info.RenewalDue(now)) {
    // A master that does not answer now is asked the next time.
    if (StatusOr<Identity> renewed = Renew(addresses, *identity); renewed.ok()) {
      RETURN_IF_ERROR(SaveIdentity(path, *renewed));
      identity = std::move(renewed);
    }
  }
  return std::make_shared<const Identity>(*std::move(identity));
}

}  // namespace atelier
