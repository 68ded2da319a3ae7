// From a loaded network to a MODEL handle.
#pragma once

#include "worker/models/family.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {

/// The handle with the parameterisation that the family names. Errors: INVALID_ARGUMENT for an unknown one. Thread:
/// any.
StatusOr<Model> MakeModel(const models::DiffusionParts& parts);

}  // namespace atelier::nodes
