#include "worker/nodes/media_support.h"

#include <cstring>

#include "common/image/samples.h"

namespace atelier::nodes {

std::vector<uint8_t> FrameBytes(const at::Tensor& pixels, int64_t index, bool deep, bool rounded) {
  const at::Tensor frame = pixels[index].to(at::kCPU, at::kFloat).contiguous();
  const auto count = static_cast<size_t>(frame.numel());
  const float* from = frame.const_data_ptr<float>();
  const float more = rounded ? 0.5F : 0.0F;
  std::vector<uint8_t> bytes(count * (deep ? 2 : 1));
  if (!deep) {
    Quantize(from, count, more, bytes.data());
    return bytes;
  }
  std::vector<uint16_t> samples(count);
  Quantize(from, count, more, samples.data());
  for (size_t i = 0; i < count; ++i) {
    bytes[2 * i] = static_cast<uint8_t>(samples[i] & 255);
    bytes[2 * i + 1] = static_cast<uint8_t>(samples[i] >> 8);
  }
  return bytes;
}

at::Tensor FrameTensor(const media::VideoFrame& frame) {
  at::Tensor tensor = at::empty({1, frame.height, frame.width, 3}, at::kByte);
  std::memcpy(tensor.mutable_data_ptr<uint8_t>(), frame.data.data(), frame.data.size());
  return tensor;
}

StatusOr<at::Tensor> DecodeAllFrames(NodeContext& ctx, std::string_view bytes) {
  ASSIGN_OR_RETURN(const auto decoder, media::VideoDecoder::Open(bytes));
  std::vector<at::Tensor> frames;
  media::VideoFrame frame;
  while (true) {
    if (ctx.cancelled()) return Cancelled("cancelled");
    ASSIGN_OR_RETURN(const bool got, decoder->Next(frame));
    if (!got) break;
    RETURN_IF_ERROR(CheckTensorSize("video", {static_cast<int64_t>(frames.size()) + 1, frame.height, frame.width, 3}));
    frames.push_back(FrameTensor(frame));
  }
  if (frames.empty()) return InvalidArgument("the video has no frames");
  return at::cat(frames, 0);
}

bool HasSound(const Audio& audio) { return audio.waveform.defined() && audio.waveform.numel() > 0; }

StatusOr<media::AudioSamples> ToSamples(const Audio& audio) {
  if (!HasSound(audio)) return InvalidArgument("audio holds no samples: the file that it comes from has no sound");
  if (audio.waveform.dim() != 3)
    return InvalidArgument("audio is ", ShapeText(audio.waveform.sizes()), ", expected [batch, channels, samples]");
  if (audio.waveform.size(1) > 8 || audio.sample_rate < 1 || audio.sample_rate > 768'000)
    return InvalidArgument("audio has ", audio.waveform.size(1), " channels at ", audio.sample_rate, " Hz");
  const at::Tensor first = audio.waveform[0].to(at::kCPU, at::kFloat).contiguous();
  media::AudioSamples samples;
  samples.channels = static_cast<int>(first.size(0));
  samples.sample_rate = static_cast<int>(audio.sample_rate);
  samples.samples.assign(first.const_data_ptr<float>(), first.const_data_ptr<float>() + first.numel());
  return samples;
}

Audio ToAudio(const media::AudioSamples& samples) {
  at::Tensor waveform = at::empty({1, samples.channels, samples.count()}, at::kFloat);
  std::memcpy(waveform.mutable_data_ptr<float>(), samples.samples.data(), samples.samples.size() * sizeof(float));
  return Audio{waveform, samples.sample_rate};
}

OutputFile MediaFile(std::string prefix, std::string extension, std::string bytes) {
  OutputFile file;
  file.prefix = std::move(prefix);
  file.extension = std::move(extension);
  file.bytes = std::move(bytes);
  return file;
}

}  // namespace atelier::nodes
