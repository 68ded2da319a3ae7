#include "common/image/codec.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <random>
#include <sstream>

#include "common/image/png_text.h"

namespace atelier {
namespace {

ImageU8 Noise(int width, int height, int channels, uint32_t seed) {
  std::mt19937 random(seed);
  ImageU8 image = *MakeImage(width, height, channels);
  for (uint8_t& v : image.data) v = static_cast<uint8_t>(random());
  return image;
}

std::string BigEndian(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)};
}

TEST_CASE("png files give back what was written, at every level") {
  for (int channels = 1; channels <= 4; ++channels) {
    const ImageU8 image = Noise(31, 17, channels, 5);
    for (const int level : {0, 1, 4, 9}) {
      const auto bytes = EncodePng(image, level);
      REQUIRE(bytes.ok());
      CHECK(*bytes == *EncodePng(image, level));
      CHECK(*ReadImageSize(*bytes) == std::pair<int64_t, int64_t>(31, 17));
      const auto decoded = DecodeImage(*bytes);
      REQUIRE(decoded.ok());
      CHECK(decoded->rgb == *ToRgb(image));
      CHECK(decoded->has_alpha == (channels % 2 == 0));
      if (decoded->has_alpha) CHECK(decoded->alpha == *ExtractChannel(image, channels - 1));
    }
  }
  CHECK(!EncodePng(*MakeImage(2, 2, 3), 10).ok());
  CHECK(!EncodePng(ImageU8{2, 2, 3, {1}}, 4).ok());
}

TEST_CASE("jpeg files come back close") {
  for (int channels = 1; channels <= 4; ++channels) {
    ImageU8 image = *MakeImage(40, 30, channels);
    for (int y = 0; y < 30; ++y) {
      for (int x = 0; x < 40; ++x) {
        for (int c = 0; c < channels; ++c) image.at(x, y, c) = static_cast<uint8_t>(x * 4 + y * 2);
      }
    }
    const auto bytes = EncodeJpeg(image, 95);
    REQUIRE(bytes.ok());
    const auto decoded = DecodeImage(*bytes);
    REQUIRE(decoded.ok());
    const ImageU8 expected = *ToRgb(image);
    int worst = 0;
    for (size_t i = 0; i < expected.data.size(); ++i) {
      worst = std::max(worst, std::abs(expected.data[i] - decoded->rgb.data[i]));
    }
    CHECK(worst <= 6);
    CHECK(EncodeJpeg(image, 20)->size() < bytes->size());
  }
  CHECK(!EncodeJpeg(*MakeImage(2, 2, 3), 0).ok());
  CHECK(!EncodeJpeg(*MakeImage(65501, 1, 3), 80).ok());
}

