#include "worker/engine/pickle.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace atelier::engine {
namespace {

constexpr size_t kEntriesMax = 200'000;  // files of an archive, tensors of a dictionary
constexpr size_t kPickleBytesMax = 64 << 20;
constexpr int kDepthMax = 32;

struct Mapping {
  const char* data = nullptr;
  size_t size = 0;
  ~Mapping() {
    if (data != nullptr) ::munmap(const_cast<char*>(data), size);
  }
};

// Little-endian numbers with a bound check; reading past the end gives 0 and sets `bad`.
struct Reader {
  std::string_view bytes;
  bool bad = false;
  uint64_t Number(size_t at, size_t width) {
    if (at > bytes.size() || width > bytes.size() - at) {
      bad = true;
      return 0;
    }
    uint64_t v = 0;
    for (size_t i = width; i-- > 0;) v = (v << 8) | static_cast<unsigned char>(bytes[at + i]);
    return v;
  }
};

using Entries = std::map<std::string, std::string_view, std::less<>>;

// The stored (uncompressed) entries of a zip archive.
StatusOr<Entries> ReadZip(std::string_view zip, const std::string& file) {
  const Status cut = DataLoss("file \"", file, "\" is cut off or no archive: its directory cannot be read");
  const size_t end = zip.rfind(std::string_view("PK\5\6", 4));
  if (end == std::string_view::npos) return cut;
  Reader r{zip};
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
    entries.emplace(name, zip.substr(data, size));
    at += 46 + name_size + extra_size + comment_size;
  }
  return entries;
}

struct Object;
using Ref = std::shared_ptr<Object>;
struct Object {
  enum class Kind { kPlain, kInt, kText, kSequence, kDict, kGlobal, kStorage, kTensor, kMark } kind = Kind::kPlain;
  int64_t number = 0;
  std::string text;                        // kText; kGlobal "module name"
  std::vector<Ref> items;                  // kSequence
  std::vector<std::pair<Ref, Ref>> pairs;  // kDict
  at::Tensor tensor;                       // kTensor, and kStorage as one flat tensor
};
using Kind = Object::Kind;

class Unpickler {
 public:
  Unpickler(std::string_view pickle, std::string root, const Entries& entries, std::shared_ptr<Mapping> mapping,
            std::string file)
      : in_{pickle}, root_(std::move(root)), entries_(entries), mapping_(std::move(mapping)), file_(std::move(file)) {}

  StatusOr<Ref> Run() {
    while (true) {
      const auto op = static_cast<unsigned char>(Take(1));
      if (in_.bad) return Bad("its end is missing");
      if (op == '.') {
        if (stack_.empty()) return Bad("it gives no value");
        return stack_.back();
      }
      RETURN_IF_ERROR(Step(op));
      if (in_.bad) return Bad("its end is missing");
      if (stack_.size() > kEntriesMax * 4) return Bad("it is too large");
    }
  }

 private:
  Status Bad(const std::string& what) const {
    return InvalidArgument("file \"", file_, "\": the pickle in it is refused: ", what);
  }
  uint64_t Take(size_t width) {
    const uint64_t v = in_.Number(at_, width);
    at_ += width;
    return v;
  }
  std::string TakeText(uint64_t size) {
    if (at_ > in_.bytes.size() || size > in_.bytes.size() - at_) {
      in_.bad = true;
      return {};
    }
    at_ += size;
    return std::string(in_.bytes.substr(at_ - size, size));
  }
  std::string TakeLine() {
    const size_t end = in_.bytes.find('\n', at_);
    if (end == std::string_view::npos) {
      in_.bad = true;
      return {};
    }
    std::string line(in_.bytes.substr(at_, end - at_));
    at_ = end + 1;
    return line;
  }
  Ref Make(Kind kind) {
    auto object = std::make_shared<Object>();
    object->kind = kind;
    return object;
  }
  void Push(Ref object) { stack_.push_back(std::move(object)); }
  void PushInt(int64_t n) {
    Push(Make(Kind::kInt));
    stack_.back()->number = n;
  }
  void PushText(std::string text) {
    Push(Make(Kind::kText));
    stack_.back()->text = std::move(text);
  }
  StatusOr<Ref> Pop() {
    if (stack_.empty() || stack_.back()->kind == Kind::kMark) return Bad("its stack runs empty");
    Ref top = std::move(stack_.back());
    stack_.pop_back();
    return top;
  }
  // The items above the last mark, which goes too.
  StatusOr<std::vector<Ref>> PopMark() {
    size_t mark = stack_.size();
    while (mark > 0 && stack_[mark - 1]->kind != Kind::kMark) --mark;
    if (mark == 0) return Bad("a mark is missing");
    std::vector<Ref> items(stack_.begin() + static_cast<std::ptrdiff_t>(mark), stack_.end());
    stack_.resize(mark - 1);
    return items;
  }
  Status PushTuple(size_t n) {
    Ref tuple = Make(Kind::kSequence);
    tuple->items.resize(n);
    for (size_t i = n; i-- > 0;) {
      ASSIGN_OR_RETURN(tuple->items[i], Pop());
    }
    Push(std::move(tuple));
    return OkStatus();
  }
  StatusOr<Object*> Top(Kind kind) {
    if (stack_.empty() || stack_.back()->kind != kind) return Bad("a container is missing");
    return stack_.back().get();
  }

