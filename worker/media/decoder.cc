#include "worker/media/decoder.h"

extern "C" {
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
}

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/base/limits.h"
#include "worker/media/decode_here.h"
#include "worker/media/stream_decoder.h"

namespace atelier::media {
namespace {

// Quarter turns clockwise that bring the picture upright.
int QuarterTurns(const AVStream* stream) {
  const uint8_t* matrix = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr);
  if (matrix == nullptr) return 0;
  int32_t values[9];
  std::memcpy(values, matrix, sizeof(values));
  const double angle = av_display_rotation_get(values);  // counter-clockwise
  if (std::isnan(angle)) return 0;
  return static_cast<int>((std::lround(-angle / 90.0) % 4 + 4) % 4);
}

double Rate(AVRational rate) { return rate.num > 0 && rate.den > 0 ? av_q2d(rate) : 0; }

bool HasAlpha(const AVCodecParameters& parameters, const AVStream* stream) {
  const AVPixFmtDescriptor* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(parameters.format));
  if (format != nullptr && (format->flags & AV_PIX_FMT_FLAG_ALPHA) != 0) return true;
  return av_dict_get(stream->metadata, "alpha_mode", nullptr, 0) != nullptr;
}

MediaInfo InfoOf(const MemoryInput& input) {
  const AVFormatContext& file = *input.get();
  MediaInfo info;
  info.container = file.iformat->name;
  if (file.duration > 0) info.seconds = static_cast<double>(file.duration) / AV_TIME_BASE;
  if (const int index = input.BestStream(AVMEDIA_TYPE_VIDEO); index >= 0) {
    AVStream* stream = file.streams[index];
    VideoInfo video;
    video.width = stream->codecpar->width;
    video.height = stream->codecpar->height;
    if (QuarterTurns(stream) % 2 == 1) std::swap(video.width, video.height);
    video.fps = Rate(av_guess_frame_rate(input.get(), stream, nullptr));
    video.average_fps = Rate(stream->avg_frame_rate);
    if (video.average_fps == 0) video.average_fps = video.fps;
    if (video.fps == 0) video.fps = video.average_fps;
    video.seconds = info.seconds;
    if (video.seconds == 0 && stream->duration > 0)
      video.seconds = static_cast<double>(stream->duration) * av_q2d(stream->time_base);
    const double counted = video.seconds * video.fps + 0.5;
    video.frames = stream->nb_frames > 0 ? stream->nb_frames
                   : counted < 9e15      ? static_cast<int64_t>(std::floor(counted))
                                         : 0;
    video.alpha = HasAlpha(*stream->codecpar, stream);
    video.codec = avcodec_get_name(stream->codecpar->codec_id);
    info.video = std::move(video);
  }
  if (const int index = input.BestStream(AVMEDIA_TYPE_AUDIO); index >= 0) {
    const AVCodecParameters& parameters = *file.streams[index]->codecpar;
    if (parameters.sample_rate > 0 && parameters.ch_layout.nb_channels > 0)
      info.audio = AudioInfo{parameters.ch_layout.nb_channels, parameters.sample_rate};
  }
  return info;
}

class Decoder : public VideoDecoder {
 public:
  Status Start(std::unique_ptr<ByteSource> source, const VideoDecodeOptions& options) {
    options_ = options;
    source_ = std::move(source);
    RETURN_IF_ERROR(input_.Open(source_.get()));
    const int index = input_.BestStream(AVMEDIA_TYPE_VIDEO);
    if (index < 0) return InvalidArgument("the file has no video");
    RETURN_IF_ERROR(stream_.Open(input_, index, options.deep));
    decoded_.reset(av_frame_alloc());
    converted_.reset(av_frame_alloc());
    if (decoded_ == nullptr || converted_ == nullptr) return ResourceExhausted("memory is short");
    first_ = stream_.stream()->start_time == AV_NOPTS_VALUE ? 0 : stream_.stream()->start_time;
    return OkStatus();
  }

