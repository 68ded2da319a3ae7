#include "master/cli/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

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
constexpr int kPingMs = 4'000;  // a watched master that is stopped, or behind a cut cable, is noticed in twice that
constexpr int kFindMs = 2'000;  // a master that takes longer is passed over
constexpr std::chrono::milliseconds kLookAgain{100};
constexpr std::chrono::milliseconds kSlice{250};  // of waiting, so that CancelWatch() is seen
constexpr int kPushSeconds = 600;                 // the end of a push: the master reads the file back

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

using Clock = std::chrono::system_clock;  // as gRPC's deadlines

// False as soon as a dial fails, or by then. It also is what lets the channel get on: a call on one that has failed
// comes back at once, and gRPC looks after a dial every 5 s when nobody waits for it.
bool Connects(grpc::Channel& channel, Clock::time_point until) {
  bool dialled = false;
  for (;;) {
    const grpc_connectivity_state state = channel.GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE && dialled) return false;
    dialled |= state == GRPC_CHANNEL_CONNECTING;
    if (!channel.WaitForStateChange(state, until)) return false;
  }
}

}  // namespace

// One of the masters that were named.
struct MasterCalls {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::AdminService::Stub> admin;
  std::unique_ptr<v1::IdentityService::Stub> identities;
};

struct Client::Impl {
  Status identity;  // why there is none; no call is made then
  std::vector<MasterCalls> masters;
  std::atomic<size_t> at{0};  // the one that served last
  std::mutex mutex;
  grpc::ClientContext* watching = nullptr;
  std::condition_variable cancelling;
  bool cancelled = false;

  // The one master, or of several the one that serves: they are asked, the last one first, so that a call that must
  // not be made twice is made once.
  StatusOr<MasterCalls*> Serving() {
    RETURN_IF_ERROR(identity);
    if (masters.size() == 1) return &masters.front();
    return Find(std::chrono::milliseconds(kFindMs));
  }

  StatusOr<MasterCalls*> Find(std::chrono::milliseconds dial) {
    RETURN_IF_ERROR(identity);
    std::string all;
    const size_t first = at;
    for (size_t asked = 0; asked < masters.size(); ++asked) {
      const size_t index = (first + asked) % masters.size();
      MasterCalls& master = masters[index];
      grpc::Status asking(grpc::StatusCode::UNAVAILABLE, "");
      if (Connects(*master.channel, Clock::now() + dial)) {
        grpc::ClientContext context;
        SetDeadline(context, kFindMs);
        v1::Server server;
        asking = master.admin->GetServer(&context, v1::GetServerRequest(), &server);
      }
      const Status answer = InSentences(asking, master.address);
      if (answer.code() != StatusCode::kUnavailable) {
        at = index;
        return &master;
      }
      all += Cat(all.empty() ? "" : "; ", Message(answer));
    }
    return Unavailable(all);
  }

  template <typename Reply, typename Stub, typename Request, typename Method>
  StatusOr<Reply> Call(std::unique_ptr<Stub> MasterCalls::*stub, Method method, const Request& request, int seconds) {
    ASSIGN_OR_RETURN(const MasterCalls* master, Serving());
    grpc::ClientContext context;
    SetDeadline(context, int64_t{1000} * seconds);
    Reply reply;
    const Status status = InSentences(((master->*stub).get()->*method)(&context, request, &reply), master->address);
    if (!status.ok()) return status;
    return reply;
  }
};

