// Resizing with proportions, padding and a mask, as KJNodes offers it. Source: spec extras.md 2.4. Its mode
// "pillarbox_blur" and its way through a proprietary GPU library are not offered: the spec does not say from which of
// the two pictures, and with which rounding, the blurred one is scaled.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

constexpr std::array<std::pair<std::string_view, uint32_t>, 16> kColours = {{{"black", 0x000000},
                                                                             {"silver", 0xC0C0C0},
                                                                             {"gray", 0x808080},
                                                                             {"white", 0xFFFFFF},
                                                                             {"maroon", 0x800000},
                                                                             {"red", 0xFF0000},
                                                                             {"purple", 0x800080},
                                                                             {"fuchsia", 0xFF00FF},
                                                                             {"green", 0x008000},
                                                                             {"lime", 0x00FF00},
                                                                             {"olive", 0x808000},
                                                                             {"yellow", 0xFFFF00},
                                                                             {"navy", 0x000080},
                                                                             {"blue", 0x0000FF},
                                                                             {"teal", 0x008080},
                                                                             {"aqua", 0x00FFFF}}};

using Colour = std::array<float, 3>;

Colour FromBits(uint32_t bits) {
  return {static_cast<float>(bits >> 16 & 255) / 255.F, static_cast<float>(bits >> 8 & 255) / 255.F,
          static_cast<float>(bits & 255) / 255.F};
}

// Three numbers of 0..255, or of 0..1 when none is above 1; #rrggbb; a name.
StatusOr<Colour> ParseColour(std::string_view text) {
  const auto bad = [&] {
    return InvalidArgument("pad_color is \"", text,
                           "\", expected three numbers as in \"0, 128, 255\", #rrggbb or the name of a basic colour");
  };
  const auto trim = [](std::string_view part) {
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    return part;
  };
  const std::string_view whole = trim(text);
  if (whole.starts_with('#')) {
    uint32_t bits = 0;
    const auto [end, error] = std::from_chars(whole.data() + 1, whole.data() + whole.size(), bits, 16);
    if (whole.size() != 7 || error != std::errc() || end != whole.data() + whole.size()) return bad();
    return FromBits(bits);
  }
  std::string lower(whole);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const auto& [name, bits] : kColours)
    if (lower == name) return FromBits(bits);
  Colour colour{};
  std::string_view rest = whole;
  for (size_t i = 0; i < colour.size(); ++i) {
    const size_t comma = rest.find(',');
    if ((comma == std::string_view::npos) != (i == 2)) return bad();
    const std::string_view part = trim(rest.substr(0, comma));
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), colour[i]);
    if (error != std::errc() || end != part.data() + part.size() || !std::isfinite(colour[i])) return bad();
    if (i < 2) rest.remove_prefix(comma + 1);
  }
  const bool bytes = std::any_of(colour.begin(), colour.end(), [](float v) { return v > 1; });
  for (float& v : colour) v = std::clamp(bytes ? v / 255.F : v, 0.F, 1.F);
  return colour;
}

// Pixels on each side.
struct Pads {
  int64_t left = 0, right = 0, top = 0, bottom = 0;
  bool any() const { return left > 0 || right > 0 || top > 0 || bottom > 0; }
};

struct ImageResizeKJv2 {
  Image image;
  int64_t width = 512, height = 512;
  std::string upscale_method = "nearest-exact", keep_proportion = "stretch", pad_color = "0, 0, 0";
  std::string crop_position = "center";
  int64_t divisible_by = 2;
  std::optional<Mask> mask;
  std::string device = "cpu";

