#include "master/collect/picture_batch.h"

#include <utility>

#include "common/tensorio/packed_blob.h"
#include "common/tensorio/safetensors.h"

namespace atelier {

Status SplitBatch(std::string blob, const std::function<Status(std::string picture)>& take, int64_t bytes_max) {
  ASSIGN_OR_RETURN(const std::string whole, UnpackBlob(std::move(blob), bytes_max));
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(whole, "image blob"));
  const auto type = view.metadata().find("atelier_type");
  const TensorInfo* info = view.Find("image");
  if (info == nullptr || type == view.metadata().end() || type->second != "IMAGE" || info->shape.size() != 4 ||
      info->shape[0] < 1)
    return InvalidArgument("a batch of pictures was expected, [B,H,W,C] of at least one");
  const std::string_view data = view.Data(*info);
  const size_t bytes = data.size() / static_cast<size_t>(info->shape[0]);
  std::vector<int64_t> shape = info->shape;
  shape[0] = 1;
  for (size_t i = 0; i < static_cast<size_t>(info->shape[0]); ++i) {
    ASSIGN_OR_RETURN(std::string picture,
                     PackBlob(WriteSafetensors({{"image", info->dtype, shape, data.substr(i * bytes, bytes)}},
                                               {{"atelier_type", "IMAGE"}, {"json", "{}"}})));
    RETURN_IF_ERROR(take(std::move(picture)));
  }
  return OkStatus();
}

}  // namespace atelier
