// VideoHelperSuite's nodes that cut, join, repeat and choose within batches, the same for pictures, masks and latents.
// Source: spec extras.md 4.4.
#include <algorithm>
#include <charconv>
#include <optional>

#include "worker/nodes/media_support.h"
#include "worker/nodes/resize.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kCountMax = 9007199254740991;

// What differs between the three kinds: names, and the tensors whose first dimension is the batch.
template <typename T>
struct Kind;
template <>
struct Kind<Image> {
  static constexpr char kOne[] = "image", kMany[] = "images", kSocket[] = "IMAGE", kFolder[] = "image";
  static constexpr char kMergeA[] = "images_A", kMergeB[] = "images_B", kSkip[] = "skip_first_images";
  static constexpr char kEvery[] = "images", kSplit[] = "images", kCount[] = "images", kRepeat[] = "images";
  static constexpr char kTitle[] = "Image", kTitles[] = "Images";
  static const at::Tensor& Main(const Image& v) { return v.pixels; }
  template <typename F>
  static Image Map(const Image& v, F&& f) {
    return Image{f(v.pixels)};
  }
};
template <>
struct Kind<Mask> {
  static constexpr char kOne[] = "mask", kMany[] = "mask", kSocket[] = "MASK", kFolder[] = "mask";
  static constexpr char kMergeA[] = "mask_A", kMergeB[] = "mask_B", kSkip[] = "skip_first_masks";
  static constexpr char kEvery[] = "mask", kSplit[] = "mask", kCount[] = "mask", kRepeat[] = "mask";
  static constexpr char kTitle[] = "Mask", kTitles[] = "Masks";
  static const at::Tensor& Main(const Mask& v) { return v.values; }
  template <typename F>
  static Mask Map(const Mask& v, F&& f) {
    return Mask{f(v.values)};
  }
};
template <>
struct Kind<Latent> {
  static constexpr char kOne[] = "latent", kMany[] = "latents", kSocket[] = "LATENT", kFolder[] = "latent";
  static constexpr char kMergeA[] = "latents_A", kMergeB[] = "latents_B", kSkip[] = "skip_first_latents";
  static constexpr char kEvery[] = "latents", kSplit[] = "latents", kCount[] = "latents", kRepeat[] = "latents";
  static constexpr char kTitle[] = "Latent", kTitles[] = "Latents";
  static const at::Tensor& Main(const Latent& v) { return v.samples; }
  template <typename F>
  static Latent Map(const Latent& v, F&& f) {
    Latent out = v;
    out.samples = f(v.samples);
    if (v.noise_mask.defined() && v.noise_mask.size(0) == v.samples.size(0)) out.noise_mask = f(v.noise_mask);
    out.batch_index.reset();
    return out;
  }
};

template <typename T>
Status CheckBatch(const T& value, int dims_min) {
  const at::Tensor& main = Kind<T>::Main(value);
  if (!main.defined() || main.dim() < dims_min)
    return InvalidArgument("input \"", Kind<T>::kMany, "\" holds no batch of ", Kind<T>::kMany);
  return OkStatus();
}

template <typename T>
int64_t SizeOf(const T& value) {
  return Kind<T>::Main(value).size(0);
}

template <typename T>
T Part(const T& value, int64_t begin, int64_t end) {
  return Kind<T>::Map(value, [&](const at::Tensor& t) { return t.slice(0, begin, end).contiguous(); });
}

std::string Category(const char* folder) { return Cat("Video Helper Suite 🎥🅥🅗🅢/", folder); }

template <typename T>
struct Split {
  T batch;
  int64_t split_index = 0;

