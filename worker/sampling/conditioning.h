// From CONDITIONING lists to network calls: areas, masks, time ranges, batching, accumulation. Source: spec
// engine.md 4.10.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "common/base/status.h"
#include "worker/engine/types.h"

namespace atelier::engine {

class ControlRun;

/// One conditioning entry made ready for a run: everything in latent units and on the sampling device.
struct PreparedCond {
  at::Tensor context;                          // f32 [1,T,D]
  ModelCallInputs inputs;                      // the family's; context, control, kinds and sigma unset
  at::Tensor mask;                             // f32 [M,h,w], or undefined
  std::optional<std::array<int64_t, 4>> area;  // height, width, y, x in latent pixels
  double strength = 1.0, mask_strength = 1.0;
  bool fills_rest = false;                                       // counts only where the list's other entries do not
  double start_sigma = std::numeric_limits<double>::infinity();  // not used above this level
  double end_sigma = 0.0;                                        // nor below this one
  std::shared_ptr<const AppliedControl> control;                 // may be null
  std::shared_ptr<ControlRun> control_run;                       // of `control`, see PrepareControls()
};
using CondList = std::vector<PreparedCond>;

/// Resolves one list for a run. Errors: INVALID_ARGUMENT for malformed options, naming the key.
StatusOr<CondList> PrepareConds(const Conditioning& conditioning, const Model& model, const CondRun& run);

/// Gives each list a counterpart of every area that another list has, so that guidance compares like with like.
void MatchAreas(std::vector<CondList>& lists);

/// One network call: the denoised latent of x [B,C,h,w] at `sigma`, in x's type (f32 or f64; the network itself works
/// in f32). May throw what torch throws.
at::Tensor BatchedDenoise(const Model& model, const at::Tensor& x, double sigma, ModelCallInputs inputs);
/// Makes the control networks of the lists ready for a run, each once, and gives those of the first list that ask for
/// it to entries without area of the other lists, unless these have some of their own. Errors: INVALID_ARGUMENT when a
/// control network does not fit the model. Source: spec engine.md 4.10 step 5.
Status PrepareControls(std::vector<CondList>& lists, const Model& model);

/// Denoised predictions [B,C,h,w] of x's type of all lists at one level: regions weighted by mask and strength, 0 where
/// nothing applies. Calls that fit together are one batch, the last list first; `lists` may hold null for one that is
/// not wanted, which gives an undefined tensor. List 0 is the positive one, list 1 the negative one. May throw
/// what torch throws.
std::vector<at::Tensor> EvaluateConds(const Model& model, const std::vector<const CondList*>& lists,
                                      const at::Tensor& x, double sigma);

}  // namespace atelier::engine
