#include "worker/models/network.h"

namespace atelier::models {

at::Tensor JoinedInput(const at::Tensor& input, const engine::ModelCallInputs& inputs) {
  return inputs.c_concat.defined() ? at::cat({input, inputs.c_concat.to(input.device())}, 1) : input;
}

void CheckChannels(const at::Tensor& joined, int64_t dims, int64_t channels) {
  TORCH_CHECK(joined.dim() == dims && joined.size(1) == channels, "the model takes ", channels,
              " latent channels, not ", joined.size(1));
}

void CheckContext(const engine::ModelCallInputs& inputs, int64_t width) {
  TORCH_CHECK(inputs.context.defined() && inputs.context.size(2) == width,
              "the model takes text conditioning of width ", width, ", not ",
              inputs.context.defined() ? inputs.context.size(2) : 0);
}

}  // namespace atelier::models
