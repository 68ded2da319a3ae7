#include "common/media/tags.h"

#include <algorithm>
#include <array>
#include <new>

#include "common/base/limits.h"
#include "common/media/process.h"

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

constexpr int kReadSecondsMax = 120;
constexpr uint64_t kBytesPerSecondMin = 4 << 20;        // of a copy with tags
constexpr uint64_t kReadMemoryMax = uint64_t{2} << 30;  // some 16 frames of 8K
constexpr uint64_t kTagCopies = 6;  // in memory: of a message, a list, what FFmpeg holds, and its growing buffers
// A copy differs from the file by the tags, and by what its container spends on each packet.
constexpr uint64_t kGrowthMax = 4;
constexpr uint64_t kGrowthBytesMax = 64 << 20;

// An index of many small packets takes as much as they do.
MediaLimits LimitsFor(uint64_t bytes, uint64_t tags) {
  return {kReadSecondsMax + static_cast<int>((bytes + tags) / kBytesPerSecondMin),
          kReadMemoryMax + bytes + kTagCopies * tags};
}

}  // namespace

const char* MuxerOf(std::string_view extension) {
  const auto it = std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return k.extension == extension; });
  return it == kKinds.end() ? nullptr : it->muxer;
}

StatusOr<Tags> ReadTags(std::string_view bytes) {
  ASSIGN_OR_RETURN(const auto process,
                   MediaProcess::Start(bytes, LimitsFor(bytes.size(), std::min(bytes.size(), kTagsBytesMax))));
  MediaMessage answer;
  RETURN_IF_ERROR(process->Ask(process->Request("tags"), kTagsBytesMax, answer));
  return UnpackTags(answer.text());
}

StatusOr<std::string> AddTags(std::string_view bytes, std::string_view extension, const Tags& tags) {
  if (!CarriesTags(extension)) return InvalidArgument("files of type \"", extension, "\" carry no tags");
  ASSIGN_OR_RETURN(const std::string packed, PackTags(tags));
  const uint64_t size = bytes.size() + packed.size();
  ASSIGN_OR_RETURN(const auto process, MediaProcess::Start(bytes, LimitsFor(bytes.size(), packed.size())));
  std::string file;
  try {
    file.reserve(static_cast<size_t>(size + kPartBytesMax));
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("memory is short");
  }
  process->TakeFile(&file, std::min(static_cast<uint64_t>(limits::kBlobBytesMax), kGrowthMax * size + kGrowthBytesMax));
  Json request = process->Request("add_tags");
  request["extension"] = extension;
  MediaMessage answer;
  RETURN_IF_ERROR(process->Ask(request, 0, answer, packed));
  return file;
}

}  // namespace atelier::media
