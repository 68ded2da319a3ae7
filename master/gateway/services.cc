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

// A StatusOr as the answer of a call.
template <typename T>
grpc::Status Answer(StatusOr<T> result, T* reply) {
  if (!result.ok()) return ToGrpc(result.status());
  *reply = std::move(*result);
  return grpc::Status::OK;
}

}  // namespace

grpc::Status AdminServer::Submit(grpc::ServerContext*, const v1::SubmitRequest* request, v1::SubmitReply* reply) {
  return Answer(core_->Submit(*request), reply);
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
    if (const auto now = std::chrono::steady_clock::now(); still_admitted_ && now >= ask_again) {
      if (const Status admitted = still_admitted_(*context->auth_context()); !admitted.ok()) return ToGrpc(admitted);
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

grpc::Status BlobServer::Put(grpc::ServerContext*, grpc::ServerReader<v1::BlobChunk>* reader, v1::PutReply* reply) {
  v1::BlobChunk chunk;
  if (!reader->Read(&chunk) || !IsSha256Hex(chunk.hash()))
    return {grpc::StatusCode::INVALID_ARGUMENT, "the first chunk must name the blob's hash and size"};
  const std::string hash = chunk.hash();
  reply->set_existed(blobs_->Has(hash));
  if (reply->existed()) return grpc::Status::OK;
  auto writer = blobs_->NewBlob(hash, chunk.size());
  if (!writer.ok()) return ToGrpc(writer.status());
  do {
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
