#include "common/tensorio/torch_archive.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "common/base/limits.h"
#include "common/tensorio/little_endian.h"

namespace atelier {
namespace {

constexpr size_t kEntriesMax = 200'000;    // files of an archive, tensors of a dictionary
constexpr size_t kObjectsMax = 2'000'000;  // values of a pickle
constexpr size_t kPickleBytesMax = 64 << 20;
constexpr size_t kNameBytesMax = 4096;  // of a tensor's whole name
constexpr int kDepthMax = 32;

// torch.save's older form begins with this number as a pickle of its own.
constexpr std::string_view kLegacyMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 13);

using Entries = std::map<std::string, std::string_view, std::less<>>;

// The stored (uncompressed) entries of a zip archive.
StatusOr<Entries> ReadZip(std::string_view zip, std::string_view file) {
  const Status cut = DataLoss("file \"", file, "\" is cut off or no archive: its directory cannot be read");
  const size_t end = zip.rfind(std::string_view("PK\5\6", 4));
  if (end == std::string_view::npos) return cut;
  LittleEndian r{zip};
  uint64_t count = r.Number(end + 10, 2), directory = r.Number(end + 16, 4);
  if (end >= 20 && zip.substr(end - 20, 4) == std::string_view("PK\6\7", 4)) {
    const uint64_t wide = r.Number(end - 20 + 8, 8);
    if (wide > zip.size()) return cut;
    count = r.Number(wide + 32, 8);
    directory = r.Number(wide + 48, 8);
  }
  if (r.bad || count > kEntriesMax) return cut;
  Entries entries;
  uint64_t at = directory;
  for (uint64_t i = 0; i < count; ++i) {
    if (at > zip.size() || zip.substr(at, 4) != std::string_view("PK\1\2", 4)) return cut;
    const uint64_t method = r.Number(at + 10, 2), name_size = r.Number(at + 28, 2), extra_size = r.Number(at + 30, 2);
    const uint64_t comment_size = r.Number(at + 32, 2);
    uint64_t packed = r.Number(at + 20, 4), size = r.Number(at + 24, 4), local = r.Number(at + 42, 4);
    const std::string name(zip.substr(std::min<uint64_t>(at + 46, zip.size()), name_size));
    // Zip64: the fields that are all ones follow in this order.
    for (uint64_t e = at + 46 + name_size, e_end = e + extra_size; e + 4 <= e_end && !r.bad;) {
      const uint64_t id = r.Number(e, 2), bytes = r.Number(e + 2, 2);
      uint64_t field = e + 4;
      if (id == 1) {
        for (uint64_t* value : {&size, &packed, &local}) {
          if (*value != 0xFFFFFFFF) continue;
          *value = r.Number(field, 8);
          field += 8;
        }
      }
      e += 4 + bytes;
    }
    if (r.bad || local > zip.size() || zip.substr(local, 4) != std::string_view("PK\3\4", 4)) return cut;
    const uint64_t data = local + 30 + r.Number(local + 26, 2) + r.Number(local + 28, 2);
    if (r.bad || data > zip.size() || size > zip.size() - data) return cut;
    if (method != 0 || packed != size)
      return InvalidArgument("file \"", file, "\" is a compressed archive, which no torch.save writes");
    if (!entries.emplace(name, zip.substr(data, size)).second)
      return InvalidArgument("file \"", file, "\" is refused: entry \"", name, "\" occurs twice");
    at += 46 + name_size + extra_size + comment_size;
  }
  return entries;
}

// A tensor of the pickle, its storage not yet found.
struct PickledTensor {
  DType dtype = DType::kF32;
  std::string_view storage;
  int64_t offset = 0;
  std::vector<int64_t> shape, strides;
};

struct Object {
  enum class Kind {
    kPlain,
    kBool,
    kInt,
    kText,
    kSequence,
    kDict,
    kGlobal,
    kStorage,
    kTensor,
    kMark
  } kind = Kind::kPlain;
  int64_t number = 0;                              // kInt, kBool; kStorage: elements before its first
  std::string_view text;                           // kText; kGlobal: the function; kStorage: its key
  std::optional<DType> dtype;                      // kGlobal of a storage or an element type; kStorage
  std::vector<Object*> items;                      // kSequence
  std::vector<std::pair<Object*, Object*>> pairs;  // kDict
  size_t tensor = 0;                               // kTensor: index
};
using Kind = Object::Kind;

std::optional<DType> StorageType(std::string_view name) {
  static const std::map<std::string_view, DType> types{
      {"FloatStorage", DType::kF32},  {"HalfStorage", DType::kF16}, {"BFloat16Storage", DType::kBF16},
      {"DoubleStorage", DType::kF64}, {"LongStorage", DType::kI64}, {"IntStorage", DType::kI32},
      {"ShortStorage", DType::kI16},  {"CharStorage", DType::kI8},  {"ByteStorage", DType::kU8},
      {"BoolStorage", DType::kBool}};
  auto it = types.find(name);
  return it == types.end() ? std::nullopt : std::optional(it->second);
}

std::optional<DType> ElementType(std::string_view name) {
  static const std::map<std::string_view, DType> types{
      {"float32", DType::kF32},       {"float16", DType::kF16},
      {"bfloat16", DType::kBF16},     {"float64", DType::kF64},
      {"int64", DType::kI64},         {"int32", DType::kI32},
      {"int16", DType::kI16},         {"int8", DType::kI8},
      {"uint8", DType::kU8},          {"uint16", DType::kU16},
      {"uint32", DType::kU32},        {"uint64", DType::kU64},
      {"bool", DType::kBool},         {"float8_e4m3fn", DType::kF8E4M3},
      {"float8_e5m2", DType::kF8E5M2}};
  auto it = types.find(name);
  return it == types.end() ? std::nullopt : std::optional(it->second);
}

// What training scripts leave beside the weights. A call of these gives a value without content.
const std::set<std::string, std::less<>>& Inert() {
  static const std::set<std::string, std::less<>> names{"torch Size",
                                                        "torch device",
                                                        "numpy.core.multiarray scalar",
                                                        "numpy._core.multiarray scalar",
                                                        "numpy dtype",
                                                        "_codecs encode",
                                                        "builtins set",
                                                        "__builtin__ set",
                                                        "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint"};
  return names;
}

constexpr std::string_view kDict = "dict", kParameter = "parameter", kTensor = "tensor", kInert = "inert",
                           kParameterDict = "parameters";

// Runs the instructions of pickles that build plain data.
class Unpickler {
 public:
  Unpickler(std::string_view bytes, std::string_view file) : in_{bytes}, file_(file) {}

