// A master for tests: accepts one worker, records what it says, says what the test wants. Keeps its blobs over a
// restart.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "atelier/v1/blobs.grpc.pb.h"
#include "atelier/v1/session.grpc.pb.h"
#include "common/base/hash.h"
#include "common/rpc/protocol.h"
#include "grpcpp/grpcpp.h"

namespace atelier {

class FakeMaster {
 public:
  FakeMaster() : service_(*this), blobs_service_(*this) { Start(); }
  ~FakeMaster() { Stop(); }

  // Listens, from the second time on at the same port.
  void Start() {
    grpc::ServerBuilder builder;
    int port = port_;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    builder.RegisterService(&blobs_service_);
    server_ = builder.BuildAndStart();
    if (port_ == 0) port_ = port;
  }
  void Stop() {
    if (!server_) return;
    server_->Shutdown(std::chrono::system_clock::now());  // cuts all streams
    server_->Wait();
    server_.reset();
  }
  bool running() const { return server_ != nullptr; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  void Send(const v1::ToWorker& message) {
    const std::lock_guard lock(mutex_);
    if (stream_ != nullptr) stream_->Write(message);
  }
  void SendLease(v1::Lease lease) {
    v1::ToWorker message;
    *message.mutable_lease() = std::move(lease);
    Send(message);
  }
  void SendAck(const std::string& task, uint64_t attempt = 1) {
    v1::ToWorker message;
    message.mutable_ack()->set_task_id(task);
    message.mutable_ack()->set_attempt(attempt);
    message.mutable_ack()->set_accepted(true);
    Send(message);
  }
  void SendCancel(const std::string& task, uint64_t attempt = 1) {
    v1::ToWorker message;
    message.mutable_cancel()->set_task_id(task);
    message.mutable_cancel()->set_attempt(attempt);
    Send(message);
  }

  // Waits until a message after `from` fits; its index, or -1 after ten seconds.
  int WaitFor(const std::function<bool(const v1::FromWorker&)>& fits, int from = 0) {
    std::unique_lock lock(mutex_);
    int found = -1;
    size_t seen = static_cast<size_t>(from);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] {
      for (; seen < messages_.size(); ++seen) {
        if (!fits(messages_[seen])) continue;
        found = static_cast<int>(seen);
        return true;
      }
      return false;
    });
    return found;
  }
  int WaitForKind(v1::FromWorker::KindCase kind, int from = 0) {
    return WaitFor([kind](const v1::FromWorker& message) { return message.kind_case() == kind; }, from);
  }
  v1::FromWorker message(int index) {
    const std::lock_guard lock(mutex_);
    return messages_.at(static_cast<size_t>(index));
  }
  int size() {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(messages_.size());
  }
  std::string AddBlob(const std::string& bytes) {
    const std::lock_guard lock(mutex_);
    const std::string hash = Sha256Hex(bytes);
    blobs_[hash] = bytes;
    return hash;
  }
  std::string blob(const std::string& hash) {
    const std::lock_guard lock(mutex_);
    const auto it = blobs_.find(hash);
    return it == blobs_.end() ? "" : it->second;
  }
  void ForgetBlobs() {
    const std::lock_guard lock(mutex_);
    blobs_.clear();
  }
  int puts() {
    const std::lock_guard lock(mutex_);
    return puts_;
  }

  // Set before the worker attaches.
  uint32_t protocol = kProtocolVersion;
  uint32_t heartbeat_ms = 2000;
  grpc::Status refusal = grpc::Status::OK;
  uint32_t only_protocol = 0;  // attaches of others are refused; 0: none are

 private:
  using Stream = grpc::ServerReaderWriter<v1::ToWorker, v1::FromWorker>;

  class Workers : public v1::WorkerService::Service {
   public:
    explicit Workers(FakeMaster& master) : master_(master) {}
    grpc::Status Connect(grpc::ServerContext*, Stream* stream) override {
      v1::FromWorker message;
      if (!stream->Read(&message) || !message.has_attach()) return {grpc::StatusCode::INVALID_ARGUMENT, "attach first"};
      if (!master_.refusal.ok()) {
        master_.Record(message);
        return master_.refusal;
      }
      if (master_.only_protocol != 0 && message.attach().protocol() != master_.only_protocol)
        return {grpc::StatusCode::FAILED_PRECONDITION, "another protocol"};
      {
        const std::lock_guard lock(master_.mutex_);
        v1::ToWorker welcome;
        welcome.mutable_welcome()->set_protocol(master_.protocol);
        welcome.mutable_welcome()->set_master_version("9.9.9");
        welcome.mutable_welcome()->set_heartbeat_ms(master_.heartbeat_ms);
        stream->Write(welcome);
        master_.stream_ = stream;
      }
      master_.Record(message);
      while (stream->Read(&message)) master_.Record(message);
      const std::lock_guard lock(master_.mutex_);
      if (master_.stream_ == stream) master_.stream_ = nullptr;
      return grpc::Status::OK;
    }

   private:
    FakeMaster& master_;
  };

  class Blobs : public v1::BlobService::Service {
   public:
    explicit Blobs(FakeMaster& master) : master_(master) {}
    grpc::Status Get(grpc::ServerContext*, const v1::GetBlob* request,
                     grpc::ServerWriter<v1::BlobChunk>* writer) override {
      const std::string bytes = master_.blob(request->hash());
      if (bytes.empty()) return {grpc::StatusCode::NOT_FOUND, "no such blob"};
      for (size_t at = 0; at < bytes.size(); at += 1 << 20) {
        v1::BlobChunk chunk;
        if (at == 0) {
          chunk.set_hash(request->hash());
          chunk.set_size(bytes.size());
        }
        chunk.set_data(bytes.substr(at, 1 << 20));
        writer->Write(chunk);
      }
      return grpc::Status::OK;
    }
    grpc::Status Put(grpc::ServerContext*, grpc::ServerReader<v1::BlobChunk>* reader, v1::PutReply*) override {
      v1::BlobChunk chunk;
      std::string hash, bytes;
      while (reader->Read(&chunk)) {
        if (!chunk.hash().empty()) hash = chunk.hash();
        bytes += chunk.data();
      }
      if (Sha256Hex(bytes) != hash) return {grpc::StatusCode::DATA_LOSS, "other bytes"};
      const std::lock_guard lock(master_.mutex_);
      ++master_.puts_;
      master_.blobs_[hash] = bytes;
      return grpc::Status::OK;
    }
    grpc::Status Have(grpc::ServerContext*, const v1::HaveBlobs* request, v1::HaveReply* reply) override {
      const std::lock_guard lock(master_.mutex_);
      for (const std::string& hash : request->hashes()) reply->add_have(master_.blobs_.count(hash) != 0);
      return grpc::Status::OK;
    }

   private:
    FakeMaster& master_;
  };

  void Record(const v1::FromWorker& message) {
    const std::lock_guard lock(mutex_);
    messages_.push_back(message);
    changed_.notify_all();
  }

  Workers service_;
  Blobs blobs_service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  Stream* stream_ = nullptr;
  std::vector<v1::FromWorker> messages_;
  std::map<std::string, std::string> blobs_;
  int puts_ = 0;
};

}  // namespace atelier
