// Sound from and to files. Source: spec engine.md 11.3, extras.md 4.4.
#include <algorithm>

#include "worker/nodes/media_support.h"

namespace atelier::nodes {
namespace {

StatusOr<Audio> ReadSound(NodeContext& ctx, const std::string& name, double start, double seconds) {
  ASSIGN_OR_RETURN(const std::string bytes, ctx.InputFile(name));
  return Guard([&]() -> StatusOr<Audio> {
    StatusOr<std::optional<media::AudioSamples>> sound = media::DecodeAudio(bytes, start, seconds);
    if (sound.ok() && !sound->has_value()) sound = InvalidArgument("the file has no sound");
    if (sound.ok() && (*sound)->count() == 0)
      sound = InvalidArgument("the file has no sound from ", start, " seconds on");
    if (!sound.ok()) return Annotate(sound.status(), Cat("input file \"", name, "\""));
    return ToAudio(**sound);
  });
}

double Seconds(const Audio& audio) {
  return static_cast<double>(audio.waveform.size(2)) / static_cast<double>(audio.sample_rate);
}

struct LoadAudio {
  std::string audio;

  static void Describe(NodeSchema<LoadAudio>& s) {
    s.Name("Load Audio").Category("audio").Description("Reads the sound of a file of the input folder.");
    s.Input<&LoadAudio::audio>("audio").FromFolder("input").Tooltip("A file of the input folder.");
    s.Output<Audio>("AUDIO");
  }
  StatusOr<Audio> Run(NodeContext& ctx) const { return ReadSound(ctx, audio, 0, 0); }
};
ATELIER_REGISTER_NODE(LoadAudio);

struct VhsLoadAudio {
  std::string audio_file;
  double seek_seconds = 0, duration = 0;

  static void Describe(NodeSchema<VhsLoadAudio>& s) {
    s.Name("Load Audio (Path)🎥🅥🅗🅢").Category("Video Helper Suite 🎥🅥🅗🅢/audio");
    s.Description("Reads the sound of a file that is named by its path below the input folder.");
    s.Input<&VhsLoadAudio::audio_file>("audio_file")
        .FromFolder("input")
        .Type("STRING")
        .Default("input/")
        .Tooltip("A path below the input folder.");
    s.Input<&VhsLoadAudio::seek_seconds>("seek_seconds").Default(0).Optional().Tooltip("Where to begin.");
    s.Input<&VhsLoadAudio::duration>("duration")
        .Default(0)
        .Range(0, 10000000)
        .Step(0.01)
        .Optional()
        .Tooltip("Seconds; 0: to the end.");
    s.Output<Audio>("audio").Output<double>("duration");
  }
  StatusOr<std::tuple<Audio, double>> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(Audio sound, ReadSound(ctx, audio_file, std::max(0.0, seek_seconds), duration));
    const double seconds = Seconds(sound);
    return std::tuple(std::move(sound), seconds);
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadAudio, "VHS_LoadAudio");

struct VhsLoadAudioUpload {
  std::string audio;
  double start_time = 0, duration = 0;

  static void Describe(NodeSchema<VhsLoadAudioUpload>& s) {
    s.Name("Load Audio (Upload)🎥🅥🅗🅢").Category("Video Helper Suite 🎥🅥🅗🅢/audio");
    s.Description("Reads the sound of a file of the input folder, or a part of it.");
    s.Input<&VhsLoadAudioUpload::audio>("audio").FromFolder("input").Tooltip("A file of the input folder.");
    s.Input<&VhsLoadAudioUpload::start_time>("start_time")
        .Default(0)
        .Range(0, 10000000)
        .Step(0.01)
        .Optional()
        .Tooltip("Where to begin, in seconds.");
    s.Input<&VhsLoadAudioUpload::duration>("duration")
        .Default(0)
        .Range(0, 10000000)
        .Step(0.01)
        .Optional()
        .Tooltip("Seconds; 0: to the end.");
    s.Output<Audio>("audio").Output<double>("duration");
  }
  StatusOr<std::tuple<Audio, double>> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(Audio sound, ReadSound(ctx, audio, start_time, duration));
    const double seconds = Seconds(sound);
    return std::tuple(std::move(sound), seconds);
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadAudioUpload, "VHS_LoadAudioUpload");

// A file for each item of the batch.
Status EmitSound(NodeContext& ctx, const Audio& audio, const std::string& type, const std::string& prefix,
                 const std::string& extension, const media::AudioSettings& settings) {
  return Guard([&]() -> Status {
    if (!HasSound(audio) || audio.waveform.dim() != 3) return ToSamples(audio).status();
    for (int64_t i = 0; i < audio.waveform.size(0); ++i) {
      if (ctx.cancelled()) return Cancelled("cancelled");
      ASSIGN_OR_RETURN(const media::AudioSamples samples,
                       ToSamples({audio.waveform.narrow(0, i, 1), audio.sample_rate}));
      ASSIGN_OR_RETURN(std::string bytes, media::EncodeAudio(samples, settings));
      OutputFile file = MediaFile(prefix, extension, std::move(bytes));
      file.type = type;
      file.batch_index = i;
      ctx.Emit(std::move(file));
    }
    return OkStatus();
  });
}

struct SaveAudio {
  Audio audio;
  std::string filename_prefix = "audio/ComfyUI";

