// Every node type that is declared runs on the inputs that it declares: once with what it requires, once with the
// optional links too. What it gives is used (a model samples, an encoder encodes) and is finite.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <set>

#include "common/base/registry.h"
#include "common/graph/node.h"
#include "common/tensorio/packed_blob.h"
#include "common/tensorio/safetensors.h"
#include "tests/golden/nodes/run_prompt.h"
#include "worker/engine/types.h"

namespace atelier {
namespace {

// What a node of another family, or one that takes part in a distributed run, says of a plain SD 1.5 prompt.
const std::map<std::string, std::string>& Refusals() {
  static const std::map<std::string, std::string> refusals = {
      {"DualCLIPLoader", "choose one file of each kind"},
      {"TripleCLIPLoader", "choose one file of each kind"},
      {"ImageUntile+", "there are 1 tiles, expected 4"},
      {"LoadVideo", "the file is no video or sound"},
      {"SimpleMath+", "ends too early"},
      {"SimpleMathCondition+", "ends too early"},
      {"SimpleMathDual+", "ends too early"},
      {"SimpleComparison+", "expected a number or a text"},
      {"SomethingToString", "expected a number or a text"},
      {"TrimVideoLatent", "samples have no frames"},
  };
  return refusals;
}

Json Made(const char* node, int slot = 0) { return Json::array({node, slot}); }

// A prompt around the node "under_test".
class Prompt {
 public:
  Prompt() {
    Add("file", "CheckpointLoaderSimple", {{"ckpt_name", "tiny_sd15.safetensors"}});
    Add("positive", "CLIPTextEncode", {{"clip", Made("file", 1)}, {"text", "a cat"}});
    Add("negative", "CLIPTextEncode", {{"clip", Made("file", 1)}, {"text", "blurry"}});
    Add("newer_video_vae", "VAELoader", {{"vae_name", "tiny_wan22_vae.safetensors"}});
    Add("video_vae", "VAELoader", {{"vae_name", "tiny_wan21_vae.safetensors"}});
    Add("empty", "CLIPTextEncode", {{"clip", Made("file", 1)}, {"text", ""}});
    Add("latent", "EmptyLatentImage", {{"width", 128}, {"height", 128}, {"batch_size", 1}});
    fragment_.inputs["rgba_64.png"] = "rgba_64.png";
    Add("image", "LoadImage", {{"image", "rgba_64.png"}});
    Add("sigmas", "BasicScheduler", {{"model", Made("file")}, {"scheduler", "normal"}, {"steps", 2}, {"denoise", 1.0}});
    Add("sampler", "KSamplerSelect", {{"sampler_name", "euler"}});
    Add("noise", "RandomNoise", {{"noise_seed", 1}});
    Add("guider", "BasicGuider", {{"model", Made("file")}, {"conditioning", Made("positive")}});
    Add("control", "ControlNetLoader", {{"control_net_name", "sd15_cn_a.safetensors"}});
    Add("upscaler", "UpscaleModelLoader", {{"model_name", "tiny_compact.safetensors"}});
    Add("audio", "EmptyAudio", {{"duration", 1.0}, {"sample_rate", 8000}, {"channels", 2}});
    Add("video", "CreateVideo", {{"images", Made("image")}, {"fps", 8.0}});
    Add("operation", "LatentOperationSharpen", {{"sharpen_radius", 2}, {"sigma", 1.0}, {"alpha", 0.1}});
    Add("range", "ConditioningTimestepsRange", {{"start_percent", 0.0}, {"end_percent", 0.5}});
  }

  // Sets the node's inputs and what uses its outputs; what it asks for that is not here.
  std::string Take(const NodeSpec& spec, bool optional) {
    videos_ = spec.type.starts_with("Wan");
    newer_ = spec.type == "Wan22ImageToVideoLatent";
    optional =
        optional || spec.type == "GetImageRangeFromBatch" || spec.type == "ClownsharKSampler_Beta";  // one of two
    Json inputs = Json::object();
    for (const InputSpec& input : spec.inputs) {
      if (input.hidden || (!input.required && !optional) || Unsupported(spec.type, input.name)) continue;
      Json value = ValueFor(input);
      if (value.is_null()) {
        if (input.required)
          return Cat(input.name, " (", input.type, input.folder.empty() ? "" : " of ", input.folder, ")");
        continue;
      }
      inputs[input.name] = std::move(value);
    }
    Add("under_test", spec.type, inputs);
    for (size_t slot = 0; slot < spec.outputs.size(); ++slot) Use(spec.outputs[slot].type, static_cast<int>(slot));
    if (spec.output_node) fragment_.output_nodes.push_back("under_test");
    return {};
  }

  const Fragment& fragment() const { return fragment_; }

