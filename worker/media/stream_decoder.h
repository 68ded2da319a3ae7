// Decoded frames of one stream, and filter graphs. Internal to worker/media.
#pragma once

#include <string>

#include "worker/media/libav.h"

namespace atelier::media {

/// Frames of one stream of an open container, in order. Damaged packets are left out. Thread: one at a time.
class StreamDecoder {
 public:
  /// `keep_alpha`: VP8 and VP9 with their alpha channel. `input` has to outlive the object. Errors: INVALID_ARGUMENT
  /// when there is no decoder for the stream.
  Status Open(MemoryInput& input, int stream, bool keep_alpha);
  /// False at the end. Errors: INVALID_ARGUMENT when nothing at all could be decoded; RESOURCE_EXHAUSTED.
  StatusOr<bool> Next(AVFrame* frame);
  AVStream* stream() const { return stream_; }
  AVCodecContext* codec() const { return codec_.get(); }

 private:
  MemoryInput* input_ = nullptr;
  AVStream* stream_ = nullptr;
  Libav<AVCodecContext> codec_;
  Libav<AVPacket> packet_;
  bool flushing_ = false;
  int64_t frames_ = 0;
  int last_error_ = 0;
};

/// A chain of filters from one input to one output. Thread: one at a time.
class FilterChain {
 public:
  /// `source` and `sink`: names of FFmpeg's ends ("buffer", "buffersink", ...), `arguments` of the source. Errors:
  /// INVALID_ARGUMENT.
  Status Open(const char* source, const std::string& arguments, const std::string& filters, const char* sink);
  /// Null ends the input. Errors: INVALID_ARGUMENT, RESOURCE_EXHAUSTED.
  Status Push(AVFrame* frame);
  /// False: more input is needed, or the end. Errors: as Push.
  StatusOr<bool> Pull(AVFrame* frame);
  bool open() const { return graph_ != nullptr; }
  bool at_end() const { return at_end_; }
  AVFilterContext* sink() const { return sink_; }

 private:
  Libav<AVFilterGraph> graph_;
  AVFilterContext* source_ = nullptr;
  AVFilterContext* sink_ = nullptr;
  bool at_end_ = false;
};

/// The arguments of a "buffer" source for frames of this kind.
std::string VideoSourceArguments(int width, int height, int pixel_format, AVRational time_base, AVRational aspect,
                                 AVRational frame_rate);
/// The arguments of an "abuffer" source.
std::string AudioSourceArguments(int sample_rate, const std::string& sample_format, const std::string& layout);

}  // namespace atelier::media
