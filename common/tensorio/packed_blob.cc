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
  std::string packed(ZSTD_compressBound(pixels.size()), '\0');
  const size_t size = ZSTD_compress(packed.data(), packed.size(), pixels.data(), pixels.size(), kLevel);
  if (ZSTD_isError(size) || size >= pixels.size()) return blob;
  packed.resize(size);
  std::map<std::string, std::string, std::less<>> metadata(view.metadata().begin(), view.metadata().end());
  metadata[kShapeKey] = Cat(info->shape[0], ",", info->shape[1], ",", info->shape[2], ",", info->shape[3]);
  return WriteSafetensors({{"packed", DType::kU8, {static_cast<int64_t>(size)}, packed}}, metadata);
}

bool IsPackedBlob(std::string_view blob) {
  const StatusOr<SafetensorsView> view = ParseSafetensors(blob, "image blob");
  return view.ok() && view->Find("packed") != nullptr && view->metadata().find(kShapeKey) != view->metadata().end();
}

StatusOr<std::string> UnpackBlob(std::string blob, int64_t bytes_max) {
  if (!IsPackedBlob(blob)) return blob;
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(blob, "image blob"));
  std::map<std::string, std::string, std::less<>> metadata(view.metadata().begin(), view.metadata().end());
  ASSIGN_OR_RETURN(const std::vector<int64_t> shape, ParseShape(metadata[kShapeKey], bytes_max));
  metadata.erase(kShapeKey);
  const std::string_view packed = view.Data(*view.Find("packed"));
  const auto bytes = static_cast<size_t>(shape[0] * shape[1] * shape[2] * shape[3]);
  if (ZSTD_getFrameContentSize(packed.data(), packed.size()) != bytes)
    return DataLoss("a packed blob does not hold the ", bytes, " bytes that its shape asks for");
  std::string pixels(bytes, '\0');
  if (ZSTD_decompress(pixels.data(), bytes, packed.data(), packed.size()) != bytes)
    return DataLoss("a packed blob is damaged");
  const auto channels = static_cast<size_t>(shape[3]);
  const size_t row_bytes = static_cast<size_t>(shape[2]) * channels;
  Filter<true>(pixels.data(), bytes / row_bytes, row_bytes, channels);
  return WriteSafetensors({{"image", DType::kU8, shape, pixels}}, metadata);
}

}  // namespace atelier
