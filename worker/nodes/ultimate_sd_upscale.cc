// Redraws a picture tile by tile. Source: spec distributed.md 1.8, 3.
#include "common/image/resize.h"
#include "worker/nodes/support.h"
#include "worker/nodes/tile_conditioning.h"
#include "worker/sampling/sample.h"
#include "worker/sampling/schedule.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kDecodeTile = 512, kDecodeOverlap = 64;  // pixels

// The inputs that the nodes of this file begin with: what is redrawn, with which model, and how it is sampled.
template <typename T>
void DescribeSampling(NodeSchema<T>& s, double denoise, bool says_step = false) {
  s.template Input<&T::upscaled_image>("upscaled_image").Tooltip("The pictures to redraw tile by tile.");
  s.template Input<&T::model>("model").Tooltip("The model.");
  s.template Input<&T::positive>("positive").Tooltip("What to aim at.");
  s.template Input<&T::negative>("negative").Tooltip("What to avoid.");
  s.template Input<&T::vae>("vae").Tooltip("The autoencoder.");
  s.template Input<&T::seed>("seed").Default(0).Range(0, UINT64_MAX).Seed().Tooltip("The seed of the noise.");
  auto steps = s.template Input<&T::steps>("steps").Default(20).Range(1, 10000).Tooltip("Number of steps.");
  if (says_step) steps.Step(1);
  s.template Input<&T::cfg>("cfg")
      .Default(8.0)
      .Range(0.0, 100.0)
      .Tooltip("How strongly to follow the prompt; 1 ignores the negative one.");
  s.template Input<&T::sampler_name>("sampler_name").OneOf(engine::SamplerNames()).Tooltip("The sampler.");
  s.template Input<&T::scheduler>("scheduler")
      .OneOf(engine::ScheduleNames())
      .Tooltip("How noise levels are spread over the steps.");
  s.template Input<&T::denoise>("denoise").Default(denoise).Range(0.0, 1.0).Step(0.01).Tooltip(
      "Below 1 keeps part of the latent.");
}

struct UltimateSDUpscaleDistributed {
  using T = UltimateSDUpscaleDistributed;
  Image upscaled_image;
  Model model;
  Conditioning positive, negative;
  Vae vae;
  uint64_t seed = 0;
  int64_t steps = 20;
  double cfg = 8.0;
  std::string sampler_name, scheduler;
  double denoise = 0.5;
  int64_t tile_width = 512, tile_height = 512, padding = 32, mask_blur = 8;
  bool force_uniform_tiles = true, tiled_decode = false;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Ultimate SD Upscale Distributed (No Upscale)").Category("image/upscaling");
    s.Description("Redraws an enlarged picture tile by tile; the tiles run on all workers.");
    s.Tiles({.tile_node = "UltimateSDUpscaleTile", .image_input = "upscaled_image"});
    DescribeSampling(s, 0.5);
    s.Input<&T::tile_width>("tile_width").Default(512).Range(64, 2048).Step(8).Tooltip("Width of a tile in pixels.");
    s.Input<&T::tile_height>("tile_height").Default(512).Range(64, 2048).Step(8).Tooltip("Height of a tile in pixels.");
    s.Input<&T::padding>("padding").Default(32).Range(0, 256).Step(8).Tooltip(
        "Pixels around a tile that it also sees.");
    s.Input<&T::mask_blur>("mask_blur").Default(8).Range(0, 256).Tooltip("Sigma of the blend at a tile's edges.");
    s.Input<&T::force_uniform_tiles>("force_uniform_tiles").Default(true).Tooltip("Redraws all tiles at one size.");
    s.Input<&T::tiled_decode>("tiled_decode").Default(false).Tooltip("Decodes in tiles, to save memory.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    return FailedPrecondition(
        "UltimateSDUpscaleDistributed is split into tiles by the planner and never run as a whole; ",
        "submit the workflow as a job");
  }
};
ATELIER_REGISTER_NODE(UltimateSDUpscaleDistributed);

