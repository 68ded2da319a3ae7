// Where a network's weights come from: named tensors of a model file, as views on the mapped file.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace atelier::engine {

/// The values of a stored tensor whose bytes are no plain numbers (a quantised block format, scaled fp8): a floating
/// point tensor of the logical shape on the device of `stored`. Of one that is stored as [rows,n], some rows give
/// theirs.
using WeightDecoder = std::function<at::Tensor(const at::Tensor& stored)>;

/// Changes a weight as it is loaded: f32 of the logical shape in and out, on the same device; on "meta" no values are
/// read and the shape alone counts. Thread: any.
using WeightPatch = std::function<at::Tensor(const at::Tensor& weight)>;
/// By tensor name, applied in order.
using WeightPatches = std::map<std::string, std::vector<WeightPatch>, std::less<>>;

/// What stands between a stored tensor and the weight that a layer uses.
struct WeightExtras {
  at::Tensor encoded;  // with `decoder`: the bytes as stored; the source's own tensor then has shape and type only
  WeightDecoder decoder;
  std::vector<WeightPatch> patches;
};

/// Named tensors in their stored types. Opening reads names, types and shapes; the bytes are paged in when a tensor is
/// used. A value: copies share the tensors. Thread: const any.
class WeightSource {
 public:
  using Tensors = std::map<std::string, at::Tensor, std::less<>>;

  WeightSource() = default;
  using Extras = std::map<std::string, WeightExtras, std::less<>>;
  /// `file` names the source in errors. An encoded tensor stands in `tensors` by its shape (on the meta device).
  WeightSource(std::string file, Tensors tensors, Extras extras = {});

  /// Opens a safetensors file, or a state dictionary of torch.save or GGUF. Errors: NOT_FOUND; INVALID_ARGUMENT
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
  /// The shape that a tensor has once its patches have run; empty when there is none. Throws what they throw.
  std::vector<int64_t> PatchedShape(std::string_view name) const;
  /// The tensor's decoder and patches, or null for a plain one.
  const WeightExtras* ExtrasOf(std::string_view name) const;
  /// The weight of that name as f32 of the logical shape on `device`: decoded, with the source's own patches and then
  /// `patches`. Undefined when there is none. Throws what torch throws.
  at::Tensor Value(std::string_view name, const at::Device& device, const WeightPatches& patches = {}) const;
  /// The same source with changed weights, by the names that it has now. Names that it does not have are dropped.
  WeightSource Patched(const WeightPatches& patches) const;
  /// The tensors under other names; an empty name drops the tensor. Extras go along.
  WeightSource Renamed(const std::function<std::string(const std::string&)>& rename) const;
  /// The tensors whose names start with `prefix`, without it.
  WeightSource Prefixed(std::string_view prefix) const;
  /// Number of consecutive i = 0, 1, ... for which a name starts with `prefix` + i + ".".
  int64_t CountBlocks(std::string_view prefix) const;
  /// Bytes of all tensors as stored.
  int64_t bytes() const;

 private:
  std::string file_;
  std::shared_ptr<const Tensors> tensors_ = std::make_shared<Tensors>();
  std::shared_ptr<const Extras> extras_ = std::make_shared<Extras>();
  std::shared_ptr<const std::map<std::string, std::string, std::less<>>> metadata_ =
      std::make_shared<std::map<std::string, std::string, std::less<>>>();
};

}  // namespace atelier::engine
