// Looking at values and passing them on, as ComfyUI_essentials has it; compilation, which changes no result. Source:
// spec extras.md 1.2; engine.md 12.4 (TorchCompileModel).
#include <algorithm>

#include "common/base/log.h"
#include "common/graph/python_value.h"
#include "worker/nodes/python_numbers.h"
#include "worker/nodes/support.h"
#include "worker/nodes/text_limits.h"

namespace atelier::nodes {
namespace {

// "[1, 64, 64, 3]"
std::string ListText(at::IntArrayRef shape) {
  std::string text = "[";
  for (const int64_t side : shape) text += Cat(text.size() > 1 ? ", " : "", side);
  return text + "]";
}

// The tensors that a value holds.
std::vector<at::Tensor> TensorsOf(const Value& value) {
  std::vector<at::Tensor> all;
  if (const auto* image = value.Get<Image>()) all.push_back(image->pixels);
  if (const auto* mask = value.Get<Mask>()) all.push_back(mask->values);
  if (const auto* latent = value.Get<Latent>()) all = {latent->samples, latent->noise_mask};
  if (const auto* sigmas = value.Get<engine::Sigmas>()) all.push_back(sigmas->values);
  if (const auto* audio = value.Get<Audio>()) all.push_back(audio->waveform);
  if (const auto* conditioning = value.Get<Conditioning>()) {
    for (const CondEntry& entry : conditioning->entries) {
      all.push_back(entry.cond);
      for (const auto& [name, tensor] : entry.tensors) all.push_back(tensor);
    }
  }
  std::erase_if(all, [](const at::Tensor& t) { return !t.defined(); });
  return all;
}

std::string ShapesText(const Value& value) {
  std::string text = "[";
  for (const at::Tensor& tensor : TensorsOf(value)) text += Cat(text.size() > 1 ? ", " : "", ListText(tensor.sizes()));
  return text + "]";
}

std::string RawText(const Value& value) {
  if (!value.present()) return "None";
  if (!value.is_literal()) return Cat(value.type(), " ", ShapesText(value));
  return value.literal().is_structured() ? DumpJson(value.literal()) : PythonStr(value.literal());
}

struct DisplayAny {
  Value input;
  std::string mode = "raw value";

  static void Describe(NodeSchema<DisplayAny>& s) {
    s.Name("🔧 Display Any").Category("essentials/utilities").OutputNode();
    s.Description("Shows a value, or the shapes of its tensors, as text.");
    s.Input<&DisplayAny::input>("input").Tooltip("The value.");
    s.Input<&DisplayAny::mode>("mode").OneOf({"raw value", "tensor shape"}).Tooltip("What of it to show.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext& ctx) const {
    std::string text = mode == "tensor shape" ? ShapesText(input) : RawText(input);
    RETURN_IF_ERROR(CheckTextSize(text.size()));
    OutputFile file;
    file.type = "temp";
    file.prefix = "ComfyUI_temp_text";
    file.extension = ".txt";
    file.embed_workflow = false;
    file.bytes = text;
    ctx.Emit(std::move(file));
    return text;
  }
};
ATELIER_REGISTER_NODE(DisplayAny);

struct ConsoleDebug {
  Value value;
  std::string prefix = "Value:";

  static void Describe(NodeSchema<ConsoleDebug>& s) {
    s.Name("🔧 Console Debug").Category("essentials/utilities").OutputNode().Description("Writes a value to the log.");
    s.Input<&ConsoleDebug::value>("value").Tooltip("The value.");
    s.Input<&ConsoleDebug::prefix>("prefix").Default("Value:").Tooltip("What stands before it.");
  }
  Status Run(NodeContext&) const {
    const std::string text = RawText(value);
    RETURN_IF_ERROR(CheckTextSize(text.size()));
    LogInfo(prefix, " ", text);
    return OkStatus();
  }
};
ATELIER_REGISTER_NODE_AS(ConsoleDebug, "ConsoleDebug+");

struct DebugTensorShape {
  Value tensor;