Client::Client(std::string address) : address_(std::move(address)), impl_(std::make_unique<Impl>()) {
  const StatusOr<std::shared_ptr<const Identity>> identity = IdentityFor(address_);
  impl_->identity = identity.status();
  for (const std::string& one : SplitAddresses(address_)) {
    MasterCalls master{one, MakeChannel(one, 1000, identity.ok() ? identity->get() : nullptr, kMasterName, kPingMs),
                       nullptr, nullptr};
    master.admin = v1::AdminService::NewStub(master.channel);
    master.identities = v1::IdentityService::NewStub(master.channel);
    impl_->masters.push_back(std::move(master));
  }
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
  return impl_->Call<v1::SubmitReply>(&MasterCalls::admin, &v1::AdminService::Stub::Submit, request, kPlanSeconds);
}
StatusOr<v1::ExplainReply> Client::Explain(const v1::SubmitRequest& whole) {
  ASSIGN_OR_RETURN(const v1::SubmitRequest request, WithoutBulk(whole));
  return impl_->Call<v1::ExplainReply>(&MasterCalls::admin, &v1::AdminService::Stub::Explain, request, kPlanSeconds);
}
StatusOr<v1::ListJobsReply> Client::ListJobs(uint32_t limit) {
  v1::ListJobsRequest request;
  request.set_limit(limit);
  return impl_->Call<v1::ListJobsReply>(&MasterCalls::admin, &v1::AdminService::Stub::ListJobs, request, kCallSeconds);
}
StatusOr<v1::Job> Client::GetJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_job_id(id);
  return impl_->Call<v1::Job>(&MasterCalls::admin, &v1::AdminService::Stub::GetJob, request, kCallSeconds);
}
StatusOr<v1::Job> Client::CancelJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_job_id(id);
  return impl_->Call<v1::Job>(&MasterCalls::admin, &v1::AdminService::Stub::CancelJob, request, kCallSeconds);
}
StatusOr<v1::ListWorkersReply> Client::ListWorkers() {
  return impl_->Call<v1::ListWorkersReply>(&MasterCalls::admin, &v1::AdminService::Stub::ListWorkers,
                                           v1::ListWorkersRequest(), kCallSeconds);
}
StatusOr<v1::Worker> Client::ControlWorker(const std::string& name, const std::string& action) {
  v1::ControlWorkerRequest request;
  request.set_name(name);
  request.set_action(action);
  return impl_->Call<v1::Worker>(&MasterCalls::admin, &v1::AdminService::Stub::ControlWorker, request, kCallSeconds);
}
StatusOr<uint32_t> Client::Forget(const std::string& name) {
  v1::ForgetRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(const v1::ForgetReply reply,
                   impl_->Call<v1::ForgetReply>(&MasterCalls::identities, &v1::IdentityService::Stub::Forget, request,
                                                kCallSeconds));
  return reply.identities();
}
StatusOr<std::string> Client::GetCatalog(const std::string& type) {
  v1::GetCatalogRequest request;
  request.set_type(type);
  ASSIGN_OR_RETURN(
      v1::CatalogReply reply,
      impl_->Call<v1::CatalogReply>(&MasterCalls::admin, &v1::AdminService::Stub::GetCatalog, request, kCallSeconds));
  return reply.json();
}
Status Client::PutBlob(const std::string& hash, const std::string& bytes) {
  ASSIGN_OR_RETURN(const MasterCalls* master, impl_->Serving());
  BlobClient blobs(master->channel);
  ASSIGN_OR_RETURN(const std::vector<bool> have, blobs.Have({hash}));
  return have[0] ? OkStatus() : blobs.Put(hash, bytes);
}
StatusOr<v1::ListModelsReply> Client::ListModels(const std::string& folder) {
  v1::ListModelsRequest request;
  request.set_folder(folder);
  return impl_->Call<v1::ListModelsReply>(&MasterCalls::admin, &v1::AdminService::Stub::ListModels, request,
                                          kCallSeconds);
}
StatusOr<v1::ModelEntry> Client::OrderModel(const v1::OrderModelRequest& request) {
  ASSIGN_OR_RETURN(v1::OrderModelReply reply,
                   impl_->Call<v1::OrderModelReply>(&MasterCalls::admin, &v1::AdminService::Stub::OrderModel, request,
                                                    kCallSeconds));
  return reply.model();
}
StatusOr<v1::PushModelReply> Client::PushModel(const v1::PushModelRequest& request) {
  return impl_->Call<v1::PushModelReply>(&MasterCalls::admin, &v1::AdminService::Stub::PushModel, request,
                                         kPushSeconds);
}
Status Client::PushChunk(const std::string& hash, uint32_t index, const std::string& bytes) {
  ASSIGN_OR_RETURN(const MasterCalls* master, impl_->Serving());
  grpc::ClientContext context;
  SetDeadline(context, int64_t{1000} * kPlanSeconds);
  v1::PushChunkReply reply;
  const auto writer = master->admin->PushChunk(&context, &reply);
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
  return InSentences(writer->Finish(), master->address);
}
StatusOr<v1::LogsReply> Client::Logs(const std::string& subject, uint32_t lines) {
  v1::LogsRequest request;
  request.set_subject(subject);
  request.set_lines(lines);
  return impl_->Call<v1::LogsReply>(&MasterCalls::admin, &v1::AdminService::Stub::Logs, request, kCallSeconds);
}
StatusOr<v1::Server> Client::GetServer() {
  return impl_->Call<v1::Server>(&MasterCalls::admin, &v1::AdminService::Stub::GetServer, v1::GetServerRequest(),
                                 kCallSeconds);
}
Status Client::Shutdown() {
  return impl_
      ->Call<v1::ShutdownReply>(&MasterCalls::admin, &v1::AdminService::Stub::Shutdown, v1::ShutdownRequest(),
                                kCallSeconds)
      .status();
}

Status Client::Watch(const std::string& job_id, const std::function<void(const v1::JobEvent&)>& on_event) {
  ASSIGN_OR_RETURN(const MasterCalls* master, impl_->Serving());
  grpc::ClientContext context;  // no deadline: a job may take days
  {
    std::lock_guard lock(impl_->mutex);
    if (impl_->cancelled) return Cancelled("no longer watching job ", job_id);
    impl_->watching = &context;
  }
  v1::WatchRequest request;
  request.set_job_id(job_id);
  auto reader = master->admin->Watch(&context, request);
  v1::JobEvent event;
  while (reader->Read(&event)) on_event(event);
  const grpc::Status status = reader->Finish();
  std::lock_guard lock(impl_->mutex);
  impl_->watching = nullptr;
  if (impl_->cancelled) return Cancelled("no longer watching job ", job_id);
  return InSentences(status, master->address);
}

void Client::CancelWatch() {
  std::lock_guard lock(impl_->mutex);
  impl_->cancelled = true;
  impl_->cancelling.notify_all();
  if (impl_->watching != nullptr) impl_->watching->TryCancel();
}

Status Client::WaitReachable(double seconds) {
  const auto end = Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
  for (;;) {
    Status found = impl_->Find(kSlice).status();
    if (found.code() != StatusCode::kUnavailable || Clock::now() >= end) return found;
    std::unique_lock lock(impl_->mutex);
    if (impl_->cancelling.wait_for(lock, kLookAgain, [&] { return impl_->cancelled; }))
      return Cancelled("no longer waiting for the master at ", address_);
  }
}

}  // namespace atelier::cli