  // Values of one pickle, from `at` on, which is set behind it. They live as long as the reader.
  StatusOr<Object*> Run(size_t& at) {
    at_ = at;
    stack_.clear();
    memo_.clear();
    while (true) {
      const auto op = static_cast<unsigned char>(Take(1));
      if (in_.bad) return Bad("its end is missing");
      if (op == '.') {
        if (stack_.empty() || stack_.back()->kind == Kind::kMark) return Bad("it gives no value");
        at = at_;
        return stack_.back();
      }
      RETURN_IF_ERROR(Step(op));
      if (in_.bad) return Bad("its end is missing");
      if (objects_.size() > kObjectsMax || stack_.size() > kObjectsMax) return Bad("it is too large");
    }
  }

  const std::vector<PickledTensor>& tensors() const { return tensors_; }
  // Element types of the storages that were named; none for an untyped one.
  const std::map<std::string_view, std::optional<DType>>& storages() const { return storages_; }

 private:
  Status Bad(const std::string& what) const {
    return InvalidArgument("file \"", file_, "\": the pickle in it is refused: ", what);
  }
  uint64_t Take(size_t width) {
    const uint64_t v = in_.Number(at_, width);
    at_ += width;
    return v;
  }
  std::string_view TakeText(uint64_t size) {
    if (at_ > in_.bytes.size() || size > in_.bytes.size() - at_) {
      in_.bad = true;
      return {};
    }
    at_ += size;
    return in_.bytes.substr(at_ - size, size);
  }
  std::string_view TakeLine() {
    const size_t end = at_ <= in_.bytes.size() ? in_.bytes.find('\n', at_) : std::string_view::npos;
    if (end == std::string_view::npos) {
      in_.bad = true;
      return {};
    }
    const std::string_view line = in_.bytes.substr(at_, end - at_);
    at_ = end + 1;
    return line;
  }
  Object* Push(Kind kind, int64_t number = 0, std::string_view text = {}) {
    Object& object = objects_.emplace_back();
    object.kind = kind;
    object.number = number;
    object.text = text;
    stack_.push_back(&object);
    return &object;
  }
  StatusOr<Object*> Pop() {
    if (stack_.empty() || stack_.back()->kind == Kind::kMark) return Bad("its stack runs empty");
    Object* top = stack_.back();
    stack_.pop_back();
    return top;
  }
  // The items above the last mark, which goes too.
  StatusOr<std::vector<Object*>> PopMark() {
    size_t mark = stack_.size();
    while (mark > 0 && stack_[mark - 1]->kind != Kind::kMark) --mark;
    if (mark == 0) return Bad("a mark is missing");
    std::vector<Object*> items(stack_.begin() + static_cast<std::ptrdiff_t>(mark), stack_.end());
    stack_.resize(mark - 1);
    return items;
  }
  Status PushTuple(size_t n) {
    std::vector<Object*> items(n);
    for (size_t i = n; i-- > 0;) {
      ASSIGN_OR_RETURN(items[i], Pop());
    }
    Push(Kind::kSequence)->items = std::move(items);
    return OkStatus();
  }
  StatusOr<Object*> Top(Kind kind) {
    if (stack_.empty() || stack_.back()->kind != kind) return Bad("a container is missing");
    return stack_.back();
  }

