// gRPC calls that can all be ended at once.
#pragma once

#include <mutex>
#include <set>

#include "common/rpc/channel.h"

namespace atelier {

/// Thread: any.
class CallSet {
 public:
  /// Ends running calls and those to come.
  void CancelAll() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    for (grpc::ClientContext* context : calls_) context->TryCancel();
  }

  /// A context with a deadline, known to CancelAll() while it lives.
  class Call {
   public:
    Call(CallSet& set, int64_t deadline_ms) : set_(set) {
      SetDeadline(context_, deadline_ms);
      const std::lock_guard lock(set_.mutex_);
      set_.calls_.insert(&context_);
      if (set_.cancelled_) context_.TryCancel();
    }
    ~Call() {
      const std::lock_guard lock(set_.mutex_);
      set_.calls_.erase(&context_);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    grpc::ClientContext* get() { return &context_; }

   private:
    CallSet& set_;
    grpc::ClientContext context_;
  };

 private:
  friend class Call;
  std::mutex mutex_;
  bool cancelled_ = false;
  std::set<grpc::ClientContext*> calls_;
};

}  // namespace atelier
