#include "common/media/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <new>

#include "common/base/log.h"

namespace atelier::media {

// A started process and the socket to it. Killed with the object. Thread: one at a time.
class MediaChild {
 public:
  static StatusOr<std::unique_ptr<MediaChild>> Start(const std::string& path, const MediaLimits& limits);
  ~MediaChild() {
    --living;
    close(socket_);
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    Reap();
  }
  MediaChild(const MediaChild&) = delete;
  MediaChild& operator=(const MediaChild&) = delete;

  int socket() const { return socket_; }
  const std::string& path() const { return path_; }
  bool Lives() const {
    siginfo_t info{};
    return pid_ > 0 && waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
  }
  // The exit status of one that has closed its socket, or was killed; one that lives on nevertheless is killed. -1: it
  // was told before.
  int Reap();

 private:
  MediaChild(int socket, std::string path) : socket_(socket), path_(std::move(path)) { ++living; }

  static inline std::atomic<int> living = 0;
  const int socket_;
  const std::string path_;
  pid_t pid_ = -1;
};

namespace {

constexpr int kSilentMs = 120'000;  // the process says nothing, or takes nothing, for so long: it hangs
constexpr int kEndMs = 2000;        // it has closed its socket and does not end
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // its reports are wanted
#else
constexpr bool kSanitized = false;
#endif
constexpr int kNotRun = 127;  // the exit status of a program whose libraries are not there

std::mutex mutex;
std::string program;                // guarded by mutex; "": atelier-media beside the running command
bool keep_spare = false;            // guarded by mutex
std::unique_ptr<MediaChild> spare;  // guarded by mutex: of this program, started and waiting for the next file

Status Missing(std::string_view path, std::string_view reason) {
  return FailedPrecondition("videos and sound are read by ", path, ", which cannot be started: ", reason,
                            "; install Atelier's package anew, or build the target atelier-media");
}

// REQUIRES: mutex.
StatusOr<std::string> Program() {
  if (!program.empty()) return program;
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return Missing("atelier-media", Cat("/proc/self/exe: ", error.message()));
  return program = (self.parent_path() / "atelier-media").string();
}

// A process that has worked on no file yet.
StatusOr<std::unique_ptr<MediaChild>> Fresh(const MediaLimits& limits) {
  std::lock_guard lock(mutex);
  ASSIGN_OR_RETURN(const std::string path, Program());
  if (limits.memory_bytes != 0) return MediaChild::Start(path, limits);
  std::unique_ptr<MediaChild> child = std::move(spare);
  if (child == nullptr || !child->Lives()) {
    ASSIGN_OR_RETURN(child, MediaChild::Start(path, {}));
  }
  if (keep_spare) {
    if (auto next = MediaChild::Start(path, {}); next.ok()) spare = std::move(*next);
  }
  return child;
}

MessageTime TimeIn(int seconds) {
  return seconds == 0 ? MessageTime::max() : std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
}

}  // namespace

StatusOr<std::unique_ptr<MediaChild>> MediaChild::Start(const std::string& path, const MediaLimits& limits) {
  if (living >= kMediaProcessesMax)
    return ResourceExhausted(kMediaProcessesMax,
                             " videos and sounds are being read at once, which is the most; read fewer in one prompt");
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return ResourceExhausted("no socket to ", path, ": ", std::strerror(errno));
  std::unique_ptr<MediaChild> child(new MediaChild(ends[0], path));
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&files, ends[1], 3);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
  if (!kSanitized) posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
  // A terminal or systemd asks all processes of a command to end: this one ends with the other end of its socket.
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int one : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&blocked, one);
  posix_spawnattr_setsigmask(&attributes, &blocked);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::string name = path, memory = std::to_string(limits.memory_bytes), seconds = std::to_string(limits.seconds),
              libraries = "LD_LIBRARY_PATH=";
  if (const char* where = std::getenv("LD_LIBRARY_PATH")) libraries += where;
  char* argv[] = {name.data(), memory.data(), seconds.data(), nullptr};
  char* envp[] = {libraries.data(), nullptr};
  const int error = posix_spawn(&child->pid_, path.c_str(), &files, &attributes, argv, envp);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  close(ends[1]);
  if (error == 0) return child;
  child->pid_ = -1;
  return Missing(path, std::strerror(error));
}

int MediaChild::Reap() {
  if (pid_ < 0) return -1;
  pollfd watch{static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)), POLLIN, 0};
  if (watch.fd >= 0) {
    poll(&watch, 1, kEndMs);
    close(watch.fd);
  }
  kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return status;
}

void UseMediaProgram(std::string path) {
  std::lock_guard lock(mutex);
  program = std::move(path);
  spare.reset();
}

Status CheckMediaProgram() {
  std::lock_guard lock(mutex);
  ASSIGN_OR_RETURN(const std::string path, Program());
  return access(path.c_str(), X_OK) == 0 ? OkStatus() : Missing(path, std::strerror(errno));
}

