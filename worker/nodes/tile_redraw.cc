#include "worker/nodes/tile_redraw.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/image/composite.h"
#include "common/image/resize.h"
#include "worker/models/loaders.h"
#include "worker/sampling/noise.h"
#include "worker/sampling/sample.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kDecodeTile = 512, kDecodeOverlap = 64;  // pixels
constexpr int64_t kDecodeFrames = 64, kDecodeFrameOverlap = 8;
constexpr int64_t kCanvasMultiple = 8;

// An autoencoder of videos leaves out frames that do not fill a latent frame: the last one goes on until they do.
at::Tensor FilledFrames(const engine::Autoencoder& autoencoder, const at::Tensor& pixels) {
  const int64_t ratio = autoencoder.frame_ratio(), frames = pixels.size(0);
  const int64_t over = ratio > 0 ? (frames - 1) % ratio : 0;
  if (over == 0) return pixels;
  return at::cat({pixels, pixels.narrow(0, frames - 1, 1).expand({ratio - over, -1, -1, -1})}, 0);
}

// Spec distributed.md 3.14 step 3: the factor of one step on the way to `scale`, or 0.
int64_t StepFactor(int64_t scale) {
  if (scale == 1) return 2;
  for (const int64_t factor : {4, 3, 2})
    if (scale % factor == 0) return factor;
  return 0;
}

std::vector<int64_t> StepFactors(int64_t scale) {
  while (StepFactor(scale) == 0) ++scale;
  std::vector<int64_t> factors;
  for (int64_t reached = 1; reached < scale; reached *= factors.back()) {
    const int64_t factor = StepFactor(scale / reached);
    factors.push_back(factor == 0 ? scale / reached : factor);
  }
  return factors;
}

StatusOr<Latent> Sample(const RedrawInputs& redraw, const Conditioning& positive, const Conditioning& negative,
                        at::Tensor encoded, NodeContext& ctx) {
  Latent latent{std::move(encoded), {}, {}};
  if (!redraw.custom_sampler || !redraw.custom_sigmas) {
    engine::KSamplerSettings settings;
    settings.seed = redraw.seed;
    settings.steps = redraw.steps;
    settings.cfg = redraw.cfg;
    settings.sampler_name = redraw.sampler_name;
    settings.scheduler = redraw.scheduler;
    settings.denoise = redraw.denoise;
    return engine::RunKSampler(redraw.model, positive, negative, latent, settings, ctx);
  }
  engine::SampleRequest request;
  request.model = redraw.model;
  request.positive = positive;
  request.negative = negative;
  request.cfg = redraw.cfg;
  request.sampler = *redraw.custom_sampler;
  request.sigmas = redraw.custom_sigmas->values;
  request.seed = redraw.seed;
  request.latent = engine::FixEmptyLatent(redraw.model, latent.samples);
  ASSIGN_OR_RETURN(request.noise, engine::PrepareNoise(request.latent.sizes(), request.seed, {}));
  ASSIGN_OR_RETURN(latent.samples, engine::SampleLatent(request, ctx));
  return latent;
}

}  // namespace

StatusOr<at::Tensor> RedrawCrops(const RedrawInputs& redraw, const TileGeometry& tile, const at::Tensor& pixels,
                                 NodeContext& ctx) {
  if (redraw.vae.autoencoder == nullptr) return InvalidArgument("the checkpoint holds no autoencoder; use Load VAE");
  return Guard([&]() -> StatusOr<at::Tensor> {
    const engine::Autoencoder& autoencoder = *redraw.vae.autoencoder;
    ASSIGN_OR_RETURN(at::Tensor encoded, autoencoder.Encode(FilledFrames(autoencoder, pixels)));
    ASSIGN_OR_RETURN(const Conditioning positive, CropConditioning(redraw.positive, tile));
    ASSIGN_OR_RETURN(const Conditioning negative, CropConditioning(redraw.negative, tile));
    ASSIGN_OR_RETURN(const Latent sampled, Sample(redraw, positive, negative, std::move(encoded), ctx));
    at::Tensor redrawn;
    if (redraw.tiled_decode) {
      const int64_t r = autoencoder.ratio(), t = std::max<int64_t>(1, autoencoder.frame_ratio());
      ASSIGN_OR_RETURN(redrawn, autoencoder.DecodeTiled(sampled.samples, {kDecodeTile / r, kDecodeOverlap / r,
                                                                          kDecodeFrames / t, kDecodeFrameOverlap / t}));
    } else {
      ASSIGN_OR_RETURN(redrawn, autoencoder.Decode(sampled.samples));
    }
    return redrawn.narrow(0, 0, std::min(redrawn.size(0), pixels.size(0)));
  });
}

