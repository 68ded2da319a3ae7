// One job from submission to end, as `run` and `submit --wait` follow it.
#pragma once

#include <functional>
#include <string>

#include "master/cli/client.h"
#include "master/cli/commands.h"

namespace atelier::cli {

/// The request of a command line for one workflow text. Errors: INVALID_ARGUMENT when it does not fit into a message.
/// Thread: any.
StatusOr<v1::SubmitRequest> MakeSubmitRequest(const CommandLine& line, const std::string& path, std::string workflow);

/// Follows a job with progress until it ended, over lost connections and restarts of the master. A first signal cancels
/// the job, a second gives up. `recover` is asked when the master is gone: it makes it reachable again or says why not.
/// Returns the ended job with its outputs. Thread: one at a time.
StatusOr<v1::Job> FollowJob(Client& client, const std::string& job_id, const std::string& title, Surroundings& io,
                            const std::function<Status()>& recover);

}  // namespace atelier::cli
