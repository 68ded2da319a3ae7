#include "master/collect/picture_parts.h"

#include "common/image/tiles.h"
#include "common/json/json.h"
#include "common/tensorio/packed_blob.h"

namespace atelier {

StatusOr<std::string> CutParts(const SafetensorsView& picture, const std::vector<Box>& crops, int canvas_width,
                               int canvas_height) {
  const auto type = picture.metadata().find("atelier_type");
  const TensorInfo* info = picture.Find("image");
  if (info == nullptr || type == picture.metadata().end() || type->second != "IMAGE" || info->shape.size() != 4 ||
      info->elements() == 0 || (info->dtype != DType::kU8 && info->dtype != DType::kF32))
    return InvalidArgument("a picture to cut parts from was expected, [B,H,W,C] of U8 or F32");
  const int64_t batch = info->shape[0], height = info->shape[1], width = info->shape[2];
  const size_t pixel = static_cast<size_t>(info->shape[3] * DTypeBytes(info->dtype));
  const std::string_view data = picture.Data(*info);
  Json boxes = Json::array();
  std::vector<std::string> blobs;
  for (const Box& crop : crops) {
    const Box box = BoxOnPicture(crop, canvas_width, canvas_height, width, height);
    boxes.push_back(Json::array({box.x1, box.y1, box.x2, box.y2}));
    std::string part;
    part.reserve(static_cast<size_t>(batch * box.width() * box.height()) * pixel);
    for (int64_t i = 0; i < batch; ++i)
      for (int64_t y = box.y1; y < box.y2; ++y)
        part += data.substr(static_cast<size_t>((i * height + y) * width + box.x1) * pixel,
                            static_cast<size_t>(box.width()) * pixel);
    const std::vector<int64_t> shape{batch, box.height(), box.width(), info->shape[3]};
    ASSIGN_OR_RETURN(blobs.emplace_back(), PackBlob(WriteSafetensors({{"image", info->dtype, shape, part}},
                                                                     {{"atelier_type", "IMAGE"}, {"json", "{}"}})));
  }
  std::vector<TensorToWrite> tensors;
  for (size_t i = 0; i < blobs.size(); ++i)
    tensors.push_back({Cat(i), DType::kU8, {static_cast<int64_t>(blobs[i].size())}, blobs[i]});
  const Json json{{"width", width}, {"height", height}, {"boxes", std::move(boxes)}};
  return WriteSafetensors(tensors, {{"atelier_type", "IMAGE_PARTS"}, {"json", DumpJson(json)}});
}

}  // namespace atelier
