#include "common/media/tags.h"

#include <algorithm>
#include <array>

#include "common/media/libav.h"

namespace atelier::media {
namespace {

struct Kind {
  std::string_view extension;
  const char* muxer;
};
constexpr std::array<Kind, 10> kKinds = {{{"mp4", "mp4"},
                                          {"m4a", "mp4"},
                                          {"mov", "mov"},
                                          {"mkv", "matroska"},
                                          {"webm", "webm"},
                                          {"flac", "flac"},
                                          {"mp3", "mp3"},
                                          {"opus", "opus"},
                                          {"ogg", "ogg"},
                                          {"avi", "avi"}}};

const Kind* Find(std::string_view extension) {
  const auto it = std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.extension == extension; });
  return it == kKinds.end() ? nullptr : &*it;
}

}  // namespace

bool CarriesTags(std::string_view extension) { return Find(extension) != nullptr; }

StatusOr<Tags> ReadTags(std::string_view bytes) {
  MemoryInput input;
  RETURN_IF_ERROR(input.Open(bytes));
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

StatusOr<std::string> AddTags(std::string_view bytes, std::string_view extension, const Tags& tags) {
  const Kind* kind = Find(extension);
  if (kind == nullptr) return InvalidArgument("files of type \"", extension, "\" carry no tags");
  MemoryInput input;
  RETURN_IF_ERROR(input.Open(bytes));
  MemoryOutput output;
  RETURN_IF_ERROR(output.Open(kind->muxer));
  for (unsigned i = 0; i < input.get()->nb_streams; ++i) {
    const AVStream* from = input.get()->streams[i];
    AVStream* to = avformat_new_stream(output.get(), nullptr);
    if (to == nullptr) return ResourceExhausted("memory is short");
    if (const int error = avcodec_parameters_copy(to->codecpar, from->codecpar); error < 0)
      return LibavError("a stream cannot be copied", error);
    if (std::string_view(kind->muxer) != "mp4" && std::string_view(kind->muxer) != "mov") to->codecpar->codec_tag = 0;
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
  if (std::string_view(kind->muxer) == "mp4" || std::string_view(kind->muxer) == "mov")
    options.Set("movflags", "use_metadata_tags");
  if (std::string_view(kind->muxer) == "mp3") options.Set("write_xing", "1");
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
  return output.Finish();
}

}  // namespace atelier::media