  Status Step(unsigned char op) {
    switch (op) {
      case 0x80:
        Take(1);
        return OkStatus();  // PROTO
      case 0x95:
        Take(8);
        return OkStatus();  // FRAME
      case '}':
        Push(Make(Kind::kDict));
        return OkStatus();  // EMPTY_DICT
      case ']':
      case ')':
        Push(Make(Kind::kSequence));
        return OkStatus();  // EMPTY_LIST, EMPTY_TUPLE
      case '(':
        Push(Make(Kind::kMark));
        return OkStatus();  // MARK
      case 'N':
      case 0x88:
      case 0x89:
        Push(Make(Kind::kPlain));
        return OkStatus();  // NONE, NEWTRUE, NEWFALSE
      case 'G':
        Take(8);
        Push(Make(Kind::kPlain));
        return OkStatus();  // BINFLOAT
      case 'K':
        PushInt(static_cast<int64_t>(Take(1)));
        return OkStatus();
      case 'M':
        PushInt(static_cast<int64_t>(Take(2)));
        return OkStatus();
      case 'J':
        PushInt(static_cast<int32_t>(static_cast<uint32_t>(Take(4))));
        return OkStatus();
      case 0x8a: {  // LONG1
        const uint64_t n = Take(1);
        if (n > 8) return Bad("a number of more than 64 bits");
        uint64_t v = Take(n);
        if (n > 0 && n < 8 && (v >> (8 * n - 1)) != 0) v |= ~uint64_t{0} << (8 * n);
        PushInt(static_cast<int64_t>(v));
        return OkStatus();
      }
      case 'X':
      case 'T':
      case 'B':
        PushText(TakeText(Take(4)));
        return OkStatus();
      case 0x8c:
      case 'U':
      case 'C':
        PushText(TakeText(Take(1)));
        return OkStatus();
      case 0x8d:
        PushText(TakeText(Take(8)));
        return OkStatus();
      case 'q':
        return Put(Take(1));
      case 'r':
        return Put(Take(4));
      case 0x94:
        return Put(memo_.size());  // MEMOIZE
      case 'h':
        return Get(Take(1));
      case 'j':
        return Get(Take(4));
      case '0':
        return Pop().status();
      case 't': {
        ASSIGN_OR_RETURN(std::vector<Ref> items, PopMark());
        Push(Make(Kind::kSequence));
        stack_.back()->items = std::move(items);
        return OkStatus();
      }
      case 0x85:
        return PushTuple(1);
      case 0x86:
        return PushTuple(2);
      case 0x87:
        return PushTuple(3);
      case 'a': {
        ASSIGN_OR_RETURN(Ref item, Pop());
        ASSIGN_OR_RETURN(Object* const list, Top(Kind::kSequence));
        list->items.push_back(std::move(item));
        return OkStatus();
      }
      case 'e': {
        ASSIGN_OR_RETURN(std::vector<Ref> items, PopMark());
        ASSIGN_OR_RETURN(Object* const list, Top(Kind::kSequence));
        list->items.insert(list->items.end(), items.begin(), items.end());
        return OkStatus();
      }
      case 's': {
        ASSIGN_OR_RETURN(Ref value, Pop());
        ASSIGN_OR_RETURN(Ref key, Pop());
        ASSIGN_OR_RETURN(Object* const dict, Top(Kind::kDict));
        dict->pairs.emplace_back(std::move(key), std::move(value));
        return OkStatus();
      }
      case 'u': {
        ASSIGN_OR_RETURN(std::vector<Ref> items, PopMark());
        ASSIGN_OR_RETURN(Object* const dict, Top(Kind::kDict));
        if (items.size() % 2 != 0) return Bad("a key without a value");
        for (size_t i = 0; i < items.size(); i += 2) dict->pairs.emplace_back(items[i], items[i + 1]);
        return OkStatus();
      }
      case 'c': {
        const std::string module = TakeLine();
        return Global(module, TakeLine());
      }
      case 0x93: {  // STACK_GLOBAL
        ASSIGN_OR_RETURN(const Ref name, Pop());
        ASSIGN_OR_RETURN(const Ref module, Pop());
        return Global(module->text, name->text);
      }
      case 'Q':
        return Storage();  // BINPERSID
      case 'R':
        return Reduce();
      case 'b': {  // BUILD: attributes of an OrderedDict (its version metadata) are not needed
        RETURN_IF_ERROR(Pop().status());
        return Top(Kind::kDict).status();
      }
      default:
        return Bad(Cat("instruction ", static_cast<int>(op), " is not one of plain data"));
    }
  }

