// The Ultimate SD Upscale nodes: enlarge pictures, redraw them tile by tile, then redraw the seams. Source: spec
// distributed.md 1.8, 3.14 to 3.17.
#include <functional>
#include <utility>

#include "worker/nodes/tile_redraw.h"

namespace atelier::nodes {
namespace {

std::vector<std::string> Names(const auto& names) { return {names.begin(), names.end()}; }

/// What all nodes of the family have, under the reference's names.
struct UpscaleInputs : RedrawInputs {
  std::string mode_type = kRedrawModes[0], seam_fix_mode = kSeamFixes[0];
  int64_t tile_width = 512, tile_height = 512, mask_blur = 8, tile_padding = 32;
  double seam_fix_denoise = 1.0;
  int64_t seam_fix_width = 64, seam_fix_mask_blur = 8, seam_fix_padding = 16;
  bool force_uniform_tiles = true;
  int64_t batch_size = 1;
  bool by_picture = false;  // set by the planner

  static void MakeOptional(InputOptions options, bool optional) {
    if (optional) options.Optional();
  }
  template <typename N>
  static void DescribeMode(NodeSchema<N>& s, bool optional) {
    MakeOptional(s.template Input<&N::mode_type>("mode_type")
                     .OneOf(Names(kRedrawModes))
                     .Default(kRedrawModes[0])
                     .Tooltip("Order of the tiles; None redraws the seams only."),
                 optional);
  }
  template <typename N>
  static void DescribeTileSize(NodeSchema<N>& s, int64_t side_max) {
    s.template Input<&N::tile_width>("tile_width")
        .Default(512)
        .Range(64, side_max)
        .Step(8)
        .Tooltip("Width of a tile in pixels.");
    s.template Input<&N::tile_height>("tile_height")
        .Default(512)
        .Range(64, side_max)
        .Step(8)
        .Tooltip("Height of a tile in pixels.");
  }
  template <typename N>
  static void DescribeUniform(NodeSchema<N>& s) {
    s.template Input<&N::force_uniform_tiles>("force_uniform_tiles")
        .Default(true)
        .Tooltip("Redraws all tiles at one size.");
  }
  template <typename N>
  static void DescribeBatch(NodeSchema<N>& s, bool optional) {
    MakeOptional(s.template Input<&N::batch_size>("batch_size")
                     .Default(1)
                     .Range(1, 4096)
                     .Tooltip("Tiles of one sampling run; more than one needs uniform tiles."),
                 optional);
  }
  template <typename N>
  static void DescribePlanned(NodeSchema<N>& s) {
    s.template Input<&N::by_picture>("by_picture").Hidden();
  }
  // Of the nodes of the original pack; those of the distributed one have other ranges and another order.
  template <typename N>
  static void DescribeTiles(NodeSchema<N>& s) {
    DescribeMode(s, false);
    DescribeTileSize(s, 8192);
    s.template Input<&N::mask_blur>("mask_blur")
        .Default(8)
        .Range(0, 64)
        .Step(1)
        .Tooltip("Sigma of the blend at a tile's edges.");
    s.template Input<&N::tile_padding>("tile_padding")
        .Default(32)
        .Range(0, 8192)
        .Step(8)
        .Tooltip("Pixels around a tile that it also sees.");
    DescribeSeams(s, false);
    DescribeUniform(s);
    DescribeDecode(s);
    DescribeBatch(s, false);
  }
  template <typename N>
  static void DescribeSeams(NodeSchema<N>& s, bool optional) {
    const auto add = [optional](InputOptions options) { MakeOptional(options, optional); };
    add(s.template Input<&N::seam_fix_mode>("seam_fix_mode")
            .OneOf(Names(kSeamFixes))
            .Default(kSeamFixes[0])
            .Tooltip("Second redraw, of what lies between tiles."));
    add(s.template Input<&N::seam_fix_denoise>("seam_fix_denoise")
            .Default(1.0)
            .Range(0.0, 1.0)
            .Step(0.01)
            .Tooltip("Has an effect only where the cluster is set to scheduling.compat: documented."));
    add(s.template Input<&N::seam_fix_width>("seam_fix_width")
            .Default(64)
            .Range(0, 8192)
            .Step(8)
            .Tooltip("Pixels across a band."));
    add(s.template Input<&N::seam_fix_mask_blur>("seam_fix_mask_blur")
            .Default(8)
            .Range(0, 64)
            .Step(1)
            .Tooltip("Sigma of the blend of half tiles."));
    add(s.template Input<&N::seam_fix_padding>("seam_fix_padding")
            .Default(16)
            .Range(0, 8192)
            .Step(8)
            .Tooltip("Pixels around a seam that its redraw also sees."));
  }

