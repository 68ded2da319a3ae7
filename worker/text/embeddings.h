// Textual inversion files: finding them in models/embeddings and reading their vectors. Source: spec engine.md 4.3.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/text/prompt.h"

namespace atelier::text {

/// A lookup in `folders` and their subfolders: the exact relative file name, or with .safetensors, .pt or .bin. A name
/// that would leave its folder (absolute, "..", a link out of it) is not found. `key` is the encoder's own ("clip_l",
/// "clip_g", "clip_h"). `width` is the encoder's, for files that hold lists. Thread: any.
EmbeddingLookup EmbeddingsIn(std::vector<std::string> folders, std::string key, int64_t width);

}  // namespace atelier::text
