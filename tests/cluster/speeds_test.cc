// What the master learned about its workers' speeds is told by `explain`, and a restarted master knows it still.
#include <signal.h>

#include <catch2/catch.hpp>

#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

TEST_CASE("explain tells learned times, also after a restart of the master") {
  constexpr int kDelayMs = 200;
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  Cluster cluster(options);
  cluster.StartWorker("w1");
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(TilePrompt(kDelayMs)));
  request.set_tiles("independent");
  request.set_canvas("384x384");
  const auto step_seconds = [&] {
    const auto explained = cluster.client().Explain(request);
    INFO(Message(explained.status()));
    REQUIRE(explained.ok());
    const auto tiles = ParseJson(explained->tiles_json());
    REQUIRE(tiles.ok());
    REQUIRE(tiles->size() == 1);
    return (*tiles)[0].at("step_seconds");
  };
  CHECK(step_seconds().is_null());
  CHECK(cluster.client().Explain(request)->text().find("time: unknown") != std::string::npos);
  CHECK(cluster.WaitJob(cluster.Submit(TilePrompt(kDelayMs), 0, "independent")).state() == "done");
  const Json learned = step_seconds();
  REQUIRE(learned.is_number());
  CHECK(learned.get<double>() >= 0.9 * kDelayMs / 1000);
  CHECK(learned.get<double>() < 5);  // on a busy machine
  cluster.master().Signal(SIGTERM);
  REQUIRE(cluster.master().WaitEnd(30));
  cluster.StartMaster();
  REQUIRE(cluster.worker("w1").Running());
  // It is the same worker once it has dialled again.
  CHECK(cluster.WaitJob(cluster.Submit(ReplicaPrompt(1), 1)).state() == "done");
  CHECK(step_seconds() == learned);
}

}  // namespace
}  // namespace atelier::test
