#include "worker/nodes/tile_conditioning.h"

#include <algorithm>
#include <cmath>

#include "common/image/resize.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kAreaUnit = 8;  // pixels of one unit of an area

Status CropArea(CondEntry& entry, const TileGeometry& tile) {
  const auto it = entry.options.find("area");
  if (it == entry.options.end() || it->is_null()) return OkStatus();
  std::array<double, 4> area{};  // height, width, y, x in pixels
  const bool percentage = it->is_array() && it->size() == 5 && (*it)[0] == "percentage";
  if (!percentage && !(it->is_array() && it->size() == 4))
    return InvalidArgument("conditioning option \"area\" is ", it->dump(), ", expected [height, width, y, x]");
  for (size_t i = 0; i < 4; ++i) {
    const Json& part = (*it)[i + (percentage ? 1 : 0)];
    if (!part.is_number())
      return InvalidArgument("conditioning option \"area\" is ", it->dump(), ", expected four numbers");
    const auto side = static_cast<double>(i % 2 ? tile.init_width : tile.init_height);
    area[i] = std::clamp(part.get<double>() * (percentage ? side : static_cast<double>(kAreaUnit)), -1e6, 1e6);
  }
  const auto x = [&tile](double v) {
    return v * static_cast<double>(tile.canvas_width) / static_cast<double>(tile.init_width);
  };
  const auto y = [&tile](double v) {
    return v * static_cast<double>(tile.canvas_height) / static_cast<double>(tile.init_height);
  };
  const auto pixel = [](double v) { return static_cast<int>(std::clamp(v, -1e8, 1e8)); };
  const Box box{pixel(std::floor(x(area[3]))), pixel(std::floor(y(area[2]))), pixel(std::ceil(x(area[3] + area[1]))),
                pixel(std::ceil(y(area[2] + area[0])))};
  const Box& crop = tile.crops.front();
  const Box common = Intersect(box, crop);
  if (common.empty()) {
    entry.options.erase("area");
    entry.options.erase("strength");
    return OkStatus();
  }
  entry.options["area"] = Json::array({common.height() / kAreaUnit, common.width() / kAreaUnit,
                                       (common.y1 - crop.y1) / kAreaUnit, (common.x1 - crop.x1) / kAreaUnit});
  return OkStatus();
}

StatusOr<ImageU8> CropMask(const ImageU8& mask, const TileGeometry& tile) {
  ASSIGN_OR_RETURN(const ImageU8 canvas, Resize(mask, tile.canvas_width, tile.canvas_height, ResizeFilter::kBicubic));
  ASSIGN_OR_RETURN(const ImageU8 crop, Crop(canvas, tile.crops.front()));
  const auto pw = static_cast<double>(tile.process_width), ph = static_cast<double>(tile.process_height);
  const double ratio = std::min(pw / crop.width, ph / crop.height);
  const int64_t width = std::max<int64_t>(1, RoundHalfEven(crop.width * ratio));
  const int64_t height = std::max<int64_t>(1, RoundHalfEven(crop.height * ratio));
  ASSIGN_OR_RETURN(const ImageU8 fitted, Resize(crop, width, height, ResizeFilter::kLanczos));
  const int64_t pad_x = std::max<int64_t>(0, (tile.process_width - width) / 2);
  const int64_t pad_y = std::max<int64_t>(0, (tile.process_height - height) / 2);
  ASSIGN_OR_RETURN(ImageU8 padded, MakeImage(width + 2 * pad_x, height + 2 * pad_y, 1));
  for (int y = 0; y < padded.height; ++y) {
    for (int x = 0; x < padded.width; ++x) {
      const auto from_x = static_cast<int>(std::clamp<int64_t>(x - pad_x, 0, width - 1));
      const auto from_y = static_cast<int>(std::clamp<int64_t>(y - pad_y, 0, height - 1));
      padded.at(x, y) = fitted.at(from_x, from_y);
    }
  }
  return Resize(padded, tile.process_width, tile.process_height, ResizeFilter::kLanczos);
}

Status CropMasks(CondEntry& entry, const TileGeometry& tile) {
  const auto it = entry.tensors.find("mask");
  if (it == entry.tensors.end() || !it->second.defined()) return OkStatus();
  const at::Tensor& mask = it->second;
  const at::Tensor masks = mask.reshape({-1, mask.size(-2), mask.size(-1), 1});
  std::vector<ImageU8> cut;
  for (int64_t i = 0; i < masks.size(0); ++i) {
    ASSIGN_OR_RETURN(const ImageU8 whole, ToImageU8(masks, i));
    ASSIGN_OR_RETURN(ImageU8 part, CropMask(whole, tile));
    cut.push_back(std::move(part));
  }
  if (!cut.empty()) it->second = ToPixels(cut).squeeze(3);
  return OkStatus();
}

}  // namespace

StatusOr<Conditioning> CropConditioning(const Conditioning& conditioning, const TileGeometry& tile) {
  return Guard([&]() -> StatusOr<Conditioning> {
    Conditioning result = conditioning;
    for (CondEntry& entry : result.entries) {
      RETURN_IF_ERROR(CropArea(entry, tile));
      RETURN_IF_ERROR(CropMasks(entry, tile));
    }
    return result;
  });
}

}  // namespace atelier::nodes
