#include "worker/nodes/vhs_formats.h"

#include <algorithm>
#include <initializer_list>

namespace atelier::nodes {
namespace {

struct Maker {
  const char* name;
  StatusOr<VhsFormat> (*make)(const VhsWidgets&, bool alpha, int64_t loops);
};

StatusOr<std::string> Choice(std::string_view widget, const std::optional<std::string>& value,
                             std::initializer_list<const char*> choices, const char* initial) {
  if (!value.has_value()) return std::string(initial);
  if (std::any_of(choices.begin(), choices.end(), [&](const char* c) { return *value == c; })) return *value;
  std::string list;
  for (const char* c : choices) list += Cat(list.empty() ? "" : ", ", c);
  return InvalidArgument("input \"", widget, "\": \"", *value, "\" is no choice of this format; expected ", list);
}

StatusOr<std::string> Number(std::string_view widget, const std::optional<int64_t>& value, int64_t low, int64_t high,
                             int64_t initial) {
  const int64_t number = value.value_or(initial);
  if (number < low || number > high)
    return InvalidArgument("input \"", widget, "\": ", number, " is outside ", low, " to ", high);
  return std::to_string(number);
}

VhsFormat Base(const char* extension, const char* muxer, const char* encoder, const char* audio,
               const VhsWidgets& widgets) {
  VhsFormat f;
  f.extension = extension;
  f.video.muxer = muxer;
  f.video.encoder = encoder;
  f.video.bt709 = true;
  f.audio.encoder = audio;
  f.metadata = widgets.save_metadata.value_or(true);
  f.trim_to_audio = widgets.trim_to_audio.value_or(false);
  return f;
}

StatusOr<VhsFormat> H264(const VhsWidgets& w, bool, int64_t) {
  VhsFormat f = Base(".mp4", "mp4", "libx264", "aac", w);
  ASSIGN_OR_RETURN(f.video.pixel_format, Choice("pix_fmt", w.pix_fmt, {"yuv420p", "yuv420p10le"}, "yuv420p"));
  ASSIGN_OR_RETURN(f.video.options["crf"], Number("crf", w.crf, 0, 100, 19));
  return f;
}

StatusOr<VhsFormat> H265(const VhsWidgets& w, bool, int64_t) {
  VhsFormat f = Base(".mp4", "mp4", "libx265", "aac", w);
  f.video.tag = "hvc1";
  ASSIGN_OR_RETURN(f.video.pixel_format, Choice("pix_fmt", w.pix_fmt, {"yuv420p10le", "yuv420p"}, "yuv420p10le"));
  ASSIGN_OR_RETURN(f.video.options["crf"], Number("crf", w.crf, 0, 100, 22));
  f.video.options["preset"] = "medium";
  f.video.options["x265-params"] = "log-level=none:pools=4:frame-threads=2";
  return f;
}

StatusOr<VhsFormat> Av1(const VhsWidgets& w, bool, int64_t) {
  VhsFormat f = Base(".webm", "webm", "libsvtav1", "libopus", w);
  ASSIGN_OR_RETURN(f.video.pixel_format, Choice("pix_fmt", w.pix_fmt, {"yuv420p10le", "yuv420p"}, "yuv420p10le"));
  ASSIGN_OR_RETURN(f.video.options["crf"], Number("crf", w.crf, 0, 63, 23));
  ASSIGN_OR_RETURN(const std::string depth,
                   Choice("input_color_depth", w.input_color_depth, {"8bit", "16bit"}, "8bit"));
  f.video.deep = depth == "16bit";
  return f;
}

StatusOr<VhsFormat> Webm(const VhsWidgets& w, bool, int64_t) {
  VhsFormat f = Base(".webm", "webm", "libvpx-vp9", "libvorbis", w);
  ASSIGN_OR_RETURN(f.video.pixel_format, Choice("pix_fmt", w.pix_fmt, {"yuv420p", "yuva420p"}, "yuv420p"));
  ASSIGN_OR_RETURN(f.video.options["crf"], Number("crf", w.crf, 0, 63, 20));
  f.video.options["b"] = "0";
  return f;
}

StatusOr<VhsFormat> Ffv1(const VhsWidgets& w, bool, int64_t) {
  VhsFormat f = Base(".mkv", "matroska", "ffv1", "flac", w);
  f.video.bt709 = false;
  f.video.deep = true;
  f.video.pixel_format = w.pix_fmt.value_or("rgba64le");
  ASSIGN_OR_RETURN(f.video.options["level"], Choice("level", w.level, {"0", "1", "3"}, "3"));
  ASSIGN_OR_RETURN(f.video.options["coder"], Choice("coder", w.coder, {"0", "1", "2"}, "1"));
  ASSIGN_OR_RETURN(f.video.options["context"], Choice("context", w.context, {"0", "1"}, "1"));
  ASSIGN_OR_RETURN(f.video.options["g"], Number("gop_size", w.gop_size, 1, 300, 1));
  ASSIGN_OR_RETURN(f.video.options["slices"],
                   Choice("slices", w.slices, {"4", "6", "9", "12", "16", "20", "24", "30"}, "16"));
  ASSIGN_OR_RETURN(f.video.options["slicecrc"], Choice("slicecrc", w.slicecrc, {"0", "1"}, "1"));
  return f;
}

StatusOr<VhsFormat> ProRes(const VhsWidgets& w, bool alpha, int64_t) {
  VhsFormat f = Base(".mov", "mov", "prores_ks", "pcm_s16le", w);
  ASSIGN_OR_RETURN(const std::string profile,
                   Choice("profile", w.profile, {"lt", "standard", "hq", "4444", "4444xq"}, "hq"));
  f.video.options["profile"] = profile;
  const bool full = profile.starts_with("4444");
  f.video.pixel_format = !full ? "yuv422p10le" : alpha ? "yuva444p10le" : "yuv444p10le";
  return f;
}

StatusOr<VhsFormat> Nvenc(const char* encoder, const char* tag, const VhsWidgets& w) {
  VhsFormat f = Base(".mp4", "mp4", encoder, "aac", w);
  f.video.tag = tag;
  ASSIGN_OR_RETURN(f.video.pixel_format, Choice("pix_fmt", w.pix_fmt, {"yuv420p", "p010le"}, "yuv420p"));
  ASSIGN_OR_RETURN(const std::string rate, Number("bitrate", w.bitrate, 1, 999, 10));
  f.video.options["b"] = Cat(rate, w.megabit.value_or(true) ? "M" : "K");
  return f;
}

StatusOr<VhsFormat> Pngs(const VhsWidgets& w, bool deep, bool alpha) {
  VhsFormat f = Base(".png", "image2pipe", "png", "", w);
  f.video.bt709 = false;
  f.video.deep = deep;
  f.video.pixel_format = deep ? (alpha ? "rgba64be" : "rgb48be") : (alpha ? "rgba" : "rgb24");
  f.metadata = false;
  f.sequence = true;
  return f;
}

VhsFormat Gif(const VhsWidgets& w, const std::string& filters) {
  VhsFormat f = Base(".gif", "gif", "gif", "", w);
  f.video.bt709 = false;
  f.video.pixel_format = "pal8";
  f.video.filters = filters;
  f.metadata = false;
  f.loops = false;
  return f;
}

StatusOr<VhsFormat> FfmpegGif(const VhsWidgets& w, bool, int64_t loops) {
  if (loops > 0) return InvalidArgument("input \"loop_count\": video/ffmpeg-gif takes 0 only; use image/gif");
  ASSIGN_OR_RETURN(const std::string dither, Choice("dither", w.dither,
                                                    {"bayer", "heckbert", "floyd_steinberg", "sierra2", "sierra2_4a",
                                                     "sierra3", "burkes", "atkinson", "none"},
                                                    "sierra2_4a"));
  return Gif(w, Cat("split[a][b];[a]palettegen=reserve_transparent=on:transparency_color=ffffff[p];"
                    "[b][p]paletteuse=dither=",
                    dither));
}

// A palette for each picture and no trace of the picture before.
StatusOr<VhsFormat> ImageGif(const VhsWidgets& w, bool, int64_t loops) {
  VhsFormat f = Gif(w, "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1");
  f.video.file_options["loop"] = std::to_string(loops);
  return f;
}

StatusOr<VhsFormat> ImageWebp(const VhsWidgets& w, bool alpha, int64_t loops) {
  VhsFormat f = Base(".webp", "webp", "libwebp_anim", "", w);
  const bool lossless = w.lossless.value_or(true);
  f.video.bt709 = false;
  f.video.pixel_format = lossless ? "bgra" : alpha ? "yuva420p" : "yuv420p";
  f.video.options = {{"lossless", lossless ? "1" : "0"}, {"quality", "80"}};
  f.video.file_options["loop"] = std::to_string(loops);
  f.metadata = false;
  f.loops = false;
  return f;
}

const Maker kFormats[] = {
    {"image/gif", &ImageGif},
    {"image/webp", &ImageWebp},
    {"video/ProRes", &ProRes},
    {"video/webm", &Webm},
    {"video/ffv1-mkv", &Ffv1},
    {"video/nvenc_av1-mp4", [](const VhsWidgets& w, bool, int64_t) { return Nvenc("av1_nvenc", "", w); }},
    {"video/h265-mp4", &H265},
    {"video/8bit-png", [](const VhsWidgets& w, bool alpha, int64_t) { return Pngs(w, false, alpha); }},
    {"video/h264-mp4", &H264},
    {"video/nvenc_hevc-mp4", [](const VhsWidgets& w, bool, int64_t) { return Nvenc("hevc_nvenc", "hvc1", w); }},
    {"video/nvenc_h264-mp4", [](const VhsWidgets& w, bool, int64_t) { return Nvenc("h264_nvenc", "", w); }},
    {"video/ffmpeg-gif", &FfmpegGif},
    {"video/av1-webm", &Av1},
    {"video/16bit-png", [](const VhsWidgets& w, bool alpha, int64_t) { return Pngs(w, true, alpha); }},
};

}  // namespace

std::vector<std::string> VhsFormats() {
  std::vector<std::string> names;
  for (const Maker& format : kFormats) names.emplace_back(format.name);
  return names;
}

StatusOr<VhsFormat> FindVhsFormat(const std::string& name, const VhsWidgets& widgets, bool alpha, int64_t loops) {
  for (const Maker& format : kFormats)
    if (name == format.name) return format.make(widgets, alpha, loops);
  return InvalidArgument("input \"format\": \"", name, "\" is unknown; for example video/h264-mp4");
}

}  // namespace atelier::nodes
