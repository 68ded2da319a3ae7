// Where a network's weights come from: named tensors of a model file, as views on the mapped file.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace atelier::engine {

/// Named tensors in their stored types. Opening reads names, types and shapes; the bytes are paged in when a tensor is
/// used. A value: copies share the tensors. Thread: const any.
class WeightSource {
 public:
  using Tensors = std::map<std::string, at::Tensor, std::less<>>;

  WeightSource() = default;
  /// `file` names the source in errors.
  WeightSource(std::string file, Tensors tensors);

  /// Opens a safetensors file, or a state dictionary of torch.save (see pickle.h). Errors: NOT_FOUND; INVALID_ARGUMENT
  /// or DATA_LOSS for a damaged file or another format, naming the file (without its folder) and the tensor.
  static StatusOr<WeightSource> Open(const std::string& path);

  const std::string& file() const { return file_; }
  const Tensors& tensors() const { return *tensors_; }
  const std::map<std::string, std::string, std::less<>>& metadata() const { return *metadata_; }
  /// The tensor, or an undefined one.
  at::Tensor Find(std::string_view name) const;
  bool Has(std::string_view name) const { return tensors_->find(name) != tensors_->end(); }
  /// Whether any name starts with `prefix`.
  bool HasPrefix(std::string_view prefix) const;
  /// Dimension `dim` of a tensor, or 0 when there is no such tensor or dimension.
  int64_t Dim(std::string_view name, int64_t dim) const;
  /// The tensors whose names start with `prefix`, without it.
  WeightSource Prefixed(std::string_view prefix) const;
  /// Number of consecutive i = 0, 1, ... for which a name starts with `prefix` + i + ".".
  int64_t CountBlocks(std::string_view prefix) const;
  /// Bytes of all tensors as stored.
  int64_t bytes() const;

 private:
  std::string file_;
  std::shared_ptr<const Tensors> tensors_ = std::make_shared<Tensors>();
  std::shared_ptr<const std::map<std::string, std::string, std::less<>>> metadata_ =
      std::make_shared<std::map<std::string, std::string, std::less<>>>();
};

}  // namespace atelier::engine