  Status Step(unsigned char op) {
    switch (op) {
      case 0x80:  // PROTO
        Take(1);
        return OkStatus();
      case 0x95:  // FRAME
        Take(8);
        return OkStatus();
      case '}':  // EMPTY_DICT
        Push(Kind::kDict);
        return OkStatus();
      case ']':  // EMPTY_LIST
      case ')':  // EMPTY_TUPLE
        Push(Kind::kSequence);
        return OkStatus();
      case '(':  // MARK
        Push(Kind::kMark);
        return OkStatus();
      case 'N':  // NONE
        Push(Kind::kPlain);
        return OkStatus();
      case 0x88:  // NEWTRUE
      case 0x89:  // NEWFALSE
        Push(Kind::kBool, op == 0x88 ? 1 : 0);
        return OkStatus();
      case 'G':  // BINFLOAT
        Take(8);
        Push(Kind::kPlain);
        return OkStatus();
      case 'K':  // BININT1
        Push(Kind::kInt, static_cast<int64_t>(Take(1)));
        return OkStatus();
      case 'M':  // BININT2
        Push(Kind::kInt, static_cast<int64_t>(Take(2)));
        return OkStatus();
      case 'J':  // BININT
        Push(Kind::kInt, static_cast<int32_t>(static_cast<uint32_t>(Take(4))));
        return OkStatus();
      case 0x8a:  // LONG1
        return Long(Take(1));
      case 'X':  // BINUNICODE
      case 'T':  // BINSTRING
      case 'B':  // BINBYTES
        Push(Kind::kText, 0, TakeText(Take(4)));
        return OkStatus();
      case 0x8c:  // SHORT_BINUNICODE
      case 'U':   // SHORT_BINSTRING
      case 'C':   // SHORT_BINBYTES
        Push(Kind::kText, 0, TakeText(Take(1)));
        return OkStatus();
      case 0x8d:  // BINUNICODE8
        Push(Kind::kText, 0, TakeText(Take(8)));
        return OkStatus();
      case 'q':  // BINPUT
        return Put(Take(1));
      case 'r':  // LONG_BINPUT
        return Put(Take(4));
      case 0x94:  // MEMOIZE
        return Put(memo_.size());
      case 'h':  // BINGET
        return Get(Take(1));
      case 'j':  // LONG_BINGET
        return Get(Take(4));
      case '0':  // POP
        return Pop().status();
      case 't': {  // TUPLE
        ASSIGN_OR_RETURN(std::vector<Object*> items, PopMark());
        Push(Kind::kSequence)->items = std::move(items);
        return OkStatus();
      }
      case 0x85:
        return PushTuple(1);
      case 0x86:
        return PushTuple(2);
      case 0x87:
        return PushTuple(3);
      case 'a': {  // APPEND
        ASSIGN_OR_RETURN(Object* const item, Pop());
        ASSIGN_OR_RETURN(Object* const list, Top(Kind::kSequence));
        list->items.push_back(item);
        return OkStatus();
      }
      case 'e': {  // APPENDS
        ASSIGN_OR_RETURN(const std::vector<Object*> items, PopMark());
        ASSIGN_OR_RETURN(Object* const list, Top(Kind::kSequence));
        list->items.insert(list->items.end(), items.begin(), items.end());
        return OkStatus();
      }
      case 's': {  // SETITEM
        ASSIGN_OR_RETURN(Object* const value, Pop());
        ASSIGN_OR_RETURN(Object* const key, Pop());
        ASSIGN_OR_RETURN(Object* const dict, Top(Kind::kDict));
        dict->pairs.emplace_back(key, value);
        return OkStatus();
      }
      case 'u': {  // SETITEMS
        ASSIGN_OR_RETURN(const std::vector<Object*> items, PopMark());
        ASSIGN_OR_RETURN(Object* const dict, Top(Kind::kDict));
        if (items.size() % 2 != 0) return Bad("a key without a value");
        for (size_t i = 0; i < items.size(); i += 2) dict->pairs.emplace_back(items[i], items[i + 1]);
        return OkStatus();
      }
      case 'c': {  // GLOBAL
        const std::string_view module = TakeLine();
        return Global(module, TakeLine());
      }
      case 0x93: {  // STACK_GLOBAL
        ASSIGN_OR_RETURN(const Object* const name, Pop());
        ASSIGN_OR_RETURN(const Object* const module, Pop());
        return Global(module->text, name->text);
      }
      case 'Q':  // BINPERSID
        return Storage();
      case 'R':   // REDUCE
      case 0x81:  // NEWOBJ
        return Call();
      case 'b':  // BUILD
        return SetState();
      default:
        return Bad(Cat("instruction ", static_cast<int>(op), " is not one of plain data"));
    }
  }

