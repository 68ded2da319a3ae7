// What the planner makes of an Ultimate SD Upscale node: the canvas, and one step of its redraw. Source: spec
// distributed.md 3.4, 3.14.
#include <charconv>

#include "common/image/resize.h"
#include "worker/nodes/tile_redraw.h"

namespace atelier::nodes {
namespace {

struct UltimateSDUpscaleTileCanvas {
  using T = UltimateSDUpscaleTileCanvas;
  std::optional<Image> image, upscaled_image;  // one of them, by the tiled node's name for it
  double upscale_by = 1.0;
  std::optional<UpscaleModel> upscale_model;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Ultimate SD Upscale Canvas").Category("image/upscaling").Internal();
    s.Description("Enlarges the pictures that tiles are then cut from; made by the planner.");
    s.Input<&T::image>("image").Tooltip("The pictures to enlarge.");
    s.Input<&T::upscaled_image>("upscaled_image").Tooltip("The same, of nodes that name them so.");
    s.Input<&T::upscale_by>("upscale_by").Default(1.0).Range(0.05, 4.0).Tooltip("How many times larger.");
    s.Input<&T::upscale_model>("upscale_model").Tooltip("Without one, Lanczos enlarges.");
    s.Output<Image>("IMAGE").Output<int64_t>("init_width").Output<int64_t>("init_height");
  }
  StatusOr<std::tuple<Image, int64_t, int64_t>> Run(NodeContext& ctx) const {
    const std::optional<Image>& from = image ? image : upscaled_image;
    if (!from) return InvalidArgument("no picture is connected");
    ASSIGN_OR_RETURN(const std::vector<ImageU8> canvas, EnlargeToCanvas(*from, upscale_by, upscale_model, ctx));
    ASSIGN_OR_RETURN(at::Tensor pixels, Guard([&] { return ToPixels(canvas); }));
    return std::tuple(Image{std::move(pixels)}, from->pixels.size(2), from->pixels.size(1));
  }
};
ATELIER_REGISTER_NODE(UltimateSDUpscaleTileCanvas);

// "x1,y1,x2,y2;..." as boxes. Errors: INVALID_ARGUMENT.
StatusOr<std::vector<Box>> ParseCrops(const std::string& text) {
  std::vector<int> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    const auto [next, error] = std::from_chars(at, end, numbers.emplace_back());
    if (error != std::errc() || (next != end && *next != (numbers.size() % 4 == 0 ? ';' : ',')))
      return InvalidArgument("crops is \"", text, "\", expected x1,y1,x2,y2;...");
    at = next == end ? end : next + 1;
  }
  if (numbers.empty() || numbers.size() % 4 != 0)
    return InvalidArgument("crops is \"", text, "\", expected x1,y1,x2,y2;...");
  std::vector<Box> crops;
  for (size_t i = 0; i < numbers.size(); i += 4)
    crops.push_back({numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]});
  return crops;
}

