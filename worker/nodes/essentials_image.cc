// Sizes and parts of pictures as ComfyUI_essentials offers them. Source: spec extras.md 1, golden extras.
#include <algorithm>
#include <array>
#include <cmath>

#include "common/graph/frames.h"
#include "worker/nodes/composite.h"
#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kMaxResolution = 16384;

// `pixels` at a size by any method of torch or Pillow; "nearest" is torch's older one.
StatusOr<at::Tensor> Resample(const at::Tensor& pixels, int64_t width, int64_t height, const std::string& method) {
  if (method != "nearest") return ResizePixels(pixels, width, height, method, "disabled");
  if (width < 1 || height < 1) return InvalidArgument("target size is ", width, "x", height, ", expected at least 1x1");
  RETURN_IF_ERROR(CheckTensorSize("resized picture", {pixels.size(0), height, width, pixels.size(3)}));
  return Guard([&] {
    return at::upsample_nearest2d(pixels.movedim(-1, 1), {height, width}).movedim(1, -1).contiguous();
  });
}

// What ImageResize+ does to a picture of one size.
struct ResizePlan {
  int64_t width = 0, height = 0;                     // of the resampled picture
  int64_t left = 0, right = 0, top = 0, bottom = 0;  // black around it
  int64_t x = 0, y = 0, x2 = 0, y2 = 0;              // cut out of it, when `crop`
  bool crop = false;
};

ResizePlan PlanResize(int64_t ow, int64_t oh, int64_t width, int64_t height, const std::string& method) {
  ResizePlan plan;
  const auto w = static_cast<double>(ow), h = static_cast<double>(oh);
  if (method == "keep proportion" || method == "pad") {
    if (width == 0) width = oh < height ? kMaxResolution : ow;
    if (height == 0) height = ow < width ? kMaxResolution : oh;
    const double ratio = std::min(static_cast<double>(width) / w, static_cast<double>(height) / h);
    plan.width = RoundHalfEven(w * ratio);
    plan.height = RoundHalfEven(h * ratio);
    if (method == "pad") {
      plan.left = (width - plan.width) / 2;
      plan.right = width - plan.width - plan.left;
      plan.top = (height - plan.height) / 2;
      plan.bottom = height - plan.height - plan.top;
    }
    return plan;
  }
  if (width == 0) width = ow;
  if (height == 0) height = oh;
  plan.width = width;
  plan.height = height;
  if (method == "fill / crop") {
    const double ratio = std::max(static_cast<double>(width) / w, static_cast<double>(height) / h);
    plan.width = RoundHalfEven(w * ratio);
    plan.height = RoundHalfEven(h * ratio);
    auto cut = [](int64_t size, int64_t wanted, int64_t& from, int64_t& to) {
      from = (size - wanted) / 2;
      to = from + wanted;
      if (to > size) from -= to - size;
      from = std::max<int64_t>(from, 0);
    };
    plan.crop = true;
    cut(plan.width, width, plan.x, plan.x2);
    cut(plan.height, height, plan.y, plan.y2);
  }
  return plan;
}

// Whether a picture of ow x oh is to become w x h.
bool Applies(const std::string& condition, int64_t ow, int64_t oh, int64_t w, int64_t h) {
  if (condition == "downscale if bigger") return oh > h || ow > w;
  if (condition == "upscale if smaller") return oh < h || ow < w;
  if (condition == "if bigger area") return oh * ow > h * w;
  if (condition == "if smaller area") return oh * ow < h * w;
  return true;
}

struct ImageResize {
  Image image;
  int64_t width = 512;
  int64_t height = 512;
  std::string interpolation = "nearest";
  std::string method = "stretch";
  std::string condition = "always";
  int64_t multiple_of = 0;