  static void Describe(NodeSchema<Split>& s) {
    const std::string type = Kind<T>::kSocket;
    s.Name(Cat("Split ", Kind<T>::kTitles, " 🎥🅥🅗🅢")).Category(Category(Kind<T>::kFolder));
    s.Description("Cuts a batch in two.");
    s.template Input<&Split::batch>(Kind<T>::kSplit).Tooltip("The batch.");
    s.template Input<&Split::split_index>("split_index")
        .Default(0)
        .Range(-kCountMax, kCountMax)
        .Step(1)
        .Tooltip("Where the second part begins; below 0: counted from the end.");
    s.template Output<T>(type + "_A").template Output<int64_t>("A_count");
    s.template Output<T>(type + "_B").template Output<int64_t>("B_count");
  }
  StatusOr<std::tuple<T, int64_t, T, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckBatch(batch, 3));
    return Guard([&] {
      const int64_t n = SizeOf(batch);
      const int64_t at = std::clamp<int64_t>(split_index < 0 ? split_index + n : split_index, 0, n);
      return std::tuple(Part(batch, 0, at), at, Part(batch, at, n), n - at);
    });
  }
};
using SplitImages = Split<Image>;
using SplitMasks = Split<Mask>;
using SplitLatents = Split<Latent>;
ATELIER_REGISTER_NODE_AS(SplitImages, "VHS_SplitImages");
ATELIER_REGISTER_NODE_AS(SplitMasks, "VHS_SplitMasks");
ATELIER_REGISTER_NODE_AS(SplitLatents, "VHS_SplitLatents");

// b at the height and width of a.
StatusOr<Image> ResizeTo(const Image& b, const Image& a, const std::string& method, const std::string& crop) {
  ASSIGN_OR_RETURN(at::Tensor pixels, ResizePixels(b.pixels, a.pixels.size(2), a.pixels.size(1), method, crop));
  return Image{std::move(pixels)};
}
StatusOr<Mask> ResizeTo(const Mask& b, const Mask& a, const std::string& method, const std::string& crop) {
  ASSIGN_OR_RETURN(const at::Tensor values,
                   ResizeSamples(b.values.unsqueeze(1), a.values.size(2), a.values.size(1), method, crop));
  return Mask{values.squeeze(1)};
}
StatusOr<Latent> ResizeTo(const Latent& b, const Latent& a, const std::string& method, const std::string& crop) {
  Latent out = b;
  ASSIGN_OR_RETURN(out.samples, ResizeSamples(b.samples, a.samples.size(-1), a.samples.size(-2), method, crop));
  return out;
}

// Height, width and whether the reference sees a difference.
int64_t Area(const Image& v) { return v.pixels.size(1) * v.pixels.size(2); }
int64_t Area(const Mask& v) { return v.values.size(1) * v.values.size(2); }
int64_t Area(const Latent& v) { return v.samples.size(-1) * v.samples.size(-2); }
bool Differ(const Image& a, const Image& b) {  // width and channels alone, as in the reference
  return a.pixels.size(2) != b.pixels.size(2) || a.pixels.size(3) != b.pixels.size(3);
}
bool Differ(const Mask& a, const Mask& b) { return a.values.sizes().slice(1) != b.values.sizes().slice(1); }
bool Differ(const Latent& a, const Latent& b) { return a.samples.sizes().slice(1) != b.samples.sizes().slice(1); }

template <typename T>
StatusOr<T> Join(const T& a, const T& b) {
  const at::Tensor &x = Kind<T>::Main(a), &y = Kind<T>::Main(b);
  if (x.sizes().slice(1) != y.sizes().slice(1))
    return InvalidArgument(Kind<T>::kMergeA, " are ", ShapeText(x.sizes().slice(1)), " and ", Kind<T>::kMergeB, " ",
                           ShapeText(y.sizes().slice(1)), "; bring them to one size first");
  RETURN_IF_ERROR(CheckTensorSize("merged batch", {x.numel() + y.numel()}));
  if constexpr (std::is_same_v<T, Latent>) {
    Latent out = a;
    out.samples = at::cat({x, y}, 0);
    out.noise_mask = at::Tensor();
    out.batch_index.reset();
    return out;
  } else {
    return Kind<T>::Map(a, [&](const at::Tensor&) { return at::cat({x, y}, 0); });
  }
}

template <typename T>
struct Merge {
  T a, b;
  std::string merge_strategy = "match A", scale_method = "nearest-exact", crop = "disabled";

