// The gRPC services of the gateway: admin (command line) and blobs (bulk). Thin: every call is the core's or the blob
// store's.
#pragma once

#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "atelier/v1/admin.grpc.pb.h"
#include "atelier/v1/blobs.grpc.pb.h"
#include "master/gateway/core.h"

namespace atelier {

/// The name of the identity that calls. Errors: UNAUTHENTICATED.
using CallerOf = std::function<StatusOr<std::string>(const grpc::AuthContext& peer)>;

class AdminServer final : public v1::AdminService::Service {
 public:
  /// `shutdown` ends the process in order; called by a gRPC thread. `address`: where the master serves.
  AdminServer(Core* core, std::function<void()> shutdown) : core_(core), shutdown_(std::move(shutdown)) {}
  void set_address(std::string address) { address_ = std::move(address); }
  /// Who calls, by the certificate; also asked again and again of a peer that watches: a stream does not outlive its
  /// certificate. Null: nobody has one. Before the server starts.
  void set_caller(CallerOf caller) { caller_ = std::move(caller); }

  grpc::Status Submit(grpc::ServerContext*, const v1::SubmitRequest*, v1::SubmitReply*) override;
  grpc::Status Watch(grpc::ServerContext*, const v1::WatchRequest*, grpc::ServerWriter<v1::JobEvent>*) override;
  grpc::Status ListJobs(grpc::ServerContext*, const v1::ListJobsRequest*, v1::ListJobsReply*) override;
  grpc::Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::Job*) override;
  grpc::Status CancelJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::Job*) override;
  grpc::Status ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*, v1::ListWorkersReply*) override;
  grpc::Status ControlWorker(grpc::ServerContext*, const v1::ControlWorkerRequest*, v1::Worker*) override;
  grpc::Status GetCatalog(grpc::ServerContext*, const v1::GetCatalogRequest*, v1::CatalogReply*) override;
  grpc::Status GetInventory(grpc::ServerContext*, const v1::GetInventoryRequest*, v1::InventoryReply*) override;
  grpc::Status Logs(grpc::ServerContext*, const v1::LogsRequest*, v1::LogsReply*) override;
  grpc::Status Explain(grpc::ServerContext*, const v1::SubmitRequest*, v1::ExplainReply*) override;
  grpc::Status GetServer(grpc::ServerContext*, const v1::GetServerRequest*, v1::Server*) override;
  grpc::Status Shutdown(grpc::ServerContext*, const v1::ShutdownRequest*, v1::ShutdownReply*) override;
  grpc::Status Backup(grpc::ServerContext*, const v1::BackupRequest*, v1::BackupReply*) override;
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*, v1::ListModelsReply*) override;
  grpc::Status OrderModel(grpc::ServerContext*, const v1::OrderModelRequest*, v1::OrderModelReply*) override;
  grpc::Status PushModel(grpc::ServerContext*, const v1::PushModelRequest*, v1::PushModelReply*) override;
  grpc::Status PushChunk(grpc::ServerContext*, grpc::ServerReader<v1::PushChunkRequest>*, v1::PushChunkReply*) override;

 private:
  Core* const core_;
  const std::function<void()> shutdown_;
  std::string address_;
  CallerOf caller_;
};

class BlobServer final : public v1::BlobService::Service {
 public:
  /// `disk_free_bytes_min`: what a blob must leave free on the disk, asked each time.
  BlobServer(BlobStore* blobs, std::function<int64_t()> disk_free_bytes_min)
      : blobs_(blobs), disk_free_bytes_min_(std::move(disk_free_bytes_min)) {}
  /// As AdminServer's.
  void set_caller(CallerOf caller) { caller_ = std::move(caller); }
  /// Cuts the puts of which nothing has come for half a minute. Call now and then.
  void Tick();
  grpc::Status Get(grpc::ServerContext*, const v1::GetBlob*, grpc::ServerWriter<v1::BlobChunk>*) override;
  grpc::Status Put(grpc::ServerContext*, grpc::ServerReader<v1::BlobChunk>*, v1::PutReply*) override;
  grpc::Status Have(grpc::ServerContext*, const v1::HaveBlobs*, v1::HaveReply*) override;

 private:
  class OpenPut;

  BlobStore* const blobs_;
  const std::function<int64_t()> disk_free_bytes_min_;
  CallerOf caller_;
  std::mutex mutex_;
  std::set<OpenPut*> open_puts_;
};

}  // namespace atelier
