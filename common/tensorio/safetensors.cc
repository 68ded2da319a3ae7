#include "common/tensorio/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <tuple>

#include "common/base/check.h"
#include "common/base/limits.h"

namespace atelier {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  int64_t bytes;
};
constexpr std::array<DTypeRow, 15> kDTypes{{{DType::kBool, "BOOL", 1},
                                            {DType::kU8, "U8", 1},
                                            {DType::kI8, "I8", 1},
                                            {DType::kF8E4M3, "F8_E4M3", 1},
                                            {DType::kF8E5M2, "F8_E5M2", 1},
                                            {DType::kU16, "U16", 2},
                                            {DType::kI16, "I16", 2},
                                            {DType::kF16, "F16", 2},
                                            {DType::kBF16, "BF16", 2},
                                            {DType::kU32, "U32", 4},
                                            {DType::kI32, "I32", 4},
                                            {DType::kF32, "F32", 4},
                                            {DType::kU64, "U64", 8},
                                            {DType::kI64, "I64", 8},
                                            {DType::kF64, "F64", 8}}};

// Product of a shape in elements, or nothing if it overflows.
std::optional<int64_t> Elements(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t n : shape) {
    if (n < 0 || __builtin_mul_overflow(count, n, &count)) return std::nullopt;
  }
  return count;
}

// Reads exactly the JSON that a safetensors header may hold. The general parser keeps the last of two equal keys; here
// a name that occurs twice is an attack or a bug, so it has to be seen.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, std::string_view file) : text_(text), file_(file) {}

  Status Read(std::map<std::string, TensorInfo, std::less<>>& tensors,
              std::map<std::string, std::string, std::less<>>& metadata) {
    bool has_metadata = false;
    const Status read = ReadObject([&](const std::string& name) -> Status {
      if (name == "__metadata__") {
        if (has_metadata) return Bad("\"__metadata__\" occurs twice");
        has_metadata = true;
        return ReadObject([&](const std::string& key) -> Status {
          ASSIGN_OR_RETURN(std::string value, ReadString());
          if (!metadata.emplace(key, std::move(value)).second) return Bad(Cat("metadata \"", key, "\" occurs twice"));
          return OkStatus();
        });
      }
      TensorInfo info;
      RETURN_IF_ERROR(ReadTensor(name, info));
      if (!tensors.emplace(name, std::move(info)).second) return Bad(Cat("tensor \"", name, "\" occurs twice"));
      return OkStatus();
    });
    RETURN_IF_ERROR(read);
    SkipSpace();
    if (at_ != text_.size()) return Bad("text after its end");
    return OkStatus();
  }

 private:
  Status Bad(const std::string& what) const {
    return InvalidArgument("file \"", file_, "\": damaged safetensors header at byte ", at_, ": ", what);
  }
  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      ++at_;
  }
  bool Take(char c) {
    SkipSpace();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  template <typename Member>
  Status ReadObject(const Member& member) {
    if (!Take('{')) return Bad("expected \"{\"");
    if (Take('}')) return OkStatus();
    do {
      ASSIGN_OR_RETURN(std::string key, ReadString());
      if (!Take(':')) return Bad("expected \":\"");
      RETURN_IF_ERROR(member(key));
    } while (Take(','));
    if (!Take('}')) return Bad("expected \",\" or \"}\"");
    return OkStatus();
  }
  Status ReadTensor(const std::string& name, TensorInfo& info) {
    info.name = name;
    bool has_dtype = false, has_shape = false, has_offsets = false;
    RETURN_IF_ERROR(ReadObject([&](const std::string& key) -> Status {
      if (key == "dtype" && !has_dtype) {
        has_dtype = true;
        ASSIGN_OR_RETURN(std::string dtype_name, ReadString());
        auto dtype = DTypeFromName(dtype_name);
        if (!dtype.ok()) return Bad(Cat("tensor \"", name, "\": ", Message(dtype.status())));
        info.dtype = *dtype;
        return OkStatus();
      }
      if (key == "shape" && !has_shape) {
        has_shape = true;
        ASSIGN_OR_RETURN(std::vector<uint64_t> dims, ReadNumbers());
        if (dims.size() > 16)
          return Bad(Cat("tensor \"", name, "\" has ", dims.size(), " dimensions, at most 16 are read"));
        for (uint64_t n : dims) {
          if (n > (uint64_t{1} << 62)) return Bad(Cat("tensor \"", name, "\" has a dimension of ", n));
          info.shape.push_back(static_cast<int64_t>(n));
        }
        return OkStatus();
      }
      if (key == "data_offsets" && !has_offsets) {
        has_offsets = true;
        ASSIGN_OR_RETURN(std::vector<uint64_t> offsets, ReadNumbers());
        if (offsets.size() != 2)
          return Bad(Cat("tensor \"", name, "\": data_offsets need 2 numbers, not ", offsets.size()));
        info.begin = offsets[0];
        info.end = offsets[1];
        return OkStatus();
      }
      return Bad(Cat("tensor \"", name, "\": unexpected key \"", key, "\""));
    }));
    if (!has_dtype || !has_shape || !has_offsets) {
      return Bad(Cat("tensor \"", name, "\" needs dtype, shape and data_offsets"));
    }
    return OkStatus();
  }
  StatusOr<std::vector<uint64_t>> ReadNumbers() {
    std::vector<uint64_t> numbers;
    if (!Take('[')) return Bad("expected \"[\"");
    if (Take(']')) return numbers;
    do {
      SkipSpace();
      uint64_t n = 0;
      const size_t start = at_;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
        if (__builtin_mul_overflow(n, uint64_t{10}, &n) ||
            __builtin_add_overflow(n, static_cast<uint64_t>(text_[at_] - '0'), &n)) {
          return Bad("a number above 2^64");
        }
        ++at_;
      }
      if (at_ == start) return Bad("expected a whole number of 0 or more");
      if (numbers.size() >= 64) return Bad("a list of more than 64 numbers");
      numbers.push_back(n);
    } while (Take(','));
    if (!Take(']')) return Bad("expected \",\" or \"]\"");
    return numbers;
  }
  StatusOr<uint32_t> ReadHex4() {
    if (at_ + 4 > text_.size()) return Bad("a cut off escape");
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = text_[at_++];
      value <<= 4;
      if (c >= '0' && c <= '9')
        value |= static_cast<uint32_t>(c - '0');
      else if (c >= 'a' && c <= 'f')
        value |= static_cast<uint32_t>(c - 'a' + 10);
      else if (c >= 'A' && c <= 'F')
        value |= static_cast<uint32_t>(c - 'A' + 10);
      else
        return Bad("an escape that is not hexadecimal");
    }
    return value;
  }
  StatusOr<std::string> ReadString() {
    if (!Take('"')) return Bad("expected a string");
    std::string out;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return out;
      if (static_cast<unsigned char>(c) < 0x20) return Bad("a control character in a string");
      if (c != '\\') {
        out.push_back(c);
        continue;
      }
      if (at_ >= text_.size()) break;
      switch (const char e = text_[at_++]) {
        case '"':
        case '\\':
        case '/':
          out.push_back(e);
          break;
        case 'b':
          out.push_back('\b');
          break;
        case 'f':
          out.push_back('\f');
          break;
        case 'n':
          out.push_back('\n');
          break;
        case 'r':
          out.push_back('\r');
          break;
        case 't':
          out.push_back('\t');
          break;
        case 'u': {
          ASSIGN_OR_RETURN(uint32_t code, ReadHex4());
          if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
            at_ += 2;
            ASSIGN_OR_RETURN(const uint32_t low, ReadHex4());
            if (low < 0xDC00 || low > 0xDFFF) return Bad("half a surrogate pair");
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
          }
          if (code >= 0xD800 && code <= 0xDFFF) return Bad("half a surrogate pair");
          AppendUtf8(code, out);
          break;
        }
        default:
          return Bad("an unknown escape");
      }
    }
    return Bad("a string without an end");
  }
  static void AppendUtf8(uint32_t code, std::string& out) {
    const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xC0 | (code >> 6)), put(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      put(0xE0 | (code >> 12)), put(0x80 | ((code >> 6) & 0x3F)), put(0x80 | (code & 0x3F));
    } else {
      put(0xF0 | (code >> 18)), put(0x80 | ((code >> 12) & 0x3F)), put(0x80 | ((code >> 6) & 0x3F)),
          put(0x80 | (code & 0x3F));
    }
  }

  std::string_view text_;
  std::string_view file_;
  size_t at_ = 0;
};

