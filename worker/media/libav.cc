#include "worker/media/libav.h"

extern "C" {
#include <libavutil/log.h>
#include <libavutil/mem.h>
}

#include <algorithm>
#include <cstring>

#include "common/base/limits.h"

namespace atelier::media {
namespace {

constexpr int kIoBytes = 64 << 10;
constexpr char kDemuxers[] = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,wav,mp3,flac,ogg";
// Decoders of what people have in such files; others are refused.
constexpr char kDecoders[] =
    "h264,hevc,libdav1d,libaom-av1,av1,vp8,vp9,libvpx,libvpx-vp9,mpeg4,msmpeg4v2,msmpeg4,mpeg2video,mpeg1video,mjpeg,"
    "png,prores,dnxhd,ffv1,huffyuv,ffvhuff,utvideo,rawvideo,gif,theora,qtrle,"
    "aac,mp3float,mp3,flac,opus,libopus,vorbis,libvorbis,alac,ac3,eac3,"
    "pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_u8,pcm_s8,pcm_f32le,pcm_f32be,pcm_f64le,"
    "pcm_alaw,pcm_mulaw,adpcm_ima_wav,adpcm_ms";

int RefuseOpen(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) { return AVERROR(EACCES); }

void Quiet() {
  static const bool quiet = [] {
    av_log_set_level(AV_LOG_QUIET);
    return true;
  }();
  static_cast<void>(quiet);
}

}  // namespace

std::string ErrorText(int error) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(error, text, sizeof(text));
  return text;
}

Status LibavError(std::string_view what, int error) {
  if (error == AVERROR(ENOMEM)) return ResourceExhausted(what, ": memory is short");
  return InvalidArgument(what, ": ", ErrorText(error));
}

std::string Options::Unused() const {
  const AVDictionaryEntry* entry = av_dict_get(options_, "", nullptr, AV_DICT_IGNORE_SUFFIX);
  return entry == nullptr ? std::string() : entry->key;
}

int MemoryInput::Read(void* self, uint8_t* to, int count) {
  auto& input = *static_cast<MemoryInput*>(self);
  const int64_t left = input.source_->size() - input.at_;
  if (left <= 0 || count <= 0) return AVERROR_EOF;
  const int n = input.source_->Read(input.at_, to, static_cast<int>(std::min<int64_t>(left, count)));
  if (n <= 0) return AVERROR(EIO);
  input.at_ += n;
  return n;
}

int64_t MemoryInput::Seek(void* self, int64_t offset, int whence) {
  auto& input = *static_cast<MemoryInput*>(self);
  const int64_t size = input.source_->size();
  whence &= ~AVSEEK_FORCE;
  if (whence == AVSEEK_SIZE) return size;
  if (whence == SEEK_CUR) offset += input.at_;
  if (whence == SEEK_END) offset += size;
  if (offset < 0 || offset > size) return AVERROR(EINVAL);
  return input.at_ = offset;
}

Status MemoryInput::Open(std::string_view bytes) {
  bytes_ = std::make_unique<BytesInMemory>(bytes);
  return Open(bytes_.get());
}

Status MemoryInput::Open(ByteSource* source) {
  Quiet();
  source_ = source;
  auto* buffer = static_cast<unsigned char*>(av_malloc(kIoBytes));
  if (buffer == nullptr) return ResourceExhausted("memory is short");
  io_ = avio_alloc_context(buffer, kIoBytes, 0, this, &Read, nullptr, &Seek);
  if (io_ == nullptr) {
    av_free(buffer);
    return ResourceExhausted("memory is short");
  }
  format_ = avformat_alloc_context();
  if (format_ == nullptr) return ResourceExhausted("memory is short");
  format_->pb = io_;
  format_->io_open = &RefuseOpen;
  format_->flags |= AVFMT_FLAG_CUSTOM_IO;
  format_->max_streams = 64;
  format_->protocol_whitelist = av_strdup("");
  format_->format_whitelist = av_strdup(kDemuxers);
  format_->codec_whitelist = av_strdup(kDecoders);
  if (const int error = avformat_open_input(&format_, nullptr, nullptr, nullptr); error < 0) {
    format_ = nullptr;  // freed by the call
    return LibavError(
        "the file is no video or sound that can be read (mp4, mov, mkv, webm, avi, gif, wav, mp3, flac, "
        "ogg)",
        error);
  }
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    const AVCodecParameters& parameters = *format_->streams[i]->codecpar;
    if (int64_t{parameters.width} * parameters.height > limits::kImagePixelsMax)
      return ResourceExhausted("the file declares pictures of ", parameters.width, "x", parameters.height,
                               ", more than ", limits::kImagePixelsMax, " pixels");
  }
  Options pixels;
  pixels.Set("max_pixels", std::to_string(limits::kImagePixelsMax));
  std::unique_ptr<AVDictionary*[]> each(new AVDictionary*[std::max(1U, format_->nb_streams)]);
  const unsigned streams = format_->nb_streams;
  for (unsigned i = 0; i < streams; ++i) {
    each[i] = nullptr;
    av_dict_copy(&each[i], *pixels.get(), 0);
    av_dict_set(&each[i], "threads", "1", 0);
  }
  const int error = avformat_find_stream_info(format_, streams == 0 ? nullptr : each.get());
  for (unsigned i = 0; i < streams; ++i) av_dict_free(&each[i]);
  if (error < 0) return LibavError("the streams of the file cannot be read", error);
  return OkStatus();
}

