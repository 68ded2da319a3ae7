// What a worker reports of an attempt's end.
#pragma once

#include <string>
#include <vector>

#include "atelier/v1/session.pb.h"
#include "common/base/status.h"
#include "common/executor/executor.h"
#include "worker/session/session_state.h"

namespace atelier {

/// The task is done; adds its results and then its files to `blobs`, results in the report's order. Thread: any.
v1::FromWorker DoneReport(const v1::Lease& lease, FragmentResult result, double seconds,
                          std::vector<ResultBlob>& blobs);

/// The task failed at `node` (may be empty); `retry_elsewhere`: another worker may do better. Thread: any.
v1::FromWorker FailedReport(const v1::Lease& lease, const Status& status, const std::string& node,
                            bool retry_elsewhere);

}  // namespace atelier
