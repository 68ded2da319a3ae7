// Pictures and conditionings for painting parts anew. Source: spec engine.md 4.11, golden inpaint.
#include <algorithm>
#include <cmath>

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// The centre of [B,H,W,C] or [B,1,H,W] tensors, as large as a multiple of `ratio` allows.
at::Tensor CropToMultiple(const at::Tensor& tensor, int64_t dim, int64_t ratio) {
  const int64_t size = tensor.size(dim), kept = size / ratio * ratio;
  return tensor.narrow(dim, (size % ratio) / 2, kept);
}

// Pictures and their mask f32 [B,1,H,W], both brought to what the autoencoder takes.
struct Prepared {
  at::Tensor pixels, mask;
};

StatusOr<Prepared> Prepare(const Vae& vae, const Image& pixels, const Mask& mask) {
  if (vae.autoencoder == nullptr) return InvalidArgument("the checkpoint holds no autoencoder; use Load VAE");
  RETURN_IF_ERROR(CheckPixels("pixels", pixels));
  RETURN_IF_ERROR(CheckMask("mask", mask));
  const int64_t ratio = vae.autoencoder->ratio();
  const at::Tensor& p = pixels.pixels;
  if (p.size(3) < 3) return InvalidArgument("pixels have ", p.size(3), " channels, expected 3");
  if (p.size(1) < ratio || p.size(2) < ratio)
    return InvalidArgument("picture is ", p.size(2), "x", p.size(1), ", expected at least ", ratio, "x", ratio);
  return Guard([&] {
    const at::Tensor m = at::upsample_bilinear2d(
        mask.values.reshape({-1, 1, mask.values.size(-2), mask.values.size(-1)}), {p.size(1), p.size(2)}, false);
    return Prepared{CropToMultiple(CropToMultiple(p.slice(3, 0, 3), 1, ratio), 2, ratio),
                    CropToMultiple(CropToMultiple(m, 2, ratio), 3, ratio)};
  });
}

// The pictures with grey where the mask is set.
StatusOr<at::Tensor> Grey(const Prepared& prepared) {
  if (prepared.mask.size(0) != 1 && prepared.mask.size(0) != prepared.pixels.size(0))
    return InvalidArgument("mask has ", prepared.mask.size(0), " items, pixels ", prepared.pixels.size(0),
                           "; expected one, or as many");
  return Guard([&] {
    const at::Tensor keep = (1.0 - prepared.mask.round()).movedim(1, -1);
    return (prepared.pixels - 0.5) * keep + 0.5;
  });
}

struct VAEEncodeForInpaint {
  Image pixels;
  Vae vae;
  Mask mask;
  int64_t grow_mask_by = 6;

  static void Describe(NodeSchema<VAEEncodeForInpaint>& s) {
    s.Name("VAE Encode (for Inpainting)")
        .Category("latent/inpaint")
        .Description("Turns pictures into latents, with grey where they are to be painted anew.");
    s.Input<&VAEEncodeForInpaint::pixels>("pixels").Tooltip("The pictures.");
    s.Input<&VAEEncodeForInpaint::vae>("vae").Tooltip("The autoencoder.");
    s.Input<&VAEEncodeForInpaint::mask>("mask").Tooltip("What to paint anew.");
    s.Input<&VAEEncodeForInpaint::grow_mask_by>("grow_mask_by")
        .Default(6)
        .Range(0, 64)
        .Step(1)
        .Tooltip("How many pixels around the mask may change too.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const Prepared prepared, Prepare(vae, pixels, mask));
    ASSIGN_OR_RETURN(const at::Tensor grey, Grey(prepared));
    ASSIGN_OR_RETURN(at::Tensor samples, vae.autoencoder->Encode(grey));
    return Guard([&] {
      const at::Tensor& m = prepared.mask;
      at::Tensor grown = m;
      if (grow_mask_by > 0) {
        const int64_t padding = grow_mask_by / 2;  // ceil((grow_mask_by - 1) / 2)
        const at::Tensor kernel = at::ones({1, 1, grow_mask_by, grow_mask_by}, at::kFloat);
        grown =
            at::conv2d(m.round(), kernel, at::Tensor(), at::IntArrayRef({1, 1}), at::IntArrayRef({padding, padding}))
                .clamp(0, 1);
      }
      const at::Tensor noise_mask = grown.slice(2, 0, m.size(2)).slice(3, 0, m.size(3)).round().contiguous();
      return Latent{std::move(samples), noise_mask, {}};
    });
  }
};
ATELIER_REGISTER_NODE(VAEEncodeForInpaint);

struct InpaintModelConditioning {
  Conditioning positive;
  Conditioning negative;
  Vae vae;
  Image pixels;
  Mask mask;
  bool noise_mask = true;

