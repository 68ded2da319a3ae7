// What the Ultimate SD Upscale nodes share: the enlarged canvas, and the redraw of crops. Source: spec distributed.md
// 3.4, 3.14.
#pragma once

#include <optional>
#include <vector>

#include "common/image/tiles.h"
#include "worker/nodes/support.h"
#include "worker/nodes/tile_conditioning.h"
#include "worker/sampling/sampler.h"
#include "worker/sampling/schedule.h"

namespace atelier::nodes {

/// How crops are redrawn, as inputs of a node. The custom sampler is used only when its levels are given too; steps,
/// scheduler and denoise have no effect then.
struct RedrawInputs {
  Model model;
  Conditioning positive, negative;
  Vae vae;
  uint64_t seed = 0;
  int64_t steps = 20;
  double cfg = 8.0;
  std::string sampler_name, scheduler;
  double denoise = 0.2;
  bool tiled_decode = false;
  std::optional<engine::SamplerType> custom_sampler;
  std::optional<engine::Sigmas> custom_sigmas;

  template <typename N>
  static void DescribeModel(NodeSchema<N>& s) {
    s.template Input<&N::model>("model").Tooltip("The model.");
    s.template Input<&N::positive>("positive").Tooltip("What to aim at.");
    s.template Input<&N::negative>("negative").Tooltip("What to avoid.");
    s.template Input<&N::vae>("vae").Tooltip("The autoencoder.");
  }
  template <typename N>
  static void DescribeSampling(NodeSchema<N>& s, double default_denoise) {
    s.template Input<&N::seed>("seed")
        .Default(0)
        .Range(0, UINT64_MAX)
        .Seed()
        .Tooltip("The seed of the noise, the same for every tile.");
    s.template Input<&N::steps>("steps").Default(20).Range(1, 10000).Step(1).Tooltip("Number of steps.");
    s.template Input<&N::cfg>("cfg").Default(8.0).Range(0.0, 100.0).Tooltip("How strongly the prompts guide.");
    s.template Input<&N::sampler_name>("sampler_name").OneOf(engine::SamplerNames()).Tooltip("The sampler.");
    s.template Input<&N::scheduler>("scheduler").OneOf(engine::ScheduleNames()).Tooltip("The noise levels.");
    s.template Input<&N::denoise>("denoise")
        .Default(default_denoise)
        .Range(0.0, 1.0)
        .Step(0.01)
        .Tooltip("How much a tile may change.");
  }
  template <typename N>
  static void DescribeDecode(NodeSchema<N>& s) {
    s.template Input<&N::tiled_decode>("tiled_decode").Default(false).Tooltip("Decodes in tiles, to save memory.");
  }
  template <typename N>
  static void DescribeCustom(NodeSchema<N>& s) {
    s.template Input<&N::custom_sampler>("custom_sampler").Tooltip("Used only together with custom_sigmas.");
    s.template Input<&N::custom_sigmas>("custom_sigmas").Tooltip("Take the place of steps, scheduler and denoise.");
  }
};

/// Encodes, samples and decodes one batch. pixels: f32 [B,process height,process width,3]. Returns f32 [B,h,w,3], whose
/// size may be smaller (a multiple of the autoencoder's ratio). Errors: INVALID_ARGUMENT (no autoencoder, a bad
/// conditioning), those of sampling. Thread: one at a time per model.
StatusOr<at::Tensor> RedrawCrops(const RedrawInputs& redraw, const TileGeometry& tile, const at::Tensor& pixels,
                                 NodeContext& ctx);

/// Item `index` of pixels f32 [B,H,W,C] in 8 bits as RGB, on white where it has alpha. Errors: ToImageU8's. Thread:
/// any.
StatusOr<ImageU8> ToRgbU8(const at::Tensor& pixels, int64_t index);

/// The canvas: every picture at `by` times its size, rounded to multiples of 8 (half to even). With a network, that
/// enlarges first, unless by <= 1; without, the first picture goes there in steps of whole factors, the others at once.
/// Errors: INVALID_ARGUMENT for pictures too small, the network's. Source: spec distributed.md 3.14 steps 1 to 4.
StatusOr<std::vector<ImageU8>> EnlargeToCanvas(const Image& image, double by, const std::optional<UpscaleModel>& model,
                                               NodeContext& ctx);

/// The loop of one device: every step of the plan is cut, redrawn and pasted before the next. `init_width` and
/// `init_height`: size of the pictures before they were enlarged, in which areas of the conditioning are measured.
/// Errors: those of RedrawCrops. Thread: one at a time per model.
Status DrawTiles(const TilePlan& plan, const RedrawInputs& redraw, int64_t init_width, int64_t init_height,
                 std::vector<ImageU8>* canvas, NodeContext& ctx);

}  // namespace atelier::nodes