  Status Long(uint64_t size) {
    const std::string_view digits = TakeText(size);
    if (digits.size() > 8) {  // such numbers belong to no tensor
      Push(Kind::kPlain);
      return OkStatus();
    }
    uint64_t v = LittleEndian{digits}.Number(0, digits.size());
    if (!digits.empty() && digits.size() < 8 && (v >> (8 * digits.size() - 1)) != 0)
      v |= ~uint64_t{0} << (8 * digits.size());
    Push(Kind::kInt, static_cast<int64_t>(v));
    return OkStatus();
  }

  Status Put(uint64_t index) {
    if (stack_.empty()) return Bad("its stack runs empty");
    memo_[index] = stack_.back();
    return OkStatus();
  }
  Status Get(uint64_t index) {
    auto it = memo_.find(index);
    if (it == memo_.end()) return Bad("a reference to nothing");
    stack_.push_back(it->second);
    return OkStatus();
  }

  Status Global(std::string_view module, std::string_view name) {
    if (module == "torch") {
      const std::optional<DType> storage = StorageType(name), element = ElementType(name);
      if (storage || element) {
        Push(Kind::kGlobal)->dtype = storage ? storage : element;
        return OkStatus();
      }
    }
    const std::string full = Cat(module, " ", name);
    std::string_view meaning;
    if (full == "collections OrderedDict" || full == "builtins dict" || full == "__builtin__ dict") meaning = kDict;
    if (full == "torch._utils _rebuild_parameter") meaning = kParameter;
    if (full == "torch._utils _rebuild_tensor" || full == "torch._utils _rebuild_tensor_v2" ||
        full == "torch._utils _rebuild_tensor_v3") {
      meaning = kTensor;
    }
    if (full == "torch.nn.modules.container ParameterDict") meaning = kParameterDict;
    if (Inert().count(full) > 0) meaning = kInert;
    if (full == "torch.storage UntypedStorage") meaning = "storage";
    if (meaning.empty()) {
      return Bad(
          Cat("it asks for \"", full.substr(0, 200), "\", which is no tensor; convert the model to safetensors"));
    }
    Push(Kind::kGlobal, 0, meaning);
    return OkStatus();
  }

  // ('storage', type, key, location, elements[, view]) names bytes of the file.
  Status Storage() {
    ASSIGN_OR_RETURN(const Object* const id, Pop());
    if (id->kind != Kind::kSequence || id->items.size() < 5 || id->items.size() > 6 ||
        id->items[1]->kind != Kind::kGlobal || (!id->items[1]->dtype && id->items[1]->text != "storage") ||
        id->items[2]->kind != Kind::kText) {
      return Bad("an unknown storage");
    }
    Object* storage = Push(Kind::kStorage, 0, id->items[2]->text);
    storage->dtype = id->items[1]->dtype;
    if (id->items.size() == 6 && id->items[5]->kind == Kind::kSequence) {  // (key, first element, elements)
      const Object* const view = id->items[5];
      if (view->items.size() != 3 || view->items[1]->kind != Kind::kInt || view->items[1]->number < 0)
        return Bad("an unknown storage");
      storage->number = view->items[1]->number;
    }
    auto [known, added] = storages_.emplace(storage->text, storage->dtype);
    if (!added && known->second != storage->dtype) return Bad("a storage with two types");
    return OkStatus();
  }

