#include "worker/media/encoder.h"

extern "C" {
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
}

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "common/base/limits.h"
#include "worker/media/stream_decoder.h"

namespace atelier::media {
namespace {

constexpr int kThreads = 4;  // of one encoder: fixed, since the bytes depend on it

// Encoders read memory that they never wrote: with libx264 core 164 the bytes of a file depend on what the process held
// there before (MALLOC_PERTURB_ shows it with the ffmpeg command as well). While one of these lives, new memory is
// zero.
class CleanMemory {
 public:
  CleanMemory() { Count(1); }
  ~CleanMemory() { Count(-1); }
  CleanMemory(const CleanMemory&) = delete;
  CleanMemory& operator=(const CleanMemory&) = delete;

 private:
  static void Count(int by) {
    const std::lock_guard lock(mutex_);
    const int before = users_;
    users_ += by;
#ifdef __GLIBC__
    if (before == 0 || users_ == 0) mallopt(M_PERTURB, users_ > 0 ? 0xFF : 0);  // glibc fills with the complement
#else
    static_cast<void>(before);
#endif
  }
  static inline std::mutex mutex_;
  static inline int users_ = 0;
};

class Encoder : public VideoEncoder {
 public:
  Status Start(const VideoSettings& settings) {
    settings_ = settings;
    RETURN_IF_ERROR(CheckImageSize(settings.width, settings.height, settings.channels));
    if (!(settings.fps >= 0.01 && settings.fps <= 1000))
      return InvalidArgument("a rate of ", settings.fps, " frames a second, expected 0.01 to 1000");
    rate_ = av_d2q(settings.fps, 1'001'000);
    encoder_ = avcodec_find_encoder_by_name(settings.encoder.c_str());
    if (encoder_ == nullptr)
      return FailedPrecondition("this worker's FFmpeg has no encoder \"", settings.encoder,
                                "\"; choose another format");
    const AVPixelFormat target = av_get_pix_fmt(settings.pixel_format.c_str());
    if (target == AV_PIX_FMT_NONE)
      return InvalidArgument("\"", settings.pixel_format, "\" is no pixel format; for example yuv420p");
    for (const AVPixelFormat* f = encoder_->pix_fmts; f != nullptr; ++f) {
      if (*f == target) break;
      if (*f == AV_PIX_FMT_NONE)
        return InvalidArgument("the encoder \"", settings.encoder, "\" does not take the pixel format \"",
                               settings.pixel_format, "\"");
    }
    RETURN_IF_ERROR(output_.Open(settings.muxer));
    const char* name =
        settings.deep ? (settings.channels == 4 ? "rgba64le" : "rgb48le") : (settings.channels == 4 ? "rgba" : "rgb24");
    input_format_ = av_get_pix_fmt(name);
    std::string filters = settings.filters;
    const auto add = [&](const std::string& filter) { filters += (filters.empty() ? "" : ",") + filter; };
    if (settings.bt709) add("scale=out_color_matrix=bt709:out_range=tv");
    add(Cat("format=", settings.pixel_format));
    RETURN_IF_ERROR(chain_.Open(
        "buffer",
        VideoSourceArguments(settings.width, settings.height, input_format_, av_inv_q(rate_), AVRational{1, 1}, rate_),
        filters, "buffersink"));
    input_.reset(av_frame_alloc());
    filtered_.reset(av_frame_alloc());
    packet_.reset(av_packet_alloc());
    if (input_ == nullptr || filtered_ == nullptr || packet_ == nullptr) return ResourceExhausted("memory is short");
    return OkStatus();
  }

