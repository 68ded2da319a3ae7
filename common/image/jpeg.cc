// JPEG through libjpeg. Its errors leave by longjmp, so every function that calls setjmp owns nothing: what has to be
// freed lives in a holder of its caller.

// jpeglib.h needs FILE and size_t, jerror.h needs jpeglib.h.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <array>
#include <csetjmp>
#include <cstdlib>

#include "common/image/codec_internal.h"

namespace atelier {
namespace {

constexpr int kScansMax = 500;       // a progressive file of few bytes can ask for any number of passes over all pixels
constexpr int kJpegSideMax = 65500;  // the format's

struct Errors {
  jpeg_error_mgr manager{};  // first, so that its address is ours
  jmp_buf jump;
  std::array<char, JMSG_LENGTH_MAX> message{};
};

Errors* ErrorsOf(j_common_ptr info) { return reinterpret_cast<Errors*>(info->err); }

[[noreturn]] void OnError(j_common_ptr info) {
  Errors* errors = ErrorsOf(info);
  info->err->format_message(info, errors->message.data());
  std::longjmp(errors->jump, 1);
}

// Most warnings are about pictures that still can be seen; an early end is not accepted.
void OnMessage(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) OnError(info);
}

void OnProgress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kScansMax) return;
  std::snprintf(ErrorsOf(info)->message.data(), JMSG_LENGTH_MAX, "more than %d scans", kScansMax);
  std::longjmp(ErrorsOf(info)->jump, 1);
}

void SetErrors(Errors* errors) {
  jpeg_std_error(&errors->manager);
  errors->manager.error_exit = OnError;
  errors->manager.emit_message = OnMessage;
}

struct Reader {
  jpeg_decompress_struct info{};
  jpeg_progress_mgr progress{};
  Errors errors;

  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { jpeg_destroy_decompress(&info); }
};

bool ReadHeader(std::string_view bytes, Reader* reader) {
  SetErrors(&reader->errors);
  reader->info.err = &reader->errors.manager;
  if (setjmp(reader->errors.jump) != 0) return false;
  jpeg_create_decompress(&reader->info);
  reader->progress.progress_monitor = OnProgress;
  reader->info.progress = &reader->progress;
  jpeg_mem_src(&reader->info, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&reader->info, TRUE);
  return true;
}

bool Start(Reader* reader) {
  if (setjmp(reader->errors.jump) != 0) return false;
  jpeg_decompress_struct* info = &reader->info;
  if (info->jpeg_color_space == JCS_GRAYSCALE) {
    info->out_color_space = JCS_GRAYSCALE;
  } else if (info->num_components == 4) {
    info->out_color_space = JCS_CMYK;
  } else {
    info->out_color_space = JCS_RGB;
  }
  jpeg_start_decompress(info);
  return true;
}

bool ReadRows(Reader* reader, ImageU8* image) {
  if (setjmp(reader->errors.jump) != 0) return false;
  while (reader->info.output_scanline < reader->info.output_height) {
    JSAMPROW row = image->row(static_cast<int>(reader->info.output_scanline));
    jpeg_read_scanlines(&reader->info, &row, 1);
  }
  return true;
}

Status Damaged(const Reader& reader) { return InvalidArgument("jpeg file is damaged: ", reader.errors.message.data()); }

// Inks to light as Pillow's plain conversion has it; files by Adobe hold the inks inverted.
void CmykToRgb(const ImageU8& cmyk, bool inverted, ImageU8* rgb) {
  const uint8_t* in = cmyk.data.data();
  uint8_t* out = rgb->data.data();
  for (int64_t i = 0; i < cmyk.pixels(); ++i, in += 4, out += 3) {
    const int black = inverted ? 255 - in[3] : in[3];
    for (int c = 0; c < 3; ++c) {
      const int ink = inverted ? 255 - in[c] : in[c];
      const int t = ink * (255 - black) + 128;
      out[c] = static_cast<uint8_t>(255 - black - ((t + (t >> 8)) >> 8));
    }
  }
}

struct Writer {
  jpeg_compress_struct info{};
  Errors errors;
  unsigned char* bytes = nullptr;
  unsigned long size = 0;

