#include "worker/engine/codecs/blob.h"

#include "common/base/limits.h"
#include "common/tensorio/safetensors.h"
#include "worker/engine/tensor_blob.h"

namespace atelier::engine {
namespace {

StatusOr<Blob> Read(std::string_view bytes) {
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(bytes, "blob"));
  Blob blob;
  auto type = view.metadata().find("atelier_type");
  if (type == view.metadata().end()) return InvalidArgument("blob has no \"atelier_type\" in its metadata");
  blob.type = type->second;
  auto json = view.metadata().find("json");
  if (json != view.metadata().end()) {
    ASSIGN_OR_RETURN(blob.json, ParseJson(json->second));
  }
  for (const auto& [name, info] : view.tensors()) {
    if (info.end - info.begin > static_cast<uint64_t>(limits::kTensorBytesMax)) {
      return ResourceExhausted("tensor \"", name, "\" of a blob has ", info.end - info.begin, " bytes");
    }
    blob.tensors.emplace(name, TensorCopy(view, info));
  }
  return blob;
}

}  // namespace

StatusOr<at::Tensor> Blob::Get(const std::string& name) const {
  auto it = tensors.find(name);
  if (it == tensors.end()) return InvalidArgument("blob of type ", type, " has no tensor \"", name, "\"");
  return it->second;
}

StatusOr<Blob> ReadAs(std::string_view type, std::string_view bytes) {
  ASSIGN_OR_RETURN(Blob blob, Read(bytes));
  if (blob.type != type) return InvalidArgument("blob is of type ", blob.type, ", expected ", type);
  return blob;
}

StatusOr<std::string> WriteBlob(std::string_view type, const TensorMap& tensors, const Json& json) {
  std::map<std::string, std::string, std::less<>> metadata{{"atelier_type", std::string(type)}};
  if (!json.is_null()) metadata.emplace("json", DumpJson(json));
  return WriteTensors(tensors, metadata);
}

}  // namespace atelier::engine
