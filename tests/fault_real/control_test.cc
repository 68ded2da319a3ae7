// Control nets and masks of a redraw in tiles: their pictures are cut on the master, and the result is that of one task
// which has them whole.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>

#include "common/image/codec.h"
#include "common/tensorio/safetensors.h"
#include "tests/fault_real/real.h"

namespace atelier::test {
namespace {

namespace fs = std::filesystem;

// Random weights of either sign between 2^-10 and 2^-6.
std::string Weights(std::mt19937& random, const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t side : shape) count *= side;
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = random();
    bytes.push_back(static_cast<char>(bits));
    bytes.push_back(static_cast<char>((bits >> 8 & 1) << 7 | (0x14 + (bits >> 9) % 16)));
  }
  return bytes;
}

// The demonstration's model and a control net for it: the model's own encoder with a hint block and outputs of random
// weights.
void MakeModels(const fs::path& models) {
  for (const char* folder : {"checkpoints", "controlnet"}) fs::create_directories(models / folder);
  const std::string checkpoint = DemoModels() + "/checkpoints/demo.safetensors";
  fs::copy_file(checkpoint, models / "checkpoints/demo.safetensors");
  const auto file = SafetensorsFile::Open(checkpoint);
  REQUIRE(file.ok());
  const SafetensorsView& view = (*file)->view();
  std::mt19937 random(3);
  std::vector<std::pair<TensorToWrite, std::string>> tensors;
  const auto layer = [&](const std::string& name, std::vector<int64_t> shape) {
    tensors.push_back({{name + ".bias", DType::kF16, {shape[0]}, {}}, Weights(random, {shape[0]})});
    tensors.push_back({{name + ".weight", DType::kF16, shape, {}}, Weights(random, shape)});
  };
  const std::string from = "model.diffusion_model.", to = "control_model.";
  for (const char* part : {"input_blocks.", "middle_block.", "time_embed."}) {
    for (auto it = view.tensors().lower_bound(from + part); it != view.tensors().end(); ++it) {
      const TensorInfo& info = it->second;
      if (!info.name.starts_with(from + part)) break;
      tensors.push_back(
          {{to + info.name.substr(from.size()), info.dtype, info.shape, {}}, std::string(view.Data(info))});
    }
  }
  int64_t width = view.Find(from + "input_blocks.0.0.weight")->shape[0];
  const std::vector<int64_t> channels{3, 16, 16, 32, 32, 96, 96, 256, width};
  for (size_t i = 0; i + 1 < channels.size(); ++i)
    layer(Cat(to, "input_hint_block.", 2 * i), {channels[i + 1], channels[i], 3, 3});
  for (int block = 0;; ++block) {
    const TensorInfo* last = nullptr;
    for (const char* part : {".0.weight", ".0.op.weight", ".0.out_layers.3.weight"})
      if (const TensorInfo* info = view.Find(Cat(from, "input_blocks.", block, part))) last = info;
    if (last == nullptr) break;
    width = last->shape[0];
    layer(Cat(to, "zero_convs.", block, ".0"), {width, width, 1, 1});
  }
  layer(to + "middle_block_out.0", {width, width, 1, 1});
  std::vector<TensorToWrite> all;
  for (auto& [tensor, bytes] : tensors) {
    tensor.bytes = bytes;
    all.push_back(tensor);
  }
  std::ofstream(models / "controlnet/control.safetensors", std::ios::binary) << WriteSafetensors(all, {});
}

void MakeHint(const std::string& path) {
  auto image = MakeImage(190, 150, 3);
  REQUIRE(image.ok());
  for (int y = 0; y < image->height; ++y)
    for (int x = 0; x < image->width; ++x)
      for (int c = 0; c < 3; ++c) image->row(y)[3 * x + c] = static_cast<uint8_t>(x * (3 + c) + y * y / 9);
  const auto png = EncodePng(*image);
  REQUIRE(png.ok());
  std::ofstream(path, std::ios::binary) << *png;
}

struct Work {
  const char* mode;
  const char* seam_fix;
  int pictures, group;
};

