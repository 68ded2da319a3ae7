#include "common/base/check.h"
#include "common/image/codec.h"
#include "common/image/png_text.h"
#include "tests/fuzz/fuzz.h"

namespace atelier::fuzz {

std::vector<std::string> Seeds() {
  ImageU8 image;
  image.width = 9;
  image.height = 7;
  image.channels = 3;
  image.data.resize(9 * 7 * 3);
  for (size_t i = 0; i < image.data.size(); ++i) image.data[i] = static_cast<uint8_t>(i * 11);
  std::vector<std::string> seeds;
  if (auto png = EncodePng(image); png.ok()) {
    if (auto text = InsertPngText(*png, {{"prompt", "{}"}, {"workflow", "{\"nodes\":[]}"}}); text.ok())
      seeds.push_back(*text);
    seeds.push_back(*std::move(png));
  }
  if (auto jpeg = EncodeJpeg(image); jpeg.ok()) seeds.push_back(*std::move(jpeg));
  // One pixel, lossy and lossless.
  seeds.emplace_back("RIFF\x22\0\0\0WEBPVP8 \x16\0\0\0\x30\1\0\x9d\1\x2a\1\0\1\0\x0e\xc0\xfe\x25\xa4\0\3\x70\0\0\0\0",
                     42);
  seeds.emplace_back("RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10\7\x10\x11\x11\x88\x88\xfe\7\0", 34);
  ATELIER_CHECK(seeds.size() == 5);
  return seeds;
}

}  // namespace atelier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  atelier::ReadImageText(bytes).status().IgnoreError();
  const auto extent = atelier::ReadImageSize(bytes);
  // Larger pictures are legal and slow.
  if (!extent.ok() || extent->first * extent->second > 1 << 16) return 0;
  atelier::DecodeFrames(bytes).status().IgnoreError();
  const auto image = atelier::DecodeImage(bytes);
  if (!image.ok()) return 0;
  const atelier::ImageU8& rgb = image->rgb;
  ATELIER_CHECK(static_cast<int64_t>(rgb.data.size()) == int64_t{1} * rgb.width * rgb.height * rgb.channels);
  return 0;
}
