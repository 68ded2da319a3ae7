// Keeps a worker's certificate good: asks for another one when half of its life is over.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "common/security/identity.h"

namespace atelier {

/// One thread. A renewal that fails is tried again each twentieth of the certificate's life, at least each minute.
class IdentityKeeper {
 public:
  /// `path`: where the identity is stored; a renewed one replaces it there before it is used.
  IdentityKeeper(std::string address, std::string path, Identity identity);
  /// Waits for a renewal that is under way (5 s at most).
  ~IdentityKeeper();
  IdentityKeeper(const IdentityKeeper&) = delete;
  IdentityKeeper& operator=(const IdentityKeeper&) = delete;

  /// Begins; `renewed` is called by the keeper's thread after each renewal. Call once.
  void Start(std::function<void()> renewed);
  /// What to dial with now. Thread: any.
  std::shared_ptr<const Identity> Current() const;

 private:
  void Loop();

  const std::string address_, path_;
  std::function<void()> renewed_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::shared_ptr<const Identity> identity_;
  std::thread thread_;
};

}  // namespace atelier
