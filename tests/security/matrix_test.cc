// Every RPC of every service, and every HTTP route, with everything that is no right identity: all refused, and told
// why. The list comes from the services' descriptors, so a new method is in it by itself.
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <ctime>
#include <iostream>
#include <sstream>

#include "atelier/v1/identity.grpc.pb.h"
#include "common/obs/probe_client.h"
#include "common/rpc/channel.h"
#include "common/rpc/join.h"
#include "grpcpp/generic/generic_stub.h"
#include "master/gateway/access.h"
#include "master/gateway/probes.h"
#include "tests/security/https.h"
#include "tests/security/tls_cluster.h"

namespace atelier::test {
namespace {

constexpr int64_t kHour = 3600;

std::vector<std::string> AllMethods() {
  std::vector<std::string> methods{"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"};
  std::istringstream files(ATELIER_PROTO_FILES);
  for (std::string name; std::getline(files, name, ',');) {
    const auto* file =
        google::protobuf::DescriptorPool::generated_pool()->FindFileByName("atelier/v1/" + name + ".proto");
    REQUIRE(file != nullptr);
    for (int s = 0; s < file->service_count(); ++s)
      for (int m = 0; m < file->service(s)->method_count(); ++m)
        methods.push_back("/" + file->service(s)->full_name() + "/" + file->service(s)->method(m)->name());
  }
  return methods;
}

// Calls a method with one empty message, whatever its kind, and hears its end.
grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                  const std::string& bearer = "", int64_t deadline_ms = 10'000) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  SetDeadline(context, deadline_ms);
  if (!bearer.empty()) context.AddMetadata("authorization", "Bearer " + bearer);
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = false;
  const auto call = stub.PrepareCall(&context, method, &queue);
  const grpc::ByteBuffer request(nullptr, 0);
  grpc::ByteBuffer reply;
  call->StartCall(nullptr);
  queue.Next(&tag, &ok);
  if (ok) {
    call->WriteLast(request, grpc::WriteOptions(), nullptr);
    queue.Next(&tag, &ok);
  }
  do {  // a stream may answer several times
    call->Read(&reply, nullptr);
    queue.Next(&tag, &ok);
  } while (ok);
  grpc::Status status;
  call->Finish(&status, nullptr);
  queue.Next(&tag, &ok);
  return status;
}

bool LetIn(const grpc::Status& status) {
  return status.error_code() != grpc::StatusCode::UNAUTHENTICATED &&
         status.error_code() != grpc::StatusCode::PERMISSION_DENIED &&
         status.error_code() != grpc::StatusCode::UNAVAILABLE;
}

struct Caller {
  std::string what;
  std::shared_ptr<grpc::Channel> channel;
  std::string why;  // of the refusal
  std::string bearer = "";
};

// The master's own files, and callers made with them.
class Callers {
 public:
  explicit Callers(TlsCluster& cluster) : cluster_(cluster) {
    auto authority = Authority::Load(cluster.authority_dir() + "/authority.pem");
    REQUIRE(authority.ok());
    authority_ = std::make_unique<Authority>(std::move(*authority));
    auto store = IdentityStore::Open(cluster.authority_dir() + "/identities.db");
    REQUIRE(store.ok());
    store_ = std::move(*store);
  }
  const Authority& authority() const { return *authority_; }
  IdentityStore& store() { return *store_; }

  std::shared_ptr<grpc::Channel> With(const Identity& identity) const {
    return MakeChannel(cluster_.address(), 1000, &identity);
  }
  Identity Good(Role role, const std::string& name, int64_t seconds = kHour) {
    const auto info = store_->Add(name, role, std::time(nullptr) + seconds, false);
    REQUIRE(info.ok());
    const auto identity = authority_->Issue(*info, seconds);
    REQUIRE(identity.ok());
    return *identity;
  }
  // Everyone who may do nothing, whatever the method.
  std::vector<Caller> Strangers(const std::string& used_token) {
    std::vector<Caller> all;
    const Identity nobody{"", "", authority_->certificate(), ""};
    all.push_back({"no identity", With(nobody), "asks for a certificate"});
    all.push_back({"replayed token", With(nobody), "asks for a certificate", used_token});
    for (const Role role : {Role::kWorker, Role::kOperator, Role::kViewer}) {
      const std::string as = Cat(" (", RoleName(role), ")");
      auto other = Authority::Create();
      REQUIRE(other.ok());
      // It knows a good name, role and id; only the signature is another's.
      const IdentityInfo real = *ReadCertificate(Good(role, Cat("real-", RoleName(role))).certificate);
      Identity foreign = *other->Issue(real, kHour);
      foreign.authority = authority_->certificate();
      all.push_back({"wrong authority" + as, With(foreign), "another authority"});
      all.push_back({"expired" + as, With(Good(role, Cat("old-", RoleName(role)), -60)), "expired"});
      const std::string name = Cat("gone-", RoleName(role));
      const Identity revoked = Good(role, name);
      REQUIRE(store_->Revoke(name).ok());
      all.push_back({"revoked" + as, With(revoked), "revoked"});
      const IdentityInfo unlisted{"unlisted", role, RandomHex(16)};
      all.push_back({"not in the list" + as, With(*authority_->Issue(unlisted, kHour)), "not in this master's list"});
    }
    // The master's own certificate opens nothing either.
    all.push_back({"a server's certificate", With(*LoadIdentity(cluster_.authority_dir() + "/server.pem")),
                   "not that of a client"});
    return all;
  }