// Two control nets in a chain, one shown a file that is smaller than the canvas along one side, the other that file
// scaled to floats between bytes; below them a prompt with that file as its mask, beside the prompt without. `whole`: a
// list goes in, so that one task has it all.
Json ControlPrompt(const Work& work, bool whole) {
  Json prompt = RedrawPrompt();
  prompt["4"]["inputs"].update({{"width", 168}, {"height", 104}, {"batch_size", work.pictures}});
  prompt["8"] = Json{{"class_type", "RebatchImages"},
                     {"inputs", {{"images", Json::array({"4", 0})}, {"batch_size", work.pictures}}}};
  prompt["10"] = Json{{"class_type", "ControlNetLoader"}, {"inputs", {{"control_net_name", "control.safetensors"}}}};
  prompt["11"] = Json{{"class_type", "LoadImage"}, {"inputs", {{"image", "hint.png"}}}};
  prompt["12"] = Json{{"class_type", "ImageScale"},
                      {"inputs",
                       {{"image", Json::array({"11", 0})},
                        {"upscale_method", "bilinear"},
                        {"width", 333},
                        {"height", 97},
                        {"crop", "disabled"}}}};
  const auto apply = [&](const char* positive, const char* negative, int slot, const char* image) {
    return Json{{"class_type", "ControlNetApplyAdvanced"},
                {"inputs",
                 {{"positive", Json::array({positive, 0})},
                  {"negative", Json::array({negative, slot})},
                  {"control_net", Json::array({"10", 0})},
                  {"image", Json::array({image, 0})},
                  {"strength", 1.0},
                  {"start_percent", 0.0},
                  {"end_percent", 1.0}}}};
  };
  prompt["15"] =
      Json{{"class_type", "ImageToMask"}, {"inputs", {{"image", Json::array({"11", 0})}, {"channel", "red"}}}};
  prompt["16"] = Json{{"class_type", "ConditioningSetMask"},
                      {"inputs",
                       {{"conditioning", Json::array({"3", 0})},
                        {"mask", Json::array({"15", 0})},
                        {"strength", 1.5},
                        {"set_cond_area", "default"}}}};
  prompt["17"] =
      Json{{"class_type", "ConditioningCombine"},
           {"inputs", {{"conditioning_1", Json::array({"2", 0})}, {"conditioning_2", Json::array({"16", 0})}}}};
  prompt["13"] = apply("17", "3", 0, "11");
  prompt["14"] = apply("13", "13", 1, "12");
  Json& inputs = prompt["5"]["inputs"];
  inputs.erase("padding");
  inputs.update({{"upscaled_image", Json::array({whole ? "8" : "4", 0})},
                 {"positive", Json::array({"14", 0})},
                 {"negative", Json::array({"14", 1})},
                 {"steps", 2},
                 {"tile_width", 64},
                 {"tile_height", 64},
                 {"tile_padding", 16},
                 {"mask_blur", 4},
                 {"mode_type", work.mode},
                 {"seam_fix_mode", work.seam_fix},
                 {"seam_fix_denoise", 1.0},
                 {"seam_fix_width", 32},
                 {"seam_fix_mask_blur", 4},
                 {"seam_fix_padding", 16},
                 {"batch_size", work.group}});
  prompt["5"]["class_type"] = "UltimateSDUpscaleNoUpscale";
  return prompt;
}

// How many blobs of this type the master has cut.
size_t PartBlobs(const Cluster& cluster, const char* wanted) {
  size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(cluster.state_dir())) {
    if (!entry.is_regular_file() || entry.path().filename().string().size() != 64) continue;
    const auto file = SafetensorsFile::Open(entry.path().string());
    if (!file.ok()) continue;
    const auto type = (*file)->view().metadata().find("atelier_type");
    if (type != (*file)->view().metadata().end() && type->second == wanted) ++count;
  }
  return count;
}

TEST_CASE(
    "real worker: tiles that get parts of control nets' pictures and masks make what one task makes of the whole") {
  const TempDir models;
  MakeModels(models.path());
  const std::vector<Work> works{{"Linear", "None", 1, 1},
                                {"Chess", "Half Tile + Intersections", 1, 1},
                                {"Linear", "Band Pass", 3, 1},
                                {"Chess", "None", 2, 2}};
  std::vector<std::string> expected;
  for (const int workers : {1, 3}) {
    Cluster cluster(Real(models.path().string()));
    MakeHint(cluster.dir() / "input/hint.png");
    for (int i = 0; i < workers; ++i) StartAttached(cluster, Cat("w", i));
    for (size_t w = 0; w < works.size(); ++w) {
      const Work& work = works[w];
      INFO(workers << " workers, " << work.mode << ", " << work.seam_fix << ", " << work.pictures << " pictures, "
                   << work.group << " tiles at once");
      if (workers == 1) {
        const v1::Job whole = cluster.WaitJob(cluster.Submit(ControlPrompt(work, true)), 300);
        INFO(whole.error());
        REQUIRE(whole.state() == "done");
        CHECK(whole.tasks_total() <= 3);  // the loop is one task
        expected.push_back(cluster.PixelHash(whole));
      }
      const size_t pictures = PartBlobs(cluster, "IMAGE_PARTS");
      const v1::Job tiles = cluster.WaitJob(cluster.Submit(ControlPrompt(work, false)), 300);
      INFO(tiles.error());
      REQUIRE(tiles.state() == "done");
      CHECK(tiles.tasks_total() >= 6U / static_cast<unsigned>(work.group));
      CHECK(PartBlobs(cluster, "IMAGE_PARTS") > pictures);
      CHECK(PartBlobs(cluster, "MASK_PART") > 0);  // equal ones of two jobs are one
      CHECK(cluster.PixelHash(tiles) == expected[w]);
    }
    if (workers > 1) continue;
    Json bare = ControlPrompt(works[0], false), unmasked = bare;  // they have an effect
    bare["5"]["inputs"]["positive"] = Json::array({"17", 0});
    bare["5"]["inputs"]["negative"] = Json::array({"3", 0});
    unmasked["13"]["inputs"]["positive"] = Json::array({"2", 0});
    for (const Json& without : {bare, unmasked})
      CHECK(cluster.PixelHash(cluster.WaitJob(cluster.Submit(without), 300)) != expected[0]);
  }
}

}  // namespace
}  // namespace atelier::test
