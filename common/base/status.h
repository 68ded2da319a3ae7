// Status, StatusOr and their makers. The only header that names absl::Status: Debian's absl::string_view does not
// convert to or from std::string_view, so every message passes through here.
#pragma once

#include <sstream>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace atelier {

using absl::OkStatus;
using absl::Status;
using absl::StatusCode;
template <typename T>
using StatusOr = absl::StatusOr<T>;

/// Joins the printed forms of all arguments. Thread: any.
template <typename... Args>
std::string Cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

/// A status of `code` whose message is the printed arguments in a row: lower case, no full stop, values in quotes, what
/// was expected and what to do. Thread: any.
template <typename... Args>
Status MakeStatus(StatusCode code, const Args&... args) {
  return Status(code, Cat(args...));
}
#define ATELIER_STATUS_MAKER(Name, code)          \
  template <typename... Args>                     \
  Status Name(const Args&... args) {              \
    return MakeStatus(StatusCode::code, args...); \
  }
ATELIER_STATUS_MAKER(InvalidArgument, kInvalidArgument)        // the client's request or graph; never retried
ATELIER_STATUS_MAKER(NotFound, kNotFound)                      // model, input or job absent
ATELIER_STATUS_MAKER(FailedPrecondition, kFailedPrecondition)  // version or state mismatch
ATELIER_STATUS_MAKER(ResourceExhausted, kResourceExhausted)    // memory, queue, disk or limit
ATELIER_STATUS_MAKER(Unavailable, kUnavailable)                // peer lost; retry elsewhere
ATELIER_STATUS_MAKER(DeadlineExceeded, kDeadlineExceeded)      // no progress in time
ATELIER_STATUS_MAKER(Aborted, kAborted)                        // a stale attempt
ATELIER_STATUS_MAKER(Cancelled, kCancelled)                    // asked for
ATELIER_STATUS_MAKER(DataLoss, kDataLoss)                      // checksum mismatch or torn file
ATELIER_STATUS_MAKER(Internal, kInternal)                      // our bug
#undef ATELIER_STATUS_MAKER

/// The message of a status as std::string. Thread: any.
inline std::string Message(const Status& status) { return std::string(status.message()); }

/// The same code with `context` and ": " before the message; OK stays OK. Thread: any.
inline Status Annotate(const Status& status, std::string_view context) {
  if (status.ok()) return status;
  return Status(status.code(), Cat(context, ": ", Message(status)));
}

}  // namespace atelier

#define ATELIER_CONCAT_INNER_(a, b) a##b
#define ATELIER_CONCAT_(a, b) ATELIER_CONCAT_INNER_(a, b)

/// Returns from the calling function when `expr` is not OK.
#define RETURN_IF_ERROR(expr)           \
  do {                                  \
    ::atelier::Status status_ = (expr); \
    if (!status_.ok()) return status_;  \
  } while (false)

/// Declares or assigns `lhs` from a StatusOr, or returns its status.
#define ASSIGN_OR_RETURN(lhs, expr) ASSIGN_OR_RETURN_IMPL_(ATELIER_CONCAT_(status_or_, __LINE__), lhs, expr)
#define ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                           \
  if (!tmp.ok()) return tmp.status();          \
  lhs = std::move(tmp).value()
