#include "worker/text/embeddings.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "worker/engine/weights.h"

namespace atelier::text {
namespace {

namespace fs = std::filesystem;
constexpr size_t kFoldersMax = 10'000;

// `name` below `root`, if it is a file that does not leave it.
std::optional<std::string> Inside(const fs::path& root, const fs::path& base, const std::string& name) {
  std::error_code error;
  const fs::path found = fs::weakly_canonical(base / name, error);
  if (error || !fs::is_regular_file(found, error) || error) return std::nullopt;
  const auto [root_end, rest] = std::mismatch(root.begin(), root.end(), found.begin(), found.end());
  if (root_end != root.end()) return std::nullopt;
  return found.string();
}

std::optional<std::string> FindFile(const std::vector<std::string>& folders, const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos || fs::path(name).is_absolute()) return std::nullopt;
  for (const std::string& folder : folders) {
    std::error_code error;
    const fs::path root = fs::canonical(folder, error);
    if (error) continue;
    std::vector<fs::path> bases{root};
    for (fs::recursive_directory_iterator it(root, fs::directory_options::skip_permission_denied, error), end;
         !error && it != end && bases.size() < kFoldersMax; it.increment(error)) {
      if (it->is_directory(error)) bases.push_back(it->path());
    }
    std::sort(bases.begin() + 1, bases.end());
    for (const fs::path& base : bases) {
      for (const char* extension : {"", ".safetensors", ".pt", ".bin"}) {
        if (auto found = Inside(root, base, name + extension)) return found;
      }
    }
  }
  return std::nullopt;
}

// Whether a tensor lies in one of the dictionaries of a list: "0.name".
bool OfList(const std::string& name) {
  const size_t digits = name.find_first_not_of("0123456789");
  return digits != std::string::npos && digits > 0 && name[digits] == '.';
}

}  // namespace

EmbeddingLookup EmbeddingsIn(std::vector<std::string> folders, std::string key, int64_t width) {
  return [folders = std::move(folders), key = std::move(key), width](const std::string& name) -> StatusOr<at::Tensor> {
    const std::optional<std::string> path = FindFile(folders, name);
    if (!path) return at::Tensor();
    ASSIGN_OR_RETURN(const engine::WeightSource file, engine::WeightSource::Open(*path));
    at::Tensor vectors;
    std::vector<at::Tensor> bundle, listed;
    for (const auto& [tensor_name, tensor] : file.tensors()) {
      if (!vectors.defined() && tensor_name.starts_with("string_to_param.")) vectors = tensor;
      if (tensor_name.starts_with("bundle_emb.") &&
          (tensor_name.find(".string_to_param.") != std::string::npos || tensor_name.ends_with("." + key))) {
        bundle.push_back(tensor);
      }
      if (OfList(tensor_name) && tensor.dim() > 0 && tensor.size(-1) == width)
        listed.push_back(tensor.reshape({-1, width}));
    }
    if (!vectors.defined() && !listed.empty()) vectors = at::cat(listed, 0);
    if (!vectors.defined()) vectors = file.Find(key);
    if (!vectors.defined() && !bundle.empty()) vectors = at::cat(bundle, 0);
    if (!vectors.defined() && !file.tensors().empty()) vectors = file.tensors().begin()->second;
    if (!vectors.defined()) return InvalidArgument("embedding \"", name, "\" holds no tensor");
    if (vectors.dim() == 1) vectors = vectors.unsqueeze(0);
    if (vectors.dim() != 2 || !vectors.is_floating_point()) {
      return InvalidArgument("embedding \"", name, "\" has to hold vectors [n,", width, "]");
    }
    return vectors.to(at::kFloat);
  };
}

}  // namespace atelier::text