  Status Put(uint64_t index) {
    if (stack_.empty()) return Bad("its stack runs empty");
    memo_[index] = stack_.back();
    return OkStatus();
  }
  Status Get(uint64_t index) {
    auto it = memo_.find(index);
    if (it == memo_.end()) return Bad("a reference to nothing");
    Push(it->second);
    return OkStatus();
  }

  Status Global(const std::string& module, const std::string& name) {
    const std::string full = module + " " + name;
    const bool storage = module == "torch" && TypeOf(name) != at::ScalarType::Undefined;
    if (!storage && full != "collections OrderedDict" && full != "torch._utils _rebuild_tensor_v2" &&
        full != "torch._utils _rebuild_parameter") {
      return Bad(Cat("it asks for \"", full, "\", which is no tensor; convert the model to safetensors"));
    }
    Push(Make(Kind::kGlobal));
    stack_.back()->text = storage ? name : full;
    return OkStatus();
  }

  static at::ScalarType TypeOf(const std::string& name) {
    static const std::map<std::string, at::ScalarType> types{
        {"FloatStorage", at::kFloat},   {"HalfStorage", at::kHalf}, {"BFloat16Storage", at::kBFloat16},
        {"DoubleStorage", at::kDouble}, {"LongStorage", at::kLong}, {"IntStorage", at::kInt},
        {"ShortStorage", at::kShort},   {"CharStorage", at::kChar}, {"ByteStorage", at::kByte},
        {"BoolStorage", at::kBool}};
    auto it = types.find(name);
    return it == types.end() ? at::ScalarType::Undefined : it->second;
  }

  // ('storage', type, key, location, elements) to a flat tensor on the mapping.
  Status Storage() {
    ASSIGN_OR_RETURN(const Ref id, Pop());
    if (id->kind != Kind::kSequence || id->items.size() != 5 || id->items[1]->kind != Kind::kGlobal)
      return Bad("an unknown storage");
    const at::ScalarType type = TypeOf(id->items[1]->text);
    auto entry = entries_.find(root_ + "data/" + id->items[2]->text);
    if (type == at::ScalarType::Undefined || entry == entries_.end())
      return Bad(Cat("storage \"", id->items[2]->text, "\" is missing"));
    const size_t width = c10::elementSize(type);
    const auto count = static_cast<int64_t>(entry->second.size() / width);
    Ref storage = Make(Kind::kStorage);
    if (count == 0) {
      storage->tensor = at::empty({0}, type);
    } else {
      storage->tensor = at::from_blob(
          const_cast<char*>(entry->second.data()), {count}, [keep = mapping_](void*) {}, type);
      if (reinterpret_cast<uintptr_t>(entry->second.data()) % width != 0) {
        at::Tensor copy = at::empty({count}, type);
        std::memcpy(copy.data_ptr(), entry->second.data(), static_cast<size_t>(count) * width);
        storage->tensor = copy;
      }
    }
    Push(std::move(storage));
    return OkStatus();
  }

  static StatusOr<std::vector<int64_t>> Numbers(const Ref& list) {
    std::vector<int64_t> numbers;
    if (list->kind != Kind::kSequence || list->items.size() > 16) return InvalidArgument("");
    for (const Ref& item : list->items) {
      if (item->kind != Kind::kInt || item->number < 0) return InvalidArgument("");
      numbers.push_back(item->number);
    }
    return numbers;
  }