 private:
  void Add(const std::string& id, const std::string& type, Json inputs) {
    fragment_.nodes[id] = {{"class_type", type}, {"inputs", std::move(inputs)}};
  }
  void Want(const std::string& id, int slot) { fragment_.wanted.push_back({id, slot, ""}); }

  Json ValueFor(const InputSpec& input) {
    static const std::map<std::string, Json> links = {
        {"MODEL", Made("file")},        {"CLIP", Made("file", 1)},
        {"VAE", Made("file", 2)},       {"CONDITIONING", Made("positive")},
        {"LATENT", Made("latent")},     {"IMAGE", Made("image")},
        {"MASK", Made("image", 1)},     {"SIGMAS", Made("sigmas")},
        {"SAMPLER", Made("sampler")},   {"NOISE", Made("noise")},
        {"GUIDER", Made("guider")},     {"CONTROL_NET", Made("control")},
        {"AUDIO", Made("audio")},       {"UPSCALE_MODEL", Made("upscaler")},
        {"VIDEO", Made("video")},       {"LATENT_OPERATION", Made("operation")},
        {"*", Made("image")},           {"TIMESTEPS_RANGE", Made("range")},
        {"IMAGE,LATENT", Made("image")}};
    static const std::map<std::string, Json> files = {{"checkpoints", "tiny_sd15.safetensors"},
                                                      {"loras", "sd15_kohya_a.safetensors"},
                                                      {"vae", "tiny_sd21_vae.safetensors"},
                                                      {"controlnet", "sd15_cn_a.safetensors"},
                                                      {"diffusion_models", "tiny_sd15_b_unet.safetensors"},
                                                      {"text_encoders", "tiny_clip_l.safetensors"},
                                                      {"upscale_models", "tiny_compact.safetensors"}};
    if (!input.folder.empty()) {
      if (input.folder == "input" && input.image_upload) return "rgba_64.png";
      const auto file = files.find(input.folder);
      return file == files.end() ? Json() : file->second;
    }
    if (input.type == "VAE" && videos_) return Made(newer_ ? "newer_video_vae" : "video_vae");
    if (input.type == "CONDITIONING" && input.name.starts_with("negative")) return Made("negative");
    if (input.type == "CONDITIONING" && input.name.starts_with("empty")) return Made("empty");
    if (!input.is_literal()) {
      const auto link = links.find(input.type);
      return link == links.end() ? Json() : link->second;
    }
    static const std::map<std::string, Json> small = {
        {"steps", 2}, {"upscale_by", 1.0}, {"tile_width", 64}, {"tile_height", 64}, {"length", 5}};
    if (videos_ && (input.name == "width" || input.name == "height")) return 64;
    if (const auto found = small.find(input.name); found != small.end()) return found->second;
    if (!input.default_value.is_null()) return input.default_value;
    if (input.type == "COMBO") return input.choices.empty() ? Json() : Json(input.choices.front());
    if (input.type == "INT") return input.min.is_null() ? Json(1) : input.min;
    if (input.type == "FLOAT") return input.min.is_null() ? Json(1.0) : input.min;
    if (input.type == "BOOLEAN") return true;
    return "a";
  }

  // Inputs that no value here fits.
  static bool Unsupported(const std::string& type, const std::string& input) {
    return (type == "ClownsharKSampler_Beta" && input == "sigmas") ||
           (type == "SimpleCalculatorKJ" && input != "expression");
  }

