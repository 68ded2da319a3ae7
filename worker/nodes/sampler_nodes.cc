// SAMPLER values: the named samplers, and those with settings. Source: spec engine.md 4.12.
#include "worker/nodes/support.h"
#include "worker/sampling/model_sampling.h"
#include "worker/sampling/sampler.h"
#include "worker/sampling/samplers/makers.h"

namespace atelier::nodes {
namespace {

using engine::SamplerType;

constexpr const char* kSamplersCategory = "sampling/custom_sampling/samplers";
constexpr const char* kEtaTooltip = "Share of the noise that each step replaces.";
constexpr const char* kNoiseTooltip = "Scale of the sampler's own noise.";
constexpr const char* kDeviceTooltip = "Where noise is drawn; the two differ.";

struct KSamplerSelect {
  std::string sampler_name;

  static void Describe(NodeSchema<KSamplerSelect>& s) {
    s.Name("KSamplerSelect").Category(kSamplersCategory).Description("A sampler by its name.");
    s.Input<&KSamplerSelect::sampler_name>("sampler_name").OneOf(engine::SamplerNames()).Tooltip("The algorithm.");
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const { return engine::FindSampler(sampler_name); }
};
ATELIER_REGISTER_NODE(KSamplerSelect);

struct SamplerEulerAncestral {
  double eta = 1, s_noise = 1;

  static void Describe(NodeSchema<SamplerEulerAncestral>& s) {
    s.Name("SamplerEulerAncestral").Category(kSamplersCategory).Description("euler_ancestral with settings.");
    s.Input<&SamplerEulerAncestral::eta>("eta").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kEtaTooltip);
    s.Input<&SamplerEulerAncestral::s_noise>("s_noise")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip(kNoiseTooltip);
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const { return engine::EulerAncestralSampler(eta, s_noise); }
};
ATELIER_REGISTER_NODE(SamplerEulerAncestral);

struct SamplerEulerAncestralCFGPP {
  double eta = 1, s_noise = 1;

  static void Describe(NodeSchema<SamplerEulerAncestralCFGPP>& s) {
    s.Name("SamplerEulerAncestralCFG++")
        .Category(kSamplersCategory)
        .Description("euler_ancestral_cfg_pp with settings.");
    s.Input<&SamplerEulerAncestralCFGPP::eta>("eta").Default(1.0).Range(0.0, 1.0).Step(0.01).Tooltip(kEtaTooltip);
    s.Input<&SamplerEulerAncestralCFGPP::s_noise>("s_noise").Default(1.0).Range(0.0, 10.0).Step(0.01).Tooltip(
        kNoiseTooltip);
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const { return engine::EulerAncestralCfgPpSampler(eta, s_noise); }
};
ATELIER_REGISTER_NODE(SamplerEulerAncestralCFGPP);

struct SamplerLMS {
  int64_t order = 4;

  static void Describe(NodeSchema<SamplerLMS>& s) {
    s.Name("SamplerLMS").Category(kSamplersCategory).Description("lms with settings.");
    s.Input<&SamplerLMS::order>("order").Default(4).Range(1, 100).Tooltip("How many steps are looked back upon.");
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const {
    if (order < 1 || order > 100) return InvalidArgument("order is ", order, ", expected 1..100");
    return engine::LmsSampler(order);
  }
};
ATELIER_REGISTER_NODE(SamplerLMS);

struct SamplerDPMPP_3M_SDE {
  double eta = 1, s_noise = 1;
  std::string noise_device = "gpu";

  static void Describe(NodeSchema<SamplerDPMPP_3M_SDE>& s) {
    s.Name("SamplerDPMPP_3M_SDE").Category(kSamplersCategory).Description("dpmpp_3m_sde with settings.");
    s.Input<&SamplerDPMPP_3M_SDE::eta>("eta").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kEtaTooltip);
    s.Input<&SamplerDPMPP_3M_SDE::s_noise>("s_noise").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kNoiseTooltip);
    s.Input<&SamplerDPMPP_3M_SDE::noise_device>("noise_device").OneOf({"gpu", "cpu"}).Tooltip(kDeviceTooltip);
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const {
    return engine::Dpmpp3mSdeSampler(eta, s_noise, noise_device == "cpu");
  }
};
ATELIER_REGISTER_NODE(SamplerDPMPP_3M_SDE);

struct SamplerDPMPP_2M_SDE {
  std::string solver_type = "midpoint";
  double eta = 1, s_noise = 1;
  std::string noise_device = "gpu";

