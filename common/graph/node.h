// How a node type is written: a struct whose fields are its inputs, a Describe() that declares them, a Run(), one
// registration.
//
//   struct ImageScaleBy {
//     Image image;
//     std::string upscale_method;
//     double scale_by = 1.0;
//     static void Describe(NodeSchema<ImageScaleBy>& s) {
//       s.Name("Upscale Image By").Category("image/upscaling");
//       s.Input<&ImageScaleBy::image>("image");
//       s.Input<&ImageScaleBy::upscale_method>("upscale_method").OneOf({"nearest-exact", "bilinear"});
//       s.Input<&ImageScaleBy::scale_by>("scale_by").Default(1.0).Range(0.01, 8.0).Step(0.01);
//       s.Output<Image>("IMAGE");
//     }
//     StatusOr<Image> Run(NodeContext& ctx) const;   // several outputs: StatusOr<std::tuple<...>>; none: Status
//   };
//   ATELIER_REGISTER_NODE(ImageScaleBy);
//
// Field types: int64_t, uint64_t (INT), double (FLOAT), bool (BOOLEAN), std::string (STRING, or COMBO after
// OneOf/FromFolder), any type with SocketTraits (handles, tensors), Value ("*"), std::optional<T> (an optional input),
// std::vector<T> (a gather input). Input names, order, defaults and ranges are the reference's.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/base/registry.h"
#include "common/base/status.h"
#include "common/graph/schema.h"
#include "common/graph/value.h"

namespace atelier {

/// A file that an output node made; the master alone names and writes it.
struct OutputFile {
  std::string node_id;
  std::string type = "output";    // "output" or "temp" (previews)
  std::string prefix;             // filename_prefix as given; the master resolves %tokens%, folder and counter
  std::string extension;          // with the dot: ".png", ".latent"
  int64_t batch_index = 0;        // %batch_num%
  int64_t width = 0, height = 0;  // %width%, %height% of the first image
  bool embed_workflow = true;     // the master adds `prompt` and `workflow` (PNG text chunks, container tags, metadata)
  // Absent: names `<base>_00001_.png`, a number for each file. Present: `<base>_00001<suffix>.mp4`, one number for all
  // such files of the node. Source: spec extras.md 4.3.
  std::optional<std::string> suffix = std::nullopt;
  std::string bytes;
};

/// What a running node may ask of its surroundings. Thread: the executor's thread, except cancelled().
class NodeContext {
 public:
  virtual ~NodeContext() = default;
  virtual const std::string& node_id() const = 0;
  /// True once the task was cancelled; long loops poll it through Step() or directly.
  virtual bool cancelled() const = 0;
  /// Reports that `step` of `total` units are done; `preview` (may be empty) makes a small picture's JPEG or PNG bytes
  /// when the session wants one. Errors: CANCELLED.
  virtual Status Step(int64_t step, int64_t total, const std::function<std::string()>& preview = nullptr) = 0;
  /// Absolute path of a model file, confined to the models roots. Errors: NOT_FOUND naming folder and name.
  virtual StatusOr<std::string> ModelPath(std::string_view folder, std::string_view name) = 0;
  /// Bytes of a file of the input folder, as it was when the job was submitted. Errors: NOT_FOUND.
  virtual StatusOr<std::string> InputFile(std::string_view name) = 0;
  /// Hands over a finished output file.
  virtual void Emit(OutputFile file) = 0;
  /// A warning that the submitter should see.
  virtual void Warn(const std::string& message) = 0;
};

/// Wire name of a C++ type and how a Value becomes one. One specialisation per wire type:
/// `static constexpr std::string_view kName`. Objects held under exactly that C++ type need nothing more.
template <typename T>
struct SocketTraits;

template <>
struct SocketTraits<int64_t> {
  static constexpr std::string_view kName = "INT";
};
template <>
struct SocketTraits<uint64_t> {
  static constexpr std::string_view kName = "INT";
};
template <>
struct SocketTraits<double> {
  static constexpr std::string_view kName = "FLOAT";
};
template <>
struct SocketTraits<bool> {
  static constexpr std::string_view kName = "BOOLEAN";
};
template <>
struct SocketTraits<std::string> {
  static constexpr std::string_view kName = "STRING";
};
template <>
struct SocketTraits<Value> {
  static constexpr std::string_view kName = "*";
};

namespace internal {
// Literals from JSON, with Python's conversions ("3" and 3.7 for INT and so on). Errors: INVALID_ARGUMENT.
Status FromLiteral(const Value& value, int64_t& out);
Status FromLiteral(const Value& value, uint64_t& out);
Status FromLiteral(const Value& value, double& out);
Status FromLiteral(const Value& value, bool& out);
Status FromLiteral(const Value& value, std::string& out);

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {
  using Inner = T;
};
template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {
  using Inner = T;
};

template <typename T>
inline constexpr bool kIsLiteral =
    std::is_same_v<T, int64_t> || std::is_same_v<T, uint64_t> || std::is_same_v<T, double> || std::is_same_v<T, bool> ||
    std::is_same_v<T, std::string>;

template <typename T>
Status SetField(const Value& value, T& out) {
  if constexpr (std::is_same_v<T, Value>) {
    out = value;
    return OkStatus();
  } else if constexpr (kIsLiteral<T>) {
    return FromLiteral(value, out);
  } else {
    const T* object = value.Get<T>();
    if (object == nullptr)
      return InvalidArgument("got a value of type ", value.type(), ", expected ", SocketTraits<T>::kName);
    out = *object;
    return OkStatus();
  }
}

template <typename T>
Status SetInput(const std::vector<Value>& values, T& out) {
  if constexpr (IsOptional<T>::value) {
    if (values.empty() || !values[0].present()) return OkStatus();
    typename IsOptional<T>::Inner inner{};
    RETURN_IF_ERROR(SetInput(values, inner));
    out = std::move(inner);
    return OkStatus();
  } else if constexpr (IsVector<T>::value) {
    for (const Value& value : values) {
      if (!value.present()) continue;
      typename IsVector<T>::Inner item{};
      RETURN_IF_ERROR(SetField(value, item));
      out.push_back(std::move(item));
    }
    return OkStatus();
  } else {
    if (values.empty() || !values[0].present()) return OkStatus();  // keeps the field's default
    return SetField(values[0], out);
  }
}

template <typename T>
struct FieldOf;
template <typename N, typename F>
struct FieldOf<F N::*> {
  using Node = N;
  using Field = F;
};

template <typename F>
struct Element {
  using Type = F;
};
template <typename F>
struct Element<std::optional<F>> {
  using Type = F;
};
template <typename F>
struct Element<std::vector<F>> {
  using Type = F;
};

template <typename T>
Value ToValue(T object) {
  if constexpr (std::is_same_v<T, Value>) {
    return object;
  } else if constexpr (kIsLiteral<T>) {
    return Value::Literal(Json(std::move(object)));
  } else {
    return Value::Of<T>(SocketTraits<T>::kName, std::move(object));
  }
}
}  // namespace internal

/// A default, limit or step. Each kind has its constructor, so that a node file needs no code of the JSON library.
class SpecNumber {
 public:
  SpecNumber(Json value);               // NOLINT(google-explicit-constructor)
  SpecNumber(const char* text);         // NOLINT(google-explicit-constructor)
  SpecNumber(const std::string& text);  // NOLINT(google-explicit-constructor)
  SpecNumber(bool value);               // NOLINT(google-explicit-constructor)
  SpecNumber(double value);             // NOLINT(google-explicit-constructor)
  template <typename T>
  requires std::is_integral_v<T> SpecNumber(T value)  // NOLINT(google-explicit-constructor)
      : SpecNumber(FromInteger(std::is_unsigned_v<T>, static_cast<uint64_t>(value))) {}
  ~SpecNumber();
  SpecNumber(const SpecNumber&) = delete;
  SpecNumber& operator=(const SpecNumber&) = delete;

