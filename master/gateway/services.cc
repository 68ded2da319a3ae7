#include "master/gateway/services.h"

#include <chrono>

#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/rpc/channel.h"
#include "common/rpc/protocol.h"

namespace atelier {
namespace {

constexpr int64_t kWatchPollMs = 1000;  // how soon a watcher whose client has gone is noticed
constexpr int kHaveMax = 10'000;
constexpr int kOpenPutsMax = 64;                           // of one identity; our own programs send one at a time
constexpr uint64_t kOpenPutBytesMax = uint64_t{32} << 30;  // of one identity's, beside the first
constexpr std::chrono::seconds kPutIdle{30};

// A StatusOr as the answer of a call.
template <typename T>
grpc::Status Answer(StatusOr<T> result, T* reply) {
  if (!result.ok()) return ToGrpc(result.status());
  *reply = std::move(*result);
  return grpc::Status::OK;
}

}  // namespace

grpc::Status AdminServer::Submit(grpc::ServerContext* context, const v1::SubmitRequest* request,
                                 v1::SubmitReply* reply) {
  std::string caller;
  if (caller_) {
    StatusOr<std::string> known = caller_(*context->auth_context());
    if (!known.ok()) return ToGrpc(known.status());
    caller = *std::move(known);
  }
  return Answer(core_->Submit(*request, caller), reply);
}

grpc::Status AdminServer::Explain(grpc::ServerContext*, const v1::SubmitRequest* request, v1::ExplainReply* reply) {
  return Answer(core_->Explain(*request), reply);
}

grpc::Status AdminServer::Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                                grpc::ServerWriter<v1::JobEvent>* writer) {
  auto watcher = core_->Watch(request->job_id());
  if (!watcher.ok()) return ToGrpc(watcher.status());
  std::chrono::steady_clock::time_point ask_again;
  while (!context->IsCancelled()) {
    bool timed_out = false;
    if (const auto now = std::chrono::steady_clock::now(); caller_ && now >= ask_again) {
      const Status admitted = caller_(*context->auth_context()).status();
      if (!admitted.ok()) return ToGrpc(admitted);
      ask_again = now + std::chrono::milliseconds(kWatchPollMs);
    }
    auto event = (*watcher)->Next(kWatchPollMs, &timed_out);
    if (!event && !timed_out) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the master is ending");
    if (!event) continue;
    if (!writer->Write(*event)) break;
    const std::string& state = event->job().state();
    if (!request->job_id().empty() && !event->has_task() &&
        (state == "done" || state == "failed" || state == "cancelled"))
      return grpc::Status::OK;
  }
  return grpc::Status::OK;
}

grpc::Status AdminServer::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request, v1::ListJobsReply* reply) {
  return Answer(core_->ListJobs(request->limit()), reply);
}
grpc::Status AdminServer::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::Job* reply) {
  return Answer(core_->GetJob(request->job_id()), reply);
}
grpc::Status AdminServer::CancelJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::Job* reply) {
  return Answer(core_->CancelJob(request->job_id()), reply);
}
grpc::Status AdminServer::ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                                      v1::ListWorkersReply* reply) {
  *reply = core_->ListWorkers();
  return grpc::Status::OK;
}
grpc::Status AdminServer::ControlWorker(grpc::ServerContext*, const v1::ControlWorkerRequest* request,
                                        v1::Worker* reply) {
  return Answer(core_->ControlWorker(request->name(), request->action()), reply);
}
grpc::Status AdminServer::GetCatalog(grpc::ServerContext*, const v1::GetCatalogRequest* request,
                                     v1::CatalogReply* reply) {
  return Answer(core_->CatalogJson(request->type()), reply->mutable_json());
}
grpc::Status AdminServer::GetInventory(grpc::ServerContext*, const v1::GetInventoryRequest*,
                                       v1::InventoryReply* reply) {
  reply->set_json(core_->InventoryJson());
  return grpc::Status::OK;
}
grpc::Status AdminServer::Logs(grpc::ServerContext*, const v1::LogsRequest* request, v1::LogsReply* reply) {
  for (std::string& line : core_->Logs(request->subject(), request->lines())) reply->add_lines(std::move(line));
  return grpc::Status::OK;
}
grpc::Status AdminServer::GetServer(grpc::ServerContext*, const v1::GetServerRequest*, v1::Server* reply) {
  reply->set_version(kProgramVersion);
  reply->set_protocol(kProtocolVersion);
  reply->set_address(address_);
  reply->set_workers_connected(static_cast<uint32_t>(core_->workers_connected()));
  return grpc::Status::OK;
}
grpc::Status AdminServer::Shutdown(grpc::ServerContext*, const v1::ShutdownRequest*, v1::ShutdownReply*) {
  shutdown_();
  return grpc::Status::OK;
}
grpc::Status AdminServer::Backup(grpc::ServerContext*, const v1::BackupRequest*, v1::BackupReply* reply) {
  auto backed = core_->Backup();
  if (!backed.ok()) return ToGrpc(backed.status());
  reply->set_folder(backed->folder);
  reply->set_blobs(backed->blobs);
  reply->set_bytes(backed->bytes);
  return grpc::Status::OK;
}