  // `draw` of all pictures together, or of each by itself, so that its result does not depend on the others.
  StatusOr<Image> Each(const Image& image, NodeContext& ctx,
                       const std::function<StatusOr<Image>(const Image& image)>& draw) const {
    if (!by_picture || !image.pixels.defined() || image.pixels.dim() != 4 || image.pixels.size(0) < 2)
      return draw(image);
    std::vector<at::Tensor> drawn;
    for (int64_t i = 0; i < image.pixels.size(0); ++i) {
      if (ctx.cancelled()) return Cancelled("cancelled");
      ASSIGN_OR_RETURN(Image one, draw(Image{image.pixels.narrow(0, i, 1)}));
      drawn.push_back(std::move(one.pixels));
    }
    return Guard([&] { return Image{at::cat(drawn, 0)}; });
  }

  StatusOr<Image> Draw(const Image& all, double by, const std::optional<UpscaleModel>& upscale_model,
                       NodeContext& ctx) const {
    return Each(all, ctx, [&](const Image& image) { return DrawTogether(image, by, upscale_model, ctx); });
  }

  StatusOr<Image> DrawTogether(const Image& image, double by, const std::optional<UpscaleModel>& upscale_model,
                               NodeContext& ctx) const {
    ASSIGN_OR_RETURN(std::vector<ImageU8> canvas, EnlargeToCanvas(image, by, upscale_model, ctx));
    return DrawOn(std::move(canvas), image, false, ctx);
  }

  StatusOr<Image> DrawOn(std::vector<ImageU8> canvas, const Image& image, bool round_tiles, NodeContext& ctx) const {
    TileSettings tiles;
    tiles.tile_width = static_cast<int>(tile_width);
    tiles.tile_height = static_cast<int>(tile_height);
    tiles.padding = static_cast<int>(tile_padding);
    tiles.mask_blur = static_cast<int>(mask_blur);
    tiles.force_uniform = force_uniform_tiles;
    tiles.round_tiles = round_tiles;
    ASSIGN_OR_RETURN(tiles.mode, ParseRedrawMode(mode_type));
    ASSIGN_OR_RETURN(tiles.seam_fix, ParseSeamFix(seam_fix_mode));
    tiles.seam_width = static_cast<int>(seam_fix_width);
    tiles.seam_blur = static_cast<int>(seam_fix_mask_blur);
    tiles.seam_padding = static_cast<int>(seam_fix_padding);
    tiles.batch = static_cast<int>(batch_size);
    ASSIGN_OR_RETURN(const TilePlan plan, MakeTilePlan(canvas[0].width, canvas[0].height, tiles));
    return Guard([&]() -> StatusOr<Image> {
      RETURN_IF_ERROR(DrawTiles(plan, *this, image.pixels.size(2), image.pixels.size(1), &canvas, ctx));
      return Image{ToPixels(canvas)};
    });
  }

  static TileSplit Split(std::string image_input) {
    return {.tile_node = "UltimateSDUpscaleTile",
            .image_input = std::move(image_input),
            .padding_input = "tile_padding",
            .canvas_multiple = 8};
  }
};

struct UltimateSDUpscale : UpscaleInputs {
  using T = UltimateSDUpscale;
  Image image;
  double upscale_by = 2.0;
  UpscaleModel upscale_model;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Ultimate SD Upscale").Category("image/upscaling").Tiles(Split("image"));
    s.Description("Enlarges pictures and redraws them tile by tile; the tiles run on all workers.");
    s.Input<&T::image>("image").Tooltip("The pictures to enlarge.");
    DescribeModel(s);
    s.Input<&T::upscale_by>("upscale_by").Default(2.0).Range(0.05, 4.0).Step(0.05).Tooltip("How many times larger.");
    DescribeSampling(s, 0.2);
    s.Input<&T::upscale_model>("upscale_model").Tooltip("The network that enlarges.");
    DescribeTiles(s);
    DescribePlanned(s);
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext& ctx) const { return Draw(image, upscale_by, upscale_model, ctx); }
};
ATELIER_REGISTER_NODE(UltimateSDUpscale);

struct UltimateSDUpscaleNoUpscale : UpscaleInputs {
  using T = UltimateSDUpscaleNoUpscale;
  Image upscaled_image;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Ultimate SD Upscale (No Upscale)").Category("image/upscaling").Tiles(Split("upscaled_image"));
    s.Description("Redraws an enlarged picture tile by tile; the tiles run on all workers.");
    s.Input<&T::upscaled_image>("upscaled_image").Tooltip("The pictures to redraw tile by tile.");
    DescribeModel(s);
    DescribeSampling(s, 0.2);
    DescribeTiles(s);
    DescribePlanned(s);
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext& ctx) const { return Draw(upscaled_image, 1.0, std::nullopt, ctx); }
};
ATELIER_REGISTER_NODE(UltimateSDUpscaleNoUpscale);

