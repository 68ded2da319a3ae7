// Found in the local network, and still nothing without a token.
#include "tests/security/tls_cluster.h"
#include "tests/unit/discovery/fake_avahi.h"

namespace atelier::test {
namespace {

TEST_CASE("a worker finds the master that its token is of, and no offer is trusted without one") {
  const FakeAvahi avahi;
  avahi.Set("avahi-publish-service", Cat("echo \"$@\" > ", avahi.folder(), "/told; exec sleep 600"));
  TlsCluster cluster("discovery: {publish: yes}\n");
  cluster.Start();
  const std::string token = cluster.Token();
  const std::string fingerprint = ParseToken(token)->fingerprint;
  REQUIRE(Until([&] { return ReadAll(avahi.folder() + "/told").find(fingerprint) != std::string::npos; }));
  CHECK(ReadAll(avahi.folder() + "/told").find(Cat("_atelier._tcp ", cluster.port())) != std::string::npos);

  avahi.SetOffer(cluster.address(), fingerprint);
  const std::string listed =
      cluster.RunProgram({BinDir() + "/atelier-worker-fake", "--discover", "--log-level", "error"}, 0);
  CHECK(listed.find(cluster.address() + "  " + fingerprint) != std::string::npos);
  CHECK(cluster.RunProgram({BinDir() + "/atelier", "workers", "--discover"}, 0).find(fingerprint) != std::string::npos);

  // Another master that offers itself is not even asked.
  avahi.SetOffer(cluster.address(), std::string(64, 'b'));
  cluster.RunProgram({BinDir() + "/atelier-worker-fake", "--discover", "--name", "w"}, 3, {{kTokenVariable, token}});
  // One that lies about its fingerprint proves nothing, and hears no secret.
  avahi.SetOffer(Cat("127.0.0.1:", FreePort()), fingerprint);
  cluster.RunProgram({BinDir() + "/atelier-worker-fake", "--discover", "--name", "w"}, 3, {{kTokenVariable, token}});

  avahi.SetOffer(cluster.address(), fingerprint);
  cluster.StartWorker("w", token, {"--discover"});
  CHECK(cluster.WaitState("w", "connected"));
}

}  // namespace
}  // namespace atelier::test