void KeepMediaProcessWaiting(bool keep) {
  std::lock_guard lock(mutex);
  keep_spare = keep;
  if (!keep) spare.reset();
}

MediaProcess::MediaProcess(std::unique_ptr<MediaChild> child, std::string_view bytes, int seconds)
    : child_(std::move(child)), bytes_(bytes), until_(TimeIn(seconds)) {}

MediaProcess::~MediaProcess() = default;

StatusOr<std::unique_ptr<MediaProcess>> MediaProcess::Start(std::string_view bytes, const MediaLimits& limits) {
  ASSIGN_OR_RETURN(std::unique_ptr<MediaChild> child, Fresh(limits));
  return std::unique_ptr<MediaProcess>(new MediaProcess(std::move(child), bytes, limits.seconds));
}

void MediaProcess::TakeFile(std::string* file, uint64_t bytes_max) {
  file_ = file;
  file_bytes_max_ = bytes_max;
}

Json MediaProcess::Request(std::string_view kind) const {
  return {{"kind", kind}, {"size", static_cast<int64_t>(bytes_.size())}};
}

Status MediaProcess::Ask(const Json& request, uint64_t body_max, MediaMessage& answer, std::string_view body) {
  const Status sent = Send(child_->socket(), request, body.data(), body.size(), kSilentMs, until_);
  // One that is gone may have said why.
  if (!sent.ok() && sent.code() != StatusCode::kUnavailable) return Failed(sent);
  const uint64_t part_max = file_ == nullptr ? 0 : kPartBytesMax;
  while (true) {
    const Status got = Receive(child_->socket(), kSilentMs, std::max(body_max, part_max), answer, until_);
    if (!got.ok()) return Failed(got);
    if (answer.kind() == "status") return Understand([&] { return StatusOf(answer.head); });
    if (answer.kind() == "read") {
      RETURN_IF_ERROR(Understand([&] { return HandOut(answer.head); }));
    } else if (answer.kind() == "write") {
      RETURN_IF_ERROR(Understand([&] { return TakePart(answer); }));
    } else if (answer.body.size() > body_max) {
      return InvalidArgument("the process that reads the file answered with ", answer.body.size(),
                             " bytes, expected at most ", body_max);
    } else {
      return OkStatus();
    }
  }
}

Status MediaProcess::HandOut(const Json& head) {
  const auto offset = head.at("offset").get<int64_t>();
  const auto count = head.at("count").get<int64_t>();
  const auto size = static_cast<int64_t>(bytes_.size());
  if (offset < 0 || offset >= size || count <= 0)
    return InvalidArgument("the process that reads the file asks for bytes that the file does not have");
  const std::string_view part = bytes_.substr(
      static_cast<size_t>(offset), static_cast<size_t>(std::min(count, static_cast<int64_t>(kPartBytesMax))));
  const Status sent = Send(child_->socket(), {{"kind", "bytes"}}, part.data(), part.size(), kSilentMs, until_);
  return sent.ok() || sent.code() == StatusCode::kUnavailable ? OkStatus() : Failed(sent);
}

Status MediaProcess::TakePart(const MediaMessage& part) {
  const auto offset = part.head.at("offset").get<int64_t>();
  if (file_ == nullptr || offset < 0 || static_cast<uint64_t>(offset) > file_->size())
    return InvalidArgument("the process that reads the file writes where it may not");
  const uint64_t end = static_cast<uint64_t>(offset) + part.body.size();
  if (end > file_bytes_max_)
    return ResourceExhausted("the file becomes larger than ", file_bytes_max_, " bytes; it is damaged");
  try {
    if (end > file_->size()) file_->resize(static_cast<size_t>(end));
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("memory is short");
  }
  if (!part.body.empty()) std::memcpy(file_->data() + offset, part.body.data(), part.body.size());
  return OkStatus();
}

Status MediaProcess::Failed(const Status& status) {
  if (status.code() == StatusCode::kUnavailable) return Ended();
  return Annotate(status, "the process that reads the file");
}

Status MediaProcess::Ended() {
  const int status = child_->Reap();
  if (status < 0) return Unavailable("the process that reads the file has ended");
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
    LogWarning("a process that reads a video or sound tried a system call that it may not make, and was ended");
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
    return ResourceExhausted("the process that reads the file was killed; memory may have run out");
  if (WIFSIGNALED(status))
    return InvalidArgument("the file made the process that reads it fail (signal ", WTERMSIG(status), ", ",
                           strsignal(WTERMSIG(status)), "); it is damaged, or made to do harm: encode it anew");
  if (WEXITSTATUS(status) == kNotRun)
    return Missing(child_->path(), Cat("it ended with status ", kNotRun, ", so a library of its is missing"));
  return Internal("the process that reads the file ended with status ", WEXITSTATUS(status));
}

}  // namespace atelier::media
