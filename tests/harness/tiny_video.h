// The smallest video that players take.
#pragma once

#include <catch2/catch.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "worker/media/encoder.h"

namespace atelier::test {

/// One grey picture of 16x16 pixels as H.264 in an mp4 file. Thread: any.
inline std::string TinyVideo() {
  media::VideoSettings settings;
  settings.muxer = "mp4";
  settings.encoder = "libx264";
  settings.pixel_format = "yuv420p";
  settings.width = settings.height = 16;
  const auto encoder = media::VideoEncoder::Open(settings);
  REQUIRE(encoder.ok());
  const std::vector<uint8_t> picture(16 * 16 * 3, 99);
  REQUIRE((*encoder)->Add(picture.data(), picture.size()).ok());
  return (*encoder)->Finish().value();
}

}  // namespace atelier::test