struct UltimateSDUpscaleCustomSample : UpscaleInputs {
  using T = UltimateSDUpscaleCustomSample;
  Image image;
  double upscale_by = 2.0;
  std::optional<UpscaleModel> upscale_model;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Ultimate SD Upscale (Custom Sample)").Category("image/upscaling").Tiles(Split("image"));
    s.Description("Enlarges pictures and redraws them tile by tile, with a sampler and noise levels of your own.");
    s.Input<&T::image>("image").Tooltip("The pictures to enlarge.");
    DescribeModel(s);
    s.Input<&T::upscale_by>("upscale_by").Default(2.0).Range(0.05, 4.0).Step(0.05).Tooltip("How many times larger.");
    DescribeSampling(s, 0.2);
    DescribeTiles(s);
    s.Input<&T::upscale_model>("upscale_model").Tooltip("Without one, Lanczos enlarges.");
    DescribeCustom(s);
    DescribePlanned(s);
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext& ctx) const { return Draw(image, upscale_by, upscale_model, ctx); }
};
ATELIER_REGISTER_NODE(UltimateSDUpscaleCustomSample);

// Of the pack of distributed nodes. Its canvas keeps its size; what the other nodes have more comes last and is
// optional, so that files saved before load as they are.
struct UltimateSDUpscaleDistributed : UpscaleInputs {
  using T = UltimateSDUpscaleDistributed;
  Image upscaled_image;
  std::string order;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Ultimate SD Upscale Distributed (No Upscale)").Category("image/upscaling");
    s.Description("Redraws an enlarged picture tile by tile; the tiles run on all workers.");
    s.Tiles({.tile_node = "UltimateSDUpscaleTile", .image_input = "upscaled_image"});
    s.Input<&T::upscaled_image>("upscaled_image").Tooltip("The pictures to redraw tile by tile.");
    DescribeModel(s);
    DescribeSampling(s, 0.5);
    DescribeTileSize(s, 2048);
    s.Input<&T::tile_padding>("padding").Default(32).Range(0, 256).Step(8).Tooltip(
        "Pixels around a tile that it also sees.");
    s.Input<&T::mask_blur>("mask_blur").Default(8).Range(0, 256).Tooltip("Sigma of the blend at a tile's edges.");
    DescribeUniform(s);
    DescribeDecode(s);
    DescribeMode(s, true);
    DescribeSeams(s, true);
    DescribeBatch(s, true);
    s.Input<&T::order>("order")
        .OneOf({"of the job", "exact", "independent", "by-image"})
        .Default("of the job")
        .Optional()
        .Tooltip("exact: the picture of one GPU. independent: all tiles at once, none sees its neighbour's redraw. "
                 "by-image: each picture of a batch by itself.");
    DescribePlanned(s);
    s.Output<Image>("IMAGE");
  }
  // One device alone, where both orders are possible but only the exact one is a loop.
  StatusOr<Image> Run(NodeContext& ctx) const {
    if (order == "independent")
      return FailedPrecondition("the order \"independent\" is the planner's; submit the workflow as a job");
    RETURN_IF_ERROR(CheckPixels("upscaled_image", upscaled_image));
    return Each(upscaled_image, ctx, [&](const Image& image) -> StatusOr<Image> {
      std::vector<ImageU8> canvas;
      for (int64_t i = 0; i < image.pixels.size(0); ++i) {
        ASSIGN_OR_RETURN(canvas.emplace_back(), ToRgbU8(image.pixels.slice(3, 0, 3), i));
      }
      return DrawOn(std::move(canvas), image, true, ctx);
    });
  }
};
ATELIER_REGISTER_NODE(UltimateSDUpscaleDistributed);

}  // namespace
}  // namespace atelier::nodes
