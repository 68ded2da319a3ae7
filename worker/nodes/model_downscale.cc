// Deep Shrink: early steps run the UNet's inside at a smaller size, which keeps large pictures coherent. Source: spec
// engine.md 12.4 (nodes_model_downscale).
#include <cmath>

#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"
#include "worker/sampling/hooks.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::nodes {
namespace {

const std::vector<std::string>& Methods() {
  static const std::vector<std::string> methods = {"bicubic", "nearest-exact", "bilinear", "area", "bislerp"};
  return methods;
}

// Within a network call errors travel as torch's do.
at::Tensor Resized(const at::Tensor& x, int64_t width, int64_t height, const std::string& method) {
  const StatusOr<at::Tensor> resized = ResizeSamples(x.to(at::kFloat), width, height, method, "disabled");
  TORCH_CHECK(resized.ok(), "resizing features: ", resized.ok() ? "" : std::string(Message(resized.status())));
  return resized->to(x.options());
}

struct PatchModelAddDownscale {
  Model model;
  int64_t block_number = 3;
  double downscale_factor = 2.0, start_percent = 0.0, end_percent = 0.35;
  bool downscale_after_skip = true;
  std::string downscale_method, upscale_method;

  static void Describe(NodeSchema<PatchModelAddDownscale>& s) {
    s.Name("PatchModelAddDownscale (Kohya Deep Shrink)")
        .Category("model_patches/unet")
        .Cheap()
        .Description("Shrinks a UNet's features in the first steps, for pictures larger than it was trained on.");
    s.Input<&PatchModelAddDownscale::model>("model").Tooltip("The model.");
    s.Input<&PatchModelAddDownscale::block_number>("block_number")
        .Default(3)
        .Range(1, 32)
        .Step(1)
        .Tooltip("Input block after which features shrink.");
    s.Input<&PatchModelAddDownscale::downscale_factor>("downscale_factor")
        .Default(2.0)
        .Range(0.1, 9.0)
        .Step(0.001)
        .Tooltip("How much they shrink.");
    s.Input<&PatchModelAddDownscale::start_percent>("start_percent")
        .Default(0.0)
        .Range(0.0, 1.0)
        .Step(0.001)
        .Tooltip("From this part of the run on.");
    s.Input<&PatchModelAddDownscale::end_percent>("end_percent")
        .Default(0.35)
        .Range(0.0, 1.0)
        .Step(0.001)
        .Tooltip("Up to this part of the run.");
    s.Input<&PatchModelAddDownscale::downscale_after_skip>("downscale_after_skip")
        .Default(true)
        .Tooltip("Whether the skip tensor of that block keeps its size.");
    s.Input<&PatchModelAddDownscale::downscale_method>("downscale_method").OneOf(Methods()).Tooltip("How to shrink.");
    s.Input<&PatchModelAddDownscale::upscale_method>("upscale_method").OneOf(Methods()).Tooltip("How to grow again.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const {
    const engine::SigmaWindow window(*model.sampling, start_percent, end_percent);
    return engine::WithNetworkHook(model, [=, *this](engine::NetworkHooks& hooks) {
      auto& list = downscale_after_skip ? hooks.input_blocks_after_skip : hooks.input_blocks;
      list.push_back([=, block = block_number, factor = downscale_factor, method = downscale_method](
                         const at::Tensor& h, const engine::BlockCall& at) {
        if (at.number != block || !window.Holds(at.sigma)) return h;
        const auto scaled = [factor](int64_t size) {
          return std::max<int64_t>(1, RoundHalfEven(static_cast<double>(size) * (1.0 / factor)));
        };
        return Resized(h, scaled(h.size(3)), scaled(h.size(2)), method);
      });
      hooks.output_blocks.push_back(
          [method = upscale_method](at::Tensor& h, at::Tensor& skip, const engine::BlockCall&) {
            if (h.size(2) != skip.size(2)) h = Resized(h, skip.size(3), skip.size(2), method);
          });
    });
  }
};
ATELIER_REGISTER_NODE(PatchModelAddDownscale);

}  // namespace
}  // namespace atelier::nodes
