#include "master/gateway/serial_queue.h"

#include <pthread.h>

#include <chrono>
#include <future>

namespace atelier {

SerialQueue::SerialQueue(std::string name, size_t size_max) : name_(std::move(name)), size_max_(size_max) {
  thread_ = std::thread([this] { Loop(); });
}

SerialQueue::~SerialQueue() { Stop(); }

bool SerialQueue::Post(std::function<void()> work) {
  std::unique_lock lock(mutex_);
  if (std::this_thread::get_id() != thread_.get_id())
    room_.wait(lock, [this] { return queue_.size() < size_max_ || stopping_; });
  if (stopping_) return false;
  queue_.push_back(std::move(work));
  wake_.notify_one();
  return true;
}

bool SerialQueue::Run(const std::function<void()>& work) {
  std::promise<void> done;
  if (!Post([&] {
        work();
        done.set_value();
      }))
    return false;
  done.get_future().wait();
  return true;
}

void SerialQueue::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
    room_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void SerialQueue::SetTick(int64_t interval_ms, std::function<void()> tick) {
  std::lock_guard lock(mutex_);
  tick_ms_ = interval_ms;
  tick_ = std::move(tick);
  wake_.notify_one();
}

void SerialQueue::SetIdle(std::function<void()> idle) {
  std::lock_guard lock(mutex_);
  idle_ = std::move(idle);
}

void SerialQueue::Loop() {
  pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
  auto next_tick = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto ready = [this] { return !queue_.empty() || stopping_; };
    if (tick_ms_ > 0)
      wake_.wait_until(lock, next_tick, ready);
    else
      wake_.wait(lock, [&] { return ready() || tick_ms_ > 0; });
    if (!queue_.empty()) {
      std::function<void()> work = std::move(queue_.front());
      queue_.pop_front();
      room_.notify_one();
      lock.unlock();
      work();
      work = nullptr;
      lock.lock();
      if (queue_.empty() && idle_) {
        lock.unlock();
        idle_();
        lock.lock();
      }
    } else if (stopping_) {
      return;
    }
    if (tick_ms_ > 0 && std::chrono::steady_clock::now() >= next_tick && !stopping_) {
      next_tick = std::chrono::steady_clock::now() + std::chrono::milliseconds(tick_ms_);
      lock.unlock();
      tick_();
      lock.lock();
    }
  }
}

}  // namespace atelier
