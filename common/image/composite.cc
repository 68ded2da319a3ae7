#include "common/image/composite.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/image/vector_loops.h"

namespace atelier {
namespace {

// round(v / 255) for v <= 255 * 255.
inline int RoundDiv255(int v) {
  v += 128;
  return (v + (v >> 8)) >> 8;
}

// `alpha` holds one byte for each byte of `tile`. Alpha 0 leaves the base by itself: round(base * 255 / 255) = base.
ATELIER_VECTOR_CLONES void BlendRow(const uint8_t* tile, const uint8_t* alpha, uint8_t* base, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    base[i] = static_cast<uint8_t>(RoundDiv255(tile[i] * alpha[i] + base[i] * (255 - alpha[i])));
  }
}

// Each byte of `row` `channels` times; a number that the compiler knows is much faster.
void Repeat(const uint8_t* row, size_t n, size_t channels, uint8_t* out) {
  for (size_t x = 0; x < n; ++x)
    for (size_t c = 0; c < channels; ++c) out[x * channels + c] = row[x];
}
ATELIER_VECTOR_CLONES void RepeatThrice(const uint8_t* __restrict row, size_t n, uint8_t* __restrict out) {
  for (size_t x = 0; x < n; ++x)
    for (size_t c = 0; c < 3; ++c) out[x * 3 + c] = row[x];
}

}  // namespace

Status PasteTile(const ImageU8& tile, const ImageU8& mask, const Box& box, ImageU8* canvas) {
  if (box.empty() || box.x1 < 0 || box.y1 < 0 || box.x2 > canvas->width || box.y2 > canvas->height) {
    return InvalidArgument("tile box (", box.x1, ",", box.y1, ",", box.x2, ",", box.y2,
                           ") is not inside the canvas of ", canvas->width, "x", canvas->height);
  }
  if (tile.width != box.width() || tile.height != box.height() || tile.channels != canvas->channels) {
    return InvalidArgument("tile of ", tile.width, "x", tile.height, "x", tile.channels, ", expected ", box.width(),
                           "x", box.height(), "x", canvas->channels);
  }
  if (mask.width != box.width() || mask.height != box.height() || mask.channels != 1) {
    return InvalidArgument("tile mask of ", mask.width, "x", mask.height, "x", mask.channels, ", expected ",
                           box.width(), "x", box.height(), "x1");
  }
  const size_t channels = static_cast<size_t>(canvas->channels);
  std::vector<uint8_t> alpha(tile.stride());
  for (int y = 0; y < tile.height; ++y) {
    // Most rows of a mask are like the one above.
    if (y == 0 || std::memcmp(mask.row(y), mask.row(y - 1), mask.stride()) != 0) {
      if (channels == 3)
        RepeatThrice(mask.row(y), mask.stride(), alpha.data());
      else
        Repeat(mask.row(y), mask.stride(), channels, alpha.data());
    }
    BlendRow(tile.row(y), alpha.data(), canvas->row(box.y1 + y) + static_cast<size_t>(box.x1) * channels, alpha.size());
  }
  return OkStatus();
}

Status Paste(const ImageU8& image, int x, int y, ImageU8* canvas) {
  if (image.channels != canvas->channels) {
    return InvalidArgument("pasting ", image.channels, " channels onto ", canvas->channels);
  }
  const int64_t x1 = std::max(x, 0);
  const int64_t y1 = std::max(y, 0);
  const int64_t x2 = std::min<int64_t>(int64_t{x} + image.width, canvas->width);
  const int64_t y2 = std::min<int64_t>(int64_t{y} + image.height, canvas->height);
  if (x2 <= x1 || y2 <= y1) return OkStatus();
  const size_t step = static_cast<size_t>(image.channels);
  for (int64_t row = y1; row < y2; ++row) {
    std::memcpy(canvas->row(static_cast<int>(row)) + static_cast<size_t>(x1) * step,
                image.row(static_cast<int>(row - y)) + static_cast<size_t>(x1 - x) * step,
                static_cast<size_t>(x2 - x1) * step);
  }
  return OkStatus();
}

StatusOr<ImageU8> LinearGradient() {
  ASSIGN_OR_RETURN(ImageU8 image, MakeImage(256, 256, 1));
  for (int y = 0; y < 256; ++y) std::memset(image.row(y), y, 256);
  return image;
}

StatusOr<ImageU8> RadialGradient() {
  ASSIGN_OR_RETURN(ImageU8 image, MakeImage(256, 256, 1));
  for (int y = 0; y < 256; ++y) {
    for (int x = 0; x < 256; ++x) {
      const int d = 2 * ((x - 128) * (x - 128) + (y - 128) * (y - 128));
      image.at(x, y) = static_cast<uint8_t>(std::min(255, static_cast<int>(std::sqrt(static_cast<double>(d)))));
    }
  }
  return image;
}

}  // namespace atelier
