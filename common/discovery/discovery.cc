#include "common/discovery/discovery.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <tuple>
#include <utility>

namespace atelier {
namespace {

constexpr char kType[] = "_atelier._tcp";
constexpr size_t kPrintedMax = 256 << 10;
constexpr size_t kOffersMax = 256;
constexpr size_t kNameMax = 64;
constexpr int64_t kBrowseMs = 10'000;
constexpr int64_t kAgainMs = 30'000;
constexpr int kNotInstalled = 127;

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The child's side: `out` becomes its stdout. It ends with its parent.
pid_t Spawn(const std::vector<std::string>& command, int out) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(null, 0);
  dup2(out < 0 ? null : out, 1);
  dup2(null, 2);
  execvp(arguments[0], arguments.data());
  _exit(errno == ENOENT ? kNotInstalled : 126);
}

Status NotInstalled(const std::string& program) {
  return FailedPrecondition(program, " is not installed; `apt install avahi-daemon avahi-utils` brings it");
}

std::vector<std::string_view> Split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(at, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// A name out of "\032" for a blank and the like; what a terminal might obey is left out.
std::string Plain(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size() && plain.size() < kNameMax; ++i) {
    int c = static_cast<unsigned char>(text[i]);
    if (c == '\\' && i + 3 < text.size() && std::isdigit(static_cast<unsigned char>(text[i + 1])) != 0) {
      c = 0;
      std::from_chars(text.data() + i + 1, text.data() + i + 4, c);
      i += 3;
    } else if (c == '\\' && i + 1 < text.size()) {
      c = static_cast<unsigned char>(text[++i]);
    }
    if (c >= ' ' && c < 127) plain += static_cast<char>(c);
  }
  return plain;
}

bool IsHost(std::string_view host) {
  return !host.empty() && host.size() <= 64 &&
         host.find_first_not_of("0123456789abcdefABCDEF.:") == std::string_view::npos;
}

bool IsFingerprint(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

std::vector<Offer> ParseOffers(std::string_view printed) {
  std::vector<Offer> offers;
  for (const std::string_view line : Split(printed.substr(0, kPrintedMax), '\n')) {
    // =;eth0;IPv4;name;_atelier._tcp;local;host.local;192.168.1.5;50188;"fingerprint=..." "version=..."
    const std::vector<std::string_view> parts = Split(line, ';');
    if (parts.size() < 10 || parts[0] != "=" || parts[4] != kType) continue;
    const std::string_view host = parts[7], port = parts[8];
    int number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size() || number < 1 || number > 65'535) continue;
    // An address of the link alone needs an interface's name, which does not travel.
    if (!IsHost(host) || host.starts_with("fe80")) continue;
    constexpr std::string_view kKey = "\"fingerprint=";
    const size_t at = parts[9].find(kKey);
    if (at == std::string_view::npos) continue;
    const std::string_view value = parts[9].substr(at + kKey.size(), 64);
    if (!IsFingerprint(value)) continue;
    const bool v6 = host.find(':') != std::string_view::npos;
    Offer offer{Plain(parts[3]), v6 ? Cat("[", host, "]:", number) : Cat(host, ":", number), std::string(value)};
    if (offers.size() < kOffersMax && std::find(offers.begin(), offers.end(), offer) == offers.end())
      offers.push_back(std::move(offer));
  }
  std::sort(offers.begin(), offers.end(),
            [](const Offer& a, const Offer& b) { return std::tie(a.name, a.address) < std::tie(b.name, b.address); });
  return offers;
}

StatusOr<std::vector<Offer>> DiscoverMasters() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Unavailable("no pipe: ", std::strerror(errno));
  const pid_t pid = Spawn({"avahi-browse", "--resolve", "--parsable", "--terminate", "--no-db-lookup", kType}, ends[1]);
  close(ends[1]);
  std::string printed;
  const int64_t until = NowMs() + kBrowseMs;
  bool ended = pid < 0;
  while (!ended && printed.size() < kPrintedMax) {
    pollfd wait{ends[0], POLLIN, 0};
    const int64_t left = until - NowMs();
    if (left <= 0) break;
    if (poll(&wait, 1, static_cast<int>(left)) < 0 && errno == EINTR) continue;
    char bytes[4096];
    const ssize_t n = wait.revents == 0 ? -1 : read(ends[0], bytes, sizeof bytes);
    if (n < 0) break;
    ended = n == 0;
    printed.append(bytes, static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  if (pid > 0) {
    if (!ended) kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
  }
  if (ended && WIFEXITED(status) && WEXITSTATUS(status) == kNotInstalled) return NotInstalled("avahi-browse");
  if (pid < 0 || !ended || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return Unavailable("avahi-browse found out nothing; is avahi-daemon running? `systemctl start avahi-daemon`");
  return ParseOffers(printed);
}

std::string OffersText(const std::vector<Offer>& offers) {
  if (offers.empty())
    return "no master of the local network offers itself; one with discovery.publish: yes does (docs/security.md)\n";
  std::string text;
  for (const Offer& offer : offers) text += Cat(offer.address, "  ", offer.fingerprint, "  ", offer.name, "\n");
  return text + "these are offers of whoever answered: a token (`atelier-master token`) tells which one is yours\n";
}

Publisher::Publisher(std::string name, uint16_t port, const std::string& fingerprint)
    : command_{"avahi-publish-service",         "--no-fail", std::move(name), kType, std::to_string(port),
               Cat("fingerprint=", fingerprint)} {}

Publisher::~Publisher() {
  if (pid_ < 0) return;
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

Status Publisher::Tick() {
  int status = 0;
  if (pid_ > 0 && waitpid(pid_, &status, WNOHANG) == pid_) {
    pid_ = -1;
    Status why = WIFEXITED(status) && WEXITSTATUS(status) == kNotInstalled
                     ? NotInstalled(command_[0])
                     : FailedPrecondition(command_[0], " ended; is avahi-daemon running?");
    if (Message(why) != std::exchange(told_, Message(why))) return why;
  }
  if (pid_ < 0 && NowMs() >= next_ms_) {
    next_ms_ = NowMs() + kAgainMs;
    pid_ = Spawn(command_, -1);
  }
  return OkStatus();
}

}  // namespace atelier
