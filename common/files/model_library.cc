#include "common/files/model_library.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>

#include "common/base/log.h"
#include "common/files/models.h"

namespace atelier {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kNice = 10;
constexpr milliseconds kTellEvery{1000};   // while hashes come in
constexpr milliseconds kOthersTurn{1000};  // looks again for what another process hashed
constexpr size_t kFaultsToldMax = 1000;
constexpr size_t kOpenedMax = 16;  // manifests kept in memory

}  // namespace

ModelLibrary::ModelLibrary(LibraryOptions options) : options_(std::move(options)) {
  if (!options_.cache_dir.empty()) {
    StatusOr<ManifestCache> cache = ManifestCache::Open(options_.cache_dir);
    if (cache.ok())
      cache_ = std::move(*cache);
    else
      LogWarning("models are not known by hash: ", Message(cache.status()));
  }
  Scan();
}

ModelLibrary::~ModelLibrary() { Stop(); }

void ModelLibrary::Start() {
  if (!options_.roots.empty() && !thread_.joinable()) thread_ = std::thread([this] { Loop(); });
}

void ModelLibrary::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void ModelLibrary::Rescan() {
  const std::lock_guard lock(mutex_);
  rescan_ = true;
  wake_.notify_all();
}

void ModelLibrary::Refresh() {
  if (Scan()) Rescan();  // so that the thread tells
}

void ModelLibrary::Hurry(const std::string& folder, const std::string& name) {
  const std::lock_guard lock(mutex_);
  hurry_ = {folder, name};
}

void ModelLibrary::Know(const std::string& path, const ModelManifest& manifest) {
  std::error_code error;
  const std::string real = std::filesystem::canonical(path, error).string();
  const StatusOr<ModelIdentity> identity = IdentifyModel(real);
  if (!identity.ok() || identity->size != manifest.size || !cache_) return;
  const Status kept = cache_->Put(real, *identity, manifest);
  if (!kept.ok()) LogWarning("the hash of \"", path, "\" could not be kept: ", Message(kept));
}

std::shared_ptr<const ModelLibrary::List> ModelLibrary::models() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

Inventory ModelLibrary::inventory() const {
  Inventory inventory;
  for (const LibraryModel& model : *models()) inventory.files[model.folder].push_back(model.name);
  return inventory;
}

std::optional<LibraryModel> ModelLibrary::Find(std::string_view folder, std::string_view name) const {
  const auto list = models();
  const auto it =
      std::lower_bound(list->begin(), list->end(), std::pair(folder, name), [](const auto& m, const auto& key) {
        return std::pair<std::string_view, std::string_view>(m.folder, m.name) < key;
      });
  if (it == list->end() || it->folder != folder || it->name != name) return std::nullopt;
  return *it;
}

std::optional<LibraryModel> ModelLibrary::FindHash(std::string_view hash) const {
  if (hash.empty()) return std::nullopt;
  const auto list = models();
  const auto it = std::find_if(list->begin(), list->end(), [&](const auto& model) { return model.hash == hash; });
  if (it == list->end()) return std::nullopt;
  return *it;
}

