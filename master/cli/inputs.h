// Input files of the submitter's machine.
#pragma once

#include <string>

#include "atelier/v1/admin.pb.h"
#include "common/base/status.h"
#include "master/cli/client.h"

namespace atelier::cli {

/// Uploads the files below `folder` that a text of the request's workflow names, and names them in the request. Errors:
/// NOT_FOUND for a folder that is none, those of the upload. Thread: any.
Status UploadInputs(Client& client, const std::string& folder, v1::SubmitRequest& request);

}  // namespace atelier::cli
