// Clusters of the real worker with the demonstration's model.
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "tests/harness/cluster.h"

namespace atelier::test {

inline std::string DemoModels() { return ATELIER_SOURCE_DIR "/deploy/demo-data/models"; }

/// Workers of one thread, so that neither their number nor the machine's cores change a byte. `models` "": empty.
inline ClusterOptions Real(const std::string& models) {
  ClusterOptions options;
  options.worker = "atelier-worker";
  options.worker_flags = {"--device", "cpu", "--threads", "1"};
  options.models = models;
  return options;
}

inline Process& StartAttached(Cluster& cluster, const std::string& name) {
  Process& worker = cluster.StartWorker(name);
  INFO(worker.Log());
  REQUIRE(worker.WaitLog("attached to the master", 60));
  return worker;
}

inline Json Loaders(const std::string& checkpoint) {
  return Json{{"1", {{"class_type", "CheckpointLoaderSimple"}, {"inputs", {{"ckpt_name", checkpoint}}}}},
              {"2",
               {{"class_type", "CLIPTextEncode"},
                {"inputs", {{"clip", Json::array({"1", 1})}, {"text", "a pink heart on a green background"}}}}},
              {"3",
               {{"class_type", "CLIPTextEncode"},
                {"inputs", {{"clip", Json::array({"1", 1})}, {"text", "blurry, low quality"}}}}}};
}

/// One task: a picture of 128x128 out of noise.
inline Json PicturePrompt(int64_t steps, uint64_t seed = 5, const std::string& checkpoint = "demo.safetensors") {
  Json prompt = Loaders(checkpoint);
  prompt["4"] =
      Json{{"class_type", "EmptyLatentImage"}, {"inputs", {{"width", 128}, {"height", 128}, {"batch_size", 1}}}};
  prompt["5"] = Json{{"class_type", "KSampler"},
                     {"inputs",
                      {{"model", Json::array({"1", 0})},
                       {"positive", Json::array({"2", 0})},
                       {"negative", Json::array({"3", 0})},
                       {"latent_image", Json::array({"4", 0})},
                       {"seed", seed},
                       {"steps", steps},
                       {"cfg", 5.0},
                       {"sampler_name", "euler"},
                       {"scheduler", "normal"},
                       {"denoise", 1.0}}}};
  prompt["6"] = Json{{"class_type", "VAEDecode"},
                     {"inputs", {{"samples", Json::array({"5", 0})}, {"vae", Json::array({"1", 2})}}}};
  prompt["7"] = Json{{"class_type", "SaveImage"},
                     {"inputs", {{"images", Json::array({"6", 0})}, {"filename_prefix", "picture"}}}};
  return prompt;
}

/// Six tiles of 128x128 redrawn with noise of each step, so that a tile begun anew with another state would show.
inline Json RedrawPrompt() {
  Json prompt = Loaders("demo.safetensors");
  prompt["4"] = Json{{"class_type", "EmptyImage"},
                     {"inputs", {{"width", 256}, {"height", 384}, {"batch_size", 1}, {"color", 0x7070B0}}}};
  prompt["5"] = Json{{"class_type", "UltimateSDUpscaleDistributed"},
                     {"inputs",
                      {{"upscaled_image", Json::array({"4", 0})},
                       {"model", Json::array({"1", 0})},
                       {"positive", Json::array({"2", 0})},
                       {"negative", Json::array({"3", 0})},
                       {"vae", Json::array({"1", 2})},
                       {"seed", 7},
                       {"steps", 4},
                       {"cfg", 5.0},
                       {"sampler_name", "euler_ancestral"},
                       {"scheduler", "normal"},
                       {"denoise", 0.6},
                       {"tile_width", 128},
                       {"tile_height", 128},
                       {"padding", 32},
                       {"mask_blur", 8},
                       {"force_uniform_tiles", true},
                       {"tiled_decode", false}}}};
  prompt["6"] = Json{{"class_type", "SaveImage"},
                     {"inputs", {{"images", Json::array({"5", 0})}, {"filename_prefix", "redrawn"}}}};
  return prompt;
}

}  // namespace atelier::test