  static bool Numbers(const Object* list, std::vector<int64_t>& numbers) {
    if (list->kind != Kind::kSequence || list->items.size() > 16) return false;
    for (const Object* item : list->items) {
      if (item->kind != Kind::kInt || item->number < 0) return false;
      numbers.push_back(item->number);
    }
    return true;
  }

  Status Call() {
    ASSIGN_OR_RETURN(const Object* const args, Pop());
    ASSIGN_OR_RETURN(const Object* const function, Pop());
    if (function->kind != Kind::kGlobal || function->text.empty() || args->kind != Kind::kSequence)
      return Bad("a call of something that is no function");
    const std::vector<Object*>& a = args->items;
    if (function->text == kInert) {
      Push(Kind::kPlain);
      return OkStatus();
    }
    if (function->text == kDict || function->text == kParameterDict) {
      if (!a.empty()) return Bad("a dictionary with arguments");
      Push(Kind::kDict);
      return OkStatus();
    }
    if (function->text == kParameter) {
      if (a.empty() || a[0]->kind != Kind::kTensor) return Bad("a parameter without a tensor");
      stack_.push_back(a[0]);
      return OkStatus();
    }
    if (function->text != kTensor || a.size() < 4 || a[0]->kind != Kind::kStorage || a[1]->kind != Kind::kInt)
      return Bad("a malformed tensor");
    PickledTensor tensor;
    std::optional<DType> dtype = a[0]->dtype;
    // An untyped storage is told its type by the seventh argument.
    if (!dtype && a.size() > 6 && a[6]->kind == Kind::kGlobal) dtype = a[6]->dtype;
    if (!dtype || !Numbers(a[2], tensor.shape) || !Numbers(a[3], tensor.strides) ||
        tensor.shape.size() != tensor.strides.size() || a[1]->number < 0 ||
        __builtin_add_overflow(a[0]->number, a[1]->number, &tensor.offset)) {
      return Bad("a malformed tensor");
    }
    tensor.dtype = *dtype;
    tensor.storage = a[0]->text;
    if (tensors_.size() >= kEntriesMax) return Bad("too many tensors");
    Push(Kind::kTensor)->tensor = tensors_.size();
    tensors_.push_back(std::move(tensor));
    return OkStatus();
  }

  // The state of an object: of interest only where parameters are kept in it.
  Status SetState() {
    ASSIGN_OR_RETURN(const Object* const state, Pop());
    if (stack_.empty()) return Bad("its stack runs empty");
    Object* const object = stack_.back();
    if (object->kind == Kind::kDict && state->kind == Kind::kDict) {
      for (const auto& [key, value] : state->pairs) {
        if (key->text == "_parameters" && value->kind == Kind::kDict && value != object)
          object->pairs.insert(object->pairs.end(), value->pairs.begin(), value->pairs.end());
        if (object->pairs.size() > kObjectsMax) return Bad("it is too large");
      }
    } else if (object->kind != Kind::kDict && object->kind != Kind::kPlain && object->kind != Kind::kTensor) {
      return Bad("a state for something that has none");
    }
    return OkStatus();
  }

