// Model files of tests of sharing, and what the cluster says about them.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "common/base/hash.h"
#include "tests/harness/cluster.h"
#include "tests/ops/probe.h"
#include "worker/session/session.h"

namespace atelier::test {

inline ClusterOptions Sharing(const std::string& models_config = "") {
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  options.own_models = true;
  options.config = "models:\n  share: auto\n" + models_config + "metrics:\n  listen: 127.0.0.1:0\n";
  return options;
}

/// Writes a file of noise without holding it in memory.
inline void WriteModel(const std::string& path, uint64_t bytes, uint64_t seed) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream out(path, std::ios::binary);
  std::vector<uint64_t> block(1 << 17);
  uint64_t state = seed * 2 + 88172645463325252ULL;
  for (uint64_t done = 0; done < bytes;) {
    for (uint64_t& word : block) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      word = state;
    }
    const uint64_t n = std::min<uint64_t>(bytes - done, block.size() * sizeof(uint64_t));
    out.write(reinterpret_cast<const char*>(block.data()), static_cast<std::streamsize>(n));
    done += n;
  }
  REQUIRE(out.good());
}

inline bool SameBytes(const std::string& a, const std::string& b) {
  std::ifstream left(a, std::ios::binary), right(b, std::ios::binary);
  std::vector<char> x(1 << 20), y(1 << 20);
  if (!left || !right) return false;
  for (;;) {
    left.read(x.data(), static_cast<std::streamsize>(x.size()));
    right.read(y.data(), static_cast<std::streamsize>(y.size()));
    if (left.gcount() != right.gcount()) return false;
    if (left.gcount() == 0) return true;
    if (!std::equal(x.begin(), x.begin() + left.gcount(), y.begin())) return false;
  }
}

/// Flips one bit as a disk would: the file's times stay.
inline void FlipBit(const std::string& path, int64_t at) {
  struct stat before {};
  REQUIRE(stat(path.c_str(), &before) == 0);
  const int fd = open(path.c_str(), O_RDWR);
  REQUIRE(fd >= 0);
  char c = 0;
  REQUIRE(pread(fd, &c, 1, at) == 1);
  c = static_cast<char>(c ^ 4);
  REQUIRE(pwrite(fd, &c, 1, at) == 1);
  const timespec times[2] = {before.st_atim, before.st_mtim};
  REQUIRE(futimens(fd, times) == 0);
  close(fd);
}

inline int ProbePort(Process& master) {
  REQUIRE(master.WaitLog("metrics and health on port ", 20));
  const std::string log = master.Log();
  return std::atoi(log.c_str() + log.find("health on port ") + 15);
}
inline double MasterSent(Cluster& cluster) {
  return Metric(Get(ProbePort(cluster.master()), "/metrics"), "atelier_model_bytes_sent_total");
}

/// The holder `worker` of a file, "" in `worker()` when there is none.
inline v1::ModelHolder HolderOf(Cluster& cluster, const std::string& name, const std::string& worker) {
  const auto list = cluster.client().ListModels("");
  if (!list.ok()) return {};
  for (const v1::ModelEntry& model : list->models())
    if (model.name() == name)
      for (const v1::ModelHolder& holder : model.holders())
        if (holder.worker() == worker && !holder.master()) return holder;
  return {};
}
inline bool Has(Cluster& cluster, const std::string& name, const std::string& worker) {
  const v1::ModelHolder holder = HolderOf(cluster, name, worker);
  return holder.worker() == worker && holder.state().empty();
}
/// Waits until the machine ("master" too) tells the file's hash.
inline void WaitHashed(Cluster& cluster, const std::string& name, const std::string& machine) {
  REQUIRE(Until(
      [&] {
        const auto list = cluster.client().ListModels("");
        if (!list.ok()) return false;
        for (const v1::ModelEntry& model : list->models())
          if (model.name() == name && !model.hash().empty())
            for (const v1::ModelHolder& holder : model.holders())
              if (holder.worker() == machine && holder.state().empty()) return true;
        return false;
      },
      120));
}
inline Status Pull(Cluster& cluster, const std::string& name, const std::string& worker,
                   const std::string& action = "pull") {
  v1::OrderModelRequest request;
  request.set_action(action);
  request.set_name(name);
  request.set_worker(worker);
  return cluster.client().OrderModel(request).status();
}
inline void WaitConnected(Cluster& cluster, const std::string& worker) {
  REQUIRE(Until([&] {
    const auto list = cluster.client().ListWorkers();
    if (!list.ok()) return false;
    for (const v1::Worker& one : list->workers())
      if (one.name() == worker && one.state() == "connected") return true;
    return false;
  }));
}

}  // namespace atelier::test