  Status Add(const uint8_t* data, size_t bytes) override {
    const size_t row =
        static_cast<size_t>(settings_.width) * static_cast<size_t>(settings_.channels) * (settings_.deep ? 2 : 1);
    if (bytes != row * static_cast<size_t>(settings_.height))
      return InvalidArgument("a picture of ", bytes, " bytes, expected ", settings_.width, "x", settings_.height);
    AVFrame& frame = *input_;
    frame.format = input_format_;
    frame.width = settings_.width;
    frame.height = settings_.height;
    if (const int error = av_frame_get_buffer(&frame, 0); error < 0) return LibavError("encoding", error);
    for (int y = 0; y < settings_.height; ++y)
      std::memcpy(frame.data[0] + static_cast<ptrdiff_t>(y) * frame.linesize[0], data + static_cast<size_t>(y) * row,
                  row);
    frame.pts = fed_++;
    frame.color_range = AVCOL_RANGE_JPEG;
    frame.colorspace = AVCOL_SPC_RGB;
    frame.color_primaries = AVCOL_PRI_BT709;
    frame.color_trc = settings_.bt709 ? AVCOL_TRC_BT709 : AVCOL_TRC_IEC61966_2_1;
    const Status pushed = chain_.Push(&frame);
    av_frame_unref(&frame);
    RETURN_IF_ERROR(pushed);
    return Encode();
  }

  StatusOr<std::string> Finish() override {
    if (fed_ == 0) return InvalidArgument("there is no picture to make a video of");
    RETURN_IF_ERROR(chain_.Push(nullptr));
    RETURN_IF_ERROR(Encode());
    if (codec_ == nullptr) return InvalidArgument("the filters let no picture through");
    const CleanMemory clean;
    if (const int error = avcodec_send_frame(codec_.get(), nullptr); error < 0) return LibavError("encoding", error);
    RETURN_IF_ERROR(WritePackets());
    return output_.Finish();
  }

 private:
  // With the first filtered picture, which says size and colours.
  Status OpenCodec() {
    const AVFrame& frame = *filtered_;
    codec_.reset(avcodec_alloc_context3(encoder_));
    if (codec_ == nullptr) return ResourceExhausted("memory is short");
    AVCodecContext& c = *codec_;
    c.width = frame.width;
    c.height = frame.height;
    c.pix_fmt = static_cast<AVPixelFormat>(frame.format);
    c.time_base = av_inv_q(rate_);
    c.framerate = rate_;
    c.sample_aspect_ratio = AVRational{1, 1};
    c.thread_count = kThreads;
    c.flags |= AV_CODEC_FLAG_BITEXACT;
    if (settings_.bt709) {
      c.color_range = AVCOL_RANGE_MPEG;
      c.colorspace = AVCOL_SPC_BT709;
      c.color_primaries = AVCOL_PRI_BT709;
      c.color_trc = AVCOL_TRC_BT709;
    }
    if ((output_.get()->oformat->flags & AVFMT_GLOBALHEADER) != 0) c.flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    if (!settings_.tag.empty())
      c.codec_tag = MKTAG(static_cast<unsigned>(settings_.tag[0]), static_cast<unsigned>(settings_.tag[1]),
                          static_cast<unsigned>(settings_.tag[2]), static_cast<unsigned>(settings_.tag[3]));
    Options options;
    for (const auto& [key, value] : settings_.options) options.Set(key.c_str(), value);
    // With a thread for its look ahead libx264 takes used frames or new ones as it comes, and its bytes depend on what
    // they held.
    if (settings_.encoder == "libx264") options.Set("x264-params", "sync-lookahead=0");
    if (const int error = avcodec_open2(&c, encoder_, options.get()); error < 0)
      return LibavError(Cat("the encoder \"", settings_.encoder, "\" does not take these settings for ", c.width, "x",
                            c.height, " ", settings_.pixel_format),
                        error);
    if (const std::string unused = options.Unused(); !unused.empty())
      return InvalidArgument("the encoder \"", settings_.encoder, "\" has no option \"", unused, "\"");
    AVStream* stream = avformat_new_stream(output_.get(), nullptr);
    if (stream == nullptr) return ResourceExhausted("memory is short");
    if (const int error = avcodec_parameters_from_context(stream->codecpar, &c); error < 0)
      return LibavError("encoding", error);
    stream->time_base = c.time_base;
    stream->avg_frame_rate = rate_;
    stream->r_frame_rate = rate_;
    Options muxer;
    for (const auto& [key, value] : settings_.file_options) muxer.Set(key.c_str(), value);
    return output_.WriteHeader(muxer);
  }

