#include "tests/partition/link.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "common/base/check.h"
#include "common/base/status.h"

namespace atelier::test {
namespace {

constexpr size_t kPacketMax = 1 << 16;
constexpr size_t kUnderWayMax = 20'000;  // packets; a full cable loses what comes

// A TUN device in the calling thread's namespace; -1 where there is none.
int OpenTun(const char* name) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -1;
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(fd, TUNSETIFF, &request) == 0) return fd;
  close(fd);
  return -1;
}

bool Shell(const std::string& command) { return std::system(command.c_str()) == 0; }

bool WriteText(const char* path, const std::string& text) {
  std::ofstream out(path);
  out << text << std::flush;
  return out.good();
}

}  // namespace

std::string Link::Isolate() {
  static const std::string missing = []() -> std::string {
    const std::string uid = Cat(getuid()), gid = Cat(getgid());
    if (unshare(CLONE_NEWNET) != 0) {
      // Without privileges: as root of a user namespace.
      if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return Cat("no network namespace of its own: ", strerror(errno));
      if (!WriteText("/proc/self/setgroups", "deny") || !WriteText("/proc/self/uid_map", "0 " + uid + " 1") ||
          !WriteText("/proc/self/gid_map", "0 " + gid + " 1"))
        return "a user namespace may not be filled in";
    }
    if (!Shell("command -v ip nsenter >/dev/null")) return "ip (iproute2) or nsenter (util-linux) is not installed";
    if (!Shell("ip link set lo up")) return "ip cannot bring up loopback";
    const int probe = OpenTun("probe");
    if (probe < 0) return "the kernel has no TUN device (/dev/net/tun)";
    close(probe);
    return "";
  }();
  return missing;
}

Link::Link(uint64_t seed) : random_(seed) {
  end_ = eventfd(0, EFD_CLOEXEC);
  near_ = OpenTun("near");
  ATELIER_CHECK(end_ >= 0 && near_ >= 0);
  ATELIER_CHECK(Shell("ip address add 10.77.0.1 peer 10.77.0.2 dev near && ip link set near up"));
  std::thread([this] {
    // A namespace belongs to a thread; its descriptors are good in all.
    ATELIER_CHECK(unshare(CLONE_NEWNET) == 0);
    far_namespace_ = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    far_ = OpenTun("far");
    ATELIER_CHECK(far_namespace_ >= 0 && far_ >= 0);
    ATELIER_CHECK(Shell("ip link set lo up && ip address add 10.77.0.2 peer 10.77.0.1 dev far && ip link set far up"));
  }).join();
  thread_ = std::thread([this] { Carry(); });
}

Link::~Link() {
  const uint64_t one = 1;
  ATELIER_CHECK(write(end_, &one, sizeof one) == sizeof one);
  thread_.join();
  for (const int fd : {near_, far_, far_namespace_, end_}) close(fd);
}

void Link::Set(const Weather& weather) {
  std::lock_guard lock(mutex_);
  weather_ = weather;
}

std::vector<std::string> Link::Far() const {
  return {"/usr/bin/nsenter", Cat("--net=/proc/", getpid(), "/fd/", far_namespace_)};
}

void Link::Take(int from, int to, bool passes, const Weather& weather) {
  std::string bytes(kPacketMax, '\0');
  for (;;) {
    const ssize_t size = read(from, bytes.data(), bytes.size());
    if (size <= 0) return;
    const bool falls = std::uniform_real_distribution<double>(0, 1)(random_) < weather.loss;
    if (!passes || falls || under_way_.size() >= kUnderWayMax) {
      ++lost_;
      continue;
    }
    const int extra = weather.jitter_ms > 0 ? std::uniform_int_distribution<int>(0, weather.jitter_ms)(random_) : 0;
    under_way_.emplace(Clock::now() + std::chrono::milliseconds(weather.delay_ms + extra),
                       Packet{to, bytes.substr(0, static_cast<size_t>(size))});
  }
}

void Link::Carry() {
  for (;;) {
    int wait_ms = -1;
    if (!under_way_.empty())
      wait_ms = static_cast<int>(std::max<int64_t>(
          0, std::chrono::ceil<std::chrono::milliseconds>(under_way_.begin()->first - Clock::now()).count()));
    pollfd fds[] = {{near_, POLLIN, 0}, {far_, POLLIN, 0}, {end_, POLLIN, 0}};
    if (poll(fds, 3, wait_ms) < 0 && errno != EINTR) return;
    if (fds[2].revents != 0) return;
    Weather weather;
    {
      std::lock_guard lock(mutex_);
      weather = weather_;
    }
    Take(near_, far_, weather.to_far, weather);
    Take(far_, near_, weather.to_near, weather);
    while (!under_way_.empty() && under_way_.begin()->first <= Clock::now()) {
      const Packet& packet = under_way_.begin()->second;
      const bool passes = packet.to == far_ ? weather.to_far : weather.to_near;
      const bool came = passes && write(packet.to, packet.bytes.data(), packet.bytes.size()) > 0;
      ++(came ? carried_ : lost_);
      under_way_.erase(under_way_.begin());
    }
  }
}

}  // namespace atelier::test
