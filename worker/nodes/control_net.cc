// Control networks: loading and applying them. Source: spec engine.md 8.2.
#include <map>

#include "worker/engine/picture_parts.h"
#include "worker/models/control.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

using engine::AppliedControl;
using engine::ControlNet;

template <typename N>
void DescribeControlFile(NodeSchema<N>& s) {
  s.template Input<&N::control_net_name>("control_net_name")
      .FromFolder("controlnet")
      .Tooltip("The file below controlnet.");
  s.template Output<ControlNet>("CONTROL_NET");
}

StatusOr<ControlNet> LoadControl(NodeContext& ctx, const std::string& name, const Model* model) {
  ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("controlnet", name));
  ASSIGN_OR_RETURN(auto network, models::LoadControlNet(path, model));
  return ControlNet{std::move(network), {}};
}

struct ControlNetLoader {
  std::string control_net_name;

  static void Describe(NodeSchema<ControlNetLoader>& s) {
    s.Name("Load ControlNet Model").Category("loaders");
    s.Description("Loads a network that steers a model by a picture.");
    DescribeControlFile(s);
  }
  StatusOr<ControlNet> Run(NodeContext& ctx) const { return LoadControl(ctx, control_net_name, nullptr); }
};
ATELIER_REGISTER_NODE(ControlNetLoader);

struct DiffControlNetLoader {
  Model model;
  std::string control_net_name;

  static void Describe(NodeSchema<DiffControlNetLoader>& s) {
    s.Name("Load ControlNet Model (diff)").Category("loaders");
    s.Description("Loads a control network that is stored as a difference from a model.");
    s.Input<&DiffControlNetLoader::model>("model").Tooltip("The model that the file is a difference from.");
    DescribeControlFile(s);
  }
  StatusOr<ControlNet> Run(NodeContext& ctx) const { return LoadControl(ctx, control_net_name, &model); }
};
ATELIER_REGISTER_NODE(DiffControlNetLoader);

// A control with what it is shown: an IMAGE, or the parts of one that a tile gets.
StatusOr<AppliedControl> Show(const ControlNet& control_net, const Value& image) {
  if (control_net.network == nullptr) return Internal("a CONTROL_NET handle without a network");
  AppliedControl applied;
  applied.net = control_net;
  if (const auto* parts = image.Get<engine::PictureParts>()) {
    applied.net.network = std::make_shared<const engine::ShownInParts>(control_net.network, *parts);
    return applied;
  }
  const Image* whole = image.Get<Image>();
  if (whole == nullptr) return InvalidArgument("image is a value of type ", image.type(), ", expected IMAGE");
  RETURN_IF_ERROR(CheckPixels("image", *whole));
  applied.picture.pixels = whole->pixels;
  return applied;
}

// Puts a control on top of each entry's own; entries with the same one before share the new one, also among lists.
class Applier {
 public:
  explicit Applier(AppliedControl control) : control_(std::move(control)) {}

  Conditioning operator()(const Conditioning& conditioning) {
    Conditioning result = conditioning;
    for (CondEntry& entry : result.entries) {
      std::shared_ptr<const AppliedControl>& made = made_[entry.control.get()];
      if (made == nullptr) {
        AppliedControl applied = control_;
        applied.previous = entry.control;
        made = std::make_shared<const AppliedControl>(std::move(applied));
      }
      entry.control = made;
    }
    return result;
  }

 private:
  AppliedControl control_;
  std::map<const AppliedControl*, std::shared_ptr<const AppliedControl>> made_;
};

template <typename N>
void DescribeControlPicture(NodeSchema<N>& s) {
  s.template Input<&N::image>("image").Type("IMAGE").Tooltip("What the control network is shown.");
}

template <typename N>
void DescribeControlStrength(NodeSchema<N>& s) {
  s.template Input<&N::strength>("strength")
      .Default(1.0)
      .Range(0.0, 10.0)
      .Step(0.01)
      .Tooltip("How strongly it steers.");
}

struct ControlNetApply {
  Conditioning conditioning;
  ControlNet control_net;
  Value image;
  double strength = 1.0;

  static void Describe(NodeSchema<ControlNetApply>& s) {
    s.Name("Apply ControlNet (OLD)").Category("conditioning/controlnet").KeepsHandles();
    s.Description("Steers the model by a picture, for the negative prompt as well.");
    s.Input<&ControlNetApply::conditioning>("conditioning").Tooltip("The prompt to steer with.");
    s.Input<&ControlNetApply::control_net>("control_net").Tooltip("The control network.");
    DescribeControlPicture(s);
    DescribeControlStrength(s);
    s.Output<Conditioning>("CONDITIONING");
  }
  StatusOr<Conditioning> Run(NodeContext&) const {
    if (strength == 0) return conditioning;
    ASSIGN_OR_RETURN(AppliedControl applied, Show(control_net, image));
    applied.strength = strength;
    applied.to_uncond = true;
    return Applier(std::move(applied))(conditioning);
  }
};
ATELIER_REGISTER_NODE(ControlNetApply);

using Both = std::tuple<Conditioning, Conditioning>;

// What the nodes that take both lists have in common.
struct ControlInputs {
  Conditioning positive, negative;
  ControlNet control_net;
  Value image;
  double strength = 1.0, start_percent = 0.0, end_percent = 1.0;

