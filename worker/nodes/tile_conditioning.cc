#include "worker/nodes/tile_conditioning.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <tuple>

#include "common/image/resize.h"
#include "common/image/tiles.h"
#include "worker/nodes/conditioning_area.h"
#include "worker/nodes/tile_control.h"

namespace atelier::nodes {
namespace {

constexpr int64_t kAreaUnit = 8;  // pixels of one unit of an area

using Sides = std::array<double, 4>;  // height, width, y, x in pixels of the picture before it was enlarged

// The part of a box that lies in the tile, in units and from the crop's corner; none where they do not meet.
std::optional<std::array<int64_t, 4>> CropSides(const Sides& sides, const TileGeometry& tile) {
  const auto x = [&tile](double v) {
    return v * static_cast<double>(tile.canvas_width) / static_cast<double>(tile.init_width);
  };
  const auto y = [&tile](double v) {
    return v * static_cast<double>(tile.canvas_height) / static_cast<double>(tile.init_height);
  };
  const auto pixel = [](double v) { return static_cast<int>(std::clamp(v, -1e8, 1e8)); };
  const Box box{pixel(std::floor(x(sides[3]))), pixel(std::floor(y(sides[2]))),
                pixel(std::ceil(x(sides[3] + sides[1]))), pixel(std::ceil(y(sides[2] + sides[0])))};
  const Box& crop = tile.crops.front();
  const Box common = Intersect(box, crop);
  if (common.empty()) return std::nullopt;
  return std::array<int64_t, 4>{common.height() / kAreaUnit, common.width() / kAreaUnit,
                                (common.y1 - crop.y1) / kAreaUnit, (common.x1 - crop.x1) / kAreaUnit};
}

// [height, width, y, x] in units, or with "percentage" before them in shares of the picture, as pixels.
StatusOr<Sides> ReadArea(const Json& json, const TileGeometry& tile) {
  const bool percentage = json.is_array() && json.size() == 5 && json[0] == "percentage";
  if (!percentage && !(json.is_array() && json.size() == 4))
    return InvalidArgument("conditioning option \"area\" is ", json.dump(), ", expected [height, width, y, x]");
  Sides sides{};
  for (size_t i = 0; i < 4; ++i) {
    const Json& part = json[i + (percentage ? 1 : 0)];
    if (!part.is_number())
      return InvalidArgument("conditioning option \"area\" is ", json.dump(), ", expected four numbers");
    const auto side = static_cast<double>(i % 2 ? tile.init_width : tile.init_height);
    sides[i] = std::clamp(part.get<double>() * (percentage ? side : static_cast<double>(kAreaUnit)), -1e6, 1e6);
  }
  return sides;
}

// False when the entry's area does not meet the tile; the entry then has none.
StatusOr<bool> CropArea(CondEntry& entry, const TileGeometry& tile) {
  const auto it = entry.options.find("area");
  if (it == entry.options.end() || it->is_null()) return true;
  ASSIGN_OR_RETURN(const Sides sides, ReadArea(*it, tile));
  const auto cut = CropSides(sides, tile);
  if (!cut) {
    entry.options.erase("area");
    entry.options.erase("strength");
    return false;
  }
  entry.options["area"] = *cut;
  return true;
}

// Whether a box that is bound to a prompt meets the tile; it then is what of it does.
bool CutBox(models::GroundedBox& box, const TileGeometry& tile) {
  const auto pixels = [](int64_t units) { return static_cast<double>(units * kAreaUnit); };
  const auto cut = CropSides({pixels(box.height), pixels(box.width), pixels(box.y), pixels(box.x)}, tile);
  if (cut) std::tie(box.height, box.width, box.y, box.x) = std::tuple_cat(*cut);
  return cut.has_value();
}

at::Tensor Bilinear(const at::Tensor& latent, int64_t height, int64_t width) {
  if (latent.size(2) == height && latent.size(3) == width) return latent;
  return at::upsample_bilinear2d(latent, {height, width}, false);
}

// Whether the entry's option says that a tensor is the tile's part already; then the option is gone.
StatusOr<bool> IsPart(CondEntry& entry, const std::string& option, const TileGeometry& tile) {
  const auto box = entry.options.find(option);
  if (box == entry.options.end()) return false;
  const Json crop = BoxJson(tile.crops.front());
  if (*box != crop)
    return InvalidArgument("the task brought ", option, " ", box->dump(), " of a prompt, expected ", crop.dump());
  entry.options.erase(option);
  return true;
}

// latent: [B,C,h,w] or [B,C,1,h,w] of the whole canvas, of any size, or what LatentBox says of it at the canvas's.
StatusOr<at::Tensor> CropLatent(const at::Tensor& latent, bool is_part, const TileGeometry& tile) {
  const bool video = latent.dim() == 5;
  if ((latent.dim() != 4 && !video) || (video && latent.size(2) != 1) || latent.numel() == 0)
    return InvalidArgument("a reference latent has the shape ", ShapeText(latent.sizes()),
                           ", expected [B,C,h,w] or [B,C,1,h,w]");
  const Box& crop = tile.crops.front();
  const auto width = static_cast<int>(tile.canvas_width), height = static_cast<int>(tile.canvas_height);
  const Box box = LatentBox(crop, width, height);
  at::Tensor part = video ? latent.squeeze(2) : latent;
  if (!is_part) {
    part = Bilinear(part, LatentSide(height), LatentSide(width));
    part = part.slice(2, box.y1, box.y2).slice(3, box.x1, box.x2);
  }
  const at::Tensor cut = Bilinear(part.contiguous(), LatentSide(static_cast<int>(tile.process_height)),
                                  LatentSide(static_cast<int>(tile.process_width)));
  return video ? cut.unsqueeze(2) : cut;
}

Status CropReferences(CondEntry& entry, const TileGeometry& tile) {
  for (int64_t i = 0;; ++i) {
    const auto it = entry.tensors.find(Cat("reference_latents.", i));
    if (it == entry.tensors.end()) return OkStatus();
    ASSIGN_OR_RETURN(const bool is_part, IsPart(entry, Cat(kLatentPart, i), tile));
    ASSIGN_OR_RETURN(it->second, CropLatent(it->second, is_part, tile));
  }
}

// What of the mask of a whole canvas lies in the tile.
StatusOr<ImageU8> PartOf(const ImageU8& mask, const TileGeometry& tile) {
  return ResizeBox(mask.width, mask.height, tile.canvas_width, tile.canvas_height, ResizeFilter::kBicubic,
                   tile.crops.front(), [&mask](const Box& source) { return Crop(mask, source); });
}

StatusOr<ImageU8> FitToTile(const ImageU8& crop, const TileGeometry& tile) {
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
  ASSIGN_OR_RETURN(const bool is_part, IsPart(entry, kMaskPart, tile));
  const at::Tensor masks = mask.reshape({-1, mask.size(-2), mask.size(-1), 1});
  std::vector<ImageU8> cut;
  for (int64_t i = 0; i < masks.size(0); ++i) {
    ASSIGN_OR_RETURN(ImageU8 part, ToImageU8(masks, i));
    if (!is_part) {
      ASSIGN_OR_RETURN(part, PartOf(part, tile));
    }
    ASSIGN_OR_RETURN(cut.emplace_back(), FitToTile(part, tile));
  }
  if (!cut.empty()) it->second = ToPixels(cut).squeeze(3);
  return OkStatus();
}

}  // namespace

StatusOr<Conditioning> CropConditioning(const Conditioning& conditioning, const TileGeometry& tile) {
  return Guard([&]() -> StatusOr<Conditioning> {
    Conditioning whole = conditioning, result;
    std::vector<bool> meets;
    for (CondEntry& entry : whole.entries) {
      ASSIGN_OR_RETURN(const bool met, CropArea(entry, tile));
      meets.push_back(met);
    }
    const bool none = std::find(meets.begin(), meets.end(), true) == meets.end();
    for (size_t i = 0; i < whole.entries.size(); ++i) {
      if (!meets[i] && !none) continue;
      CondEntry& entry = whole.entries[i];
      RETURN_IF_ERROR(CropReferences(entry, tile));
      RETURN_IF_ERROR(CropMasks(entry, tile));
      result.entries.push_back(std::move(entry));
    }
    ControlCutter cutter(tile.crops, tile.canvas_width, tile.canvas_height, tile.process_width, tile.process_height,
                         [&tile](models::GroundedBox& box) { return CutBox(box, tile); });
    cutter.Cut(result);
    return result;
  });
}

}  // namespace atelier::nodes
