#include "worker/models/vae_names.h"

#include <array>
#include <utility>

namespace atelier::models {
namespace {

using engine::WeightSource;
using Replacement = std::pair<std::string_view, std::string_view>;

// Parts of names, in the order in which they are replaced.
constexpr std::array<Replacement, 19> kParts{{{".down_blocks.", ".down."},
                                              {".up_blocks.", ".up."},
                                              {".mid_block.resnets.0.", ".mid.block_1."},
                                              {".mid_block.resnets.1.", ".mid.block_2."},
                                              {".mid_block.attentions.0.", ".mid.attn_1."},
                                              {".resnets.", ".block."},
                                              {".downsamplers.0.", ".downsample."},
                                              {".upsamplers.0.", ".upsample."},
                                              {".conv_shortcut.", ".nin_shortcut."},
                                              {".conv_norm_out.", ".norm_out."},
                                              {".group_norm.", ".norm."},
                                              {".to_q.", ".q."},
                                              {".to_k.", ".k."},
                                              {".to_v.", ".v."},
                                              {".to_out.0.", ".proj_out."},
                                              {".query.", ".q."},
                                              {".key.", ".k."},
                                              {".value.", ".v."},
                                              {".proj_attn.", ".proj_out."}}};

std::string Original(std::string name, int64_t levels) {
  for (const auto& [from, to] : kParts) {
    if (const size_t at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
  }
  // Their decoder counts its levels from the other end.
  constexpr std::string_view kUp = "decoder.up.";
  if (name.starts_with(kUp)) {
    const size_t end = name.find('.', kUp.size());
    const std::string level = name.substr(kUp.size(), end - kUp.size());
    for (int64_t i = 0; i < levels && end != std::string::npos; ++i) {
      if (level == std::to_string(i)) return Cat(kUp, levels - 1 - i, name.substr(end));
    }
  }
  return name;
}

}  // namespace

WeightSource OriginalVaeNames(const WeightSource& weights) {
  if (!weights.Has("decoder.up_blocks.0.resnets.0.norm1.weight")) return weights;
  const int64_t levels = weights.CountBlocks("decoder.up_blocks.");
  const WeightSource renamed = weights.Renamed([levels](const std::string& name) { return Original(name, levels); });
  WeightSource::Tensors tensors;
  WeightSource::Extras extras;
  for (const auto& [name, tensor] : renamed.tensors()) {
    const engine::WeightExtras* extra = renamed.ExtrasOf(name);
    const bool matrix = tensor.dim() == 2 && name.find(".attn_1.") != std::string::npos;
    tensors.emplace_hint(tensors.end(), name, matrix ? tensor.unsqueeze(2).unsqueeze(3) : tensor);
    if (extra == nullptr) continue;
    engine::WeightExtras& kept = extras[name] = *extra;
    if (matrix && extra->decoder) {
      kept.decoder = [decoder = extra->decoder](const at::Tensor& stored) {
        return decoder(stored).unsqueeze(2).unsqueeze(3);
      };
    }
  }
  return WeightSource(renamed.file(), std::move(tensors), std::move(extras));
}

}  // namespace atelier::models
