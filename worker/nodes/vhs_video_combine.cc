// VideoHelperSuite's writer of videos. Source: spec extras.md 4.3.
#include <algorithm>
#include <cmath>
#include <functional>

#include "common/graph/frames.h"
#include "common/image/codec.h"
#include "worker/nodes/frame_reader.h"
#include "worker/nodes/media_support.h"
#include "worker/nodes/vhs_formats.h"

namespace atelier::nodes {
namespace {

struct VhsVideoCombine {
  Value pictures;
  double frame_rate = 8;
  int64_t loop_count = 0;
  std::string filename_prefix = "AnimateDiff", format = "image/gif";
  bool pingpong = false, save_output = true;
  std::optional<Audio> audio;
  std::optional<Vae> vae;

  std::optional<std::string> pix_fmt, profile, level, coder, context, slices, slicecrc, dither, input_color_depth;
  std::optional<int64_t> crf, gop_size, bitrate;
  std::optional<bool> megabit, save_metadata, trim_to_audio, lossless;

  static void Describe(NodeSchema<VhsVideoCombine>& s) {
    using N = VhsVideoCombine;
    s.Name("Video Combine 🎥🅥🅗🅢").Category("Video Helper Suite 🎥🅥🅗🅢").OutputNode();
    s.Description("Saves pictures as a video, with or without sound, and the first of them beside it.");
    s.Input<&N::pictures>("images").Type("IMAGE,LATENT").Tooltip("The frames; latents need vae.");
    s.Input<&N::frame_rate>("frame_rate").Default(8).Range(1, 1000).Step(1).Tooltip("Frames a second.");
    s.Input<&N::loop_count>("loop_count")
        .Default(0)
        .Range(0, 100)
        .Step(1)
        .Tooltip("How often more it is played; of gif and webp 0: for ever.");
    s.Input<&N::filename_prefix>("filename_prefix").Default("AnimateDiff").Tooltip("Folder and name of the files.");
    s.Input<&N::format>("format").OneOf(VhsFormats()).Tooltip("Container and codec.");
    s.Input<&N::pingpong>("pingpong").Default(false).Tooltip("Forth and back again.");
    s.Input<&N::save_output>("save_output").Default(true).Tooltip("Keep the files; else they are temporary.");
    s.Input<&N::audio>("audio").Tooltip("Sound beside the pictures.");
    s.Input<&N::vae>("vae").Tooltip("Decodes latents.");
    // What only some formats have; the editor shows them where they belong (config/widgets.json).
    s.Input<&N::pix_fmt>("pix_fmt").ForceInput().Tooltip("How the file keeps colours.");
    s.Input<&N::crf>("crf").ForceInput().Tooltip("Quality: a lower number is better and larger.");
    s.Input<&N::save_metadata>("save_metadata").ForceInput().Tooltip("Keep the workflow in the file.");
    s.Input<&N::trim_to_audio>("trim_to_audio").ForceInput().Tooltip("End with the sound if that is shorter.");
    s.Input<&N::profile>("profile").ForceInput().Tooltip("Of ProRes.");
    s.Input<&N::level>("level").ForceInput().Tooltip("Of FFV1.");
    s.Input<&N::coder>("coder").ForceInput().Tooltip("Of FFV1.");
    s.Input<&N::context>("context").ForceInput().Tooltip("Of FFV1.");
    s.Input<&N::gop_size>("gop_size").ForceInput().Tooltip("Of FFV1: frames from one key frame to the next.");
    s.Input<&N::slices>("slices").ForceInput().Tooltip("Of FFV1.");
    s.Input<&N::slicecrc>("slicecrc").ForceInput().Tooltip("Of FFV1: a checksum for each slice.");
    s.Input<&N::dither>("dither").ForceInput().Tooltip("Of gif.");
    s.Input<&N::input_color_depth>("input_color_depth").ForceInput().Tooltip("Bits a channel that the encoder gets.");
    s.Input<&N::bitrate>("bitrate").ForceInput().Tooltip("Of the GPU's encoders.");
    s.Input<&N::megabit>("megabit").ForceInput().Tooltip("bitrate counts millions, not thousands.");
    s.Input<&N::lossless>("lossless").ForceInput().Tooltip("Of webp.");
    DeclareFrames(s,
                  {.role = "sink",
                   .input = "images",
                   .encoding = "rounded",
                   .floats_if = {{"format", {"video/ffv1-mkv", "video/16bit-png"}}, {"input_color_depth", {"16bit"}}},
                   .replays_if = "pingpong"});
    s.Output<SavedFiles>("Filenames");
  }