void AppendJsonString(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20) {
      out += "\\u00";
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

}  // namespace

std::string_view DTypeName(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].name; }

StatusOr<DType> DTypeFromName(std::string_view name) {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) return row.dtype;
  }
  return InvalidArgument("unknown element type \"", name, "\"");
}

int64_t DTypeBytes(DType dtype) { return kDTypes[static_cast<size_t>(dtype)].bytes; }

int64_t TensorInfo::elements() const { return Elements(shape).value_or(0); }

const TensorInfo* SafetensorsView::Find(std::string_view name) const {
  auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

StatusOr<SafetensorsView> ParseSafetensors(std::string_view bytes, std::string_view file) {
  if (bytes.size() < 8)
    return DataLoss("file \"", file, "\" is cut off: ", bytes.size(), " bytes are no safetensors file");
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i)
    header_bytes = (header_bytes << 8) | static_cast<unsigned char>(bytes[static_cast<size_t>(i)]);
  if (header_bytes > static_cast<uint64_t>(limits::kSafetensorsHeaderBytesMax)) {
    return InvalidArgument("file \"", file, "\" is no safetensors file: its header would have ", header_bytes,
                           " bytes");
  }
  if (header_bytes > bytes.size() - 8) {
    return DataLoss("file \"", file, "\" is cut off: its header has ", header_bytes, " bytes, the file ", bytes.size());
  }
  SafetensorsView view;
  RETURN_IF_ERROR(HeaderReader(bytes.substr(8, header_bytes), file).Read(view.tensors_, view.metadata_));
  view.data_ = bytes.substr(8 + header_bytes);

  std::vector<const TensorInfo*> by_offset;
  by_offset.reserve(view.tensors_.size());
  for (const auto& [name, info] : view.tensors_) by_offset.push_back(&info);
  std::sort(by_offset.begin(), by_offset.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t at = 0;
  for (const TensorInfo* info : by_offset) {
    if (info->begin != at || info->end < info->begin) {
      return InvalidArgument("file \"", file, "\": tensor \"", info->name, "\" lies at bytes ", info->begin, " to ",
                             info->end, ", expected a start at ", at, info->begin > at ? " (a gap)" : " (an overlap)");
    }
    const std::optional<int64_t> elements = Elements(info->shape);
    int64_t size = 0;
    if (!elements || __builtin_mul_overflow(*elements, DTypeBytes(info->dtype), &size) ||
        static_cast<uint64_t>(size) != info->end - info->begin) {
      return InvalidArgument("file \"", file, "\": tensor \"", info->name, "\" has ", info->end - info->begin,
                             " bytes, which is not the size of its shape in ", DTypeName(info->dtype));
    }
    at = info->end;
  }
  if (at > view.data_.size()) {
    return DataLoss("file \"", file, "\" is cut off: ", view.data_.size(), " bytes of tensors are there, ", at,
                    " are expected");
  }
  if (at < view.data_.size()) {
    return DataLoss("file \"", file, "\" has ", view.data_.size() - at, " bytes after its last tensor");
  }
  return view;
}

StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  ASSIGN_OR_RETURN(file->mapped_, MappedFile::Open(path));
  file->name_ = file->mapped_->name();
  ASSIGN_OR_RETURN(file->view_, ParseSafetensors(file->mapped_->bytes(), file->name_));
  return std::shared_ptr<const SafetensorsFile>(std::move(file));
}

