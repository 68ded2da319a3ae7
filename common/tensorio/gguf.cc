#include "common/tensorio/gguf.h"

#include <array>
#include <cstring>
#include <set>

#include "common/tensorio/little_endian.h"

namespace atelier {
namespace {

constexpr uint64_t kTensorsMax = 200'000, kKeysMax = 100'000;
constexpr size_t kValuesMax = 4'000'000;  // a vocabulary has some 300,000
constexpr uint64_t kGgufNameBytesMax = 4096;
constexpr uint64_t kDimensionsMax = 8;  // published files have 5
constexpr int kArrayDepthMax = 4;

constexpr std::array<GgufType, 32> kTypes{
    {{0, "F32", 1, 4, true},         {1, "F16", 1, 2, true},          {2, "Q4_0", 32, 18, true},
     {3, "Q4_1", 32, 20, true},      {6, "Q5_0", 32, 22, true},       {7, "Q5_1", 32, 24, true},
     {8, "Q8_0", 32, 34, true},      {9, "Q8_1", 32, 40, false},      {10, "Q2_K", 256, 84, true},
     {11, "Q3_K", 256, 110, true},   {12, "Q4_K", 256, 144, true},    {13, "Q5_K", 256, 176, true},
     {14, "Q6_K", 256, 210, true},   {15, "Q8_K", 256, 292, false},   {16, "IQ2_XXS", 256, 66, false},
     {17, "IQ2_XS", 256, 74, false}, {18, "IQ3_XXS", 256, 98, false}, {19, "IQ1_S", 256, 50, false},
     {20, "IQ4_NL", 32, 18, true},   {21, "IQ3_S", 256, 110, false},  {22, "IQ2_S", 256, 82, false},
     {23, "IQ4_XS", 256, 136, true}, {24, "I8", 1, 1, false},         {25, "I16", 1, 2, false},
     {26, "I32", 1, 4, false},       {27, "I64", 1, 8, false},        {28, "F64", 1, 8, false},
     {29, "IQ1_M", 256, 56, false},  {30, "BF16", 1, 2, true},        {34, "TQ1_0", 256, 54, false},
     {35, "TQ2_0", 256, 66, false},  {39, "MXFP4", 32, 17, false}}};

class Reader {
 public:
  Reader(std::string_view bytes, std::string_view file) : in_{bytes}, file_(file) {}

  StatusOr<GgufFile> Run() {
    GgufFile result;
    at_ = 4;
    const uint64_t version = Take(4), tensors = Take(8), keys = Take(8);
    if (in_.bad) return Cut();
    if ((version & 0xFFFF) == 0) return Bad("it is big-endian, which is not supported");
    if (version != 2 && version != 3) return Bad(Cat("version ", version, ", expected 2 or 3"));
    if (tensors > kTensorsMax || keys > kKeysMax)
      return Bad(Cat("it would have ", tensors, " tensors and ", keys, " metadata entries"));
    for (uint64_t i = 0; i < keys; ++i) {
      const std::string key(Text());
      if (in_.bad || key.size() > kGgufNameBytesMax) return Cut();
      const uint64_t type = Take(4);
      GgufValue value;
      RETURN_IF_ERROR(Value(key, type, 0, value));
      if (!result.metadata.emplace(key, std::move(value)).second) return Bad(Cat("key \"", key, "\" occurs twice"));
    }
    std::set<std::string> names;
    for (uint64_t i = 0; i < tensors; ++i) {
      GgufTensor tensor;
      RETURN_IF_ERROR(Tensor(tensor));
      if (!names.insert(tensor.name).second) return Bad(Cat("tensor \"", tensor.name, "\" occurs twice"));
      result.tensors.push_back(std::move(tensor));
    }
    uint64_t alignment = 32;
    if (const GgufValue* set = result.Find("general.alignment"); set != nullptr) {
      if (set->kind != GgufValue::Kind::kInt || set->number < 1 || set->number > (1 << 20))
        return Bad("general.alignment is no number of 1 to 1048576");
      alignment = static_cast<uint64_t>(set->number);
    }
    const uint64_t data = (at_ + alignment - 1) / alignment * alignment;
    for (GgufTensor& tensor : result.tensors) {
      if (tensor.begin % alignment != 0)
        return Bad(Cat("tensor \"", tensor.name, "\" lies at ", tensor.begin, ", which is not aligned to ", alignment));
      if (data > in_.bytes.size() || tensor.begin > in_.bytes.size() - data ||
          tensor.bytes > in_.bytes.size() - data - tensor.begin) {
        return DataLoss("file \"", file_, "\" is cut off: tensor \"", tensor.name, "\" is not whole");
      }
      tensor.begin += data;
    }
    return result;
  }

 private:
  Status Bad(const std::string& what) const { return InvalidArgument("file \"", file_, "\": damaged GGUF: ", what); }
  Status Cut() const { return DataLoss("file \"", file_, "\" is cut off or damaged at byte ", at_); }
  uint64_t Take(size_t width) {
    const uint64_t v = in_.Number(at_, width);
    at_ += width;
    return v;
  }
  std::string_view Text() {
    const uint64_t size = Take(8);
    if (in_.bad || size > in_.bytes.size() - at_) {
      in_.bad = true;
      return {};
    }
    at_ += size;
    return in_.bytes.substr(at_ - size, size);
  }

