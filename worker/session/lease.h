// What a lease of the wire says to the executor.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "atelier/v1/session.pb.h"
#include "common/base/status.h"
#include "common/executor/executor.h"

namespace atelier {

/// The fragment to run. Errors: those of ParseJson. Thread: any.
StatusOr<Fragment> FragmentOf(const v1::Lease& lease);

/// All blobs of a lease with their sizes. Thread: any.
std::map<std::string, int64_t> BlobsOf(const v1::Lease& lease);

/// Of those, the ones that are worth fetching ahead: many blobs at one input (windows of frames) are read one by one.
std::map<std::string, int64_t> BlobsAhead(const v1::Lease& lease);

}  // namespace atelier
