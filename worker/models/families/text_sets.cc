// Text encoders in files of their own for families whose checkpoints carry them otherwise, or that are no still-image
// families. Source: spec engine.md 4.2 "Loaders", 9.
#include "worker/models/text_files.h"

namespace atelier::models::text_sets {
namespace {

using Encoder = std::shared_ptr<const engine::TextEncoder>;

// A CLIP alone: L is SD1's, H is SD2's, G is the SDXL refiner's.
StatusOr<Encoder> BuildSingle(const TextFiles& files, engine::Engine& engine) {
  text::ClipOptions options = OptionsOfL();
  std::string kind = "l";
  if (files.contains("h")) {
    kind = "h";
    options = OptionsOfH();
    options.layer = -2;
  } else if (files.contains("g")) {
    kind = "g";
    options = OptionsOfG();
    options.layer = -2;
    options.final_norm = false;
  }
  ASSIGN_OR_RETURN(auto clip, ClipOf(files, kind, options, engine));
  if (clip == nullptr)
    return InvalidArgument(
        "type \"stable_diffusion\" takes a CLIP text encoder, the chosen file holds none; choose "
        "another file or the type of its family");
  return text::SingleClip(std::move(clip));
}

StatusOr<Encoder> BuildSdxl(const TextFiles& files, engine::Engine& engine) {
  text::ClipOptions of_l = OptionsOfL(), of_g = OptionsOfG();
  of_l.layer = of_g.layer = -2;
  of_l.final_norm = of_g.final_norm = false;
  ASSIGN_OR_RETURN(auto l, ClipOf(files, "l", of_l, engine));
  ASSIGN_OR_RETURN(auto g, ClipOf(files, "g", of_g, engine));
  return text::DualClip(std::move(l), std::move(g));
}

StatusOr<Encoder> BuildWan(const TextFiles& files, engine::Engine& engine) {
  text::T5Options options;
  options.name = "umt5xxl";
  options.length_min = 512;
  options.mask = true;
  ASSIGN_OR_RETURN(auto t5, T5Of(files, options, engine));
  return text::SingleT5(std::move(t5));
}

ATELIER_REGISTER_TEXT_SET("stable_diffusion", {{}, BuildSingle});
ATELIER_REGISTER_TEXT_SET("sdxl", {{"l", "g"}, BuildSdxl});
ATELIER_REGISTER_TEXT_SET("wan", {{"t5"}, BuildWan});

}  // namespace
}  // namespace atelier::models::text_sets
