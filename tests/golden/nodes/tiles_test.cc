#include "common/image/tiles.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "common/image/codec.h"
#include "tests/golden/nodes/run_prompt.h"
#include "worker/engine/types.h"

namespace atelier {
namespace {

StatusOr<ImageU8> Picture(const Value& value) {
  const auto* image = value.Get<engine::Image>();
  if (image == nullptr) return InvalidArgument("no image");
  const at::Tensor p = image->pixels[0].contiguous();
  return QuantizeFloats(p.const_data_ptr<float>(), p.size(1), p.size(0), static_cast<int>(p.size(2)));
}

Value FromPicture(const ImageU8& picture) {
  at::Tensor pixels = at::empty({1, picture.height, picture.width, picture.channels}, at::kFloat);
  ToFloats(picture, pixels.mutable_data_ptr<float>());
  return Value::Of<engine::Image>("IMAGE", engine::Image{pixels});
}

// The canvas of a tiled node, drawn tile after tile.
StatusOr<ImageU8> DrawTiles(const Json& prompt, const std::string& id, golden::Host& host, Executor& executor) {
  const Json& inputs = prompt.at(id).at("inputs");
  Fragment base = golden::WholePrompt(prompt, host);
  base.output_nodes.clear();
  base.wanted = {{inputs.at("upscaled_image")[0], inputs.at("upscaled_image")[1], ""}};
  ASSIGN_OR_RETURN(const FragmentResult start, executor.Run(base, host));
  ASSIGN_OR_RETURN(const Value image, DecodeBlob(start.blobs.at(0)));
  ASSIGN_OR_RETURN(ImageU8 canvas, Picture(image));

  TileSettings settings;
  settings.tile_width = inputs.at("tile_width");
  settings.tile_height = inputs.at("tile_height");
  settings.padding = inputs.at("padding");
  settings.mask_blur = inputs.at("mask_blur");
  settings.force_uniform = inputs.at("force_uniform_tiles");
  ASSIGN_OR_RETURN(const TilePlan plan, MakeTilePlan(canvas.width, canvas.height, settings));
  for (const int index : plan.order) {
    const Tile& tile = plan.tiles[static_cast<size_t>(index)];
    ASSIGN_OR_RETURN(const ImageU8 crop, Crop(canvas, tile.crop));
    ASSIGN_OR_RETURN(std::string blob, EncodeBlob(FromPicture(crop), ""));
    host.blobs["tile"] = std::make_shared<const std::string>(std::move(blob));
    Fragment fragment = golden::WholePrompt(prompt, host);
    fragment.output_nodes.clear();
    Json& node = fragment.nodes[id];
    node["class_type"] = "UltimateSDUpscaleTile";
    Json& in = node["inputs"];
    in.erase("upscaled_image");
    in["process_width"] = tile.process_width;
    in["process_height"] = tile.process_height;
    in["crop_x1"] = tile.crop.x1;
    in["crop_y1"] = tile.crop.y1;
    in["crop_x2"] = tile.crop.x2;
    in["crop_y2"] = tile.crop.y2;
    in["canvas_width"] = canvas.width;
    in["canvas_height"] = canvas.height;
    fragment.bindings.push_back({id, "upscaled_image", {"tile"}, false});
    fragment.wanted = {{id, 0, ""}};
    executor.ClearCache();  // every tile's blob has the same name here
    ASSIGN_OR_RETURN(const FragmentResult result, executor.Run(fragment, host));
    ASSIGN_OR_RETURN(const Value redrawn, DecodeBlob(result.blobs.at(0)));
    ASSIGN_OR_RETURN(const ImageU8 picture, Picture(redrawn));
    RETURN_IF_ERROR(BlendTile(plan, tile, picture, &canvas));
  }
  return canvas;
}

TEST_CASE("group usdu_distributed, tile after tile") {
  golden::UseGoldenModels();
  golden::Host host;
  Executor executor;
  int drawn = 0;
  for (const Json& c : golden::Cases("usdu_distributed")) {
    const std::string workflow = golden::Root() + "/" + c.at("workflow").get<std::string>();
    const Json prompt = golden::ReadJson(workflow);
    for (const auto& [id, node] : prompt.items()) {
      if (node.at("class_type") != "UltimateSDUpscaleDistributed") continue;
      INFO(c.at("id").get<std::string>());
      auto canvas = DrawTiles(prompt, id, host, executor);
      if (!canvas.ok()) UNSCOPED_INFO(Message(canvas.status()));
      REQUIRE(canvas.ok());
      auto want = DecodeImage(golden::ReadFile(workflow.substr(0, workflow.rfind('/')) + "/final.png"));
      REQUIRE(want.ok());
      REQUIRE(canvas->data.size() == want->rgb.data.size());
      int worst = 0;
      for (size_t i = 0; i < canvas->data.size(); ++i)
        worst = std::max(worst, std::abs(int{canvas->data[i]} - int{want->rgb.data[i]}));
      const int allowed = static_cast<int>(std::floor(c.at("tolerance_abs").get<double>() * 255 + 1e-6));
      std::fprintf(stderr, "%-40s tiles %d of %d\n", c.at("id").get<std::string>().c_str(), worst, allowed);
      CHECK(worst <= allowed);
      ++drawn;
    }
  }
  CHECK(drawn > 0);
}

}  // namespace
}  // namespace atelier
