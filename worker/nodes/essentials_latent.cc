// Empty latents of the sizes that SDXL was trained on, as ComfyUI_essentials offers them. Source: spec extras.md 1.2;
// the sizes between the two that it names: the table in the paper on SDXL.
#include <algorithm>
#include <array>

#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct TrainedSize {
  int64_t width, height;
  std::string_view ratio;

  std::string Text() const { return Cat(width, "x", height, " (", ratio, ")"); }
};
constexpr std::array<TrainedSize, 26> kTrainedSizes = {{
    {704, 1408, "0.5"},  {704, 1344, "0.52"}, {768, 1344, "0.57"}, {768, 1280, "0.6"},  {832, 1216, "0.68"},
    {832, 1152, "0.72"}, {896, 1152, "0.78"}, {896, 1088, "0.82"}, {960, 1088, "0.88"}, {960, 1024, "0.94"},
    {1024, 1024, "1.0"}, {1024, 960, "1.07"}, {1088, 960, "1.13"}, {1088, 896, "1.21"}, {1152, 896, "1.29"},
    {1152, 832, "1.38"}, {1216, 832, "1.46"}, {1280, 768, "1.67"}, {1344, 768, "1.75"}, {1344, 704, "1.91"},
    {1408, 704, "2.0"},  {1472, 704, "2.09"}, {1536, 640, "2.4"},  {1600, 640, "2.5"},  {1664, 576, "2.89"},
    {1728, 576, "3.0"},
}};

struct SDXLEmptyLatentSizePicker {
  std::string resolution = "1024x1024 (1.0)";
  int64_t batch_size = 1, width_override = 0, height_override = 0;

  static void Describe(NodeSchema<SDXLEmptyLatentSizePicker>& s) {
    using N = SDXLEmptyLatentSizePicker;
    std::vector<std::string> choices;
    for (const TrainedSize& size : kTrainedSizes) choices.push_back(size.Text());
    s.Name("🔧 Empty Latent Size Picker").Category("essentials/utilities").Cheap();
    s.Description("The empty start of a picture, of a size that SDXL was trained on.");
    s.Input<&N::resolution>("resolution")
        .OneOf(std::move(choices))
        .Default("1024x1024 (1.0)")
        .Tooltip("Width and height in pixels, and their ratio.");
    s.Input<&N::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("Pictures in the batch.");
    s.Input<&N::width_override>("width_override")
        .Default(0)
        .Range(0, 16384)
        .Step(8)
        .Tooltip("Another width in pixels; 0 takes that of the resolution.");
    s.Input<&N::height_override>("height_override")
        .Default(0)
        .Range(0, 16384)
        .Step(8)
        .Tooltip("Another height in pixels; 0 takes that of the resolution.");
    s.Output<Latent>("LATENT").Output<int64_t>("width").Output<int64_t>("height");
  }
  StatusOr<std::tuple<Latent, int64_t, int64_t>> Run(NodeContext&) const {
    const auto* size = std::find_if(kTrainedSizes.begin(), kTrainedSizes.end(),
                                    [this](const TrainedSize& s) { return s.Text() == resolution; });
    if (size == kTrainedSizes.end())
      return InvalidArgument("input \"resolution\" is \"", resolution, "\", expected one of the choices");
    const int64_t width = width_override > 0 ? width_override : size->width;
    const int64_t height = height_override > 0 ? height_override : size->height;
    if (std::min(width, height) < kPixelsPerLatent)
      return InvalidArgument("the size is ", width, "x", height, ", expected sides of at least ", kPixelsPerLatent);
    const int64_t rows = height / kPixelsPerLatent, columns = width / kPixelsPerLatent;
    RETURN_IF_ERROR(CheckTensorSize("empty latent", {batch_size, 4, rows, columns}));
    return Guard([&] {
      return std::tuple(Latent{at::zeros({batch_size, 4, rows, columns}, at::kFloat), {}}, width, height);
    });
  }
};
ATELIER_REGISTER_NODE_AS(SDXLEmptyLatentSizePicker, "SDXLEmptyLatentSizePicker+");

}  // namespace
}  // namespace atelier::nodes