  LittleEndian in_;
  size_t at_ = 0;
  std::string_view file_;
  std::deque<Object> objects_;
  std::vector<Object*> stack_;
  std::unordered_map<uint64_t, Object*> memo_;
  std::vector<PickledTensor> tensors_;
  std::map<std::string_view, std::optional<DType>> storages_;
};

const Object* Entry(const Object* dict, std::string_view name) {
  const Object* found = nullptr;
  for (const auto& [key, value] : dict->pairs) {
    if (key->kind == Kind::kText && key->text == name && value->kind == Kind::kDict) found = value;
  }
  return found;
}

// The dictionary of weights inside the wrappers that training scripts put around it.
const Object* Unwrapped(const Object* root) {
  for (int depth = 0; depth < 4 && root->kind == Kind::kDict; ++depth) {
    const Object* inner = nullptr;
    for (const char* name : {"state_dict", "model_state_dict", "params_ema", "params-ema", "params", "model", "net"}) {
      if (inner == nullptr) inner = Entry(root, name);
    }
    if (inner == nullptr && root->pairs.size() == 1 && root->pairs[0].second->kind == Kind::kDict &&
        root->pairs[0].first->text != "string_to_param") {
      inner = root->pairs[0].second;
    }
    if (inner == nullptr) break;
    root = inner;
  }
  return root;
}

// Names for the tensors below an object.
class Namer {
 public:
  explicit Namer(std::map<std::string, size_t>& out) : out_(out) {}

  // `visits` bounds shared and cyclic containers. False when there is too much.
  bool Walk(const Object* object, const std::string& name, int depth) {
    if (depth > kDepthMax) return true;
    if (++visits_ > kObjectsMax || name.size() > kNameBytesMax) return false;
    if (object->kind == Kind::kTensor) out_.insert_or_assign(name, object->tensor);
    if (object->items.empty() && object->pairs.empty()) return true;
    const std::string prefix = name.empty() ? "" : name + ".";
    for (size_t i = 0; i < object->items.size(); ++i) {
      if (!Walk(object->items[i], Cat(prefix, i), depth + 1)) return false;
    }
    for (const auto& [key, value] : object->pairs) {
      if (!IsContent(value)) continue;
      if (key->text.size() > kNameBytesMax) return false;
      const std::string part = key->kind == Kind::kInt ? std::to_string(key->number) : std::string(key->text);
      if (!Walk(value, prefix + part, depth + 1)) return false;
    }
    return true;
  }

