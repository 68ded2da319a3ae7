#include "common/tensorio/packed_blob.h"

#include <zstd.h>

#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <vector>

#include "common/tensorio/safetensors.h"

namespace atelier {
namespace {

constexpr int kLevel = 1;
constexpr const char* kShapeKey = "packed_shape";  // "B,H,W,C"

// Each byte minus that of the same channel in the pixel before, row by row.
void Subtract(std::string_view pixels, size_t row_bytes, size_t channels, char* __restrict out) {
  for (size_t at = 0; at < pixels.size(); at += row_bytes) {
    const char* row = pixels.data() + at;
    std::memcpy(out + at, row, channels);
    for (size_t x = channels; x < row_bytes; ++x) out[at + x] = static_cast<char>(row[x] - row[x - channels]);
  }
}

// The other way round, in place. The sums stay in registers: kChannels is what a compiler can count on.
template <size_t kChannels>
void AddUp(char* pixels, size_t bytes, size_t row_bytes) {
  for (char* row = pixels; row < pixels + bytes; row += row_bytes) {
    std::array<uint8_t, kChannels> sum{};
    for (char* at = row; at < row + row_bytes; at += kChannels)
      for (size_t c = 0; c < kChannels; ++c)
        at[c] = static_cast<char>(sum[c] = static_cast<uint8_t>(sum[c] + static_cast<uint8_t>(at[c])));
  }
}
void AddUp(char* pixels, size_t bytes, size_t row_bytes, size_t channels) {
  if (channels == 1) return AddUp<1>(pixels, bytes, row_bytes);
  if (channels == 3) return AddUp<3>(pixels, bytes, row_bytes);
  if (channels == 4) return AddUp<4>(pixels, bytes, row_bytes);
  for (size_t at = 0; at < bytes; at += row_bytes)
    for (size_t x = channels; x < row_bytes; ++x)
      pixels[at + x] = static_cast<char>(pixels[at + x] + pixels[at + x - channels]);
}

// A thread's own: making one takes longer than compressing a small tile. Null where memory is short.
template <typename Context>
Context* OfThread(Context* (*make)(), size_t (*free)(Context*)) {
  thread_local std::unique_ptr<Context, size_t (*)(Context*)> context(nullptr, free);
  if (context == nullptr) context.reset(make());
  return context.get();
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
  const std::string_view pixels = view.Data(*info);
  const auto channels = static_cast<size_t>(info->shape[3]);
  // Not zeroed: all of the first is written, and of the second what is used.
  const auto differences = std::make_unique_for_overwrite<char[]>(pixels.size());
  const auto packed = std::make_unique_for_overwrite<char[]>(pixels.size());
  Subtract(pixels, static_cast<size_t>(info->shape[2]) * channels, channels, differences.get());
  ZSTD_CCtx* const context = OfThread(ZSTD_createCCtx, ZSTD_freeCCtx);
  if (context == nullptr) return blob;
  // Fails where it would not shrink.
  const size_t size =
      ZSTD_compressCCtx(context, packed.get(), pixels.size() - 1, differences.get(), pixels.size(), kLevel);
  if (ZSTD_isError(size)) return blob;
  std::map<std::string, std::string, std::less<>> metadata(view.metadata().begin(), view.metadata().end());
  metadata[kShapeKey] = Cat(info->shape[0], ",", info->shape[1], ",", info->shape[2], ",", info->shape[3]);
  return WriteSafetensors({{"packed", DType::kU8, {static_cast<int64_t>(size)}, {packed.get(), size}}}, metadata);
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
  const std::string head = SafetensorsHead({{"image", DType::kU8, shape, {}}}, metadata);
  std::string image;
  image.reserve(head.size() + bytes);
  image = head;
  image.resize(head.size() + bytes);
  char* pixels = image.data() + head.size();
  ZSTD_DCtx* const context = OfThread(ZSTD_createDCtx, ZSTD_freeDCtx);
  if (context == nullptr) return ResourceExhausted("there is no memory to unpack a blob");
  if (ZSTD_decompressDCtx(context, pixels, bytes, packed.data(), packed.size()) != bytes)
    return DataLoss("a packed blob is damaged");
  const auto channels = static_cast<size_t>(shape[3]);
  AddUp(pixels, bytes, static_cast<size_t>(shape[2]) * channels, channels);
  return image;
}

}  // namespace atelier
