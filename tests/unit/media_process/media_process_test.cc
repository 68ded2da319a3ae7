// What a decoding process may not do, and what its worker makes of one that dies or lies.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "common/media/process.h"
#include "worker/media/decoder.h"
#include "worker/media/encoder.h"
#include "worker/media_process/confine.h"

namespace atelier::media {
namespace {

constexpr int kDone = 42;
constexpr uint64_t kMemoryBytes = uint64_t{2} << 30;

// The wait status of a confined process that does this.
int Confined(const std::function<int()>& deed) {
  const pid_t pid = fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    if (!Confine(kMemoryBytes).ok()) _exit(1);
    _exit(deed());
  }
  int status = 0;
  REQUIRE(waitpid(pid, &status, 0) == pid);
  return status;
}

TEST_CASE("a confined process computes, takes memory and starts threads") {
  const int status = Confined([] {
    std::vector<char> memory(64 << 20, 1);
    int seen = 0;
    std::thread([&] { seen = memory[1 << 20]; }).join();
    return seen == 1 ? kDone : 2;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == kDone);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("a confined process gets no more memory than it may take") {
  const int status = Confined([] {
    const auto taken = [](size_t bytes) {
      return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) !=
             MAP_FAILED;
    };
    return taken(kMemoryBytes / 4) && !taken(kMemoryBytes) ? kDone : 2;
  });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == kDone);
}
#endif

TEST_CASE("a confined process opens no file") {
  const int status = Confined([] { return open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES ? kDone : 2; });
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == kDone);
}

TEST_CASE("a confined process that does anything else is ended") {
  const std::pair<const char*, std::function<int()>> deeds[] = {
      {"socket", [] { return socket(AF_INET, SOCK_STREAM, 0); }},
      {"fork", [] { return static_cast<int>(fork()); }},
      {"exec", [] { return execl("/bin/true", "true", nullptr); }},
      {"memory that is run",
       [] {
         return mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                        MAP_FAILED
                    ? kDone
                    : 2;
       }},
      {"a signal to its parent", [] { return kill(getppid(), 0); }},
      {"a new name for a file", [] { return rename("/tmp/a", "/tmp/b"); }},
  };
  for (const auto& [name, deed] : deeds) {
    INFO(name);
    const int status = Confined(deed);
    REQUIRE(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGSYS);
  }
}

// A program in place of the decoder's, for as long as this lives.
class Instead {
 public:
  explicit Instead(const std::string& script) {
    std::ofstream(path_) << script;
    REQUIRE(chmod(path_.c_str(), 0700) == 0);
    UseMediaProgram(path_);
    DecodeInProcesses(true);
  }
  ~Instead() {
    DecodeInProcesses(false);
    UseMediaProgram("");
    std::filesystem::remove(path_);
  }

 private:
  const std::string path_ = (std::filesystem::temp_directory_path() / Cat("atelier-instead-", getpid())).string();
};

Status Asked() { return Probe("no video").status(); }

TEST_CASE("a decoder that dies, is missing or lies is a status") {
  {
    const Instead dies("#!/bin/sh\nkill -SEGV $$\n");
    CHECK(Message(Asked()).find("made the process that reads it fail (signal 11") != std::string::npos);
    CHECK(Asked().code() == StatusCode::kInvalidArgument);
  }
  {
    const Instead ends("#!/bin/sh\nexit 7\n");
    CHECK(Message(Asked()).find("ended with status 7") != std::string::npos);
  }
  {
    const Instead killed("#!/bin/sh\nkill -KILL $$\n");
    CHECK(Asked().code() == StatusCode::kResourceExhausted);
  }
  {
    // 15 bytes of head, none of body, and then things that make no sense.
    const Instead lies(
        "#!/bin/sh\nprintf '\\017\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0{\"kind\":\"info\"}' >&3\ncat <&3\n");
    CHECK(Message(Asked()).find("makes no sense") != std::string::npos);
  }
  {
    const Instead large("#!/bin/sh\nprintf '\\377\\377\\377\\377\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0' >&3\ncat <&3\n");
    CHECK(Message(Asked()).find("expected at most") != std::string::npos);
  }
  {
    const Instead reads(
        "#!/bin/sh\nprintf '\\062\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0%s' "
        "'{\"kind\":\"read\",\"offset\":99,\"count\":10            }' >&3\ncat <&3\n");
    INFO(Message(Asked()));
    CHECK(Message(Asked()).find("bytes that the file does not have") != std::string::npos);
  }
  {
    const Instead stays("#!/bin/sh\nexec 3>&-\nexec sleep 1000\n");
    CHECK(Message(Asked()).find("was killed") != std::string::npos);
  }
  DecodeInProcesses(true);
  UseMediaProgram("/nowhere/atelier-media");
  CHECK(Message(Asked()).find("/nowhere/atelier-media, which cannot be started") != std::string::npos);
  UseMediaProgram("");
  DecodeInProcesses(false);
}

}  // namespace
}  // namespace atelier::media