 private:
  friend class InputOptions;
  static Json FromInteger(bool is_unsigned, uint64_t bits);
  Json value_;
};

/// Options of one input; each returns itself.
class InputOptions {
 public:
  explicit InputOptions(InputSpec& spec) : spec_(spec) {}
  InputOptions& Default(const SpecNumber& value);
  InputOptions& Range(const SpecNumber& min, const SpecNumber& max);
  InputOptions& Step(const SpecNumber& step);
  InputOptions& OneOf(std::vector<std::string> choices);
  InputOptions& FromFolder(std::string_view folder);
  /// One more choice after the folder's files. Declare its parts as hidden inputs of the same node.
  InputOptions& OrSet(FileSet set);
  InputOptions& Optional();
  InputOptions& Hidden();
  InputOptions& Multiline();
  InputOptions& DynamicPrompts();
  InputOptions& ForceInput();
  InputOptions& Seed();
  InputOptions& ImageUpload();
  InputOptions& Tooltip(std::string_view text);
  /// Another wire name than the C++ type's own, e.g. a Value field that takes only "IMAGE".
  InputOptions& Type(std::string_view type);

 private:
  InputSpec& spec_;
};

/// The declaration of a node type and, beside it, how each input reaches its field. The part that does not know the
/// node's C++ type.
class NodeDeclaration {
 public:
  using Setter = Status (*)(void* node, const std::vector<Value>& values);

