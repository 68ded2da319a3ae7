// Clips that the tests of videos make for themselves.
#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "worker/media/decoder.h"
#include "worker/media/encoder.h"

namespace atelier::test {

/// An mp4 of moving colours at 25 frames a second; `sound`: with a tone. Thread: any.
inline std::string MakeClip(int frames, int width, int height, bool sound) {
  media::VideoSettings settings;
  settings.muxer = "mp4";
  settings.encoder = "libx264";
  settings.pixel_format = "yuv420p";
  settings.options = {{"crf", "18"}, {"preset", "veryfast"}};
  settings.fps = 25;
  settings.width = width;
  settings.height = height;
  const auto encoder = media::VideoEncoder::Open(settings);
  REQUIRE(encoder.ok());
  std::vector<uint8_t> picture(static_cast<size_t>(width) * static_cast<size_t>(height) * 3);
  for (int f = 0; f < frames; ++f) {
    size_t i = 0;
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x)
        for (int c = 0; c < 3; ++c) picture[i++] = static_cast<uint8_t>((x * (c + 2) + y * 3 + f * 7 * (c + 1)) / 2);
    REQUIRE((*encoder)->Add(picture.data(), picture.size()).ok());
  }
  const auto silent = (*encoder)->Finish();
  REQUIRE(silent.ok());
  if (!sound) return *silent;
  media::AudioSamples tone;
  tone.channels = 1;
  tone.sample_rate = 8000;
  for (int i = 0; i < frames * 8000 / 25; ++i) tone.samples.push_back(0.5F * std::sin(static_cast<float>(i) * 0.2F));
  const auto clip = media::AddAudioTrack(*silent, "mp4", tone, {"", "aac", 0, 0, {}}, false);
  REQUIRE(clip.ok());
  return *clip;
}

}  // namespace atelier::test