  Status Encode() {
    while (true) {
      ASSIGN_OR_RETURN(const bool pulled, chain_.Pull(filtered_.get()));
      if (!pulled) return OkStatus();
      const CleanMemory clean;
      Status status = codec_ == nullptr ? OpenCodec() : OkStatus();
      if (status.ok()) {
        filtered_->pts = encoded_++;
        filtered_->pict_type = AV_PICTURE_TYPE_NONE;
        if (const int error = avcodec_send_frame(codec_.get(), filtered_.get()); error < 0)
          status = LibavError("encoding", error);
      }
      av_frame_unref(filtered_.get());
      RETURN_IF_ERROR(status);
      RETURN_IF_ERROR(WritePackets());
    }
  }

  Status WritePackets() {
    while (true) {
      const int got = avcodec_receive_packet(codec_.get(), packet_.get());
      if (got == AVERROR(EAGAIN) || got == AVERROR_EOF) return OkStatus();
      if (got < 0) return LibavError("encoding", got);
      packet_->stream_index = 0;
      if (packet_->duration == 0) packet_->duration = 1;
      RETURN_IF_ERROR(output_.Write(packet_.get(), codec_->time_base));
    }
  }

  VideoSettings settings_;
  AVRational rate_{0, 1};
  const AVCodec* encoder_ = nullptr;
  AVPixelFormat input_format_ = AV_PIX_FMT_NONE;
  Libav<AVCodecContext> codec_;
  MemoryOutput output_;
  FilterChain chain_;
  Libav<AVFrame> input_, filtered_;
  Libav<AVPacket> packet_;
  int64_t fed_ = 0, encoded_ = 0;
};

// Encodes sound into one stream of an output.
class AudioEncoder {
 public:
  // Adds the stream; the header is the caller's.
  Status Start(MemoryOutput& output, const AudioSamples& audio, const AudioSettings& settings) {
    output_ = &output;
    audio_ = &audio;
    if (audio.channels < 1 || audio.channels > 8 || audio.sample_rate < 1000 || audio.sample_rate > 768'000)
      return InvalidArgument("sound of ", audio.channels, " channels at ", audio.sample_rate,
                             " Hz, expected 1 to 8 channels at 1000 to 768000 Hz");
    const AVCodec* encoder = avcodec_find_encoder_by_name(settings.encoder.c_str());
    if (encoder == nullptr)
      return FailedPrecondition("this worker's FFmpeg has no encoder \"", settings.encoder,
                                "\"; choose another format");
    codec_.reset(avcodec_alloc_context3(encoder));
    packet_.reset(av_packet_alloc());
    frame_.reset(av_frame_alloc());
    filtered_.reset(av_frame_alloc());
    if (codec_ == nullptr || packet_ == nullptr || frame_ == nullptr || filtered_ == nullptr)
      return ResourceExhausted("memory is short");
    AVCodecContext& c = *codec_;
    int rate = settings.sample_rate > 0 ? settings.sample_rate : audio.sample_rate;
    if (encoder->supported_samplerates != nullptr) {
      int best = 0;  // the lowest that is not below, else the highest
      for (const int* r = encoder->supported_samplerates; *r != 0; ++r) {
        const bool enough = *r >= rate, best_enough = best >= rate;
        if (best == 0 || (enough && (!best_enough || *r < best)) || (!enough && !best_enough && *r > best)) best = *r;
      }
      rate = best;
    }
    c.sample_rate = rate;
    c.sample_fmt = encoder->sample_fmts == nullptr ? AV_SAMPLE_FMT_FLTP : encoder->sample_fmts[0];
    av_channel_layout_default(&c.ch_layout, audio.channels);
    c.time_base = AVRational{1, rate};
    if (settings.bit_rate > 0) c.bit_rate = settings.bit_rate;
    c.thread_count = 1;
    c.flags |= AV_CODEC_FLAG_BITEXACT;
    if ((output.get()->oformat->flags & AVFMT_GLOBALHEADER) != 0) c.flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    Options options;
    for (const auto& [key, value] : settings.options) options.Set(key.c_str(), value);
    // Quality instead of a bit rate is asked for by two fields.
    if (const auto quality = settings.options.find("q"); quality != settings.options.end()) {
      c.flags |= AV_CODEC_FLAG_QSCALE;
      c.global_quality = FF_QP2LAMBDA * std::stoi(quality->second);
      av_dict_set(options.get(), "q", nullptr, 0);
    }
    if (const int error = avcodec_open2(&c, encoder, options.get()); error < 0)
      return LibavError(Cat("the encoder \"", settings.encoder, "\" does not take sound of ", audio.channels,
                            " channels at ", rate, " Hz"),
                        error);
    AVStream* stream = avformat_new_stream(output.get(), nullptr);
    if (stream == nullptr) return ResourceExhausted("memory is short");
    if (const int error = avcodec_parameters_from_context(stream->codecpar, &c); error < 0)
      return LibavError("encoding", error);
    stream->time_base = c.time_base;
    index_ = stream->index;
    char layout[128] = {};
    av_channel_layout_describe(&c.ch_layout, layout, sizeof(layout));
    RETURN_IF_ERROR(chain_.Open("abuffer", AudioSourceArguments(audio.sample_rate, "fltp", layout),
                                Cat("aformat=sample_fmts=", av_get_sample_fmt_name(c.sample_fmt),
                                    ":sample_rates=", rate, ":channel_layouts=", layout,
                                    c.frame_size > 0 ? Cat(",asetnsamples=n=", c.frame_size, ":p=0") : std::string()),
                                "abuffersink"));
    return OkStatus();
  }

  Status EncodeAll() {
    constexpr int64_t kPiece = 4096;
    const int64_t count = audio_->count();
    for (int64_t at = 0; at < count; at += kPiece) {
      AVFrame& f = *frame_;
      f.format = AV_SAMPLE_FMT_FLTP;
      f.nb_samples = static_cast<int>(std::min(kPiece, count - at));
      f.sample_rate = audio_->sample_rate;
      av_channel_layout_default(&f.ch_layout, audio_->channels);
      if (const int error = av_frame_get_buffer(&f, 0); error < 0) return LibavError("encoding", error);
      for (int ch = 0; ch < audio_->channels; ++ch)
        std::memcpy(f.extended_data[ch], audio_->samples.data() + ch * count + at,
                    static_cast<size_t>(f.nb_samples) * sizeof(float));
      f.pts = at;
      const Status pushed = chain_.Push(&f);
      av_frame_unref(&f);
      RETURN_IF_ERROR(pushed);
      RETURN_IF_ERROR(Encode());
    }
    RETURN_IF_ERROR(chain_.Push(nullptr));
    RETURN_IF_ERROR(Encode());
    if (const int error = avcodec_send_frame(codec_.get(), nullptr); error < 0) return LibavError("encoding", error);
    return WritePackets();
  }

 private:
  Status Encode() {
    while (true) {
      ASSIGN_OR_RETURN(const bool pulled, chain_.Pull(filtered_.get()));
      if (!pulled) return OkStatus();
      filtered_->pts = samples_;
      samples_ += filtered_->nb_samples;
      const int error = avcodec_send_frame(codec_.get(), filtered_.get());
      av_frame_unref(filtered_.get());
      if (error < 0) return LibavError("encoding", error);
      RETURN_IF_ERROR(WritePackets());
    }
  }

  Status WritePackets() {
    while (true) {
      const int got = avcodec_receive_packet(codec_.get(), packet_.get());
      if (got == AVERROR(EAGAIN) || got == AVERROR_EOF) return OkStatus();
      if (got < 0) return LibavError("encoding", got);
      packet_->stream_index = index_;
      RETURN_IF_ERROR(output_->Write(packet_.get(), codec_->time_base));
    }
  }

  MemoryOutput* output_ = nullptr;
  const AudioSamples* audio_ = nullptr;
  Libav<AVCodecContext> codec_;
  Libav<AVPacket> packet_;
  Libav<AVFrame> frame_, filtered_;
  FilterChain chain_;
  int index_ = 0;
  int64_t samples_ = 0;
};

}  // namespace

StatusOr<std::unique_ptr<VideoEncoder>> VideoEncoder::Open(const VideoSettings& settings) {
  auto encoder = std::make_unique<Encoder>();
  RETURN_IF_ERROR(encoder->Start(settings));
  return std::unique_ptr<VideoEncoder>(std::move(encoder));
}

StatusOr<std::string> EncodeAudio(const AudioSamples& audio, const AudioSettings& settings) {
  if (audio.count() == 0) return InvalidArgument("the sound has no samples");
  MemoryOutput output;
  RETURN_IF_ERROR(output.Open(settings.muxer));
  AudioEncoder encoder;
  RETURN_IF_ERROR(encoder.Start(output, audio, settings));
  Options options;
  RETURN_IF_ERROR(output.WriteHeader(options));
  RETURN_IF_ERROR(encoder.EncodeAll());
  return output.Finish();
}

StatusOr<std::string> AddAudioTrack(std::string_view video, const std::string& muxer, const AudioSamples& audio,
                                    const AudioSettings& settings, bool shortest) {
  if (audio.count() == 0) return InvalidArgument("the sound has no samples");
  MemoryInput input;
  RETURN_IF_ERROR(input.Open(video));
  const int index = input.BestStream(AVMEDIA_TYPE_VIDEO);
  if (index < 0) return InvalidArgument("the file has no video");
  MemoryOutput output;
  RETURN_IF_ERROR(output.Open(muxer));
  const AVStream* from = input.get()->streams[index];
  AVStream* to = avformat_new_stream(output.get(), nullptr);
  if (to == nullptr) return ResourceExhausted("memory is short");
  if (const int error = avcodec_parameters_copy(to->codecpar, from->codecpar); error < 0)
    return LibavError("the video cannot be copied", error);
  if (muxer != "mp4" && muxer != "mov") to->codecpar->codec_tag = 0;
  to->time_base = from->time_base;
  to->avg_frame_rate = from->avg_frame_rate;
  to->r_frame_rate = from->r_frame_rate;
  to->sample_aspect_ratio = from->sample_aspect_ratio;
  av_dict_copy(&output.get()->metadata, input.get()->metadata, 0);
  AudioEncoder encoder;
  RETURN_IF_ERROR(encoder.Start(output, audio, settings));
  Options options;
  RETURN_IF_ERROR(output.WriteHeader(options));
  RETURN_IF_ERROR(encoder.EncodeAll());
  const double end = static_cast<double>(audio.count()) / audio.sample_rate;
  const Libav<AVPacket> packet(av_packet_alloc());
  if (packet == nullptr) return ResourceExhausted("memory is short");
  while (true) {
    const int error = av_read_frame(input.get(), packet.get());
    if (error == AVERROR_EOF) break;
    if (error < 0) return LibavError("the video cannot be copied", error);
    const AVRational base = from->time_base;
    const bool late =
        shortest && packet->pts != AV_NOPTS_VALUE && static_cast<double>(packet->pts) * av_q2d(base) >= end;
    if (packet->stream_index != index || late) {
      av_packet_unref(packet.get());
      continue;
    }
    packet->stream_index = 0;
    const Status written = output.Write(packet.get(), base);
    av_packet_unref(packet.get());
    RETURN_IF_ERROR(written);
  }
  return output.Finish();
}

}  // namespace atelier::media
