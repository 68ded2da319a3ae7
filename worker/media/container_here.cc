#include "worker/media/container_here.h"

#include <algorithm>

#include "worker/media/libav.h"

namespace atelier::media {

StatusOr<Tags> ReadTagsHere(ByteSource* source) {
  MemoryInput input;
  RETURN_IF_ERROR(input.Open(source));
  Tags tags;
  const auto take = [&](const AVDictionary* from) {
    for (const AVDictionaryEntry* e = nullptr; (e = av_dict_get(from, "", e, AV_DICT_IGNORE_SUFFIX)) != nullptr;) {
      std::string key = e->key;
      std::transform(key.begin(), key.end(), key.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
      tags.emplace_back(std::move(key), e->value);
    }
  };
  take(input.get()->metadata);
  if (tags.empty() && input.get()->nb_streams > 0) take(input.get()->streams[0]->metadata);  // ogg, opus
  return tags;
}

Status AddTagsHere(ByteSource* source, std::string_view extension, const Tags& tags, ByteSink* sink) {
  const char* muxer = MuxerOf(extension);
  if (muxer == nullptr) return InvalidArgument("files of type \"", extension, "\" carry no tags");
  MemoryInput input;
  RETURN_IF_ERROR(input.Open(source));
  MemoryOutput output;
  RETURN_IF_ERROR(output.Open(muxer, sink));
  const std::string_view name = muxer;
  const bool is_mov = name == "mp4" || name == "mov";
  for (unsigned i = 0; i < input.get()->nb_streams; ++i) {
    const AVStream* from = input.get()->streams[i];
    AVStream* to = avformat_new_stream(output.get(), nullptr);
    if (to == nullptr) return ResourceExhausted("memory is short");
    if (const int error = avcodec_parameters_copy(to->codecpar, from->codecpar); error < 0)
      return LibavError("a stream cannot be copied", error);
    if (!is_mov) to->codecpar->codec_tag = 0;
    to->time_base = from->time_base;
    to->avg_frame_rate = from->avg_frame_rate;
    to->r_frame_rate = from->r_frame_rate;
    to->sample_aspect_ratio = from->sample_aspect_ratio;
    to->disposition = from->disposition;
    av_dict_copy(&to->metadata, from->metadata, 0);
  }
  av_dict_copy(&output.get()->metadata, input.get()->metadata, 0);
  for (const auto& [key, text] : tags) av_dict_set(&output.get()->metadata, key.c_str(), text.c_str(), 0);
  Options options;
  if (is_mov) options.Set("movflags", "use_metadata_tags");
  if (name == "mp3") options.Set("write_xing", "1");
  RETURN_IF_ERROR(output.WriteHeader(options));
  const Libav<AVPacket> packet(av_packet_alloc());
  if (packet == nullptr) return ResourceExhausted("memory is short");
  while (true) {
    const int error = av_read_frame(input.get(), packet.get());
    if (error == AVERROR_EOF) break;
    if (error < 0) return LibavError("the file cannot be copied", error);
    const AVRational base = input.get()->streams[packet->stream_index]->time_base;
    const Status written = output.Write(packet.get(), base);
    av_packet_unref(packet.get());
    RETURN_IF_ERROR(written);
  }
  return output.End();
}

StatusOr<Summary> ReadSummaryHere(ByteSource* source) {
  MemoryInput input;
  RETURN_IF_ERROR(input.Open(source));
  const int index = input.BestStream(AVMEDIA_TYPE_VIDEO);
  if (index < 0) return InvalidArgument("the file has no video");
  AVStream* stream = input.get()->streams[index];
  Summary summary{stream->codecpar->width, stream->codecpar->height, std::max<int64_t>(stream->nb_frames, 0)};
  const AVRational rate = av_guess_frame_rate(input.get(), stream, nullptr);
  if (summary.frames > 0 || rate.num <= 0 || rate.den <= 0 || input.get()->duration <= 0) return summary;
  const double frames = static_cast<double>(input.get()->duration) / AV_TIME_BASE * av_q2d(rate) + 0.5;
  if (frames < 9e15) summary.frames = static_cast<int64_t>(frames);
  return summary;
}

}  // namespace atelier::media
