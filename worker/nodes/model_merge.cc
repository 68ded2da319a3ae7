// Models mixed from two. Source: spec engine.md 8.1, 12.4 (nodes_model_merging).
#include "worker/nodes/merge.h"

namespace atelier::nodes {
namespace {

struct ModelMergeSimple {
  Model model1, model2;
  double ratio = 1.0;

  static void Describe(NodeSchema<ModelMergeSimple>& s) {
    s.Name("ModelMergeSimple").Category("advanced/model_merging").Cheap().Description("Mixes two models evenly.");
    s.Input<&ModelMergeSimple::model1>("model1").Tooltip("The first model.");
    s.Input<&ModelMergeSimple::model2>("model2").Tooltip("The second model, of the same kind.");
    s.Input<&ModelMergeSimple::ratio>("ratio").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Part of the first model.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext& ctx) const {
    return Merged(
        model1, model2, Cat("simple ", ratio),
        [r = ratio](const std::string&) {
          return MergeShare{r, 1.0 - r};
        },
        ctx);
  }
};
ATELIER_REGISTER_NODE(ModelMergeSimple);

struct ModelMergeBlocks {
  Model model1, model2;
  double input = 1.0, middle = 1.0, out = 1.0;

  static void Describe(NodeSchema<ModelMergeBlocks>& s) {
    s.Name("ModelMergeBlocks")
        .Category("advanced/model_merging")
        .Cheap()
        .Description("Mixes two UNets, with a ratio for each of their parts.");
    s.Input<&ModelMergeBlocks::model1>("model1").Tooltip("The first model.");
    s.Input<&ModelMergeBlocks::model2>("model2").Tooltip("The second model, of the same kind.");
    s.Input<&ModelMergeBlocks::input>("input").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Part of the first model in the input blocks and all that is in no block.");
    s.Input<&ModelMergeBlocks::middle>("middle").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Part of the first model in the middle block.");
    s.Input<&ModelMergeBlocks::out>("out").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(
        "Part of the first model in the output blocks.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext& ctx) const {
    const std::vector<std::pair<std::string, double>> ratios = {{"input", input}, {"middle", middle}, {"out", out}};
    return Merged(
        model1, model2, Cat("blocks ", input, " ", middle, " ", out),
        [&ratios](const std::string& name) {
          const double r = RatioFor(name, ratios);
          return MergeShare{r, 1.0 - r};
        },
        ctx);
  }
};
ATELIER_REGISTER_NODE(ModelMergeBlocks);

struct ModelMergeSubtract {
  Model model1, model2;
  double multiplier = 1.0;

  static void Describe(NodeSchema<ModelMergeSubtract>& s) {
    s.Name("ModelMergeSubtract")
        .Category("advanced/model_merging")
        .Cheap()
        .Description("The difference of two models, to be added to a third.");
    s.Input<&ModelMergeSubtract::model1>("model1").Tooltip("The first model.");
    s.Input<&ModelMergeSubtract::model2>("model2").Tooltip("What is taken away.");
    s.Input<&ModelMergeSubtract::multiplier>("multiplier")
        .Default(1.0)
        .Range(-10.0, 10.0)
        .Step(0.01)
        .Tooltip("Factor on the difference.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext& ctx) const {
    return Merged(
        model1, model2, Cat("difference ", multiplier),
        [m = multiplier](const std::string&) {
          return MergeShare{m, -m};
        },
        ctx);
  }
};
ATELIER_REGISTER_NODE(ModelMergeSubtract);

struct ModelMergeAdd {
  Model model1, model2;

  static void Describe(NodeSchema<ModelMergeAdd>& s) {
    s.Name("ModelMergeAdd").Category("advanced/model_merging").Cheap().Description("The sum of two models.");
    s.Input<&ModelMergeAdd::model1>("model1").Tooltip("The first model.");
    s.Input<&ModelMergeAdd::model2>("model2").Tooltip("What is added, a difference as a rule.");
    s.Output<Model>("MODEL");
  }
  StatusOr<Model> Run(NodeContext& ctx) const {
    return Merged(
        model1, model2, "sum",
        [](const std::string&) {
          return MergeShare{1.0, 1.0};
        },
        ctx);
  }
};
ATELIER_REGISTER_NODE(ModelMergeAdd);

}  // namespace
}  // namespace atelier::nodes
