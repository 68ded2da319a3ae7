// Applies LoRA files and their kin to models and text encoders. Source: spec engine.md 8.1.
#include "worker/engine/model_cache.h"
#include "worker/models/adapter.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

using models::AdapterFile;
using models::AdapterNaming;
using models::AdapterResult;

bool OfTextEncoder(const std::string& name) {
  return name.starts_with("lora_te") || name.starts_with("text_encoder") || name.starts_with("lora_prior_te");
}

// One warning for all that could not be used.
void WarnOfRest(const std::string& name, const std::vector<std::string>& unused,
                const std::vector<std::string>& misfits, NodeContext& ctx) {
  if (!unused.empty()) {
    ctx.Warn(Cat("LoRA \"", name, "\": ", unused.size(), " of its tensors fit nothing and are left out, \"",
                 unused.front(), "\" is the first"));
  }
  if (!misfits.empty()) {
    ctx.Warn(Cat("LoRA \"", name, "\": ", misfits.size(), " of its layers have other shapes than the model's and are",
                 " left out, \"", misfits.front(), "\" is the first; is it for another model?"));
  }
}

StatusOr<std::pair<Model, Clip>> Apply(const Model& model, const Clip* clip, const std::string& name,
                                       double strength_model, double strength_clip, NodeContext& ctx) {
  std::pair<Model, Clip> result{model, clip != nullptr ? *clip : Clip{}};
  if (strength_model == 0 && strength_clip == 0) return result;
  ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("loras", name));
  ASSIGN_OR_RETURN(AdapterFile file, AdapterFile::Open(path));
  ASSIGN_OR_RETURN(const std::string key, engine::ModelCache::KeyOf(path, "lora"));
  AdapterResult changes = models::ReadAdapter(file, AdapterNaming::Side::kDiffusion, model.weights, strength_model);
  if (strength_model != 0) {
    ASSIGN_OR_RETURN(result.first, models::WithPatches(model, changes.patches, Cat(key, " ", strength_model)));
  }
  if (clip != nullptr && clip->encoder != nullptr) {
    const AdapterResult text =
        models::ReadAdapter(file, AdapterNaming::Side::kText, clip->encoder->weights(), strength_clip);
    changes.misfits.insert(changes.misfits.end(), text.misfits.begin(), text.misfits.end());
    if (strength_clip != 0) {
      ASSIGN_OR_RETURN(result.second, models::WithPatches(*clip, text.patches, Cat(key, " ", strength_clip)));
    }
  }
  std::vector<std::string> unused = file.Unused();
  // Without a text encoder its part is left out on purpose.
  if (clip == nullptr) std::erase_if(unused, OfTextEncoder);
  WarnOfRest(name, unused, changes.misfits, ctx);
  return result;
}

struct LoraLoader {
  Model model;
  Clip clip;
  std::string lora_name;
  double strength_model = 1.0, strength_clip = 1.0;

  static void Describe(NodeSchema<LoraLoader>& s) {
    s.Name("Load LoRA")
        .Category("loaders")
        .Description("Changes a model and its text encoder by a small file that was trained for them.");
    s.Input<&LoraLoader::model>("model").Tooltip("The model to change.");
    s.Input<&LoraLoader::clip>("clip").Tooltip("Its text encoder.");
    s.Input<&LoraLoader::lora_name>("lora_name").FromFolder("loras").Tooltip("File in models/loras.");
    s.Input<&LoraLoader::strength_model>("strength_model")
        .Default(1.0)
        .Range(-100.0, 100.0)
        .Step(0.01)
        .Tooltip("How strongly the model changes; may be negative.");
    s.Input<&LoraLoader::strength_clip>("strength_clip")
        .Default(1.0)
        .Range(-100.0, 100.0)
        .Step(0.01)
        .Tooltip("How strongly the text encoder changes; may be negative.");
    s.Output<Model>("MODEL").Output<Clip>("CLIP");
  }
  StatusOr<std::tuple<Model, Clip>> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(auto changed, Apply(model, &clip, lora_name, strength_model, strength_clip, ctx));
    return std::tuple(std::move(changed.first), std::move(changed.second));
  }
};
ATELIER_REGISTER_NODE(LoraLoader);

struct LoraLoaderModelOnly {
  Model model;
  std::string lora_name;
  double strength_model = 1.0;

  static void Describe(NodeSchema<LoraLoaderModelOnly>& s) {
    s.Name("LoraLoaderModelOnly")
        .Category("loaders")
        .Description("Changes a model by a small file that was trained for it; the text encoder stays.");
    s.Input<&LoraLoaderModelOnly::model>("model").Tooltip("The model to change.");
    s.Input<&LoraLoaderModelOnly::lora_name>("lora_name").FromFolder("loras").Tooltip("File in models/loras.");
    s.Input<&LoraLoaderModelOnly::strength_model>("strength_model")
        .Default(1.0)
        .Range(-100.0, 100.0)
        .Step(0.01)
        .Tooltip("How strongly the model changes; may be negative.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(auto changed, Apply(model, nullptr, lora_name, strength_model, 0, ctx));
    return std::move(changed.first);
  }
};
ATELIER_REGISTER_NODE(LoraLoaderModelOnly);

}  // namespace
}  // namespace atelier::nodes
