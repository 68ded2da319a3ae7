// Metrics as text, the probe listener against rude clients, and the service manager's socket.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <set>
#include <sstream>

#include "common/obs/metrics.h"
#include "common/obs/notify.h"
#include "common/obs/probe_client.h"
#include "common/obs/probe_server.h"
#include "common/security/authority.h"
#include "common/security/identity.h"

namespace atelier {
namespace {

using Clock = std::chrono::steady_clock;

int Dial(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

// All that comes until the other side closes, or what came within `ms`.
std::string ReadAll(int fd, int ms) {
  std::string all;
  const auto end = Clock::now() + std::chrono::milliseconds(ms);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    pollfd wait{fd, POLLIN, 0};
    if (left <= 0 || poll(&wait, 1, static_cast<int>(left)) <= 0) return all + "(open)";
    char bytes[4096];
    const ssize_t n = read(fd, bytes, sizeof bytes);
    if (n <= 0) return all;
    all.append(bytes, static_cast<size_t>(n));
  }
}

std::string Ask(uint16_t port, const std::string& request) {
  const int fd = Dial(port);
  (void)!write(fd, request.data(), request.size());
  const std::string answer = ReadAll(fd, 8000);
  close(fd);
  return answer;
}

ProbeReply Answer(std::string_view path) {
  if (path == "/healthz") return {200, "text/plain; charset=utf-8", "ok\n"};
  if (path == "/readyz") return {503, "text/plain; charset=utf-8", "draining\n"};
  return {404, "text/plain; charset=utf-8", "no such page\n"};
}

TEST_CASE("probes are answered, everything else is turned away") {
  auto server = ProbeServer::Start("127.0.0.1:0", Answer);
  REQUIRE(server.ok());
  const uint16_t port = (*server)->port();
  const std::string fine = Ask(port, "GET /healthz?x=1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n");
  CHECK(fine.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(fine.find("Content-Length: 3\r\n") != std::string::npos);
  CHECK(fine.ends_with("\r\n\r\nok\n"));
  CHECK(Ask(port, "HEAD /healthz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\n"));
  CHECK(Ask(port, "GET /readyz HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 503 "));
  CHECK(Ask(port, "GET /../../etc/passwd HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
  CHECK(Ask(port, "DELETE /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
  CHECK(Ask(port, "GET /healthz HTTP/1.1\r\nHost: [::1]:9\r\n\r\n").starts_with("HTTP/1.1 200 "));
  CHECK(Ask(port, "GET /healthz HTTP/1.1\r\nHost: rebound.example\r\n\r\n").starts_with("HTTP/1.1 403 "));
  CHECK(Ask(port, "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n").starts_with("HTTP/1.1 400 "));
  CHECK(Ask(port, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n\r\n")
            .starts_with("HTTP/1.1 403 "));
  CHECK(Ask(port, "no http at all\r\n\r\n").empty());
  CHECK(Ask(port, "POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\n123456789").find("ok") == std::string::npos);
  CHECK(Ask(port, "GET /healthz HTTP/1.1\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n").find("ok") ==
        std::string::npos);
  CHECK(Ask(port, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
}

TEST_CASE("slow and silent clients are closed, and a crowd does not shut others out for long") {
  auto server = ProbeServer::Start("127.0.0.1:0", Answer);
  REQUIRE(server.ok());
  const uint16_t port = (*server)->port();
  std::vector<int> crowd;
  for (int i = 0; i < 60; ++i) crowd.push_back(Dial(port));
  (void)!write(crowd[0], "GET /hea", 8);  // and never the rest
  const auto start = Clock::now();
  CHECK(ReadAll(crowd[0], 8000).find("(open)") == std::string::npos);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  CHECK(seconds < 7);
  CHECK(Ask(port, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
  int closed = 0;
  for (const int fd : crowd) closed += ReadAll(fd, 1000).find("(open)") == std::string::npos ? 1 : 0;
  CHECK(closed == 60);
  for (const int fd : crowd) close(fd);
}

TEST_CASE("outside loopback a listener has a key and speaks TLS") {
  const auto own = std::make_shared<const Identity>();
  CHECK(MakeProbeGuard("127.0.0.1:1", "", nullptr)->key.empty());
  CHECK(MakeProbeGuard("0.0.0.0:1", "", own).status().code() == StatusCode::kFailedPrecondition);
  const std::string file = Cat("/tmp/atelier-obs-key-", getpid());
  REQUIRE(WriteSecretFile(file, "too short\n").ok());
  CHECK(MakeProbeGuard("0.0.0.0:1", file, own).status().code() == StatusCode::kFailedPrecondition);
  const std::string key = RandomHex(32);
  REQUIRE(WriteSecretFile(file, key + "\n").ok());
  CHECK(MakeProbeGuard("0.0.0.0:1", file, nullptr).status().code() == StatusCode::kFailedPrecondition);
  const auto guard = MakeProbeGuard("127.0.0.1:1", file, nullptr);
  CHECK(MakeProbeGuard("0.0.0.0:1", file, own)->tls == own);
  unlink(file.c_str());
  REQUIRE(guard.ok());
  auto server = ProbeServer::Start("127.0.0.1:0", Answer, *guard);
  REQUIRE(server.ok());
  const std::string begin = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n";
  CHECK(Ask((*server)->port(), begin + "\r\n").starts_with("HTTP/1.1 401 "));
  CHECK(Ask((*server)->port(), begin + "Authorization: Bearer " + key + "\r\n\r\n").ends_with("ok\n"));
}

TEST_CASE("HTTPS: who asks knows whom, and who speaks plainly is told so") {
  const auto authority = Authority::Create(), other = Authority::Create();
  REQUIRE(authority.ok());
  REQUIRE(other.ok());
  const auto server_identity = authority->IssueServer();
  REQUIRE(server_identity.ok());
  const std::string key = RandomHex(32);
  ProbeGuard guard{key, {kMasterName}, std::make_shared<const Identity>(*server_identity)};
  auto server = ProbeServer::Start("127.0.0.1:0", Answer, guard);
  INFO(server.status().ToString());
  REQUIRE(server.ok());
  const uint16_t port = (*server)->port();
  const std::string address = Cat("127.0.0.1:", port);
  const auto fine = AskProbe(address, "/healthz", key, authority->certificate());
  INFO(fine.status().ToString());
  REQUIRE(fine.ok());
  CHECK(fine->status == 200);
  CHECK(fine->body == "ok\n");
  CHECK(AskProbe(address, "/readyz", key, authority->certificate())->status == 503);
  CHECK(AskProbe(address, "/healthz", "", authority->certificate())->status == 401);
  CHECK(AskProbe(address, "/healthz", key, other->certificate()).status().code() == StatusCode::kFailedPrecondition);
  // The key of one who forgot the "s" has gone out, but nothing is answered to it.
  const std::string plain =
      Ask(port, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + key + "\r\n\r\n");
  CHECK(plain.starts_with("HTTP/1.1 400 "));
  CHECK(plain.find("https://") != std::string::npos);
  // Half a greeting, or none, is closed in time.
  const int half = Dial(port), silent = Dial(port);
  (void)!write(half, "\x16\x03\x01", 3);
  CHECK(ReadAll(half, 8000).find("(open)") == std::string::npos);
  CHECK(ReadAll(silent, 8000).find("(open)") == std::string::npos);
  close(half);
  close(silent);
  CHECK(AskProbe(address, "/healthz", key, authority->certificate()).ok());
  guard.tls = std::make_shared<const Identity>(Identity{"no key", server_identity->certificate, "", ""});
  CHECK(ProbeServer::Start("127.0.0.1:0", Answer, guard).status().code() == StatusCode::kFailedPrecondition);
}

TEST_CASE("who asks a listener that does not answer waits five seconds") {
  const int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  REQUIRE(bind(silent, reinterpret_cast<const sockaddr*>(&at), size) == 0);
  REQUIRE(listen(silent, 1) == 0);
  REQUIRE(getsockname(silent, reinterpret_cast<sockaddr*>(&at), &size) == 0);
  const auto start = Clock::now();
  CHECK(AskProbe(Cat("127.0.0.1:", ntohs(at.sin_port)), "/", "", "").status().code() == StatusCode::kUnavailable);
  CHECK(std::chrono::duration<double>(Clock::now() - start).count() < 8);
  close(silent);
  CHECK(AskProbe(Cat("127.0.0.1:", ntohs(at.sin_port)), "/", "", "").status().code() == StatusCode::kUnavailable);
}

TEST_CASE("a port that is taken, and an address that is none") {
  auto server = ProbeServer::Start("127.0.0.1:0", Answer);
  REQUIRE(server.ok());
  auto second = ProbeServer::Start(Cat("127.0.0.1:", (*server)->port()), Answer);
  CHECK(Message(second.status()).find("cannot listen on 127.0.0.1:") == 0);
  CHECK_FALSE(ProbeServer::Start("nowhere.invalid:1", Answer).ok());
  CHECK_FALSE(ProbeServer::Start("127.0.0.1", Answer).ok());
}

TEST_CASE("metrics read as Prometheus has them") {
  MetricsText text;
  text.Gauge("a_jobs", "Jobs.", 3, {{"state", "queued"}});
  text.Gauge("a_jobs", "Jobs.", 0.5, {{"state", "a\"b\\c\nd"}});
  SecondsHistogram histogram;
  histogram.Observe(0.0005);
  histogram.Observe(0.3);
  histogram.Observe(1e9);
  histogram.Observe(-1);
  histogram.Observe(std::nan(""));
  text.Histogram("a_seconds", "Seconds.", histogram.Read());
  text.Process();
  const std::string all = text.Take();
  CHECK(
      all.starts_with("# HELP a_jobs Jobs.\n# TYPE a_jobs gauge\na_jobs{state=\"queued\"} 3\n"
                      "a_jobs{state=\"a\\\"b\\\\c d\"} 0.5\n# HELP a_seconds"));
  CHECK(all.find("a_seconds_bucket{le=\"0.001\"} 3\n") != std::string::npos);
  CHECK(all.find("a_seconds_bucket{le=\"0.5\"} 4\n") != std::string::npos);
  CHECK(all.find("a_seconds_bucket{le=\"3600\"} 4\n") != std::string::npos);
  CHECK(all.find("a_seconds_bucket{le=\"+Inf\"} 5\n") != std::string::npos);
  CHECK(all.find("a_seconds_count 5\n") != std::string::npos);
  // The figures of this process are plausible.
  std::istringstream lines(all);
  std::set<std::string> names;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#")) continue;
    const double value = std::atof(line.substr(line.rfind(' ') + 1).c_str());
    if (line.starts_with("process_resident_memory_bytes ")) CHECK((value > 1 << 20 && value < 1 << 30));
    if (line.starts_with("process_open_fds ")) CHECK((value >= 3 && value < 1000));
    if (line.starts_with("process_start_time_seconds ")) {
      const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
      CHECK(std::abs(now - value) < 3600);
    }
    CHECK(names.insert(line.substr(0, line.rfind(' '))).second);
  }
  CHECK(names.contains("process_cpu_seconds_total"));
}

TEST_CASE("the service manager is told, where there is one") {
  unsetenv("NOTIFY_SOCKET");
  CHECK_FALSE(NotifyManager("READY=1"));
  const std::string path = Cat(std::filesystem::temp_directory_path().string(), "/obs_test.", getpid(), ".sock");
  for (const std::string& name : {path, Cat("@atelier-obs-test-", getpid())}) {
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name.copy(address.sun_path, name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    REQUIRE(bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0);
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
    CHECK(NotifyManager("READY=1\nSTATUS=ok"));
    CHECK(NotifyReloading());
    char bytes[256];
    CHECK(std::string(bytes, static_cast<size_t>(recv(fd, bytes, sizeof bytes, 0))) == "READY=1\nSTATUS=ok");
    CHECK(std::string(bytes, static_cast<size_t>(recv(fd, bytes, sizeof bytes, 0))).starts_with("RELOADING=1\nMONO"));
    close(fd);
    unlink(path.c_str());
  }
  CHECK_FALSE(NotifyManager("READY=1"));  // nobody listens any more
  unsetenv("NOTIFY_SOCKET");
  CHECK(WatchdogMs() == 0);
  setenv("WATCHDOG_USEC", "30000000", 1);
  CHECK(WatchdogMs() == 30'000);
  setenv("WATCHDOG_PID", Cat(getpid() + 1).c_str(), 1);
  CHECK(WatchdogMs() == 0);
  unsetenv("WATCHDOG_USEC");
  unsetenv("WATCHDOG_PID");
}

}  // namespace
}  // namespace atelier