  static void Describe(NodeSchema<SaveAudio>& s) {
    s.Name("Save Audio (FLAC)").Category("audio").OutputNode().Description("Saves sound without loss.");
    s.Input<&SaveAudio::audio>("audio").Tooltip("The sound.");
    s.Input<&SaveAudio::filename_prefix>("filename_prefix").Default("audio/ComfyUI").Tooltip("Folder and name.");
  }
  Status Run(NodeContext& ctx) const {
    return EmitSound(ctx, audio, "output", filename_prefix, ".flac", {"flac", "flac", 0, 0, {}});
  }
};
ATELIER_REGISTER_NODE(SaveAudio);

struct PreviewAudio {
  Audio audio;

  static void Describe(NodeSchema<PreviewAudio>& s) {
    s.Name("Preview Audio").Category("audio").OutputNode().Description("Plays sound without keeping it.");
    s.Input<&PreviewAudio::audio>("audio").Tooltip("The sound.");
  }
  Status Run(NodeContext& ctx) const {
    return EmitSound(ctx, audio, "temp", "ComfyUI_temp", ".flac", {"flac", "flac", 0, 0, {}});
  }
};
ATELIER_REGISTER_NODE(PreviewAudio);

struct SaveAudioMp3 {
  Audio audio;
  std::string filename_prefix = "audio/ComfyUI", quality = "V0";

  static void Describe(NodeSchema<SaveAudioMp3>& s) {
    s.Name("Save Audio (MP3)").Category("audio").OutputNode().Description("Saves sound as MP3.");
    s.Input<&SaveAudioMp3::audio>("audio").Tooltip("The sound.");
    s.Input<&SaveAudioMp3::filename_prefix>("filename_prefix").Default("audio/ComfyUI").Tooltip("Folder and name.");
    s.Input<&SaveAudioMp3::quality>("quality")
        .OneOf({"V0", "128k", "320k"})
        .Default("V0")
        .Tooltip("V0: as many bits as it needs.");
  }
  Status Run(NodeContext& ctx) const {
    media::AudioSettings settings{"mp3", "libmp3lame", 0, 0, {}};
    if (quality == "V0") settings.options["q"] = "0";
    if (quality == "128k") settings.bit_rate = 128'000;
    if (quality == "320k") settings.bit_rate = 320'000;
    return EmitSound(ctx, audio, "output", filename_prefix, ".mp3", settings);
  }
};
ATELIER_REGISTER_NODE_AS(SaveAudioMp3, "SaveAudioMP3");

struct SaveAudioOpus {
  Audio audio;
  std::string filename_prefix = "audio/ComfyUI", quality = "128k";

  static void Describe(NodeSchema<SaveAudioOpus>& s) {
    s.Name("Save Audio (Opus)").Category("audio").OutputNode().Description("Saves sound as Opus.");
    s.Input<&SaveAudioOpus::audio>("audio").Tooltip("The sound.");
    s.Input<&SaveAudioOpus::filename_prefix>("filename_prefix").Default("audio/ComfyUI").Tooltip("Folder and name.");
    s.Input<&SaveAudioOpus::quality>("quality")
        .OneOf({"64k", "96k", "128k", "192k", "320k"})
        .Default("128k")
        .Tooltip("Bits a second.");
  }
  Status Run(NodeContext& ctx) const {
    media::AudioSettings settings{"opus", "libopus", 0, 0, {}};
    for (const auto& [name, rate] : {std::pair("64k", 64'000), std::pair("96k", 96'000), std::pair("128k", 128'000),
                                     std::pair("192k", 192'000), std::pair("320k", 320'000)})
      if (quality == name) settings.bit_rate = rate;
    return EmitSound(ctx, audio, "output", filename_prefix, ".opus", settings);
  }
};
ATELIER_REGISTER_NODE(SaveAudioOpus);

}  // namespace
}  // namespace atelier::nodes
