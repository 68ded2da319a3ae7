// PNG through libpng. Its errors leave by longjmp, so every function that calls setjmp owns nothing: what has to be
// freed lives in a holder of its caller.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>

#include "common/image/codec_internal.h"

namespace atelier {
namespace {

struct PngState {
  std::string message;
  std::string_view in;  // what is left to read
  std::string out;
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<png_bytep> rows;
  bool reads = true;
  bool no_memory = false;

  PngState() = default;
  PngState(const PngState&) = delete;
  PngState& operator=(const PngState&) = delete;
  ~PngState() {
    if (png == nullptr) return;
    if (reads) {
      png_destroy_read_struct(&png, &info, nullptr);
    } else {
      png_destroy_write_struct(&png, &info);
    }
  }
};

[[noreturn]] void OnError(png_structp png, png_const_charp text) {
  static_cast<PngState*>(png_get_error_ptr(png))->message = text;
  png_longjmp(png, 1);
}

void OnWarning(png_structp, png_const_charp) {}

void OnRead(png_structp png, png_bytep to, size_t size) {
  auto* state = static_cast<PngState*>(png_get_io_ptr(png));
  if (size > state->in.size()) png_error(png, "the file is cut");
  std::memcpy(to, state->in.data(), size);
  state->in.remove_prefix(size);
}

void OnWrite(png_structp png, png_bytep from, size_t size) {
  auto* state = static_cast<PngState*>(png_get_io_ptr(png));
  try {
    state->out.append(reinterpret_cast<const char*>(from), size);
    return;
  } catch (const std::bad_alloc&) {
    state->no_memory = true;
  }
  png_error(png, "no memory");
}

void OnFlush(png_structp) {}

Status Damaged(const PngState& state) { return InvalidArgument("png file is damaged: ", state.message); }

bool ReadHeader(PngState* state) {
  if (setjmp(png_jmpbuf(state->png)) != 0) return false;
  png_set_read_fn(state->png, state, OnRead);
  // Texts and profiles are of no use here; not unpacking them leaves nothing to blow up.
  static constexpr png_byte kSkipped[] = "tEXt\0zTXt\0iTXt\0iCCP\0sPLT\0eXIf\0hIST";
  png_set_keep_unknown_chunks(state->png, PNG_HANDLE_CHUNK_NEVER, kSkipped, 7);
  png_set_user_limits(state->png, 0x7FFFFFFF, 0x7FFFFFFF);  // the pixel count is what we limit
  png_set_chunk_malloc_max(state->png, 1 << 20);
  png_read_info(state->png, state->info);
  return true;
}

// Asks for 8 bits (16 for grey alone: two "channels"), no palette. Colour keys (tRNS without palette) stay opaque, as
// in the reference.
bool SetTransforms(PngState* state, int* channels, size_t* row_bytes) {
  if (setjmp(png_jmpbuf(state->png)) != 0) return false;
  png_structp png = state->png;
  png_infop info = state->info;
  const int type = png_get_color_type(png, info);
  if (type == PNG_COLOR_TYPE_PALETTE) {
    png_set_palette_to_rgb(png);
    if (png_get_valid(png, info, PNG_INFO_tRNS) != 0) png_set_tRNS_to_alpha(png);
  }
  if (type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) < 8) png_set_expand_gray_1_2_4_to_8(png);
  if (png_get_bit_depth(png, info) == 16 && type != PNG_COLOR_TYPE_GRAY) png_set_strip_16(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  *channels = static_cast<int>(png_get_channels(png, info) * png_get_bit_depth(png, info) / 8);
  *row_bytes = png_get_rowbytes(png, info);
  return true;
}

bool ReadRows(PngState* state) {
  if (setjmp(png_jmpbuf(state->png)) != 0) return false;
  png_read_image(state->png, state->rows.data());
  return true;
}

Status Open(std::string_view bytes, PngState* state) {
  state->in = bytes;
  state->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, state, OnError, OnWarning);
  if (state->png != nullptr) state->info = png_create_info_struct(state->png);
  if (state->info == nullptr) return ResourceExhausted("no memory to read a png file");
  return ReadHeader(state) ? OkStatus() : Damaged(*state);
}

// The reference scales whole numbers beyond 8 bits by 1/255 and clips.
StatusOr<ImageU8> FromWideGrey(const ImageU8& pairs) {
  ASSIGN_OR_RETURN(ImageU8 image, MakeImage(pairs.width, pairs.height, 1));
  for (size_t i = 0; i < image.data.size(); ++i) {
    const int value = pairs.data[2 * i] << 8 | pairs.data[2 * i + 1];
    image.data[i] = static_cast<uint8_t>(std::min(static_cast<int>(value * (1.0 / 255.0)), 255));
  }
  return image;
}

bool WriteRows(PngState* state, const ImageU8& image, int level) {
  if (setjmp(png_jmpbuf(state->png)) != 0) return false;
  static constexpr int kTypes[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB,
                                   PNG_COLOR_TYPE_RGB_ALPHA};
  png_set_write_fn(state->png, state, OnWrite, OnFlush);
  png_set_user_limits(state->png, 0x7FFFFFFF, 0x7FFFFFFF);
  png_set_compression_level(state->png, level);
  if (level == 0) png_set_filter(state->png, PNG_FILTER_TYPE_BASE, PNG_FILTER_NONE);
  png_set_IHDR(state->png, state->info, static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height),
               8, kTypes[image.channels - 1], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_write_info(state->png, state->info);
  for (int y = 0; y < image.height; ++y) png_write_row(state->png, image.row(y));
  png_write_end(state->png, nullptr);
  return true;
}

}  // namespace