MemoryInput::~MemoryInput() {
  avformat_close_input(&format_);
  if (io_ != nullptr) av_freep(static_cast<void*>(&io_->buffer));
  avio_context_free(&io_);
}

int MemoryInput::BestStream(AVMediaType type) const {
  const int index = av_find_best_stream(format_, type, -1, -1, nullptr, 0);
  if (index < 0) return -1;
  return (format_->streams[index]->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0 ? -1 : index;
}

int MemoryOutput::WriteBytes(void* self, uint8_t* from, int count) {
  auto& output = *static_cast<MemoryOutput*>(self);
  const int64_t end = output.at_ + std::max(count, 0);
  if (end > limits::kBlobBytesMax || (count > 0 && !output.sink_->Write(output.at_, from, count))) {
    output.full_ = true;
    return AVERROR(ENOSPC);
  }
  output.at_ = end;
  output.size_ = std::max(output.size_, end);
  return count;
}

int64_t MemoryOutput::Seek(void* self, int64_t offset, int whence) {
  auto& output = *static_cast<MemoryOutput*>(self);
  whence &= ~AVSEEK_FORCE;
  if (whence == AVSEEK_SIZE) return output.size_;
  if (whence == SEEK_CUR) offset += output.at_;
  if (whence == SEEK_END) offset += output.size_;
  if (offset < 0 || offset > limits::kBlobBytesMax) return AVERROR(EINVAL);
  return output.at_ = offset;
}

Status MemoryOutput::Full() const {
  return ResourceExhausted("the file is larger than ", limits::kBlobBytesMax >> 30, " GiB, or memory is short");
}

Status MemoryOutput::Open(const std::string& muxer) { return Open(muxer, &bytes_); }

Status MemoryOutput::Open(const std::string& muxer, ByteSink* sink) {
  Quiet();
  sink_ = sink;
  const AVOutputFormat* format = av_guess_format(muxer.c_str(), nullptr, nullptr);
  if (format == nullptr) return FailedPrecondition("this FFmpeg cannot write \"", muxer, "\" files");
  if (const int error = avformat_alloc_output_context2(&format_, format, nullptr, nullptr); error < 0)
    return LibavError("the file cannot be begun", error);
  auto* buffer = static_cast<unsigned char*>(av_malloc(kIoBytes));
  if (buffer == nullptr) return ResourceExhausted("memory is short");
  io_ = avio_alloc_context(buffer, kIoBytes, 1, this, nullptr, &WriteBytes, &Seek);
  if (io_ == nullptr) {
    av_free(buffer);
    return ResourceExhausted("memory is short");
  }
  format_->pb = io_;
  // The same input gives the same bytes: no random ids, no times, no version of the library. Packets are put in order
  // however far one stream runs ahead.
  format_->flags |= AVFMT_FLAG_CUSTOM_IO | AVFMT_FLAG_BITEXACT;
  format_->max_interleave_delta = 0;
  return OkStatus();
}

MemoryOutput::~MemoryOutput() {
  avformat_free_context(format_);
  if (io_ != nullptr) av_freep(static_cast<void*>(&io_->buffer));
  avio_context_free(&io_);
}

Status MemoryOutput::WriteHeader(Options& options) {
  if (const int error = avformat_write_header(format_, options.get()); error < 0)
    return LibavError("the file cannot be begun", error);
  return OkStatus();
}

Status MemoryOutput::Write(AVPacket* packet, AVRational from) {
  av_packet_rescale_ts(packet, from, format_->streams[packet->stream_index]->time_base);
  packet->pos = -1;
  const int error = av_interleaved_write_frame(format_, packet);
  if (full_) return Full();
  if (error < 0) return LibavError("the video cannot be written", error);
  return OkStatus();
}

Status MemoryOutput::End() {
  const int error = av_write_trailer(format_);
  avio_flush(io_);
  if (full_) return Full();
  if (error < 0) return LibavError("the video cannot be ended", error);
  return OkStatus();
}

StatusOr<std::string> MemoryOutput::Finish() {
  RETURN_IF_ERROR(End());
  return std::move(bytes_.bytes());
}

}  // namespace atelier::media