// Linear and chess order without seam fix; its canvas is rounded to multiples of 8. Source: spec
// distributed.md 3.14, 3.17.
struct UltimateSDUpscaleNoUpscale {
  using T = UltimateSDUpscaleNoUpscale;
  Image upscaled_image;
  Model model;
  Conditioning positive, negative;
  Vae vae;
  uint64_t seed = 0;
  int64_t steps = 20;
  double cfg = 8.0;
  std::string sampler_name, scheduler;
  double denoise = 0.2;
  std::string mode_type, seam_fix_mode;
  int64_t tile_width = 512, tile_height = 512, mask_blur = 8, tile_padding = 32;
  double seam_fix_denoise = 1.0;
  int64_t seam_fix_width = 64, seam_fix_mask_blur = 8, seam_fix_padding = 16;
  bool force_uniform_tiles = true, tiled_decode = false;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Ultimate SD Upscale (No Upscale)").Category("image/upscaling");
    s.Description("Redraws an enlarged picture tile by tile; the tiles run on all workers.");
    s.Tiles({.tile_node = "UltimateSDUpscaleTile",
             .image_input = "upscaled_image",
             .padding_input = "tile_padding",
             .canvas_multiple = 8});
    DescribeSampling(s, 0.2, /*says_step=*/true);
    s.Input<&T::mode_type>("mode_type").OneOf({"Linear", "Chess"}).Tooltip("Order of the tiles.");
    s.Input<&T::tile_width>("tile_width").Default(512).Range(64, 8192).Step(8).Tooltip("Width of a tile in pixels.");
    s.Input<&T::tile_height>("tile_height").Default(512).Range(64, 8192).Step(8).Tooltip("Height of a tile in pixels.");
    s.Input<&T::mask_blur>("mask_blur")
        .Default(8)
        .Range(0, 64)
        .Step(1)
        .Tooltip("How softly tiles pass into each other, in pixels.");
    s.Input<&T::tile_padding>("tile_padding")
        .Default(32)
        .Range(0, 8192)
        .Step(8)
        .Tooltip("Pixels around a tile that are drawn but not kept.");
    s.Input<&T::seam_fix_mode>("seam_fix_mode").OneOf({"None"}).Tooltip("How the seams are drawn again.");
    s.Input<&T::seam_fix_denoise>("seam_fix_denoise")
        .Default(1.0)
        .Range(0.0, 1.0)
        .Step(0.01)
        .Tooltip("Strength of the seams' second pass.");
    s.Input<&T::seam_fix_width>("seam_fix_width")
        .Default(64)
        .Range(0, 8192)
        .Step(8)
        .Tooltip("Width of the band along a seam.");
    s.Input<&T::seam_fix_mask_blur>("seam_fix_mask_blur")
        .Default(8)
        .Range(0, 64)
        .Step(1)
        .Tooltip("How softly a band passes into the rest.");
    s.Input<&T::seam_fix_padding>("seam_fix_padding")
        .Default(16)
        .Range(0, 8192)
        .Step(8)
        .Tooltip("Pixels around a band that are drawn but not kept.");
    s.Input<&T::force_uniform_tiles>("force_uniform_tiles").Default(true).Tooltip("All tiles get the same size.");
    s.Input<&T::tiled_decode>("tiled_decode").Default(false).Tooltip("Decodes in tiles, to save memory.");
    s.Input<&T::batch_size>("batch_size").Default(1).Range(1, 1).Tooltip("Tiles of one sampling batch.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    return FailedPrecondition(
        "UltimateSDUpscaleNoUpscale is split into tiles by the planner and never run as a whole; ",
        "submit the workflow as a job");
  }
};
ATELIER_REGISTER_NODE(UltimateSDUpscaleNoUpscale);

