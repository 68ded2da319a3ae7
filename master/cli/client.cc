#include "master/cli/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <mutex>

#include "atelier/v1/admin.grpc.pb.h"
#include "atelier/v1/identity.grpc.pb.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/rpc/blob_client.h"
#include "common/rpc/channel.h"
#include "common/rpc/join.h"
#include "common/rpc/protocol.h"

namespace atelier::cli {
namespace {

constexpr int kCallSeconds = 10;
constexpr int kPlanSeconds = 120;
constexpr size_t kWorkflowInMessageMax = static_cast<size_t>(limits::kMessageBytesMax) - (1 << 20);
constexpr int kPushSeconds = 600;  // the end of a push: the master reads the file back

}  // namespace

struct Client::Impl {
  Status identity;  // why there is none; no call is made then
  bool tls = false;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::AdminService::Stub> stub;
  std::unique_ptr<v1::IdentityService::Stub> identities;
  std::mutex mutex;
  grpc::ClientContext* watching = nullptr;
  bool cancelled = false;
};

namespace {

Status InSentences(const grpc::Status& status, const std::string& address) {
  if (status.ok()) return OkStatus();
  if (status.error_details() == kStandbyDetail)
    return Unavailable("the master at ", address, " does not serve now: ", status.error_message());
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE)
    return Unavailable("no master answers at ", address,
                       "; start atelier-master there, or name another with --master HOST:PORT");
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)
    return Unavailable("the master at ", address, " took the call but did not answer in time; look at its log");
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED)
    return FailedPrecondition("the master at ", address, " does not know this call; install the same version of both");
  return FromGrpc(status);
}

template <typename Reply, typename Stub, typename Request, typename Method>
StatusOr<Reply> Call(const Status& identity, Stub& stub, const std::string& address, Method method,
                     const Request& request, int seconds) {
  RETURN_IF_ERROR(identity);
  grpc::ClientContext context;
  SetDeadline(context, int64_t{1000} * seconds);
  Reply reply;
  const Status status = InSentences((stub.*method)(&context, request, &reply), address);
  if (!status.ok()) return status;
  return reply;
}

}  // namespace

Client::Client(std::string address) : address_(std::move(address)), impl_(std::make_unique<Impl>()) {
  const StatusOr<std::shared_ptr<const Identity>> identity = IdentityFor(address_);
  impl_->identity = identity.status();
  impl_->tls = identity.ok() && *identity != nullptr;
  impl_->channel = MakeChannel(address_, 1000, impl_->tls ? identity->get() : nullptr);
  impl_->stub = v1::AdminService::NewStub(impl_->channel);
  impl_->identities = v1::IdentityService::NewStub(impl_->channel);
}

Client::~Client() = default;

// A workflow that no message takes goes ahead as a blob.
StatusOr<v1::SubmitRequest> Client::WithoutBulk(const v1::SubmitRequest& request) {
  v1::SubmitRequest small = request;
  if (request.workflow().size() <= kWorkflowInMessageMax) return small;
  const std::string hash = Sha256Hex(request.workflow());
  RETURN_IF_ERROR(Annotate(PutBlob(hash, request.workflow()), "the workflow"));
  small.clear_workflow();
  small.set_workflow_hash(hash);
  return small;
}