  Writer() = default;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() {
    jpeg_destroy_compress(&info);
    std::free(bytes);  // libjpeg's buffer comes from malloc
  }
};

bool Write(const ImageU8& image, int quality, Writer* writer) {
  SetErrors(&writer->errors);
  writer->info.err = &writer->errors.manager;
  if (setjmp(writer->errors.jump) != 0) return false;
  jpeg_create_compress(&writer->info);
  jpeg_mem_dest(&writer->info, &writer->bytes, &writer->size);
  writer->info.image_width = static_cast<JDIMENSION>(image.width);
  writer->info.image_height = static_cast<JDIMENSION>(image.height);
  writer->info.input_components = image.channels;
  writer->info.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&writer->info);
  jpeg_set_quality(&writer->info, quality, TRUE);
  jpeg_start_compress(&writer->info, TRUE);
  while (writer->info.next_scanline < writer->info.image_height) {
    // libjpeg's interface wants a pointer to non-const and does not write.
    JSAMPROW row = const_cast<JSAMPROW>(image.row(static_cast<int>(writer->info.next_scanline)));
    jpeg_write_scanlines(&writer->info, &row, 1);
  }
  jpeg_finish_compress(&writer->info);
  return true;
}

}  // namespace

namespace image_internal {

StatusOr<std::pair<int64_t, int64_t>> JpegSize(std::string_view bytes) {
  Reader reader;
  if (!ReadHeader(bytes, &reader)) return Damaged(reader);
  return std::pair<int64_t, int64_t>(reader.info.image_width, reader.info.image_height);
}

StatusOr<ImageU8> DecodeJpeg(std::string_view bytes) {
  Reader reader;
  if (!ReadHeader(bytes, &reader)) return Damaged(reader);
  const jpeg_decompress_struct& info = reader.info;
  const int64_t width = info.image_width;
  const int64_t height = info.image_height;
  RETURN_IF_ERROR(CheckImageSize(width, height, 4));
  if (info.num_components != 1 && info.num_components != 3 && info.num_components != 4) {
    return InvalidArgument("jpeg file has ", info.num_components, " components, expected 1, 3 or 4");
  }
  // Huffman coding spends at least a bit on each block of 8x8 to 32x32 pixels.
  if (!info.arith_code && width * height / 1024 > static_cast<int64_t>(bytes.size()) * 8) {
    return InvalidArgument("jpeg file of ", bytes.size(), " bytes is too short for its ", width, "x", height,
                           " pixels, it is cut or damaged");
  }
  if (!Start(&reader)) return Damaged(reader);
  ASSIGN_OR_RETURN(ImageU8 image, MakeImage(info.output_width, info.output_height, info.output_components));
  if (!ReadRows(&reader, &image)) return Damaged(reader);
  if (image.channels != 4) return image;
  ASSIGN_OR_RETURN(ImageU8 rgb, MakeImage(image.width, image.height, 3));
  CmykToRgb(image, info.saw_Adobe_marker != 0, &rgb);
  return rgb;
}

}  // namespace image_internal

StatusOr<std::string> EncodeJpeg(const ImageU8& image, int quality) {
  RETURN_IF_ERROR(CheckImage(image));
  if (quality < 1 || quality > 100) return InvalidArgument("jpeg quality is ", quality, ", expected 1 to 100");
  if (image.width > kJpegSideMax || image.height > kJpegSideMax) {
    return InvalidArgument("image of ", image.width, "x", image.height,
                           " does not fit a jpeg file, whose sides have at most ", kJpegSideMax, " pixels");
  }
  ImageU8 converted;
  const ImageU8* plain = &image;
  if (image.channels == 2) {
    ASSIGN_OR_RETURN(converted, ExtractChannel(image, 0));
    plain = &converted;
  } else if (image.channels == 4) {
    ASSIGN_OR_RETURN(converted, ToRgb(image));
    plain = &converted;
  }
  Writer writer;
  if (!Write(*plain, quality, &writer)) return Internal("cannot write a jpeg file: ", writer.errors.message.data());
  return std::string(reinterpret_cast<const char*>(writer.bytes), writer.size);
}

}  // namespace atelier
