#include "worker/media/stream_decoder.h"

extern "C" {
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
}

#include "common/base/limits.h"

namespace atelier::media {
namespace {

constexpr int kDecoderThreads = 4;  // of one decoder; the frames do not depend on it

}  // namespace

Status StreamDecoder::Open(MemoryInput& input, int stream, bool keep_alpha) {
  input_ = &input;
  stream_ = input.get()->streams[stream];
  for (unsigned i = 0; i < input.get()->nb_streams; ++i)
    input.get()->streams[i]->discard = static_cast<int>(i) == stream ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
  const AVCodecID id = stream_->codecpar->codec_id;
  const AVCodec* decoder = nullptr;
  if (keep_alpha && id == AV_CODEC_ID_VP9) decoder = avcodec_find_decoder_by_name("libvpx-vp9");
  if (keep_alpha && id == AV_CODEC_ID_VP8) decoder = avcodec_find_decoder_by_name("libvpx");
  if (decoder == nullptr) decoder = avcodec_find_decoder(id);
  if (decoder == nullptr) return InvalidArgument("there is no decoder for \"", avcodec_get_name(id), "\"");
  codec_.reset(avcodec_alloc_context3(decoder));
  packet_.reset(av_packet_alloc());
  if (codec_ == nullptr || packet_ == nullptr) return ResourceExhausted("memory is short");
  if (const int error = avcodec_parameters_to_context(codec_.get(), stream_->codecpar); error < 0)
    return LibavError("the stream cannot be decoded", error);
  codec_->pkt_timebase = stream_->time_base;
  codec_->thread_count = kDecoderThreads;
  codec_->max_pixels = limits::kImagePixelsMax;
  Options options;
  if (input.get()->codec_whitelist != nullptr) options.Set("codec_whitelist", input.get()->codec_whitelist);
  if (const int error = avcodec_open2(codec_.get(), decoder, options.get()); error < 0)
    return LibavError(Cat("a stream of \"", avcodec_get_name(id), "\" cannot be decoded"), error);
  return OkStatus();
}

StatusOr<bool> StreamDecoder::Next(AVFrame* frame) {
  while (true) {
    const int got = avcodec_receive_frame(codec_.get(), frame);
    if (got == 0) {
      ++frames_;
      return true;
    }
    if (got == AVERROR(ENOMEM)) return LibavError("decoding", got);
    if (got == AVERROR_EOF) {
      if (frames_ == 0 && last_error_ != 0) return LibavError("the stream cannot be decoded", last_error_);
      return false;
    }
    if (got != AVERROR(EAGAIN)) last_error_ = got;
    if (flushing_) {
      if (got == AVERROR(EAGAIN)) return false;
      continue;
    }
    int read = 0;
    do {
      av_packet_unref(packet_.get());
      read = av_read_frame(input_->get(), packet_.get());
    } while (read == 0 && packet_->stream_index != stream_->index);
    if (read == AVERROR(ENOMEM)) return LibavError("reading", read);
    if (read < 0) {  // the end, or where the damage begins
      flushing_ = true;
      avcodec_send_packet(codec_.get(), nullptr);
      continue;
    }
    const int sent = avcodec_send_packet(codec_.get(), packet_.get());
    av_packet_unref(packet_.get());
    if (sent == AVERROR(ENOMEM)) return LibavError("decoding", sent);
    if (sent < 0) last_error_ = sent;
  }
}

Status FilterChain::Open(const char* source, const std::string& arguments, const std::string& filters,
                         const char* sink) {
  graph_.reset(avfilter_graph_alloc());
  if (graph_ == nullptr) return ResourceExhausted("memory is short");
  graph_->nb_threads = 1;
  graph_->scale_sws_opts = av_strdup("flags=bicubic");
  int error = avfilter_graph_create_filter(&source_, avfilter_get_by_name(source), "in", arguments.c_str(), nullptr,
                                           graph_.get());
  if (error >= 0)
    error = avfilter_graph_create_filter(&sink_, avfilter_get_by_name(sink), "out", nullptr, nullptr, graph_.get());
  if (error < 0) return LibavError(Cat("pictures or sound of this kind cannot be converted (", arguments, ")"), error);
  AVFilterInOut* outputs = avfilter_inout_alloc();
  AVFilterInOut* inputs = avfilter_inout_alloc();
  if (outputs == nullptr || inputs == nullptr) {
    avfilter_inout_free(&outputs);
    avfilter_inout_free(&inputs);
    return ResourceExhausted("memory is short");
  }
  outputs->name = av_strdup("in");
  outputs->filter_ctx = source_;
  inputs->name = av_strdup("out");
  inputs->filter_ctx = sink_;
  error = avfilter_graph_parse_ptr(graph_.get(), filters.c_str(), &inputs, &outputs, nullptr);
  if (error >= 0) error = avfilter_graph_config(graph_.get(), nullptr);
  avfilter_inout_free(&outputs);
  avfilter_inout_free(&inputs);
  if (error < 0) return LibavError(Cat("the filters \"", filters, "\" cannot be set up"), error);
  return OkStatus();
}

Status FilterChain::Push(AVFrame* frame) {
  if (const int error = av_buffersrc_add_frame_flags(source_, frame, AV_BUFFERSRC_FLAG_KEEP_REF); error < 0)
    return LibavError("converting a frame", error);
  return OkStatus();
}

StatusOr<bool> FilterChain::Pull(AVFrame* frame) {
  const int error = av_buffersink_get_frame(sink_, frame);
  if (error == AVERROR_EOF) at_end_ = true;
  if (error == AVERROR_EOF || error == AVERROR(EAGAIN)) return false;
  if (error < 0) return LibavError("converting a frame", error);
  return true;
}

std::string VideoSourceArguments(int width, int height, int pixel_format, AVRational time_base, AVRational aspect,
                                 AVRational frame_rate) {
  std::string text = Cat("video_size=", width, "x", height, ":pix_fmt=", pixel_format, ":time_base=", time_base.num,
                         "/", time_base.den);
  if (aspect.num > 0 && aspect.den > 0) text += Cat(":pixel_aspect=", aspect.num, "/", aspect.den);
  if (frame_rate.num > 0 && frame_rate.den > 0) text += Cat(":frame_rate=", frame_rate.num, "/", frame_rate.den);
  return text;
}

std::string AudioSourceArguments(int sample_rate, const std::string& sample_format, const std::string& layout) {
  return Cat("time_base=1/", sample_rate, ":sample_rate=", sample_rate, ":sample_fmt=", sample_format,
             ":channel_layout=", layout);
}

}  // namespace atelier::media