StatusOr<v1::SubmitReply> Client::Submit(const v1::SubmitRequest& whole) {
  ASSIGN_OR_RETURN(const v1::SubmitRequest request, WithoutBulk(whole));
  return Call<v1::SubmitReply>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::Submit, request,
                               kPlanSeconds);
}
StatusOr<v1::ExplainReply> Client::Explain(const v1::SubmitRequest& whole) {
  ASSIGN_OR_RETURN(const v1::SubmitRequest request, WithoutBulk(whole));
  return Call<v1::ExplainReply>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::Explain, request,
                                kPlanSeconds);
}
StatusOr<v1::ListJobsReply> Client::ListJobs(uint32_t limit) {
  v1::ListJobsRequest request;
  request.set_limit(limit);
  return Call<v1::ListJobsReply>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::ListJobs, request,
                                 kCallSeconds);
}
StatusOr<v1::Job> Client::GetJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_job_id(id);
  return Call<v1::Job>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::GetJob, request, kCallSeconds);
}
StatusOr<v1::Job> Client::CancelJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_job_id(id);
  return Call<v1::Job>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::CancelJob, request,
                       kCallSeconds);
}
StatusOr<v1::ListWorkersReply> Client::ListWorkers() {
  return Call<v1::ListWorkersReply>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::ListWorkers,
                                    v1::ListWorkersRequest(), kCallSeconds);
}
StatusOr<v1::Worker> Client::ControlWorker(const std::string& name, const std::string& action) {
  v1::ControlWorkerRequest request;
  request.set_name(name);
  request.set_action(action);
  return Call<v1::Worker>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::ControlWorker, request,
                          kCallSeconds);
}
StatusOr<uint32_t> Client::Forget(const std::string& name) {
  v1::ForgetRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(const v1::ForgetReply reply,
                   Call<v1::ForgetReply>(impl_->identity, *impl_->identities, address_,
                                         &v1::IdentityService::Stub::Forget, request, kCallSeconds));
  return reply.identities();
}
StatusOr<std::string> Client::GetCatalog(const std::string& type) {
  v1::GetCatalogRequest request;
  request.set_type(type);
  ASSIGN_OR_RETURN(v1::CatalogReply reply,
                   Call<v1::CatalogReply>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::GetCatalog,
                                          request, kCallSeconds));
  return reply.json();
}
Status Client::PutBlob(const std::string& hash, const std::string& bytes) {
  RETURN_IF_ERROR(impl_->identity);
  BlobClient blobs(impl_->channel);
  ASSIGN_OR_RETURN(const std::vector<bool> have, blobs.Have({hash}));
  return have[0] ? OkStatus() : blobs.Put(hash, bytes);
}
StatusOr<v1::ListModelsReply> Client::ListModels(const std::string& folder) {
  v1::ListModelsRequest request;
  request.set_folder(folder);
  return Call<v1::ListModelsReply>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::ListModels,
                                   request, kCallSeconds);
}
StatusOr<v1::ModelEntry> Client::OrderModel(const v1::OrderModelRequest& request) {
  ASSIGN_OR_RETURN(v1::OrderModelReply reply,
                   Call<v1::OrderModelReply>(impl_->identity, *impl_->stub, address_,
                                             &v1::AdminService::Stub::OrderModel, request, kCallSeconds));
  return reply.model();
}
StatusOr<v1::PushModelReply> Client::PushModel(const v1::PushModelRequest& request) {
  return Call<v1::PushModelReply>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::PushModel, request,
                                  kPushSeconds);
}
Status Client::PushChunk(const std::string& hash, uint32_t index, const std::string& bytes) {
  RETURN_IF_ERROR(impl_->identity);
  grpc::ClientContext context;
  SetDeadline(context, int64_t{1000} * kPlanSeconds);
  v1::PushChunkReply reply;
  const auto writer = impl_->stub->PushChunk(&context, &reply);
  v1::PushChunkRequest piece;
  piece.set_hash(hash);
  piece.set_index(index);
  for (size_t sent = 0; sent < bytes.size();) {
    const size_t n = std::min(bytes.size() - sent, static_cast<size_t>(limits::kChunkBytes));
    piece.set_data(bytes.data() + sent, n);
    sent += n;
    if (!writer->Write(piece)) break;
    piece.clear_hash();
  }
  writer->WritesDone();
  return InSentences(writer->Finish(), address_);
}
StatusOr<v1::LogsReply> Client::Logs(const std::string& subject, uint32_t lines) {
  v1::LogsRequest request;
  request.set_subject(subject);
  request.set_lines(lines);
  return Call<v1::LogsReply>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::Logs, request,
                             kCallSeconds);
}
StatusOr<v1::Server> Client::GetServer() {
  return Call<v1::Server>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::GetServer,
                          v1::GetServerRequest(), kCallSeconds);
}
Status Client::Shutdown() {
  return Call<v1::ShutdownReply>(impl_->identity, *impl_->stub, address_, &v1::AdminService::Stub::Shutdown,
                                 v1::ShutdownRequest(), kCallSeconds)
      .status();
}

Status Client::Watch(const std::string& job_id, const std::function<void(const v1::JobEvent&)>& on_event) {
  RETURN_IF_ERROR(impl_->identity);
  grpc::ClientContext context;  // no deadline: a job may take days
  {
    std::lock_guard lock(impl_->mutex);
    if (impl_->cancelled) return Cancelled("no longer watching job ", job_id);
    impl_->watching = &context;
  }
  v1::WatchRequest request;
  request.set_job_id(job_id);
  auto reader = impl_->stub->Watch(&context, request);
  v1::JobEvent event;
  while (reader->Read(&event)) on_event(event);
  const grpc::Status status = reader->Finish();
  std::lock_guard lock(impl_->mutex);
  impl_->watching = nullptr;
  if (impl_->cancelled) return Cancelled("no longer watching job ", job_id);
  return InSentences(status, address_);
}

void Client::CancelWatch() {
  std::lock_guard lock(impl_->mutex);
  impl_->cancelled = true;
  if (impl_->watching != nullptr) impl_->watching->TryCancel();
}

Status Client::WaitReachable(double seconds) {
  RETURN_IF_ERROR(impl_->identity);
  const auto end = std::chrono::system_clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
  for (;;) {
    {
      std::lock_guard lock(impl_->mutex);
      if (impl_->cancelled) return Cancelled("no longer waiting for the master at ", address_);
    }
    // In slices, so that CancelWatch() is seen.
    const auto slice = std::chrono::system_clock::now() + std::chrono::milliseconds(250);
    if (impl_->channel->WaitForConnected(std::min(slice, end))) return OkStatus();
    if (std::chrono::system_clock::now() >= end)
      return InSentences(grpc::Status(grpc::StatusCode::UNAVAILABLE, ""), address_);
  }
}

}  // namespace atelier::cli