  static void Describe(NodeSchema<Merge>& s) {
    s.Name(Cat("Merge ", Kind<T>::kTitles, " 🎥🅥🅗🅢")).Category(Category(Kind<T>::kFolder));
    s.Description("Joins two batches, the second behind the first.");
    s.template Input<&Merge::a>(Kind<T>::kMergeA).Tooltip("The first batch.");
    s.template Input<&Merge::b>(Kind<T>::kMergeB).Tooltip("The second batch.");
    s.template Input<&Merge::merge_strategy>("merge_strategy")
        .OneOf({"match A", "match B", "match smaller", "match larger"})
        .Tooltip("Whose size both get.");
    s.template Input<&Merge::scale_method>("scale_method")
        .OneOf({"nearest-exact", "bilinear", "area", "bicubic", "bislerp"})
        .Tooltip("How pixels are interpolated.");
    s.template Input<&Merge::crop>("crop").OneOf({"disabled", "center"}).Tooltip("center cuts to the aspect first.");
    s.template Output<T>(Kind<T>::kSocket).template Output<int64_t>("count");
  }
  StatusOr<std::tuple<T, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckBatch(a, 3));
    RETURN_IF_ERROR(CheckBatch(b, 3));
    return Guard([&]() -> StatusOr<std::tuple<T, int64_t>> {
      T first = a, second = b;
      if (Differ(a, b)) {
        // "smaller" takes A too where A is the larger one: the reference's rule.
        const bool to_a = merge_strategy == "match A" ||
                          (merge_strategy != "match B" && !(Area(a) <= Area(b) && merge_strategy == "match larger"));
        if (to_a) {
          ASSIGN_OR_RETURN(second, ResizeTo(b, a, scale_method, crop));
        } else {
          ASSIGN_OR_RETURN(first, ResizeTo(a, b, scale_method, crop));
        }
      }
      ASSIGN_OR_RETURN(T joined, Join(first, second));
      const int64_t count = SizeOf(joined);
      return std::tuple(std::move(joined), count);
    });
  }
};
using MergeImages = Merge<Image>;
using MergeMasks = Merge<Mask>;
using MergeLatents = Merge<Latent>;
ATELIER_REGISTER_NODE_AS(MergeImages, "VHS_MergeImages");
ATELIER_REGISTER_NODE_AS(MergeMasks, "VHS_MergeMasks");
ATELIER_REGISTER_NODE_AS(MergeLatents, "VHS_MergeLatents");

template <typename T>
struct CountOf {
  T batch;

  static void Describe(NodeSchema<CountOf>& s) {
    s.Name(Cat("Get ", Kind<T>::kTitle, " Count 🎥🅥🅗🅢")).Category(Category(Kind<T>::kFolder));
    s.Description("How many there are in a batch.");
    s.template Input<&CountOf::batch>(Kind<T>::kCount).Tooltip("The batch.");
    s.template Output<int64_t>("count");
  }
  StatusOr<int64_t> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckBatch(batch, 3));
    return SizeOf(batch);
  }
};
using CountImages = CountOf<Image>;
using CountMasks = CountOf<Mask>;
using CountLatents = CountOf<Latent>;
ATELIER_REGISTER_NODE_AS(CountImages, "VHS_GetImageCount");
ATELIER_REGISTER_NODE_AS(CountMasks, "VHS_GetMaskCount");
ATELIER_REGISTER_NODE_AS(CountLatents, "VHS_GetLatentCount");

template <typename T>
struct Repeat {
  T batch;
  int64_t multiply_by = 1;