  static void Describe(NodeSchema<ImageResizeKJv2>& s) {
    using N = ImageResizeKJv2;
    s.Name("Resize Image v2").Category("KJNodes/image");
    s.Description("Resizes pictures and a mask; keeps the proportions by padding or cutting.");
    s.Input<&N::image>("image").Tooltip("The pictures.");
    s.Input<&N::width>("width").Default(512).Range(0, 16384).Step(1).Tooltip("Pixels; 0 follows from the picture.");
    s.Input<&N::height>("height").Default(512).Range(0, 16384).Step(1).Tooltip("Pixels; 0 follows from the picture.");
    s.Input<&N::upscale_method>("upscale_method")
        .OneOf({"nearest-exact", "bilinear", "area", "bicubic", "lanczos"})
        .Tooltip("How pixels are interpolated.");
    s.Input<&N::keep_proportion>("keep_proportion")
        .OneOf({"stretch", "resize", "pad", "pad_edge", "pad_edge_pixel", "crop", "total_pixels"})
        .Default("stretch")
        .Tooltip("What becomes of the proportions.");
    s.Input<&N::pad_color>("pad_color")
        .Default("0, 0, 0")
        .Tooltip(
            "Of the padding: three numbers of 0 to 255 (or to 1), #rrggbb or the name of a basic colour. Alpha is 1.");
    s.Input<&N::crop_position>("crop_position")
        .OneOf({"center", "top", "bottom", "left", "right"})
        .Default("center")
        .Tooltip("Which part stays, or on which side there is no padding.");
    s.Input<&N::divisible_by>("divisible_by")
        .Default(2)
        .Range(0, 512)
        .Step(1)
        .Tooltip("Sides become multiples of this.");
    s.Input<&N::mask>("mask").Tooltip("Is resized likewise.");
    s.Input<&N::device>("device")
        .OneOf({"cpu", "gpu"})
        .Optional()
        .Tooltip("The worker resizes on the CPU in any case.");
    s.Output<Image>("IMAGE").Output<int64_t>("width").Output<int64_t>("height").Output<Mask>("mask");
  }

  bool pads() const { return keep_proportion.starts_with("pad"); }

  // The size to resample to, before it loses its remainder.
  std::pair<int64_t, int64_t> Target() const {
    const auto ow = static_cast<double>(image.pixels.size(2)), oh = static_cast<double>(image.pixels.size(1));
    const auto w = static_cast<double>(width), h = static_cast<double>(height);
    if (keep_proportion == "total_pixels")
      return {static_cast<int64_t>(std::sqrt(w * h * ow / oh)), static_cast<int64_t>(std::sqrt(w * h * oh / ow))};
    const bool proportional = pads() || keep_proportion == "resize";
    if (!proportional || (width == 0 && height == 0))
      return {width == 0 ? image.pixels.size(2) : width, height == 0 ? image.pixels.size(1) : height};
    if (width == 0) return {RoundHalfEven(ow * (h / oh)), height};
    if (height == 0) return {width, RoundHalfEven(oh * (w / ow))};
    const double ratio = std::min(w / ow, h / oh);
    return {RoundHalfEven(ow * ratio), RoundHalfEven(oh * ratio)};
  }

  // Where a length lies in a longer one: `first` and `last` are the positions that put it at the start and at the end.
  int64_t Placed(int64_t room, const char* first, const char* last) const {
    if (crop_position == first) return 0;
    return crop_position == last ? room : room / 2;
  }

  Pads PadsFor(int64_t to_width, int64_t to_height) const {
    Pads by;
    if (!pads()) return by;
    const int64_t x = std::max<int64_t>(0, width - to_width), y = std::max<int64_t>(0, height - to_height);
    by.left = Placed(x, "left", "right");
    by.right = x - by.left;
    by.top = Placed(y, "top", "bottom");
    by.bottom = y - by.top;
    return by;
  }

  StatusOr<at::Tensor> Padded(const at::Tensor& pixels, const Pads& by) const {
    const int64_t h = pixels.size(1), w = pixels.size(2);
    const int64_t padded_height = h + by.top + by.bottom, padded_width = w + by.left + by.right;
    RETURN_IF_ERROR(CheckTensorSize("padded picture", {pixels.size(0), padded_height, padded_width, pixels.size(3)}));
    if (keep_proportion == "pad_edge_pixel") return Replicated(pixels, by);
    at::Tensor out = at::ones({pixels.size(0), padded_height, padded_width, pixels.size(3)}, at::kFloat);
    const auto fill = [](const at::Tensor& border, const at::Tensor& colour) {
      if (border.numel() > 0) border.copy_(colour.expand_as(border));
    };
    if (keep_proportion == "pad") {
      ASSIGN_OR_RETURN(const Colour colour, ParseColour(pad_color));
      for (int64_t c = 0; c < std::min<int64_t>(3, out.size(3)); ++c)
        out.select(3, c).fill_(colour[static_cast<size_t>(c)]);
    } else {  // the mean of the nearest row, then of the nearest column
      fill(out.narrow(1, 0, by.top), pixels.narrow(1, 0, 1).mean({1, 2}, true));
      fill(out.narrow(1, by.top + h, by.bottom), pixels.narrow(1, h - 1, 1).mean({1, 2}, true));
      fill(out.narrow(2, 0, by.left), pixels.narrow(2, 0, 1).mean({1, 2}, true));
      fill(out.narrow(2, by.left + w, by.right), pixels.narrow(2, w - 1, 1).mean({1, 2}, true));
    }
    out.narrow(1, by.top, h).narrow(2, by.left, w).copy_(pixels);
    return out;
  }

