// What the core does for streams of frames: finds their windows. docs/frames.md.
#include <charconv>

#include "common/tensorio/safetensors.h"
#include "master/collect/picture_batch.h"
#include "master/gateway/core.h"

namespace atelier {
namespace {

constexpr int64_t kWindowsMax = 16'384;  // of one stream: all their hashes stand in one lease

struct Windows {
  int64_t frames = 0, size = 1;
  std::vector<Blob> crops;
};

// "FRAMES WINDOW" out of the blob of a text.
StatusOr<Windows> ReadExtent(std::string_view blob, int64_t window_frames) {
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(blob, "a value"));
  const auto found = view.metadata().find("json");
  ASSIGN_OR_RETURN(const Json json, found == view.metadata().end() ? StatusOr<Json>(Json()) : ParseJson(found->second));
  const std::string text = json.is_string() ? json.get<std::string>() : "";
  Windows windows;
  const char* const end = text.data() + text.size();
  const auto frames = std::from_chars(text.data(), end, windows.frames);
  const auto size = frames.ptr == end ? frames : std::from_chars(frames.ptr + 1, end, windows.size);
  if (size.ec != std::errc() || size.ptr != end || windows.frames < 1 || windows.size < 1)
    return InvalidArgument("\"", text, "\" does not tell how many frames there are");
  if (window_frames > 0) windows.size = window_frames;
  windows.size = std::max(windows.size, (windows.frames + kWindowsMax - 1) / kWindowsMax);
  return windows;
}

}  // namespace

void Core::Carry(const effect::OpenStream& open) {
  pixels_.Post([this, open] {
    auto work = [&]() -> StatusOr<Windows> {
      ASSIGN_OR_RETURN(std::string bytes, blobs_->ReadAll(open.from.hash));
      if (!open.cut) return ReadExtent(bytes, open.window_frames);
      Windows windows;
      RETURN_IF_ERROR(SplitBatch(std::move(bytes), [&](const std::string& picture) -> Status {
        ASSIGN_OR_RETURN(windows.crops.emplace_back(), blobs_->Put(picture));
        if (static_cast<int64_t>(windows.crops.size()) > kWindowsMax)
          return ResourceExhausted("a batch of more than ", kWindowsMax, " pictures; divide it");
        return OkStatus();
      }));
      windows.frames = static_cast<int64_t>(windows.crops.size());
      return windows;
    };
    StatusOr<Windows> windows = work();
    queue_.Post([this, open, windows = std::move(windows)]() mutable {
      if (windows.ok())
        Apply(control_->StreamOpened(open.job, open.stream, windows->frames, windows->size, std::move(windows->crops),
                                     NowMs()));
      else
        Apply(control_->JobBroke(open.job, Cat("stream ", open.stream, ": ", Message(windows.status())), NowMs()));
    });
  });
}

}  // namespace atelier
