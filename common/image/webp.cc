// WebP through libwebp and libwebpdemux.
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "common/base/limits.h"
#include "common/image/codec_internal.h"

namespace atelier::image_internal {
namespace {

const uint8_t* Data(std::string_view bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }

StatusOr<WebPBitstreamFeatures> ReadFeatures(std::string_view bytes) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(Data(bytes), bytes.size(), &features) != VP8_STATUS_OK) {
    return InvalidArgument("webp file is damaged or cut");
  }
  RETURN_IF_ERROR(CheckImageSize(features.width, features.height, 4));
  return features;
}

StatusOr<std::vector<ImageU8>> DecodeAnimation(std::string_view bytes, bool has_alpha, int frames_max) {
  const WebPData data{Data(bytes), bytes.size()};
  WebPAnimDecoderOptions options;
  if (WebPAnimDecoderOptionsInit(&options) == 0) return Internal("libwebpdemux of another version");
  const std::unique_ptr<WebPAnimDecoder, void (*)(WebPAnimDecoder*)> decoder(WebPAnimDecoderNew(&data, &options),
                                                                             WebPAnimDecoderDelete);
  WebPAnimInfo info;
  if (decoder == nullptr || WebPAnimDecoderGetInfo(decoder.get(), &info) == 0) {
    return InvalidArgument("animated webp file is damaged or cut");
  }
  RETURN_IF_ERROR(CheckImageSize(info.canvas_width, info.canvas_height, 4));
  const int64_t frames = std::min<int64_t>(info.frame_count, frames_max);
  const int64_t pixels = int64_t{info.canvas_width} * info.canvas_height;
  if (frames > limits::kImagePixelsMax / pixels) {
    return ResourceExhausted("animated webp file has ", frames, " frames of ", info.canvas_width, "x",
                             info.canvas_height, " pixels, the limit for all together is ", limits::kImagePixelsMax,
                             " pixels");
  }
  std::vector<ImageU8> out;
  for (int64_t i = 0; i < frames; ++i) {
    uint8_t* canvas = nullptr;
    int timestamp = 0;
    if (WebPAnimDecoderGetNext(decoder.get(), &canvas, &timestamp) == 0) {
      return InvalidArgument("frame ", i + 1, " of an animated webp file is damaged or cut");
    }
    ASSIGN_OR_RETURN(ImageU8 frame, MakeImage(info.canvas_width, info.canvas_height, 4));
    std::memcpy(frame.data.data(), canvas, frame.data.size());
    if (!has_alpha) {
      ASSIGN_OR_RETURN(frame, ToRgb(frame));
    }
    out.push_back(std::move(frame));
  }
  if (out.empty()) return InvalidArgument("animated webp file has no frame");
  return out;
}

}  // namespace

StatusOr<std::pair<int64_t, int64_t>> WebpSize(std::string_view bytes) {
  ASSIGN_OR_RETURN(const WebPBitstreamFeatures features, ReadFeatures(bytes));
  return std::pair<int64_t, int64_t>(features.width, features.height);
}

StatusOr<std::vector<ImageU8>> DecodeWebp(std::string_view bytes, int frames_max) {
  ASSIGN_OR_RETURN(const WebPBitstreamFeatures features, ReadFeatures(bytes));
  const bool has_alpha = features.has_alpha != 0;
  if (features.has_animation != 0) return DecodeAnimation(bytes, has_alpha, frames_max);
  ASSIGN_OR_RETURN(ImageU8 image, MakeImage(features.width, features.height, has_alpha ? 4 : 3));
  const auto decode = has_alpha ? WebPDecodeRGBAInto : WebPDecodeRGBInto;
  // The stride is an int in libwebp; sides are at most 16383, so it fits.
  if (decode(Data(bytes), bytes.size(), image.data.data(), image.data.size(), static_cast<int>(image.stride())) ==
      nullptr) {
    return InvalidArgument("webp file is damaged or cut");
  }
  std::vector<ImageU8> out;
  out.push_back(std::move(image));
  return out;
}

}  // namespace atelier::image_internal