  // [B,h,w,C] with its outermost pixels repeated.
  static at::Tensor Replicated(const at::Tensor& pixels, const Pads& by) {
    return at::replication_pad2d(pixels.permute({0, 3, 1, 2}).contiguous(), {by.left, by.right, by.top, by.bottom})
        .permute({0, 2, 3, 1})
        .contiguous();
  }

  // The given mask as pixels [B,H,W,1] of the picture's size; undefined when there is none.
  StatusOr<at::Tensor> MaskPixels() const {
    if (!mask || !mask->values.defined() || mask->values.numel() == 0) return at::Tensor();
    const at::Tensor values = mask->values.reshape({-1, mask->values.size(-2), mask->values.size(-1)});
    const int64_t h = image.pixels.size(1), w = image.pixels.size(2);
    if (values.size(1) == h && values.size(2) == w) return values.unsqueeze(3);
    if (values.size(1) == 64 && values.size(2) == 64) return at::Tensor();  // the empty one of loaders
    return at::upsample_bilinear2d(values.unsqueeze(1), {h, w}, false).permute({0, 2, 3, 1});
  }

  StatusOr<std::tuple<Image, int64_t, int64_t, Mask>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    if (upscale_method == "lanczos" && device == "gpu")
      return InvalidArgument("device is \"gpu\", which has no lanczos; use \"cpu\" or another upscale_method");
    return Guard([&] { return Resized(); });
  }

  StatusOr<std::tuple<Image, int64_t, int64_t, Mask>> Resized() const {
    auto [to_width, to_height] = Target();
    Pads by = PadsFor(to_width, to_height);
    if (divisible_by > 1) {
      to_width -= to_width % divisible_by;
      to_height -= to_height % divisible_by;
    }
    if (to_width < 1 || to_height < 1)
      return InvalidArgument("the pictures would become ", to_width, "x", to_height,
                             " pixels; use a larger width and height");
    at::Tensor pixels = image.pixels;
    ASSIGN_OR_RETURN(at::Tensor covered, MaskPixels());
    if (keep_proportion == "crop") {
      const int64_t w = pixels.size(2), h = pixels.size(1);
      const double aspect = static_cast<double>(to_width) / static_cast<double>(to_height);
      int64_t cut_width = w, cut_height = h;
      if (static_cast<double>(w) / static_cast<double>(h) > aspect)
        cut_width = std::clamp<int64_t>(RoundHalfEven(static_cast<double>(h) * aspect), 1, w);
      else
        cut_height = std::clamp<int64_t>(RoundHalfEven(static_cast<double>(w) / aspect), 1, h);
      const int64_t x = Placed(w - cut_width, "left", "right"), y = Placed(h - cut_height, "top", "bottom");
      pixels = pixels.narrow(1, y, cut_height).narrow(2, x, cut_width);
      if (covered.defined()) covered = covered.narrow(1, y, cut_height).narrow(2, x, cut_width);
    }
    ASSIGN_OR_RETURN(pixels, ResizePixels(pixels, to_width, to_height, upscale_method, "disabled"));
    if (covered.defined()) {
      ASSIGN_OR_RETURN(covered, ResizePixels(covered, to_width, to_height, upscale_method, "disabled"));
    }
    if (!by.any()) {
      const at::Tensor none = at::zeros({1, 64, 64}, at::kFloat);
      return std::tuple(Image{pixels}, to_width, to_height, Mask{covered.defined() ? covered.squeeze(3) : none});
    }
    if (divisible_by > 1) {
      const auto rest = [this](int64_t side) { return (divisible_by - side % divisible_by) % divisible_by; };
      by.right += rest(to_width + by.left + by.right);
      by.bottom += rest(to_height + by.top + by.bottom);
    }
    ASSIGN_OR_RETURN(const at::Tensor padded, Padded(pixels, by));
    at::Tensor out;
    if (covered.defined()) {
      out = Replicated(covered, by).squeeze(3);
    } else {
      out = at::ones({padded.size(0), padded.size(1), padded.size(2)}, at::kFloat);
      out.narrow(1, by.top, to_height).narrow(2, by.left, to_width).zero_();
    }
    return std::tuple(Image{padded}, padded.size(2), padded.size(1), Mask{std::move(out)});
  }
};
ATELIER_REGISTER_NODE(ImageResizeKJv2);

}  // namespace
}  // namespace atelier::nodes
