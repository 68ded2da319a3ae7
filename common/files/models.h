// The models folders of a machine: which files they offer, and where a name lies. Source: spec engine.md 3.4.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/graph/schema.h"

namespace atelier {

/// All model files below the roots, by folder ("checkpoints", "loras", ...): recursive, sorted, each name once. Legacy
/// folders count as their modern names (unet: diffusion_models, clip: text_encoders, t2i_adapter: controlnet). Roots
/// and folders that do not exist offer nothing; links that lead out of their folder are left out. Reads directories
/// only. Thread: any.
Inventory ScanModels(const std::vector<std::string>& roots);

/// The absolute path of a model file: the first root that has it. Errors: NOT_FOUND naming folder, name and the roots
/// that were searched; INVALID_ARGUMENT for a name that leads out of the folder. Thread: any.
StatusOr<std::string> ResolveModel(const std::vector<std::string>& roots, std::string_view folder,
                                   std::string_view name);

/// Where a new file of this name lies below a root, without the name: "checkpoints", "diffusion_models". Errors:
/// INVALID_ARGUMENT for an unknown folder, a name that is not safe, and one whose ending no model of that folder has.
/// Thread: any.
StatusOr<std::string> ModelPlace(std::string_view folder, std::string_view name);

/// The folder names that ScanModels knows, modern names only. Thread: any.
std::vector<std::string> ModelFolders();

}  // namespace atelier