  static void Describe(NodeSchema<Repeat>& s) {
    s.Name(Cat("Repeat ", Kind<T>::kTitles, " 🎥🅥🅗🅢")).Category(Category(Kind<T>::kFolder));
    s.Description("Repeats a whole batch.");
    s.template Input<&Repeat::batch>(Kind<T>::kRepeat).Tooltip("The batch.");
    s.template Input<&Repeat::multiply_by>("multiply_by").Default(1).Range(1, kCountMax).Step(1).Tooltip("How often.");
    s.template Output<T>(Kind<T>::kSocket).template Output<int64_t>("count");
  }
  StatusOr<std::tuple<T, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckBatch(batch, 3));
    RETURN_IF_ERROR(CheckTensorSize("repeated batch", {Kind<T>::Main(batch).numel(), multiply_by}));
    return Guard([&] {
      T out = Kind<T>::Map(batch,
                           [&](const at::Tensor& t) { return RepeatToBatch(t, t.size(0) * multiply_by).contiguous(); });
      const int64_t count = SizeOf(out);
      return std::tuple(std::move(out), count);
    });
  }
};
using RepeatImages = Repeat<Image>;
using RepeatMasks = Repeat<Mask>;
using RepeatLatents = Repeat<Latent>;
ATELIER_REGISTER_NODE_AS(RepeatImages, "VHS_DuplicateImages");
ATELIER_REGISTER_NODE_AS(RepeatMasks, "VHS_DuplicateMasks");
ATELIER_REGISTER_NODE_AS(RepeatLatents, "VHS_DuplicateLatents");

template <typename T>
struct EveryNth {
  T batch;
  int64_t select_every_nth = 1, skip = 0;

  static void Describe(NodeSchema<EveryNth>& s) {
    s.Name(Cat("Select Every Nth ", Kind<T>::kTitle, " 🎥🅥🅗🅢")).Category(Category(Kind<T>::kFolder));
    s.Description("Takes every n-th of a batch.");
    s.template Input<&EveryNth::batch>(Kind<T>::kEvery).Tooltip("The batch.");
    s.template Input<&EveryNth::select_every_nth>("select_every_nth")
        .Default(1)
        .Range(1, kCountMax)
        .Step(1)
        .Tooltip("1: all of them.");
    s.template Input<&EveryNth::skip>(Kind<T>::kSkip)
        .Default(0)
        .Range(0, kCountMax)
        .Step(1)
        .Tooltip("How many to leave out at the beginning.");
    s.template Output<T>(Kind<T>::kSocket).template Output<int64_t>("count");
  }
  StatusOr<std::tuple<T, int64_t>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckBatch(batch, 3));
    return Guard([&] {
      const int64_t n = SizeOf(batch), from = std::min(skip, n);
      T out =
          Kind<T>::Map(batch, [&](const at::Tensor& t) { return t.slice(0, from, n, select_every_nth).contiguous(); });
      const int64_t count = SizeOf(out);
      return std::tuple(std::move(out), count);
    });
  }
};
using EveryNthImage = EveryNth<Image>;
using EveryNthMask = EveryNth<Mask>;
using EveryNthLatent = EveryNth<Latent>;
ATELIER_REGISTER_NODE_AS(EveryNthImage, "VHS_SelectEveryNthImage");
ATELIER_REGISTER_NODE_AS(EveryNthMask, "VHS_SelectEveryNthMask");
ATELIER_REGISTER_NODE_AS(EveryNthLatent, "VHS_SelectEveryNthLatent");

StatusOr<std::optional<int64_t>> ReadIndex(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (text.empty()) return std::optional<int64_t>();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return InvalidArgument("input \"indexes\": \"", text.substr(0, 100), "\" is no whole number");
  return std::optional(value);
}

