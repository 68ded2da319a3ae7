// Pictures to latents and back in pieces of a batch, as VideoHelperSuite offers it. Source: spec extras.md 4.4.
#include <algorithm>
#include <functional>

#include "worker/nodes/vae_checks.h"

namespace atelier::nodes {
namespace {

constexpr const char* kCategory = "Video Helper Suite 🎥🅥🅗🅢/batched nodes";

// What `code` makes of each piece of at most per_batch items, joined.
StatusOr<at::Tensor> InPieces(const at::Tensor& all, int64_t per_batch, NodeContext& ctx,
                              const std::function<StatusOr<at::Tensor>(const at::Tensor&)>& code) {
  return Guard([&]() -> StatusOr<at::Tensor> {
    std::vector<at::Tensor> made;
    for (int64_t at = 0; at < all.size(0); at += per_batch) {
      RETURN_IF_ERROR(ctx.Step(at, all.size(0)));
      ASSIGN_OR_RETURN(made.emplace_back(), code(all.narrow(0, at, std::min(per_batch, all.size(0) - at))));
      if (made.back().sizes().slice(1) != made.front().sizes().slice(1))
        return InvalidArgument("per_batch is ", per_batch, ", which makes pieces of ", ShapeText(made.front().sizes()),
                               " and ", ShapeText(made.back().sizes()), " of ", all.size(0),
                               " items; choose one that divides them evenly");
    }
    return at::cat(made, 0);
  });
}

struct VhsVaeEncodeBatched {
  using T = VhsVaeEncodeBatched;
  Image pixels;
  Vae vae;
  int64_t per_batch = 16;

  static void Describe(NodeSchema<T>& s) {
    s.Name("VAE Encode Batched 🎥🅥🅗🅢").Category(kCategory).Description("Turns pictures into latents, some at a time.");
    s.Input<&T::pixels>("pixels").Tooltip("The pictures.");
    s.Input<&T::vae>("vae").Tooltip("The autoencoder.");
    s.Input<&T::per_batch>("per_batch").Default(16).Range(1, Json()).Tooltip("How many pictures at a time.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(CheckEncode(vae, pixels));
    ASSIGN_OR_RETURN(at::Tensor samples, InPieces(pixels.pixels.slice(3, 0, 3), per_batch, ctx,
                                                  [this](const auto& some) { return vae.autoencoder->Encode(some); }));
    return Latent{std::move(samples), {}, {}};
  }
};
ATELIER_REGISTER_NODE_AS(VhsVaeEncodeBatched, "VHS_VAEEncodeBatched");

struct VhsVaeDecodeBatched {
  using T = VhsVaeDecodeBatched;
  Latent samples;
  Vae vae;
  int64_t per_batch = 16;

  static void Describe(NodeSchema<T>& s) {
    s.Name("VAE Decode Batched 🎥🅥🅗🅢").Category(kCategory).Description("Turns latents into pictures, some at a time.");
    s.Input<&T::samples>("samples").Tooltip("The latents.");
    s.Input<&T::vae>("vae").Tooltip("The autoencoder.");
    s.Input<&T::per_batch>("per_batch").Default(16).Range(1, Json()).Tooltip("How many latents at a time.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(CheckDecode(vae, samples));
    ASSIGN_OR_RETURN(at::Tensor pixels, InPieces(samples.samples, per_batch, ctx,
                                                 [this](const auto& some) { return vae.autoencoder->Decode(some); }));
    return Image{std::move(pixels)};
  }
};
ATELIER_REGISTER_NODE_AS(VhsVaeDecodeBatched, "VHS_VAEDecodeBatched");

}  // namespace
}  // namespace atelier::nodes
