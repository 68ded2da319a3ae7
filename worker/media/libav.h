// FFmpeg's objects as owners, and files in memory. Internal to worker/media: no other file sees FFmpeg's headers. No
// protocol is ever opened: what a container refers to outside itself is refused.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavfilter/avfilter.h>
#include <libavformat/avformat.h>
#include <libavutil/frame.h>
}

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "worker/media/bytes.h"

namespace atelier::media {

/// "Invalid data found when processing input" of a negative return value. Thread: any.
std::string ErrorText(int error);

/// The status of a negative return value: RESOURCE_EXHAUSTED when memory ran out, else INVALID_ARGUMENT "<what>:
/// <reason>". Thread: any.
Status LibavError(std::string_view what, int error);

struct LibavDelete {
  void operator()(AVPacket* p) const { av_packet_free(&p); }
  void operator()(AVFrame* p) const { av_frame_free(&p); }
  void operator()(AVCodecContext* p) const { avcodec_free_context(&p); }
  void operator()(AVFilterGraph* p) const { avfilter_graph_free(&p); }
};
template <typename T>
using Libav = std::unique_ptr<T, LibavDelete>;

/// Options for a call that takes an AVDictionary. Thread: one at a time.
class Options {
 public:
  Options() = default;
  ~Options() { av_dict_free(&options_); }
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;
  void Set(const char* key, const std::string& value) { av_dict_set(&options_, key, value.c_str(), 0); }
  AVDictionary** get() { return &options_; }
  /// The first key that the call did not know, or "".
  std::string Unused() const;

 private:
  AVDictionary* options_ = nullptr;
};

/// A container that is read from memory: mov/mp4, matroska/webm, avi, gif, wav, mp3, flac, ogg. Thread: one at a time.
class MemoryInput {
 public:
  MemoryInput() = default;
  /// Reads the header and the streams' parameters. `bytes` has to outlive the object. Errors: INVALID_ARGUMENT (no such
  /// container, damaged), RESOURCE_EXHAUSTED.
  Status Open(std::string_view bytes);
  /// The same of a source, which has to outlive the object.
  Status Open(ByteSource* source);
  ~MemoryInput();
  MemoryInput(const MemoryInput&) = delete;
  MemoryInput& operator=(const MemoryInput&) = delete;
  AVFormatContext* get() const { return format_; }
  /// The best stream of a kind that is no cover picture, or -1.
  int BestStream(AVMediaType type) const;

 private:
  static int Read(void* self, uint8_t* to, int count);
  static int64_t Seek(void* self, int64_t offset, int whence);

  std::unique_ptr<ByteSource> bytes_;
  ByteSource* source_ = nullptr;
  int64_t at_ = 0;
  AVIOContext* io_ = nullptr;
  AVFormatContext* format_ = nullptr;
};

/// A container that is written to memory. Thread: one at a time.
class MemoryOutput {
 public:
  MemoryOutput() = default;
  /// `muxer`: FFmpeg's name ("mp4", "webm", ...). Errors: FAILED_PRECONDITION when the library was built without it.
  Status Open(const std::string& muxer);
  /// The same to a sink, which has to outlive the object.
  Status Open(const std::string& muxer, ByteSink* sink);
  ~MemoryOutput();
  MemoryOutput(const MemoryOutput&) = delete;
  MemoryOutput& operator=(const MemoryOutput&) = delete;
  AVFormatContext* get() const { return format_; }
  /// Once all streams are there. Errors: INVALID_ARGUMENT.
  Status WriteHeader(Options& options);
  /// Takes the packet's content; its times are in `from`, its stream index is set. Errors: INVALID_ARGUMENT,
  /// RESOURCE_EXHAUSTED beyond limits::kBlobBytesMax.
  Status Write(AVPacket* packet, AVRational from);
  /// Ends the file. Call once.
  Status End();
  /// Ends the file in memory and gives it out. Call once.
  StatusOr<std::string> Finish();

 private:
  static int WriteBytes(void* self, uint8_t* from, int count);
  static int64_t Seek(void* self, int64_t offset, int whence);

  Status Full() const;

  BytesToMemory bytes_;
  ByteSink* sink_ = nullptr;
  int64_t at_ = 0, size_ = 0;
  bool full_ = false;
  AVIOContext* io_ = nullptr;
  AVFormatContext* format_ = nullptr;
};

}  // namespace atelier::media
