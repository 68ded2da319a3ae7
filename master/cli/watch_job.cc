#include "master/cli/watch_job.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>

#include "common/base/limits.h"
#include "master/cli/format.h"
#include "master/cli/progress.h"

namespace atelier::cli {
namespace {

constexpr int kSilentMax = 20;  // watches in a row that end without one event

// The first byte that is no UTF-8, or npos. A message of the wire cannot carry such text at all.
size_t FindNoUtf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : lead >= 0xE0 && lead < 0xF0 ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    if (length == 0 || i + length > text.size()) return i;
    uint32_t point = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xC0) != 0x80) return i;
      point = point << 6 | (next & 0x3Fu);
    }
    const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
    if (overlong || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return i;
    i += length;
  }
  return std::string::npos;
}

}  // namespace

StatusOr<v1::SubmitRequest> MakeSubmitRequest(const CommandLine& line, const std::string& path, std::string workflow) {
  v1::SubmitRequest request;
  constexpr size_t kRoom = 64 << 10;  // for the other fields
  if (workflow.size() + kRoom > static_cast<size_t>(limits::kMessageBytesMax))
    return InvalidArgument("workflow \"", path, "\" has ", FormatBytes(workflow.size()), "; at most ",
                           FormatBytes(static_cast<size_t>(limits::kMessageBytesMax) - kRoom),
                           " can be submitted, so take embedded data out of it");
  if (const size_t bad = FindNoUtf8(workflow); bad != std::string::npos)
    return InvalidArgument("workflow \"", path, "\" is not UTF-8 at byte ", bad, "; save it as UTF-8 JSON");
  request.set_workflow(std::move(workflow));
  for (const std::string& set : line.sets) request.add_sets(set);
  request.set_replicas(line.replicas);
  request.set_tiles(line.tiles);
  request.set_canvas(line.canvas);
  request.set_priority(line.priority);
  for (const std::string& tag : line.tags) request.add_tags(tag);
  const char* user = std::getenv("USER");
  if (user != nullptr) request.set_submitter(user);
  return request;
}

StatusOr<v1::Job> FollowJob(Client& client, const std::string& job_id, const std::string& title, Surroundings& io,
                            const std::function<Status()>& recover) {
  ProgressPrinter progress(io.err, io.terminal, title);
  std::atomic<bool> given_up{false};
  const ScopedCallback callback(io.interrupt, [&](int count) {
    if (count == 1) {
      progress.Say(title + ": cancelling; once more ends at once");
      const StatusOr<v1::Job> cancelled = client.CancelJob(job_id);
      if (cancelled.ok()) return;  // the watch tells when it is over
    }
    given_up = true;
    client.CancelWatch();
  });
  int silent = 0;
  for (;;) {
    bool ended = false;
    bool heard = false;
    const Status status = client.Watch(job_id, [&](const v1::JobEvent& event) {
      heard = true;
      progress.Apply(event);
      if (event.has_job() && IsEnded(event.job().state())) ended = true;
    });
    if (given_up) return Cancelled("interrupted; job ", job_id, " is left to the master");
    if (status.ok() || ended) {
      StatusOr<v1::Job> job = client.GetJob(job_id);
      if (job.ok() && IsEnded(job->state())) return job;
      if (!job.ok() && job.status().code() != StatusCode::kUnavailable) return job.status();
    } else if (status.code() != StatusCode::kUnavailable && status.code() != StatusCode::kCancelled &&
               status.code() != StatusCode::kInternal && status.code() != StatusCode::kUnknown) {
      return status;
    }
    silent = heard ? 0 : silent + 1;
    if (silent > kSilentMax)
      return Internal("the master at ", client.address(), " ends the watch of job ", job_id,
                      " again and again: ", status.ok() ? "it says nothing" : Message(status));
    // The master went away: the job is durable, so it goes on when the master is back.
    RETURN_IF_ERROR(recover());
    if (given_up) return Cancelled("interrupted; job ", job_id, " is left to the master");
  }
}

}  // namespace atelier::cli
