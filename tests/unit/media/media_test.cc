#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "common/media/summary.h"
#include "common/media/tags.h"
#include "worker/media/container_here.h"
#include "worker/media/decoder.h"
#include "worker/media/encoder.h"

namespace atelier::media {
namespace {

// $ATELIER_TEST_PROCESSES: files are decoded in processes of their own.
class InProcesses : public Catch::TestEventListenerBase {
 public:
  using TestEventListenerBase::TestEventListenerBase;
  void testRunStarting(const Catch::TestRunInfo&) override {
    DecodeInProcesses(std::getenv("ATELIER_TEST_PROCESSES") != nullptr);
  }
};
CATCH_REGISTER_LISTENER(InProcesses)

VideoSettings Mp4(int width = 64, int height = 64) {
  VideoSettings s;
  s.muxer = "mp4";
  s.encoder = "libx264";
  s.pixel_format = "yuv420p";
  s.options = {{"crf", "10"}};
  s.fps = 16;
  s.width = width;
  s.height = height;
  s.bt709 = true;
  return s;
}

// Frame i is one colour that depends on i.
std::vector<uint8_t> Plain(const VideoSettings& s, int i) {
  std::vector<uint8_t> data(static_cast<size_t>(s.width) * static_cast<size_t>(s.height) *
                            static_cast<size_t>(s.channels) * (s.deep ? 2 : 1));
  const size_t pixel = static_cast<size_t>(s.channels) * (s.deep ? 2 : 1);
  for (size_t k = 0; k < data.size(); ++k)
    data[k] = static_cast<uint8_t>(40 + 20 * i + 30 * static_cast<int>(k % pixel % 3));
  return data;
}

std::string Encode(const VideoSettings& s, int frames) {
  auto encoder = VideoEncoder::Open(s);
  INFO(encoder.status().ToString());
  REQUIRE(encoder.ok());
  for (int i = 0; i < frames; ++i) {
    const std::vector<uint8_t> data = Plain(s, i);
    const Status added = (*encoder)->Add(data.data(), data.size());
    INFO(added.ToString());
    REQUIRE(added.ok());
  }
  StatusOr<std::string> bytes = (*encoder)->Finish();
  INFO(bytes.status().ToString());
  REQUIRE(bytes.ok());
  return *bytes;
}

std::vector<VideoFrame> Decode(const std::string& bytes, const VideoDecodeOptions& options = {}) {
  auto decoder = VideoDecoder::Open(bytes, options);
  INFO(decoder.status().ToString());
  REQUIRE(decoder.ok());
  std::vector<VideoFrame> frames;
  while (true) {
    VideoFrame frame;
    const StatusOr<bool> got = (*decoder)->Next(frame);
    INFO(got.status().ToString());
    REQUIRE(got.ok());
    if (!*got) return frames;
    frames.push_back(std::move(frame));
  }
}

AudioSamples Tone(int channels, int rate, double seconds) {
  AudioSamples audio{channels, rate, {}};
  const auto count = static_cast<int64_t>(seconds * rate);
  for (int c = 0; c < channels; ++c)
    for (int64_t i = 0; i < count; ++i)
      audio.samples.push_back(static_cast<float>(0.5 * std::sin(static_cast<double>(i) * 2 * M_PI * 440 / rate)));
  return audio;
}

TEST_CASE("frames come back from every format") {
  struct Format {
    const char *muxer, *encoder, *pixel_format;
    std::map<std::string, std::string> options;
    bool bt709;
    int tolerance;
  };
  const Format formats[] = {
      {"mp4", "libx264", "yuv420p", {{"crf", "10"}}, true, 4},
      {"mp4", "libx264", "yuv420p10le", {{"crf", "10"}}, true, 4},
      {"mp4", "libx265", "yuv420p10le", {{"crf", "10"}, {"x265-params", "log-level=none"}}, true, 5},
      {"webm", "libvpx-vp9", "yuv420p", {{"crf", "10"}, {"b", "0"}}, true, 5},
      {"webm", "libsvtav1", "yuv420p10le", {{"crf", "10"}, {"preset", "8"}}, true, 6},
      {"mov", "prores_ks", "yuv422p10le", {{"profile", "3"}}, true, 4},
      {"matroska", "ffv1", "rgba64le", {{"level", "3"}}, false, 0},
      {"gif", "gif", "pal8", {}, false, 8},
  };
  for (const Format& format : formats) {
    INFO(format.encoder << " " << format.pixel_format);
    VideoSettings s = Mp4();
    s.muxer = format.muxer;
    s.encoder = format.encoder;
    s.pixel_format = format.pixel_format;
    s.options = format.options;
    s.bt709 = format.bt709;
    if (s.muxer == "gif") s.filters = "split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=none";
    const std::string bytes = Encode(s, 5);
    CHECK(Encode(s, 5) == bytes);
    const auto info = Probe(bytes);
    REQUIRE(info.ok());
    REQUIRE(info->video.has_value());
    CHECK(info->video->width == 64);
    CHECK(info->video->height == 64);
    if (std::string(format.muxer) != "gif") CHECK(info->video->fps == Approx(16));
    CHECK_FALSE(info->audio.has_value());
    const std::vector<VideoFrame> frames = Decode(bytes);
    REQUIRE(frames.size() == 5);
    for (int i = 0; i < 5; ++i) {
      const std::vector<uint8_t> expected = Plain(s, i);
      REQUIRE(frames[static_cast<size_t>(i)].data.size() == expected.size());
      int worst = 0;
      for (size_t k = 0; k < expected.size(); ++k)
        worst = std::max(worst, std::abs(int{expected[k]} - int{frames[static_cast<size_t>(i)].data[k]}));
      CHECK(worst <= format.tolerance);
    }
  }
}

TEST_CASE("transparency and 16 bits survive where the format has them") {
  VideoSettings s = Mp4();
  s.muxer = "matroska";
  s.encoder = "ffv1";
  s.pixel_format = "rgba64le";
  s.options = {{"level", "3"}};
  s.channels = 4;
  s.deep = true;
  s.bt709 = false;
  const std::string bytes = Encode(s, 2);
  VideoDecodeOptions options;
  options.deep = true;
  const std::vector<VideoFrame> frames = Decode(bytes, options);
  REQUIRE(frames.size() == 2);
  CHECK(frames[1].data == Plain(s, 1));
  CHECK(Probe(bytes)->video->alpha);

  options.start = 1.0 / 16;
  CHECK(Decode(bytes, options).size() == 1);
  auto decoder = VideoDecoder::Open(bytes);
  CHECK(*(*decoder)->Skip());
  CHECK(*(*decoder)->Skip());
  CHECK_FALSE(*(*decoder)->Skip());
}

TEST_CASE("filters stand before the conversion") {
  VideoSettings s = Mp4();
  s.filters = "loop=loop=2:size=5";
  CHECK(Decode(Encode(s, 5)).size() == 15);
  s.filters = "nonsense";
  CHECK(VideoEncoder::Open(s).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("settings that do not fit are told") {
  VideoSettings s = Mp4();
  s.encoder = "libx999";
  CHECK(VideoEncoder::Open(s).status().code() == StatusCode::kFailedPrecondition);
  s = Mp4();
  s.pixel_format = "rgba64le";
  CHECK(VideoEncoder::Open(s).status().code() == StatusCode::kInvalidArgument);
  s = Mp4();
  s.fps = 0;
  CHECK(VideoEncoder::Open(s).status().code() == StatusCode::kInvalidArgument);
  s = Mp4(1 << 20, 1 << 20);
  CHECK(VideoEncoder::Open(s).status().code() == StatusCode::kResourceExhausted);
  s = Mp4(63, 47);  // 4:2:0 needs even sides
  auto odd = VideoEncoder::Open(s);
  REQUIRE(odd.ok());
  const std::vector<uint8_t> data = Plain(s, 0);
  Status status = (*odd)->Add(data.data(), data.size());
  if (status.ok()) status = (*odd)->Finish().status();
  CHECK(status.code() == StatusCode::kInvalidArgument);
  CHECK((*VideoEncoder::Open(Mp4()))->Finish().status().code() == StatusCode::kInvalidArgument);
  CHECK((*VideoEncoder::Open(Mp4()))->Add(data.data(), 7).code() == StatusCode::kInvalidArgument);
}

TEST_CASE("sound comes back, whole and in part") {
  const AudioSamples tone = Tone(2, 44100, 1.0);
  struct Format {
    const char *muxer, *encoder;
    int64_t bit_rate;
    int rate;
    bool exact;
  };
  for (const Format& format :
       {Format{"flac", "flac", 0, 44100, true}, Format{"mp3", "libmp3lame", 128000, 44100, false},
        Format{"opus", "libopus", 96000, 48000, false}, Format{"wav", "pcm_s16le", 0, 44100, true}}) {
    INFO(format.encoder);
    const auto bytes = EncodeAudio(tone, {format.muxer, format.encoder, format.bit_rate, 0, {}});
    INFO(bytes.status().ToString());
    REQUIRE(bytes.ok());
    const auto back = DecodeAudio(*bytes);
    REQUIRE(back.ok());
    REQUIRE(back->has_value());
    CHECK((*back)->channels == 2);
    CHECK((*back)->sample_rate == format.rate);
    const double rms =
        std::sqrt(std::inner_product((*back)->samples.begin(), (*back)->samples.end(), (*back)->samples.begin(), 0.0) /
                  static_cast<double>((*back)->samples.size()));
    CHECK(rms == Approx(0.3535).margin(0.02));
    if (!format.exact) continue;
    REQUIRE((*back)->count() == 44100);
    float worst = 0;
    for (size_t i = 0; i < tone.samples.size(); ++i)
      worst = std::max(worst, std::abs(tone.samples[i] - (*back)->samples[i]));
    CHECK(worst < 1.0F / 16384);
    const auto part = DecodeAudio(*bytes, 0.25, 0.5);
    REQUIRE(part->has_value());
    REQUIRE((*part)->count() == 22050);
    CHECK((*part)->samples[0] == (*back)->samples[11025]);
    CHECK((*part)->samples[22050] == (*back)->samples[44100 + 11025]);
  }
  CHECK(EncodeAudio({2, 44100, {}}, {"flac", "flac", 0, 0, {}}).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("a track of sound is added to a video") {
  const std::string video = Encode(Mp4(), 16);
  const auto both = AddAudioTrack(video, "mp4", Tone(2, 44100, 1.0), {"", "aac", 0, 0, {}}, false);
  INFO(both.status().ToString());
  REQUIRE(both.ok());
  const auto info = Probe(*both);
  REQUIRE(info->audio.has_value());
  CHECK(info->audio->sample_rate == 44100);
  const std::vector<VideoFrame> before = Decode(video), after = Decode(*both);
  REQUIRE(after.size() == 16);
  CHECK(after[7].data == before[7].data);
  CHECK(DecodeAudio(*both)->value().count() >= 44100);
  CHECK_FALSE(DecodeAudio(video)->has_value());
  const auto cut = AddAudioTrack(video, "mp4", Tone(2, 44100, 0.5), {"", "aac", 0, 0, {}}, true);
  REQUIRE(cut.ok());
  CHECK(Decode(*cut).size() == 8);
}

TEST_CASE("tags are added and read, and the rest stays") {
  const std::string video = Encode(Mp4(), 3);
  // A workflow of some MB; one with bytes that are no text.
  const Tags tags = {{"prompt", R"({"3": {"text": "a; b = c # d \\ e\n"}})"},
                     {"workflow", std::string(5'000'000, 'w')},
                     {"note", "\xFF\xFE no text"}};
  VideoSettings webm = Mp4();
  webm.muxer = "webm";
  webm.encoder = "libvpx-vp9";
  webm.options = {{"crf", "20"}, {"b", "0"}};
  const AudioSamples tone = Tone(1, 48000, 0.3);
  const std::pair<std::string, std::string> files[] = {
      {"mp4", video},
      {"webm", Encode(webm, 3)},
      {"flac", *EncodeAudio(tone, {"flac", "flac", 0, 0, {}})},
      {"mp3", *EncodeAudio(tone, {"mp3", "libmp3lame", 128000, 0, {}})},
      {"opus", *EncodeAudio(tone, {"opus", "libopus", 96000, 0, {}})},
  };
  for (const auto& [extension, bytes] : files) {
    INFO(extension);
    const auto tagged = AddTags(bytes, extension, tags);
    INFO(tagged.status().ToString());
    REQUIRE(tagged.ok());
    // The process gives what its code gives in this one.
    BytesInMemory source(bytes);
    BytesToMemory sink;
    REQUIRE(AddTagsHere(&source, extension, tags, &sink).ok());
    CHECK(sink.bytes() == *tagged);
    const auto back = ReadTags(*tagged);
    REQUIRE(back.ok());
    for (const auto& tag : tags) CHECK(std::find(back->begin(), back->end(), tag) != back->end());
    if (Probe(bytes)->video.has_value()) {
      const auto summary = ReadSummary(*tagged);
      REQUIRE(summary.ok());
      CHECK(summary->width == 64);
      CHECK(summary->height == 64);
      CHECK(summary->frames >= 3);
      const auto before = Decode(bytes), after = Decode(*tagged);
      REQUIRE(after.size() == before.size());
      CHECK(after[2].data == before[2].data);
    }
  }
  CHECK(AddTags(video, "gif", tags).status().code() == StatusCode::kInvalidArgument);
  CHECK(AddTags("no video", "mp4", tags).status().code() == StatusCode::kInvalidArgument);
  CHECK(ReadSummary(files[2].second).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("damaged and foreign bytes are refused, and nothing outside is opened") {
  for (const std::string& bytes :
       {std::string(), std::string("x"), std::string(1000, 'a'), std::string("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"),
        std::string("ffconcat version 1.0\nfile /etc/passwd\n"), std::string("RIFF\0\0\0\0AVI ", 12)}) {
    CHECK_FALSE(Probe(bytes).ok());
    CHECK_FALSE(VideoDecoder::Open(bytes).ok());
    CHECK_FALSE(DecodeAudio(bytes).ok());
    CHECK(ReadTags(bytes).status().code() == StatusCode::kInvalidArgument);
    CHECK(ReadSummary(bytes).status().code() == StatusCode::kInvalidArgument);
    CHECK(AddTags(bytes, "mp4", {{"prompt", "{}"}}).status().code() == StatusCode::kInvalidArgument);
  }
  const std::string whole = Encode(Mp4(), 5);
  for (size_t cut = 0; cut < whole.size(); cut += 97) {
    auto decoder = VideoDecoder::Open(std::string_view(whole).substr(0, cut));
    if (!decoder.ok()) continue;
    VideoFrame frame;
    for (StatusOr<bool> got = true; got.ok() && *got;) got = (*decoder)->Next(frame);
  }
}

}  // namespace
}  // namespace atelier::media
