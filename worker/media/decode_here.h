// Decoding in the calling process. Internal to worker/media; everybody else calls decoder.h, which decides where it is
// done.
#pragma once

#include <memory>
#include <optional>

#include "worker/media/bytes.h"
#include "worker/media/decoder.h"

namespace atelier::media {

/// Probe, VideoDecoder::Open and DecodeAudio.
StatusOr<MediaInfo> ProbeHere(ByteSource* source);
StatusOr<std::unique_ptr<VideoDecoder>> OpenVideoHere(std::unique_ptr<ByteSource> source,
                                                      const VideoDecodeOptions& options);
StatusOr<std::optional<AudioSamples>> DecodeAudioHere(ByteSource* source, double start, double seconds);

}  // namespace atelier::media
