// A small catalogue with one node type of every kind that the planner tells apart.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/graph/frames.h"
#include "common/graph/picture_part.h"

namespace atelier {

inline NodeSpec MakeSpec(const std::string& type, std::vector<std::pair<std::string, std::string>> inputs,
                         std::vector<std::string> outputs) {
  NodeSpec spec;
  spec.type = type;
  for (auto& [name, input_type] : inputs) {
    InputSpec input;
    input.name = name;
    input.type = input_type;
    spec.inputs.push_back(std::move(input));
  }
  for (std::string& output : outputs) spec.outputs.push_back({output, output});
  return spec;
}

inline Catalog TestCatalog() {
  Catalog catalog;
  NodeSpec loader = MakeSpec("Loader", {{"ckpt_name", "COMBO"}}, {"MODEL", "CLIP", "VAE"});
  loader.inputs[0].folder = "checkpoints";
  catalog.Add(loader);
  catalog.Add(MakeSpec("Encode", {{"clip", "CLIP"}, {"text", "STRING"}}, {"CONDITIONING"}));
  NodeSpec control_loader = MakeSpec("ControlLoader", {{"name", "COMBO"}}, {"CONTROL_NET"});
  control_loader.inputs[0].folder = "controlnet";
  catalog.Add(control_loader);
  NodeSpec control =
      MakeSpec("Control", {{"conditioning", "CONDITIONING"}, {"control_net", "CONTROL_NET"}, {"image", "IMAGE"}},
               {"CONDITIONING"});
  control.keeps_handles = true;
  catalog.Add(control);
  NodeSpec part = MakeSpec(kPicturePartType, {{"image", "IMAGE"}}, {"IMAGE"});
  part.internal = true;
  catalog.Add(part);
  NodeSpec mask_part = MakeSpec(kMaskPartType, {{"mask", "MASK"}}, {"MASK"});
  mask_part.internal = true;
  catalog.Add(mask_part);
  NodeSpec set_mask = MakeSpec("SetMask", {{"conditioning", "CONDITIONING"}, {"mask", "MASK"}}, {"CONDITIONING"});
  set_mask.cut_for_tiles = true;
  catalog.Add(set_mask);
  NodeSpec latent_part = MakeSpec(kLatentPartType, {{"latent", "LATENT"}}, {"LATENT"});
  latent_part.internal = true;
  catalog.Add(latent_part);
  NodeSpec reference =
      MakeSpec("Reference", {{"conditioning", "CONDITIONING"}, {"latent", "LATENT"}}, {"CONDITIONING"});
  reference.cheap = reference.cut_for_tiles = true;
  catalog.Add(reference);
  catalog.Add(MakeSpec("EncodePicture", {{"image", "IMAGE"}}, {"LATENT"}));
  catalog.Add(MakeSpec("MaskOf", {{"image", "IMAGE"}}, {"MASK"}));
  NodeSpec join = MakeSpec("Join", {{"first", "CONDITIONING"}, {"second", "CONDITIONING"}}, {"CONDITIONING"});
  join.cheap = true;
  catalog.Add(join);
  catalog.Add(MakeSpec("Area", {{"conditioning", "CONDITIONING"}}, {"CONDITIONING", "LATENT"}));
  NodeSpec empty = MakeSpec("Empty", {{"width", "INT"}}, {"LATENT"});
  empty.cheap = true;
  catalog.Add(empty);
  catalog.Add(MakeSpec(
      "Sample", {{"model", "MODEL"}, {"seed", "INT"}, {"positive", "CONDITIONING"}, {"latent", "LATENT"}}, {"LATENT"}));
  catalog.Add(MakeSpec("Decode", {{"vae", "VAE"}, {"latent", "LATENT"}}, {"IMAGE"}));
  NodeSpec load = MakeSpec("Load", {{"image", "COMBO"}}, {"IMAGE"});
  load.inputs[0].folder = "input";
  catalog.Add(load);
  NodeSpec seed = MakeSpec("Seed", {{"seed", "INT"}, {"replica_index", "INT"}}, {"INT"});
  seed.inputs[1].hidden = true;
  seed.per_replica = true;
  seed.cheap = true;
  catalog.Add(seed);
  NodeSpec collect = MakeSpec("Collect", {{"images", "IMAGE"}, {"load_balance", "BOOLEAN"}}, {"IMAGE"});
  collect.inputs[0].gather = true;
  collect.gathers = true;
  collect.single_replica_if = "load_balance";
  catalog.Add(collect);
  NodeSpec tiled = MakeSpec(
      "Tiled", {{"image", "IMAGE"}, {"model", "MODEL"}, {"positive", "CONDITIONING"}, {"seed", "INT"}}, {"IMAGE"});
  tiled.tiles = TileSplit{.tile_node = "Tile", .image_input = "image"};
  catalog.Add(tiled);
  NodeSpec tile = tiled;
  tile.type = "Tile";
  tile.tiles.reset();
  tile.internal = true;
  catalog.Add(tile);
  NodeSpec pictures = tiled;  // the same, and can be run a picture at a time
  pictures.type = "TiledPictures";
  pictures.inputs.push_back(tiled.inputs[3]);
  pictures.inputs.back().name = "by_picture";
  pictures.inputs.back().type = "BOOLEAN";
  pictures.inputs.back().hidden = true;
  catalog.Add(pictures);
  NodeSpec divide = MakeSpec("Divide", {{"images", "IMAGE"}, {"clips", "IMAGE"}}, {"IMAGE", "IMAGE"});
  divide.inputs[1].hidden = divide.inputs[1].gather = true;
  divide.inputs[1].required = false;
  catalog.Add(divide);
  // A video's way from a file to a file.
  NodeSpec video = MakeSpec("Video", {{"file", "COMBO"}, {"cap", "INT"}}, {"IMAGE", "INT", "AUDIO"});
  video.inputs[0].folder = "input";
  NodeSpec open = video, rest = video;
  open.type = "VideoOpen";
  open.outputs = {{"file", "FRAME_FILE"}};
  rest.type = "VideoRest";
  rest.outputs[0] = {"extent", "STRING"};
  DeclareFrames(video, {.role = "source"});
  for (const NodeSpec& spec : {video, open, rest}) catalog.Add(spec);
  NodeSpec window =
      MakeSpec("FrameWindow", {{"source", "FRAME_FILE"}, {"image", "IMAGE"}, {"start", "INT"}, {"count", "INT"}},
               {"IMAGE", "INT"});
  window.internal = true;
  catalog.Add(window);
  NodeSpec batch = MakeSpec("FrameBatch", {{"images", "IMAGE"}}, {"IMAGE"});
  DeclareFrames(batch, {.role = "sink", .input = "images"});
  batch.internal = true;
  catalog.Add(batch);
  NodeSpec scale = MakeSpec("Scale", {{"image", "IMAGE"}, {"width", "INT"}}, {"IMAGE", "INT"});
  DeclareFrames(scale, {.role = "each", .input = "image"});
  catalog.Add(scale);
  NodeSpec enlarge = MakeSpec("Enlarge", {{"image", "IMAGE"}, {"model", "MODEL"}}, {"IMAGE"});
  DeclareFrames(enlarge, {.role = "each", .input = "image"});
  catalog.Add(enlarge);
  NodeSpec create = MakeSpec("Create", {{"images", "IMAGE"}, {"audio", "AUDIO"}}, {"VIDEO"});
  DeclareFrames(create, {.role = "pass", .input = "images"});
  catalog.Add(create);
  NodeSpec combine =
      MakeSpec("Combine", {{"images", "IMAGE"}, {"audio", "AUDIO"}, {"format", "STRING"}, {"pingpong", "BOOLEAN"}}, {});
  DeclareFrames(combine, {.role = "sink",
                          .input = "images",
                          .encoding = "rounded",
                          .floats_if = {{"format", {"deep"}}},
                          .replays_if = "pingpong"});
  combine.output_node = true;
  catalog.Add(combine);
  NodeSpec save_video = MakeSpec("SaveVideo", {{"video", "VIDEO"}}, {});
  DeclareFrames(save_video, {.role = "sink", .input = "video", .encoding = "u8"});
  save_video.output_node = true;
  catalog.Add(save_video);
  NodeSpec save = MakeSpec("Save", {{"images", "IMAGE"}, {"filename_prefix", "STRING"}}, {});
  save.output_node = true;
  catalog.Add(save);
  return catalog;
}

inline Json Link(const std::string& node, int slot = 0) { return Json::array({node, slot}); }
inline Json Node(const std::string& type, Json inputs) { return {{"class_type", type}, {"inputs", std::move(inputs)}}; }

/// A video, each frame enlarged by a network, with its sound.
inline Json VideoPrompt() {
  return {{"1", Node("Loader", {{"ckpt_name", "m.safetensors"}})},
          {"2", Node("Video", {{"file", "a.mp4"}, {"cap", 0}})},
          {"3", Node("Scale", {{"image", Link("2")}, {"width", 64}})},
          {"4", Node("Enlarge", {{"image", Link("3")}, {"model", Link("1")}})},
          {"5", Node("Combine", {{"images", Link("4")}, {"audio", Link("2", 2)}, {"format", "flat"}})}};
}

/// Loader, prompt, seed, sampler, decoder, collector, save: what ComfyUI-Distributed users have.
inline Json ReplicaPrompt() {
  return {{"1", Node("Loader", {{"ckpt_name", "m.safetensors"}})},
          {"2", Node("Encode", {{"clip", Link("1", 1)}, {"text", "a cat"}})},
          {"3", Node("Empty", {{"width", 64}})},
          {"4", Node("Seed", {{"seed", 10}})},
          {"5",
           Node("Sample", {{"model", Link("1")}, {"seed", Link("4")}, {"positive", Link("2")}, {"latent", Link("3")}})},
          {"6", Node("Decode", {{"vae", Link("1", 2)}, {"latent", Link("5")}})},
          {"7", Node("Collect", {{"images", Link("6")}, {"load_balance", false}})},
          {"8", Node("Save", {{"images", Link("7")}, {"filename_prefix", "x"}})}};
}

inline Json TiledPrompt() {
  return {{"1", Node("Loader", {{"ckpt_name", "m.safetensors"}})},
          {"2", Node("Encode", {{"clip", Link("1", 1)}, {"text", "a cat"}})},
          {"3", Node("Load", {{"image", "cat.png"}})},
          {"4", Node("Tiled", {{"image", Link("3")}, {"model", Link("1")}, {"positive", Link("2")}, {"seed", 5}})},
          {"5", Node("Save", {{"images", Link("4")}, {"filename_prefix", "x"}})}};
}

/// Puts a control net and a node of prompts behind it between the prompt "2" and its user.
inline Json WithControl(Json prompt, const std::string& user) {
  prompt["20"] = Node("ControlLoader", {{"name", "c.safetensors"}});
  prompt["21"] = Node("Load", {{"image", "pose.png"}});
  prompt["22"] = Node("Control", {{"conditioning", Link("2")}, {"control_net", Link("20")}, {"image", Link("21")}});
  prompt["23"] = Node("Area", {{"conditioning", Link("22")}});
  prompt[user]["inputs"]["positive"] = Link("23");
  return prompt;
}

// The same with a mask, and another prompt beside it.
inline Json WithMask(Json prompt, const std::string& user) {
  prompt["30"] = Node("Load", {{"image", "mask.png"}});
  prompt["31"] = Node("MaskOf", {{"image", Link("30")}});
  prompt["32"] = Node("SetMask", {{"conditioning", Link("2")}, {"mask", Link("31")}});
  prompt["33"] = Node("Encode", {{"clip", prompt["2"]["inputs"]["clip"]}, {"text", "sky"}});
  prompt["34"] = Node("Join", {{"first", Link("32")}, {"second", Link("33")}});
  prompt[user]["inputs"]["positive"] = Link("34");
  return prompt;
}

}  // namespace atelier
