#include "common/files/models.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <memory>
#include <set>
#include <utility>

#include "common/base/log.h"
#include "common/files/files.h"
#include "common/graph/prompt.h"

namespace atelier {
namespace {

constexpr int kDepthMax = 32;          // nested folders; deeper is a loop of links
constexpr size_t kNamesMax = 100'000;  // of one folder, as the wire bounds it

struct Folder {
  const char* name;
  std::vector<const char*> directories;  // in the order they are searched
  std::vector<const char*> extensions;   // empty: the extensions of models
};

const std::vector<Folder>& Folders() {
  static const std::vector<Folder> folders = {
      {"checkpoints", {"checkpoints"}, {}},
      {"clip_vision", {"clip_vision"}, {}},
      {"configs", {"configs"}, {".yaml", ".yml"}},
      {"controlnet", {"controlnet", "t2i_adapter"}, {}},
      {"diffusion_models", {"diffusion_models", "unet"}, {}},
      {"embeddings", {"embeddings"}, {}},
      {"gligen", {"gligen"}, {}},
      {"hypernetworks", {"hypernetworks"}, {}},
      {"loras", {"loras"}, {}},
      {"photomaker", {"photomaker"}, {}},
      {"style_models", {"style_models"}, {}},
      {"text_encoders", {"text_encoders", "clip"}, {}},
      {"upscale_models", {"upscale_models"}, {}},
      {"unet_gguf", {"diffusion_models", "unet"}, {".gguf"}},
      {"clip_gguf",
       {"text_encoders", "clip"},
       {".gguf", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}},
      {"vae", {"vae"}, {}},
      {"vae_approx", {"vae_approx"}, {}},
  };
  return folders;
}

const std::vector<const char*>& ModelExtensions() {
  static const std::vector<const char*> extensions = {".ckpt", ".pt",          ".pt2", ".bin",
                                                      ".pth",  ".safetensors", ".pkl", ".sft"};
  return extensions;
}

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() > end.size() && text.substr(text.size() - end.size()) == end;
}

bool Offered(const Folder& folder, const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  const auto& extensions = folder.extensions.empty() ? ModelExtensions() : folder.extensions;
  return std::any_of(extensions.begin(), extensions.end(), [&](const char* e) { return EndsWith(lower, e); });
}

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

const Folder* FindFolder(std::string_view name) {
  for (const Folder& folder : Folders())
    for (const char* directory : folder.directories)
      if (name == folder.name || name == directory) return &folder;
  return nullptr;
}

void Walk(const Folder& folder, const std::string& base, std::set<std::string>& names) {
  // Each entry: name relative to base ("" for itself) and its depth.
  std::vector<std::pair<std::string, int>> open_folders = {{"", 0}};
  std::set<std::pair<dev_t, ino_t>> seen;
  while (!open_folders.empty()) {
    const auto [relative, depth] = std::move(open_folders.back());
    open_folders.pop_back();
    UniqueFd fd;
    if (relative.empty()) {
      fd = UniqueFd(open(base.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    } else {
      StatusOr<UniqueFd> opened = ConfinedOpen(base, relative);
      if (opened.ok()) fd = std::move(opened).value();
    }
    struct stat info {};
    if (!fd.valid() || fstat(fd.get(), &info) != 0 || !S_ISDIR(info.st_mode)) continue;
    if (!seen.emplace(info.st_dev, info.st_ino).second) continue;
    const std::unique_ptr<DIR, CloseDir> dir(fdopendir(fd.get()));
    if (dir == nullptr) continue;
    fd.Release();  // the stream owns it now
    while (const dirent* entry = readdir(dir.get())) {
      const std::string file = entry->d_name;
      if (file == "." || file == "..") continue;
      const std::string name = relative.empty() ? file : Cat(relative, "/", file);
      if (!IsSafeRelativeName(name)) continue;
      struct stat target {};
      if (fstatat(dirfd(dir.get()), file.c_str(), &target, 0) != 0) continue;
      if (S_ISDIR(target.st_mode)) {
        if (file.front() != '.' && depth < kDepthMax) open_folders.emplace_back(name, depth + 1);
      } else if (S_ISREG(target.st_mode) && Offered(folder, file)) {
        struct stat link {};
        if (fstatat(dirfd(dir.get()), file.c_str(), &link, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (S_ISLNK(link.st_mode) && !ConfinedOpen(base, name).ok()) continue;
        if (names.size() >= kNamesMax) {
          LogWarning("folder \"", base, "\" has more than ", kNamesMax, " models; the rest is left out");
          return;
        }
        names.insert(name);
      }
    }
  }
}

}  // namespace

std::vector<std::string> ModelFolders() {
  std::vector<std::string> names;
  for (const Folder& folder : Folders()) names.emplace_back(folder.name);
  return names;
}

Inventory ScanModels(const std::vector<std::string>& roots) {
  Inventory inventory;
  for (const Folder& folder : Folders()) {
    std::set<std::string> names;
    for (const std::string& root : roots)
      for (const char* directory : folder.directories) Walk(folder, Cat(root, "/", directory), names);
    if (!names.empty()) inventory.files[folder.name].assign(names.begin(), names.end());
  }
  return inventory;
}

StatusOr<std::string> ResolveModel(const std::vector<std::string>& roots, std::string_view folder,
                                   std::string_view name) {
  const Folder* known = FindFolder(folder);
  if (known == nullptr) return InvalidArgument("unknown models folder \"", folder, "\"");
  if (!IsSafeRelativeName(name)) return InvalidArgument("\"", name, "\" is not a name below the folder ", known->name);
  for (const std::string& root : roots) {
    for (const char* directory : known->directories) {
      const std::string base = Cat(root, "/", directory);
      StatusOr<UniqueFd> fd = ConfinedOpen(base, name);
      if (fd.status().code() == StatusCode::kInvalidArgument)
        return Annotate(fd.status(), Cat("models folder \"", base, "\""));
      if (!fd.ok()) continue;
      struct stat info {};
      if (fstat(fd->get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
      // The name behind the descriptor, so that a link replaced later leads nowhere else.
      char path[PATH_MAX];
      const ssize_t n = readlink(Cat("/proc/self/fd/", fd->get()).c_str(), path, sizeof(path));
      if (n > 0 && n < static_cast<ssize_t>(sizeof(path))) return std::string(path, static_cast<size_t>(n));
      const std::unique_ptr<char, decltype(&std::free)> real(realpath(Cat(base, "/", name).c_str(), nullptr),
                                                             &std::free);
      if (real != nullptr) return std::string(real.get());
    }
  }
  std::string searched;
  for (const std::string& root : roots) searched += Cat(searched.empty() ? "" : ", ", root, "/", known->name);
  return NotFound("model \"", name, "\" is not in ",
                  searched.empty() ? "any models folder: none is configured" : searched,
                  "; put the file there or choose another one");
}

StatusOr<std::string> ModelPlace(std::string_view folder, std::string_view name) {
  const Folder* known = FindFolder(folder);
  if (known == nullptr) return InvalidArgument("unknown models folder \"", folder, "\"");
  if (!IsSafeRelativeName(name) || name.find('\\') != std::string_view::npos)
    return InvalidArgument("\"", name.substr(0, size_t{1024}), "\" is not a name below the folder ", known->name);
  const std::string leaf(name.substr(name.rfind('/') + 1));
  if (leaf.front() == '.' || !Offered(*known, leaf)) {
    std::string endings;
    for (const char* ending : known->extensions.empty() ? ModelExtensions() : known->extensions)
      endings += Cat(endings.empty() ? "" : ", ", ending);
    return InvalidArgument("\"", name, "\" is no model of the folder ", known->name, "; names end in ", endings);
  }
  return std::string(known->directories.front());
}

}  // namespace atelier
