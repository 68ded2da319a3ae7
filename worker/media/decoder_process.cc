// decoder.h: in a process of its own once UseDecoderProgram() named one, else in this one.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "common/base/limits.h"
#include "common/base/log.h"
#include "worker/media/decode_here.h"
#include "worker/media/message.h"

namespace atelier::media {
namespace {

constexpr int kSilentMs = 120'000;  // the process says nothing for so long: it hangs
constexpr int kEndMs = 2000;        // it has closed its socket and does not end
constexpr uint64_t kReadMax = 1 << 20;
constexpr uint64_t kFrameBytesMax = static_cast<uint64_t>(limits::kImagePixelsMax) * 8;
constexpr int kChannelsMax = 64;

// A started process and the socket to it. Killed with the object. Thread: one at a time.
class Child {
 public:
  static StatusOr<std::unique_ptr<Child>> Start(const std::string& path) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return ResourceExhausted("no socket to a decoding process: ", std::strerror(errno));
    std::unique_ptr<Child> child(new Child(ends[0]));
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&files, ends[1], 3);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    std::string name = path, libraries = "LD_LIBRARY_PATH=";
    if (const char* where = std::getenv("LD_LIBRARY_PATH")) libraries += where;
    char* argv[] = {name.data(), nullptr};
    char* envp[] = {libraries.data(), nullptr};
    const int error = posix_spawn(&child->pid_, path.c_str(), &files, &attributes, argv, envp);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    if (error == 0) return child;
    child->pid_ = -1;
    return FailedPrecondition("videos and sound are decoded by ", path,
                              ", which cannot be started: ", std::strerror(error), "; install the worker anew");
  }
  ~Child() {
    close(socket_);
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    Reap();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int socket() const { return socket_; }
  bool Lives() {
    siginfo_t info{};
    return pid_ > 0 && waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0;
  }
  // The exit status of one that has closed its socket, or was killed; one that lives on nevertheless is killed. -1: it
  // was told before.
  int Reap() {
    if (pid_ < 0) return -1;
    pollfd watch{static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)), POLLIN, 0};
    poll(&watch, 1, kEndMs);
    close(watch.fd);
    kill(pid_, SIGKILL);
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

 private:
  explicit Child(int socket) : socket_(socket) {}

  const int socket_;
  pid_t pid_ = -1;
};

std::mutex mutex;
std::string program;           // guarded by mutex
std::unique_ptr<Child> spare;  // guarded by mutex: of this program, started and waiting for the next file

std::string Program() {
  std::lock_guard lock(mutex);
  return program;
}

// A process that has worked on no file yet. The next one is started meanwhile: that takes as long as some frames.
StatusOr<std::unique_ptr<Child>> Fresh(const std::string& path) {
  std::lock_guard lock(mutex);
  std::unique_ptr<Child> child = path == program ? std::move(spare) : nullptr;
  if (child == nullptr || !child->Lives()) {
    ASSIGN_OR_RETURN(child, Child::Start(path));
  }
  if (path == program) {
    if (auto next = Child::Start(path); next.ok()) spare = std::move(*next);
  }
  return child;
}

// A decoding process and the file that it works on. Thread: one at a time.
class DecoderProcess {
 public:
  static StatusOr<std::unique_ptr<DecoderProcess>> Start(const std::string& path, std::string_view bytes) {
    ASSIGN_OR_RETURN(std::unique_ptr<Child> child, Fresh(path));
    return std::unique_ptr<DecoderProcess>(new DecoderProcess(std::move(child), bytes));
  }

  // Asks, hands out what the process wants to read of the file, and returns its answer. The answer's head has not been
  // looked at: read it within Understand().
  Status Ask(const Json& request, uint64_t body_max, MediaMessage& answer) {
    if (Status sent = Send(child_->socket(), request); !sent.ok()) return Ended();
    while (true) {
      const Status got = Receive(child_->socket(), kSilentMs, body_max, answer);
      if (got.code() == StatusCode::kUnavailable) return Ended();
      if (!got.ok()) return Annotate(got, "the process that decodes the file");
      if (answer.kind() == "status") return Understand([&] { return StatusOf(answer.head); });
      if (answer.kind() != "read") return OkStatus();
      RETURN_IF_ERROR(Understand([&] { return Serve(answer.head); }));
    }
  }

  // What a head says; a head that says something else than it should is no reason to fall.
  template <typename Read>
  static Status Understand(const Read& read) {
    try {
      return read();
    } catch (const nlohmann::json::exception&) {
      return InvalidArgument("the process that decodes the file gave an answer that makes no sense");
    }
  }

 private:
  DecoderProcess(std::unique_ptr<Child> child, std::string_view bytes) : child_(std::move(child)), source_(bytes) {}

  Status Serve(const Json& head) {
    const auto offset = head.at("offset").get<int64_t>();
    const auto count = head.at("count").get<int64_t>();
    if (offset < 0 || offset >= source_.size() || count <= 0)
      return InvalidArgument("the decoding process asks for bytes that the file does not have");
    buffer_.resize(static_cast<size_t>(std::min<int64_t>({count, kReadMax, source_.size() - offset})));
    source_.Read(offset, buffer_.data(), static_cast<int>(buffer_.size()));
    if (!Send(child_->socket(), {{"kind", "bytes"}}, buffer_.data(), buffer_.size()).ok()) return Ended();
    return OkStatus();
  }