  // A number of `width` bytes, with its sign when `is_signed`.
  int64_t Integer(size_t width, bool is_signed) {
    const uint64_t v = Take(width);
    const size_t shift = 64 - 8 * width;
    return is_signed ? static_cast<int64_t>(v << shift) >> shift : static_cast<int64_t>(v);
  }

  Status Value(const std::string& key, uint64_t type, int depth, GgufValue& value) {
    if (++values_ > kValuesMax) return Bad("it has too much metadata");
    using Kind = GgufValue::Kind;
    switch (type) {
      case 0:
      case 1:
        value.number = Integer(1, type == 1);
        break;
      case 2:
      case 3:
        value.number = Integer(2, type == 3);
        break;
      case 4:
      case 5:
        value.number = Integer(4, type == 5);
        break;
      case 10:
      case 11:
        value.number = Integer(8, type == 11);
        break;
      case 6: {
        const auto bits = static_cast<uint32_t>(Take(4));
        float real = 0;
        std::memcpy(&real, &bits, 4);
        value.kind = Kind::kFloat;
        value.real = static_cast<double>(real);
        break;
      }
      case 12: {
        const uint64_t bits = Take(8);
        std::memcpy(&value.real, &bits, 8);
        value.kind = Kind::kFloat;
        break;
      }
      case 7:
        value.kind = Kind::kBool;
        value.number = Take(1) != 0 ? 1 : 0;
        break;
      case 8:
        value.kind = Kind::kString;
        value.text = Text();
        break;
      case 9: {
        if (depth >= kArrayDepthMax) return Bad(Cat("key \"", key, "\" nests too deep"));
        value.kind = Kind::kArray;
        const uint64_t inner = Take(4), count = Take(8);
        // Each element has a byte at least.
        if (in_.bad || count > in_.bytes.size() - at_) return Cut();
        for (uint64_t i = 0; i < count && !in_.bad; ++i)
          RETURN_IF_ERROR(Value(key, inner, depth + 1, value.items.emplace_back()));
        break;
      }
      default:
        return Bad(Cat("key \"", key, "\" is of unknown type ", type));
    }
    return in_.bad ? Cut() : OkStatus();
  }

  Status Tensor(GgufTensor& tensor) {
    tensor.name = std::string(Text());
    const uint64_t dimensions = Take(4);
    if (in_.bad || tensor.name.size() > kGgufNameBytesMax) return Cut();
    if (dimensions > kDimensionsMax) return Bad(Cat("tensor \"", tensor.name, "\" has ", dimensions, " dimensions"));
    tensor.shape.resize(dimensions);
    int64_t elements = 1;
    for (uint64_t i = dimensions; i-- > 0;) {  // the file has the fastest first
      const uint64_t n = Take(8);
      if (n > (uint64_t{1} << 62) || __builtin_mul_overflow(elements, static_cast<int64_t>(n), &elements))
        return Bad(Cat("the size of tensor \"", tensor.name, "\" overflows"));
      tensor.shape[i] = static_cast<int64_t>(n);
    }
    const auto id = static_cast<uint32_t>(Take(4));
    tensor.begin = Take(8);
    if (in_.bad) return Cut();
    tensor.type = FindGgufType(id);
    if (tensor.type == nullptr) return Bad(Cat("tensor \"", tensor.name, "\" is of unknown type ", id));
    const int64_t inner = tensor.shape.empty() ? 1 : tensor.shape.back();
    int64_t bytes = 0;
    if (inner % tensor.type->block_elements != 0) {
      return Bad(Cat("tensor \"", tensor.name, "\" has rows of ", inner, ", which are no whole blocks of ",
                     tensor.type->name));
    }
    if (__builtin_mul_overflow(elements / tensor.type->block_elements, tensor.type->block_bytes, &bytes))
      return Bad(Cat("the size of tensor \"", tensor.name, "\" overflows"));
    tensor.bytes = static_cast<uint64_t>(bytes);
    return OkStatus();
  }

  LittleEndian in_;
  uint64_t at_ = 0;
  std::string_view file_;
  size_t values_ = 0;
};

}  // namespace

const GgufType* FindGgufType(uint32_t id) {
  for (const GgufType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

std::string_view GgufFile::Text(std::string_view key) const {
  const GgufValue* value = Find(key);
  return value != nullptr && value->kind == GgufValue::Kind::kString ? value->text : std::string_view();
}

const GgufValue* GgufFile::Find(std::string_view key) const {
  auto it = metadata.find(key);
  return it == metadata.end() ? nullptr : &it->second;
}

bool IsGguf(std::string_view bytes) { return bytes.substr(0, 4) == "GGUF"; }

StatusOr<GgufFile> ParseGguf(std::string_view bytes, std::string_view file) { return Reader(bytes, file).Run(); }

}  // namespace atelier
