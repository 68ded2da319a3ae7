#include "tests/harness/process.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "common/base/check.h"

namespace atelier::test {
namespace {

using Clock = std::chrono::steady_clock;

int MillisecondsUntil(Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
  return left < 0 ? 0 : static_cast<int>(left) + 1;
}

Clock::time_point After(double seconds) {
  return Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

}  // namespace

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "atelier-test-XXXXXX").string();
  ATELIER_CHECK(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Process::Process(std::vector<std::string> arguments, std::string log_path,
                 const std::map<std::string, std::string>& environment, const Limits& limits)
    : log_path_(std::move(log_path)) {
  // Everything that allocates happens before the fork.
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    if (environment.find(text.substr(0, text.find('='))) == environment.end()) variables.push_back(text);
  }
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  std::vector<char*> envp;
  for (std::string& variable : variables) envp.push_back(variable.data());
  envp.push_back(nullptr);
  const pid_t parent = getpid();
  const int log = open(log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  ATELIER_CHECK(log >= 0 && null >= 0);
  pid_ = fork();
  ATELIER_CHECK(pid_ >= 0);
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    if (limits.file_bytes_max > 0) {
      const rlimit limit{limits.file_bytes_max, limits.file_bytes_max};
      setrlimit(RLIMIT_FSIZE, &limit);
      signal(SIGXFSZ, SIG_IGN);  // the write fails instead
    }
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execve(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  close(log);
  close(null);
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  ATELIER_CHECK(pidfd_ >= 0);
}

Process::~Process() {
  Kill();
  KeepForFailure(std::filesystem::path(log_path_).filename().string(), Log());
}

bool Process::Running() { return !WaitEnd(0); }

bool Process::WaitEnd(double seconds) {
  const Clock::time_point end = After(seconds);
  while (pid_ > 0) {
    if (waitpid(pid_, &status_, WNOHANG) == pid_) {
      close(pidfd_);
      pid_ = pidfd_ = -1;
      break;
    }
    const int left = MillisecondsUntil(end);
    if (seconds <= 0 || left == 0) return false;
    pollfd fd{pidfd_, POLLIN, 0};
    poll(&fd, 1, left);
  }
  return true;
}

bool Process::WaitLog(const std::string& text, double seconds) {
  const Clock::time_point end = After(seconds);
  const int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  ATELIER_CHECK(watch >= 0 && inotify_add_watch(watch, log_path_.c_str(), IN_MODIFY) >= 0);
  bool found = false;
  for (;;) {
    const bool running = Running();
    found = Log().find(text) != std::string::npos;
    const int left = MillisecondsUntil(end);
    if (found || !running || left == 0) break;
    pollfd fds[] = {{watch, POLLIN, 0}, {pidfd_, POLLIN, 0}};
    poll(fds, 2, left);
    char events[4096];
    while (read(watch, events, sizeof events) > 0) {
    }
  }
  close(watch);
  return found;
}

void Process::Signal(int signal) {
  if (Running()) kill(pid_, signal);
}

void Process::Kill() {
  Signal(SIGKILL);
  ATELIER_CHECK(WaitEnd(30));
}

int Process::exit_code() const { return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_); }

std::string Process::Log() const {
  std::ifstream in(log_path_, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ATELIER_CHECK(bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0);
  ATELIER_CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  close(fd);
  return ntohs(address.sin_port);
}

std::string BinDir() {
  const char* named = std::getenv("ATELIER_BIN");
  if (named != nullptr && *named != '\0') return named;
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

}  // namespace atelier::test