  void Use(const std::string& type, int slot) {
    const Json made = Made("under_test", slot);
    const std::string id = Cat("use", slot);
    const auto sample = [&](const Json& model, const Json& positive) {
      Add(id, "KSampler",
          {{"model", model},
           {"positive", positive},
           {"negative", Made("negative")},
           {"latent_image", Made("latent")},
           {"seed", 1},
           {"steps", 2},
           {"cfg", 7.0},
           {"sampler_name", "euler"},
           {"scheduler", "normal"},
           {"denoise", 1.0}});
    };
    const auto custom = [&](const Json& sampler, const Json& sigmas) {
      Add(id, "SamplerCustom",
          {{"model", Made("file")},
           {"add_noise", true},
           {"noise_seed", 1},
           {"cfg", 7.0},
           {"positive", Made("positive")},
           {"negative", Made("negative")},
           {"sampler", sampler},
           {"sigmas", sigmas},
           {"latent_image", Made("latent")}});
    };
    const auto advanced = [&](const Json& noise, const Json& guider) {
      Add(id, "SamplerCustomAdvanced",
          {{"noise", noise},
           {"guider", guider},
           {"sampler", Made("sampler")},
           {"sigmas", Made("sigmas")},
           {"latent_image", Made("latent")}});
    };
    if (type == "MODEL") {
      sample(made, Made("positive"));
    } else if (type == "CONDITIONING") {
      sample(Made("file"), made);
    } else if (type == "CLIP") {
      Add(id, "CLIPTextEncode", {{"clip", made}, {"text", "a cat"}});
    } else if (type == "VAE") {
      Add(id, "VAEDecode", {{"vae", made}, {"samples", Made("latent")}});
    } else if (type == "SAMPLER") {
      custom(made, Made("sigmas"));
    } else if (type == "SIGMAS") {
      Want("under_test", slot);
      custom(Made("sampler"), made);
    } else if (type == "NOISE") {
      advanced(made, Made("guider"));
    } else if (type == "GUIDER") {
      advanced(Made("noise"), made);
    } else if (type == "UPSCALE_MODEL") {
      Add(id, "ImageUpscaleWithModel", {{"upscale_model", made}, {"image", Made("image")}});
    } else if (type == "CONTROL_NET") {
      Add("applied", "ControlNetApplyAdvanced",
          {{"positive", Made("positive")},
           {"negative", Made("negative")},
           {"control_net", made},
           {"image", Made("image")},
           {"strength", 1.0},
           {"start_percent", 0.0},
           {"end_percent", 1.0}});
      sample(Made("file"), Made("applied"));
    } else if (type == "LATENT_OPERATION") {
      Add(id, "LatentApplyOperation", {{"samples", Made("latent")}, {"operation", made}});
    } else if (type == "TIMESTEPS_RANGE") {
      Add(id, "ConditioningSetProperties",
          {{"cond_NEW", Made("positive")}, {"strength", 1.0}, {"set_cond_area", "default"}, {"timesteps", made}});
    } else {
      // What cannot cross between tasks is made all the same.
      if (IsDataType(type))
        Want("under_test", slot);
      else
        fragment_.output_nodes.push_back("under_test");
      return;
    }
    Want(id, 0);
  }

  Fragment fragment_;
  bool videos_ = false, newer_ = false;
};

// The first float32 tensor of a blob that holds something else than numbers; "" if none does.
std::string NotFinite(const std::string& blob) {
  const std::string whole = UnpackBlob(blob).value();
  const auto view = ParseSafetensors(whole, "blob");
  REQUIRE(view.ok());
  for (const auto& [name, info] : view->tensors()) {
    if (info.dtype != DType::kF32) continue;
    const std::string_view data = view->Data(info);
    for (size_t i = 0; i + 4 <= data.size(); i += 4) {
      float value = 0;
      std::memcpy(&value, data.data() + i, 4);
      if (!std::isfinite(value)) return name;
    }
  }
  return {};
}

TEST_CASE("every node type runs on the inputs that it declares") {
  golden::UseGoldenModels();
  golden::Host host;
  host.blobs["rgba_64.png"] =
      std::make_shared<const std::string>(golden::ReadFile(golden::Root() + "/inputs/rgba_64.png"));
  Executor executor;
  int run = 0, left_out = 0;
  for (const std::string& type : Registry<NodeType>::Get().Names()) {
    const NodeSpec& spec = Registry<NodeType>::Get().Find(type)->spec();
    if (spec.internal) continue;
    for (const bool optional : {false, true}) {
      const auto is_optional = [](const InputSpec& input) { return !input.required && !input.hidden; };
      if (optional && std::none_of(spec.inputs.begin(), spec.inputs.end(), is_optional)) break;
      Prompt prompt;
      const std::string missing = prompt.Take(spec, optional);
      if (!missing.empty()) {
        if (!optional) std::fprintf(stderr, "%s: nothing here for %s\n", type.c_str(), missing.c_str());
        left_out += optional ? 0 : 1;
        break;
      }
      ++run;
      const double begin = host.Seconds();
      const auto result = executor.Run(prompt.fragment(), host);
      if (host.Seconds() - begin > 3) std::fprintf(stderr, "%s: %.1f s\n", type.c_str(), host.Seconds() - begin);
      const std::string said = result.ok() ? "" : std::string(Message(result.status()));
      const auto refusal = Refusals().find(type);
      INFO(type << (optional ? ", optional inputs too" : "") << ": " << said);
      if (refusal != Refusals().end()) {
        CHECK(said.find(refusal->second) != std::string::npos);
        continue;
      }
      if (!result.ok()) std::fprintf(stderr, "%s%s: %s\n", type.c_str(), optional ? " (all)" : "", said.c_str());
      CHECK(result.ok());
      if (!result.ok()) continue;
      for (const std::string& blob : result->blobs) {
        const std::string bad = NotFinite(blob);
        if (!bad.empty()) std::fprintf(stderr, "%s: %s is not finite\n", type.c_str(), bad.c_str());
        CHECK(bad == "");
      }
    }
  }
  std::fprintf(stderr, "every node: %d runs, %d types have no inputs here\n", run, left_out);
  CHECK(left_out <=
        25);  // files of video and sound, GGUF, CLIP vision, style models and GLIGEN, which other tests have
}

}  // namespace
}  // namespace atelier