  static void Describe(NodeSchema<ImageResize>& s) {
    s.Name("🔧 Image Resize")
        .Category("essentials/image manipulation")
        .Description("Resizes pictures by several rules.");
    s.Input<&ImageResize::image>("image").Tooltip("The pictures.");
    s.Input<&ImageResize::width>("width").Default(512).Range(0, 16384).Step(1).Tooltip(
        "Width in pixels; 0 follows from the other.");
    s.Input<&ImageResize::height>("height").Default(512).Range(0, 16384).Step(1).Tooltip(
        "Height in pixels; 0 follows from the other.");
    s.Input<&ImageResize::interpolation>("interpolation")
        .OneOf({"nearest", "bilinear", "bicubic", "area", "nearest-exact", "lanczos"})
        .Tooltip("How pixels are interpolated.");
    s.Input<&ImageResize::method>("method")
        .OneOf({"stretch", "keep proportion", "fill / crop", "pad"})
        .Tooltip("What happens to the aspect.");
    s.Input<&ImageResize::condition>("condition")
        .OneOf({"always", "downscale if bigger", "upscale if smaller", "if bigger area", "if smaller area"})
        .Tooltip("Which pictures to change.");
    s.Input<&ImageResize::multiple_of>("multiple_of")
        .Default(0)
        .Range(0, 512)
        .Step(1)
        .Tooltip("Sides become multiples of this; 0 leaves them.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE").Output<int64_t>("width").Output<int64_t>("height");
  }
  StatusOr<std::tuple<Image, int64_t, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const int64_t ow = image.pixels.size(2), oh = image.pixels.size(1);
    int64_t to_width = width, to_height = height;
    if (multiple_of > 1) {
      to_width -= to_width % multiple_of;
      to_height -= to_height % multiple_of;
    }
    const ResizePlan plan = PlanResize(ow, oh, to_width, to_height, method);
    at::Tensor pixels = image.pixels;
    if (Applies(condition, ow, oh, plan.width, plan.height)) {
      ASSIGN_OR_RETURN(pixels, Resample(pixels, plan.width, plan.height, interpolation));
      RETURN_IF_ERROR(CheckTensorSize("padded picture", {pixels.size(0), plan.height + plan.top + plan.bottom,
                                                         plan.width + plan.left + plan.right, pixels.size(3)}));
    }
    return Guard([&]() -> StatusOr<std::tuple<Image, int64_t, int64_t>> {
      if (Applies(condition, ow, oh, plan.width, plan.height)) {
        if (plan.left > 0 || plan.right > 0 || plan.top > 0 || plan.bottom > 0)
          pixels = at::constant_pad_nd(pixels, {0, 0, plan.left, plan.right, plan.top, plan.bottom}, 0.0);
        if (plan.crop) pixels = pixels.slice(1, plan.y, plan.y2).slice(2, plan.x, plan.x2);
      }
      if (multiple_of > 1) {
        for (const int64_t dim : {1, 2}) {
          const int64_t rest = pixels.size(dim) % multiple_of;
          pixels = pixels.slice(dim, rest / 2, pixels.size(dim) - (rest - rest / 2));
        }
      }
      if (pixels.numel() == 0)
        return InvalidArgument("the picture would be ", pixels.size(2), "x", pixels.size(1), "; use a larger size");
      pixels = pixels.clamp(0, 1).contiguous();
      return std::tuple(Image{pixels}, pixels.size(2), pixels.size(1));
    });
  }
};
ATELIER_REGISTER_NODE_AS(ImageResize, "ImageResize+");

struct EssentialsGetImageSize {
  Image image;

  static void Describe(NodeSchema<EssentialsGetImageSize>& s) {
    s.Name("🔧 Get Image Size")
        .Category("essentials/image utils")
        .Cheap()
        .Description("Width, height and number of pictures.");
    s.Input<&EssentialsGetImageSize::image>("image").Tooltip("The pictures.");
    s.Output<int64_t>("width").Output<int64_t>("height").Output<int64_t>("count");
  }
  StatusOr<std::tuple<int64_t, int64_t, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return std::tuple(image.pixels.size(2), image.pixels.size(1), image.pixels.size(0));
  }
};
ATELIER_REGISTER_NODE_AS(EssentialsGetImageSize, "GetImageSize+");

struct EssentialsImageFlip {
  Image image;
  std::string axis = "x";

