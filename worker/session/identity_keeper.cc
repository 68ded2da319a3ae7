#include "worker/session/identity_keeper.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <functional>
#include <utility>

#include "common/base/log.h"
#include "common/rpc/join.h"

namespace atelier {

IdentityKeeper::IdentityKeeper(std::string address, std::string path, Identity identity)
    : address_(std::move(address)),
      path_(std::move(path)),
      identity_(std::make_shared<const Identity>(std::move(identity))) {}

IdentityKeeper::~IdentityKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void IdentityKeeper::Start(std::function<void()> renewed) {
  renewed_ = std::move(renewed);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "identity");
    Loop();
  });
}

std::shared_ptr<const Identity> IdentityKeeper::Current() const {
  const std::lock_guard lock(mutex_);
  return identity_;
}

void IdentityKeeper::Loop() {
  std::string told;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const std::shared_ptr<const Identity> present = identity_;
    const StatusOr<IdentityInfo> info = ReadCertificate(present->certificate);
    if (!info.ok()) return;  // main() has read it before
    // At half of its time or up to a tenth of that earlier, so that workers who joined together do not dial anew
    // together.
    const int64_t now = std::time(nullptr), half = (info->ends_unix - info->begins_unix) / 2;
    const auto spread = static_cast<int64_t>(std::hash<std::string>()(info->id) % 100);
    const int64_t due = info->begins_unix + half - half * spread / 1000;
    if (now < due) {
      // The clock that counts may be set, so it is looked at each hour.
      changed_.wait_for(lock, std::chrono::seconds(std::min<int64_t>(due - now, 3600)), [&] { return stopping_; });
      continue;
    }
    lock.unlock();
    StatusOr<Identity> renewed = Renew(address_, *present);
    const Status kept = renewed.ok() ? SaveIdentity(path_, *renewed) : renewed.status();
    if (kept.ok()) {
      told.clear();
      LogInfo("the certificate was renewed");
    } else if (Message(kept) != told) {
      told = Message(kept);
      LogWarning("the certificate could not be renewed, tried again until it can: ", told);
    }
    lock.lock();
    if (renewed.ok()) {  // also when the file could not be written: the old one may be past its end by then
      identity_ = std::make_shared<const Identity>(*std::move(renewed));
      lock.unlock();
      renewed_();
      lock.lock();
    } else {
      const int64_t again = std::clamp<int64_t>((info->ends_unix - info->begins_unix) / 20, 1, 60);
      changed_.wait_for(lock, std::chrono::seconds(again), [&] { return stopping_; });
    }
  }
}

}  // namespace atelier