StatusOr<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::FromBytes(std::string bytes,
                                                                            std::string_view file_name) {
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->name_ = std::string(file_name);
  file->owned_ = std::move(bytes);
  ASSIGN_OR_RETURN(file->view_, ParseSafetensors(file->owned_, file->name_));
  return std::shared_ptr<const SafetensorsFile>(std::move(file));
}

std::string SafetensorsHead(const std::vector<TensorToWrite>& tensors,
                            const std::map<std::string, std::string, std::less<>>& metadata) {
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    bool first = true;
    for (const auto& [key, value] : metadata) {
      if (!first) header.push_back(',');
      first = false;
      AppendJsonString(key, header);
      header.push_back(':');
      AppendJsonString(value, header);
    }
    header.push_back('}');
  }
  uint64_t at = 0;
  for (const TensorToWrite& tensor : tensors) {
    const std::optional<int64_t> elements = Elements(tensor.shape);
    ATELIER_CHECK(elements.has_value());
    const auto size = static_cast<uint64_t>(*elements * DTypeBytes(tensor.dtype));
    if (header.size() > 1) header.push_back(',');
    AppendJsonString(tensor.name, header);
    header += Cat(":{\"dtype\":\"", DTypeName(tensor.dtype), "\",\"shape\":[");
    for (size_t i = 0; i < tensor.shape.size(); ++i) header += Cat(i > 0 ? "," : "", tensor.shape[i]);
    header += Cat("],\"data_offsets\":[", at, ",", at + size, "]}");
    at += size;
  }
  header.push_back('}');
  header.resize((header.size() + 7) / 8 * 8, ' ');

  std::string out;
  out.reserve(8 + header.size());
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>((header.size() >> (8 * i)) & 0xFF));
  out += header;
  return out;
}

std::string WriteSafetensors(const std::vector<TensorToWrite>& tensors,
                             const std::map<std::string, std::string, std::less<>>& metadata) {
  const std::string head = SafetensorsHead(tensors, metadata);
  size_t size = head.size();
  for (const TensorToWrite& tensor : tensors) {
    ATELIER_CHECK(static_cast<size_t>(*Elements(tensor.shape) * DTypeBytes(tensor.dtype)) == tensor.bytes.size());
    size += tensor.bytes.size();
  }
  std::string out;
  out.reserve(size);
  out += head;
  for (const TensorToWrite& tensor : tensors) out += tensor.bytes;
  return out;
}

StatusOr<std::string> AddSafetensorsMetadata(std::string_view bytes,
                                             const std::map<std::string, std::string, std::less<>>& metadata) {
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(bytes));
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, info] : view.tensors()) tensors.push_back({name, info.dtype, info.shape, view.Data(info)});
  std::sort(tensors.begin(), tensors.end(), [&](const TensorToWrite& a, const TensorToWrite& b) {
    const TensorInfo *x = view.Find(a.name), *y = view.Find(b.name);
    return std::tie(x->begin, x->end) < std::tie(y->begin, y->end);
  });
  std::map<std::string, std::string, std::less<>> merged = view.metadata();
  for (const auto& [key, value] : metadata) merged.insert_or_assign(key, value);
  return WriteSafetensors(tensors, merged);
}

}  // namespace atelier
