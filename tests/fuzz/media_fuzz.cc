#include "common/base/check.h"
#include "common/media/message.h"
#include "tests/fuzz/fuzz.h"
#include "worker/media/container_here.h"
#include "worker/media/decoder.h"
#include "worker/media/encoder.h"

namespace atelier::fuzz {

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  struct Format {
    const char *muxer, *encoder, *pixel_format;
  };
  for (const Format& format : {Format{"mp4", "libx264", "yuv420p"}, Format{"webm", "libvpx-vp9", "yuv420p"},
                               Format{"matroska", "ffv1", "yuv420p"}, Format{"gif", "gif", "rgb8"}}) {
    media::VideoSettings settings;
    settings.muxer = format.muxer;
    settings.encoder = format.encoder;
    settings.pixel_format = format.pixel_format;
    settings.width = settings.height = 16;
    const auto encoder = media::VideoEncoder::Open(settings);
    ATELIER_CHECK(encoder.ok());
    for (int i = 0; i < 3; ++i) {
      const std::vector<uint8_t> picture(16 * 16 * 3, static_cast<uint8_t>(60 * i));
      ATELIER_CHECK((*encoder)->Add(picture.data(), picture.size()).ok());
    }
    seeds.push_back((*encoder)->Finish().value());
  }
  media::AudioSamples tone{1, 8000, std::vector<float>(400, 0.25F)};
  seeds.push_back(media::EncodeAudio(tone, {"flac", "flac", 0, 0, {}}).value());
  seeds.push_back(media::EncodeAudio(tone, {"wav", "pcm_s16le", 0, 0, {}}).value());
  const media::Tags tags = {{"prompt", "{}"}, {"workflow", "{\"nodes\":[]}"}};
  media::BytesInMemory bare(seeds[0]);
  media::BytesToMemory tagged;
  ATELIER_CHECK(media::AddTagsHere(&bare, "mp4", tags, &tagged).ok());
  seeds.push_back(tagged.bytes());
  seeds.push_back(media::PackTags(tags).value());
  return seeds;
}

}  // namespace atelier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace media = atelier::media;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  media::UnpackTags(bytes).status().IgnoreError();
  media::BytesInMemory source(bytes);
  media::ReadTagsHere(&source).status().IgnoreError();
  media::ReadSummaryHere(&source).status().IgnoreError();
  const auto info = media::Probe(bytes);
  if (!info.ok()) return 0;
  // Larger pictures are legal and slow.
  if (info->video.has_value() && int64_t{info->video->width} * info->video->height <= 1 << 16) {
    auto decoder = media::VideoDecoder::Open(bytes);
    media::VideoFrame frame;
    for (int i = 0; decoder.ok() && i < 8; ++i) {
      const auto got = (*decoder)->Next(frame);
      if (!got.ok() || !*got) break;
      ATELIER_CHECK(frame.data.size() == static_cast<size_t>(frame.width) * static_cast<size_t>(frame.height) * 3);
    }
  }
  media::DecodeAudio(bytes, 0, 0.05).status().IgnoreError();
  return 0;
}
