#include "master/models/server.h"

#include <algorithm>

#include "common/base/limits.h"
#include "common/rpc/channel.h"

namespace atelier {
namespace {

constexpr size_t kPartBytesMax = 8 << 20;  // a chunk, or the manifest of the largest file

}  // namespace

StatusOr<std::string> ModelServer::CallerOf(const grpc::ServerContext& context) const {
  if (!caller_) return std::string();
  return caller_(*context.auth_context());
}

grpc::Status ModelServer::GetManifest(grpc::ServerContext*, const v1::ManifestRequest* request,
                                      v1::ModelManifest* reply) {
  auto manifest = hub_->Manifest(request->hash());
  if (!manifest.ok()) return ToGrpc(manifest.status());
  *reply = std::move(*manifest);
  return grpc::Status::OK;
}

grpc::Status ModelServer::NextChunk(grpc::ServerContext* context, const v1::NextChunkRequest* request,
                                    v1::NextChunkReply* reply) {
  const StatusOr<std::string> caller = CallerOf(*context);
  if (!caller.ok()) return ToGrpc(caller.status());
  if (request->worker().empty()) return {grpc::StatusCode::INVALID_ARGUMENT, "the question names no worker"};
  if (!caller->empty() && *caller != request->worker())
    return {grpc::StatusCode::PERMISSION_DENIED, "a worker asks for chunks under its own name alone"};
  auto next = hub_->Next(*request);
  if (!next.ok()) return ToGrpc(next.status());
  *reply = std::move(*next);
  return grpc::Status::OK;
}

grpc::Status ModelServer::GetChunk(grpc::ServerContext*, const v1::ChunkRequest* request,
                                   grpc::ServerWriter<v1::ChunkPiece>* writer) {
  const StatusOr<std::string> bytes = hub_->Chunk(request->hash(), request->index());
  if (!bytes.ok()) return ToGrpc(bytes.status());
  v1::ChunkPiece piece;
  for (size_t sent = 0; sent < bytes->size();) {
    const size_t n = std::min(bytes->size() - sent, static_cast<size_t>(limits::kChunkBytes));
    piece.set_data(bytes->data() + sent, n);
    if (!hub_->TakeRate(n)) return {grpc::StatusCode::UNAVAILABLE, "the master is ending"};
    if (!writer->Write(piece)) return {grpc::StatusCode::CANCELLED, "the reader went away"};
    sent += n;
  }
  return grpc::Status::OK;
}

grpc::Status ModelServer::GivePart(grpc::ServerContext* context, grpc::ServerReader<v1::PartPiece>* reader,
                                   v1::GivePartReply*) {
  const StatusOr<std::string> caller = CallerOf(*context);
  if (!caller.ok()) return ToGrpc(caller.status());
  v1::PartPiece piece;
  if (!reader->Read(&piece) || piece.ticket() == 0)
    return {grpc::StatusCode::INVALID_ARGUMENT, "the first piece must name the ticket"};
  const uint64_t ticket = piece.ticket();
  StatusOr<std::string> part = std::string();
  if (!piece.error().empty()) part = NotFound(piece.error());
  do {
    if (!part.ok()) continue;
    if (part->size() + piece.data().size() > kPartBytesMax)
      part = DataLoss("a part of a model has more than ", kPartBytesMax, " bytes");
    else
      *part += piece.data();
  } while (reader->Read(&piece));
  return ToGrpc(hub_->Give(*caller, ticket, std::move(part)));
}

}  // namespace atelier