// ---- models ----

grpc::Status AdminServer::ListModels(grpc::ServerContext*, const v1::ListModelsRequest* request,
                                     v1::ListModelsReply* reply) {
  *reply = core_->ListModels(request->folder());
  return grpc::Status::OK;
}
grpc::Status AdminServer::OrderModel(grpc::ServerContext*, const v1::OrderModelRequest* request,
                                     v1::OrderModelReply* reply) {
  return Answer(core_->OrderModel(*request), reply->mutable_model());
}
grpc::Status AdminServer::PushModel(grpc::ServerContext*, const v1::PushModelRequest* request,
                                    v1::PushModelReply* reply) {
  return Answer(core_->models().Push(*request), reply);
}
grpc::Status AdminServer::PushChunk(grpc::ServerContext*, grpc::ServerReader<v1::PushChunkRequest>* reader,
                                    v1::PushChunkReply*) {
  v1::PushChunkRequest piece;
  if (!reader->Read(&piece)) return {grpc::StatusCode::INVALID_ARGUMENT, "a chunk without pieces"};
  const std::string hash = piece.hash();
  const uint32_t index = piece.index();
  std::string bytes;
  do {
    if (bytes.size() + piece.data().size() > kModelChunkBytes)
      return {grpc::StatusCode::INVALID_ARGUMENT, Cat("a chunk of more than ", kModelChunkBytes, " bytes")};
    bytes += piece.data();
  } while (reader->Read(&piece));
  return ToGrpc(core_->models().PushChunk(hash, index, bytes));
}

// ---- blobs ----

grpc::Status BlobServer::Get(grpc::ServerContext* context, const v1::GetBlob* request,
                             grpc::ServerWriter<v1::BlobChunk>* writer) {
  auto blob = blobs_->OpenBlob(request->hash());
  if (!blob.ok()) return ToGrpc(blob.status());
  v1::BlobChunk chunk;
  chunk.set_hash(request->hash());
  chunk.set_size(blob->size());
  uint64_t offset = 0;
  do {
    const Status read = blob->ReadInto(offset, static_cast<uint64_t>(limits::kChunkBytes), *chunk.mutable_data());
    if (!read.ok()) return ToGrpc(read);
    offset += chunk.data().size();
    if (!writer->Write(chunk)) return grpc::Status(grpc::StatusCode::CANCELLED, "the reader went away");
    chunk.clear_hash();
    chunk.clear_size();
  } while (offset < blob->size() && !context->IsCancelled());
  return grpc::Status::OK;
}

// One Put, counted while it lasts.
class BlobServer::OpenPut {
 public:
  OpenPut(BlobServer& server, grpc::ServerContext* context, std::string caller)
      : server_(server), context_(context), caller_(std::move(caller)) {
    const std::lock_guard lock(server_.mutex_);
    server_.open_puts_.insert(this);
  }
  ~OpenPut() {
    const std::lock_guard lock(server_.mutex_);
    server_.open_puts_.erase(this);
  }
  OpenPut(const OpenPut&) = delete;
  OpenPut& operator=(const OpenPut&) = delete;

