// Control-LoRA: the sampled model's own encoder, changed by matrices of low rank. Source: spec engine.md 8.2
// "Control-LoRA".
#include "worker/engine/guard.h"
#include "worker/models/control.h"

namespace atelier::models::control_lora {
namespace {

using engine::WeightSource;
using Network = std::shared_ptr<const engine::ControlNetwork>;

class ControlLora final : public engine::ControlNetwork {
 public:
  ControlLora(WeightSource file, engine::Engine& engine) : file_(std::move(file)), engine_(engine) {}

  StatusOr<std::vector<at::Tensor>> Prepare(const engine::ControlPicture&, int64_t, int64_t,
                                            const engine::LatentFormat&) const override {
    return Internal("a Control-LoRA was used without a model");
  }
  engine::ControlResiduals Residuals(const std::vector<at::Tensor>&, const at::Tensor&, const at::Tensor&,
                                     const engine::ModelCallInputs&) const override {
    TORCH_CHECK(completed_ != nullptr, "a Control-LoRA was used without a model");
    return {};
  }

  StatusOr<Network> For(const engine::Model& model) const override {
    if (completed_ != nullptr && completed_for_.lock() == model.network) return completed_;
    ASSIGN_OR_RETURN(completed_, BuildUNetControl(Complete(model.weights.Patched(model.patches)), engine_));
    completed_for_ = model.network;
    return completed_;
  }

 private:
  // The model's encoder under the file's changes; what the file has in full stands.
  WeightSource Complete(const WeightSource& base) const {
    WeightSource::Tensors tensors;
    WeightSource::Extras extras;
    for (const auto& [name, tensor] : base.tensors()) {
      bool wanted = false;
      for (const char* part : {"time_embed.", "label_emb.", "input_blocks.", "middle_block."})
        wanted |= name.starts_with(part);
      if (!wanted || file_.Has(name)) continue;
      tensors.emplace(name, tensor);
      engine::WeightExtras of;
      if (const engine::WeightExtras* own = base.ExtrasOf(name)) of = *own;
      if (name.ends_with(".weight")) {
        const std::string layer = name.substr(0, name.size() - std::string_view("weight").size());
        const at::Tensor up = file_.Find(layer + "up"), down = file_.Find(layer + "down");
        if (up.defined() && down.defined()) {
          of.patches.push_back([up, down](const at::Tensor& weight) {
            const at::Tensor change = at::mm(up.to(weight.options()).flatten(1), down.to(weight.options()).flatten(1));
            return weight + change.reshape(weight.sizes());
          });
        }
      }
      if (of.decoder || !of.patches.empty()) extras.emplace(name, std::move(of));
    }
    for (const auto& [name, tensor] : file_.tensors()) {
      if (!name.ends_with(".weight") && !name.ends_with(".bias")) continue;
      tensors.insert_or_assign(name, tensor);
      if (const engine::WeightExtras* own = file_.ExtrasOf(name)) extras.insert_or_assign(name, *own);
    }
    return WeightSource(file_.file(), std::move(tensors), std::move(extras));
  }

  WeightSource file_;
  engine::Engine& engine_;
  mutable Network completed_;
  mutable std::weak_ptr<const engine::DiffusionNetwork> completed_for_;
};

bool Detect(const WeightSource& file) { return file.Has("lora_controlnet"); }

StatusOr<Network> Build(const WeightSource& file, engine::Engine& engine) {
  return Network(std::make_shared<ControlLora>(file, engine));
}

ATELIER_REGISTER_CONTROL("control_lora", 10, {Detect, Build});

}  // namespace
}  // namespace atelier::models::control_lora
