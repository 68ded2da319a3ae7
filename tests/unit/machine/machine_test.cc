// Who uses the machine, and its GPU's power, with a logind and a driver that are not there.
#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <limits>

#include "tests/harness/fake_programs.h"
#include "tests/ops/probe.h"
#include "worker/machine/desktop.h"
#include "worker/machine/power_limit.h"

namespace atelier::test {
namespace {

TEST_CASE("what logind says is since when nobody did anything") {
  CHECK(*ParseIdleHints("b false\nt 1000000\n", 90'000'000) == DesktopUse{0, ""});
  CHECK(*ParseIdleHints("b true\nt 30000000\n", 90'000'000) == DesktopUse{60, ""});
  CHECK(*ParseIdleHints("b true\nt 0\n", 1'700'000'000'000'000) == DesktopUse{1'700'000'000, ""});  // no session at all
  CHECK(*ParseIdleHints("b true\nt 99000000\n", 90'000'000) == DesktopUse{0, ""});                  // a clock set back
  for (const char* other : {"", "b true\n", "b true\nt x\n", "true 1", "b true\ns \"\"\n"})
    CHECK(ParseIdleHints(other, 1).status().code() == StatusCode::kDataLoss);
}

TEST_CASE("without logind a machine with a graphical session counts as in use") {
  CHECK(HasGraphicalSession("0000: 00000002 00000000 00010000 0001 01 31 @/tmp/.X11-unix/X0\n"));
  CHECK(HasGraphicalSession("0000: 00000002 00000000 00010000 0001 01 31 /run/user/1000/wayland-0\n"));
  CHECK_FALSE(HasGraphicalSession("0000: 00000002 00000000 00010000 0001 01 31 /run/systemd/notify\n"));
  FakePrograms programs;
  programs.Set("busctl", "exit 1");
  const int display = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{AF_UNIX, {}};
  const std::string name = Cat("@/tmp/.X11-unix/X", getpid());  // an abstract one, which X has as well
  name.copy(address.sun_path, name.size());
  address.sun_path[0] = '\0';
  REQUIRE(bind(display, reinterpret_cast<sockaddr*>(&address),
               static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())) == 0);
  CHECK(AskDesktop() == DesktopUse{0, "systemd-logind does not answer"});
  close(display);
  // On a machine that has a desktop itself the rest cannot be tried.
  if (const DesktopUse use = AskDesktop(); use.idle_seconds != 0)
    CHECK(use.idle_seconds == std::numeric_limits<uint64_t>::max());
}

TEST_CASE("logind is asked again and again while it is wanted") {
  FakePrograms programs;
  programs.Set("busctl", "printf 'b false\\nt 0\\n'");
  DesktopWatch watch;
  CHECK_FALSE(watch.Last());
  watch.Turn(true);
  REQUIRE(Until([&] { return watch.Last() && watch.Last()->idle_seconds == 0; }));
  programs.Set("busctl", "printf 'b true\\nt 0\\n'");
  REQUIRE(Until([&] { return watch.Last()->idle_seconds > 1'000'000; }));
  watch.Turn(false);
  CHECK_FALSE(watch.Last());
  programs.Set("busctl", "exec sleep 60");  // one that hangs is not waited for
  CHECK(AskDesktop().unknown == "systemd-logind does not answer");
}

// The driver's libraries by their absolute names first: the worker's dlopen() then finds these.
class FakeGpu {
 public:
  explicit FakeGpu(const std::string& milliwatts) : file_(Cat("/tmp/atelier-power-", getpid())) {
    REQUIRE(dlopen(ATELIER_FAKE_GPU "/libcuda.so.1", RTLD_NOW) != nullptr);
    REQUIRE(dlopen(ATELIER_FAKE_GPU "/libnvidia-ml.so.1", RTLD_NOW) != nullptr);
    std::ofstream(file_) << milliwatts;
    setenv("ATELIER_FAKE_POWER", file_.c_str(), 1);
  }
  ~FakeGpu() {
    unlink(file_.c_str());
    unsetenv("ATELIER_FAKE_POWER");
    unsetenv("ATELIER_FAKE_POWER_REFUSES");
  }
  std::string power() const {
    std::string text;
    std::ifstream(file_) >> text;
    return text;
  }

 private:
  const std::string file_;
};

TEST_CASE("a power limit is set, changed, and given back") {
  FakeGpu gpu("280000");
  {
    PowerLimit limit("cuda:0");
    CHECK(limit.Set(0).ok());
    CHECK(gpu.power() == "280000");
    CHECK(limit.Set(200).ok());
    CHECK(gpu.power() == "200000");
    CHECK(limit.Set(150).ok());
    CHECK(gpu.power() == "150000");
    CHECK(limit.Set(0).ok());
    CHECK(gpu.power() == "280000");
    CHECK(limit.Set(120).ok());
  }
  CHECK(gpu.power() == "280000");
}

TEST_CASE("a power limit that is refused is told once, with what it takes and what to do") {
  FakeGpu gpu("280000");
  PowerLimit limit("cuda:0");
  CHECK(Message(limit.Set(900)) ==
        "the power limit of cuda:0 is not set to 900 W (it takes 100 to 300 W): it is out of range; give power_watts "
        "another value");
  CHECK(limit.Set(900).ok());  // known
  setenv("ATELIER_FAKE_POWER_REFUSES", "1", 1);
  CHECK(Message(limit.Set(200)) ==
        "the power limit of cuda:0 is not set to 200 W (it takes 100 to 300 W): this user may not set it; as root "
        "`nvidia-smi -i GPU-abababab-abab-abab-abab-abababababab -pl 200` does");
  CHECK(limit.Set(0).ok());
  CHECK(gpu.power() == "280000");
  CHECK(Message(PowerLimit("cpu").Set(200)) ==
        "the power limit of cpu is not set to 200 W: only a GPU has a power limit; take it out of the configuration");
  CHECK(Message(PowerLimit("cuda:1").Set(200)).find("NVML does not tell the power limit of GPU-acacacac") !=
        std::string::npos);
  CHECK(Message(PowerLimit("cuda:7").Set(200)).find("does not tell which GPU cuda:7 is") != std::string::npos);
  unsetenv("ATELIER_FAKE_POWER");
  CHECK(Message(PowerLimit("cuda:0").Set(200)).find("Driver Not Loaded") != std::string::npos);
}

}  // namespace
}  // namespace atelier::test