namespace image_internal {

StatusOr<std::pair<int64_t, int64_t>> PngSize(std::string_view bytes) {
  PngState state;
  RETURN_IF_ERROR(Open(bytes, &state));
  return std::pair<int64_t, int64_t>(png_get_image_width(state.png, state.info),
                                     png_get_image_height(state.png, state.info));
}

StatusOr<ImageU8> DecodePng(std::string_view bytes) {
  PngState state;
  RETURN_IF_ERROR(Open(bytes, &state));
  const int64_t width = png_get_image_width(state.png, state.info);
  const int64_t height = png_get_image_height(state.png, state.info);
  RETURN_IF_ERROR(CheckImageSize(width, height, 4));
  // Deflate packs at most 1032 bytes into one, so a short file cannot hold a large picture: say so before taking
  // memory.
  const int64_t stored = static_cast<int64_t>(png_get_rowbytes(state.png, state.info)) * height;
  if (stored > static_cast<int64_t>(bytes.size()) * 1032) {
    return InvalidArgument("png file of ", bytes.size(), " bytes is too short for its ", width, "x", height,
                           " pixels, it is cut or damaged");
  }
  const bool wide_grey = png_get_color_type(state.png, state.info) == PNG_COLOR_TYPE_GRAY &&
                         png_get_bit_depth(state.png, state.info) == 16;
  int channels = 0;
  size_t row_bytes = 0;
  if (!SetTransforms(&state, &channels, &row_bytes)) return Damaged(state);
  ASSIGN_OR_RETURN(ImageU8 image, MakeImage(width, height, channels));
  if (row_bytes != image.stride()) return Internal("png row of ", row_bytes, " bytes, expected ", image.stride());
  try {
    state.rows.resize(static_cast<size_t>(height));
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory for a png file of ", height, " rows");
  }
  for (int y = 0; y < image.height; ++y) state.rows[static_cast<size_t>(y)] = image.row(y);
  if (!ReadRows(&state)) return Damaged(state);
  if (wide_grey) return FromWideGrey(image);
  return image;
}

}  // namespace image_internal

StatusOr<std::string> EncodePng(const ImageU8& image, int level) {
  RETURN_IF_ERROR(CheckImage(image));
  if (level < 0 || level > 9) return InvalidArgument("png compression level is ", level, ", expected 0 to 9");
  PngState state;
  state.reads = false;
  state.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &state, OnError, OnWarning);
  if (state.png != nullptr) state.info = png_create_info_struct(state.png);
  if (state.info == nullptr) return ResourceExhausted("no memory to write a png file");
  if (!WriteRows(&state, image, level)) {
    if (state.no_memory) return ResourceExhausted("no memory to write a png file");
    return Internal("cannot write a png file: ", state.message);
  }
  return std::move(state.out);
}

}  // namespace atelier
