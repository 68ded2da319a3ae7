// What one identity, or anybody, may take of a master: calls, jobs, inputs, disk, memory.
#include "atelier/v1/admin.grpc.pb.h"
#include "atelier/v1/blobs.grpc.pb.h"
#include "common/base/hash.h"
#include "common/rpc/channel.h"
#include "tests/security/tls_cluster.h"

namespace atelier::test {
namespace {

// A master with a second operator beside the test's own, and a worker.
class Quotas : public TlsCluster {
 public:
  explicit Quotas(const std::string& config) : TlsCluster(config) {
    Start();
    auto authority = Authority::Load(authority_dir() + "/authority.pem");
    auto store = IdentityStore::Open(authority_dir() + "/identities.db");
    REQUIRE(authority.ok());
    REQUIRE(store.ok());
    for (const Role role : {Role::kOperator, Role::kWorker}) {
      const auto info = (*store)->Add(Cat("other-", RoleName(role)), role, std::time(nullptr) + 3600, false);
      REQUIRE(info.ok());
      const auto identity = authority->Issue(*info, 3600);
      REQUIRE(identity.ok());
      channels_[role] = MakeChannel(address(), 1000, &*identity);
    }
  }
  std::shared_ptr<grpc::Channel> channel(Role role) { return channels_.at(role); }
  StatusOr<v1::SubmitReply> SubmitAs(Role role, const Json& prompt) {
    v1::SubmitRequest request;
    request.set_workflow(DumpJson(prompt));
    grpc::ClientContext context;
    SetDeadline(context, 30'000);
    v1::SubmitReply reply;
    RETURN_IF_ERROR(FromGrpc(v1::AdminService::NewStub(channel(role))->Submit(&context, request, &reply)));
    return reply;
  }
  // Puts `bytes` of a blob that is announced with `size`.
  Status Put(Role role, const std::string& bytes, uint64_t size) {
    grpc::ClientContext context;
    SetDeadline(context, 30'000);
    v1::PutReply reply;
    const auto stub = v1::BlobService::NewStub(channel(role));
    const auto writer = stub->Put(&context, &reply);
    v1::BlobChunk chunk;
    chunk.set_hash(Sha256Hex(bytes));
    chunk.set_size(size);
    chunk.set_data(bytes);
    writer->Write(chunk);
    writer->WritesDone();
    return FromGrpc(writer->Finish());
  }

 private:
  std::map<Role, std::shared_ptr<grpc::Channel>> channels_;
};

void CheckExhausted(const Status& status, const std::string& limit) {
  INFO(status.ToString());
  CHECK(status.code() == StatusCode::kResourceExhausted);
  CHECK(Message(status).find(limit) != std::string::npos);
}

TEST_CASE("open jobs of one identity are bounded, also over a restart, and those of others go on") {
  Quotas cluster("limits: {identity_jobs_max: 2}\n");
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(ReplicaPrompt(1)));
  std::string first;
  for (int i = 0; i < 2; ++i) {
    const auto reply = cluster.client().Submit(request);
    INFO(Message(reply.status()));
    REQUIRE(reply.ok());
    if (i == 0) first = reply->job_id();
  }
  CheckExhausted(cluster.client().Submit(request).status(), "limits.identity_jobs_max");
  CHECK(cluster.SubmitAs(Role::kOperator, ReplicaPrompt(1)).ok());
  cluster.StartMaster();
  CheckExhausted(cluster.client().Submit(request).status(), "limits.identity_jobs_max");
  REQUIRE(cluster.client().CancelJob(first).ok());
  CHECK(Until([&] { return cluster.client().Submit(request).ok(); }, 10));
}

TEST_CASE("input files of the open jobs of one identity are bounded") {
  Quotas cluster("limits: {identity_input_bytes_max: 1MiB}\n");
  const std::string bytes(700 << 10, 'x');
  REQUIRE(cluster.client().PutBlob(Sha256Hex(bytes), bytes).ok());
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(
      {{"1", {{"class_type", "FakeInput"}, {"inputs", {{"file", "a.bin"}}}}},
       {"2",
        {{"class_type", "FakeSave"}, {"inputs", {{"images", Json::array({"1", 0})}, {"filename_prefix", "x"}}}}}}));
  v1::SubmittedInput& input = *request.add_inputs();
  input.set_name("a.bin");
  input.set_hash(Sha256Hex(bytes));
  const auto reply = cluster.client().Submit(request);
  INFO(Message(reply.status()));
  REQUIRE(reply.ok());
  INFO(reply->report_json());
  REQUIRE_FALSE(reply->job_id().empty());
  CheckExhausted(cluster.client().Submit(request).status(), "limits.identity_input_bytes_max");
}

TEST_CASE("calls of one identity are bounded, and the bound is taken over at once") {
  Quotas cluster("limits: {identity_calls_per_second: 3}\n");
  Status refused;
  for (int i = 0; i < 40 && refused.ok(); ++i) refused = cluster.client().GetServer().status();
  CheckExhausted(refused, "limits.identity_calls_per_second");
  CHECK(cluster.SubmitAs(Role::kOperator, ReplicaPrompt(1)).ok());  // another one's calls are its own
  CHECK(Until([&] { return cluster.client().GetServer().ok(); }, 5));
  std::string text = ReadAll(cluster.config_file());
  text.replace(text.find("second: 3"), 9, "second: 100000");
  std::ofstream(cluster.config_file()) << text;
  REQUIRE(cluster.master().WaitLog("identity_calls_per_second: 3 -> 100000", 20));
  poll(nullptr, 0, 500);
  for (int i = 0; i < 100; ++i) CHECK(cluster.client().GetServer().ok());
}

TEST_CASE("blobs leave the space free that is kept, and have no more bytes than announced") {
  Quotas cluster("");
  const std::string bytes(100'000, 'y');
  CHECK(cluster.Put(Role::kWorker, bytes, bytes.size()).ok());
  const std::string more(100'001, 'z');
  const Status over = cluster.Put(Role::kWorker, more, 10);
  CHECK(over.code() == StatusCode::kInvalidArgument);
  CHECK(cluster.Put(Role::kWorker, more, 0).code() == StatusCode::kInvalidArgument);
  CheckExhausted(cluster.Put(Role::kWorker, more, uint64_t{1} << 60), "limits.disk_free_bytes_min");
  std::ofstream(cluster.config_file(), std::ios::app) << "limits: {disk_free_bytes_min: 900TiB}\n";
  REQUIRE(cluster.master().WaitLog("disk_free_bytes_min: 256MiB -> 900TiB", 20));
  CHECK(Until([&] { return !cluster.Put(Role::kWorker, more, more.size()).ok(); }, 10));
  CheckExhausted(cluster.Put(Role::kWorker, more, more.size()), "limits.disk_free_bytes_min");
}

TEST_CASE("files of one identity that are on their way are bounded") {
  Quotas cluster("");
  const auto stub = v1::BlobService::NewStub(cluster.channel(Role::kWorker));
  struct Open {
    grpc::ClientContext context;
    v1::PutReply reply;
    std::unique_ptr<grpc::ClientWriter<v1::BlobChunk>> writer;
  };
  std::vector<std::unique_ptr<Open>> open;
  for (int i = 0; i < 64; ++i) {
    Open& one = *open.emplace_back(std::make_unique<Open>());
    one.writer = stub->Put(&one.context, &one.reply);
    v1::BlobChunk chunk;
    chunk.set_hash(Sha256Hex(Cat("blob ", i)));
    chunk.set_size(1000);
    REQUIRE(one.writer->Write(chunk));
  }
  const std::string bytes = "one more";
  int tries = 0;
  CHECK(Until([&] { return !cluster.Put(Role::kWorker, Cat(bytes, ++tries), 20).ok(); }, 10));
  CHECK(cluster.Put(Role::kOperator, bytes, bytes.size()).ok());
  for (auto& one : open) one->context.TryCancel();
  for (auto& one : open) (void)one->writer->Finish();
  CHECK(Until([&] { return cluster.Put(Role::kWorker, bytes, bytes.size()).ok(); }, 10));
}

TEST_CASE("a blob of which nothing comes any more is cut") {
  Quotas cluster("scheduling: {heartbeat_seconds: 0.5}\n");
  grpc::ClientContext context;
  v1::PutReply reply;
  const auto writer = v1::BlobService::NewStub(cluster.channel(Role::kWorker))->Put(&context, &reply);
  v1::BlobChunk chunk;
  chunk.set_hash(Sha256Hex("slow"));
  chunk.set_size(1000);
  chunk.set_data("s");
  REQUIRE(writer->Write(chunk));
  const auto start = std::chrono::steady_clock::now();
  const grpc::Status ended = writer->Finish();  // never told that there is no more
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  CHECK(ended.error_code() == grpc::StatusCode::CANCELLED);
  CHECK(seconds > 25);
  CHECK(seconds < 45);
}

TEST_CASE("no method takes more than a message's size, and a large workflow goes ahead as a blob") {
  Quotas cluster("");
  v1::GetJobRequest huge;
  huge.set_job_id(std::string(6 << 20, 'x'));
  grpc::ChannelArguments arguments;
  grpc::ClientContext context;
  v1::Job job;
  // The project's own channels do not even send it, so the bound is lifted here.
  const auto identity = LoadIdentity(IdentityPath(cluster.address()));
  REQUIRE(identity.ok());
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetString(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, kMasterName);
  const auto channel = grpc::CreateCustomChannel(
      cluster.address(), grpc::SslCredentials({identity->authority, identity->key, identity->certificate}), arguments);
  const grpc::Status refused = v1::AdminService::NewStub(channel)->GetJob(&context, huge, &job);
  CHECK(refused.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);

  Json prompt = ReplicaPrompt(1);
  prompt["4"]["_meta"] = {{"title", std::string(7 << 20, 't')}};
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(prompt));
  const auto reply = cluster.client().Submit(request);
  INFO(Message(reply.status()));
  REQUIRE(reply.ok());
  INFO(reply->report_json());
  CHECK_FALSE(reply->job_id().empty());
  v1::SubmitRequest absent;
  absent.set_workflow_hash(Sha256Hex("never uploaded"));
  CHECK(cluster.client().Submit(absent).status().code() == StatusCode::kNotFound);
}

}  // namespace
}  // namespace atelier::test
