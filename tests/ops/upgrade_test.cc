// A cluster is upgraded one machine after the other: this master with a recorded worker of the version before.
#include <catch2/catch.hpp>
#include <fstream>
#include <thread>

#include "atelier/v1/session.grpc.pb.h"
#include "common/rpc/channel.h"
#include "common/rpc/protocol.h"
#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

v1::FromWorker Recorded(const std::string& name) {
  std::ifstream file(std::string(ATELIER_SOURCE_DIR "/tests/ops/recorded/") + name + ".hex");
  std::string bytes;
  for (std::string line; std::getline(file, line);)
    for (size_t i = 0; i + 1 < line.size(); i += 2)
      bytes += static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16));
  v1::FromWorker message;
  REQUIRE(!bytes.empty());
  REQUIRE(message.ParseFromString(bytes));
  return message;
}

TEST_CASE("a recorded worker of protocol 1 attaches, gets a lease and is heard") {
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  Cluster cluster(options);
  const auto stub = v1::WorkerService::NewStub(MakeChannel(cluster.address()));
  grpc::ClientContext context;
  SetDeadline(context, 30'000);
  const auto stream = stub->Connect(&context);
  REQUIRE(stream->Write(Recorded("attach")));
  v1::ToWorker message;
  REQUIRE(stream->Read(&message));
  REQUIRE(message.has_welcome());
  CHECK(message.welcome().protocol() == 1);  // it would end the stream at any other
  REQUIRE(stream->Read(&message));
  REQUIRE(message.want_catalog());
  REQUIRE(stream->Write(Recorded("catalog")));
  REQUIRE(stream->Write(Recorded("heartbeat")));
  REQUIRE(stream->Write(Recorded("pull")));

  const std::string job = cluster.Submit(ReplicaPrompt(0), 1);
  do REQUIRE(stream->Read(&message));
  while (!message.has_lease());
  // What the old program reads of it is all that the task is; the fields that it does not know are above its own.
  const v1::Lease lease = message.lease();
  CHECK(lease.job_id() == job);
  CHECK(lease.attempt() > 0);
  CHECK(ParseJson(lease.fragment()).ok());
  for (const auto* field : {"task_id", "attempt", "job_id", "fragment", "bindings", "wanted", "output_nodes", "inputs"})
    CHECK(v1::Lease::descriptor()->FindFieldByName(field)->number() <= 8);
  v1::FromWorker report;  // fields of protocol 1 alone
  report.mutable_failed()->set_task_id(lease.task_id());
  report.mutable_failed()->set_attempt(lease.attempt());
  report.mutable_failed()->set_code(3);
  report.mutable_failed()->set_message("told by an old worker");
  REQUIRE(stream->Write(report));
  const v1::Job ended = cluster.WaitJob(job, 30);
  CHECK(ended.state() == "failed");
  CHECK(ended.error().find("told by an old worker") != std::string::npos);
  context.TryCancel();
}

TEST_CASE("versions further apart are refused with both numbers") {
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  Cluster cluster(options);
  const auto stub = v1::WorkerService::NewStub(MakeChannel(cluster.address()));
  for (const uint32_t protocol : {kProtocolOldest - 1, kProtocolVersion + 1}) {
    grpc::ClientContext context;
    SetDeadline(context, 30'000);
    const auto stream = stub->Connect(&context);
    v1::FromWorker attach = Recorded("attach");
    attach.mutable_attach()->set_protocol(protocol);
    REQUIRE(stream->Write(attach));
    v1::ToWorker message;
    CHECK_FALSE(stream->Read(&message));
    const Status end = FromGrpc(stream->Finish());
    CHECK(end.code() == StatusCode::kFailedPrecondition);
    CHECK(Message(end).find(Cat("(protocol ", protocol, ")")) != std::string::npos);
    CHECK(Message(end).find(Cat("(protocol ", kProtocolVersion, ", or ", kProtocolOldest, ")")) != std::string::npos);
  }
}

}  // namespace
}  // namespace atelier::test