// "0, 2:5, -1": a range is cut first and then stepped through, from its end with a step below 0.
StatusOr<std::vector<int64_t>> ReadIndexes(std::string_view text, int64_t n, bool error_if_missing) {
  constexpr size_t kIndexesMax = 1'000'000;
  std::vector<int64_t> indexes;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const std::string_view item = text.substr(0, comma);
    text.remove_prefix(std::min(text.size(), comma + 1));
    std::vector<std::optional<int64_t>> parts;
    for (std::string_view rest = item; parts.size() < 4;) {
      const size_t colon = std::min(rest.find(':'), rest.size());
      ASSIGN_OR_RETURN(const std::optional<int64_t> part, ReadIndex(rest.substr(0, colon)));
      parts.push_back(part);
      if (colon == rest.size()) break;
      rest.remove_prefix(colon + 1);
    }
    if (parts.size() == 1) {
      if (!parts[0].has_value()) continue;
      const int64_t at = *parts[0] < 0 ? *parts[0] + n : *parts[0];
      if (at >= 0 && at < n) {
        indexes.push_back(at);
      } else if (error_if_missing) {
        return InvalidArgument("input \"indexes\": there is no ", *parts[0], " among ", n);
      }
    } else {
      const int64_t step = parts.size() > 2 ? parts[2].value_or(1) : 1;
      if (parts.size() > 3 || step == 0)
        return InvalidArgument("input \"indexes\": \"", item.substr(0, 100),
                               "\" is no range; expected first:last:step");
      const auto bound = [&](const std::optional<int64_t>& at, int64_t otherwise) {
        if (!at.has_value()) return otherwise;
        return std::clamp<int64_t>(*at < 0 ? *at + n : *at, 0, n);
      };
      const int64_t begin = bound(parts[0], 0), end = bound(parts[1], n);
      if (begin >= end && error_if_missing)
        return InvalidArgument("input \"indexes\": \"", item.substr(0, 100), "\" is empty among ", n);
      // Steps beyond the batch end it as well as a step of its length.
      const int64_t stride = std::clamp<int64_t>(step, -n - 1, n + 1);
      for (int64_t at = stride > 0 ? begin : end - 1; at >= begin && at < end; at += stride) indexes.push_back(at);
    }
    if (indexes.size() > kIndexesMax) return InvalidArgument("input \"indexes\" asks for more than ", kIndexesMax);
  }
  return indexes;
}

template <typename T>
struct Select {
  T batch;
  std::string indexes = "0";
  bool err_if_missing = true, err_if_empty = true;

  static void Describe(NodeSchema<Select>& s) {
    s.Name(Cat("Select ", Kind<T>::kTitles, " 🎥🅥🅗🅢")).Category(Category(Kind<T>::kFolder));
    s.Description("Takes some of a batch, in the order asked for.");
    s.template Input<&Select::batch>(Kind<T>::kOne).Tooltip("The batch.");
    s.template Input<&Select::indexes>("indexes").Default("0").Tooltip(
        "Places from 0, from the end below 0, and ranges: 0, 2:5, -1, ::-1.");
    s.template Input<&Select::err_if_missing>("err_if_missing")
        .Default(true)
        .Tooltip("A place beyond the end is an error.");
    s.template Input<&Select::err_if_empty>("err_if_empty").Default(true).Tooltip("Nothing at all is an error.");
    s.template Output<T>(Kind<T>::kSocket);
  }
  StatusOr<T> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckBatch(batch, 3));
    const int64_t n = SizeOf(batch);
    ASSIGN_OR_RETURN(const std::vector<int64_t> places, ReadIndexes(indexes, n, err_if_missing));
    if (places.empty() && err_if_empty) return InvalidArgument("input \"indexes\" chooses nothing");
    const int64_t each = n == 0 ? 0 : Kind<T>::Main(batch).numel() / n;
    RETURN_IF_ERROR(CheckTensorSize("selection", {static_cast<int64_t>(places.size()), each}));
    return Guard([&] {
      const at::Tensor rows = at::tensor(places, at::kLong);
      return Kind<T>::Map(batch, [&](const at::Tensor& t) { return t.index_select(0, rows); });
    });
  }
};
using SelectImages = Select<Image>;
using SelectMasks = Select<Mask>;
using SelectLatents = Select<Latent>;
ATELIER_REGISTER_NODE_AS(SelectImages, "VHS_SelectImages");
ATELIER_REGISTER_NODE_AS(SelectMasks, "VHS_SelectMasks");
ATELIER_REGISTER_NODE_AS(SelectLatents, "VHS_SelectLatents");

}  // namespace
}  // namespace atelier::nodes
