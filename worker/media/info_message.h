// MediaInfo between atelier-media and the worker. Internal to worker/media and worker/media_process.
#pragma once

#include "common/json/json.h"
#include "worker/media/decoder.h"

namespace atelier::media {

/// What a file holds as a message's head, and back. The way back throws nlohmann's exceptions over a head of another
/// form. Thread: any.
Json HeadOf(const MediaInfo& info);
MediaInfo InfoOf(const Json& head);

}  // namespace atelier::media
