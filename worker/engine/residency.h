// Which weights hold memory: parameters are views on files until a network runs, and the least recently used ones give
// theirs back when the limit is reached. A network that is larger than the limit is streamed. docs/memory.md.
#pragma once

#include <ATen/ATen.h>

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "worker/engine/device.h"
#include "worker/engine/weight_stream.h"
#include "worker/engine/weights.h"

namespace atelier::engine {

/// What a convolution on the CPU needs to know to keep its weight in the order in which the kernel reads it.
struct ConvPacking {
  int64_t stride = 1, padding = 0;
};

/// One parameter. `stored` is the view on the file, `live` what layers use: the same, or a copy on the device in the
/// storage type. A parameter with a decoder stays encoded on the device and is decoded, then patched, at each use; the
/// patches of others are applied once, when they are loaded.
struct ParamSlot {
  at::Tensor stored;
  at::Tensor live;
  WeightDecoder decoder;
  std::vector<WeightPatch> patches;
  std::optional<ConvPacking> packing;  // float32 weights on the CPU are packed when they are loaded
  WeightStream* stream = nullptr;      // of a set that is streamed
  size_t block = 0;                    // in the stream

  /// `live`, once it is there. Hold the result while it is used: a later call may have a streamed one dropped.
  /// REQUIRES: the set is loaded. Throws torch's exceptions.
  at::Tensor Live() const;
  /// The weight in type `type`. REQUIRES: the set is loaded. Throws torch's exceptions.
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

  /// extras: the parameter's decoder and patches, or null. Parameters that are used one after the other are best added
  /// so.
  Param Add(at::Tensor stored, const WeightExtras* extras = nullptr);
  /// Brings all parameters to the device and marks the set as used last; other sets may be unloaded for it. A set that
  /// is larger than the limit, or than memory turns out to be, is streamed: its parameters come block by block as they
  /// are used, with the same values. Cheap when they are there. Call at the start of every forward pass. Throws torch's
  /// exceptions (out of memory).
  void Load();
  /// Gives the memory back; Load() brings it again.
  void Unload();

  /// Takes the pages of weights that are used from the file out of memory; they come back as they are used.
  void GivePagesBack() const;

  const at::Device& device() const { return device_; }
  Part part() const { return part_; }
  at::ScalarType compute() const { return precision().compute; }
  Precision precision() const { return PrecisionFor(device_, part_, stored_bytes_); }
  bool loaded() const { return loaded_; }
  /// Bytes that Load() takes; 0 when the parameters are used straight from the file. Of a set that is streamed: what
  /// stays and the pool.
  int64_t live_bytes() const;
  /// The stream of a set that is loaded and streamed, or null.
  const WeightStream* stream() const { return stream_.get(); }

 private:
  at::ScalarType KeptType(const ParamSlot& slot) const;
  int64_t LiveBytes(const ParamSlot& slot) const;
  // Bytes of each parameter, and of all.
  const std::vector<int64_t>& Sizes() const;
  int64_t WholeBytes() const;
  at::Tensor Prepared(const ParamSlot& slot, bool streamed) const;
  void LoadWithin(int64_t bytes_max);

  at::Device device_;
  Part part_;
  std::shared_ptr<Residency> residency_;
  std::vector<Param> params_;
  int64_t stored_bytes_ = 0;
  mutable std::vector<int64_t> sizes_;  // empty until they are asked for
  int64_t within_ = 0;                  // the bound that a streamed set was loaded with
  std::unique_ptr<WeightStream> stream_;
  bool loaded_ = false;
};

/// The loaded sets of a process, least recently used first. Thread: any; sets themselves one at a time.
class Residency {
 public:
  explicit Residency(int64_t bytes_max) : bytes_max_(bytes_max) {}

  int64_t bytes_max() const { return bytes_max_; }
  /// Unloads others until `set` fits beside them (or none is left), and puts it last. Before what comes with large
  /// pictures (autoencoders, up-scalers) others give back their pages of files as well.
  void Use(ParamSet& set);
  void Forget(ParamSet& set);
  /// Unloads all but `keep` (which may be null); for a second try after memory ran out. Returns how many there were.
  int UnloadAll(const ParamSet* keep = nullptr);
  /// Bytes of the sets that are loaded.
  int64_t bytes() const;

 private:
  mutable std::mutex mutex_;
  int64_t bytes_max_;
  std::list<ParamSet*> sets_;
};

}  // namespace atelier::engine
