// Sound cut, split and made louder. Source: spec engine.md 12 (nodes_audio) and the inputs' descriptions in the
// reference's /object_info. Seconds become samples by rounding, half to even.
#include <algorithm>
#include <cmath>

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

Status CheckSound(const Audio& audio) {
  if (!audio.waveform.defined() || audio.waveform.dim() != 3 || audio.waveform.numel() == 0)
    return InvalidArgument("audio holds no [batch, channels, samples] tensor");
  if (audio.sample_rate < 1) return InvalidArgument("audio has ", audio.sample_rate, " samples a second");
  return OkStatus();
}

int64_t SamplesOf(double seconds, int64_t rate) {
  return RoundHalfEven(std::clamp(seconds * static_cast<double>(rate), -9e15, 9e15));
}

struct EmptyAudio {
  double duration = 60.0;
  int64_t sample_rate = 44100, channels = 2;

  static void Describe(NodeSchema<EmptyAudio>& s) {
    s.Name("Empty Audio").Category("audio").Cheap().Description("Silence.");
    s.Input<&EmptyAudio::duration>("duration").Default(60.0).Range(0.0, UINT64_MAX).Step(0.01).Tooltip("Seconds.");
    s.Input<&EmptyAudio::sample_rate>("sample_rate").Default(44100).Tooltip("Samples a second.");
    s.Input<&EmptyAudio::channels>("channels").Default(2).Range(1, 2).Tooltip("1: mono, 2: stereo.");
    s.Output<Audio>("AUDIO");
  }
  StatusOr<Audio> Run(NodeContext&) const {
    if (sample_rate < 1) return InvalidArgument("sample_rate is ", sample_rate, ", expected at least 1");
    const int64_t samples = SamplesOf(duration, sample_rate);
    RETURN_IF_ERROR(CheckTensorSize("sound", {1, channels, samples}));
    return Guard([&]() -> StatusOr<Audio> {
      return Audio{at::zeros({1, channels, samples}, at::kFloat), sample_rate};
    });
  }
};
ATELIER_REGISTER_NODE(EmptyAudio);

struct TrimAudioDuration {
  using T = TrimAudioDuration;
  Audio audio;
  double start_index = 0.0, duration = 60.0;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Trim Audio Duration").Category("audio").Description("A part of a sound.");
    s.Input<&T::audio>("audio").Tooltip("The sound.");
    s.Input<&T::start_index>("start_index")
        .Default(0.0)
        .Range(-18446744073709551615.0, 18446744073709551615.0)
        .Step(0.01)
        .Tooltip("Where it begins in seconds; below 0 counts from the end.");
    s.Input<&T::duration>("duration").Default(60.0).Range(0.0, Json()).Step(0.01).Tooltip("Seconds.");
    s.Output<Audio>("AUDIO");
  }
  StatusOr<Audio> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSound(audio));
    const int64_t all = audio.waveform.size(2), from = SamplesOf(start_index, audio.sample_rate);
    const int64_t first = std::clamp<int64_t>(from < 0 ? all + from : from, 0, all);
    const int64_t count = std::min(all - first, SamplesOf(duration, audio.sample_rate));
    if (count < 1)
      return InvalidArgument("start_index ", start_index, " and duration ", duration, " leave nothing of a sound of ",
                             static_cast<double>(all) / static_cast<double>(audio.sample_rate), " seconds");
    return Guard([&]() -> StatusOr<Audio> {
      return Audio{audio.waveform.narrow(2, first, count).clone(), audio.sample_rate};
    });
  }
};
ATELIER_REGISTER_NODE(TrimAudioDuration);

struct SplitAudioChannels {
  Audio audio;

  static void Describe(NodeSchema<SplitAudioChannels>& s) {
    s.Name("Split Audio Channels").Category("audio").Description("The two channels of a sound, each by itself.");
    s.Input<&SplitAudioChannels::audio>("audio").Tooltip("A sound of two channels.");
    s.Output<Audio>("left").Output<Audio>("right");
  }
  StatusOr<std::tuple<Audio, Audio>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSound(audio));
    if (audio.waveform.size(1) != 2)
      return InvalidArgument("audio has ", audio.waveform.size(1), " channels, expected 2");
    const auto channel = [this](int64_t c) { return Audio{audio.waveform.narrow(1, c, 1).clone(), audio.sample_rate}; };
    return Guard([&]() -> StatusOr<std::tuple<Audio, Audio>> { return std::tuple(channel(0), channel(1)); });
  }
};
ATELIER_REGISTER_NODE(SplitAudioChannels);

struct AudioAdjustVolume {
  Audio audio;
  int64_t volume = 1;

  static void Describe(NodeSchema<AudioAdjustVolume>& s) {
    s.Name("Audio Adjust Volume").Category("audio").Description("Makes a sound louder or quieter.");
    s.Input<&AudioAdjustVolume::audio>("audio").Tooltip("The sound.");
    s.Input<&AudioAdjustVolume::volume>("volume").Default(1).Range(-100, 100).Tooltip("Decibels; 6 about doubles it.");
    s.Output<Audio>("AUDIO");
  }
  StatusOr<Audio> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSound(audio));
    if (volume == 0) return audio;
    return Guard([&]() -> StatusOr<Audio> {
      return Audio{audio.waveform * std::pow(10.0, static_cast<double>(volume) / 20.0), audio.sample_rate};
    });
  }
};
ATELIER_REGISTER_NODE(AudioAdjustVolume);

}  // namespace
}  // namespace atelier::nodes
