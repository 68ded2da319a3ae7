// Lists of batches: whole lists go in, lists come out, and what stands behind runs once for each element. Source: spec
// engine.md 2 "Lists", 12.3, 12.4; extras.md 1.2.
#include "common/graph/lists.h"
#include "worker/nodes/resize.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// A list as the value of one output.
template <typename T>
Value ListOf(std::vector<T> items) {
  std::vector<Value> values;
  for (T& item : items) values.push_back(Value::Of<T>(SocketTraits<T>::kName, std::move(item)));
  return Value::Of<std::vector<Value>>(SocketTraits<T>::kName, std::move(values));
}

struct RebatchImages {
  std::vector<Image> images;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<RebatchImages>& s) {
    s.Name("Rebatch Images").Category("image/batch");
    s.Description("Makes of a list of batches another one, of batches of the given size.");
    s.Input<&RebatchImages::images>("images").Tooltip("The pictures; of a list, those of all its batches.");
    s.Input<&RebatchImages::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("How many pictures a batch.");
    DeclareLists(s);
    s.Output<Image>("IMAGE");
  }
  StatusOr<std::vector<Value>> Run(NodeContext&) const {
    for (const Image& image : images) RETURN_IF_ERROR(CheckPixels("images", image));
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      std::vector<at::Tensor> all;
      for (const Image& image : images)
        for (const at::Tensor& picture : image.pixels.split(1, 0)) all.push_back(picture);
      std::vector<Image> batches;
      for (size_t i = 0; i < all.size(); i += static_cast<size_t>(batch_size)) {
        const size_t end = std::min(all.size(), i + static_cast<size_t>(batch_size));
        const std::vector<at::Tensor> some(all.begin() + static_cast<std::ptrdiff_t>(i),
                                           all.begin() + static_cast<std::ptrdiff_t>(end));
        for (const at::Tensor& picture : some) {
          if (picture.sizes() != some[0].sizes())
            return InvalidArgument("pictures of ", ShapeText(some[0].sizes()), " and ", ShapeText(picture.sizes()),
                                   " cannot make one batch; bring them to one size");
        }
        batches.push_back({at::cat(some, 0)});
      }
      return std::vector<Value>{ListOf(std::move(batches))};
    });
  }
};
ATELIER_REGISTER_NODE(RebatchImages);

struct RebatchLatents {
  std::vector<Latent> latents;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<RebatchLatents>& s) {
    s.Name("Rebatch Latents").Category("latent/batch");
    s.Description("Makes of a list of batches another one, of batches of at most the given size.");
    s.Input<&RebatchLatents::latents>("latents").Tooltip("The latents; of a list, those of all its batches.");
    s.Input<&RebatchLatents::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("How many latents a batch.");
    DeclareLists(s);
    s.Output<Latent>("LATENT");
  }

  // One latent with what belongs to it.
  struct Item {
    at::Tensor sample, mask;  // mask: [1,1,H,W], ones where the batch had none
    bool masked = false;
    int64_t index = 0;
  };

  StatusOr<std::vector<Value>> Run(NodeContext&) const {
    for (const Latent& latent : latents) RETURN_IF_ERROR(CheckSamples("latents", latent));
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      std::vector<Item> items;
      for (const Latent& latent : latents) {
        const int64_t count = latent.samples.size(0);
        const bool masked = latent.noise_mask.defined();
        at::Tensor mask =
            masked ? latent.noise_mask.reshape({-1, 1, latent.noise_mask.size(-2), latent.noise_mask.size(-1)})
                   : at::ones({1, 1, latent.samples.size(-2) * kPixelsPerLatent,
                               latent.samples.size(-1) * kPixelsPerLatent});
        mask = RepeatToBatch(mask, count);
        const auto first = static_cast<int64_t>(items.size());
        for (int64_t i = 0; i < count; ++i) {
          const bool numbered = latent.batch_index && static_cast<int64_t>(latent.batch_index->size()) > i;
          items.push_back({latent.samples.narrow(0, i, 1), mask.narrow(0, i, 1), masked,
                           numbered ? (*latent.batch_index)[static_cast<size_t>(i)] : first + i});
        }
      }
      // Latents of one shape that follow each other share a batch.
      std::vector<Latent> batches;
      for (size_t i = 0; i < items.size();) {
        size_t end = i + 1;
        while (end < items.size() && end - i < static_cast<size_t>(batch_size) &&
               items[end].sample.sizes() == items[i].sample.sizes() && items[end].mask.sizes() == items[i].mask.sizes())
          ++end;
        std::vector<at::Tensor> samples, masks;
        std::vector<int64_t> indices;
        bool masked = false;
        for (; i < end; ++i) {
          samples.push_back(items[i].sample);
          masks.push_back(items[i].mask);
          indices.push_back(items[i].index);
          masked |= items[i].masked;
        }
        batches.push_back({at::cat(samples, 0), masked ? at::cat(masks, 0) : at::Tensor(), std::move(indices)});
      }
      return std::vector<Value>{ListOf(std::move(batches))};
    });
  }
};
ATELIER_REGISTER_NODE(RebatchLatents);

struct ImageBatchToList {
  Image image;

  static void Describe(NodeSchema<ImageBatchToList>& s) {
    s.Name("🔧 Image Batch To List")
        .Category("essentials/image batch")
        .Description("A list of the pictures of a batch.");
    s.Input<&ImageBatchToList::image>("image").Tooltip("The pictures.");
    DeclareLists(s);
    s.Output<Image>("IMAGE");
  }
  StatusOr<std::vector<Value>> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckPixels("image", image));
    return Guard([&]() -> StatusOr<std::vector<Value>> {
      std::vector<Image> list;
      for (const at::Tensor& picture : image.pixels.split(1, 0)) list.push_back({picture});
      return std::vector<Value>{ListOf(std::move(list))};
    });
  }
};
ATELIER_REGISTER_NODE_AS(ImageBatchToList, "ImageBatchToList+");

struct ImageListToBatch {
  std::vector<Image> image;

  static void Describe(NodeSchema<ImageListToBatch>& s) {
    s.Name("🔧 Image List To Batch").Category("essentials/image batch");
    s.Description("One batch of a list of pictures, which take the size of the first.");
    s.Input<&ImageListToBatch::image>("image").Tooltip("The pictures.");
    s.Output<Image>("IMAGE");
  }
  StatusOr<Image> Run(NodeContext&) const {
    if (image.empty()) return InvalidArgument("image is an empty list");
    std::vector<at::Tensor> all;
    for (const Image& item : image) {
      RETURN_IF_ERROR(CheckPixels("image", item));
      at::Tensor pixels = item.pixels;
      const at::Tensor& first = image[0].pixels;
      if (pixels.size(1) != first.size(1) || pixels.size(2) != first.size(2)) {
        ASSIGN_OR_RETURN(pixels, ResizePixels(pixels, first.size(2), first.size(1), "bicubic", "center"));
      }
      if (pixels.size(3) != first.size(3))
        return InvalidArgument("pictures of ", first.size(3), " and ", pixels.size(3), " channels make no batch");
      all.push_back(pixels);
    }
    return Guard([&] { return Image{at::cat(all, 0)}; });
  }
};
ATELIER_REGISTER_NODE_AS(ImageListToBatch, "ImageListToBatch+");

}  // namespace
}  // namespace atelier::nodes