struct UltimateSDUpscaleTile {
  using T = UltimateSDUpscaleTile;
  Image upscaled_image;  // the crop
  Model model;
  Conditioning positive, negative;
  Vae vae;
  uint64_t seed = 0;
  int64_t steps = 20;
  double cfg = 8.0;
  std::string sampler_name, scheduler;
  double denoise = 0.5;
  bool tiled_decode = false;
  int64_t process_width = 0, process_height = 0, crop_x1 = 0, crop_y1 = 0, crop_x2 = 0, crop_y2 = 0;
  int64_t canvas_width = 0, canvas_height = 0;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Ultimate SD Upscale Tile").Category("image/upscaling").Internal();
    s.Description("Redraws one tile; made by the planner.");
    DescribeSampling(s, 0.5);
    s.Input<&T::tiled_decode>("tiled_decode").Default(false).Tooltip("Decodes in tiles, to save memory.");
    s.Input<&T::process_width>("process_width").Default(0).Hidden();
    s.Input<&T::process_height>("process_height").Default(0).Hidden();
    s.Input<&T::crop_x1>("crop_x1").Default(0).Hidden();
    s.Input<&T::crop_y1>("crop_y1").Default(0).Hidden();
    s.Input<&T::crop_x2>("crop_x2").Default(0).Hidden();
    s.Input<&T::crop_y2>("crop_y2").Default(0).Hidden();
    s.Input<&T::canvas_width>("canvas_width").Default(0).Hidden();
    s.Input<&T::canvas_height>("canvas_height").Default(0).Hidden();
    s.Output<Image>("IMAGE");
  }

  Status Check() const {
    RETURN_IF_ERROR(CheckPixels("upscaled_image", upscaled_image));
    const at::Tensor& p = upscaled_image.pixels;
    if (vae.autoencoder == nullptr) return InvalidArgument("the checkpoint holds no autoencoder; use Load VAE");
    if (p.size(3) < 3) return InvalidArgument("upscaled_image has ", p.size(3), " channels, expected 3");
    if (process_width < 8 || process_height < 8)
      return InvalidArgument("tile is redrawn at ", process_width, "x", process_height, ", expected at least 8x8");
    if (crop_x1 < 0 || crop_y1 < 0 || crop_x2 > canvas_width || crop_y2 > canvas_height ||
        crop_x2 - crop_x1 != p.size(2) || crop_y2 - crop_y1 != p.size(1))
      return InvalidArgument("tile ", p.size(2), "x", p.size(1), " does not fit its box ", crop_x1, ",", crop_y1,
                             " to ", crop_x2, ",", crop_y2, " of a canvas ", canvas_width, "x", canvas_height);
    RETURN_IF_ERROR(CheckImageSize(canvas_width, canvas_height, 3));
    return CheckImageSize(process_width, process_height, 3);
  }

  // The pictures as 8 bits at width x height.
  static StatusOr<at::Tensor> Sized(const at::Tensor& pixels, int64_t width, int64_t height) {
    std::vector<ImageU8> pictures;
    for (int64_t i = 0; i < pixels.size(0); ++i) {
      ASSIGN_OR_RETURN(ImageU8 picture, ToImageU8(pixels, i));
      if (picture.width != width || picture.height != height) {
        ASSIGN_OR_RETURN(picture, Resize(picture, width, height, ResizeFilter::kLanczos));
      }
      pictures.push_back(std::move(picture));
    }
    return ToPixels(pictures);
  }

  StatusOr<Image> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(Check());
    return Guard([&]() -> StatusOr<Image> { return Redraw(ctx); });
  }

  StatusOr<Image> Redraw(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const at::Tensor pixels,
                     Sized(upscaled_image.pixels.slice(3, 0, 3), process_width, process_height));
    ASSIGN_OR_RETURN(at::Tensor encoded, vae.autoencoder->Encode(pixels));
    TileGeometry tile;
    tile.crop = {static_cast<int>(crop_x1), static_cast<int>(crop_y1), static_cast<int>(crop_x2),
                 static_cast<int>(crop_y2)};
    tile.canvas_width = canvas_width;
    tile.canvas_height = canvas_height;
    tile.process_width = process_width;
    tile.process_height = process_height;
    ASSIGN_OR_RETURN(const Conditioning cropped_positive, CropConditioning(positive, tile));
    ASSIGN_OR_RETURN(const Conditioning cropped_negative, CropConditioning(negative, tile));
    engine::KSamplerSettings settings;
    settings.seed = seed;
    settings.steps = steps;
    settings.cfg = cfg;
    settings.sampler_name = sampler_name;
    settings.scheduler = scheduler;
    settings.denoise = denoise;
    ASSIGN_OR_RETURN(const Latent sampled, engine::RunKSampler(model, cropped_positive, cropped_negative,
                                                               Latent{std::move(encoded), {}, {}}, settings, ctx));
    const int64_t r = vae.autoencoder->ratio();
    at::Tensor decoded;
    if (tiled_decode) {
      ASSIGN_OR_RETURN(decoded, vae.autoencoder->DecodeTiled(sampled.samples, kDecodeTile / r, kDecodeOverlap / r));
    } else {
      ASSIGN_OR_RETURN(decoded, vae.autoencoder->Decode(sampled.samples));
    }
    ASSIGN_OR_RETURN(at::Tensor result, Sized(decoded, crop_x2 - crop_x1, crop_y2 - crop_y1));
    return Image{std::move(result)};
  }
};
ATELIER_REGISTER_NODE(UltimateSDUpscaleTile);

}  // namespace
}  // namespace atelier::nodes