  // Pictures as they come, or decoded latents.
  StatusOr<FrameReader> Frames(NodeContext& ctx) const {
    if (pictures.Get<Latent>() == nullptr) return FrameReader::Open("images", pictures);
    ASSIGN_OR_RETURN(at::Tensor decoded, Decoded(ctx));
    return FrameReader::Open("images", Value::Of<Image>("IMAGE", Image{std::move(decoded)}));
  }

  StatusOr<at::Tensor> Decoded(NodeContext& ctx) const {
    const auto* latent = pictures.Get<Latent>();
    if (!vae.has_value() || vae->autoencoder == nullptr)
      return InvalidArgument("input \"images\": latents need an autoencoder at the input \"vae\"");
    RETURN_IF_ERROR(CheckSamples("images", *latent));
    const at::Tensor& samples = latent->samples;
    const int64_t ratio = vae->autoencoder->ratio();
    const int64_t area = samples.size(-1) * samples.size(-2) * ratio * ratio;
    RETURN_IF_ERROR(CheckTensorSize("decoded video", {samples.size(0), area, 3}));
    const int64_t piece = std::max<int64_t>(1, int64_t{1920} * 1080 * 16 / area);
    std::vector<at::Tensor> parts;
    for (int64_t at = 0; at < samples.size(0); at += piece) {
      if (ctx.cancelled()) return Cancelled("cancelled");
      ASSIGN_OR_RETURN(at::Tensor part,
                       vae->autoencoder->Decode(samples.narrow(0, at, std::min(piece, samples.size(0) - at))));
      parts.push_back(std::move(part));
    }
    return at::cat(parts, 0);
  }

  OutputFile File(std::string suffix, const std::string& extension, std::string bytes, bool metadata) const {
    OutputFile file = MediaFile(filename_prefix, extension, std::move(bytes));
    file.type = save_output ? "output" : "temp";
    file.suffix = std::move(suffix);
    file.embed_workflow = metadata;
    return file;
  }

  VhsWidgets Widgets() const {
    return {pix_fmt,           profile, level,    coder,   context, slices,        slicecrc,      dither,
            input_color_depth, crf,     gop_size, bitrate, megabit, save_metadata, trim_to_audio, lossless};
  }

  // A frame with three channels or four.
  static at::Tensor Coloured(const at::Tensor& frame) {
    return frame.size(3) < 3 ? frame.narrow(3, 0, 1).expand({-1, -1, -1, 3}) : frame;
  }

  // The first picture beside the video, as it is.
  Status EmitPicture(NodeContext& ctx, const at::Tensor& frame) const {
    ImageU8 picture;
    picture.width = static_cast<int>(frame.size(2));
    picture.height = static_cast<int>(frame.size(1));
    picture.channels = static_cast<int>(frame.size(3));
    picture.data = FrameBytes(frame, 0, false, true);
    ASSIGN_OR_RETURN(std::string png, EncodePng(picture, 4));
    ctx.Emit(File("", ".png", std::move(png), true));
    return OkStatus();
  }

  // Rows and columns repeated at the edges until both sides are even, the smaller half first.
  static at::Tensor PadEven(const at::Tensor& frame) {
    at::Tensor out = frame;
    for (const int64_t dim : {1, 2}) {
      const int64_t side = out.size(dim);
      if (side % 2 == 1) out = at::cat({out, out.narrow(dim, side - 1, 1)}, dim);
    }
    return out;
  }

  // Hands over the frames forth, and with pingpong back again without the ends, `passes` times; the number of one pass.
  StatusOr<int64_t> Play(NodeContext& ctx, FrameReader& reader, int64_t passes,
                         const std::function<Status(const at::Tensor& frame)>& take) const {
    int64_t one_pass = 0, done = 0;
    const auto show = [&](const at::Tensor& frame) -> Status {
      RETURN_IF_ERROR(take(PadEven(Coloured(frame))));
      ++done;
      return ctx.Step(done, std::max(done, reader.known()));
    };
    for (int64_t pass = 0; pass < passes; ++pass) {
      int64_t frames = 0;
      for (;; ++frames) {
        ASSIGN_OR_RETURN(const at::Tensor frame, reader.At(frames));
        if (!frame.defined()) break;
        RETURN_IF_ERROR(show(frame));
      }
      for (int64_t i = frames - 2; pingpong && i > 0; --i) {
        ASSIGN_OR_RETURN(const at::Tensor frame, reader.At(i));
        RETURN_IF_ERROR(show(frame));
      }
      if (pass == 0) one_pass = done;
    }
    return one_pass;
  }

