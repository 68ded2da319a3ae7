// Files that change the weights of a network: LoRA and its kin. Which names stand for which weight, and what a kind of
// adapter does to a weight, are extensions: one file below adapters/ and one registration each. Source: spec engine.md
// 8.1.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/registry.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::models {

/// A weight, or the part of a fused one that a name stands for.
struct AdapterTarget {
  std::string weight;              // tensor name
  int64_t offset = 0, length = 0;  // rows of dimension 0; length 0: all
};

/// Targets by the prefix that an adapter's tensors have in its file ("lora_unet_mid_block_...").
using AdapterNames = std::map<std::string, AdapterTarget, std::less<>>;

/// Adds the names that one convention gives to the weights of a network; adds none to networks it does not know.
struct AdapterNaming {
  enum class Side { kDiffusion, kText };
  Side side = Side::kDiffusion;
  std::function<void(const engine::WeightSource& weights, AdapterNames& names)> add;
};

#define ATELIER_REGISTER_ADAPTER_NAMING(name, order, ...)                           \
  static const bool ATELIER_CONCAT_(kAdapterNaming, __COUNTER__) =                  \
      ::atelier::Registry<::atelier::models::AdapterNaming>::Get().Add(name, order, \
                                                                       ::atelier::models::AdapterNaming __VA_ARGS__)

/// All names of the weights of a diffusion network (without prefix) or of a set of text encoders. Thread: any.
AdapterNames NamesFor(AdapterNaming::Side side, const engine::WeightSource& weights);

/// The tensors of an adapter file, and which of them were of use.
class AdapterFile {
 public:
  explicit AdapterFile(engine::WeightSource file) : file_(std::move(file)) {}
  /// Opens a file; its known departures from the usual names are undone. Errors: as WeightSource::Open.
  static StatusOr<AdapterFile> Open(const std::string& path);

  bool Has(std::string_view name) const { return file_.Has(name); }
  /// The tensor, or an undefined one; it counts as used.
  at::Tensor Take(const std::string& name);
  const engine::WeightSource& source() const { return file_; }
  /// Names that nothing has taken.
  std::vector<std::string> Unused() const;

 private:
  engine::WeightSource file_;
  std::set<std::string> used_;
};

/// The shape that the values of a "PREFIX.reshape_weight" [dimensions] spell. Thread: any.
std::vector<int64_t> ShapeIn(const at::Tensor& reshape);

/// What an adapter makes of a weight: f32 of the weight's shape in and out (out: that of "PREFIX.reshape_weight", if
/// the file has it). Runs on the weight's device, which may be "meta": no values are read then.
using AdapterChange = std::function<at::Tensor(const at::Tensor& weight, double strength)>;

/// A kind of adapter: reads what the file has under `prefix`. `suffix` ".weight" or ".bias" says which parameter of
/// the layer is asked for.
struct AdapterKind {
  std::function<std::optional<AdapterChange>(AdapterFile& file, const std::string& prefix, std::string_view suffix)>
      read;
};

/// A later kind (by order) replaces an earlier one under the same prefix.
#define ATELIER_REGISTER_ADAPTER(name, order, ...)                                \
  static const bool ATELIER_CONCAT_(kAdapterKind, __COUNTER__) =                  \
      ::atelier::Registry<::atelier::models::AdapterKind>::Get().Add(name, order, \
                                                                     ::atelier::models::AdapterKind __VA_ARGS__)

/// `x` in f32 on the device of `like`.
at::Tensor Beside(const at::Tensor& x, const at::Tensor& like);
/// The number in the file's tensor `name`, if there is one.
std::optional<double> TakeNumber(AdapterFile& file, const std::string& name);
/// weight + strength * scale * delta, or with `dora` (may be undefined) its decomposition into direction and magnitude.
at::Tensor Applied(const at::Tensor& weight, const at::Tensor& delta, const at::Tensor& dora, double scale,
                   double strength);

/// What a file changes in one network.
struct AdapterResult {
  engine::WeightPatches patches;
  std::vector<std::string> misfits;  // prefixes whose shapes do not fit their weight; left out
};

/// The changes that `file` makes to `weights` at `strength`. Reads names and shapes only. Thread: any.
AdapterResult ReadAdapter(AdapterFile& file, AdapterNaming::Side side, const engine::WeightSource& weights,
                          double strength);

/// `more` after `patches`. Thread: any.
engine::WeightPatches Joined(engine::WeightPatches patches, const engine::WeightPatches& more);

/// The model with `more` after the changes that it has. `identity` says what they are, for caches; empty: unknown.
/// Errors: INVALID_ARGUMENT when the model cannot be altered; those of building. Thread: any.
StatusOr<engine::Model> WithPatches(const engine::Model& model, const engine::WeightPatches& more,
                                    const std::string& identity);
/// The same of text encoders.
StatusOr<engine::Clip> WithPatches(const engine::Clip& clip, const engine::WeightPatches& more,
                                   const std::string& identity);

}  // namespace atelier::models
