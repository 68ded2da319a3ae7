#include "master/collect/canvas.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/image/composite.h"
#include "common/image/resize.h"
#include "common/tensorio/safetensors.h"

namespace atelier {
namespace {

// The image at `index` of the tensor's bytes, as RGB.
StatusOr<ImageU8> ReadImage(std::string_view data, DType dtype, int64_t index, int64_t height, int64_t width,
                            int64_t channels) {
  const size_t values = static_cast<size_t>(height * width * channels);
  ImageU8 image;
  if (dtype == DType::kU8) {
    ASSIGN_OR_RETURN(image, MakeImage(width, height, static_cast<int>(channels)));
    std::memcpy(image.data.data(), data.data() + static_cast<size_t>(index) * values, values);
  } else {
    // Row by row through an aligned buffer: the blob's bytes need not be aligned, and a whole copy would be four times
    // the image.
    ASSIGN_OR_RETURN(image, MakeImage(width, height, static_cast<int>(channels)));
    const size_t row_values = static_cast<size_t>(width * channels);
    std::vector<float> row(row_values);
    for (int y = 0; y < image.height; ++y) {
      const size_t first = static_cast<size_t>(index) * values + static_cast<size_t>(y) * row_values;
      std::memcpy(row.data(), data.data() + first * sizeof(float), row_values * sizeof(float));
      ASSIGN_OR_RETURN(const ImageU8 quantized, QuantizeFloats(row.data(), width, 1, static_cast<int>(channels)));
      std::memcpy(image.row(y), quantized.data.data(), row_values);
    }
  }
  return channels == 3 ? StatusOr<ImageU8>(std::move(image)) : ToRgb(image);
}

}  // namespace

StatusOr<Canvas> Canvas::FromBlob(std::string_view blob, int64_t pixels_max, int64_t bytes_max) {
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(blob, "image blob"));
  const auto type = view.metadata().find("atelier_type");
  const TensorInfo* info = view.Find("image");
  if (info == nullptr || type == view.metadata().end() || type->second != "IMAGE") {
    return InvalidArgument("a blob of type '", type == view.metadata().end() ? "unknown" : type->second,
                           "' where an IMAGE is expected");
  }
  if (info->shape.size() != 4 || (info->dtype != DType::kU8 && info->dtype != DType::kF32)) {
    return InvalidArgument("an image blob of ", info->shape.size(), " dimensions and type ", DTypeName(info->dtype),
                           "; expected [B,H,W,C] of U8 or F32");
  }
  const int64_t batch = info->shape[0], height = info->shape[1], width = info->shape[2], channels = info->shape[3];
  if (batch < 1 || height < 1 || width < 1 || (channels != 3 && channels != 4)) {
    return InvalidArgument("an image blob of shape [", batch, ",", height, ",", width, ",", channels,
                           "]; expected at least one picture with 3 or 4 channels");
  }
  // The tensor's size was checked against its bytes, so these products do not overflow.
  if (height * width > pixels_max) {
    return ResourceExhausted("an image of ", width, "x", height, " has more than the ", pixels_max,
                             " pixels allowed; raise limits.image_pixels_max or make it smaller");
  }
  if (batch * height * width * 3 > bytes_max) {
    return ResourceExhausted("a canvas of ", batch, " images of ", width, "x", height, " is larger than the ",
                             bytes_max, " bytes allowed; use fewer images");
  }
  const std::string_view data = view.Data(*info);
  Canvas canvas;
  canvas.images_.reserve(static_cast<size_t>(batch));
  for (int64_t i = 0; i < batch; ++i) {
    ASSIGN_OR_RETURN(ImageU8 image, ReadImage(data, info->dtype, i, height, width, channels));
    canvas.images_.push_back(std::move(image));
  }
  return canvas;
}

StatusOr<std::string> Canvas::Cut(const Box& box) const {
  if (box.empty() || box.x1 < 0 || box.y1 < 0 || box.x2 > width() || box.y2 > height()) {
    return InvalidArgument("the box [", box.x1, ",", box.x2, ") x [", box.y1, ",", box.y2,
                           ") is not within the canvas of ", width(), "x", height());
  }
  const size_t row_bytes = static_cast<size_t>(box.width()) * 3;
  const std::string head = SafetensorsHead(
      {{.name = "image", .dtype = DType::kU8, .shape = {batch(), box.height(), box.width(), 3}, .bytes = {}}},
      {{"atelier_type", "IMAGE"}, {"json", "{}"}});
  std::string blob;
  blob.reserve(head.size() + images_.size() * static_cast<size_t>(box.height()) * row_bytes);
  blob += head;
  for (const ImageU8& image : images_) {
    for (int y = box.y1; y < box.y2; ++y) {
      const uint8_t* row = image.row(y) + static_cast<size_t>(box.x1) * 3;
      blob.append(reinterpret_cast<const char*>(row), row_bytes);
    }
  }
  return blob;
}

Status Canvas::Paste(const TilePlan& plan, const std::vector<int>& step, std::string_view redrawn) {
  const int first = step.empty() ? 0 : step.front();
  if (plan.canvas_width != width() || plan.canvas_height != height()) {
    return InvalidArgument("tile ", first, " is planned for a canvas of ", plan.canvas_width, "x", plan.canvas_height,
                           ", and this one has ", width(), "x", height());
  }
  StatusOr<Canvas> tiles = FromBlob(redrawn);
  if (!tiles.ok()) return Annotate(tiles.status(), Cat("tile ", first));
  if (tiles->images_.size() != images_.size() * step.size()) {
    return InvalidArgument("tile ", first, " came back with ", tiles->batch(), " images; expected ",
                           images_.size() * step.size());
  }
  for (size_t t = 0; t < step.size(); ++t) {
    const Tile& tile = plan.tiles.at(static_cast<size_t>(step[t]));
    ASSIGN_OR_RETURN(const ImageU8 mask, MakeTileMask(plan, tile));
    std::vector<ImageU8> fitted;
    for (size_t i = 0; i < images_.size(); ++i) {
      ImageU8& image = tiles->images_[i * step.size() + t];
      if (image.width != tile.crop.width() || image.height != tile.crop.height()) {
        ASSIGN_OR_RETURN(image, Resize(image, tile.crop.width(), tile.crop.height(), ResizeFilter::kLanczos));
      }
      fitted.push_back(std::move(image));
    }
    // Only the first can fail: sizes are equal for all.
    for (size_t i = 0; i < images_.size(); ++i) RETURN_IF_ERROR(PasteTile(fitted[i], mask, tile.crop, &images_[i]));
  }
  return OkStatus();
}

int64_t Canvas::StepBytesMax(const TilePlan& plan, const std::vector<int>& step) const {
  int64_t pixels = 0;
  for (const int index : step) {
    const Tile& tile = plan.tiles.at(static_cast<size_t>(index));
    pixels +=
        std::max(int64_t{tile.crop.width()} * tile.crop.height(), int64_t{tile.process_width} * tile.process_height);
  }
  return pixels * batch() * 4;
}

std::string Canvas::ToBlob() const {
  StatusOr<std::string> blob = Cut({0, 0, width(), height()});
  ATELIER_CHECK(blob.ok());
  return *std::move(blob);
}

}  // namespace atelier