StatusOr<ModelLibrary::Opened> ModelLibrary::Open(std::string_view hash) const {
  const auto list = models();
  for (const LibraryModel& model : *list) {
    if (model.hash != hash || hash.empty() || !cache_) continue;
    UniqueFd fd(open(model.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd.valid()) continue;
    const StatusOr<ModelIdentity> identity = IdentifyModel(fd.get());
    if (!identity.ok()) continue;
    {
      const std::lock_guard lock(mutex_);
      const auto recent = opened_.find(model.hash);
      if (recent != opened_.end() && recent->second.first == *identity)
        return Opened{std::move(fd), recent->second.second, model.path};
    }
    std::optional<ModelManifest> found = cache_->Find(model.path, *identity);
    if (!found || found->hash != hash) continue;
    auto manifest = std::make_shared<const ModelManifest>(std::move(*found));
    const std::lock_guard lock(mutex_);
    if (opened_.size() >= kOpenedMax) opened_.erase(opened_.begin());
    opened_[model.hash] = {*identity, manifest};
    return Opened{std::move(fd), std::move(manifest), model.path};
  }
  return NotFound("no model file here has the hash ", hash);
}

std::string ModelLibrary::HashOf(const std::string& path) {
  if (!cache_) return "";
  const StatusOr<ModelIdentity> identity = IdentifyModel(path);
  if (!identity.ok()) return "";
  {
    const std::lock_guard lock(mutex_);
    const auto known = known_.find(path);
    if (known != known_.end() && known->second.identity == *identity) return known->second.hash;
  }
  const std::optional<ModelManifest> manifest = cache_->Find(path, *identity);
  if (!manifest) return "";
  const std::lock_guard lock(mutex_);
  known_[path] = {*identity, manifest->hash};
  return manifest->hash;
}

bool ModelLibrary::Scan() {
  const std::lock_guard scanning(scan_mutex_);
  auto list = std::make_shared<List>();
  for (const auto& [folder, names] : ScanModels(options_.roots).files) {
    for (const std::string& name : names) {
      const StatusOr<std::string> path = ResolveModel(options_.roots, folder, name);
      if (!path.ok()) continue;
      const StatusOr<ModelIdentity> identity = IdentifyModel(*path);
      if (!identity.ok()) continue;
      list->push_back({folder, name, *path, identity->size, HashOf(*path)});
    }
  }
  std::sort(list->begin(), list->end(), [](const LibraryModel& a, const LibraryModel& b) {
    return std::pair<std::string_view, std::string_view>(a.folder, a.name) <
           std::pair<std::string_view, std::string_view>(b.folder, b.name);
  });
  std::set<std::string_view> paths;
  for (const LibraryModel& model : *list) paths.insert(model.path);
  const std::lock_guard lock(mutex_);
  std::erase_if(known_, [&](const auto& entry) { return !paths.contains(entry.first); });
  if (*list == *models_) return false;
  models_ = std::move(list);
  return true;
}

bool ModelLibrary::Adopt(const std::string& path, const std::string& hash) {
  if (hash.empty()) return false;
  const std::lock_guard lock(mutex_);
  auto list = std::make_shared<List>(*models_);
  for (LibraryModel& model : *list)
    if (model.path == path) model.hash = hash;
  models_ = std::move(list);
  return true;
}

void ModelLibrary::Loop() {
  constexpr int kIoIdle = 3 << 13;  // IOPRIO_CLASS_IDLE
  syscall(SYS_ioprio_set, 1, 0, kIoIdle);
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
  std::set<std::string> faults;  // paths that could not be hashed as they are: tried again when they change
  bool untold = true;
  Clock::time_point told{};
  Clock::time_point next_scan = Clock::now() + milliseconds(options_.scan_ms);
  for (;;) {
    bool scan = false;
    std::pair<std::string, std::string> hurry;
    {
      const std::lock_guard lock(mutex_);
      if (stop_) return;
      hurry = hurry_;
      untold |= rescan_;
      scan = rescan_ || Clock::now() >= next_scan;
      rescan_ = false;
    }
    if (scan) {
      untold |= Scan();
      faults.clear();
      next_scan = Clock::now() + milliseconds(options_.scan_ms);
    }
    // The next file without a hash.
    std::string path;
    if (cache_)
      for (const auto list = models(); const LibraryModel& model : *list) {
        if (!model.hash.empty() || faults.contains(model.path)) continue;
        const bool first = model.folder == hurry.first && model.name == hurry.second;
        if (path.empty() || first) path = model.path;
        if (first) break;
      }
    bool others_turn = false;
    if (!path.empty()) {
      const std::optional<ManifestCache::Turn> turn = cache_->TryTurn();
      if (!turn) {
        others_turn = true;
      } else if (HashOf(path).empty()) {  // else another process was first
        const StatusOr<ModelIdentity> identity = IdentifyModel(path);
        const StatusOr<ModelManifest> manifest = DigestModel(path, stop_);
        Status kept = manifest.status();
        if (identity.ok() && manifest.ok()) kept = cache_->Put(path, *identity, *manifest);
        if (!kept.ok() && !stop_) {
          if (faults.size() < kFaultsToldMax) LogWarning("the hash of a model is not known: ", Message(kept));
          faults.insert(path);
        }
      }
      untold |= Adopt(path, HashOf(path));
    }
    const Clock::time_point now = Clock::now();
    const bool idle = path.empty() || others_turn;
    if (untold && (idle || now - told >= kTellEvery)) {
      untold = false;
      told = now;
      if (options_.changed) options_.changed();
    }
    if (!idle) continue;
    std::unique_lock lock(mutex_);
    wake_.wait_until(lock, others_turn ? std::min(next_scan, now + kOthersTurn) : next_scan,
                     [&] { return stop_ || rescan_; });
  }
}

}  // namespace atelier
