// Models mixed from two with a ratio for each block, one node type a family. All are one rule over a list of name
// prefixes. Source: spec engine.md 12.4 (nodes_model_merging_model_specific).
#include "worker/nodes/merge.h"

namespace atelier::nodes {
namespace {

// A prefix, or with `last` a run of numbered ones.
struct Prefix {
  std::string head;
  int64_t last = -1;
  std::string tail = {};
};

std::vector<std::string> Names(const std::vector<Prefix>& prefixes) {
  std::vector<std::string> names;
  for (const Prefix& p : prefixes) {
    if (p.last < 0) names.push_back(p.head);
    for (int64_t i = 0; i <= p.last; ++i) names.push_back(Cat(p.head, i, p.tail));
  }
  return names;
}

NodeSpec SpecOf(const std::string& type, const std::vector<std::string>& names) {
  NodeSpec spec;
  spec.type = spec.display_name = type;
  spec.category = "advanced/model_merging/model_specific";
  spec.description = "Mixes two models of one family, with a ratio for each of their parts.";
  spec.cheap = true;
  for (const char* name : {"model1", "model2"}) {
    InputSpec& input = spec.inputs.emplace_back();
    input.name = name;
    input.type = "MODEL";
    input.tooltip = name == std::string_view("model1") ? "The first model." : "The second model.";
  }
  for (const std::string& name : names) {
    InputSpec& input = spec.inputs.emplace_back();
    input.name = name;
    input.type = "FLOAT";
    input.tooltip = "Part of the first model in the weights whose names start so.";
    InputOptions(input).Default(1.0).Range(0.0, 1.0).Step(0.01);
  }
  spec.outputs.push_back({"MODEL", "MODEL"});
  return spec;
}

StatusOr<std::vector<Value>> Run(const std::vector<std::string>& names, const InputValues& inputs, NodeContext& ctx) {
  const auto read = [&inputs](const std::string& name, auto& field) -> Status {
    const auto it = inputs.find(name);
    if (it == inputs.end()) return InvalidArgument("input \"", name, "\" is missing");
    const Status set = atelier::internal::SetInput(it->second, field);
    return set.ok() ? OkStatus() : Annotate(set, Cat("input \"", name, "\""));
  };
  Model first, second;
  RETURN_IF_ERROR(read("model1", first));
  RETURN_IF_ERROR(read("model2", second));
  std::vector<std::pair<std::string, double>> ratios;
  std::string identity = "parts";
  for (const std::string& name : names) {
    double ratio = 1.0;
    RETURN_IF_ERROR(read(name, ratio));
    ratios.emplace_back(name, ratio);
    identity += Cat(" ", name, "=", ratio);
  }
  ASSIGN_OR_RETURN(Model merged, Merged(
                                     first, second, identity,
                                     [&ratios](const std::string& name) {
                                       const double r = RatioFor(name, ratios);
                                       return MergeShare{r, 1.0 - r};
                                     },
                                     ctx));
  return std::vector<Value>{atelier::internal::ToValue(std::move(merged))};
}

bool Register(const std::string& type, const std::vector<Prefix>& prefixes) {
  const std::vector<std::string> names = Names(prefixes);
  return Registry<NodeType>::Get().Add(
      type, 0,
      NodeType{[spec = SpecOf(type, names)]() -> const NodeSpec& { return spec; },
               [names](const InputValues& inputs, NodeContext& ctx) { return Run(names, inputs, ctx); }});
}

const std::vector<Prefix> kUNet = {
    {"time_embed."}, {"label_emb."}, {"input_blocks.", 11, "."}, {"middle_block.", 2, "."}, {"output_blocks.", 11, "."},
    {"out."}};

std::vector<Prefix> Mmdit(int64_t last) {
  return {{"pos_embed."},  {"x_embedder."}, {"context_embedder."},
          {"y_embedder."}, {"t_embedder."}, {"joint_blocks.", last, "."},
          {"final_layer."}};
}
std::vector<Prefix> Cosmos(int64_t last) {
  return {{"pos_embedder."}, {"extra_pos_embedder."},     {"x_embedder."}, {"t_embedder."},
          {"affline_norm."}, {"blocks.block", last, "."}, {"final_layer."}};
}
std::vector<Prefix> CosmosPredict(int64_t last) {
  return {{"pos_embedder."},     {"x_embedder."},        {"t_embedder."},
          {"t_embedding_norm."}, {"blocks.", last, "."}, {"final_layer."}};
}

const bool kRegistered[] = {
    Register("ModelMergeSD1", kUNet),
    Register("ModelMergeSD2", kUNet),
    Register(
        "ModelMergeSDXL",
        {{"time_embed."}, {"label_emb."}, {"input_blocks.", 8}, {"middle_block.", 2}, {"output_blocks.", 8}, {"out."}}),
    Register("ModelMergeSD3_2B", Mmdit(23)),
    Register("ModelMergeSD35_Large", Mmdit(37)),
    Register("ModelMergeAuraflow", {{"init_x_linear."},
                                    {"positional_encoding"},
                                    {"cond_seq_linear."},
                                    {"register_tokens"},
                                    {"t_embedder."},
                                    {"double_layers.", 3, "."},
                                    {"single_layers.", 31, "."},
                                    {"modF."},
                                    {"final_linear."}}),
    Register("ModelMergeFlux1", {{"img_in."},
                                 {"time_in."},
                                 {"guidance_in"},
                                 {"vector_in."},
                                 {"txt_in."},
                                 {"double_blocks.", 18, "."},
                                 {"single_blocks.", 37, "."},
                                 {"final_layer."}}),
    Register("ModelMergeMochiPreview", {{"pos_frequencies."},
                                        {"t_embedder."},
                                        {"t5_y_embedder."},
                                        {"t5_yproj."},
                                        {"blocks.", 47, "."},
                                        {"final_layer."}}),
    Register("ModelMergeLTXV", {{"patchify_proj."},
                                {"adaln_single."},
                                {"caption_projection."},
                                {"transformer_blocks.", 27, "."},
                                {"scale_shift_table"},
                                {"proj_out."}}),
    Register("ModelMergeCosmos7B", Cosmos(27)),
    Register("ModelMergeCosmos14B", Cosmos(35)),
    Register("ModelMergeWAN2_1", {{"patch_embedding."},
                                  {"time_embedding."},
                                  {"time_projection."},
                                  {"text_embedding."},
                                  {"img_emb."},
                                  {"blocks.", 39, "."},
                                  {"head."}}),
    Register("ModelMergeCosmosPredict2_2B", CosmosPredict(27)),
    Register("ModelMergeCosmosPredict2_14B", CosmosPredict(35)),
    Register("ModelMergeQwenImage", {{"pos_embeds."},
                                     {"img_in."},
                                     {"txt_norm."},
                                     {"txt_in."},
                                     {"time_text_embed."},
                                     {"transformer_blocks.", 59, "."},
                                     {"proj_out."}}),
};

}  // namespace
}  // namespace atelier::nodes