  template <typename N>
  static void DescribeNets(NodeSchema<N>& s) {
    s.template Input<&N::positive>("positive").Tooltip("What to aim at.");
    s.template Input<&N::negative>("negative").Tooltip("What to avoid.");
    s.template Input<&N::control_net>("control_net").Tooltip("The control network.");
  }
  template <typename N>
  static void DescribeVae(NodeSchema<N>& s) {
    s.template Input<&N::vae>("vae").Tooltip("The autoencoder, for control networks that look at latents.");
  }
  template <typename N>
  static void DescribeRange(NodeSchema<N>& s) {
    s.template Input<&N::start_percent>("start_percent")
        .Default(0.0)
        .Range(0.0, 1.0)
        .Step(0.001)
        .Tooltip("Where in the run it starts, 0 to 1.");
    s.template Input<&N::end_percent>("end_percent")
        .Default(1.0)
        .Range(0.0, 1.0)
        .Step(0.001)
        .Tooltip("Where in the run it ends, 0 to 1.");
  }
  static void DescribeOutputs(NodeDeclaration& s) {
    s.Output<Conditioning>("positive").Output<Conditioning>("negative");
  }

  // `vae` and `mask` may be null.
  StatusOr<Both> Apply(const Vae* vae, const Mask* mask) const {
    if (strength == 0) return Both{positive, negative};
    if (mask != nullptr) RETURN_IF_ERROR(CheckMask("mask", *mask));
    ASSIGN_OR_RETURN(AppliedControl applied, Show(control_net, image));
    if (mask != nullptr)
      applied.picture.mask = mask->values.reshape({-1, mask->values.size(-2), mask->values.size(-1)});
    if (vae != nullptr) applied.picture.autoencoder = vae->autoencoder;
    applied.strength = strength;
    applied.start_percent = start_percent;
    applied.end_percent = end_percent;
    Applier apply(std::move(applied));
    Conditioning first = apply(positive);
    return Both{std::move(first), apply(negative)};
  }
};

struct ControlNetApplyAdvanced : ControlInputs {
  using T = ControlNetApplyAdvanced;
  std::optional<Vae> vae;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Apply ControlNet").Category("conditioning/controlnet").KeepsHandles();
    s.Description("Steers the model by a picture during a part of the run.");
    DescribeNets(s);
    DescribeControlPicture(s);
    DescribeControlStrength(s);
    DescribeRange(s);
    DescribeVae(s);
    DescribeOutputs(s);
  }
  StatusOr<Both> Run(NodeContext&) const { return Apply(vae ? &*vae : nullptr, nullptr); }
};
ATELIER_REGISTER_NODE(ControlNetApplyAdvanced);

struct ControlNetApplySD3 : ControlInputs {
  using T = ControlNetApplySD3;
  Vae vae;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Apply Controlnet with VAE").Category("conditioning/controlnet").KeepsHandles();
    s.Description("Steers the model by a picture that the control network sees as latents.");
    DescribeNets(s);
    DescribeVae(s);
    DescribeControlPicture(s);
    DescribeControlStrength(s);
    DescribeRange(s);
    DescribeOutputs(s);
  }
  StatusOr<Both> Run(NodeContext&) const { return Apply(&vae, nullptr); }
};
ATELIER_REGISTER_NODE(ControlNetApplySD3);

struct ControlNetInpaintingAliMamaApply : ControlInputs {
  using T = ControlNetInpaintingAliMamaApply;
  Vae vae;
  Mask mask;

  static void Describe(NodeSchema<T>& s) {
    s.Name("ControlNetInpaintingAliMamaApply").Category("conditioning/controlnet").KeepsHandles();
    s.Description("Steers the model by a picture of which a part is to be painted anew.");
    DescribeNets(s);
    DescribeVae(s);
    DescribeControlPicture(s);
    s.Input<&T::mask>("mask").Tooltip("1 where the picture is to be painted anew.");
    DescribeControlStrength(s);
    DescribeRange(s);
    DescribeOutputs(s);
  }
  StatusOr<Both> Run(NodeContext&) const { return Apply(&vae, &mask); }
};
ATELIER_REGISTER_NODE(ControlNetInpaintingAliMamaApply);

struct SetUnionControlNetType {
  ControlNet control_net;
  std::string type;

  // The number of each kind in the networks of several kinds.
  static const std::vector<std::pair<std::string, int64_t>>& Kinds() {
    static const std::vector<std::pair<std::string, int64_t>> kinds = {{"openpose", 0},
                                                                       {"depth", 1},
                                                                       {"hed/pidi/scribble/ted", 2},
                                                                       {"canny/lineart/anime_lineart/mlsd", 3},
                                                                       {"normal", 4},
                                                                       {"segment", 5},
                                                                       {"tile", 6},
                                                                       {"repaint", 7}};
    return kinds;
  }
  static void Describe(NodeSchema<SetUnionControlNetType>& s) {
    s.Name("SetUnionControlNetType").Category("conditioning/controlnet").Cheap();
    s.Description("Tells a control network of several kinds what its picture shows.");
    std::vector<std::string> names{"auto"};
    for (const auto& [name, number] : Kinds()) names.push_back(name);
    s.Input<&SetUnionControlNetType::control_net>("control_net").Tooltip("The control network.");
    s.Input<&SetUnionControlNetType::type>("type").OneOf(names).Tooltip("What the picture shows.");
    s.Output<ControlNet>("CONTROL_NET");
  }
  StatusOr<ControlNet> Run(NodeContext&) const {
    ControlNet result = control_net;
    result.kinds.clear();
    for (const auto& [name, number] : Kinds())
      if (name == type) result.kinds.push_back(number);
    return result;
  }
};
ATELIER_REGISTER_NODE(SetUnionControlNetType);

}  // namespace
}  // namespace atelier::nodes