  StatusOr<bool> Next(VideoFrame& frame) override {
    while (true) {
      if (chain_.open()) {
        ASSIGN_OR_RETURN(const bool pulled, chain_.Pull(converted_.get()));
        if (pulled) {
          const Status copied = Copy(frame);
          av_frame_unref(converted_.get());
          RETURN_IF_ERROR(copied);
          return true;
        }
        if (chain_.at_end()) return false;
      }
      if (ended_) return false;
      ASSIGN_OR_RETURN(const bool got, NextDecoded());
      if (!got) {
        ended_ = true;
        if (!chain_.open()) return false;
        RETURN_IF_ERROR(chain_.Push(nullptr));
        continue;
      }
      const Status pushed = Convert();
      av_frame_unref(decoded_.get());
      RETURN_IF_ERROR(pushed);
    }
  }

  StatusOr<bool> Skip() override {
    ASSIGN_OR_RETURN(const bool got, NextDecoded());
    av_frame_unref(decoded_.get());
    return got;
  }

 private:
  StatusOr<bool> NextDecoded() {
    while (true) {
      ASSIGN_OR_RETURN(const bool got, stream_.Next(decoded_.get()));
      if (!got) return false;
      const AVRational base = stream_.stream()->time_base;
      int64_t at = decoded_->best_effort_timestamp;
      if (at == AV_NOPTS_VALUE) at = decoded_->pts;
      if (at == AV_NOPTS_VALUE) at = last_ + 1;
      last_ = at;
      const auto start = static_cast<int64_t>(std::llround(options_.start / av_q2d(base)));
      if (at - first_ < start) {
        av_frame_unref(decoded_.get());
        continue;
      }
      decoded_->pts = at - first_ - start;
      return true;
    }
  }

  Status Convert() {
    const AVFrame& f = *decoded_;
    if (!chain_.open()) {
      std::string filters = options_.filters;
      const auto add = [&](const std::string& filter) { filters += (filters.empty() ? "" : ",") + filter; };
      const int turns = options_.upright ? QuarterTurns(stream_.stream()) : 0;
      if (turns == 2) add("hflip,vflip");
      if (turns == 1) add("transpose=clock");
      if (turns == 3) add("transpose=cclock");
      add(options_.deep ? "format=rgba64le" : "format=rgb24");
      RETURN_IF_ERROR(chain_.Open(
          "buffer",
          VideoSourceArguments(f.width, f.height, f.format, stream_.stream()->time_base, f.sample_aspect_ratio,
                               av_guess_frame_rate(input_.get(), stream_.stream(), nullptr)),
          filters, "buffersink"));
      width_ = f.width;
      height_ = f.height;
      format_ = f.format;
    }
    if (f.width != width_ || f.height != height_ || f.format != format_)
      return InvalidArgument("the pictures change from ", width_, "x", height_, " to ", f.width, "x", f.height,
                             " within the video; encode it anew in one size");
    return chain_.Push(decoded_.get());
  }

  Status Copy(VideoFrame& frame) {
    const AVFrame& f = *converted_;
    RETURN_IF_ERROR(CheckImageSize(f.width, f.height, 4));
    const size_t row = static_cast<size_t>(f.width) * (options_.deep ? 8 : 3);
    frame.width = f.width;
    frame.height = f.height;
    frame.data.resize(row * static_cast<size_t>(f.height));
    for (int y = 0; y < f.height; ++y)
      std::memcpy(frame.data.data() + static_cast<size_t>(y) * row,
                  f.data[0] + static_cast<ptrdiff_t>(y) * f.linesize[0], row);
    return OkStatus();
  }

  VideoDecodeOptions options_;
  std::unique_ptr<ByteSource> source_;
  MemoryInput input_;
  StreamDecoder stream_;
  FilterChain chain_;
  Libav<AVFrame> decoded_, converted_;
  int64_t first_ = 0, last_ = -1;
  int width_ = 0, height_ = 0, format_ = -1;
  bool ended_ = false;
};

}  // namespace

StatusOr<MediaInfo> ProbeHere(ByteSource* source) {
  MemoryInput input;
  RETURN_IF_ERROR(input.Open(source));
  return InfoOf(input);
}

StatusOr<std::unique_ptr<VideoDecoder>> OpenVideoHere(std::unique_ptr<ByteSource> source,
                                                      const VideoDecodeOptions& options) {
  auto decoder = std::make_unique<Decoder>();
  RETURN_IF_ERROR(decoder->Start(std::move(source), options));
  return std::unique_ptr<VideoDecoder>(std::move(decoder));
}