  Status Ended() {
    const int status = child_->Reap();
    if (status < 0) return Unavailable("the decoding process has ended");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
      LogWarning("a decoding process tried a system call that it may not make, and was ended");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
      return ResourceExhausted("the process that decoded the file was killed; memory may have run out");
    if (WIFSIGNALED(status))
      return InvalidArgument("the file made its decoder fail (signal ", WTERMSIG(status), ", ",
                             strsignal(WTERMSIG(status)), "); it is damaged, or made to do harm: encode it anew");
    return Internal("the decoding process ended with status ", WEXITSTATUS(status));
  }

  const std::unique_ptr<Child> child_;
  BytesInMemory source_;
  std::vector<uint8_t> buffer_;
};

Json Request(std::string_view kind, std::string_view bytes) {
  return {{"kind", kind}, {"size", static_cast<int64_t>(bytes.size())}};
}

class RemoteVideo : public VideoDecoder {
 public:
  RemoteVideo(std::unique_ptr<DecoderProcess> process, bool deep) : process_(std::move(process)), deep_(deep) {}

  StatusOr<bool> Next(VideoFrame& frame) override {
    answer_.body.swap(frame.data);
    RETURN_IF_ERROR(process_->Ask({{"kind", "next"}}, kFrameBytesMax, answer_));
    if (answer_.kind() == "end") return false;
    int width = 0, height = 0;
    RETURN_IF_ERROR(DecoderProcess::Understand([&]() -> Status {
      width = answer_.head.at("width").get<int>();
      height = answer_.head.at("height").get<int>();
      if (Status legal = CheckImageSize(width, height, 4); !legal.ok()) return legal;
      if (answer_.body.size() != static_cast<size_t>(width) * static_cast<size_t>(height) * (deep_ ? 8 : 3))
        return InvalidArgument("the decoding process gave ", answer_.body.size(), " bytes for a picture of ", width,
                               "x", height);
      return OkStatus();
    }));
    frame.width = width;
    frame.height = height;
    frame.data.swap(answer_.body);
    return true;
  }
  StatusOr<bool> Skip() override {
    RETURN_IF_ERROR(process_->Ask({{"kind", "skip"}}, 0, answer_));
    return answer_.kind() != "end";
  }

 private:
  const std::unique_ptr<DecoderProcess> process_;
  const bool deep_;
  MediaMessage answer_;
};

}  // namespace

void UseDecoderProgram(std::string path) {
  std::lock_guard lock(mutex);
  program = std::move(path);
  spare.reset();
}

StatusOr<MediaInfo> Probe(std::string_view bytes) {
  const std::string path = Program();
  if (path.empty()) {
    BytesInMemory source(bytes);
    return ProbeHere(&source);
  }
  ASSIGN_OR_RETURN(const auto process, DecoderProcess::Start(path, bytes));
  MediaMessage answer;
  RETURN_IF_ERROR(process->Ask(Request("probe", bytes), 0, answer));
  MediaInfo info;
  RETURN_IF_ERROR(DecoderProcess::Understand([&] {
    info = InfoOf(answer.head);
    return OkStatus();
  }));
  return info;
}

StatusOr<std::unique_ptr<VideoDecoder>> VideoDecoder::Open(std::string_view bytes, const VideoDecodeOptions& options) {
  const std::string path = Program();
  if (path.empty()) return OpenVideoHere(std::make_unique<BytesInMemory>(bytes), options);
  ASSIGN_OR_RETURN(auto process, DecoderProcess::Start(path, bytes));
  Json request = Request("video", bytes);
  request.update(
      {{"deep", options.deep}, {"upright", options.upright}, {"start", options.start}, {"filters", options.filters}});
  MediaMessage answer;
  RETURN_IF_ERROR(process->Ask(request, 0, answer));
  return std::unique_ptr<VideoDecoder>(std::make_unique<RemoteVideo>(std::move(process), options.deep));
}

StatusOr<std::optional<AudioSamples>> DecodeAudio(std::string_view bytes, double start, double seconds) {
  const std::string path = Program();
  if (path.empty()) {
    BytesInMemory source(bytes);
    return DecodeAudioHere(&source, start, seconds);
  }
  ASSIGN_OR_RETURN(const auto process, DecoderProcess::Start(path, bytes));
  Json request = Request("audio", bytes);
  request.update({{"start", start}, {"seconds", seconds}});
  MediaMessage answer;
  RETURN_IF_ERROR(process->Ask(request, static_cast<uint64_t>(limits::kTensorBytesMax), answer));
  if (answer.kind() == "end") return std::optional<AudioSamples>();
  AudioSamples audio;
  RETURN_IF_ERROR(DecoderProcess::Understand([&]() -> Status {
    audio.channels = answer.head.at("channels").get<int>();
    audio.sample_rate = answer.head.at("sample_rate").get<int>();
    if (audio.channels < 1 || audio.channels > kChannelsMax || audio.sample_rate < 1 ||
        answer.body.size() % (sizeof(float) * static_cast<size_t>(audio.channels)) != 0)
      return InvalidArgument("the decoding process gave ", answer.body.size(), " bytes for sound of ", audio.channels,
                             " channels");
    return OkStatus();
  }));
  audio.samples.resize(answer.body.size() / sizeof(float));
  std::memcpy(audio.samples.data(), answer.body.data(), answer.body.size());
  return std::optional(std::move(audio));
}

}  // namespace atelier::media
