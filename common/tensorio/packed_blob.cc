#include "common/tensorio/packed_blob.h"

#include <zstd.h>

#include <charconv>
#include <limits>
#include <map>
#include <vector>

#include "common/tensorio/safetensors.h"

namespace atelier {
namespace {

constexpr int kLevel = 1;
constexpr const char* kShapeKey = "packed_shape";  // "B,H,W,C"
constexpr const char* kWholeKey = "packed_blob";   // "1": all of a blob
constexpr size_t kWholeBytesMin = 64 << 10, kWholeBytesMax = 256 << 20;

// Each byte minus that of the same channel in the pixel before, row by row. The other way round adds them up.
template <bool kBack>
void Filter(char* pixels, size_t rows, size_t row_bytes, size_t channels) {
  for (size_t y = 0; y < rows; ++y) {
    char* row = pixels + y * row_bytes;
    if constexpr (kBack) {
      for (size_t x = channels; x < row_bytes; ++x) row[x] = static_cast<char>(row[x] + row[x - channels]);
    } else {
      for (size_t x = row_bytes; x-- > channels;) row[x] = static_cast<char>(row[x] - row[x - channels]);
    }
  }
}

// Four positive numbers whose product is at most bytes_max.
StatusOr<std::vector<int64_t>> ParseShape(const std::string& text, int64_t bytes_max) {
  std::vector<int64_t> shape;
  int64_t bytes = 1;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (shape.size() < 4) {
    int64_t side = 0;
    const auto [next, error] = std::from_chars(at, end, side);
    if (error != std::errc() || side < 1 || (shape.size() < 3 ? next == end || *next != ',' : next != end))
      return DataLoss("a packed blob's shape is \"", text, "\", expected four numbers");
    if (side > bytes_max / bytes)
      return ResourceExhausted("a packed blob of shape ", text, " is larger than the ", bytes_max, " bytes allowed");
    bytes *= side;
    shape.push_back(side);
    at = next == end ? end : next + 1;
  }
  return shape;
}

// "" when it would be no shorter than `bytes_max`.
std::string Compress(std::string_view bytes, size_t bytes_max) {
  std::string packed(ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), kLevel);
  if (ZSTD_isError(size) || size >= bytes_max) return {};
  packed.resize(size);
  return packed;
}

StatusOr<std::string> Decompress(std::string_view packed, size_t bytes) {
  if (ZSTD_getFrameContentSize(packed.data(), packed.size()) != bytes)
    return DataLoss("a packed blob does not hold the ", bytes, " bytes that it should");
  std::string whole(bytes, '\0');
  if (ZSTD_decompress(whole.data(), bytes, packed.data(), packed.size()) != bytes)
    return DataLoss("a packed blob is damaged");
  return whole;
}

StatusOr<std::string> UnpackWhole(std::string_view packed, int64_t bytes_max) {
  const unsigned long long bytes = ZSTD_getFrameContentSize(packed.data(), packed.size());
  if (bytes == ZSTD_CONTENTSIZE_UNKNOWN || bytes == ZSTD_CONTENTSIZE_ERROR)
    return DataLoss("a packed blob does not say how large it is");
  if (bytes > static_cast<uint64_t>(bytes_max))
    return ResourceExhausted("a packed blob holds ", bytes, " bytes, more than the ", bytes_max, " allowed");
  ASSIGN_OR_RETURN(std::string blob, Decompress(packed, static_cast<size_t>(bytes)));
  if (IsPackedBlob(blob)) return DataLoss("a packed blob holds a packed blob");
  return blob;
}

}  // namespace

StatusOr<std::string> PackBlob(std::string blob) {
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(blob, "image blob"));
  const TensorInfo* info = view.Find("image");
  if (info == nullptr || view.tensors().size() != 1 || info->dtype != DType::kU8 || info->shape.size() != 4 ||
      info->elements() == 0)
    return blob;
  std::string pixels(view.Data(*info));
  const auto channels = static_cast<size_t>(info->shape[3]);
  const size_t row_bytes = static_cast<size_t>(info->shape[2]) * channels;
  Filter<false>(pixels.data(), pixels.size() / row_bytes, row_bytes, channels);
  const std::string packed = Compress(pixels, pixels.size());
  if (packed.empty()) return blob;
  std::map<std::string, std::string, std::less<>> metadata(view.metadata().begin(), view.metadata().end());
  metadata[kShapeKey] = Cat(info->shape[0], ",", info->shape[1], ",", info->shape[2], ",", info->shape[3]);
  return WriteSafetensors({{"packed", DType::kU8, {static_cast<int64_t>(packed.size())}, packed}}, metadata);
}

std::string PackWholeBlob(std::string blob) {
  if (blob.size() < kWholeBytesMin || blob.size() > kWholeBytesMax) return blob;
  const std::string packed = Compress(blob, blob.size() / 4 * 3);
  if (packed.empty()) return blob;
  return WriteSafetensors({{"packed", DType::kU8, {static_cast<int64_t>(packed.size())}, packed}}, {{kWholeKey, "1"}});
}

bool IsPackedBlob(std::string_view blob) {
  const StatusOr<SafetensorsView> view = ParseSafetensors(blob, "image blob");
  return view.ok() && view->Find("packed") != nullptr &&
         (view->metadata().contains(kShapeKey) || view->metadata().contains(kWholeKey));
}

StatusOr<std::string> UnpackBlob(std::string blob, int64_t bytes_max) {
  if (!IsPackedBlob(blob)) return blob;
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(blob, "image blob"));
  const std::string_view packed = view.Data(*view.Find("packed"));
  if (view.metadata().contains(kWholeKey)) return UnpackWhole(packed, bytes_max);
  std::map<std::string, std::string, std::less<>> metadata(view.metadata().begin(), view.metadata().end());
  ASSIGN_OR_RETURN(const std::vector<int64_t> shape, ParseShape(metadata[kShapeKey], bytes_max));
  metadata.erase(kShapeKey);
  const auto bytes = static_cast<size_t>(shape[0] * shape[1] * shape[2] * shape[3]);
  ASSIGN_OR_RETURN(std::string pixels, Decompress(packed, bytes));
  const auto channels = static_cast<size_t>(shape[3]);
  const size_t row_bytes = static_cast<size_t>(shape[2]) * channels;
  Filter<true>(pixels.data(), bytes / row_bytes, row_bytes, channels);
  return WriteSafetensors({{"image", DType::kU8, shape, pixels}}, metadata);
}

}  // namespace atelier