  static void Describe(NodeSchema<SamplerDPMPP_2M_SDE>& s) {
    s.Name("SamplerDPMPP_2M_SDE").Category(kSamplersCategory).Description("dpmpp_2m_sde with settings.");
    s.Input<&SamplerDPMPP_2M_SDE::solver_type>("solver_type")
        .OneOf({"midpoint", "heun"})
        .Tooltip("The form of the second-order part.");
    s.Input<&SamplerDPMPP_2M_SDE::eta>("eta").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kEtaTooltip);
    s.Input<&SamplerDPMPP_2M_SDE::s_noise>("s_noise").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kNoiseTooltip);
    s.Input<&SamplerDPMPP_2M_SDE::noise_device>("noise_device").OneOf({"gpu", "cpu"}).Tooltip(kDeviceTooltip);
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const {
    return engine::Dpmpp2mSdeSampler(eta, s_noise, solver_type == "heun", noise_device == "cpu");
  }
};
ATELIER_REGISTER_NODE(SamplerDPMPP_2M_SDE);

struct SamplerDPMPP_SDE {
  double eta = 1, s_noise = 1, r = 0.5;
  std::string noise_device = "gpu";

  static void Describe(NodeSchema<SamplerDPMPP_SDE>& s) {
    s.Name("SamplerDPMPP_SDE").Category(kSamplersCategory).Description("dpmpp_sde with settings.");
    s.Input<&SamplerDPMPP_SDE::eta>("eta").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kEtaTooltip);
    s.Input<&SamplerDPMPP_SDE::s_noise>("s_noise").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kNoiseTooltip);
    s.Input<&SamplerDPMPP_SDE::r>("r")
        .Default(0.5)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Where in the step the second evaluation lies.");
    s.Input<&SamplerDPMPP_SDE::noise_device>("noise_device").OneOf({"gpu", "cpu"}).Tooltip(kDeviceTooltip);
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const {
    if (r <= 0) return InvalidArgument("r is ", r, ", expected more than 0");
    return engine::DpmppSdeSampler(eta, s_noise, r, noise_device == "cpu");
  }
};
ATELIER_REGISTER_NODE(SamplerDPMPP_SDE);

struct SamplerDPMPP_2S_Ancestral {
  double eta = 1, s_noise = 1;

  static void Describe(NodeSchema<SamplerDPMPP_2S_Ancestral>& s) {
    s.Name("SamplerDPMPP_2S_Ancestral").Category(kSamplersCategory).Description("dpmpp_2s_ancestral with settings.");
    s.Input<&SamplerDPMPP_2S_Ancestral::eta>("eta").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kEtaTooltip);
    s.Input<&SamplerDPMPP_2S_Ancestral::s_noise>("s_noise")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip(kNoiseTooltip);
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const { return engine::Dpmpp2sAncestralSampler(eta, s_noise); }
};
ATELIER_REGISTER_NODE(SamplerDPMPP_2S_Ancestral);

struct SamplerDPMAdaptative {
  int64_t order = 3;
  double rtol = 0.05, atol = 0.0078, h_init = 0.05, pcoeff = 0, icoeff = 1, dcoeff = 0, accept_safety = 0.81, eta = 0,
         s_noise = 1;

