// Load text encoders from files of their own, alone or as the set that a family takes. Source: spec engine.md 4.2
// "Loaders", 9; extras.md 3.1.
#include "worker/models/text_files.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

const std::vector<std::string> kDevices{"default", "cpu"};
const std::vector<std::string> kTypes{
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi",  "ltxv", "pixart",
    "cosmos",           "lumina2",        "wan", "hidream",      "chroma", "ace",  "omnigen2",
    "qwen_image",       "hunyuan_image"};
const std::vector<std::string> kDualTypes{"sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"};

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
                    const std::string& device = "default", const std::string& folder = "text_encoders") {
  std::vector<std::string> paths;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(paths.emplace_back(), ctx.ModelPath(folder, name));
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
    s.Input<&CLIPLoader::type>("type").OneOf(kTypes).Tooltip("The family of the diffusion model that it is for.");
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
        .OneOf(kDualTypes)
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

constexpr const char* kGgufFolder = "clip_gguf";  // quantised files and ordinary ones

struct CLIPLoaderGGUF {
  std::string clip_name, type;

  static void Describe(NodeSchema<CLIPLoaderGGUF>& s) {
    s.Name("CLIPLoader (GGUF)").Category("bootleg");
    s.Description("Loads one text encoder, whose weights may be quantised.");
    s.Input<&CLIPLoaderGGUF::clip_name>("clip_name").FromFolder(kGgufFolder).Tooltip("File in models/text_encoders.");
    s.Input<&CLIPLoaderGGUF::type>("type").OneOf(kTypes).Tooltip("The family of the diffusion model that it is for.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext& ctx) const { return Load(ctx, {clip_name}, type, "default", kGgufFolder); }
};
ATELIER_REGISTER_NODE(CLIPLoaderGGUF);

struct DualCLIPLoaderGGUF {
  std::string clip_name1, clip_name2, type;

  static void Describe(NodeSchema<DualCLIPLoaderGGUF>& s) {
    using N = DualCLIPLoaderGGUF;
    s.Name("DualCLIPLoader (GGUF)").Category("bootleg");
    s.Description("Loads the two text encoders of a family, whose weights may be quantised.");
    s.Input<&N::clip_name1>("clip_name1").FromFolder(kGgufFolder).Tooltip("File in models/text_encoders.");
    s.Input<&N::clip_name2>("clip_name2").FromFolder(kGgufFolder).Tooltip("The other file.");
    s.Input<&N::type>("type").OneOf(kDualTypes).Tooltip("The family of the diffusion model that they are for.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext& ctx) const {
    return Load(ctx, {clip_name1, clip_name2}, type, "default", kGgufFolder);
  }
};
ATELIER_REGISTER_NODE(DualCLIPLoaderGGUF);

struct TripleCLIPLoaderGGUF {
  std::string clip_name1, clip_name2, clip_name3;

  static void Describe(NodeSchema<TripleCLIPLoaderGGUF>& s) {
    using N = TripleCLIPLoaderGGUF;
    s.Name("TripleCLIPLoader (GGUF)").Category("bootleg");
    s.Description("Loads SD3's three text encoders, whose weights may be quantised.");
    s.Input<&N::clip_name1>("clip_name1").FromFolder(kGgufFolder).Tooltip("File in models/text_encoders.");
    s.Input<&N::clip_name2>("clip_name2").FromFolder(kGgufFolder).Tooltip("The second file.");
    s.Input<&N::clip_name3>("clip_name3").FromFolder(kGgufFolder).Tooltip("The third file.");
    s.Output<Clip>("CLIP");
  }
  StatusOr<Clip> Run(NodeContext& ctx) const {
    return Load(ctx, {clip_name1, clip_name2, clip_name3}, "sd3", "default", kGgufFolder);
  }
};
ATELIER_REGISTER_NODE(TripleCLIPLoaderGGUF);

}  // namespace
}  // namespace atelier::nodes
