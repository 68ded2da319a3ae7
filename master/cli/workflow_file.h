// A workflow out of a file: JSON text, or a picture, video or sound that carries one.
#pragma once

#include <string>

#include "common/base/status.h"

namespace atelier::cli {

/// What a picture's chunk to take first: the prompt that was executed, or the editor's file.
enum class PictureChunk { kPrompt, kWorkflow };

/// The JSON text of a workflow file, unparsed. A picture yields its chunk `prompt` or `workflow`,
/// a video or sound its tag of that name (or, asked for the prompt
/// and with both present, {"prompt", "extra_data": {"extra_pnginfo": {"workflow"}}}, so that results carry both again).
/// Errors: NOT_FOUND, INVALID_ARGUMENT naming the file and the remedy. Thread: any. Source: spec engine.md 11.2.
StatusOr<std::string> ReadWorkflowFile(const std::string& path, PictureChunk first = PictureChunk::kPrompt);

}  // namespace atelier::cli