  static void Describe(NodeSchema<SamplerDPMAdaptative>& s) {
    using N = SamplerDPMAdaptative;
    s.Name("SamplerDPMAdaptative").Category(kSamplersCategory).Description("dpm_adaptive with settings.");
    s.Input<&N::order>("order").Default(3).Range(2, 3).Tooltip("Order of the solver.");
    s.Input<&N::rtol>("rtol").Default(0.05).Range(0.0, 100.0).Step(0.01).Tooltip("Error allowed, relative.");
    s.Input<&N::atol>("atol").Default(0.0078).Range(0.0, 100.0).Step(0.01).Tooltip("Error allowed, absolute.");
    s.Input<&N::h_init>("h_init").Default(0.05).Range(0.0, 100.0).Step(0.01).Tooltip("First step in log sigma.");
    s.Input<&N::pcoeff>("pcoeff")
        .Default(0.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Gain of the step size on the present error.");
    s.Input<&N::icoeff>("icoeff")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Gain of the step size on the sum of errors.");
    s.Input<&N::dcoeff>("dcoeff")
        .Default(0.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Gain of the step size on the change of the error.");
    s.Input<&N::accept_safety>("accept_safety")
        .Default(0.81)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("A step that would have to shrink below this share of its size is done again.");
    s.Input<&N::eta>("eta").Default(0.0).Range(0.0, 100.0).Step(0.01).Tooltip(kEtaTooltip);
    s.Input<&N::s_noise>("s_noise").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kNoiseTooltip);
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const {
    if (order != 2 && order != 3) return InvalidArgument("order is ", order, ", expected 2 or 3");
    if (h_init <= 0) return InvalidArgument("h_init is ", h_init, ", expected more than 0");
    return engine::DpmAdaptiveSampler({order, rtol, atol, h_init, pcoeff, icoeff, dcoeff, accept_safety, eta, s_noise});
  }
};
ATELIER_REGISTER_NODE(SamplerDPMAdaptative);

struct SamplerER_SDE {
  std::string solver_type = "ER-SDE";
  int64_t max_stage = 3;
  double eta = 1, s_noise = 1;

  static void Describe(NodeSchema<SamplerER_SDE>& s) {
    s.Name("SamplerER_SDE").Category(kSamplersCategory).Description("er_sde with settings.");
    s.Input<&SamplerER_SDE::solver_type>("solver_type")
        .OneOf({"ER-SDE", "Reverse-time SDE", "ODE"})
        .Tooltip("The form of the second-order part.");
    s.Input<&SamplerER_SDE::max_stage>("max_stage").Default(3).Range(1, 3).Tooltip("Highest order.");
    s.Input<&SamplerER_SDE::eta>("eta")
        .Default(1.0)
        .Range(0.0, 100.0)
        .Step(0.01)
        .Tooltip("Share of noise of the reverse-time SDE.");
    s.Input<&SamplerER_SDE::s_noise>("s_noise").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kNoiseTooltip);
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const { return engine::ErSdeSampler(solver_type, max_stage, eta, s_noise); }
};
ATELIER_REGISTER_NODE(SamplerER_SDE);

struct SamplerSASolver {
  Model model;
  double eta = 1, sde_start_percent = 0.2, sde_end_percent = 0.8, s_noise = 1;
  int64_t predictor_order = 3, corrector_order = 4;
  bool use_pece = false, simple_order_2 = false;

  static void Describe(NodeSchema<SamplerSASolver>& s) {
    using N = SamplerSASolver;
    s.Name("SamplerSASolver").Category(kSamplersCategory).Description("sa_solver with settings.");
    s.Input<&N::model>("model").Tooltip("The model to sample with.");
    s.Input<&N::eta>("eta").Default(1.0).Range(0.0, 10.0).Step(0.01).Tooltip(kEtaTooltip);
    s.Input<&N::sde_start_percent>("sde_start_percent")
        .Default(0.2)
        .Range(0.0, 1.0)
        .Step(0.001)
        .Tooltip("Share of the run after which noise is added.");
    s.Input<&N::sde_end_percent>("sde_end_percent")
        .Default(0.8)
        .Range(0.0, 1.0)
        .Step(0.001)
        .Tooltip("Share of the run after which no more is.");
    s.Input<&N::s_noise>("s_noise").Default(1.0).Range(0.0, 100.0).Step(0.01).Tooltip(kNoiseTooltip);
    s.Input<&N::predictor_order>("predictor_order").Default(3).Range(1, 6).Tooltip("Order of the prediction.");
    s.Input<&N::corrector_order>("corrector_order").Default(4).Range(0, 6).Tooltip("Order of the correction; 0: none.");
    s.Input<&N::use_pece>("use_pece").Default(false).Tooltip("Evaluates again after each correction.");
    s.Input<&N::simple_order_2>("simple_order_2").Default(false).Tooltip("Simpler coefficients at order 2.");
    s.Output<SamplerType>("SAMPLER");
  }
  StatusOr<SamplerType> Run(NodeContext&) const {
    if (predictor_order < 1 || predictor_order > 6 || corrector_order < 0 || corrector_order > 6)
      return InvalidArgument("orders are ", predictor_order, " and ", corrector_order, ", expected 1..6 and 0..6");
    if (model.sampling == nullptr) return Internal("model without sampling");
    engine::SaSolverSettings settings;
    settings.eta = eta;
    settings.sde_start = model.sampling->PercentToSigma(sde_start_percent);
    settings.sde_end = model.sampling->PercentToSigma(sde_end_percent);
    settings.s_noise = s_noise;
    settings.predictor_order = predictor_order;
    settings.corrector_order = corrector_order;
    settings.pece = use_pece;
    settings.simple_order_2 = simple_order_2;
    return engine::SaSolverSampler(settings);
  }
};
ATELIER_REGISTER_NODE(SamplerSASolver);

}  // namespace
}  // namespace atelier::nodes
