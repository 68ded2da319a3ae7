#include "common/media/summary.h"

#include "common/media/libav.h"

namespace atelier::media {

StatusOr<Summary> ReadSummary(std::string_view bytes) {
  MemoryInput input;
  RETURN_IF_ERROR(input.Open(bytes));
  const int index = input.BestStream(AVMEDIA_TYPE_VIDEO);
  if (index < 0) return InvalidArgument("the file has no video");
  AVStream* stream = input.get()->streams[index];
  Summary summary{stream->codecpar->width, stream->codecpar->height, stream->nb_frames};
  const AVRational rate = av_guess_frame_rate(input.get(), stream, nullptr);
  if (summary.frames > 0 || rate.num <= 0 || rate.den <= 0 || input.get()->duration <= 0) return summary;
  const double frames = static_cast<double>(input.get()->duration) / AV_TIME_BASE * av_q2d(rate) + 0.5;
  if (frames < 9e15) summary.frames = static_cast<int64_t>(frames);
  return summary;
}

}  // namespace atelier::media
