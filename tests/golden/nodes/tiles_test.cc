#include "common/image/tiles.h"

#include <catch2/catch.hpp>

#include "tests/golden/nodes/run_prompt.h"
#include "worker/engine/types.h"

namespace atelier {
namespace {

StatusOr<Value> Wanted(Executor& executor, golden::Host& host, Fragment fragment, const std::string& node, int slot) {
  fragment.output_nodes.clear();
  fragment.wanted = {{node, slot, ""}};
  ASSIGN_OR_RETURN(const FragmentResult result, executor.Run(fragment, host));
  return DecodeBlob(result.blobs.at(0));
}

StatusOr<std::vector<ImageU8>> Pictures(const Value& value) {
  const auto* image = value.Get<engine::Image>();
  if (image == nullptr) return InvalidArgument("no image");
  std::vector<ImageU8> pictures;
  for (int64_t i = 0; i < image->pixels.size(0); ++i) {
    const at::Tensor p = image->pixels[i].contiguous();
    ASSIGN_OR_RETURN(pictures.emplace_back(),
                     QuantizeFloats(p.const_data_ptr<float>(), p.size(1), p.size(0), static_cast<int>(p.size(2))));
  }
  return pictures;
}

const NodeSpec* SpecOf(const Json& node) {
  const NodeType* type = Registry<NodeType>::Get().Find(node.at("class_type").get<std::string>());
  return type == nullptr ? nullptr : &type->spec();
}

Value FromPictures(const std::vector<ImageU8>& pictures) {
  std::vector<at::Tensor> all;
  for (const ImageU8& picture : pictures) {
    at::Tensor pixels = at::empty({picture.height, picture.width, picture.channels}, at::kFloat);
    ToFloats(picture, pixels.mutable_data_ptr<float>());
    all.push_back(pixels);
  }
  return Value::Of<engine::Image>("IMAGE", engine::Image{at::stack(all)});
}

// The canvas of a tiled node as a master has it drawn: the base, then step after step.
StatusOr<std::vector<ImageU8>> DrawSteps(const Json& prompt, const std::string& id, golden::Host& host,
                                         Executor& executor) {
  const TileSplit split = *SpecOf(prompt.at(id))->tiles;
  const Json& inputs = prompt.at(id).at("inputs");
  const bool has_base = split.canvas_multiple > 1;
  Fragment whole = golden::WholePrompt(prompt, host);
  if (has_base) whole.nodes[id]["class_type"] = Cat(split.tile_node, "Canvas");
  const Json& link = inputs.at(split.image_input);
  ASSIGN_OR_RETURN(const Value start, Wanted(executor, host, whole, has_base ? id : link[0].get<std::string>(),
                                             has_base ? 0 : link[1].get<int>()));
  ASSIGN_OR_RETURN(std::vector<ImageU8> canvas, Pictures(start));

  TileSettings settings;
  settings.tile_width = inputs.at("tile_width");
  settings.tile_height = inputs.at("tile_height");
  settings.padding = inputs.at(split.padding_input);
  settings.mask_blur = inputs.at("mask_blur");
  settings.force_uniform = inputs.at("force_uniform_tiles");
  settings.round_tiles = !has_base;
  if (inputs.contains("mode_type")) {
    ASSIGN_OR_RETURN(settings.mode, ParseRedrawMode(inputs.at("mode_type").get<std::string>()));
    ASSIGN_OR_RETURN(settings.seam_fix, ParseSeamFix(inputs.at("seam_fix_mode").get<std::string>()));
    settings.seam_width = inputs.at("seam_fix_width");
    settings.seam_blur = inputs.at("seam_fix_mask_blur");
    settings.seam_padding = inputs.at("seam_fix_padding");
    settings.batch = inputs.at("batch_size");
  }
  Json init_width = canvas[0].width, init_height = canvas[0].height;
  if (has_base) {
    ASSIGN_OR_RETURN(const Value width, Wanted(executor, host, whole, id, 1));
    ASSIGN_OR_RETURN(const Value height, Wanted(executor, host, whole, id, 2));
    init_width = width.literal();
    init_height = height.literal();
  }
  ASSIGN_OR_RETURN(const TilePlan plan, MakeTilePlan(canvas[0].width, canvas[0].height, settings));
  for (const std::vector<int>& step : plan.steps) {
    Fragment fragment = golden::WholePrompt(prompt, host);
    Json& node = fragment.nodes[id];
    node["class_type"] = split.tile_node;
    Json& in = node["inputs"];
    in.erase(split.image_input);
    std::string crops;
    Fragment::Binding binding{id, "upscaled_image", {}, step.size() > 1};
    for (const int t : step) {
      const Tile& tile = plan.tiles[static_cast<size_t>(t)];
      const Box& box = tile.crop;
      in["process_width"] = tile.process_width;
      in["process_height"] = tile.process_height;
      crops += Cat(crops.empty() ? "" : ";", box.x1, ",", box.y1, ",", box.x2, ",", box.y2);
      std::vector<ImageU8> cut;
      for (const ImageU8& image : canvas) {
        ASSIGN_OR_RETURN(cut.emplace_back(), Crop(image, box));
      }
      ASSIGN_OR_RETURN(std::string blob, EncodeBlob(FromPictures(cut), ""));
      const std::string name = Cat("tile", binding.blobs.size());
      host.blobs[name] = std::make_shared<const std::string>(std::move(blob));
      binding.blobs.push_back(name);
    }
    fragment.bindings.push_back(std::move(binding));
    in["crops"] = std::move(crops);
    in["init_width"] = init_width;
    in["init_height"] = init_height;
    in["canvas_width"] = plan.canvas_width;
    in["canvas_height"] = plan.canvas_height;
    executor.ClearCache();  // the blobs of every step have the same names here
    ASSIGN_OR_RETURN(const Value redrawn, Wanted(executor, host, std::move(fragment), id, 0));
    ASSIGN_OR_RETURN(const std::vector<ImageU8> pictures, Pictures(redrawn));
    if (pictures.size() != canvas.size() * step.size()) return InvalidArgument(pictures.size(), " pictures");
    for (size_t i = 0; i < pictures.size(); ++i) {
      const Tile& tile = plan.tiles[static_cast<size_t>(step[i % step.size()])];
      RETURN_IF_ERROR(BlendTile(plan, tile, pictures[i], &canvas[i / step.size()]));
    }
  }
  return canvas;
}

std::string TiledNode(const Json& prompt) {
  for (const auto& [id, node] : prompt.items()) {
    const NodeSpec* spec = SpecOf(node);
    if (spec != nullptr && spec->tiles) return id;
  }
  return "";
}

TEST_CASE("steps as tasks of their own give the bytes of the node's own loop") {
  golden::UseGoldenModels();
  golden::Host host;
  Executor executor;
  for (const char* name :
       {"usdu/halftile_inter", "usdu/batch3_chess", "usdu/imgbatch", "usdu/area", "usdu_distributed/nonuniform"}) {
    INFO(name);
    const Json prompt = golden::ReadJson(Cat(golden::Root(), "/", name, "/workflow.json"));
    const std::string id = TiledNode(prompt);
    REQUIRE(!id.empty());
    const auto loop = Wanted(executor, host, golden::WholePrompt(prompt, host), id, 0);
    INFO(Message(loop.status()));
    REQUIRE(loop.ok());
    const auto steps = DrawSteps(prompt, id, host, executor);
    INFO(Message(steps.status()));
    REQUIRE(steps.ok());
    const auto drawn = Pictures(*loop);
    REQUIRE(drawn.ok());
    CHECK((*steps == *drawn));
  }
}

}  // namespace
}  // namespace atelier
