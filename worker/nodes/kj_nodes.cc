// Sizes, constants and texts as KJNodes and RES4LYF offer them. Source: spec extras.md 2.
#include <algorithm>
#include <utility>

#include "common/graph/frames.h"
#include "common/graph/python_value.h"
#include "worker/nodes/python_numbers.h"
#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"
#include "worker/nodes/text_limits.h"

namespace atelier::nodes {
namespace {

struct GetImageSizeAndCount {
  Image image;

  static void Describe(NodeSchema<GetImageSizeAndCount>& s) {
    s.Name("Get Image Size & Count")
        .Category("KJNodes/image")
        .Description("Width, height and number of pictures, and the pictures.");
    s.Input<&GetImageSizeAndCount::image>("image").Tooltip("The pictures.");
    s.Output<Image>("image").Output<int64_t>("width").Output<int64_t>("height").Output<int64_t>("count");
  }
  StatusOr<std::tuple<Image, int64_t, int64_t, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return std::tuple(image, image.pixels.size(2), image.pixels.size(1), image.pixels.size(0));
  }
};
ATELIER_REGISTER_NODE(GetImageSizeAndCount);

struct GetLatentSizeAndCount {
  Latent latent;

  static void Describe(NodeSchema<GetLatentSizeAndCount>& s) {
    s.Name("Get Latent Size & Count").Category("KJNodes/latents").Description("The sides of a latent, and the latent.");
    s.Input<&GetLatentSizeAndCount::latent>("latent").Tooltip("The latents.");
    s.Output<Latent>("latent")
        .Output<int64_t>("batch_size")
        .Output<int64_t>("channels")
        .Output<int64_t>("frames")
        .Output<int64_t>("height")
        .Output<int64_t>("width");
  }
  StatusOr<std::tuple<Latent, int64_t, int64_t, int64_t, int64_t, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("latent", latent));
    const at::Tensor& s = latent.samples;
    return std::tuple(latent, s.size(0), s.size(1), s.dim() == 5 ? s.size(2) : int64_t{0}, s.size(-2), s.size(-1));
  }
};
ATELIER_REGISTER_NODE(GetLatentSizeAndCount);

struct INTConstant {
  int64_t value = 0;

  static void Describe(NodeSchema<INTConstant>& s) {
    s.Name("INT Constant").Category("KJNodes/constants").Cheap().Description("A whole number.");
    s.Input<&INTConstant::value>("value").Default(0).Range(-INT64_MAX, INT64_MAX).Tooltip("The number.");
    s.Output<int64_t>("value");
  }
  StatusOr<int64_t> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE(INTConstant);

struct FloatConstant {
  double value = 0.0;

  static void Describe(NodeSchema<FloatConstant>& s) {
    s.Name("Float Constant").Category("KJNodes/constants").Cheap().Description("A number, rounded to 6 decimals.");
    s.Input<&FloatConstant::value>("value")
        .Default(0.0)
        .Range(-INT64_MAX, INT64_MAX)
        .Step(1e-05)
        .Tooltip("The number.");
    s.Output<double>("value");
  }
  StatusOr<double> Run(NodeContext&) const { return PythonRound(value, 6); }
};
ATELIER_REGISTER_NODE(FloatConstant);

struct BOOLConstant {
  bool value = true;

  static void Describe(NodeSchema<BOOLConstant>& s) {
    s.Name("BOOL Constant").Category("KJNodes/constants").Cheap().Description("A truth value.");
    s.Input<&BOOLConstant::value>("value").Default(true).Tooltip("The value.");
    s.Output<bool>("value");
  }
  StatusOr<bool> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE(BOOLConstant);

struct StringConstant {
  std::string string;

