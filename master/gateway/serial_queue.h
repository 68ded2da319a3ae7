// A thread that runs closures one after the other: the control thread, the canvas thread, the one of output files.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace atelier {

/// Thread: any. Post() from the queue's own thread never blocks, so that steps may post follow-ups.
class SerialQueue {
 public:
  /// `size_max`: closures waiting before Post() blocks its caller (back-pressure).
  SerialQueue(std::string name, size_t size_max);
  /// Runs what is queued, then ends the thread.
  ~SerialQueue();
  /// False once Stop() was called: the closure will not run.
  bool Post(std::function<void()> work);
  /// Runs `work` there and waits for it. False as Post(). REQUIRES: not called from the queue's own thread.
  bool Run(const std::function<void()>& work);
  /// Refuses further work, runs what is queued, joins.
  void Stop();
  /// Calls `tick` on the thread about every `interval_ms` when it is not busy. Set before the first Post().
  void SetTick(int64_t interval_ms, std::function<void()> tick);
  /// Calls `idle` on the thread whenever the last closure that waited has run.
  void SetIdle(std::function<void()> idle);

 private:
  void Loop();

  const std::string name_;
  const size_t size_max_;
  std::mutex mutex_;
  std::condition_variable wake_, room_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  int64_t tick_ms_ = 0;
  std::function<void()> tick_, idle_;
  std::thread thread_;
};

}  // namespace atelier
