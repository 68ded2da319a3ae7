// `atelier submit` and `atelier explain`.
#include <algorithm>
#include <filesystem>

#include "master/cli/client.h"
#include "master/cli/commands.h"
#include "master/cli/format.h"
#include "master/cli/inputs.h"
#include "master/cli/watch_job.h"
#include "master/cli/workflow_file.h"

namespace atelier::cli {
namespace {

namespace fs = std::filesystem;

int Invalid(const CommandLine& line, Surroundings& io, const std::vector<std::string>& sentences) {
  std::string all;
  for (const std::string& sentence : sentences) {
    io.err << "atelier: " << line.workflows[0] << ": " << sentence << "\n";
    all += (all.empty() ? "" : "; ") + sentence;
  }
  if (line.json) io.out << DumpJson(FailedJson("invalid", all)) << "\n";
  return kExitInvalid;
}

// A path that no file has yet: "a.png", "a-1.png", ...
fs::path FreePath(const fs::path& wanted) {
  std::error_code error;
  fs::path path = wanted;
  for (int i = 1; fs::exists(path, error); ++i)
    path = wanted.parent_path() / Cat(wanted.stem().string(), "-", i, wanted.extension().string());
  return path;
}

// Copies the outputs of a job to a folder and lets its `outputs` name the copies.
Status CopyOutputs(v1::Job& job, const std::string& folder) {
  std::error_code error;
  const fs::path target = fs::absolute(folder, error).lexically_normal();
  if (!error) fs::create_directories(target, error);
  if (error)
    return InvalidArgument("cannot make the folder \"", folder, "\": ", error.message(),
                           "; name another with --output");
  for (v1::Output& output : *job.mutable_outputs()) {
    if (output.path().empty()) continue;
    const fs::path source = output.path();
    if (!fs::is_regular_file(source, error))
      return NotFound(
          "output \"", output.path(),
          "\" is not on this machine, since the master runs elsewhere; fetch it there or use --output on that "
          "machine");
    const fs::path copy = FreePath(target / source.filename());
    fs::copy_file(source, copy, error);
    if (error) return ResourceExhausted("cannot copy ", output.path(), " to ", copy.string(), ": ", error.message());
    output.set_path(copy.string());
  }
  return OkStatus();
}

}  // namespace

int SubmitWorkflow(const CommandLine& line, Surroundings& io) {
  const std::string& path = line.workflows[0];
  const auto fail = [&](const Status& status) {
    if (line.json) io.out << DumpJson(FailedJson("failed", Message(status))) << "\n";
    return Complain(status, io);
  };
  StatusOr<std::string> text = ReadWorkflowFile(path);
  if (!text.ok()) return Invalid(line, io, {Message(text.status())});
  StatusOr<v1::SubmitRequest> request = MakeSubmitRequest(line, path, std::move(*text));
  if (!request.ok()) return Invalid(line, io, {Message(request.status())});
  Client client(line.master);

  if (line.command == Command::kExplain) {
    const StatusOr<v1::ExplainReply> reply = client.Explain(*request);
    if (!reply.ok() && reply.status().code() == StatusCode::kInvalidArgument)
      return Invalid(line, io, {Message(reply.status())});
    if (!reply.ok()) return fail(reply.status());
    if (reply->text().empty() && !reply->report_json().empty())
      return Invalid(line, io, ReportSentences(reply->report_json()));
    for (const std::string& sentence : ReportSentences(reply->report_json()))
      io.err << "atelier: " << path << ": left out: " << sentence << "\n";
    if (line.json)
      io.out << DumpJson(
                    {{"explain", reply->text()}, {"tiles", ParseJson(reply->tiles_json()).value_or(Json::array())}})
             << "\n";
    else
      io.out << reply->text() << (reply->text().ends_with("\n") ? "" : "\n");
    return kExitDone;
  }

  if (!line.input.empty()) {
    const Status uploaded = UploadInputs(client, line.input, *request);
    if (!uploaded.ok()) return fail(uploaded);
  }
  const StatusOr<v1::SubmitReply> reply = client.Submit(*request);
  if (!reply.ok() && reply.status().code() == StatusCode::kInvalidArgument)
    return Invalid(line, io, {Message(reply.status())});
  if (!reply.ok()) return fail(reply.status());
  const std::vector<std::string> sentences = ReportSentences(reply->report_json());
  if (reply->job_id().empty()) return Invalid(line, io, sentences);
  for (const std::string& sentence : sentences) io.err << "atelier: " << path << ": left out: " << sentence << "\n";
  if (!line.wait && line.output.empty()) {
    v1::Job job;
    job.set_id(reply->job_id());
    job.set_state("queued");
    if (line.json)
      io.out << DumpJson(JobJson(job)) << "\n";
    else
      io.out << reply->job_id() << "\n";
    return kExitDone;
  }
  io.err << "job " << reply->job_id() << "\n";
  bool told = false;
  StatusOr<v1::Job> job = FollowJob(client, reply->job_id(), fs::path(path).filename().string(), io, [&]() -> Status {
    if (io.interrupt != nullptr && io.interrupt->count() > 1) return Cancelled("interrupted");
    if (!told) io.err << "atelier: the master at " << line.master << " went away; waiting for it\n" << std::flush;
    told = true;
    return client.WaitReachable(io.patience_seconds);
  });
  if (!job.ok()) {
    if (line.json) {
      Json json = FailedJson("unknown", Message(job.status()));
      json["job"] = reply->job_id();
      io.out << DumpJson(json) << "\n";
    }
    return Complain(job.status(), io);
  }
  Status copied = OkStatus();
  if (!line.output.empty()) copied = CopyOutputs(*job, line.output);
  if (!copied.ok() && job->error().empty()) job->set_error(Message(copied));
  if (line.json)
    io.out << DumpJson(JobJson(*job)) << "\n";
  else
    for (const v1::Output& output : job->outputs()) io.out << output.path() << "\n";
  if (!copied.ok()) {
    Complain(copied, io);
    return kExitJobFailed;
  }
  return job->state() == "done" ? kExitDone : kExitJobFailed;
}

}  // namespace atelier::cli