 private:
  TlsCluster& cluster_;
  std::unique_ptr<Authority> authority_;
  std::unique_ptr<IdentityStore> store_;
};

std::string Http(int port, const std::string& path, const std::vector<std::string>& fields) {
  std::string request = "GET " + path + " HTTP/1.1\r\n";
  for (const std::string& field : fields) request += field + "\r\n";
  return AskTls(port, request + "\r\n");
}

TEST_CASE("the table of who may call what has every method, and nothing else") {
  REQUIRE(CheckAccessRules().ok());
  std::vector<std::string> all = AllMethods(), served = ServedMethods();
  std::sort(all.begin(), all.end());
  std::sort(served.begin(), served.end());
  CHECK(all == served);
  CHECK(AccessRules().size() == all.size());
  // Nobody without a certificate but Join.
  for (const AccessRule& rule : AccessRules())
    CHECK(((rule.who & kAnyone) != 0) == (rule.method == "/atelier.v1.IdentityService/Join"));
}

TEST_CASE("every RPC and every HTTP route refuses everyone who has no right to it") {
  TlsCluster cluster;
  cluster.Start();
  Callers callers(cluster);
  // A token that was used, one that is too old.
  const std::string used = cluster.Token();
  const auto token = ParseToken(used);
  REQUIRE(token.ok());
  REQUIRE(Join(cluster.address(), *token, "first").ok());
  REQUIRE(callers.store().AddToken(HashSecret("old"), Role::kWorker, std::time(nullptr) - 1).ok());
  const std::vector<Caller> strangers = callers.Strangers(used);
  std::map<Role, std::shared_ptr<grpc::Channel>> good;
  for (const Role role : {Role::kWorker, Role::kOperator, Role::kViewer})
    good[role] = callers.With(callers.Good(role, Cat("good-", RoleName(role))));
  const auto plain = MakeChannel(cluster.address());

  int refused = 0, accepted = 0;
  std::vector<std::string> last;  // called at the end, since the master ends by it
  for (const std::string& method : AllMethods()) {
    const auto rule = std::find_if(AccessRules().begin(), AccessRules().end(),
                                   [&](const AccessRule& candidate) { return candidate.method == method; });
    REQUIRE(rule != AccessRules().end());
    if ((rule->who & kAnyone) != 0) continue;  // Join: below
    const auto refuse = [&](const Caller& caller, grpc::StatusCode code) {
      const grpc::Status status = Call(caller.channel, method, caller.bearer);
      INFO(method << " by " << caller.what << ": " << status.error_code() << " " << status.error_message());
      CHECK(status.error_code() == code);
      CHECK(status.error_message().find(caller.why) != std::string::npos);
      ++refused;
    };
    for (const Caller& caller : strangers) refuse(caller, grpc::StatusCode::UNAUTHENTICATED);
    {
      const grpc::Status status = Call(plain, method, "", 3000);
      INFO(method << " without TLS: " << status.error_message());
      CHECK((status.error_code() == grpc::StatusCode::UNAVAILABLE ||
             status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED));
      ++refused;
    }
    for (const auto& [role, channel] : good) {
      const unsigned bit = role == Role::kWorker ? kWorkers : role == Role::kOperator ? kOperators : kViewers;
      if ((rule->who & bit) == 0) {
        refuse({Cat("wrong role ", RoleName(role)), channel, rule->who == 0 ? "nobody may call" : "has the role"},
               grpc::StatusCode::PERMISSION_DENIED);
      } else if (method.ends_with("/Shutdown")) {
        last.push_back(method);
      } else {
        const grpc::Status status = Call(channel, method, "", method.ends_with("/Watch") ? 500 : 10'000);
        INFO(method << " by " << RoleName(role) << ": " << status.error_code() << " " << status.error_message());
        CHECK(LetIn(status));
        ++accepted;
      }
    }
  }
  // A method that is in no table is refused, also to those who may call everything else.
  for (const auto& [role, channel] : good) {
    CHECK(Call(channel, "/atelier.v1.AdminService/Invented").error_code() == grpc::StatusCode::PERMISSION_DENIED);
    ++refused;
  }
  // Join: a certificate does not help, only a token that was never used.
  const auto key = NewKey();
  const auto join = [&](const std::shared_ptr<grpc::Channel>& channel, const std::string& secret) {
    v1::JoinRequest request;
    request.set_secret(secret);
    request.set_name("new-one");
    request.set_request(*NewRequest(*key, "new-one"));
    v1::CertificateReply reply;
    grpc::ClientContext context;
    SetDeadline(context, 10'000);
    const grpc::Status status = v1::IdentityService::NewStub(channel)->Join(&context, request, &reply);
    CHECK((status.ok() || reply.certificate().empty()));
    return status;
  };
  std::vector<Caller> joiners = strangers;
  for (const auto& [role, channel] : good) joiners.push_back({Cat("good ", RoleName(role)), channel, ""});
  for (const Caller& caller : joiners)
    for (const auto& [secret, why] : {std::pair<std::string, std::string>(token->secret, "has been used"),
                                      {"old", "too old"},
                                      {"", "not known"},
                                      {RandomHex(20), "not known"}}) {
      const grpc::Status status = join(caller.channel, secret);
      INFO("Join by " << caller.what << ": " << status.error_message());
      CHECK(status.error_code() == grpc::StatusCode::UNAUTHENTICATED);
      CHECK(status.error_message().find(why) != std::string::npos);
      ++refused;
    }
  CHECK(join(strangers[0].channel, ParseToken(cluster.Token())->secret).ok());
  ++accepted;

  // HTTP: a key, an honest Host, no foreign Origin.
  std::string http_key = ReadAll(cluster.authority_dir() + "/http.key");
  while (!http_key.empty() && http_key.back() == '\n') http_key.pop_back();
  const std::string host = Cat("Host: 127.0.0.1:", cluster.http_port()), right = "Authorization: Bearer " + http_key;
  std::vector<std::string> paths{"/", "/none"};
  for (const HttpRoute& route : HttpRoutes()) paths.emplace_back(route.path);
  REQUIRE(paths.size() >= 5);
  for (const std::string& path : paths) {
    const auto refuse_http = [&](const std::vector<std::string>& fields, const char* status) {
      const std::string answer = Http(cluster.http_port(), path, fields);
      INFO(path << " with " << fields.back() << ": " << answer);
      CHECK(answer.starts_with(Cat("HTTP/1.1 ", status)));
      CHECK(answer.find("atelier_") == std::string::npos);
      ++refused;
    };
    refuse_http({host}, "401");                                            // no identity
    refuse_http({host, "Authorization: Bearer " + RandomHex(32)}, "401");  // another master's key
    refuse_http({host, "Authorization: Basic " + http_key}, "401");        // another way of telling it
    refuse_http({host, "Authorization: Bearer " + http_key + "0"}, "401");
    refuse_http({host, "Authorization: Bearer " + http_key.substr(1)}, "401");
    refuse_http({host, "Authorization: Bearer"}, "401");
    refuse_http({host, "Authorization: Bearer " + used}, "401");  // a token
    refuse_http({host, "Authorization: Bearer " + callers.authority().fingerprint()}, "401");
    refuse_http({host, right, "Authorization: Bearer x"}, "401");      // two of them
    refuse_http({right, "Host: rebound.example"}, "403");              // a name bent to this machine
    refuse_http({right, "Origin: http://evil.example", host}, "403");  // a page of another origin
    refuse_http({right, host, "Origin: null"}, "403");
    refuse_http({right}, "400");  // no Host
    // Without TLS nothing is told, not even to the right key.
    const std::string bare =
        Ask(cluster.http_port(), Cat("GET ", path, " HTTP/1.1\r\n", host, "\r\n", right, "\r\n\r\n"));
    CHECK(bare.starts_with("HTTP/1.1 400"));
    CHECK(bare.find("atelier_") == std::string::npos);
    ++refused;
    const std::string answer = Http(cluster.http_port(), path, {host, right, "Origin: https://" + host.substr(6)});
    const bool route = path.size() > 1 && path != "/none";
    CHECK(answer.starts_with(route ? "HTTP/1.1 200" : "HTTP/1.1 404"));
    ++accepted;
  }

  // The master's own command knows how to ask, and whom: a key and certificate of another authority do not do.
  CHECK(cluster.Run({"health", "/healthz"}) == "ok\n");
  CHECK(cluster.Run({"health", "/metrics"}).find("atelier_ready 1") != std::string::npos);
  const auto foreign = Authority::Create();
  REQUIRE(foreign.ok());
  CHECK(
      AskProbe(Cat("127.0.0.1:", cluster.http_port()), "/healthz", http_key, foreign->certificate()).status().code() ==
      StatusCode::kFailedPrecondition);

  REQUIRE(cluster.master().Running());
  REQUIRE(last.size() == 1);
  CHECK(LetIn(Call(good[Role::kOperator], last[0])));
  ++accepted;
  CHECK(cluster.master().WaitEnd(30));
  std::cout << "matrix: " << AllMethods().size() << " methods and " << paths.size() << " HTTP paths, " << refused
            << " calls refused, " << accepted << " accepted with the right identity\n";
  CHECK(refused > 400);
}

}  // namespace
}  // namespace atelier::test
