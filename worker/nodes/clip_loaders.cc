// Load text encoders from files of their own, alone or as the set that a family takes. Source: spec engine.md 4.2
// "Loaders", 9.
#include "worker/models/text_files.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

const std::vector<std::string> kDevices{"default", "cpu"};

// The engine of a loader's "device": the worker's own, or one on the CPU beside it.
engine::Engine& EngineFor(const std::string& device) {
  engine::Engine& own = engine::TheEngine();
  if (device != "cpu" || own.device().is_cpu()) return own;
  static engine::Engine* const cpu = [&own] {
    engine::EngineOptions options = own.options();
    options.device = at::Device(at::kCPU);
    options.resident_bytes_max = 0;
    return new engine::Engine(std::move(options));
  }();
  return *cpu;
}

StatusOr<Clip> Load(NodeContext& ctx, const std::vector<std::string>& names, const std::string& type,
                    const std::string& device = "default") {
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(paths.emplace_back(), ctx.ModelPath("text_encoders", name));
  }
  Clip clip;
  ASSIGN_OR_RETURN(clip.encoder, models::LoadTextEncoder(paths, type, EngineFor(device)));
  return clip;
}

struct CLIPLoader {
  std::string clip_name, type, device = "default";

  static void Describe(NodeSchema<CLIPLoader>& s) {
    s.Name("Load CLIP").Category("advanced/loaders");
    s.Description("Loads one text encoder from a file of its own.");
    s.Input<&CLIPLoader::clip_name>("clip_name").FromFolder("text_encoders").Tooltip("File in models/text_encoders.");
    s.Input<&CLIPLoader::type>("type")
        .OneOf({"stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos",
                "lumina2", "wan", "hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image"})
        .Tooltip("The family of the diffusion model that it is for.");
    s.Input<&CLIPLoader::device>("device").OneOf(kDevices).Default("default").Optional().Tooltip(
        "cpu keeps the encoder off the GPU.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext& ctx) const { return Load(ctx, {clip_name}, type, device); }
};
ATELIER_REGISTER_NODE(CLIPLoader);

struct DualCLIPLoader {
  std::string clip_name1, clip_name2, type, device = "default";

  static void Describe(NodeSchema<DualCLIPLoader>& s) {
    s.Name("DualCLIPLoader").Category("advanced/loaders");
    s.Description("Loads the two text encoders of a family from files of their own, in any order.");
    s.Input<&DualCLIPLoader::clip_name1>("clip_name1")
        .FromFolder("text_encoders")
        .Tooltip("File in models/text_encoders.");
    s.Input<&DualCLIPLoader::clip_name2>("clip_name2").FromFolder("text_encoders").Tooltip("The other file.");
    s.Input<&DualCLIPLoader::type>("type")
        .OneOf({"sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"})
        .Tooltip("The family of the diffusion model that they are for.");
    s.Input<&DualCLIPLoader::device>("device").OneOf(kDevices).Default("default").Optional().Tooltip(
        "cpu keeps the encoders off the GPU.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext& ctx) const { return Load(ctx, {clip_name1, clip_name2}, type, device); }
};
ATELIER_REGISTER_NODE(DualCLIPLoader);

struct TripleCLIPLoader {
  std::string clip_name1, clip_name2, clip_name3;

  static void Describe(NodeSchema<TripleCLIPLoader>& s) {
    s.Name("TripleCLIPLoader").Category("advanced/loaders");
    s.Description("Loads SD3's three text encoders (CLIP-L, CLIP-G, T5-XXL) from files of their own, in any order.");
    s.Input<&TripleCLIPLoader::clip_name1>("clip_name1")
        .FromFolder("text_encoders")
        .Tooltip("File in models/text_encoders.");
    s.Input<&TripleCLIPLoader::clip_name2>("clip_name2").FromFolder("text_encoders").Tooltip("The second file.");
    s.Input<&TripleCLIPLoader::clip_name3>("clip_name3").FromFolder("text_encoders").Tooltip("The third file.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext& ctx) const { return Load(ctx, {clip_name1, clip_name2, clip_name3}, "sd3"); }
};
ATELIER_REGISTER_NODE(TripleCLIPLoader);

}  // namespace
}  // namespace atelier::nodes
