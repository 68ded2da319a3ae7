// A value on a link: a literal as JSON, or an engine object (tensor, model handle, ...) behind a shared pointer.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>
#include <vector>

#include "common/json/json.h"

namespace atelier {

/// Immutable and cheap to copy. Thread: any, as far as the held object is.
class Value {
 public:
  Value() = default;  // absent
  static Value Literal(Json json) {
    Value v;
    v.type_ = "LITERAL";
    v.literal_ = std::make_shared<const Json>(std::move(json));
    return v;
  }
  /// Holds `object` under the wire type `type`.
  template <typename T>
  static Value Of(std::string_view type, T object) {
    Value v;
    v.type_ = std::string(type);
    v.object_ = std::make_shared<const T>(std::move(object));
    v.info_ = &typeid(T);
    return v;
  }
  bool present() const { return literal_ != nullptr || object_ != nullptr; }
  bool is_literal() const { return literal_ != nullptr; }
  const Json& literal() const { return *literal_; }
  const std::string& type() const { return type_; }
  /// The held object, or null when it is of another C++ type or a literal.
  template <typename T>
  const T* Get() const {
    return info_ != nullptr && *info_ == typeid(T) ? static_cast<const T*>(object_.get()) : nullptr;
  }

 private:
  std::string type_;
  std::shared_ptr<const Json> literal_;
  std::shared_ptr<const void> object_;
  const std::type_info* info_ = nullptr;
};

/// Input name to its value; gather inputs have one entry a replica, all others exactly one.
using InputValues = std::map<std::string, std::vector<Value>, std::less<>>;

}  // namespace atelier