struct UltimateSDUpscaleTile : RedrawInputs {
  using T = UltimateSDUpscaleTile;
  std::vector<Image> upscaled_image;  // the crops, one of each tile, with all pictures of the batch
  std::string crops;
  int64_t process_width = 0, process_height = 0, canvas_width = 0, canvas_height = 0, init_width = 0, init_height = 0;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Ultimate SD Upscale Tile").Category("image/upscaling").Internal();
    s.Description("Redraws one tile, or a batch of tiles; made by the planner.");
    s.Input<&T::upscaled_image>("upscaled_image").Tooltip("The crops.");
    DescribeModel(s);
    DescribeSampling(s, 0.5);
    DescribeDecode(s);
    DescribeCustom(s);
    s.Input<&T::crops>("crops").Hidden();
    s.Input<&T::process_width>("process_width").Default(0).Hidden();
    s.Input<&T::process_height>("process_height").Default(0).Hidden();
    s.Input<&T::canvas_width>("canvas_width").Default(0).Hidden();
    s.Input<&T::canvas_height>("canvas_height").Default(0).Hidden();
    s.Input<&T::init_width>("init_width").Default(0).Hidden();
    s.Input<&T::init_height>("init_height").Default(0).Hidden();
    s.Output<Image>("IMAGE");
  }

  Status Check(const std::vector<Box>& boxes) const {
    RETURN_IF_ERROR(CheckImageSize(canvas_width, canvas_height, 3));
    RETURN_IF_ERROR(CheckImageSize(process_width, process_height, 3));
    if (init_width < 1 || init_height < 1)
      return InvalidArgument("pictures of ", init_width, "x", init_height, " before they were enlarged");
    if (process_width < 8 || process_height < 8)
      return InvalidArgument("tile is redrawn at ", process_width, "x", process_height, ", expected at least 8x8");
    if (upscaled_image.size() != boxes.size())
      return InvalidArgument("got ", upscaled_image.size(), " crops, expected ", boxes.size());
    for (size_t i = 0; i < boxes.size(); ++i) {
      RETURN_IF_ERROR(CheckPixels("upscaled_image", upscaled_image[i]));
      const at::Tensor& p = upscaled_image[i].pixels;
      const Box& crop = boxes[i];
      if (p.size(3) < 3) return InvalidArgument("upscaled_image has ", p.size(3), " channels, expected 3");
      if (p.size(0) != upscaled_image[0].pixels.size(0))
        return InvalidArgument("crops of ", p.size(0), " and ", upscaled_image[0].pixels.size(0), " pictures");
      if (crop.x1 < 0 || crop.y1 < 0 || crop.x2 > canvas_width || crop.y2 > canvas_height ||
          int64_t{crop.x2} - crop.x1 != p.size(2) || int64_t{crop.y2} - crop.y1 != p.size(1))
        return InvalidArgument("tile ", p.size(2), "x", p.size(1), " does not fit its box ", crop.x1, ",", crop.y1,
                               " to ", crop.x2, ",", crop.y2, " of a canvas ", canvas_width, "x", canvas_height);
    }
    return OkStatus();
  }

  StatusOr<Image> Run(NodeContext& ctx) const {
    TileGeometry tile;
    ASSIGN_OR_RETURN(tile.crops, ParseCrops(crops));
    RETURN_IF_ERROR(Check(tile.crops));
    return Guard([&]() -> StatusOr<Image> { return Redraw(tile, ctx); });
  }

  StatusOr<Image> Redraw(TileGeometry& tile, NodeContext& ctx) const {
    tile.canvas_width = canvas_width;
    tile.canvas_height = canvas_height;
    tile.process_width = process_width;
    tile.process_height = process_height;
    tile.init_width = init_width;
    tile.init_height = init_height;
    std::vector<ImageU8> cut;
    for (int64_t i = 0; i < upscaled_image[0].pixels.size(0); ++i) {
      for (const Image& image : upscaled_image) {
        ASSIGN_OR_RETURN(const ImageU8 picture, ToImageU8(image.pixels.slice(3, 0, 3), i));
        ASSIGN_OR_RETURN(cut.emplace_back(), Resize(picture, process_width, process_height, ResizeFilter::kLanczos));
      }
    }
    ASSIGN_OR_RETURN(const at::Tensor redrawn, RedrawCrops(*this, tile, ToPixels(cut), ctx));
    std::vector<ImageU8> result;
    for (int64_t i = 0; i < redrawn.size(0); ++i) {
      ASSIGN_OR_RETURN(result.emplace_back(), ToImageU8(redrawn, i));
      if (tile.crops.size() > 1) continue;  // of different sizes: the master brings each to its own
      const Box& crop = tile.crops.front();
      ASSIGN_OR_RETURN(result.back(), Resize(result.back(), crop.width(), crop.height(), ResizeFilter::kLanczos));
    }
    return Image{ToPixels(result)};
  }
};
ATELIER_REGISTER_NODE(UltimateSDUpscaleTile);

}  // namespace
}  // namespace atelier::nodes