  static void Describe(NodeSchema<DebugTensorShape>& s) {
    s.Name("🔧 Debug Tensor Shape").Category("essentials/utilities").OutputNode();
    s.Description("Writes the shapes of a value's tensors to the log.");
    s.Input<&DebugTensorShape::tensor>("tensor").Tooltip("The value.");
  }
  Status Run(NodeContext&) const {
    LogInfo("Shapes found: ", ShapesText(tensor));
    return OkStatus();
  }
};
ATELIER_REGISTER_NODE_AS(DebugTensorShape, "DebugTensorShape+");

struct BatchCount {
  Value batch;

  static void Describe(NodeSchema<BatchCount>& s) {
    s.Name("🔧 Batch Count").Category("essentials/utilities").Cheap().Description("How many items a batch has.");
    s.Input<&BatchCount::batch>("batch").Tooltip("Pictures, masks, latents or a list.");
    s.Output<int64_t>("INT");
  }
  StatusOr<int64_t> Run(NodeContext&) const {
    if (batch.is_literal()) return batch.literal().is_structured() ? static_cast<int64_t>(batch.literal().size()) : 0;
    if (const auto* conditioning = batch.Get<Conditioning>()) return static_cast<int64_t>(conditioning->entries.size());
    const std::vector<at::Tensor> tensors = TensorsOf(batch);
    return tensors.empty() || tensors[0].dim() == 0 ? 0 : tensors[0].size(0);
  }
};
ATELIER_REGISTER_NODE_AS(BatchCount, "BatchCount+");

struct ModelCompile {
  Model model;
  bool fullgraph = false, dynamic = false;
  std::string mode = "default";

  static void Describe(NodeSchema<ModelCompile>& s) {
    s.Name("🔧 Model Compile").Category("essentials/utilities").Cheap();
    s.Description("Passes the model through: its networks are compiled already.");
    s.Input<&ModelCompile::model>("model").Tooltip("The model.");
    s.Input<&ModelCompile::fullgraph>("fullgraph").Default(false).Tooltip("Changes nothing here.");
    s.Input<&ModelCompile::dynamic>("dynamic").Default(false).Tooltip("Changes nothing here.");
    s.Input<&ModelCompile::mode>("mode")
        .OneOf({"default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"})
        .Tooltip("Changes nothing here.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const { return model; }
};
ATELIER_REGISTER_NODE_AS(ModelCompile, "ModelCompile+");

struct TorchCompileModel {
  Model model;
  std::string backend = "inductor";

  static void Describe(NodeSchema<TorchCompileModel>& s) {
    s.Name("TorchCompileModel").Category("_for_testing").Cheap();
    s.Description("Passes the model through: its networks are compiled already.");
    s.Input<&TorchCompileModel::model>("model").Tooltip("The model.");
    s.Input<&TorchCompileModel::backend>("backend").OneOf({"inductor", "cudagraphs"}).Tooltip("Changes nothing here.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext&) const { return model; }
};
ATELIER_REGISTER_NODE(TorchCompileModel);

struct SimpleMathSliderLowRes {
  int64_t value = 5;
  double min = 0.0, max = 1.0;
  int64_t rounding = 0;

  static void Describe(NodeSchema<SimpleMathSliderLowRes>& s) {
    using N = SimpleMathSliderLowRes;
    s.Name("🔧 Simple Math Slider Low-Res").Category("essentials/utilities").Cheap();
    s.Description("A number between two others, in ten steps.");
    s.Input<&N::value>("value").Default(5).Range(0, 10).Step(1).Tooltip("Where between them, in tenths.");
    s.Input<&N::min>("min").Default(0.0).Range(-INT64_MAX, INT64_MAX).Step(0.001).Tooltip("The number at 0.");
    s.Input<&N::max>("max").Default(1.0).Range(-INT64_MAX, INT64_MAX).Step(0.001).Tooltip("The number at 10.");
    s.Input<&N::rounding>("rounding").Default(0).Range(0, 10).Step(1).Tooltip("Decimals to keep; 0 keeps all.");
    s.Output<double>("FLOAT");
  }
  StatusOr<double> Run(NodeContext&) const {
    const double number = min + 0.1 * static_cast<double>(value) * (max - min);
    return rounding > 0 ? PythonRound(number, rounding) : number;
  }
};
ATELIER_REGISTER_NODE_AS(SimpleMathSliderLowRes, "SimpleMathSliderLowRes+");

}  // namespace
}  // namespace atelier::nodes
