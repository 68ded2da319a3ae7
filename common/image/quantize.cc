#include "common/image/quantize.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <unordered_map>

namespace atelier {
namespace {

constexpr size_t kColoursMax = 65536;  // of the median cut; pictures with more lose low bits first
constexpr int kAxisWeight[3] = {77, 150, 29};

uint32_t Key(const uint8_t* pixel, int shift) {
  return static_cast<uint32_t>(pixel[0] >> shift) << 16 | static_cast<uint32_t>(pixel[1] >> shift) << 8 |
         static_cast<uint32_t>(pixel[2] >> shift);
}

int Channel(uint32_t key, int axis) { return static_cast<int>(key >> (16 - 8 * axis) & 0xff); }

struct Colour {
  uint32_t key = 0;
  uint32_t count = 0;
};

// A node of the cut: a box of colours, or two halves.
struct BoxNode {
  std::vector<Colour> colours;
  uint32_t pixels = 0;
  std::unique_ptr<BoxNode> left, right;

  std::pair<int, int> Extent(int axis) const {
    int low = 255, high = 0;
    for (const Colour& colour : colours) {
      low = std::min(low, Channel(colour.key, axis));
      high = std::max(high, Channel(colour.key, axis));
    }
    return {low, high};
  }
  bool OneColour() const { return colours.size() == 1; }
};

void Split(BoxNode& box) {
  int axis = 0, widest = -1;
  for (int i = 0; i < 3; ++i) {
    const auto [low, high] = box.Extent(i);
    const int spread = (high - low) * kAxisWeight[i];
    if (spread > widest) {
      widest = spread;
      axis = i;
    }
  }
  std::vector<Colour>& colours = box.colours;
  std::sort(colours.begin(), colours.end(), [axis](const Colour& a, const Colour& b) {
    const int va = Channel(a.key, axis), vb = Channel(b.key, axis);
    return va != vb ? va > vb : a.key > b.key;
  });
  auto value = [&](size_t i) { return Channel(colours[i].key, axis); };
  size_t cut = 0;
  uint32_t before = 0;
  while (cut < colours.size()) {
    before += colours[cut++].count;
    if (uint64_t{before} * 2 > box.pixels) break;
  }
  while (cut < colours.size() && value(cut) == value(cut - 1)) before += colours[cut++].count;
  if (cut == colours.size()) {  // nothing is left for the other half: it gets the lowest value
    do {
      before -= colours[--cut].count;
    } while (cut > 0 && value(cut - 1) == value(cut));
  }
  box.left = std::make_unique<BoxNode>();
  box.right = std::make_unique<BoxNode>();
  const auto middle = colours.begin() + static_cast<std::ptrdiff_t>(cut);
  box.left->colours.assign(colours.begin(), middle);
  box.right->colours.assign(middle, colours.end());
  box.left->pixels = before;
  box.right->pixels = box.pixels - before;
  colours.clear();
}

// A binary heap whose order among equals is part of the result; the fullest box is on top.
class BoxHeap {
 public:
  void Add(BoxNode* box) {
    size_t k = heap_.size();
    heap_.push_back(box);
    while (k != 1 && box->pixels > heap_[k / 2]->pixels) {
      heap_[k] = heap_[k / 2];
      k /= 2;
    }
    heap_[k] = box;
  }
  BoxNode* Remove() {
    if (heap_.size() == 1) return nullptr;
    BoxNode* top = heap_[1];
    BoxNode* last = heap_.back();
    heap_.pop_back();
    const size_t count = heap_.size() - 1;
    if (count == 0) return top;
    size_t k = 1;
    while (k * 2 <= count) {
      size_t child = k * 2;
      if (child < count && heap_[child]->pixels < heap_[child + 1]->pixels) ++child;
      if (last->pixels > heap_[child]->pixels) break;
      heap_[k] = heap_[child];
      k = child;
    }
    heap_[k] = last;
    return top;
  }

 private:
  std::vector<BoxNode*> heap_{nullptr};  // from index 1
};

void NumberLeaves(const BoxNode& node, std::unordered_map<uint32_t, uint32_t>& box_of, uint32_t& next) {
  if (node.left != nullptr) {
    NumberLeaves(*node.left, box_of, next);
    NumberLeaves(*node.right, box_of, next);
    return;
  }
  for (const Colour& colour : node.colours) box_of[colour.key] = next;
  ++next;
}

Status CheckRgb(const ImageU8& image) {
  RETURN_IF_ERROR(CheckImage(image));
  if (image.channels != 3) return InvalidArgument("image has ", image.channels, " channels, expected 3");
  return OkStatus();
}

// Finds the entry of a palette for a colour; remembers what it found.
class Nearest {
 public:
  explicit Nearest(const Palette& palette) : palette_(palette), found_(size_t{64} * 64 * 64, kUnknown) {}

  uint8_t operator()(int r, int g, int b) {
    int16_t& slot = found_[static_cast<size_t>((r >> 2) << 12 | (g >> 2) << 6 | b >> 2)];
    if (slot == kUnknown) slot = Search(r & ~3, g & ~3, b & ~3);
    return static_cast<uint8_t>(slot);
  }

