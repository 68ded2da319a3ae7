#include "master/collect/picture_parts.h"

#include <cstring>

#include "common/image/resize.h"
#include "common/image/tiles.h"
#include "common/json/json.h"
#include "common/tensorio/packed_blob.h"

namespace atelier {

namespace {

StatusOr<std::string> PackPart(DType dtype, const std::vector<int64_t>& shape, std::string_view bytes) {
  return PackBlob(WriteSafetensors({{"image", dtype, shape, bytes}}, {{"atelier_type", "IMAGE"}, {"json", "{}"}}));
}

std::string WriteParts(const char* type, int64_t width, int64_t height, const std::vector<Box>& boxes,
                       const std::vector<std::string>& parts) {
  std::vector<TensorToWrite> tensors;
  Json sides = Json::array();
  for (size_t i = 0; i < parts.size(); ++i) {
    tensors.push_back({Cat(i), DType::kU8, {static_cast<int64_t>(parts[i].size())}, parts[i]});
    sides.push_back(Json::array({boxes[i].x1, boxes[i].y1, boxes[i].x2, boxes[i].y2}));
  }
  const Json json{{"width", width}, {"height", height}, {"boxes", std::move(sides)}};
  return WriteSafetensors(tensors, {{"atelier_type", type}, {"json", DumpJson(json)}});
}

StatusOr<std::string> CutMask(const SafetensorsView& blob, const Box& crop, int canvas_width, int canvas_height) {
  const TensorInfo* info = blob.Find("mask");
  if (info == nullptr || info->shape.size() < 2 || info->elements() == 0 || info->dtype != DType::kF32)
    return InvalidArgument("a mask to cut a part from was expected, [...,H,W] of F32");
  const int64_t height = info->shape[info->shape.size() - 2], width = info->shape.back();
  RETURN_IF_ERROR(CheckImageSize(width, height, 1));
  const std::string_view data = blob.Data(*info);
  const int64_t batch = info->elements() / height / width;
  std::string bytes;
  for (int64_t i = 0; i < batch; ++i) {
    const auto read = [&](const Box& box) -> StatusOr<ImageU8> {
      const size_t row = static_cast<size_t>(box.width());
      std::vector<float> values(row * static_cast<size_t>(box.height()));
      for (int y = box.y1; y < box.y2; ++y)
        std::memcpy(&values[static_cast<size_t>(y - box.y1) * row],
                    data.data() + static_cast<size_t>((i * height + y) * width + box.x1) * sizeof(float),
                    row * sizeof(float));
      return QuantizeFloats(values.data(), box.width(), box.height(), 1);
    };
    ASSIGN_OR_RETURN(const ImageU8 item, ResizeBox(static_cast<int>(width), static_cast<int>(height), canvas_width,
                                                   canvas_height, ResizeFilter::kBicubic, crop, read));
    bytes.append(item.data.begin(), item.data.end());
  }
  ASSIGN_OR_RETURN(const std::string part, PackPart(DType::kU8, {batch, crop.height(), crop.width(), 1}, bytes));
  return WriteParts("MASK_PART", canvas_width, canvas_height, {crop}, {part});
}

std::string_view TypeOf(const SafetensorsView& blob) {
  const auto type = blob.metadata().find("atelier_type");
  return type == blob.metadata().end() ? std::string_view() : std::string_view(type->second);
}

StatusOr<std::string> CutLatent(const SafetensorsView& blob, const Box& crop, int canvas_width, int canvas_height) {
  const TensorInfo& info = *blob.Find("samples");
  const Box box = LatentBox(crop, canvas_width, canvas_height);
  const auto width = static_cast<size_t>(info.shape.back()), height = static_cast<size_t>(*(info.shape.end() - 2));
  const size_t item = static_cast<size_t>(DTypeBytes(info.dtype)), plane = width * height * item;
  const std::string_view data = blob.Data(info);
  std::string bytes;
  for (size_t at = 0; at < data.size(); at += plane)
    for (int y = box.y1; y < box.y2; ++y)
      bytes += data.substr(at + (static_cast<size_t>(y) * width + static_cast<size_t>(box.x1)) * item,
                           static_cast<size_t>(box.width()) * item);
  std::vector<int64_t> shape = info.shape;
  *(shape.end() - 2) = box.height();
  shape.back() = box.width();
  const Json json{{"box", Json::array({crop.x1, crop.y1, crop.x2, crop.y2})}};
  return WriteSafetensors({{"samples", info.dtype, shape, bytes}},
                          {{"atelier_type", "LATENT_PART"}, {"json", DumpJson(json)}});
}

}  // namespace

bool IsCut(const SafetensorsView& picture, const Box& crop, int canvas_width, int canvas_height) {
  if (const TensorInfo* mask = TypeOf(picture) == "MASK" ? picture.Find("mask") : nullptr) {
    const auto rank = mask->shape.size();
    if (rank < 2 || mask->elements() == 0) return true;  // CutParts says what is wrong
    const int64_t plane = mask->shape[rank - 2] * mask->shape[rank - 1];
    return int64_t{crop.width()} * crop.height() <= plane * DTypeBytes(mask->dtype);
  }
  if (TypeOf(picture) != "LATENT") return true;
  const TensorInfo* info = picture.Find("samples");
  return info != nullptr && (info->shape.size() == 4 || info->shape.size() == 5) &&
         info->shape.back() == LatentSide(canvas_width) && *(info->shape.end() - 2) == LatentSide(canvas_height);
}

StatusOr<std::string> CutParts(const SafetensorsView& picture, const std::vector<Box>& crops, int canvas_width,
                               int canvas_height) {
  const std::string_view type = TypeOf(picture);
  if (type == "MASK") return CutMask(picture, crops.front(), canvas_width, canvas_height);
  if (type == "LATENT") return CutLatent(picture, crops.front(), canvas_width, canvas_height);
  const TensorInfo* info = picture.Find("image");
  if (info == nullptr || type != "IMAGE" || info->shape.size() != 4 || info->elements() == 0 ||
      (info->dtype != DType::kU8 && info->dtype != DType::kF32))
    return InvalidArgument("a picture to cut parts from was expected, [B,H,W,C] of U8 or F32");
  const int64_t batch = info->shape[0], height = info->shape[1], width = info->shape[2];
  const size_t pixel = static_cast<size_t>(info->shape[3] * DTypeBytes(info->dtype));
  const std::string_view data = picture.Data(*info);
  std::vector<Box> boxes;
  std::vector<std::string> parts;
  for (const Box& crop : crops) {
    const Box& box = boxes.emplace_back(BoxOnPicture(crop, canvas_width, canvas_height, width, height));
    std::string part;
    part.reserve(static_cast<size_t>(batch * box.width() * box.height()) * pixel);
    for (int64_t i = 0; i < batch; ++i)
      for (int64_t y = box.y1; y < box.y2; ++y)
        part += data.substr(static_cast<size_t>((i * height + y) * width + box.x1) * pixel,
                            static_cast<size_t>(box.width()) * pixel);
    ASSIGN_OR_RETURN(parts.emplace_back(),
                     PackPart(info->dtype, {batch, box.height(), box.width(), info->shape[3]}, part));
  }
  return WriteParts("IMAGE_PARTS", width, height, boxes, parts);
}

}  // namespace atelier