  Status Reduce() {
    ASSIGN_OR_RETURN(const Ref args, Pop());
    ASSIGN_OR_RETURN(const Ref function, Pop());
    if (function->kind != Kind::kGlobal || args->kind != Kind::kSequence)
      return Bad("a call of something that is no function");
    const std::vector<Ref>& a = args->items;
    if (function->text == "collections OrderedDict") {
      if (!a.empty()) return Bad("a dictionary with arguments");
      Push(Make(Kind::kDict));
      return OkStatus();
    }
    if (function->text == "torch._utils _rebuild_parameter") {
      if (a.empty() || a[0]->kind != Kind::kTensor) return Bad("a parameter without a tensor");
      Push(a[0]);
      return OkStatus();
    }
    if (function->text != "torch._utils _rebuild_tensor_v2") return Bad(Cat("a call of \"", function->text, "\""));
    if (a.size() < 4 || a[0]->kind != Kind::kStorage || a[1]->kind != Kind::kInt || a[1]->number < 0)
      return Bad("a malformed tensor");
    const auto sizes = Numbers(a[2]), strides = Numbers(a[3]);
    if (!sizes.ok() || !strides.ok() || sizes->size() != strides->size()) return Bad("a malformed tensor");
    const at::Tensor& flat = a[0]->tensor;
    // The last element has to lie inside the storage.
    int64_t last = a[1]->number, elements = 1;
    for (size_t i = 0; i < sizes->size(); ++i) {
      int64_t reach = 0;
      if (__builtin_mul_overflow(elements, (*sizes)[i], &elements) ||
          ((*sizes)[i] > 0 && (__builtin_mul_overflow((*sizes)[i] - 1, (*strides)[i], &reach) ||
                               __builtin_add_overflow(last, reach, &last)))) {
        return Bad("a tensor whose size overflows");
      }
    }
    if (elements > 0 && last >= flat.numel()) return Bad("a tensor beyond its storage");
    Ref tensor = Make(Kind::kTensor);
    tensor->tensor =
        elements == 0 ? at::empty(*sizes, flat.scalar_type()) : flat.as_strided(*sizes, *strides, a[1]->number);
    Push(std::move(tensor));
    return OkStatus();
  }

  Reader in_;
  size_t at_ = 0;
  std::string root_;
  const Entries& entries_;
  std::shared_ptr<Mapping> mapping_;
  std::string file_;
  std::vector<Ref> stack_;
  std::unordered_map<uint64_t, Ref> memo_;
};

// `visits` bounds shared and cyclic containers.
void Flatten(const Ref& object, const std::string& name, int depth, size_t& visits,
             std::map<std::string, at::Tensor, std::less<>>& out) {
  if (depth > kDepthMax || ++visits > kEntriesMax * 4) return;
  if (object->kind == Kind::kTensor) out.emplace(name, object->tensor);
  const std::string prefix = name.empty() ? "" : name + ".";
  for (size_t i = 0; i < object->items.size(); ++i) Flatten(object->items[i], Cat(prefix, i), depth + 1, visits, out);
  for (const auto& [key, value] : object->pairs) {
    const std::string part = key->kind == Kind::kInt ? std::to_string(key->number) : key->text;
    Flatten(value, prefix + part, depth + 1, visits, out);
  }
}

}  // namespace

bool IsTorchZip(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  char magic[4] = {};
  return in.read(magic, 4) && std::string_view(magic, 4) == std::string_view("PK\3\4", 4);
}

StatusOr<std::map<std::string, at::Tensor, std::less<>>> ReadTorchZip(const std::string& path) {
  const std::string file = path.substr(path.rfind('/') + 1);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NotFound("file \"", file, "\" cannot be opened: ", std::strerror(errno));
  struct stat info {};
  auto mapping = std::make_shared<Mapping>();
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
    void* data = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (data != MAP_FAILED) {
      mapping->data = static_cast<const char*>(data);
      mapping->size = static_cast<size_t>(info.st_size);
    }
  }
  ::close(fd);
  if (mapping->data == nullptr) return DataLoss("file \"", file, "\" is empty or cannot be mapped");
  ASSIGN_OR_RETURN(const Entries entries, ReadZip(std::string_view(mapping->data, mapping->size), file));
  for (const auto& [name, bytes] : entries) {
    if (!name.ends_with("data.pkl") || (name.size() > 8 && name[name.size() - 9] != '/')) continue;
    if (bytes.size() > kPickleBytesMax)
      return InvalidArgument("file \"", file, "\": the pickle in it has ", bytes.size(), " bytes");
    ASSIGN_OR_RETURN(const Ref top, Unpickler(bytes, name.substr(0, name.size() - 8), entries, mapping, file).Run());
    std::map<std::string, at::Tensor, std::less<>> tensors;
    size_t visits = 0;
    // Training scripts put the weights beside other things.
    Ref root = top;
    for (const auto& [key, value] : top->pairs) {
      if (key->text == "state_dict" && value->kind == Kind::kDict) root = value;
    }
    Flatten(root, "", 0, visits, tensors);
    return tensors;
  }
  return InvalidArgument("file \"", file, "\" is an archive without weights");
}

}  // namespace atelier::engine
