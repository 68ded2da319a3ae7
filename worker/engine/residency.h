// Which weights hold memory: parameters are views on files until a network runs, and the least recently used ones give
// theirs back when the limit is reached.
#pragma once

#include <ATen/ATen.h>

#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "worker/engine/device.h"
#include "worker/engine/weights.h"

namespace atelier::engine {

/// One parameter. `stored` is the view on the file, `live` what layers use: the same, or a copy on the device in the
/// storage type. A parameter with a decoder stays encoded on the device and is decoded, then patched, at each use; the
/// patches of others are applied once, when they are loaded.
struct ParamSlot {
  at::Tensor stored;
  at::Tensor live;
  WeightDecoder decoder;
  std::vector<WeightPatch> patches;

  /// The weight in type `type`. REQUIRES: the set is loaded.
  at::Tensor As(at::ScalarType type) const;
};
/// A parameter of a layer; null for an absent one (a bias).
using Param = std::shared_ptr<ParamSlot>;

class Residency;

/// The parameters of one network, loaded and unloaded as a whole. Thread: one at a time.
class ParamSet {
 public:
  ParamSet(at::Device device, Part part, std::shared_ptr<Residency> residency);
  ~ParamSet();
  ParamSet(const ParamSet&) = delete;
  ParamSet& operator=(const ParamSet&) = delete;

  /// extras: the parameter's decoder and patches, or null.
  Param Add(at::Tensor stored, const WeightExtras* extras = nullptr);
  /// Brings all parameters to the device and marks the set as used last; other sets may be unloaded for it. Cheap when
  /// they are there. Call at the start of every forward pass. Throws torch's exceptions (out of memory).
  void Load();
  /// Gives the memory back; Load() brings it again.
  void Unload();

  const at::Device& device() const { return device_; }
  at::ScalarType compute() const { return precision().compute; }
  Precision precision() const { return PrecisionFor(device_, part_, stored_bytes_); }
  bool loaded() const { return loaded_; }
  /// Bytes that Load() takes; 0 when the parameters are used straight from the file.
  int64_t live_bytes() const;

 private:
  at::Device device_;
  Part part_;
  std::shared_ptr<Residency> residency_;
  std::vector<Param> params_;
  int64_t stored_bytes_ = 0, elements_ = 0;
  int64_t encoded_bytes_ = 0;  // of those with a decoder, which are not in elements_
  int64_t patched_bytes_ = 0;  // in float32, of those with patches and no decoder
  bool loaded_ = false;
};

/// The loaded sets of a process, least recently used first. Thread: any; sets themselves one at a time.
class Residency {
 public:
  explicit Residency(int64_t bytes_max) : bytes_max_(bytes_max) {}

  /// Unloads others until `set` fits beside them (or none is left), and puts it last.
  void Use(ParamSet& set);
  void Forget(ParamSet& set);
  /// Unloads all but `keep` (which may be null); for a second try after memory ran out.
  void UnloadAll(const ParamSet* keep = nullptr);
  /// Bytes of the sets that are loaded.
  int64_t bytes() const;

 private:
  mutable std::mutex mutex_;
  int64_t bytes_max_;
  std::list<ParamSet*> sets_;
};

}  // namespace atelier::engine