  // RESOURCE_EXHAUSTED where so many bytes are too many for its caller, or would leave too little of the disk.
  Status Announce(uint64_t bytes) {
    const auto kept = static_cast<uint64_t>(server_.disk_free_bytes_min_());
    ASSIGN_OR_RETURN(const uint64_t free, server_.blobs_->FreeBytes());
    const std::lock_guard lock(server_.mutex_);
    uint64_t on_their_way = 0, own = 0;
    int puts = 0;
    for (const OpenPut* put : server_.open_puts_) {
      on_their_way += put->promised_;
      if (put->caller_ != caller_) continue;
      ++puts;
      own += put->announced_;
    }
    if (puts > kOpenPutsMax || (own > 0 && own + bytes > kOpenPutBytesMax))
      return ResourceExhausted("more than ", kOpenPutsMax, " files or ", kOpenPutBytesMax >> 30,
                               " GiB of one identity are on their way; send one after the other");
    if (on_their_way + kept > free || bytes > free - on_their_way - kept)
      return ResourceExhausted("the disk of the master's state folder has ", free >> 20, " MiB free, of which ",
                               on_their_way >> 20, " MiB are on their way and ", kept >> 20,
                               " MiB are kept (limits.disk_free_bytes_min): there is no room for ", bytes,
                               " bytes more; free some space there");
    announced_ = promised_ = bytes;
    return OkStatus();
  }
  // A chunk came; so many bytes are still on their way that the disk has not set aside.
  void Came(uint64_t left) {
    const std::lock_guard lock(server_.mutex_);
    promised_ = left;
    last_ = std::chrono::steady_clock::now();
  }
  // REQUIRES: the server's mutex.
  void CutIfIdle(std::chrono::steady_clock::time_point now) const {
    if (now - last_ > kPutIdle) context_->TryCancel();
  }

 private:
  BlobServer& server_;
  grpc::ServerContext* const context_;
  const std::string caller_;
  uint64_t announced_ = 0, promised_ = 0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

void BlobServer::Tick() {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  for (const OpenPut* put : open_puts_) put->CutIfIdle(now);
}

grpc::Status BlobServer::Put(grpc::ServerContext* context, grpc::ServerReader<v1::BlobChunk>* reader,
                             v1::PutReply* reply) {
  v1::BlobChunk chunk;
  if (!reader->Read(&chunk) || !IsSha256Hex(chunk.hash()))
    return {grpc::StatusCode::INVALID_ARGUMENT, "the first chunk must name the blob's hash and size"};
  const std::string hash = chunk.hash();
  reply->set_existed(blobs_->Has(hash));
  if (reply->existed()) return grpc::Status::OK;
  StatusOr<std::string> caller = caller_ ? caller_(*context->auth_context()) : StatusOr<std::string>("");
  if (!caller.ok()) return ToGrpc(caller.status());
  OpenPut open(*this, context, *std::move(caller));
  uint64_t left = chunk.size();
  if (const Status room = open.Announce(left); !room.ok()) return ToGrpc(room);
  auto writer = blobs_->NewBlob(hash, left);
  if (!writer.ok()) return ToGrpc(writer.status());
  do {
    if (chunk.data().size() > left)
      return {grpc::StatusCode::INVALID_ARGUMENT, "a blob has more bytes than its first chunk announced"};
    left -= chunk.data().size();
    open.Came((*writer)->reserved() ? 0 : left);
    Status added = (*writer)->Append(chunk.data());
    if (!added.ok()) return ToGrpc(added);
  } while (reader->Read(&chunk));
  auto committed = (*writer)->Commit();
  return committed.ok() ? grpc::Status::OK : ToGrpc(committed.status());
}

grpc::Status BlobServer::Have(grpc::ServerContext*, const v1::HaveBlobs* request, v1::HaveReply* reply) {
  if (request->hashes_size() > kHaveMax)
    return {grpc::StatusCode::INVALID_ARGUMENT, Cat("more than ", kHaveMax, " hashes")};
  for (const std::string& hash : request->hashes()) reply->add_have(IsSha256Hex(hash) && blobs_->Has(hash));
  return grpc::Status::OK;
}

}  // namespace atelier