 private:
  static constexpr int16_t kUnknown = -1;

  int16_t Search(int r, int g, int b) const {
    int best = std::numeric_limits<int>::max();
    size_t index = 0;
    for (size_t i = 0; i < palette_.size(); ++i) {
      const int dr = r - palette_[i][0], dg = g - palette_[i][1], db = b - palette_[i][2];
      const int distance = dr * dr + dg * dg + db * db;
      if (distance < best) {
        best = distance;
        index = i;
      }
    }
    return static_cast<int16_t>(index);
  }

  const Palette& palette_;
  std::vector<int16_t> found_;
};

}  // namespace

StatusOr<Palette> MedianCutPalette(const ImageU8& rgb, int colours) {
  RETURN_IF_ERROR(CheckRgb(rgb));
  if (colours < 1 || colours > 256) return InvalidArgument("colours is ", colours, ", expected 1 to 256");
  std::unordered_map<uint32_t, uint32_t> counts;
  for (size_t i = 0; i < rgb.data.size(); i += 3) ++counts[Key(&rgb.data[i], 0)];
  int shift = 0;
  std::unordered_map<uint32_t, uint32_t> boxed = counts;
  auto shifted = [&shift](uint32_t key) {
    const uint8_t pixel[3] = {static_cast<uint8_t>(key >> 16), static_cast<uint8_t>(key >> 8),
                              static_cast<uint8_t>(key)};
    return Key(pixel, shift);
  };
  while (boxed.size() > kColoursMax) {
    ++shift;
    boxed.clear();
    for (const auto& [key, count] : counts) boxed[shifted(key)] += count;
  }
  BoxNode root;
  for (const auto& [key, count] : boxed) root.colours.push_back({key, count});
  root.pixels = static_cast<uint32_t>(rgb.pixels());
  BoxHeap heap;
  heap.Add(&root);
  for (int boxes = 1; boxes < colours; ++boxes) {
    BoxNode* box = heap.Remove();
    while (box != nullptr && box->OneColour()) box = heap.Remove();
    if (box == nullptr) break;
    Split(*box);
    heap.Add(box->left.get());
    heap.Add(box->right.get());
  }
  std::unordered_map<uint32_t, uint32_t> box_of;
  uint32_t entries = 0;
  NumberLeaves(root, box_of, entries);
  std::vector<std::array<uint32_t, 4>> sums(entries, {0, 0, 0, 0});
  for (const auto& [key, count] : counts) {
    std::array<uint32_t, 4>& sum = sums[box_of.at(shifted(key))];
    for (int axis = 0; axis < 3; ++axis)
      sum[static_cast<size_t>(axis)] += static_cast<uint32_t>(Channel(key, axis)) * count;
    sum[3] += count;
  }
  Palette palette;
  for (const std::array<uint32_t, 4>& sum : sums) {
    std::array<uint8_t, 3> entry{};
    for (size_t axis = 0; axis < 3; ++axis)
      entry[axis] = static_cast<uint8_t>(0.5 + static_cast<double>(sum[axis]) / static_cast<double>(sum[3]));
    palette.push_back(entry);
  }
  return palette;
}

StatusOr<ImageU8> MapToPalette(const ImageU8& rgb, const Palette& palette, bool diffuse) {
  RETURN_IF_ERROR(CheckRgb(rgb));
  if (palette.empty() || palette.size() > 256)
    return InvalidArgument("the palette has ", palette.size(), " entries, expected 1 to 256");
  ASSIGN_OR_RETURN(ImageU8 result, MakeImage(rgb.width, rgb.height, 3));
  Nearest nearest(palette);
  const auto width = static_cast<size_t>(rgb.width);
  // Sixteenths of errors that the row above left to each pixel; entry x + 1 belongs to pixel x.
  std::vector<std::array<int, 3>> below(width + 1, {0, 0, 0});
  for (int y = 0; y < rgb.height; ++y) {
    const uint8_t* in = rgb.row(y);
    uint8_t* out = result.row(y);
    std::array<int, 3> last = {0, 0, 0}, before_last = {0, 0, 0};  // errors of the two pixels on the left
    for (size_t x = 0; x < width; ++x) {
      std::array<int, 3> colour{};
      for (size_t c = 0; c < 3; ++c) {
        colour[c] = in[3 * x + c];
        if (diffuse) colour[c] = std::clamp(colour[c] + (7 * last[c] + below[x + 1][c]) / 16, 0, 255);
      }
      const std::array<uint8_t, 3>& entry = palette[nearest(colour[0], colour[1], colour[2])];
      for (size_t c = 0; c < 3; ++c) {
        out[3 * x + c] = entry[c];
        const int error = colour[c] - entry[c];
        below[x][c] = 3 * error + 5 * last[c] + before_last[c];
        before_last[c] = last[c];
        last[c] = error;
      }
    }
    // Pillow leaves the last pixel of the next row what belongs to blue alone, in all three channels.
    below[width] = {5 * last[2] + before_last[2], last[2], last[2]};
  }
  return result;
}

}  // namespace atelier
