// One blob stream over loopback, to and from a real master.
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/base/hash.h"
#include "common/rpc/blob_client.h"
#include "common/rpc/channel.h"
#include "tests/bench/bench.h"
#include "tests/harness/cluster.h"

namespace atelier::test {
namespace {

constexpr size_t kBytes = 512 << 20;
constexpr int kRuns = 3;

std::string Noise(uint64_t seed) {
  std::string bytes(kBytes, '\0');
  uint64_t state = seed;
  for (size_t i = 0; i < kBytes; i += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    bytes.replace(i, sizeof state, reinterpret_cast<const char*>(&state), sizeof state);
  }
  return bytes;
}

// Processor seconds of this process and of another, so far: unlike the rate they say the same on a busy machine.
double CpuSeconds(pid_t other) {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  std::ifstream in(Cat("/proc/", other, "/stat"));
  std::string text;
  std::getline(in, text);
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;  // up to the 13th
  double user = 0, system = 0;
  fields >> user >> system;
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6 +
         (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Takes as much memory as the measurement will, and gives it back: a virtual machine gets its memory from the host at
// the first touch, page by page, which is the host's speed and not the stream's.
void WarmMemory() {
  std::vector<std::string> all(kRuns + 2);
  for (std::string& bytes : all) bytes.assign(kBytes, 'x');
}

// Best of a few: what else runs on the machine only ever takes away.
struct Rates {
  double put = 0, get = 0;          // MB/s
  double put_cpu = 0, get_cpu = 0;  // processor seconds of both sides a GB, mean
};
Rates Measure(const std::string& folder) {
  REQUIRE(setenv("TMPDIR", folder.c_str(), 1) == 0);
  WarmMemory();
  Cluster cluster;
  BlobClient client(MakeChannel(cluster.address()));
  std::string bytes = Noise(88172645463325252ULL);
  Rates best;
  for (int i = 0; i < kRuns; ++i) {
    bytes[0] = static_cast<char>(i);  // else the master has it already
    const std::string hash = Sha256Hex(bytes);
    const double cpu = CpuSeconds(cluster.master().pid());
    auto begin = bench::Clock::now();
    const Status put = client.Put(hash, bytes);
    best.put = std::max(best.put, static_cast<double>(kBytes) / bench::Since(begin) / 1e6);
    INFO(Message(put));
    REQUIRE(put.ok());
    const double cpu_between = CpuSeconds(cluster.master().pid());
    begin = bench::Clock::now();
    const StatusOr<std::string> got = client.Get(hash, kBytes);
    best.get = std::max(best.get, static_cast<double>(kBytes) / bench::Since(begin) / 1e6);
    const double cpu_after = CpuSeconds(cluster.master().pid());
    best.put_cpu += (cpu_between - cpu) * 1e9 / kBytes / kRuns;
    best.get_cpu += (cpu_after - cpu_between) * 1e9 / kBytes / kRuns;
    REQUIRE(got.ok());
    CHECK(*got == bytes);
  }
  return best;
}

TEST_CASE("blob streaming over loopback") {
  const char* before = getenv("TMPDIR");
  const std::string disk = before != nullptr ? before : "/tmp";
  const auto note = [](double cpu, const char* where) {
    char text[160];
    std::snprintf(text, sizeof text, "one stream, %zu MiB, best of %d, %s; %.2f processor seconds a GB on both sides",
                  kBytes >> 20, kRuns, where, cpu);
    return std::string(text);
  };
  const Rates memory = Measure("/dev/shm");
  CHECK(bench::Report("blob put", memory.put, "MB/s", bench::Side::kAtLeast, 500,
                      note(memory.put_cpu, "state in /dev/shm")));
  CHECK(bench::Report("blob get", memory.get, "MB/s", bench::Side::kAtLeast, 500,
                      note(memory.get_cpu, "state in /dev/shm")));
  const Rates drive = Measure(disk);
  bench::Tell("blob put on disk", drive.put, "MB/s",
              note(drive.put_cpu, "durable at the end: the disk's speed is in it"));
  bench::Tell("blob get on disk", drive.get, "MB/s", note(drive.get_cpu, "in the page cache"));
}

}  // namespace
}  // namespace atelier::test
