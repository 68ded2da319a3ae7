// Every primitive and decoder against what Pillow 13 gives (make_vectors.py).
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

#include "common/image/blur.h"
#include "common/image/codec.h"
#include "common/image/composite.h"
#include "common/image/png_text.h"
#include "common/image/resize.h"
#include "common/image/tiles.h"

namespace atelier {
namespace {

std::string FromHex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

ImageU8 Picture(int width, int height, int channels, const std::string& bytes) {
  ImageU8 image{width, height, channels, {bytes.begin(), bytes.end()}};
  REQUIRE(CheckImage(image).ok());
  return image;
}

std::string TakeHex(std::istream& in) {
  std::string hex;
  in >> hex;
  return FromHex(hex);
}

TEST_CASE("pixels equal Pillow's") {
  std::ifstream file(std::string(ATELIER_SOURCE_DIR) + "/tests/unit/image/vectors.txt");
  REQUIRE(file.good());
  std::string line;
  std::map<std::string, int> seen;
  while (std::getline(file, line)) {
    std::istringstream in(line);
    std::string op;
    int w = 0;
    int h = 0;
    int c = 0;
    in >> op;
    ++seen[op];
    INFO(line.substr(0, 60));
    if (op == "resize") {
      std::string name;
      int tw = 0;
      int th = 0;
      in >> name >> w >> h >> c >> tw >> th;
      const ResizeFilter filter = name == "lanczos"   ? ResizeFilter::kLanczos
                                  : name == "bicubic" ? ResizeFilter::kBicubic
                                                      : ResizeFilter::kBilinear;
      const ImageU8 image = Picture(w, h, c, TakeHex(in));
      const auto out = Resize(image, tw, th, filter);
      REQUIRE(out.ok());
      CHECK(*out == Picture(tw, th, c, TakeHex(in)));
    } else if (op == "blur") {
      double sigma = 0;
      in >> sigma >> w >> h >> c;
      const ImageU8 image = Picture(w, h, c, TakeHex(in));
      const auto out = GaussianBlur(image, sigma);
      REQUIRE(out.ok());
      CHECK(*out == Picture(w, h, c, TakeHex(in)));
      // On a single row the passes along y change nothing, so the blur of a line must give the same.
      std::vector<uint8_t> row(image.data.begin(), image.data.begin() + w);
      const ImageU8 single = Picture(w, 1, 1, std::string(row.begin(), row.end()));
      BlurLine(*MakeBoxKernel(sigma), &row);
      CHECK(GaussianBlur(single, sigma)->data == row);
    } else if (op == "blend") {
      in >> w >> h;
      const std::string bytes = TakeHex(in);
      const size_t n = static_cast<size_t>(w) * static_cast<size_t>(h);
      ImageU8 canvas = Picture(w, h, 3, bytes.substr(0, 3 * n));
      REQUIRE(PasteTile(Picture(w, h, 3, bytes.substr(3 * n, 3 * n)), Picture(w, h, 1, bytes.substr(6 * n)),
                        {0, 0, w, h}, &canvas)
                  .ok());
      CHECK(canvas == Picture(w, h, 3, TakeHex(in)));
    } else if (op == "seam") {
      static const std::map<std::string, MaskShape> shapes = {{"band_column", MaskShape::kBandColumn},
                                                              {"band_row", MaskShape::kBandRow},
                                                              {"half_row", MaskShape::kHalfRow},
                                                              {"half_column", MaskShape::kHalfColumn},
                                                              {"intersection", MaskShape::kIntersection}};
      std::string shape;
      in >> shape >> w >> h;
      INFO(shape << " " << w << "x" << h);
      const auto out = SeamPicture(shapes.at(shape), w, h);
      REQUIRE(out.ok());
      CHECK(*out == Picture(w, h, 1, TakeHex(in)));
    } else if (op == "orient") {
      int orientation = 0;
      int tw = 0;
      int th = 0;
      in >> orientation >> w >> h;
      const ImageU8 image = Picture(w, h, 1, TakeHex(in));
      in >> tw >> th;
      const auto out = ApplyOrientation(image, orientation);
      REQUIRE(out.ok());
      CHECK(*out == Picture(tw, th, 1, TakeHex(in)));
    } else if (op == "frames") {
      const std::string bytes = TakeHex(in);
      size_t count = 0;
      in >> w >> h >> count;
      const auto frames = DecodeFrames(bytes);
      REQUIRE(frames.ok());
      REQUIRE(frames->size() == count);
      for (const DecodedImage& frame : *frames) CHECK(frame.rgb == Picture(w, h, 3, TakeHex(in)));
      CHECK(DecodeImage(bytes)->rgb == frames->front().rgb);
    } else if (op == "text") {
      const auto texts = ReadImageText(TakeHex(in));
      REQUIRE(texts.ok());
      TextPairs expected;
      for (std::string key = TakeHex(in); !key.empty(); key = TakeHex(in)) expected.emplace_back(key, TakeHex(in));
      CHECK(expected.size() >= 2);
      CHECK(*texts == expected);
    } else if (op == "file") {
      std::string format;
      bool has_alpha = false;
      in >> format >> w >> h >> has_alpha;
      const auto out = DecodeImage(TakeHex(in));
      REQUIRE(out.ok());
      CHECK(out->rgb == Picture(w, h, 3, TakeHex(in)));
      CHECK(out->has_alpha == has_alpha);
      if (has_alpha) CHECK(out->alpha == Picture(w, h, 1, TakeHex(in)));
    } else {
      FAIL("unknown line");
    }
  }
  CHECK(seen.size() == 8);
  CHECK(seen["resize"] >= 10);
  CHECK(seen["file"] >= 15);
}

TEST_CASE("blend rounds to the nearest for all values") {
  // A row a pair of tile and base values, a column a mask value.
  for (int tile = 0; tile < 256; tile += 5) {
    ImageU8 mask{256, 256, 1, {}};
    ImageU8 canvas{256, 256, 1, {}};
    for (int y = 0; y < 256; ++y) {
      for (int x = 0; x < 256; ++x) {
        mask.data.push_back(static_cast<uint8_t>(x));
        canvas.data.push_back(static_cast<uint8_t>(y));
      }
    }
    const ImageU8 image = *MakeImage(256, 256, 1, static_cast<uint8_t>(tile));
    REQUIRE(PasteTile(image, mask, {0, 0, 256, 256}, &canvas).ok());
    bool equal = true;
    for (int y = 0; y < 256; ++y) {
      for (int x = 0; x < 256; ++x) equal &= canvas.at(x, y) == (2 * (tile * x + y * (255 - x)) + 255) / 510;
    }
    CHECK(equal);
  }
}

TEST_CASE("a box is what the whole picture has there, and no more of the picture is read than that needs") {
  std::mt19937 random(11);
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 300; ++round) {
    const int channels = pick(1, 4), in_width = pick(1, 90), in_height = pick(1, 90);
    const int width = pick(0, 3) == 0 ? in_width : pick(1, 90), height = pick(0, 3) == 0 ? in_height : pick(1, 90);
    const auto filter = std::array{ResizeFilter::kBilinear, ResizeFilter::kBicubic, ResizeFilter::kLanczos}[round % 3];
    ImageU8 image = *MakeImage(in_width, in_height, channels);
    for (uint8_t& v : image.data) v = static_cast<uint8_t>(random());
    const int x = pick(0, width - 1), y = pick(0, height - 1);
    const Box box{x, y, pick(x + 1, width), pick(y + 1, height)};
    INFO(in_width << "x" << in_height << " to " << width << "x" << height << ", box at " << x << "," << y);
    int reads = 0;
    const auto got = ResizeBox(in_width, in_height, width, height, filter, box, [&](const Box& source) {
      ++reads;
      // Six times the pixels that one becomes, and six more, are the most that Lanczos looks at beyond the box.
      const auto most = [](int side, int in, int out) { return side * in / out + 6 * std::max(in / out + 1, 1) + 2; };
      CHECK(source.width() <= most(box.width(), in_width, width));
      CHECK(source.height() <= most(box.height(), in_height, height));
      return Crop(image, source);
    });
    REQUIRE(got.ok());
    CHECK(reads == 1);
    CHECK(*got == *Crop(*Resize(image, width, height, filter), box));
  }
  const auto none = [](const Box&) -> StatusOr<ImageU8> { return MakeImage(1, 1, 1); };
  CHECK_FALSE(ResizeBox(8, 8, 16, 16, ResizeFilter::kBicubic, {0, 0, 17, 16}, none).ok());
  CHECK_FALSE(ResizeBox(8, 8, 16, 16, ResizeFilter::kBicubic, {4, 4, 4, 8}, none).ok());
  CHECK_FALSE(ResizeBox(8, 8, 16, 16, ResizeFilter::kBicubic, {0, 0, 8, 8}, none).ok());  // a part of another size
}

TEST_CASE("images refuse sizes beyond the limits before they take memory") {
  CHECK(MakeImage(1 << 20, 1 << 20, 3).status().code() == StatusCode::kResourceExhausted);
  CHECK(MakeImage(INT64_MAX, INT64_MAX, 3).status().code() == StatusCode::kResourceExhausted);
  CHECK(MakeImage(0, 5, 3).status().code() == StatusCode::kInvalidArgument);
  CHECK(MakeImage(5, 5, 5).status().code() == StatusCode::kInvalidArgument);
  const ImageU8 image = *MakeImage(8, 4, 3);
  CHECK(Resize(image, 1 << 20, 1 << 20, ResizeFilter::kLanczos).status().code() == StatusCode::kResourceExhausted);
  CHECK(!Resize(image, 0, 4, ResizeFilter::kLanczos).ok());
  CHECK(!Crop(image, {0, 0, 9, 4}).ok());
  CHECK(!Crop(image, {-1, 0, 4, 4}).ok());
  CHECK(!Crop(image, {3, 0, 3, 4}).ok());
  CHECK(!GaussianBlur(image, -1).ok());
  CHECK(!GaussianBlur(image, std::nan("")).ok());
  CHECK(*GaussianBlur(image, 0) == image);
  CHECK(!CheckImage(ImageU8{8, 4, 3, {1, 2, 3}}).ok());
}

TEST_CASE("floats become bytes by truncation") {
  const float values[] = {0.0F, 0.5F, 0.99999F, 1.0F, 2.0F, -1.0F, std::nanf(""), 128.0F / 255.0F};
  const ImageU8 image = *QuantizeFloats(values, 8, 1, 1);
  CHECK(image.data == std::vector<uint8_t>{0, 127, 254, 255, 255, 0, 0, 128});
  ImageU8 all{256, 1, 1, {}};
  for (int v = 0; v < 256; ++v) all.data.push_back(static_cast<uint8_t>(v));
  std::vector<float> floats(256);
  ToFloats(all, floats.data());
  CHECK(*QuantizeFloats(floats.data(), 256, 1, 1) == all);
}

TEST_CASE("gradients and boxes") {
  const ImageU8 linear = *LinearGradient();
  CHECK(linear.at(7, 0) == 0);
  CHECK(linear.at(200, 255) == 255);
  const ImageU8 left = *RotateQuarters(linear, 1);  // counter-clockwise: 0 at the left
  CHECK(left.at(0, 77) == 0);
  CHECK(left.at(255, 77) == 255);
  const ImageU8 radial = *RadialGradient();
  CHECK(radial.at(128, 128) == 0);
  CHECK(radial.at(0, 128) == 181);
  CHECK(radial.at(128, 0) == 181);
  CHECK(radial.at(0, 0) == 255);

  // Seam profiles of spec distributed.md 3.18: band of width 64 and half tile of height 512.
  const ImageU8 half = *Resize(linear, 256, 128, ResizeFilter::kBicubic);
  ImageU8 profile = *MakeImage(256, 256, 1);
  REQUIRE(Paste(half, 0, 0, &profile).ok());
  REQUIRE(Paste(*RotateQuarters(half, 2), 0, 128, &profile).ok());
  const ImageU8 band = *Resize(profile, 100, 64, ResizeFilter::kBicubic);
  for (int i = 0; i < 32; ++i) {
    CHECK(band.at(50, i) == 4 + 8 * i);
    CHECK(band.at(50, 63 - i) == 4 + 8 * i);
  }
  const ImageU8 tile = *Resize(linear, 512, 256, ResizeFilter::kBicubic);
  for (int i = 0; i < 256; ++i) CHECK(tile.at(3, i) == i);

  ImageU8 mask = *MakeImage(20, 10, 1);
  CHECK(BoundingBox(mask).empty());
  mask.at(3, 2) = 1;
  mask.at(17, 8) = 255;
  CHECK(BoundingBox(mask) == Box{3, 2, 18, 9});
  ImageU8 canvas = *MakeImage(4, 4, 1);
  REQUIRE(Paste(*MakeImage(3, 3, 1, 9), -2, 3, &canvas).ok());
  CHECK(BoundingBox(canvas) == Box{0, 3, 1, 4});
  REQUIRE(Paste(*MakeImage(3, 3, 1, 9), 4, 0, &canvas).ok());
  CHECK(BoundingBox(canvas) == Box{0, 3, 1, 4});
}

}  // namespace
}  // namespace atelier
