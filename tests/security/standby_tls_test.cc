// Two masters of one authority: the one that stands by is as closed as the other, and who has joined one has joined
// both.
#include "atelier/v1/admin.grpc.pb.h"
#include "atelier/v1/identity.grpc.pb.h"
#include "common/obs/probe_client.h"
#include "common/rpc/channel.h"
#include "tests/harness/postgres.h"
#include "tests/security/tls_cluster.h"

namespace atelier::test {
namespace {

TEST_CASE("a master that stands by asks for certificates, and takes over with the identities of both") {
  if (PostgresServer::Get() == nullptr) {
    WARN("SKIPPED: Debian's package postgresql is not installed (deploy/deps --checks)");
    return;
  }
  const std::string store = Cat("store: {kind: postgres, url: '", PostgresServer::Get()->NewSchema(),
                                "'}\nscheduling: {heartbeat_seconds: 0.5}\n");
  TlsCluster cluster(store);
  cluster.Start();
  const int port = FreePort(), http_port = FreePort();
  const std::string other = Cat("127.0.0.1:", port), config = cluster.dir() / "other.yaml";
  std::string text = ReadAll(cluster.config_file());
  for (const auto& [from, to] : {std::pair(cluster.port(), port), {cluster.http_port(), http_port}})
    for (size_t at = 0; (at = text.find(Cat(":", from, "'"), at)) != std::string::npos;)
      text.replace(at, Cat(":", from).size(), Cat(":", to));
  std::ofstream(config) << text;
  Process standby({BinDir() + "/atelier-master", "--config", config, "--catalog", cluster.dir() / "catalog.json",
                   "--local-workers", "0"},
                  cluster.dir() / "standby.log",
                  {{"ATELIER_DATA_DIR", ATELIER_SOURCE_DIR "/config"}, {"HOME", cluster.dir() / "home"}});
  INFO(standby.Log());
  REQUIRE(standby.WaitLog("the active one is at " + cluster.address(), 30));

  // Nobody learns from it where the active one is.
  auto identity = LoadIdentity(IdentityPath(cluster.address()));
  REQUIRE(identity.ok());
  const Identity nobody{"", "", identity->authority, ""};
  const auto ask = [&](const Identity& as) {
    grpc::ClientContext context;
    SetDeadline(context, 10'000);
    v1::Server reply;
    return FromGrpc(v1::AdminService::NewStub(MakeChannel(other, 1000, &as))->GetServer(&context, {}, &reply));
  };
  CHECK(ask(nobody).code() == StatusCode::kUnauthenticated);
  const auto joined = [&] {
    grpc::ClientContext context;
    SetDeadline(context, 10'000);
    v1::CertificateReply reply;
    return FromGrpc(v1::IdentityService::NewStub(MakeChannel(other, 1000, &nobody))->Join(&context, {}, &reply));
  }();
  CHECK(joined.code() == StatusCode::kUnavailable);
  CHECK(Message(joined).find(cluster.address()) == std::string::npos);
  CHECK(ask(*identity).code() == StatusCode::kUnavailable);
  CHECK(Message(ask(*identity)).find(cluster.address()) != std::string::npos);
  const std::string probes = Cat("127.0.0.1:", http_port);
  std::string key = ReadAll(cluster.authority_dir() + "/http.key");
  key = key.substr(0, key.find('\n'));
  CHECK(AskProbe(probes, "/readyz", "", identity->authority)->status == 401);
  CHECK(AskProbe(probes, "/readyz", key, identity->authority)->status == 503);
  CHECK(Get(http_port, "/readyz").find("400") != std::string::npos);

  // A worker that is told both joins at the active one, whichever is named first, and finds the next one with it.
  Process& worker = cluster.StartWorker("w", cluster.Token(), {}, {{}, other + "," + cluster.address()});
  INFO(worker.Log());
  REQUIRE(cluster.WaitState("w", "connected"));
  cluster.master().Kill();
  CHECK(Until([&] { return ask(*identity).ok(); }, 5));
  REQUIRE(worker.WaitLog("attached to the master at " + other, 30));
  // Forgotten at one is forgotten at the other.
  REQUIRE(SaveIdentity(IdentityPath(other), *identity).ok());
  cli::Client client(other);
  REQUIRE(client.Forget("w").ok());
  REQUIRE(worker.WaitLog("refused this worker's certificate", 30));
  CHECK_FALSE(std::filesystem::exists(cluster.authority_dir() + "/identities.db"));  // the list is in the database
  // The command line with both addresses calls as whom it knows at one of them.
  CHECK(cli::Client(cluster.address() + "," + other).ListWorkers().ok());
}

}  // namespace
}  // namespace atelier::test
