#include "common/base/registry.h"
#include "common/executor/executor.h"
#include "common/tensorio/packed_blob.h"
#include "common/tensorio/safetensors.h"

namespace atelier {
namespace {

// Wire types whose values are JSON alone.
bool IsLiteralType(std::string_view type) {
  return type == "LITERAL" || type == "INT" || type == "FLOAT" || type == "STRING" || type == "BOOLEAN" ||
         type == "COMBO" || type == "*";
}

using List = std::vector<Value>;
constexpr char kListType[] = "LIST";  // of a blob that holds the blobs of a list's elements

StatusOr<std::string> EncodeList(const Value& value, const List& list, std::string_view encoding) {
  if (encoding == "u8" || encoding == "plain")
    return InvalidArgument("a list of ", value.type(), " values is no canvas; use one batch");
  std::vector<std::string> blobs;
  std::vector<TensorToWrite> tensors;
  for (const Value& item : list) {
    ASSIGN_OR_RETURN(blobs.emplace_back(), EncodeBlob(item, encoding));
  }
  for (size_t i = 0; i < blobs.size(); ++i)
    tensors.push_back({Cat(i), DType::kU8, {static_cast<int64_t>(blobs[i].size())}, blobs[i]});
  return WriteSafetensors(tensors, {{"atelier_type", kListType}, {"json", DumpJson(Json(value.type()))}});
}

StatusOr<Value> DecodeList(const SafetensorsView& view) {
  const auto json = view.metadata().find("json");
  if (json == view.metadata().end()) return InvalidArgument("the blob of a list does not say of what");
  ASSIGN_OR_RETURN(const Json type, ParseJson(json->second));
  if (!type.is_string()) return InvalidArgument("the blob of a list does not say of what");
  List list;
  for (size_t i = 0;; ++i) {
    const TensorInfo* info = view.Find(Cat(i));
    if (info == nullptr) break;
    ASSIGN_OR_RETURN(Value item, DecodeBlob(view.Data(*info)));
    list.push_back(std::move(item));
  }
  return Value::Of<List>(type.get<std::string>(), std::move(list));
}

}  // namespace

StatusOr<std::string> EncodeBlob(const Value& value, std::string_view encoding) {
  if (const List* list = value.Get<List>()) return EncodeList(value, *list, encoding);
  if (!value.present() || value.is_literal()) {
    const Json json = value.present() ? value.literal() : Json();
    return WriteSafetensors({}, {{"atelier_type", "LITERAL"}, {"json", DumpJson(json)}});
  }
  const BlobCodec* codec = Registry<BlobCodec>::Get().Find(value.type());
  if (codec == nullptr)
    return InvalidArgument("a value of type ", value.type(), " cannot cross between tasks: it has no blob form");
  if (encoding == "u8" || encoding == "plain") return codec->encode(value, encoding);  // which the master cuts
  ASSIGN_OR_RETURN(std::string blob, codec->encode(value, encoding == "packed" ? "u8" : encoding));
  return PackBlob(std::move(blob));
}

StatusOr<Value> DecodeBlob(std::string_view bytes) {
  if (IsPackedBlob(bytes)) {
    ASSIGN_OR_RETURN(const std::string whole, UnpackBlob(std::string(bytes)));
    return DecodeBlob(whole);
  }
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(bytes, "blob"));
  const auto type = view.metadata().find("atelier_type");
  if (type == view.metadata().end()) return InvalidArgument("the blob has no atelier_type in its metadata");
  if (type->second == kListType) return DecodeList(view);
  if (const BlobCodec* codec = Registry<BlobCodec>::Get().Find(type->second)) return codec->decode(bytes);
  if (!IsLiteralType(type->second)) return InvalidArgument("a blob of the unknown type ", type->second);
  const auto json = view.metadata().find("json");
  if (json == view.metadata().end())
    return InvalidArgument("the blob of type ", type->second, " has no json in its metadata");
  ASSIGN_OR_RETURN(Json value, ParseJson(json->second));
  return value.is_null() ? Value() : Value::Literal(std::move(value));
}

}  // namespace atelier
