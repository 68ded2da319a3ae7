#include "worker/engine/model_cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <limits>

#include "common/base/check.h"

namespace atelier::engine {

StatusOr<std::string> ModelCache::KeyOf(const std::string& path, std::string_view part) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return NotFound("file \"", path.substr(path.rfind('/') + 1), "\" is absent");
  return Cat(path, '\n', info.st_size, ' ', info.st_mtim.tv_sec, '.', info.st_mtim.tv_nsec, ' ', info.st_ino, '\n',
             part);
}

std::shared_ptr<const void> ModelCache::Find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (it->key != key) continue;
    entries_.splice(entries_.begin(), entries_, it);
    return entries_.front().object;
  }
  return nullptr;
}

void ModelCache::Insert(const std::string& key, std::shared_ptr<const void> object) {
  const std::lock_guard lock(mutex_);
  entries_.push_front({key, std::move(object)});
  if (entries_.size() > entries_max_) entries_.pop_back();
}

void ModelCache::Clear() {
  const std::lock_guard lock(mutex_);
  entries_.clear();
}

size_t ModelCache::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

Engine::Engine(EngineOptions options) : options_(std::move(options)) {
  if (options_.resident_bytes_max <= 0) {
    const int64_t total = options_.device.is_cuda() ? MemoryOf(options_.device).total
                                                    : static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) *
                                                          static_cast<int64_t>(::sysconf(_SC_PAGESIZE));
    // Unknown: no bound but that of the device, whose refusals are answered by unloading.
    options_.resident_bytes_max = total > 0 ? total / 4 * 3 : std::numeric_limits<int64_t>::max();
  }
  residency_ = std::make_shared<Residency>(options_.resident_bytes_max);
}

namespace {
EngineOptions* g_options = nullptr;
bool g_made = false;
}  // namespace

Engine& TheEngine() {
  // Never destroyed: CUDA is gone by the time static destructors run.
  static Engine* const engine = [] {
    g_made = true;
    return new Engine(g_options != nullptr ? *g_options : EngineOptions{});
  }();
  return *engine;
}

void ConfigureEngine(EngineOptions options) {
  ATELIER_CHECK(!g_made);
  delete g_options;
  g_options = new EngineOptions(std::move(options));
}

}  // namespace atelier::engine
