// The names that diffusers gives to the weights of a classic UNet. Source: spec engine.md 8.1.
#include <algorithm>
#include <utility>

#include "worker/models/adapter.h"

namespace atelier::models::names_unet {
namespace {

// Own layer prefix -> the same layer's in diffusers. Resnet layers have other names inside as well.
using Layers = std::vector<std::pair<std::string, std::string>>;

void AddResnet(const std::string& own, const std::string& other, Layers& layers) {
  for (const auto& [from, to] : {std::pair("in_layers.0", "norm1"), std::pair("in_layers.2", "conv1"),
                                 std::pair("emb_layers.1", "time_emb_proj"), std::pair("out_layers.0", "norm2"),
                                 std::pair("out_layers.3", "conv2"), std::pair("skip_connection", "conv_shortcut")}) {
    layers.emplace_back(own + "." + from + ".", other + "." + to + ".");
  }
}

// The blocks of one side: a level ends with its change of size.
void AddSide(const engine::WeightSource& weights, const std::string& own, const std::string& other,
             const std::string& resize, int64_t first, Layers& layers) {
  int64_t level = 0, place = 0;
  for (int64_t i = first; weights.HasPrefix(Cat(own, i, ".")); ++i) {
    const std::string block = Cat(own, i, ".");
    bool ends = false;
    for (int64_t j = 0; weights.HasPrefix(Cat(block, j, ".")); ++j) {
      const std::string layer = Cat(block, j);
      if (weights.Has(layer + ".in_layers.0.weight")) {
        AddResnet(layer, Cat(other, level, ".resnets.", place), layers);
      } else if (weights.Has(layer + ".proj_in.weight")) {
        layers.emplace_back(layer + ".", Cat(other, level, ".attentions.", place, "."));
      } else if (weights.Has(layer + ".op.weight")) {
        layers.emplace_back(layer + ".op.", Cat(other, level, ".", resize, ".0.conv."));
        ends = true;
      } else if (weights.Has(layer + ".conv.weight")) {
        layers.emplace_back(layer + ".conv.", Cat(other, level, ".", resize, ".0.conv."));
        ends = true;
      }
    }
    ++place;
    if (ends) {
      ++level;
      place = 0;
    }
  }
}

void Add(const engine::WeightSource& weights, AdapterNames& names) {
  if (!weights.Has("input_blocks.0.0.weight")) return;
  Layers layers = {{"input_blocks.0.0.", "conv_in."},
                   {"time_embed.0.", "time_embedding.linear_1."},
                   {"time_embed.2.", "time_embedding.linear_2."},
                   {"label_emb.0.0.", "add_embedding.linear_1."},
                   {"label_emb.0.2.", "add_embedding.linear_2."},
                   {"out.0.", "conv_norm_out."},
                   {"out.2.", "conv_out."},
                   {"middle_block.1.", "mid_block.attentions.0."}};
  AddResnet("middle_block.0", "mid_block.resnets.0", layers);
  AddResnet("middle_block.2", "mid_block.resnets.1", layers);
  AddSide(weights, "input_blocks.", "down_blocks.", "downsamplers", 1, layers);
  AddSide(weights, "output_blocks.", "up_blocks.", "upsamplers", 0, layers);

  for (const auto& [own, other] : layers) {
    const auto& tensors = weights.tensors();
    for (auto it = tensors.lower_bound(own); it != tensors.end() && it->first.starts_with(own); ++it) {
      const std::string& name = it->first;
      if (!name.ends_with(".weight")) continue;
      // "layer." itself has the name "layer.weight", inner ones "layer.inner.weight".
      std::string path = other + name.substr(own.size());
      path.resize(path.size() - std::string_view(".weight").size());
      std::string underscored = path;
      std::replace(underscored.begin(), underscored.end(), '.', '_');
      names["lora_unet_" + underscored] = {name};
      names["lycoris_" + underscored] = {name};
      std::string processor = path;
      if (const size_t at = processor.find(".to_"); at != std::string::npos) processor.replace(at, 4, ".processor.to_");
      if (processor.ends_with(".to_out.0")) processor.resize(processor.size() - 2);
      for (const char* prefix : {"", "unet."}) names[prefix + processor] = {name};
    }
  }
}
ATELIER_REGISTER_ADAPTER_NAMING("unet", 1, {AdapterNaming::Side::kDiffusion, Add});

}  // namespace
}  // namespace atelier::models::names_unet
