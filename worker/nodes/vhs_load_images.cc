// VideoHelperSuite's loaders of a folder of pictures. Source: spec extras.md 4.4.
#include <algorithm>
#include <map>

#include "common/graph/input_folder.h"
#include "common/image/codec.h"
#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kImagesMax = 9007199254740991;
constexpr const char* kLoadImagesCategory = "Video Helper Suite 🎥🅥🅗🅢";

struct VhsLoadImages {
  std::string directory;
  int64_t image_load_cap = 0, skip_first_images = 0, select_every_nth = 1;

  template <typename Node>
  static void DescribeRest(NodeSchema<Node>& s) {
    s.Category(kLoadImagesCategory);
    s.template Input<&Node::image_load_cap>("image_load_cap")
        .Default(0)
        .Range(0, kImagesMax)
        .Step(1)
        .Tooltip("How many pictures at most; 0: all.");
    s.template Input<&Node::skip_first_images>("skip_first_images")
        .Default(0)
        .Range(0, kImagesMax)
        .Step(1)
        .Tooltip("Pictures to leave out at the beginning, by name.");
    s.template Input<&Node::select_every_nth>("select_every_nth")
        .Default(1)
        .Range(1, kImagesMax)
        .Step(1)
        .Tooltip("Of the rest, every which picture.");
    s.template Output<Image>("IMAGE").template Output<Mask>("MASK").template Output<int64_t>("frame_count");
  }

  // The pictures asked for, each upright, f32 [1,H,W,4]; opaque ones have alpha 1.
  StatusOr<std::vector<at::Tensor>> Load(NodeContext& ctx, bool* transparent) const {
    ASSIGN_OR_RETURN(const std::string text, ctx.InputFile(directory + "/"));
    ASSIGN_OR_RETURN(const auto files, SplitFiles(text));
    if (skip_first_images < 0 || select_every_nth < 1)
      return InvalidArgument("skip_first_images is ", skip_first_images, " and select_every_nth ", select_every_nth,
                             ", expected at least 0 and 1");
    std::vector<at::Tensor> pictures;
    for (auto i = static_cast<size_t>(skip_first_images); i < files.size();
         i += static_cast<size_t>(select_every_nth)) {
      if (image_load_cap > 0 && static_cast<int64_t>(pictures.size()) >= image_load_cap) break;
      if (ctx.cancelled()) return Cancelled("cancelled");
      const auto& [name, bytes] = files[i];
      const StatusOr<DecodedImage> decoded = DecodeImage(bytes);
      if (!decoded.ok()) return Annotate(decoded.status(), Cat("input file \"", name, "\""));
      RETURN_IF_ERROR(CheckTensorSize(
          "loaded pictures", {static_cast<int64_t>(pictures.size()) + 1, decoded->rgb.height, decoded->rgb.width, 4}));
      const at::Tensor rgb = ToPixels({decoded->rgb});
      const at::Tensor alpha = decoded->has_alpha ? ToPixels({decoded->alpha}) : at::ones_like(rgb.slice(3, 0, 1));
      *transparent |= decoded->has_alpha;
      pictures.push_back(at::cat({rgb, alpha}, 3));
    }
    if (pictures.empty())
      return InvalidArgument("no picture is left: the folder \"", directory, "\" has ", files.size(),
                             ", skip_first_images is ", skip_first_images, "; use a smaller number");
    return pictures;
  }

  // The size that most pictures have, the first of those with as many.
  static std::pair<int64_t, int64_t> CommonSize(const std::vector<at::Tensor>& pictures) {
    std::map<std::pair<int64_t, int64_t>, int64_t> counts;
    for (const at::Tensor& p : pictures) ++counts[{p.size(1), p.size(2)}];
    const auto best =
        *std::max_element(pictures.begin(), pictures.end(), [&](const at::Tensor& a, const at::Tensor& b) {
          return counts[{a.size(1), a.size(2)}] < counts[{b.size(1), b.size(2)}];
        });
    return {best.size(1), best.size(2)};
  }

  StatusOr<std::tuple<Image, Mask, int64_t>> Run(NodeContext& ctx) const {
    return Guard([&]() -> StatusOr<std::tuple<Image, Mask, int64_t>> {
      bool transparent = false;
      ASSIGN_OR_RETURN(std::vector<at::Tensor> pictures, Load(ctx, &transparent));
      const auto [height, width] = CommonSize(pictures);
      const auto count = static_cast<int64_t>(pictures.size());
      RETURN_IF_ERROR(CheckTensorSize("loaded pictures", {count, height, width, 4}));
      for (at::Tensor& picture : pictures) {
        if (!transparent) picture = picture.slice(3, 0, 3);
        if (picture.size(1) == height && picture.size(2) == width) continue;
        ASSIGN_OR_RETURN(picture, ResizePixels(picture, width, height, "lanczos", "center"));
      }
      const at::Tensor all = at::cat(pictures, 0);
      const at::Tensor mask = transparent ? 1.0 - all.select(3, 3) : at::zeros({count, 64, 64}, at::kFloat);
      return std::tuple(Image{all.slice(3, 0, 3).contiguous()}, Mask{mask}, count);
    });
  }
};

struct VhsLoadImagesUpload : VhsLoadImages {
  static void Describe(NodeSchema<VhsLoadImagesUpload>& s) {
    s.Name("Load Images (Upload) 🎥🅥🅗🅢").Description("Reads the pictures of a folder in the input folder, by name.");
    s.Input<&VhsLoadImagesUpload::directory>("directory")
        .FromFolder(kPictureFolders)
        .Tooltip("A folder in the input folder.");
    DescribeRest(s);
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadImagesUpload, "VHS_LoadImages");

struct VhsLoadImagesPath : VhsLoadImages {
  static void Describe(NodeSchema<VhsLoadImagesPath>& s) {
    s.Name("Load Images (Path) 🎥🅥🅗🅢").Description("Reads the pictures of a folder below the input folder, by name.");
    s.Input<&VhsLoadImagesPath::directory>("directory")
        .FromFolder(kPictureFolders)
        .Type("STRING")
        .Tooltip("A path below the input folder.");
    DescribeRest(s);
  }
};
ATELIER_REGISTER_NODE_AS(VhsLoadImagesPath, "VHS_LoadImagesPath");

}  // namespace
}  // namespace atelier::nodes