 private:
  static bool IsContent(const Object* object) {
    return object->kind == Kind::kTensor || object->kind == Kind::kSequence || object->kind == Kind::kDict;
  }
  std::map<std::string, size_t>& out_;
  size_t visits_ = 0;
};

struct Bytes {
  uint64_t begin = 0, size = 0;
};

StatusOr<std::vector<ArchiveTensor>> Collect(const Object* root, const Unpickler& pickle,
                                             const std::map<std::string_view, Bytes>& storages, std::string_view file) {
  const auto bad = [&](std::string_view name, std::string_view what) {
    return InvalidArgument("file \"", file, "\": tensor \"", name, "\" is refused: ", what);
  };
  std::map<std::string, size_t> names;
  if (!Namer(names).Walk(Unwrapped(root), "", 0))
    return InvalidArgument("file \"", file, "\": the pickle in it is refused: it has too many or too long names");
  std::vector<ArchiveTensor> tensors;
  tensors.reserve(names.size());
  for (const auto& [name, index] : names) {
    const PickledTensor& t = pickle.tensors()[index];
    const auto storage = storages.find(t.storage);
    if (storage == storages.end()) return bad(name, Cat("storage \"", t.storage.substr(0, 100), "\" is missing"));
    const int64_t width = DTypeBytes(t.dtype);
    // The last element has to lie inside the storage.
    int64_t last = t.offset, elements = 1;
    for (size_t i = 0; i < t.shape.size(); ++i) {
      int64_t reach = 0;
      if (__builtin_mul_overflow(elements, t.shape[i], &elements) ||
          (t.shape[i] > 0 && (__builtin_mul_overflow(t.shape[i] - 1, t.strides[i], &reach) ||
                              __builtin_add_overflow(last, reach, &last)))) {
        return bad(name, "its size overflows");
      }
    }
    if (elements > limits::kTensorBytesMax / width) return bad(name, Cat("it has ", elements, " elements"));
    if (elements > 0 && last >= static_cast<int64_t>(storage->second.size / static_cast<uint64_t>(width)))
      return bad(name, "it reaches beyond its storage");
    const uint64_t begin = storage->second.begin + (elements > 0 ? static_cast<uint64_t>(t.offset * width) : 0);
    tensors.push_back({name, t.dtype, t.shape, t.strides, begin});
  }
  return tensors;
}

StatusOr<std::vector<ArchiveTensor>> ParseZip(std::string_view bytes, std::string_view file) {
  ASSIGN_OR_RETURN(const Entries entries, ReadZip(bytes, file));
  for (const auto& [name, pickle] : entries) {
    if (!name.ends_with("data.pkl") || (name.size() > 8 && name[name.size() - 9] != '/')) continue;
    if (pickle.size() > kPickleBytesMax)
      return InvalidArgument("file \"", file, "\": the pickle in it has ", pickle.size(), " bytes");
    const std::string root = name.substr(0, name.size() - 8);
    if (const auto order = entries.find(root + "byteorder"); order != entries.end() && order->second == "big")
      return InvalidArgument("file \"", file, "\" is big-endian, which is not supported; convert it to safetensors");
    Unpickler reader(pickle, file);
    size_t at = 0;
    ASSIGN_OR_RETURN(const Object* const top, reader.Run(at));
    std::map<std::string_view, Bytes> storages;
    for (const auto& [key, dtype] : reader.storages()) {
      const auto entry = entries.find(Cat(root, "data/", key));
      if (entry == entries.end()) continue;
      storages[key] = {static_cast<uint64_t>(entry->second.data() - bytes.data()), entry->second.size()};
    }
    return Collect(top, reader, storages, file);
  }
  return InvalidArgument("file \"", file, "\" is an archive without weights");
}

// A number, a version, facts about the machine, the object and the storages' keys as pickles in a row; then each
// storage: u64 elements and its bytes.
StatusOr<std::vector<ArchiveTensor>> ParseLegacy(std::string_view bytes, std::string_view file) {
  const auto bad = [file](std::string_view what) {
    return InvalidArgument("file \"", file, "\": the pickle in it is refused: ", what);
  };
  Unpickler reader(bytes, file);
  size_t at = 2 + kLegacyMagic.size();
  ASSIGN_OR_RETURN(const Object* const version, reader.Run(at));
  if (version->kind != Kind::kInt || version->number != 1001) return bad("it is of an unknown version");
  ASSIGN_OR_RETURN(const Object* const machine, reader.Run(at));
  for (const auto& [key, value] : machine->pairs) {
    if (key->text == "little_endian" && value->kind == Kind::kBool && value->number == 0)
      return InvalidArgument("file \"", file, "\" is big-endian, which is not supported; convert it to safetensors");
  }
  ASSIGN_OR_RETURN(const Object* const top, reader.Run(at));
  ASSIGN_OR_RETURN(const Object* const keys, reader.Run(at));
  if (keys->kind != Kind::kSequence || keys->items.size() > kEntriesMax) return bad("its list of storages is missing");
  std::map<std::string_view, Bytes> storages;
  LittleEndian in{bytes};
  for (const Object* key : keys->items) {
    const auto type = reader.storages().find(key->text);
    if (key->kind != Kind::kText || type == reader.storages().end()) return bad("a storage that nothing uses");
    const uint64_t count = in.Number(at, 8),
                   width = type->second ? static_cast<uint64_t>(DTypeBytes(*type->second)) : 1;
    uint64_t size = 0;
    if (in.bad || __builtin_mul_overflow(count, width, &size) || size > bytes.size() - at - 8)
      return DataLoss("file \"", file, "\" is cut off: a storage of ", count, " elements is not whole");
    storages[key->text] = {at + 8, size};
    at += 8 + size;
  }
  return Collect(top, reader, storages, file);
}

bool IsLegacy(std::string_view bytes) {
  return bytes.size() > 15 && bytes.substr(2, kLegacyMagic.size()) == kLegacyMagic;
}

}  // namespace

bool IsTorchArchive(std::string_view bytes) {
  // The length that a safetensors file begins with may look like either.
  if (bytes.size() > 8 && bytes[8] == '{' && bytes.substr(4, 4) == std::string_view("\0\0\0\0", 4)) return false;
  return bytes.substr(0, 4) == std::string_view("PK\3\4", 4) ||
         (bytes.size() > 2 && bytes[0] == '\x80' && bytes[1] > 0 && bytes[1] <= 5);
}

StatusOr<std::vector<ArchiveTensor>> ParseTorchArchive(std::string_view bytes, std::string_view file) {
  if (bytes.substr(0, 4) == std::string_view("PK\3\4", 4)) return ParseZip(bytes, file);
  if (IsLegacy(bytes)) return ParseLegacy(bytes, file);
  return InvalidArgument("file \"", file,
                         "\" is a pickle that torch.save did not write, or a damaged one; convert it to safetensors");
}

}  // namespace atelier
