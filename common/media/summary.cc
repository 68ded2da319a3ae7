#include "common/media/summary.h"

#include "common/base/limits.h"
#include "common/media/process.h"

namespace atelier::media {
namespace {

constexpr int kSummarySecondsMax = 10;  // somebody waits for it
constexpr uint64_t kSummaryMemoryMax = uint64_t{2} << 30;
constexpr int64_t kFramesMax = int64_t{1} << 52;

}  // namespace

StatusOr<Summary> ReadSummary(std::string_view bytes) {
  ASSIGN_OR_RETURN(const auto process,
                   MediaProcess::Start(bytes, {kSummarySecondsMax, kSummaryMemoryMax + bytes.size()}));
  MediaMessage answer;
  RETURN_IF_ERROR(process->Ask(process->Request("summary"), 0, answer));
  Summary summary;
  RETURN_IF_ERROR(MediaProcess::Understand([&]() -> Status {
    summary.width = answer.head.at("width").get<int>();
    summary.height = answer.head.at("height").get<int>();
    summary.frames = answer.head.at("frames").get<int64_t>();
    if (summary.width < 0 || summary.height < 0 || summary.frames < 0 || summary.frames > kFramesMax ||
        int64_t{summary.width} * summary.height > limits::kImagePixelsMax)
      return InvalidArgument("the process that reads the file tells of ", summary.frames, " pictures of ",
                             summary.width, "x", summary.height);
    return OkStatus();
  }));
  return summary;
}

}  // namespace atelier::media
