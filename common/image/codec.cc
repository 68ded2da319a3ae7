#include "common/image/codec.h"

#include <limits>

#include "common/image/codec_internal.h"
#include "common/image/exif.h"

namespace atelier {
namespace {

Status UnknownFormat() { return InvalidArgument("not a png, jpeg or webp file"); }

StatusOr<std::vector<DecodedImage>> Decode(std::string_view bytes, int frames_max) {
  const std::string_view format = ImageFormat(bytes);
  std::vector<ImageU8> frames;
  if (format == "png") {
    ASSIGN_OR_RETURN(ImageU8 frame, image_internal::DecodePng(bytes));
    frames.push_back(std::move(frame));
  } else if (format == "jpeg") {
    ASSIGN_OR_RETURN(ImageU8 frame, image_internal::DecodeJpeg(bytes));
    frames.push_back(std::move(frame));
  } else if (format == "webp") {
    ASSIGN_OR_RETURN(frames, image_internal::DecodeWebp(bytes, frames_max));
  } else {
    return UnknownFormat();
  }
  const int orientation = image_internal::ParseExif(image_internal::FindExif(bytes)).orientation;
  std::vector<DecodedImage> out;
  for (ImageU8& frame : frames) {
    ASSIGN_OR_RETURN(ImageU8 upright, ApplyOrientation(std::move(frame), orientation));
    ASSIGN_OR_RETURN(DecodedImage decoded, image_internal::SplitAlpha(std::move(upright)));
    out.push_back(std::move(decoded));
  }
  return out;
}

}  // namespace

namespace image_internal {

StatusOr<DecodedImage> SplitAlpha(ImageU8 image) {
  DecodedImage out;
  out.has_alpha = image.channels == 2 || image.channels == 4;
  if (out.has_alpha) {
    ASSIGN_OR_RETURN(out.alpha, ExtractChannel(image, image.channels - 1));
  }
  if (image.channels == 3) {
    out.rgb = std::move(image);
  } else {
    ASSIGN_OR_RETURN(out.rgb, ToRgb(image));
  }
  return out;
}

}  // namespace image_internal

std::string_view ImageFormat(std::string_view bytes) {
  if (bytes.substr(0, 8) == image_internal::kPngSignature) return "png";
  if (bytes.substr(0, 3) == "\xFF\xD8\xFF") return "jpeg";
  if (bytes.substr(0, 4) == "RIFF" && bytes.size() >= 12 && bytes.substr(8, 4) == "WEBP") return "webp";
  return "";
}

StatusOr<std::pair<int64_t, int64_t>> ReadImageSize(std::string_view bytes) {
  const std::string_view format = ImageFormat(bytes);
  if (format == "png") return image_internal::PngSize(bytes);
  if (format == "jpeg") return image_internal::JpegSize(bytes);
  if (format == "webp") return image_internal::WebpSize(bytes);
  return UnknownFormat();
}

StatusOr<DecodedImage> DecodeImage(std::string_view bytes) {
  ASSIGN_OR_RETURN(std::vector<DecodedImage> frames, Decode(bytes, 1));
  return std::move(frames.front());
}

StatusOr<std::vector<DecodedImage>> DecodeFrames(std::string_view bytes) {
  return Decode(bytes, std::numeric_limits<int>::max());
}

}  // namespace atelier