TEST_CASE("a size bomb is refused before memory is taken") {
  std::string png = *EncodePng(*MakeImage(4, 4, 3));
  // The header's own checksum has to fit, or the file is refused for that.
  const auto with_size = [&png](uint32_t width, uint32_t height) {
    std::string file = png;
    file.replace(16, 8, BigEndian(width) + BigEndian(height));
    uint32_t crc = 0xFFFFFFFFU;
    for (const char c : file.substr(12, 17)) {
      crc ^= static_cast<unsigned char>(c);
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
    }
    return file.replace(29, 4, BigEndian(~crc));
  };
  CHECK(DecodeImage(with_size(4, 4)).ok());
  CHECK(DecodeImage(with_size(100000, 100000)).status().code() == StatusCode::kResourceExhausted);
  CHECK(DecodeImage(with_size(0x7FFFFFFF, 0x7FFFFFFF)).status().code() == StatusCode::kResourceExhausted);
  const auto short_file = DecodeImage(with_size(16384, 16384));
  CHECK(short_file.status().code() == StatusCode::kInvalidArgument);
  CHECK(Message(short_file.status()).find("too short") != std::string::npos);

  std::string jpeg = *EncodeJpeg(*MakeImage(16, 16, 3));
  const size_t frame = jpeg.find("\xFF\xC0");
  REQUIRE(frame != std::string::npos);
  jpeg.replace(frame + 5, 4, "\xFF\xDC\xFF\xDC");
  CHECK(DecodeImage(jpeg).status().code() == StatusCode::kResourceExhausted);
  jpeg.replace(frame + 5, 4, "\x3F\xFF\x3F\xFF");
  CHECK(DecodeImage(jpeg).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("files that are cut or no pictures give a status") {
  const std::string png = *EncodePng(Noise(20, 20, 3, 1));
  const std::string jpeg = *EncodeJpeg(Noise(20, 20, 3, 2));
  for (size_t size = 0; size < png.size() - 16; ++size)
    REQUIRE(!DecodeImage(std::string_view(png).substr(0, size)).ok());
  for (size_t size = 0; size < jpeg.size() - 2; ++size) {
    REQUIRE(!DecodeImage(std::string_view(jpeg).substr(0, size)).ok());
  }
  CHECK(DecodeImage("GIF89a").status().code() == StatusCode::kInvalidArgument);
  CHECK(DecodeImage("").status().code() == StatusCode::kInvalidArgument);
  CHECK(ReadImageSize("RIFF\x10\0\0\0WEBPVP8 ").status().code() == StatusCode::kInvalidArgument);
  CHECK(ImageFormat(png) == "png");
  CHECK(ImageFormat(jpeg) == "jpeg");
  CHECK(ImageFormat("text").empty());
}

TEST_CASE("png texts go in after the header and come back") {
  const ImageU8 image = Noise(9, 9, 3, 3);
  const std::string png = *EncodePng(image);
  const TextPairs texts = {{"prompt", R"({"1": {"inputs": {}}})"},
                           {"workflow", "gr\xC3\xBC\xC3\x9F"},         // Latin-1
                           {"snow", "\xE2\x9D\x84 \xF0\x9F\x8E\xA8"},  // not Latin-1
                           {"twice read", "\xC3\x83\xC2\xA9"},         // as Latin-1 bytes it would read as UTF-8
                           {"empty", ""}};
  const auto with = InsertPngText(png, texts);
  REQUIRE(with.ok());
  CHECK(*ReadPngText(*with) == texts);
  CHECK(*ReadImageText(*with) == texts);
  CHECK(with->substr(0, 33) == png.substr(0, 33));
  CHECK(with->substr(37, 4) == "tEXt");
  CHECK(with->substr(with->size() - (png.size() - 33)) == png.substr(33));
  CHECK(with->find("iTXtsnow") != std::string::npos);
  CHECK(with->find(std::string("tEXtworkflow\0gr\xFC\xDF", 17)) != std::string::npos);
  CHECK(DecodeImage(*with)->rgb == image);
  CHECK(ReadPngText(png)->empty());

  CHECK(!InsertPngText("no png", texts).ok());
  CHECK(!InsertPngText(png, {{"", "x"}}).ok());
  CHECK(!InsertPngText(png, {{std::string(80, 'k'), "x"}}).ok());
  CHECK(!InsertPngText(png, {{"\xE2\x9D\x84", "x"}}).ok());
  CHECK(!InsertPngText(png, {{"k", "\xFF"}}).ok());
  CHECK(!InsertPngText(png, {{"k", std::string("a\0b", 3)}}).ok());

  std::string damaged = *with;
  damaged[42] ^= 1;
  CHECK(ReadPngText(damaged).status().code() == StatusCode::kInvalidArgument);
  CHECK(*ReadPngText(with->substr(0, with->size() - 20)) == texts);  // a cut file still has its workflow
}

// Bytes with `count` random changes: other values, pieces removed or doubled.
std::string Mutate(std::string bytes, int count, std::mt19937* random) {
  for (int i = 0; i < count && !bytes.empty(); ++i) {
    const size_t at = (*random)() % bytes.size();
    const size_t length = 1 + (*random)() % 8;
    switch ((*random)() % 4) {
      case 0:
        bytes[at] = static_cast<char>((*random)());
        break;
      case 1:
        bytes[at] = static_cast<char>((*random)() % 2 == 0 ? 0xFF : 0);
        break;
      case 2:
        bytes.erase(at, length);
        break;
      default:
        bytes.insert(at, bytes.substr(at, length));
    }
  }
  return bytes;
}

// Writes right checksums into a PNG's chunks, so that changes get past them.
std::string FixChecksums(std::string png) {
  const auto number = [&png](size_t at) {
    uint32_t v = 0;
    for (size_t i = 0; i < 4; ++i) v = v << 8 | static_cast<unsigned char>(png[at + i]);
    return v;
  };
  for (size_t at = 8; at + 12 <= png.size();) {
    const size_t length = number(at);
    if (length > png.size() - at - 12) break;
    uint32_t crc = 0xFFFFFFFFU;
    for (size_t i = at + 4; i < at + 8 + length; ++i) {
      crc ^= static_cast<unsigned char>(png[i]);
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
    }
    png.replace(at + 8 + length, 4, BigEndian(~crc));
    at += 12 + length;
  }
  return png;
}

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  for (int channels = 1; channels <= 4; ++channels) {
    seeds.push_back(*EncodePng(Noise(13, 11, channels, 8)));
    seeds.push_back(*EncodeJpeg(Noise(24, 17, channels, 9)));
  }
  seeds.push_back(*InsertPngText(seeds[0], {{"prompt", "{}"}, {"snow", "\xE2\x9D\x84"}}));
  std::ifstream file(std::string(ATELIER_SOURCE_DIR) + "/tests/unit/image/vectors.txt");
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream in(line);
    std::string op;
    std::string format;
    std::string number;
    std::string hex;
    in >> op >> format >> number >> number >> number >> hex;
    if (op != "file") continue;
    std::string bytes;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    seeds.push_back(bytes);
  }
  return seeds;
}

// The checks are that nothing crashes (run it with sanitizers) and that whatever comes out is whole.
TEST_CASE("mutated files never crash") {
  std::mt19937 random(99);
  int decoded_count = 0;
  int refused_count = 0;
  const std::vector<std::string> seeds = Seeds();
  REQUIRE(seeds.size() > 20);
  for (const std::string& seed : seeds) {
    for (int round = 0; round < 150; ++round) {
      std::string bytes = Mutate(seed, 1 + static_cast<int>(random() % 6), &random);
      if (round % 2 == 0) bytes = FixChecksums(std::move(bytes));
      // A mutated size may be legal and large; leave those to the size bomb test.
      const auto size = ReadImageSize(bytes);
      if (size.ok() && size->first * size->second > 4'000'000) continue;
      const auto frames = DecodeFrames(bytes);
      ++(frames.ok() ? decoded_count : refused_count);
      if (frames.ok()) {
        for (const DecodedImage& frame : *frames) {
          REQUIRE(CheckImage(frame.rgb).ok());
          if (frame.has_alpha) REQUIRE(CheckImage(frame.alpha).ok());
        }
      } else {
        REQUIRE(!Message(frames.status()).empty());
      }
      const auto texts = ReadImageText(bytes);
      if (texts.ok() && ImageFormat(bytes) == "png") InsertPngText(bytes, *texts).status().IgnoreError();
    }
  }
  CHECK(decoded_count > 50);
  CHECK(refused_count > 50);
}

}  // namespace
}  // namespace atelier
