// What the codecs share. Internal to this folder. Source: docs/architecture.md, "Values and blobs".
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <string_view>

#include "common/graph/node.h"
#include "common/json/json.h"
#include "worker/engine/guard.h"

namespace atelier::engine {

using TensorMap = std::map<std::string, at::Tensor>;

/// A parsed blob: tensors are copies, so that a value does not depend on the bytes.
struct Blob {
  TensorMap tensors;
  Json json = Json::object();
  std::string type;

  /// Errors: INVALID_ARGUMENT when there is no such tensor.
  StatusOr<at::Tensor> Get(const std::string& name) const;
};

/// Errors: INVALID_ARGUMENT (damaged, or of another type than `type`), RESOURCE_EXHAUSTED. Thread: any.
StatusOr<Blob> ReadAs(std::string_view type, std::string_view bytes);

/// Errors: as WriteTensors. Thread: any.
StatusOr<std::string> WriteBlob(std::string_view type, const TensorMap& tensors, const Json& json = nullptr);

/// The object that a value holds. Errors: INVALID_ARGUMENT for one of another type.
template <typename T>
StatusOr<const T*> Held(const Value& value) {
  const T* held = value.Get<T>();
  if (held == nullptr) return InvalidArgument("a value of type ", value.type(), " is no ", SocketTraits<T>::kName);
  return held;
}

/// The codec of a struct with `Type`, `Encode(const Type&, encoding)` and `Decode(const Blob&)`.
template <typename Codec>
BlobCodec TensorCodec() {
  using T = typename Codec::Type;
  return {[](const Value& value, std::string_view encoding) -> StatusOr<std::string> {
            return Guard([&]() -> StatusOr<std::string> {
              ASSIGN_OR_RETURN(const T* held, Held<T>(value));
              return Codec::Encode(*held, encoding);
            });
          },
          [](std::string_view bytes) -> StatusOr<Value> {
            return Guard([&]() -> StatusOr<Value> {
              ASSIGN_OR_RETURN(const Blob blob, ReadAs(SocketTraits<T>::kName, bytes));
              ASSIGN_OR_RETURN(T object, Codec::Decode(blob));
              return Value::Of<T>(SocketTraits<T>::kName, std::move(object));
            });
          }};
}

}  // namespace atelier::engine