  NodeDeclaration& Name(std::string_view display_name);
  NodeDeclaration& Category(std::string_view category);
  NodeDeclaration& Description(std::string_view text);
  NodeDeclaration& OutputNode();
  NodeDeclaration& Internal();
  NodeDeclaration& Cheap();
  NodeDeclaration& KeepsHandles();
  NodeDeclaration& CutForTiles();
  NodeDeclaration& PerReplica();
  NodeDeclaration& Gathers(std::string_view single_replica_if = "");
  NodeDeclaration& Tiles(TileSplit split);
  template <typename T>
  NodeDeclaration& Output(std::string_view name) {
    return AddOutput(name, SocketTraits<T>::kName);
  }

  NodeSpec spec;
  std::vector<std::pair<std::string, Setter>> setters;

 protected:
  InputOptions AddInput(std::string_view name, std::string_view type, bool required, bool gather, Setter setter);
  NodeDeclaration& AddOutput(std::string_view name, std::string_view type);
};

/// Collects the declaration of N.
template <typename N>
class NodeSchema : public NodeDeclaration {
 public:
  template <auto kField>
  InputOptions Input(std::string_view name) {
    using Field = typename internal::FieldOf<decltype(kField)>::Field;
    using Item = typename internal::Element<Field>::Type;
    return AddInput(name, SocketTraits<Item>::kName, !internal::IsOptional<Field>::value,
                    internal::IsVector<Field>::value, [](void* node, const std::vector<Value>& values) {
                      return internal::SetInput(values, static_cast<N*>(node)->*kField);
                    });
  }
};

/// A registered node type, type-erased.
struct NodeType {
  /// The declaration; file combos carry their folder's name, not its files. Thread: any, after main() started.
  std::function<const NodeSpec&()> spec;
  /// Runs one instance on complete inputs (defaults filled in by the caller). Returns one Value per declared output.
  /// Errors: the node's own, and INVALID_ARGUMENT `input "x": ...` for a value that does not fit its field.
  std::function<StatusOr<std::vector<Value>>(const InputValues&, NodeContext&)> run;
};

namespace internal {
/// Sets the node's fields from the values that are there. Errors: INVALID_ARGUMENT naming the input.
Status SetInputs(const NodeDeclaration& declaration, const InputValues& inputs, void* node);

/// Adds to the registry; always true.
bool RegisterNode(std::string_view type, const NodeSpec& (*spec)(),
                  StatusOr<std::vector<Value>> (*run)(const InputValues&, NodeContext&));

template <typename N>
const NodeDeclaration& SchemaOf(const char* type) {
  static const NodeSchema<N> schema = [type] {
    NodeSchema<N> s;
    s.spec.type = type;
    s.spec.display_name = type;
    N::Describe(s);
    return s;
  }();
  return schema;
}

template <typename N>
StatusOr<std::vector<Value>> RunNode(const char* type, const InputValues& inputs, NodeContext& ctx) {
  N node{};
  RETURN_IF_ERROR(SetInputs(SchemaOf<N>(type), inputs, &node));
  using Result = decltype(node.Run(ctx));
  if constexpr (std::is_same_v<Result, Status>) {
    RETURN_IF_ERROR(node.Run(ctx));
    return std::vector<Value>{};
  } else {
    ASSIGN_OR_RETURN(auto result, node.Run(ctx));
    std::vector<Value> values;
    using R = decltype(result);
    if constexpr (requires { std::tuple_size<R>::value; }) {
      std::apply([&](auto&... item) { (values.push_back(ToValue(std::move(item))), ...); }, result);
    } else if constexpr (std::is_same_v<R, std::vector<Value>>) {
      values = std::move(result);
    } else {
      values.push_back(ToValue(std::move(result)));
    }
    return values;
  }
}
}  // namespace internal

/// How values of one data type become blobs and back; one registration per wire type that crosses between tasks. A blob
/// is a safetensors file whose metadata has "atelier_type" and, for plain values, "json". `encoding` is "" or, for
/// IMAGE, "u8" (trunc(255 v), the canvas form).
struct BlobCodec {
  std::function<StatusOr<std::string>(const Value&, std::string_view encoding)> encode;
  std::function<StatusOr<Value>(std::string_view bytes)> decode;
};

#define ATELIER_REGISTER_NODE_AS(Struct, type_name)                                                                    \
  static const bool ATELIER_CONCAT_(kRegistered##Struct, __LINE__) = ::atelier::internal::RegisterNode(                \
      type_name, []() -> const ::atelier::NodeSpec& { return ::atelier::internal::SchemaOf<Struct>(type_name).spec; }, \
      [](const ::atelier::InputValues& inputs, ::atelier::NodeContext& ctx) {                                          \
        return ::atelier::internal::RunNode<Struct>(type_name, inputs, ctx);                                           \
      })
#define ATELIER_REGISTER_NODE(Struct) ATELIER_REGISTER_NODE_AS(Struct, #Struct)

}  // namespace atelier