  media::VideoSettings Settings(const at::Tensor& first, const VhsFormat& found) const {
    media::VideoSettings settings = found.video;
    settings.fps = frame_rate;
    settings.width = static_cast<int>((first.size(2) + 1) / 2 * 2);
    settings.height = static_cast<int>((first.size(1) + 1) / 2 * 2);
    settings.channels = static_cast<int>(first.size(3));
    return settings;
  }

  // Frames are played again here, not by FFmpeg's loop filter, which keeps them all.
  StatusOr<std::string> Encode(NodeContext& ctx, FrameReader& reader, const media::VideoSettings& settings,
                               int64_t passes, int64_t* frames) const {
    ASSIGN_OR_RETURN(const auto encoder, media::VideoEncoder::Open(settings));
    ASSIGN_OR_RETURN(*frames, Play(ctx, reader, passes, [&](const at::Tensor& frame) {
      const std::vector<uint8_t> bytes = FrameBytes(frame, 0, settings.deep, true);
      return encoder->Add(bytes.data(), bytes.size());
    }));
    return encoder->Finish();
  }

  Status EmitSequence(NodeContext& ctx, FrameReader& reader, const media::VideoSettings& settings) const {
    int64_t made = 0;
    return Play(ctx, reader, loop_count + 1,
                [&](const at::Tensor& frame) -> Status {
                  ASSIGN_OR_RETURN(const auto encoder, media::VideoEncoder::Open(settings));
                  const std::vector<uint8_t> bytes = FrameBytes(frame, 0, settings.deep, true);
                  RETURN_IF_ERROR(encoder->Add(bytes.data(), bytes.size()));
                  ASSIGN_OR_RETURN(std::string png, encoder->Finish());
                  std::string number = std::to_string(++made);
                  if (number.size() < 3) number.insert(0, 3 - number.size(), '0');
                  ctx.Emit(File("." + number, ".png", std::move(png), false));
                  return OkStatus();
                })
        .status();
  }

  StatusOr<std::string> WithSound(const std::string& video, const VhsFormat& found, int64_t frames) const {
    ASSIGN_OR_RETURN(media::AudioSamples samples, ToSamples(*audio));
    const double seconds = static_cast<double>(frames) / frame_rate;
    const double shown = seconds * static_cast<double>(found.loops ? loop_count + 1 : 1);
    const auto count = [&](double s) { return static_cast<int64_t>(std::llround(s * samples.sample_rate)); };
    int64_t wanted = samples.count();
    if (!found.trim_to_audio) wanted = std::max(wanted, count(seconds + 1));
    wanted = std::max<int64_t>(1, std::min(wanted, count(shown)));
    RETURN_IF_ERROR(CheckTensorSize("sound", {wanted, samples.channels}));
    std::vector<float> fitted;
    for (int c = 0; c < samples.channels; ++c) {
      const auto from = samples.samples.begin() + static_cast<std::ptrdiff_t>(c * samples.count());
      fitted.insert(fitted.end(), from, from + static_cast<std::ptrdiff_t>(std::min(wanted, samples.count())));
      fitted.resize(static_cast<size_t>((c + 1) * wanted), 0.0F);
    }
    samples.samples = std::move(fitted);
    return media::AddAudioTrack(video, found.video.muxer, samples, found.audio, true);
  }

  StatusOr<SavedFiles> Run(NodeContext& ctx) const {
    return Guard([&]() -> StatusOr<SavedFiles> {
      const SavedFiles saved{save_output, filename_prefix};
      ASSIGN_OR_RETURN(FrameReader reader, Frames(ctx));
      if (!reader.first().defined()) return saved;
      const at::Tensor first = Coloured(reader.first());
      ASSIGN_OR_RETURN(const VhsFormat found, FindVhsFormat(format, Widgets(), first.size(3) == 4, loop_count));
      const media::VideoSettings settings = Settings(first, found);
      RETURN_IF_ERROR(EmitPicture(ctx, first));
      if (found.sequence) {
        RETURN_IF_ERROR(EmitSequence(ctx, reader, settings));
        return saved;
      }
      int64_t frames = 0;
      ASSIGN_OR_RETURN(std::string video, Encode(ctx, reader, settings, found.loops ? loop_count + 1 : 1, &frames));
      if (audio.has_value() && HasSound(*audio) && !found.audio.encoder.empty()) {
        ASSIGN_OR_RETURN(std::string sound, WithSound(video, found, frames));
        ctx.Emit(File("", found.extension, std::move(video), found.metadata));
        ctx.Emit(File("-audio", found.extension, std::move(sound), found.metadata));
        return saved;
      }
      ctx.Emit(File("", found.extension, std::move(video), found.metadata));
      return saved;
    });
  }
};
ATELIER_REGISTER_NODE_AS(VhsVideoCombine, "VHS_VideoCombine");

}  // namespace
}  // namespace atelier::nodes
