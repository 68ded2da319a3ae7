// The process's engine: its device, the weights that hold memory, and the networks built from model files.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/engine/residency.h"

namespace atelier::engine {

struct EngineOptions {
  at::Device device = at::Device(at::kCPU);
  int64_t resident_bytes_max = 0;  // of loaded weights; 0: 3/4 of the GPU's memory, or of the machine's for the CPU
  std::vector<std::string> embedding_folders;  // models/embeddings of every models root
};

/// Built networks by (file, size, modification time, part): building reads names and shapes only, the weights follow
/// when a network first runs. Thread: any.
class ModelCache {
 public:
  explicit ModelCache(size_t entries_max) : entries_max_(entries_max) {}

  /// The part of the file, from the cache or made by `make`. Errors: NOT_FOUND when the file is absent, else those of
  /// `make`.
  template <typename T>
  StatusOr<std::shared_ptr<const T>> Get(const std::string& path, std::string_view part,
                                         const std::function<StatusOr<std::shared_ptr<const T>>()>& make) {
    ASSIGN_OR_RETURN(const std::string key, KeyOf(path, part));
    return GetMade<T>(key, make);
  }
  /// An object made of several files and settings: `identity` tells all of them. Errors: those of `make`.
  template <typename T>
  StatusOr<std::shared_ptr<const T>> GetMade(const std::string& identity,
                                             const std::function<StatusOr<std::shared_ptr<const T>>()>& make) {
    if (auto found = Find(identity)) return std::static_pointer_cast<const T>(found);
    ASSIGN_OR_RETURN(std::shared_ptr<const T> made, make());
    Insert(identity, made);
    return made;
  }
  /// Path, size, modification time and part: equal for equal contents. Errors: NOT_FOUND.
  static StatusOr<std::string> KeyOf(const std::string& path, std::string_view part);
  void Clear();
  size_t size() const;

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const void> object;
  };
  std::shared_ptr<const void> Find(const std::string& key);
  void Insert(const std::string& key, std::shared_ptr<const void> object);

  mutable std::mutex mutex_;
  size_t entries_max_;
  std::list<Entry> entries_;  // last used first
};

/// What loaders need. One a process in a worker; tests make their own. Thread: any.
class Engine {
 public:
  explicit Engine(EngineOptions options);
  const EngineOptions& options() const { return options_; }
  const at::Device& device() const { return options_.device; }
  const std::shared_ptr<Residency>& residency() const { return residency_; }
  ModelCache& models() { return models_; }

 private:
  EngineOptions options_;
  std::shared_ptr<Residency> residency_;
  ModelCache models_{64};
};

/// The process's engine; on the CPU with default options unless ConfigureEngine ran before. Thread: any.
Engine& TheEngine();

/// Sets the options of TheEngine(). REQUIRES: called before its first use. Thread: main, once.
void ConfigureEngine(EngineOptions options);

}  // namespace atelier::engine
