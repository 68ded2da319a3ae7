// The gRPC service that workers fetch models by. Thin: every call is the hub's.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "atelier/v1/models.grpc.pb.h"
#include "common/base/status.h"
#include "master/models/hub.h"

namespace atelier {

class ModelServer final : public v1::ModelService::Service {
 public:
  explicit ModelServer(ModelHub* hub) : hub_(hub) {}
  /// Who calls, by its certificate; without it callers are believed. Before the server starts.
  void set_caller(std::function<StatusOr<std::string>(const grpc::AuthContext& peer)> caller) {
    caller_ = std::move(caller);
  }
  grpc::Status GetManifest(grpc::ServerContext*, const v1::ManifestRequest*, v1::ModelManifest*) override;
  grpc::Status NextChunk(grpc::ServerContext*, const v1::NextChunkRequest*, v1::NextChunkReply*) override;
  grpc::Status GetChunk(grpc::ServerContext*, const v1::ChunkRequest*, grpc::ServerWriter<v1::ChunkPiece>*) override;
  grpc::Status GivePart(grpc::ServerContext*, grpc::ServerReader<v1::PartPiece>*, v1::GivePartReply*) override;

 private:
  // The caller's name; "" when callers have none.
  StatusOr<std::string> CallerOf(const grpc::ServerContext& context) const;

  ModelHub* const hub_;
  std::function<StatusOr<std::string>(const grpc::AuthContext& peer)> caller_;
};

}  // namespace atelier
