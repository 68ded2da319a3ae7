#include "worker/engine/weights.h"

#include "common/base/limits.h"
#include "common/tensorio/mapped_file.h"
#include "common/tensorio/safetensors.h"
#include "common/tensorio/torch_archive.h"
#include "worker/engine/model_formats.h"
#include "worker/engine/tensor_blob.h"

namespace atelier::engine {
namespace {

// A damaged file's status says what to do about it.
Status WithRemedy(const Status& status, bool safetensors) {
  const bool damaged =
      status.code() == StatusCode::kDataLoss || (safetensors && status.code() == StatusCode::kInvalidArgument);
  return damaged ? MakeStatus(status.code(), Message(status), "; download it again") : status;
}

}  // namespace

WeightSource::WeightSource(std::string file, Tensors tensors, Extras extras)
    : file_(std::move(file)),
      tensors_(std::make_shared<const Tensors>(std::move(tensors))),
      extras_(std::make_shared<const Extras>(std::move(extras))) {}

StatusOr<WeightSource> WeightSource::Open(const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> mapped, MappedFile::Open(path));
  std::map<std::string, std::string, std::less<>> metadata;
  StatusOr<WeightSource> source = InvalidArgument("");
  if (IsTorchArchive(mapped->bytes()) || IsGguf(mapped->bytes())) {
    source = IsGguf(mapped->bytes()) ? ReadGguf(mapped, GgufPrecision::kHalf, &metadata) : ReadTorchArchive(mapped);
    if (!source.ok()) return WithRemedy(source.status(), false);
  } else {
    const StatusOr<std::shared_ptr<const SafetensorsFile>> opened = SafetensorsFile::Open(path);
    if (!opened.ok()) return WithRemedy(opened.status(), true);
    Tensors tensors;
    for (const auto& [name, info] : (*opened)->view().tensors()) tensors.emplace(name, TensorView(*opened, info));
    source = WithScaledFp8(WeightSource((*opened)->name(), std::move(tensors)));
    metadata = (*opened)->view().metadata();
  }
  source->metadata_ = std::make_shared<const std::map<std::string, std::string, std::less<>>>(std::move(metadata));
  return source;
}

at::Tensor WeightSource::Find(std::string_view name) const {
  auto it = tensors_->find(name);
  return it == tensors_->end() ? at::Tensor() : it->second;
}

bool WeightSource::HasPrefix(std::string_view prefix) const {
  auto it = tensors_->lower_bound(prefix);
  return it != tensors_->end() && std::string_view(it->first).substr(0, prefix.size()) == prefix;
}

int64_t WeightSource::Dim(std::string_view name, int64_t dim) const {
  auto it = tensors_->find(name);
  return it == tensors_->end() || dim >= it->second.dim() ? 0 : it->second.size(dim);
}

const WeightExtras* WeightSource::ExtrasOf(std::string_view name) const {
  auto it = extras_->find(name);
  return it == extras_->end() ? nullptr : &it->second;
}

at::Tensor WeightSource::Value(std::string_view name, const at::Device& device, const WeightPatches& patches) const {
  at::Tensor weight = Find(name);
  if (!weight.defined()) return weight;
  const WeightExtras* extras = ExtrasOf(name);
  weight = extras != nullptr && extras->decoder ? extras->decoder(extras->encoded.to(device)) : weight.to(device);
  weight = weight.to(at::kFloat);
  if (extras != nullptr)
    for (const WeightPatch& patch : extras->patches) weight = patch(weight);
  if (const auto it = patches.find(name); it != patches.end())
    for (const WeightPatch& patch : it->second) weight = patch(weight);
  return weight;
}

std::vector<int64_t> WeightSource::PatchedShape(std::string_view name) const {
  const at::Tensor stored = Find(name);
  if (!stored.defined()) return {};
  at::Tensor shape = at::empty(stored.sizes(), at::TensorOptions(at::kMeta).dtype(at::kFloat));
  if (const WeightExtras* extras = ExtrasOf(name); extras != nullptr)
    for (const WeightPatch& patch : extras->patches) shape = patch(shape);
  return shape.sizes().vec();
}

WeightSource WeightSource::Patched(const WeightPatches& patches) const {
  auto extras = std::make_shared<Extras>(*extras_);
  for (const auto& [name, list] : patches) {
    if (!Has(name)) continue;
    std::vector<WeightPatch>& all = (*extras)[name].patches;
    all.insert(all.end(), list.begin(), list.end());
  }
  WeightSource source = *this;
  source.extras_ = std::move(extras);
  return source;
}

WeightSource WeightSource::Renamed(const std::function<std::string(const std::string&)>& rename) const {
  Tensors tensors;
  Extras extras;
  for (const auto& [name, tensor] : *tensors_) {
    const std::string other = rename(name);
    if (other.empty()) continue;
    tensors.emplace(other, tensor);
    if (const WeightExtras* extra = ExtrasOf(name)) extras.emplace(other, *extra);
  }
  WeightSource source(file_, std::move(tensors), std::move(extras));
  source.metadata_ = metadata_;
  return source;
}

WeightSource WeightSource::Prefixed(std::string_view prefix) const {
  return Renamed([prefix](const std::string& name) {
    return std::string_view(name).starts_with(prefix) ? name.substr(prefix.size()) : std::string();
  });
}

int64_t WeightSource::CountBlocks(std::string_view prefix) const {
  int64_t n = 0;
  while (HasPrefix(Cat(prefix, n, "."))) ++n;
  return n;
}

int64_t WeightSource::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, tensor] : *tensors_) {
    const WeightExtras* extra = ExtrasOf(name);
    sum += static_cast<int64_t>((extra != nullptr && extra->decoder ? extra->encoded : tensor).nbytes());
  }
  return sum;
}

}  // namespace atelier::engine