StatusOr<std::optional<AudioSamples>> DecodeAudioHere(ByteSource* source, double start, double seconds) {
  MemoryInput input;
  RETURN_IF_ERROR(input.Open(source));
  const int index = input.BestStream(AVMEDIA_TYPE_AUDIO);
  if (index < 0) return std::optional<AudioSamples>();
  StreamDecoder stream;
  RETURN_IF_ERROR(stream.Open(input, index, false));
  const Libav<AVFrame> decoded(av_frame_alloc()), converted(av_frame_alloc());
  if (decoded == nullptr || converted == nullptr) return ResourceExhausted("memory is short");
  AudioSamples audio;
  FilterChain chain;
  std::vector<std::vector<float>> planes;
  int64_t total = 0;
  const auto drain = [&]() -> Status {
    while (true) {
      ASSIGN_OR_RETURN(const bool pulled, chain.Pull(converted.get()));
      if (!pulled) return OkStatus();
      const AVFrame& f = *converted;
      total += int64_t{f.nb_samples} * audio.channels;
      if (total * static_cast<int64_t>(sizeof(float)) > limits::kTensorBytesMax / 4) {
        av_frame_unref(converted.get());
        return ResourceExhausted("the sound is longer than ", limits::kTensorBytesMax >> 32,
                                 " GiB of samples; ask for a part of it");
      }
      for (int c = 0; c < audio.channels; ++c) {
        const auto* from = reinterpret_cast<const float*>(f.extended_data[c]);
        planes[static_cast<size_t>(c)].insert(planes[static_cast<size_t>(c)].end(), from, from + f.nb_samples);
      }
      av_frame_unref(converted.get());
    }
  };
  while (true) {
    ASSIGN_OR_RETURN(const bool got, stream.Next(decoded.get()));
    if (!got) break;
    if (!chain.open()) {
      if (decoded->sample_rate <= 0 || decoded->ch_layout.nb_channels <= 0 || decoded->ch_layout.nb_channels > 64)
        return InvalidArgument("the sound has ", decoded->ch_layout.nb_channels, " channels at ", decoded->sample_rate,
                               " Hz");
      audio.channels = decoded->ch_layout.nb_channels;
      audio.sample_rate = decoded->sample_rate;
      planes.resize(static_cast<size_t>(audio.channels));
      char layout[128] = {};
      av_channel_layout_describe(&decoded->ch_layout, layout, sizeof(layout));
      const char* format = av_get_sample_fmt_name(static_cast<AVSampleFormat>(decoded->format));
      std::string filters = Cat("asetpts=N/SR/TB");
      if (start > 0 || seconds > 0) {
        const auto from = static_cast<int64_t>(std::llround(std::min(start, 1e9) * audio.sample_rate));
        filters += Cat(",atrim=start_sample=", from);
        if (seconds > 0)
          filters += Cat(":end_sample=",
                         from + static_cast<int64_t>(std::llround(std::min(seconds, 1e9) * audio.sample_rate)));
      }
      RETURN_IF_ERROR(chain.Open(
          "abuffer",
          AudioSourceArguments(
              audio.sample_rate, format == nullptr ? "" : format,
              std::string_view(layout).find("channels") == std::string_view::npos ? layout : Cat(audio.channels, "c")),
          filters + ",aformat=sample_fmts=fltp", "abuffersink"));
    }
    if (decoded->ch_layout.nb_channels != audio.channels || decoded->sample_rate != audio.sample_rate)
      return InvalidArgument("channels or rate of the sound change within the file");
    const Status pushed = chain.Push(decoded.get());
    av_frame_unref(decoded.get());
    RETURN_IF_ERROR(pushed);
    RETURN_IF_ERROR(drain());
    if (chain.at_end()) break;
  }
  if (!chain.open()) return std::optional<AudioSamples>();
  if (!chain.at_end()) {
    RETURN_IF_ERROR(chain.Push(nullptr));
    RETURN_IF_ERROR(drain());
  }
  for (const std::vector<float>& plane : planes) audio.samples.insert(audio.samples.end(), plane.begin(), plane.end());
  return std::optional(std::move(audio));
}

}  // namespace atelier::media
