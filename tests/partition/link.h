// A cable between two network namespaces, made of two TUN devices and a thread that carries the packets: it can be
// cut, in both ways or one, be slow and lose packets. What `tc netem` does, where the kernel has no netem.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace atelier::test {

/// How the cable is now.
struct Weather {
  int delay_ms = 0;   // each way
  int jitter_ms = 0;  // added to it, uniformly: packets overtake one another
  double loss = 0;    // part of the packets, 0 to 1
  bool to_far = true, to_near = true;
};

/// Thread: one at a time.
class Link {
 public:
  /// Puts the process into a network namespace of its own, once, with a loopback that is up.
  /// REQUIRES: the process has one thread. Returns what is missing on this machine, "" for nothing.
  static std::string Isolate();

  /// Makes the far namespace and the cable. REQUIRES: Isolate() returned "".
  explicit Link(uint64_t seed);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  void Set(const Weather& weather);
  /// The near end's address, which the far end reaches over the cable.
  static const char* near_address() { return "10.77.0.1"; }
  static const char* far_address() { return "10.77.0.2"; }
  /// What to put before a command for it to run at the far end.
  std::vector<std::string> Far() const;
  /// Packets that came out at the other end, and those that did not.
  int64_t carried() const { return carried_; }
  int64_t lost() const { return lost_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Packet {
    int to;
    std::string bytes;
  };

  void Carry();
  void Take(int from, int to, bool passes, const Weather& weather);

  int near_ = -1, far_ = -1, far_namespace_ = -1, end_ = -1;
  std::mt19937_64 random_;
  std::atomic<int64_t> carried_ = 0, lost_ = 0;
  std::multimap<Clock::time_point, Packet> under_way_;  // the carrying thread's
  std::mutex mutex_;
  Weather weather_;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace atelier::test
