// Taking a changed configuration over while the master runs.
#pragma once

#include <functional>
#include <string>

#include "common/config/cluster_config.h"
#include "master/gateway/core.h"

namespace atelier {

/// Sets level and form of this process's log lines. Thread: any.
void ApplyLogSettings(const ClusterConfig::Log& log);

/// Thread: one at a time.
class Reloader {
 public:
  /// `workers_changed` is called with the new configuration when workers.* differ. `core` must outlive this.
  Reloader(std::string path, ClusterConfig running, Core* core,
           std::function<void(const ClusterConfig&)> workers_changed)
      : path_(std::move(path)),
        running_(std::move(running)),
        core_(core),
        workers_changed_(std::move(workers_changed)) {}

  /// Reads the file again. What differs is logged key by key and, where it can change at once, taken over; a file with
  /// faults changes nothing and its faults are logged by line. False for such a file.
  bool Reload();
  const ClusterConfig& running() const { return running_; }

 private:
  const std::string path_;
  ClusterConfig running_;
  Core* const core_;
  const std::function<void(const ClusterConfig&)> workers_changed_;
};

}  // namespace atelier