  static void Describe(NodeSchema<EssentialsImageFlip>& s) {
    s.Name("🔧 Image Flip").Category("essentials/image manipulation").Description("Mirrors pictures.");
    s.Input<&EssentialsImageFlip::image>("image").Tooltip("The pictures.");
    s.Input<&EssentialsImageFlip::axis>("axis").OneOf({"x", "y", "xy"}).Tooltip("x mirrors columns, y rows.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&] {
      at::Tensor pixels = image.pixels;
      if (axis.find('x') != std::string::npos) pixels = pixels.flip({2});
      if (axis.find('y') != std::string::npos) pixels = pixels.flip({1});
      return Image{pixels.contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE_AS(EssentialsImageFlip, "ImageFlip+");

struct ImageRemoveAlpha {
  Image image;

  static void Describe(NodeSchema<ImageRemoveAlpha>& s) {
    s.Name("🔧 Image Remove Alpha")
        .Category("essentials/image utils")
        .Description("Drops the transparency of pictures.");
    s.Input<&ImageRemoveAlpha::image>("image").Tooltip("The pictures.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    if (image.pixels.size(3) != 4) return image;
    return Guard([&] { return Image{image.pixels.slice(3, 0, 3).contiguous()}; });
  }
};
ATELIER_REGISTER_NODE_AS(ImageRemoveAlpha, "ImageRemoveAlpha+");

struct ImagePosterize {
  Image image;
  double threshold = 0.5;

  static void Describe(NodeSchema<ImagePosterize>& s) {
    s.Name("🔧 Image Posterize")
        .Category("essentials/image processing")
        .Description("Black and white, cut at a brightness.");
    s.Input<&ImagePosterize::image>("image").Tooltip("The pictures.");
    s.Input<&ImagePosterize::threshold>("threshold")
        .Default(0.5)
        .Range(0.0, 1.0)
        .Step(0.05)
        .Tooltip("The brightness to exceed.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&] {
      const at::Tensor bright = image.pixels.mean(3, true) > threshold;
      return Image{bright.to(at::kFloat).expand({-1, -1, -1, 3}).contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE_AS(ImagePosterize, "ImagePosterize+");

struct ImageDesaturate {
  Image image;
  double factor = 1.0;
  std::string method = "luminance (Rec.709)";

  static void Describe(NodeSchema<ImageDesaturate>& s) {
    s.Name("🔧 Image Desaturate").Category("essentials/image processing").Description("Takes colour away.");
    s.Input<&ImageDesaturate::image>("image").Tooltip("The pictures.");
    s.Input<&ImageDesaturate::factor>("factor").Default(1.0).Range(0.0, 1.0).Step(0.05).Tooltip(
        "How much colour to take away.");
    s.Input<&ImageDesaturate::method>("method")
        .OneOf({"luminance (Rec.709)", "luminance (Rec.601)", "average", "lightness"})
        .Tooltip("How brightness is measured.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    if (image.pixels.size(3) < 3) return InvalidArgument("image has ", image.pixels.size(3), " channels, expected 3");
    return Guard([&] {
      const at::Tensor& p = image.pixels;
      auto weighted = [&p](double r, double g, double b) {
        return r * p.slice(3, 0, 1) + g * p.slice(3, 1, 2) + b * p.slice(3, 2, 3);
      };
      at::Tensor grey;
      if (method == "luminance (Rec.709)")
        grey = weighted(0.2126, 0.7152, 0.0722);
      else if (method == "luminance (Rec.601)")
        grey = weighted(0.299, 0.587, 0.114);
      else if (method == "average")
        grey = p.mean(3, true);
      else
        grey = (p.amax(3, true) + p.amin(3, true)) / 2;
      return Image{((1.0 - factor) * p + factor * grey.expand_as(p)).clamp(0, 1)};
    });
  }
};
ATELIER_REGISTER_NODE_AS(ImageDesaturate, "ImageDesaturate+");

struct EssentialsImageCrop {
  Image image;
  int64_t width = 256;
  int64_t height = 256;
  std::string position = "top-left";
  int64_t x_offset = 0;
  int64_t y_offset = 0;

  static void Describe(NodeSchema<EssentialsImageCrop>& s) {
    s.Name("🔧 Image Crop").Category("essentials/image manipulation").Description("Cuts a rectangle out of pictures.");
    s.Input<&EssentialsImageCrop::image>("image").Tooltip("The pictures.");
    s.Input<&EssentialsImageCrop::width>("width").Default(256).Range(0, 16384).Step(1).Tooltip("Width in pixels.");
    s.Input<&EssentialsImageCrop::height>("height").Default(256).Range(0, 16384).Step(1).Tooltip("Height in pixels.");
    s.Input<&EssentialsImageCrop::position>("position")
        .OneOf({"top-left", "top-center", "top-right", "right-center", "bottom-right", "bottom-center", "bottom-left",
                "left-center", "center"})
        .Tooltip("Where the rectangle lies.");
    s.Input<&EssentialsImageCrop::x_offset>("x_offset")
        .Default(0)
        .Range(-99999, 99999)
        .Step(1)
        .Tooltip("Moves it to the right.");
    s.Input<&EssentialsImageCrop::y_offset>("y_offset")
        .Default(0)
        .Range(-99999, 99999)
        .Step(1)
        .Tooltip("Moves it down.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE").Output<int64_t>("x").Output<int64_t>("y");
  }
  StatusOr<std::tuple<Image, int64_t, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const int64_t ow = image.pixels.size(2), oh = image.pixels.size(1);
    const int64_t w = std::min(ow, width), h = std::min(oh, height);
    auto at = [this](const char* word) { return position.find(word) != std::string::npos; };
    int64_t x = 0, y = 0;
    if (at("center")) {
      x = RoundHalfEven(static_cast<double>(ow - w) / 2);
      y = RoundHalfEven(static_cast<double>(oh - h) / 2);
    }
    if (at("top")) y = 0;
    if (at("bottom")) y = oh - h;
    if (at("left")) x = 0;
    if (at("right")) x = ow - w;
    x += x_offset;
    y += y_offset;
    const int64_t x2 = std::min(x + w, ow), y2 = std::min(y + h, oh);
    x = std::max<int64_t>(x, 0);
    y = std::max<int64_t>(y, 0);
    if (x >= x2 || y >= y2)
      return InvalidArgument("nothing is left of a picture of ", ow, "x", oh, "; use less offset");
    return Guard([&] { return std::tuple(Image{image.pixels.slice(1, y, y2).slice(2, x, x2).contiguous()}, x, y); });
  }
};
ATELIER_REGISTER_NODE_AS(EssentialsImageCrop, "ImageCrop+");

// Placement of overlapping tiles, row by row.
struct TileGrid {
  int64_t tile_height = 0, tile_width = 0, overlap_height = 0, overlap_width = 0;
  struct Place {
    int64_t row, column, y1, y2, x1, x2;
  };
  std::vector<Place> Places(int64_t rows, int64_t cols) const {
    std::vector<Place> places;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j) {
        int64_t y1 = i * tile_height - (i > 0 ? overlap_height : 0), x1 = j * tile_width - (j > 0 ? overlap_width : 0);
        int64_t y2 = y1 + tile_height + overlap_height, x2 = x1 + tile_width + overlap_width;
        if (y2 > rows * tile_height) {
          y2 = rows * tile_height;
          y1 = y2 - tile_height - overlap_height;
        }
        if (x2 > cols * tile_width) {
          x2 = cols * tile_width;
          x1 = x2 - tile_width - overlap_width;
        }
        places.push_back({i, j, y1, y2, x1, x2});
      }
    return places;
  }
};

struct ImageTile {
  Image image;
  int64_t rows = 2;
  int64_t cols = 2;
  double overlap = 0.0;
  int64_t overlap_x = 0;
  int64_t overlap_y = 0;

  static void Describe(NodeSchema<ImageTile>& s) {
    s.Name("🔧 Image Tile")
        .Category("essentials/image manipulation")
        .Description("Cuts pictures into a batch of overlapping tiles.");
    s.Input<&ImageTile::image>("image").Tooltip("The pictures.");
    s.Input<&ImageTile::rows>("rows").Default(2).Range(1, 256).Step(1).Tooltip("Tiles from top to bottom.");
    s.Input<&ImageTile::cols>("cols").Default(2).Range(1, 256).Step(1).Tooltip("Tiles from left to right.");
    s.Input<&ImageTile::overlap>("overlap").Default(0.0).Range(0.0, 0.5).Step(0.01).Tooltip(
        "Overlap as a share of a tile.");
    s.Input<&ImageTile::overlap_x>("overlap_x").Default(0).Range(0, 8192).Step(1).Tooltip("Overlap to add, in pixels.");
    s.Input<&ImageTile::overlap_y>("overlap_y").Default(0).Range(0, 8192).Step(1).Tooltip("Overlap to add, in pixels.");
    s.Output<Image>("IMAGE")
        .Output<int64_t>("tile_width")
        .Output<int64_t>("tile_height")
        .Output<int64_t>("overlap_x")
        .Output<int64_t>("overlap_y");
  }
  StatusOr<std::tuple<Image, int64_t, int64_t, int64_t, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    TileGrid grid;
    grid.tile_height = image.pixels.size(1) / rows;
    grid.tile_width = image.pixels.size(2) / cols;
    if (grid.tile_height < 1 || grid.tile_width < 1)
      return InvalidArgument("a picture of ", image.pixels.size(2), "x", image.pixels.size(1), " has no ", rows,
                             " rows of ", cols, " tiles");
    auto part = [this](int64_t size) { return static_cast<int64_t>(static_cast<double>(size) * overlap); };
    if (rows > 1) grid.overlap_height = std::min(grid.tile_height / 2, part(grid.tile_height) + overlap_y);
    if (cols > 1) grid.overlap_width = std::min(grid.tile_width / 2, part(grid.tile_width) + overlap_x);
    return Guard([&] {
      std::vector<at::Tensor> tiles;
      for (const TileGrid::Place& p : grid.Places(rows, cols))
        tiles.push_back(image.pixels.slice(1, p.y1, p.y2).slice(2, p.x1, p.x2));
      return std::tuple(Image{at::cat(tiles, 0)}, grid.tile_width + grid.overlap_width,
                        grid.tile_height + grid.overlap_height, grid.overlap_width, grid.overlap_height);
    });
  }
};
ATELIER_REGISTER_NODE_AS(ImageTile, "ImageTile+");

struct ImageUntile {
  Image tiles;
  int64_t overlap_x = 0;
  int64_t overlap_y = 0;
  int64_t rows = 2;
  int64_t cols = 2;

  static void Describe(NodeSchema<ImageUntile>& s) {
    s.Name("🔧 Image Untile")
        .Category("essentials/image manipulation")
        .Description("Puts overlapping tiles together again, with soft seams.");
    s.Input<&ImageUntile::tiles>("tiles").Tooltip("The tiles, row by row.");
    s.Input<&ImageUntile::overlap_x>("overlap_x").Default(0).Range(0, 8192).Step(1).Tooltip("Overlap in pixels.");
    s.Input<&ImageUntile::overlap_y>("overlap_y").Default(0).Range(0, 8192).Step(1).Tooltip("Overlap in pixels.");
    s.Input<&ImageUntile::rows>("rows").Default(2).Range(1, 256).Step(1).Tooltip("Tiles from top to bottom.");
    s.Input<&ImageUntile::cols>("cols").Default(2).Range(1, 256).Step(1).Tooltip("Tiles from left to right.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("tiles", tiles));
    if (tiles.pixels.size(0) < rows * cols)
      return InvalidArgument("there are ", tiles.pixels.size(0), " tiles, expected ", rows * cols);
    TileGrid grid;
    grid.overlap_height = overlap_y;
    grid.overlap_width = overlap_x;
    grid.tile_height = tiles.pixels.size(1) - overlap_y;
    grid.tile_width = tiles.pixels.size(2) - overlap_x;
    if (grid.tile_height < overlap_y || grid.tile_width < overlap_x || grid.tile_height < 1 || grid.tile_width < 1)
      return InvalidArgument("the overlap of ", overlap_x, "x", overlap_y, " is too large for tiles of ",
                             tiles.pixels.size(2), "x", tiles.pixels.size(1));
    RETURN_IF_ERROR(CheckTensorSize("joined picture", {1, rows * grid.tile_height, cols * grid.tile_width, 4}));
    return Guard([&] {
      at::Tensor out =
          at::zeros({1, rows * grid.tile_height, cols * grid.tile_width, tiles.pixels.size(3)}, at::kFloat);
      int64_t index = 0;
      for (const TileGrid::Place& p : grid.Places(rows, cols)) {
        const at::Tensor tile = tiles.pixels.narrow(0, index++, 1);
        at::Tensor mask = at::ones({1, tile.size(1), tile.size(2), 1}, at::kFloat);
        if (p.row > 0 && overlap_y > 0)
          mask.slice(1, 0, overlap_y).mul_(at::linspace(0, 1, overlap_y, at::kFloat).view({1, -1, 1, 1}));
        if (p.column > 0 && overlap_x > 0)
          mask.slice(2, 0, overlap_x).mul_(at::linspace(0, 1, overlap_x, at::kFloat).view({1, 1, -1, 1}));
        at::Tensor region = out.slice(1, p.y1, p.y2).slice(2, p.x1, p.x2);
        region.copy_(region * (1.0 - mask) + tile * mask);
      }
      return Image{out};
    });
  }
};
ATELIER_REGISTER_NODE_AS(ImageUntile, "ImageUntile+");

struct ImageBatchMultiple {
  Image image_1;
  std::string method = "lanczos";
  std::optional<Image> image_2;
  std::optional<Image> image_3;
  std::optional<Image> image_4;
  std::optional<Image> image_5;

  static void Describe(NodeSchema<ImageBatchMultiple>& s) {
    s.Name("🔧 Images Batch Multiple")
        .Category("essentials/image batch")
        .Description("Joins up to five batches; all take the size of the first.");
    s.Input<&ImageBatchMultiple::image_1>("image_1").Tooltip("The first pictures.");
    s.Input<&ImageBatchMultiple::method>("method")
        .OneOf({"nearest-exact", "bilinear", "area", "bicubic", "lanczos"})
        .Default("lanczos")
        .Tooltip("How pixels are interpolated.");
    s.Input<&ImageBatchMultiple::image_2>("image_2").Tooltip("More pictures.");
    s.Input<&ImageBatchMultiple::image_3>("image_3").Tooltip("More pictures.");
    s.Input<&ImageBatchMultiple::image_4>("image_4").Tooltip("More pictures.");
    s.Input<&ImageBatchMultiple::image_5>("image_5").Tooltip("More pictures.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image_1", image_1));
    std::vector<at::Tensor> batches = {image_1.pixels};
    for (const std::optional<Image>* image : {&image_2, &image_3, &image_4, &image_5}) {
      if (!image->has_value()) continue;
      RETURN_IF_ERROR(CheckPixels("image", **image));
      at::Tensor pixels = WithChannels((*image)->pixels, image_1.pixels.size(3));
      if (pixels.sizes().slice(1, 2) != image_1.pixels.sizes().slice(1, 2)) {
        ASSIGN_OR_RETURN(pixels,
                         ResizePixels(pixels, image_1.pixels.size(2), image_1.pixels.size(1), method, "center"));
      }
      batches.push_back(pixels);
    }
    return Guard([&] { return Image{at::cat(batches, 0)}; });
  }
};
ATELIER_REGISTER_NODE_AS(ImageBatchMultiple, "ImageBatchMultiple+");

struct ImageExpandBatch {
  Image image;
  int64_t size = 16;
  std::string method = "expand";

  static void Describe(NodeSchema<ImageExpandBatch>& s) {
    s.Name("🔧 Image Expand Batch")
        .Category("essentials/image batch")
        .Description("Brings a batch to a number of pictures.");
    s.Input<&ImageExpandBatch::image>("image").Tooltip("The pictures.");
    s.Input<&ImageExpandBatch::size>("size").Default(16).Range(1, 4096).Step(1).Tooltip("How many pictures.");
    s.Input<&ImageExpandBatch::method>("method")
        .OneOf({"expand", "repeat all", "repeat first", "repeat last"})
        .Tooltip("Where the new ones come from.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const int64_t n = image.pixels.size(0);
    RETURN_IF_ERROR(CheckTensorSize("batch", {size, image.pixels.size(1), image.pixels.size(2), image.pixels.size(3)}));
    return Guard([&] {
      std::vector<int64_t> index;
      for (int64_t i = 0; i < size; ++i) {
        int64_t from = i;
        if (method == "expand" && size > n)
          from = static_cast<int64_t>(
              std::floor((static_cast<double>(i) + 0.5) * static_cast<double>(n) / static_cast<double>(size)));
        else if (method == "expand" && size > 1)
          from = std::min(
              RoundHalfEven(static_cast<double>(i) * static_cast<double>(n - 1) / static_cast<double>(size - 1)),
              n - 1);
        else if (method == "repeat all")
          from = i % n;
        else if (method == "repeat first")
          from = std::max<int64_t>(0, i - std::max<int64_t>(0, size - n));
        index.push_back(std::clamp<int64_t>(from, 0, n - 1));
      }
      return Image{image.pixels.index_select(0, at::tensor(index, at::kLong))};
    });
  }
};
ATELIER_REGISTER_NODE_AS(ImageExpandBatch, "ImageExpandBatch+");

struct EssentialsImageFromBatch {
  Image image;
  int64_t start = 0;
  int64_t length = -1;

  static void Describe(NodeSchema<EssentialsImageFromBatch>& s) {
    s.Name("🔧 Image From Batch").Category("essentials/image batch").Description("Takes pictures of a batch.");
    s.Input<&EssentialsImageFromBatch::image>("image").Tooltip("The pictures.");
    s.Input<&EssentialsImageFromBatch::start>("start").Default(0).Range(0, 16384).Step(1).Tooltip(
        "The first picture to take, from 0.");
    s.Input<&EssentialsImageFromBatch::length>("length").Default(-1).Range(-1, 16384).Step(1).Tooltip(
        "How many; -1 takes all that follow.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const int64_t n = image.pixels.size(0), first = std::min(start, n - 1);
    const int64_t count = length < 0 ? n - first : std::clamp<int64_t>(length, 1, n - first);
    return Guard([&] { return Image{image.pixels.narrow(0, first, count).clone()}; });
  }
};
ATELIER_REGISTER_NODE_AS(EssentialsImageFromBatch, "ImageFromBatch+");

struct ImageCASharpening {
  Image image;
  double amount = 0.8;

  static void Describe(NodeSchema<ImageCASharpening>& s) {
    s.Name("🔧 Image Contrast Adaptive Sharpening")
        .Category("essentials/image processing")
        .Description("Sharpens more where contrast is low.");
    s.Input<&ImageCASharpening::image>("image").Tooltip("The pictures.");
    s.Input<&ImageCASharpening::amount>("amount").Default(0.8).Range(0.0, 1.0).Step(0.05).Tooltip("How strongly.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&] {
      const at::Tensor padded = at::constant_pad_nd(image.pixels.movedim(-1, 1), {1, 1, 1, 1}, 0.0);
      auto near = [&](int64_t dy, int64_t dx) {
        return padded.narrow(2, 1 + dy, image.pixels.size(1)).narrow(3, 1 + dx, image.pixels.size(2));
      };
      const at::Tensor a = near(-1, -1), b = near(-1, 0), c = near(-1, 1), d = near(0, -1), e = near(0, 0),
                       f = near(0, 1), g = near(1, -1), h = near(1, 0), i = near(1, 1);
      const at::Tensor low =
          at::stack({b, d, e, f, h}).amin(0).clamp_min(0) + at::stack({a, c, g, i}).amin(0).clamp_min(0);
      const at::Tensor high =
          at::stack({b, d, e, f, h}).amax(0).clamp_max(1) + at::stack({a, c, g, i}).amax(0).clamp_max(1);
      const at::Tensor room = (at::minimum(low, 2 - high) / (high + 1e-5)).clamp_min(0).sqrt();
      const at::Tensor w = -room * (amount * (1.0 / 5 - 1.0 / 8) + 1.0 / 8);
      return Image{(((b + d + f + h) * w + e) / (1 + 4 * w)).clamp(0, 1).movedim(1, -1).contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE_AS(ImageCASharpening, "ImageCASharpening+");

struct RemoveLatentMask {
  Latent samples;

  static void Describe(NodeSchema<RemoveLatentMask>& s) {
    s.Name("🔧 Remove Latent Mask")
        .Category("essentials/misc")
        .Cheap()
        .Description("Takes the noise mask off a latent.");
    s.Input<&RemoveLatentMask::samples>("samples").Tooltip("The latents.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    Latent result = samples;
    result.noise_mask = at::Tensor();
    return result;
  }
};
ATELIER_REGISTER_NODE_AS(RemoveLatentMask, "RemoveLatentMask+");

struct MaskFlip {
  Mask mask;
  std::string axis = "x";

  static void Describe(NodeSchema<MaskFlip>& s) {
    s.Name("🔧 Mask Flip").Category("essentials/mask").Description("Mirrors a mask.");
    s.Input<&MaskFlip::mask>("mask").Tooltip("The mask; 1 marks the part that counts.");
    s.Input<&MaskFlip::axis>("axis").OneOf({"x", "y", "xy"}).Tooltip("x mirrors columns, y rows.");
    s.Output<Mask>("MASK");
  }
  StatusOr<Mask> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckMask("mask", mask));
    return Guard([&] {
      at::Tensor values = mask.values;
      if (axis.find('x') != std::string::npos) values = values.flip({-1});
      if (axis.find('y') != std::string::npos) values = values.flip({-2});
      return Mask{values.contiguous()};
    });
  }
};
ATELIER_REGISTER_NODE_AS(MaskFlip, "MaskFlip+");

}  // namespace
}  // namespace atelier::nodes