  static void Describe(NodeSchema<InpaintModelConditioning>& s) {
    s.Name("InpaintModelConditioning")
        .Category("conditioning/inpaint")
        .Description("Tells an inpainting model what to paint anew.");
    s.Input<&InpaintModelConditioning::positive>("positive").Tooltip("What to aim at.");
    s.Input<&InpaintModelConditioning::negative>("negative").Tooltip("What to avoid.");
    s.Input<&InpaintModelConditioning::vae>("vae").Tooltip("The autoencoder.");
    s.Input<&InpaintModelConditioning::pixels>("pixels").Tooltip("The pictures.");
    s.Input<&InpaintModelConditioning::mask>("mask").Tooltip("What to paint anew.");
    s.Input<&InpaintModelConditioning::noise_mask>("noise_mask")
        .Default(true)
        .Tooltip("Keeps the rest of the latent as it is.");
    s.Output<Conditioning>("positive").Output<Conditioning>("negative").Output<Latent>("latent");
  }
  StatusOr<std::tuple<Conditioning, Conditioning, Latent>> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const Prepared prepared, Prepare(vae, pixels, mask));
    ASSIGN_OR_RETURN(const at::Tensor grey, Grey(prepared));
    ASSIGN_OR_RETURN(const at::Tensor concat, vae.autoencoder->Encode(grey));
    ASSIGN_OR_RETURN(at::Tensor samples, vae.autoencoder->Encode(prepared.pixels));
    auto with_picture = [&](Conditioning conditioning) {
      for (CondEntry& entry : conditioning.entries) {
        entry.tensors["concat_latent_image"] = concat;
        entry.tensors["concat_mask"] = prepared.mask.contiguous();
      }
      return conditioning;
    };
    Latent latent{std::move(samples), {}, {}};
    if (noise_mask) latent.noise_mask = prepared.mask.contiguous();
    return std::tuple(with_picture(positive), with_picture(negative), std::move(latent));
  }
};
ATELIER_REGISTER_NODE(InpaintModelConditioning);

struct InstructPixToPixConditioning {
  Conditioning positive;
  Conditioning negative;
  Vae vae;
  Image pixels;

  static void Describe(NodeSchema<InstructPixToPixConditioning>& s) {
    s.Name("InstructPixToPixConditioning")
        .Category("conditioning/instructpix2pix")
        .Description("Tells a picture-editing model which picture to edit.");
    s.Input<&InstructPixToPixConditioning::positive>("positive").Tooltip("What to aim at.");
    s.Input<&InstructPixToPixConditioning::negative>("negative").Tooltip("What to avoid.");
    s.Input<&InstructPixToPixConditioning::vae>("vae").Tooltip("The autoencoder.");
    s.Input<&InstructPixToPixConditioning::pixels>("pixels").Tooltip("The pictures.");
    s.Output<Conditioning>("positive").Output<Conditioning>("negative").Output<Latent>("latent");
  }
  StatusOr<std::tuple<Conditioning, Conditioning, Latent>> Run(NodeContext&) const {
    if (vae.autoencoder == nullptr) return InvalidArgument("the checkpoint holds no autoencoder; use Load VAE");
    RETURN_IF_ERROR(CheckPixels("pixels", pixels));
    if (pixels.pixels.size(1) < 8 || pixels.pixels.size(2) < 8 || pixels.pixels.size(3) < 3)
      return InvalidArgument("pixels are ", ShapeText(pixels.pixels.sizes()),
                             ", expected at least 8x8 with 3 channels");
    ASSIGN_OR_RETURN(const at::Tensor concat,
                     vae.autoencoder->Encode(CropToMultiple(CropToMultiple(pixels.pixels.slice(3, 0, 3), 1, 8), 2, 8)));
    auto with_picture = [&](Conditioning conditioning) {
      for (CondEntry& entry : conditioning.entries) entry.tensors["concat_latent_image"] = concat;
      return conditioning;
    };
    return std::tuple(with_picture(positive), with_picture(negative), Latent{at::zeros_like(concat), {}, {}});
  }
};
ATELIER_REGISTER_NODE(InstructPixToPixConditioning);

}  // namespace
}  // namespace atelier::nodes