  static void Describe(NodeSchema<StringConstant>& s) {
    s.Name("String Constant").Category("KJNodes/constants").Cheap().Description("A text.");
    s.Input<&StringConstant::string>("string").Default("").Tooltip("The text.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const { return string; }
};
ATELIER_REGISTER_NODE(StringConstant);

struct StringConstantMultiline {
  std::string string;
  bool strip_newlines = true;

  static void Describe(NodeSchema<StringConstantMultiline>& s) {
    s.Name("String Constant Multiline").Category("KJNodes/constants").Cheap().Description("A text of several lines.");
    s.Input<&StringConstantMultiline::string>("string").Default("").Multiline().Tooltip("The text.");
    s.Input<&StringConstantMultiline::strip_newlines>("strip_newlines").Default(true).Tooltip("Joins the lines.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const {
    if (!strip_newlines) return string;
    std::string joined;
    for (const char c : string)
      if (c != '\n') joined += c;
    const size_t first = joined.find_first_not_of(" \t\r\v\f");
    if (first == std::string::npos) return std::string();
    return joined.substr(first, joined.find_last_not_of(" \t\r\v\f") - first + 1);
  }
};
ATELIER_REGISTER_NODE(StringConstantMultiline);

struct JoinStrings {
  std::string delimiter = " ";
  std::optional<std::string> string1;
  std::optional<std::string> string2;

  static void Describe(NodeSchema<JoinStrings>& s) {
    s.Name("Join Strings").Category("KJNodes/text").Cheap().Description("Joins two texts.");
    s.Input<&JoinStrings::delimiter>("delimiter").Default(" ").Tooltip("What to put between them.");
    s.Input<&JoinStrings::string1>("string1").ForceInput().Tooltip("The first text.");
    s.Input<&JoinStrings::string2>("string2").ForceInput().Tooltip("The second text.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const { return string1.value_or("") + delimiter + string2.value_or(""); }
};
ATELIER_REGISTER_NODE(JoinStrings);

constexpr size_t kJoinedMax = 32;

// The inputs string_1, string_2, ...
template <size_t I>
struct NumberedText {
  std::optional<std::string> text;
};
template <typename Indices>
struct NumberedTexts;
template <size_t... I>
struct NumberedTexts<std::index_sequence<I...>> : NumberedText<I>... {
  template <typename N>
  static void Describe(NodeSchema<N>& s) {
    (s.template Input<&NumberedText<I>::text>(Cat("string_", I + 1)).ForceInput().Tooltip("A text."), ...);
  }
  std::vector<const std::optional<std::string>*> all() const {
    return {&static_cast<const NumberedText<I>&>(*this).text...};
  }
};

struct JoinStringMulti : NumberedTexts<std::make_index_sequence<kJoinedMax>> {
  int64_t inputcount = 2;
  std::string delimiter = " ";
  bool return_list = false;

  static void Describe(NodeSchema<JoinStringMulti>& s) {
    s.Name("Join String Multi").Category("KJNodes/text").Cheap().Description("Joins several texts.");
    s.Input<&JoinStringMulti::inputcount>("inputcount")
        .Default(2)
        .Range(2, kJoinedMax)
        .Step(1)
        .Tooltip("How many of the texts count.");
    s.Input<&JoinStringMulti::delimiter>("delimiter").Default(" ").Tooltip("What to put between them.");
    s.Input<&JoinStringMulti::return_list>("return_list")
        .Default(false)
        .Tooltip("Gives the texts as one list, not joined.");
    NumberedTexts::Describe(s);
    s.Output<std::string>("string");
  }
  StatusOr<Value> Run(NodeContext&) const {
    std::string joined;
    Json list = Json::array();
    const auto texts = all();
    for (size_t i = 0; i < texts.size() && i < static_cast<size_t>(std::max<int64_t>(0, inputcount)); ++i) {
      const std::string text = texts[i]->value_or("");
      if (text.empty()) continue;
      RETURN_IF_ERROR(CheckTextSize(joined.size() + delimiter.size() + text.size()));
      joined += list.empty() ? text : delimiter + text;
      list.push_back(text);
    }
    return Value::Literal(return_list ? std::move(list) : Json(joined));
  }
};
ATELIER_REGISTER_NODE(JoinStringMulti);

struct SomethingToString {
  Value input;
  std::string prefix;
  std::string suffix;

  static void Describe(NodeSchema<SomethingToString>& s) {
    s.Name("Something To String").Category("KJNodes/text").Cheap().Description("Writes a value as text.");
    s.Input<&SomethingToString::input>("input").Tooltip("A number, a truth value, a text or a list of them.");
    s.Input<&SomethingToString::prefix>("prefix").Optional().Default("").Tooltip("What stands before it.");
    s.Input<&SomethingToString::suffix>("suffix").Optional().Default("").Tooltip("What stands after it.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const {
    if (!input.is_literal())
      return InvalidArgument("input \"input\" is a value of type ", input.type(), ", expected a number or a text");
    const std::string text = PythonStr(input.literal());
    RETURN_IF_ERROR(CheckTextSize(prefix.size() + text.size() + suffix.size()));
    return prefix + text + suffix;
  }
};
ATELIER_REGISTER_NODE(SomethingToString);

struct GetImageRangeFromBatch {
  int64_t start_index = 0;
  int64_t num_frames = 1;
  std::optional<Image> images;
  std::optional<Mask> masks;

  static void Describe(NodeSchema<GetImageRangeFromBatch>& s) {
    s.Name("Get Image or Mask Range From Batch")
        .Category("KJNodes/image")
        .Description("Takes pictures and masks of a batch.");
    s.Input<&GetImageRangeFromBatch::start_index>("start_index")
        .Default(0)
        .Range(-1, 4096)
        .Step(1)
        .Tooltip("The first one to take, from 0; -1 takes the last ones.");
    s.Input<&GetImageRangeFromBatch::num_frames>("num_frames").Default(1).Range(1, 4096).Step(1).Tooltip("How many.");
    s.Input<&GetImageRangeFromBatch::images>("images").Tooltip("The pictures.");
    s.Input<&GetImageRangeFromBatch::masks>("masks").Tooltip("The masks.");
    s.Output<Image>("IMAGE").Output<Mask>("MASK");
  }
  StatusOr<std::tuple<Image, Mask>> Run(NodeContext&) const {
    if (!images && !masks) return InvalidArgument("neither images nor masks are linked");
    const int64_t items = images ? images->pixels.size(0) : masks->values.size(0);
    const int64_t first = start_index < 0 ? std::max<int64_t>(0, items - num_frames) : start_index;
    if (first >= items) return InvalidArgument("start_index is ", start_index, ", the batch has ", items);
    return Guard([&] {
      Image image{at::zeros({1, 64, 64, 3}, at::kFloat)};
      Mask mask{at::zeros({1, 64, 64}, at::kFloat)};
      if (images) image.pixels = images->pixels.slice(0, first, first + num_frames).clone();
      if (masks) mask.values = masks->values.slice(0, first, first + num_frames).clone();
      return std::tuple(std::move(image), std::move(mask));
    });
  }
};
ATELIER_REGISTER_NODE(GetImageRangeFromBatch);

struct ImageResizeKJ {
  Image image;
  int64_t width = 512;
  int64_t height = 512;
  std::string upscale_method = "nearest-exact";
  bool keep_proportion = false;
  int64_t divisible_by = 2;
  std::optional<Image> get_image_size;
  std::string crop = "disabled";

  static void Describe(NodeSchema<ImageResizeKJ>& s) {
    s.Name("Resize Image (deprecated)").Category("KJNodes/image").Description("Resizes pictures.");
    s.Input<&ImageResizeKJ::image>("image").Tooltip("The pictures.");
    s.Input<&ImageResizeKJ::width>("width").Default(512).Range(0, 16384).Step(1).Tooltip(
        "Width in pixels; 0 follows from the picture.");
    s.Input<&ImageResizeKJ::height>("height").Default(512).Range(0, 16384).Step(1).Tooltip(
        "Height in pixels; 0 follows from the picture.");
    s.Input<&ImageResizeKJ::upscale_method>("upscale_method")
        .OneOf({"nearest-exact", "bilinear", "area", "bicubic", "lanczos"})
        .Tooltip("How pixels are interpolated.");
    s.Input<&ImageResizeKJ::keep_proportion>("keep_proportion").Default(false).Tooltip("Keeps the aspect.");
    s.Input<&ImageResizeKJ::divisible_by>("divisible_by")
        .Default(2)
        .Range(0, 512)
        .Step(1)
        .Tooltip("Sides become multiples of this.");
    s.Input<&ImageResizeKJ::get_image_size>("get_image_size").Tooltip("Pictures whose size is taken instead.");
    s.Input<&ImageResizeKJ::crop>("crop")
        .OneOf({"disabled", "center", "0"})
        .Optional()
        .Default("disabled")
        .Tooltip("center cuts to the new aspect first.");
    PerFrame(s, "image");
    s.Output<Image>("IMAGE").Output<int64_t>("width").Output<int64_t>("height");
  }
  StatusOr<std::tuple<Image, int64_t, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    const auto ow = static_cast<double>(image.pixels.size(2)), oh = static_cast<double>(image.pixels.size(1));
    int64_t to_width = width, to_height = height;
    if (get_image_size) {
      RETURN_IF_ERROR(CheckPixels("get_image_size", *get_image_size));
      to_width = get_image_size->pixels.size(2);
      to_height = get_image_size->pixels.size(1);
    } else if (keep_proportion) {
      if (width == 0 && height != 0) {
        to_width = RoundHalfEven(ow * (static_cast<double>(height) / oh));
      } else if (height == 0 && width != 0) {
        to_height = RoundHalfEven(oh * (static_cast<double>(width) / ow));
      } else if (width != 0 && height != 0) {
        const double ratio = std::min(static_cast<double>(width) / ow, static_cast<double>(height) / oh);
        to_width = RoundHalfEven(ow * ratio);
        to_height = RoundHalfEven(oh * ratio);
      }
    } else {
      if (width == 0) to_width = image.pixels.size(2);
      if (height == 0) to_height = image.pixels.size(1);
    }
    if (divisible_by > 1 && !get_image_size) {
      to_width -= to_width % divisible_by;
      to_height -= to_height % divisible_by;
    }
    ASSIGN_OR_RETURN(at::Tensor pixels, ResizePixels(image.pixels, to_width, to_height, upscale_method,
                                                     crop == "disabled" ? "disabled" : "center"));
    return std::tuple(Image{std::move(pixels)}, to_width, to_height);
  }
};
ATELIER_REGISTER_NODE(ImageResizeKJ);

struct SetImageSize {
  int64_t width = 1024;
  int64_t height = 1024;

  static void Describe(NodeSchema<SetImageSize>& s) {
    s.Name("SetImageSize").Category("RES4LYF/images").Cheap().Description("A width and a height.");
    s.Input<&SetImageSize::width>("width").Default(1024).Range(1, 10000).Tooltip("Width in pixels.");
    s.Input<&SetImageSize::height>("height").Default(1024).Range(1, 10000).Tooltip("Height in pixels.");
    s.Output<int64_t>("width").Output<int64_t>("height");
  }
  StatusOr<std::tuple<int64_t, int64_t>> Run(NodeContext&) const { return std::tuple(width, height); }
};
ATELIER_REGISTER_NODE(SetImageSize);

}  // namespace
}  // namespace atelier::nodes
