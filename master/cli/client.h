// The admin service as plain calls with deadlines. client.cc is the only file of the command line that sees gRPC.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "atelier/v1/admin.pb.h"
#include "common/base/status.h"

namespace atelier::cli {

/// One master, or several of which one is active (docs/reliability.md, "Two masters"): each call goes to that one.
/// Called with the identity that is stored for the address (IdentityFor). Every call ends within its deadline (10 s;
/// 120 s for those that plan), and 2 s for each master that does not answer. Errors: UNAVAILABLE in one sentence with
/// the remedy when nobody answers; those of IdentityFor; else the master's own. Thread: any.
class Client {
 public:
  /// `address`: HOST:PORT, or several with commas.
  explicit Client(std::string address);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const std::string& address() const { return address_; }
  StatusOr<v1::SubmitReply> Submit(const v1::SubmitRequest& request);
  StatusOr<v1::ExplainReply> Explain(const v1::SubmitRequest& request);
  StatusOr<v1::ListJobsReply> ListJobs(uint32_t limit);
  StatusOr<v1::Job> GetJob(const std::string& id);
  StatusOr<v1::Job> CancelJob(const std::string& id);
  StatusOr<v1::ListWorkersReply> ListWorkers();
  StatusOr<v1::Worker> ControlWorker(const std::string& name, const std::string& action);
  /// Revokes the identities of this name; how many.
  StatusOr<uint32_t> Forget(const std::string& name);
  StatusOr<std::string> GetCatalog(const std::string& type);
  /// Stores a blob where the master has none of this hash.
  Status PutBlob(const std::string& hash, const std::string& bytes);
  StatusOr<v1::ListModelsReply> ListModels(const std::string& folder);
  StatusOr<v1::ModelEntry> OrderModel(const v1::OrderModelRequest& request);
  StatusOr<v1::PushModelReply> PushModel(const v1::PushModelRequest& request);
  Status PushChunk(const std::string& hash, uint32_t index, const std::string& bytes);
  StatusOr<v1::LogsReply> Logs(const std::string& subject, uint32_t lines);
  StatusOr<v1::Server> GetServer();
  Status Shutdown();

  /// Hands the events of a job to `on_event` (this thread) until the job ended. Errors: UNAVAILABLE when the stream
  /// broke, CANCELLED after CancelWatch(), NOT_FOUND.
  Status Watch(const std::string& job_id, const std::function<void(const v1::JobEvent&)>& on_event);
  /// Ends a running Watch() and those to come. Thread: any.
  void CancelWatch();
  /// Waits until the master serves again, or another one does. Errors: UNAVAILABLE after `seconds`, CANCELLED after
  /// CancelWatch().
  Status WaitReachable(double seconds);

 private:
  StatusOr<v1::SubmitRequest> WithoutBulk(const v1::SubmitRequest& request);
  struct Impl;
  std::string address_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace atelier::cli