StatusOr<ImageU8> ToRgbU8(const at::Tensor& pixels, int64_t index) {
  ASSIGN_OR_RETURN(ImageU8 picture, ToImageU8(pixels, index));
  if (picture.channels == 3) return picture;
  ASSIGN_OR_RETURN(ImageU8 rgb, ToRgb(picture));
  if (picture.channels != 4) return rgb;
  ASSIGN_OR_RETURN(const ImageU8 alpha, ExtractChannel(picture, 3));
  ASSIGN_OR_RETURN(ImageU8 white, MakeImage(picture.width, picture.height, 3, 255));
  RETURN_IF_ERROR(PasteTile(rgb, alpha, {0, 0, picture.width, picture.height}, &white));
  return white;
}

StatusOr<std::vector<ImageU8>> EnlargeToCanvas(const Image& image, double by, const std::optional<UpscaleModel>& model,
                                               NodeContext& ctx) {
  RETURN_IF_ERROR(CheckPixels("image", image));
  const int64_t width = image.pixels.size(2), height = image.pixels.size(1);
  const auto rounded = [by](int64_t side) {
    return kCanvasMultiple * RoundHalfEven(static_cast<double>(side) * by / static_cast<double>(kCanvasMultiple));
  };
  const int64_t to_width = rounded(width), to_height = rounded(height);
  if (to_width < kCanvasMultiple || to_height < kCanvasMultiple)
    return InvalidArgument("a picture of ", width, "x", height, " times ", by, " rounds to ", to_width, "x", to_height,
                           ", expected at least ", kCanvasMultiple, " pixels a side; use a larger one");
  RETURN_IF_ERROR(CheckImageSize(to_width, to_height, 3));
  const int64_t longer = std::max(width, height);
  const std::vector<int64_t> factors = StepFactors((std::max(to_width, to_height) + longer - 1) / longer);

  at::Tensor source = image.pixels;
  const bool enlarge = model && model->network != nullptr && !factors.empty();
  if (enlarge) {
    const int64_t scale = model->network->scale();
    RETURN_IF_ERROR(CheckTensorSize("enlarged picture", {source.size(0), height * scale, width * scale, 3}));
    auto tick = [&ctx](int64_t done, int64_t total) { return ctx.Step(done, total); };
    // The reference repeats this for each factor, on the same pictures and so with the same result.
    ASSIGN_OR_RETURN(source,
                     Guard([&] { return models::UpscaleWithModel(*model->network, source.slice(3, 0, 3), tick); }));
  }
  std::vector<ImageU8> canvas;
  for (int64_t i = 0; i < source.size(0); ++i) {
    ASSIGN_OR_RETURN(ImageU8 picture, ToRgbU8(source, i));
    if (i == 0 && !enlarge) {
      for (const int64_t factor : factors) {
        ASSIGN_OR_RETURN(picture,
                         Resize(picture, picture.width * factor, picture.height * factor, ResizeFilter::kLanczos));
      }
    }
    ASSIGN_OR_RETURN(picture, Resize(picture, to_width, to_height, ResizeFilter::kLanczos));
    canvas.push_back(std::move(picture));
  }
  return canvas;
}

Status DrawTiles(const TilePlan& plan, const RedrawInputs& redraw, int64_t init_width, int64_t init_height,
                 std::vector<ImageU8>* canvas, NodeContext& ctx) {
  for (const std::vector<int>& step : plan.steps) {
    TileGeometry geometry;
    geometry.canvas_width = plan.canvas_width;
    geometry.canvas_height = plan.canvas_height;
    geometry.init_width = init_width;
    geometry.init_height = init_height;
    std::vector<ImageU8> cut;
    for (const ImageU8& image : *canvas) {
      for (const int index : step) {
        const Tile& tile = plan.tiles[static_cast<size_t>(index)];
        ASSIGN_OR_RETURN(cut.emplace_back(), CutTile(plan, tile, image));
        geometry.process_width = tile.process_width;
        geometry.process_height = tile.process_height;
        if (geometry.crops.size() < step.size()) geometry.crops.push_back(tile.crop);
      }
    }
    ASSIGN_OR_RETURN(const at::Tensor redrawn, RedrawCrops(redraw, geometry, ToPixels(cut), ctx));
    for (size_t i = 0; i < canvas->size(); ++i) {
      for (size_t t = 0; t < step.size(); ++t) {
        const Tile& tile = plan.tiles[static_cast<size_t>(step[t])];
        ASSIGN_OR_RETURN(const ImageU8 picture, ToImageU8(redrawn, static_cast<int64_t>(i * step.size() + t)));
        RETURN_IF_ERROR(BlendTile(plan, tile, picture, &(*canvas)[i]));
      }
    }
  }
  return OkStatus();
}

}  // namespace atelier::nodes
