#include "worker/fake/fake_image.h"

namespace atelier {
namespace {

// The inputs that the tiled node and its tile node share. Source: spec distributed.md 1.8.
struct UpscaleInputs {
  FakeImage upscaled_image;
  std::optional<FakeModel> model;
  uint64_t seed = 0;
  int64_t steps = 2, delay_ms = 0;
  int64_t tile_width = 512, tile_height = 512, padding = 32, mask_blur = 8;
  bool force_uniform_tiles = true, tiled_decode = false;
  std::string mode_type = "Linear", seam_fix_mode = "None", order = "of the job";

  template <typename N>
  static void Describe(NodeSchema<N>& s) {
    s.Name("Ultimate SD Upscale Distributed (No Upscale)").Category("image/upscaling");
    s.template Input<&N::upscaled_image>("upscaled_image");
    s.template Input<&N::model>("model");
    s.template Input<&N::seed>("seed").Default(0).Range(0, 18446744073709551615ULL).Seed();
    s.template Input<&N::steps>("steps").Default(2).Range(1, 10000);
    s.template Input<&N::delay_ms>("delay_ms").Default(0).Range(0, 600'000);
    s.template Input<&N::tile_width>("tile_width").Default(512).Range(64, 2048).Step(8);
    s.template Input<&N::tile_height>("tile_height").Default(512).Range(64, 2048).Step(8);
    s.template Input<&N::padding>("padding").Default(32).Range(0, 256).Step(8);
    s.template Input<&N::mask_blur>("mask_blur").Default(8).Range(0, 256);
    s.template Input<&N::force_uniform_tiles>("force_uniform_tiles").Default(true);
    s.template Input<&N::tiled_decode>("tiled_decode").Default(false);
    s.template Input<&N::mode_type>("mode_type").OneOf({"Linear", "Chess", "None"}).Optional();
    s.template Input<&N::seam_fix_mode>("seam_fix_mode")
        .OneOf({"None", "Band Pass", "Half Tile", "Half Tile + Intersections"})
        .Optional();
    s.template Input<&N::order>("order").OneOf({"of the job", "exact", "independent"}).Optional();
  }
};

// The whole image at once; the master never runs this one but cuts it into tiles.
struct FakeUpscale : UpscaleInputs {
  static void Describe(NodeSchema<FakeUpscale>& s) {
    UpscaleInputs::Describe(s);
    s.Output<FakeImage>("IMAGE").Tiles({.tile_node = "UltimateSDUpscaleTile", .image_input = "upscaled_image"});
  }
  StatusOr<FakeImage> Run(NodeContext&) const { return InvalidArgument("this node runs in tiles, under a master"); }
};
ATELIER_REGISTER_NODE_AS(FakeUpscale, "UltimateSDUpscaleDistributed");

// One tile: each byte becomes a function of itself, its neighbour, the seed and the place of the crop.
struct FakeUpscaleTile : UpscaleInputs {
  std::string crops;
  static void Describe(NodeSchema<FakeUpscaleTile>& s) {
    UpscaleInputs::Describe(s);
    s.Internal();
    s.Input<&FakeUpscaleTile::crops>("crops").Hidden();
    s.Output<FakeImage>("IMAGE");
  }
  StatusOr<FakeImage> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(FakeWork(ctx, delay_ms, steps));
    FakeImage image = upscaled_image;
    uint64_t state = Mix(seed, model ? model->hash : 0);
    for (const char c : crops) state = Mix(state, static_cast<uint64_t>(static_cast<unsigned char>(c)));
    uint8_t before = 0;
    for (uint8_t& byte : image.data) {
      state = Mix(state, byte);
      const uint8_t old = byte;
      byte = static_cast<uint8_t>((byte + before) / 2 + (state >> 60));
      before = old;
    }
    return image;
  }
};
ATELIER_REGISTER_NODE_AS(FakeUpscaleTile, "UltimateSDUpscaleTile");

}  // namespace
}  // namespace atelier
