// Text for people and JSON for scripts out of the master's answers. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "atelier/v1/admin.pb.h"
#include "common/json/json.h"

namespace atelier::cli {

/// "0.4 s", "12 s", "3:07", "1:02:09". Thread: any.
std::string FormatSeconds(double seconds);

/// "512 B", "1.2 MiB", "78 GiB". Thread: any.
std::string FormatBytes(uint64_t bytes);

/// How many columns of a terminal `text` takes: code points, so that accents do not shift a table. Thread: any.
size_t DisplayWidth(std::string_view text);

/// `text` without control characters (a name from the cluster must not steer the terminal), cut to `width` columns with
/// an ellipsis. Thread: any.
std::string Clip(std::string_view text, size_t width);

/// Rows under their headers in aligned columns, two spaces between, no trailing spaces; the last column is not padded.
/// Columns named in `right` (by index) are aligned to the right. REQUIRES: every row has as many cells as `headers`.
/// Thread: any.
std::string FormatTable(const std::vector<std::string>& headers, const std::vector<std::vector<std::string>>& rows,
                        const std::vector<size_t>& right = {});

/// {"job", "state", "seconds", "outputs": [{"node","path","type"}], "error"?}. Source: design.md section 7. Thread:
/// any.
Json JobJson(const v1::Job& job);

/// The same for a workflow that never became a job. Thread: any.
Json FailedJson(std::string_view state, std::string_view error);

/// A task, worker as JSON objects. Thread: any.
Json TaskJson(const v1::Task& task);
Json WorkerJson(const v1::Worker& worker);

/// "attic, fast". Thread: any.
std::string TagsList(const google::protobuf::RepeatedPtrField<std::string>& tags);

/// Readable sentences out of a validation report {"error", "node_errors"}: one a fault, with node id, class, message
/// and details. Text that is no such report comes back as it is. Thread: any.
std::vector<std::string> ReportSentences(const std::string& report_json);

/// The state for people: "running 3/8". Thread: any.
std::string StateText(const v1::Job& job);

/// Whether a job in this state can still change. Thread: any.
bool IsEnded(std::string_view state);

/// What `atelier job ID` shows. Thread: any.
std::string JobText(const v1::Job& job);

/// What `atelier why ID` shows: the job's own reason, then every worker with what it does or why it does nothing.
/// Thread: any.
std::string WhyText(const v1::Job& job, const v1::ListWorkersReply& workers);

/// What `atelier nodes TYPE` shows of one spec in the catalogue's JSON form. Thread: any.
std::string NodeText(const Json& spec);

}  // namespace atelier::cli
