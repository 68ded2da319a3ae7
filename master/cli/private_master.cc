#include "master/cli/private_master.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

extern char** environ;

namespace atelier::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* kPortFile = "address";
constexpr const char* kLogFile = "master.log";

// Closes at the end of a scope.
class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int MillisecondsUntil(Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
  return left < 0 ? 0 : static_cast<int>(left) + 1;
}

Clock::time_point After(double seconds) {
  return Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

std::string FirstLine(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// The last line that says something; only the end of the file is read.
std::string LastLine(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const std::streamoff size = in.tellg();
  in.seekg(std::max<std::streamoff>(0, size - 8192));
  std::string last;
  for (std::string line; std::getline(in, line);)
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
  return last;
}

}  // namespace

StatusOr<std::string> FindMaster() {
  std::string path;
  const char* from_environment = std::getenv("ATELIER_MASTER");
  if (from_environment != nullptr && *from_environment != '\0') {
    path = from_environment;
    if (access(path.c_str(), X_OK) != 0)
      return Unavailable("ATELIER_MASTER names \"", path, "\", which is no program; unset it or name atelier-master");
    return path;
  }
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  path = (self.parent_path() / "atelier-master").string();
  if (error || access(path.c_str(), X_OK) != 0)
    return Unavailable("there is no atelier-master at ", path,
                       "; build it, or name it with the environment's ATELIER_MASTER");
  return path;
}

StatusOr<std::unique_ptr<PrivateMaster>> PrivateMaster::Start(const PrivateMasterOptions& options,
                                                              Interrupt* interrupt) {
  std::unique_ptr<PrivateMaster> master(new PrivateMaster);
  master->options_ = options;
  if (options.executable.empty()) {
    ASSIGN_OR_RETURN(master->options_.executable, FindMaster());
  }
  std::error_code error;
  if (options.state_dir.empty()) {
    std::string name = (fs::temp_directory_path(error) / "atelier-run-XXXXXX").string();
    if (error || mkdtemp(name.data()) == nullptr)
      return Unavailable("cannot make a temporary folder ", name, ": ", std::strerror(errno),
                         "; name another place with TMPDIR");
    master->state_dir_ = name;
    master->temporary_ = true;
  } else {
    fs::create_directories(options.state_dir, error);
    if (error)
      return Unavailable("cannot make the state folder ", options.state_dir, ": ", error.message(),
                         "; name another with --state");
    master->state_dir_ = fs::absolute(options.state_dir).string();
  }
  RETURN_IF_ERROR(master->Launch(interrupt));
  return master;
}

PrivateMaster::~PrivateMaster() {
  End();
  if (temporary_) {
    std::error_code ignored;  // nothing more can be done about a folder that will not go
    fs::remove_all(state_dir_, ignored);
  }
}

Status PrivateMaster::Launch(Interrupt* interrupt) {
  const std::string port_file = state_dir_ + "/" + kPortFile;
  unlink(port_file.c_str());
  const std::string listen = address_.empty() ? "127.0.0.1:0" : address_;  // a restart keeps its clients' address
  const Fd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (watch.get() < 0 || inotify_add_watch(watch.get(), state_dir_.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE) < 0)
    return Unavailable("cannot watch the folder ", state_dir_, ": ", std::strerror(errno));

  std::vector<std::string> arguments = {options_.executable, "--listen",           listen,        "--state",
                                        state_dir_,          "--private",          "--port-file", port_file,
                                        "--parent-pid",      Cat(getpid()),        "--device",    options_.device,
                                        "--local-workers",   Cat(options_.workers)};
  for (const std::string& folder : options_.models) arguments.insert(arguments.end(), {"--models", folder});
  if (!options_.input.empty()) arguments.insert(arguments.end(), {"--input", options_.input});
  if (!options_.output.empty()) arguments.insert(arguments.end(), {"--output", options_.output});
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  const std::string log = state_dir_ + "/" + kLogFile;
  if (options_.verbose) {
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  } else {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  sigset_t defaults;
  sigemptyset(&defaults);
  for (int signal : {SIGINT, SIGTERM, SIGPIPE}) sigaddset(&defaults, signal);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);  // a terminal's ^C reaches only us; we end it in order
  const int failed = posix_spawn(&pid_, options_.executable.c_str(), &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) return Unavailable("cannot start ", options_.executable, ": ", std::strerror(failed));
  running_ = true;
  pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd_ < 0) {
    const std::string why = std::strerror(errno);
    Kill();
    return Unavailable("cannot watch the process of atelier-master: ", why);
  }
  fcntl(pidfd_, F_SETFD, FD_CLOEXEC);

  const Clock::time_point end = After(options_.start_seconds);
  for (;;) {
    address_ = FirstLine(port_file);
    if (!address_.empty()) return OkStatus();
    if (!Alive()) return Unavailable(Obituary());
    const int left = MillisecondsUntil(end);
    if (left == 0) {
      Kill();
      return Unavailable("atelier-master did not serve within ", options_.start_seconds,
                         " s: ", options_.verbose ? "its log is above" : LastLine(log));
    }
    pollfd fds[] = {
        {watch.get(), POLLIN, 0}, {pidfd_, POLLIN, 0}, {interrupt != nullptr ? interrupt->fd() : -1, POLLIN, 0}};
    poll(fds, 3, left);
    if (fds[2].revents != 0) return Cancelled("interrupted before atelier-master served");
    char events[4096];
    while (read(watch.get(), events, sizeof events) > 0) {
    }
  }
}

bool PrivateMaster::Alive() { return running_ && !WaitEnd(0); }

bool PrivateMaster::WaitEnd(double seconds) {
  if (!running_) return true;
  const Clock::time_point end = After(seconds);
  for (;;) {
    const pid_t ended = waitpid(pid_, &wait_status_, WNOHANG);
    if (ended == pid_ || (ended < 0 && errno == ECHILD)) {
      CloseChild();
      return true;
    }
    const int left = MillisecondsUntil(end);
    if (seconds <= 0 || left == 0) return false;
    pollfd fd = {pidfd_, POLLIN, 0};
    poll(&fd, 1, left);
  }
}

void PrivateMaster::CloseChild() {
  running_ = false;
  // Its workers share the group; they end by themselves, and this makes sure of it.
  kill(-pid_, SIGKILL);
  if (pidfd_ >= 0) close(pidfd_);
  pidfd_ = -1;
}

Status PrivateMaster::Restart(Interrupt* interrupt) {
  Kill();
  return Launch(interrupt);
}

void PrivateMaster::End(bool asked) {
  if (!running_) return;
  if (asked && WaitEnd(options_.end_seconds)) return;
  kill(pid_, SIGTERM);
  if (WaitEnd(options_.end_seconds)) return;
  Kill();
}

void PrivateMaster::Kill() {
  if (!running_) return;
  kill(-pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  wait_status_ = status;
  CloseChild();
}

std::string PrivateMaster::Obituary() {
  std::string text = "atelier-master ended";
  if (WIFSIGNALED(wait_status_))
    text = Cat("atelier-master was ended by signal ", WTERMSIG(wait_status_));
  else if (WIFEXITED(wait_status_))
    text = Cat("atelier-master ended with status ", WEXITSTATUS(wait_status_));
  const std::string last = options_.verbose ? "" : LastLine(state_dir_ + "/" + kLogFile);
  return last.empty() ? text : text + ": " + last;
}

}  // namespace atelier::cli
