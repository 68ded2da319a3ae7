// `atelier run`: a private master, the workflows one after the other, the end of both.
#include <filesystem>

#include "master/cli/client.h"
#include "master/cli/commands.h"
#include "master/cli/format.h"
#include "master/cli/private_master.h"
#include "master/cli/watch_job.h"
#include "master/cli/workflow_file.h"

namespace atelier::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kRestartsMax = 3;  // of the private master in one `run`; more means that a workflow kills it

// The folder made absolute; a folder that the person named must be there.
StatusOr<std::string> Folder(const std::string& named, const std::string& fallback, const char* option) {
  std::error_code error;
  const std::string path = fs::absolute(named.empty() ? fallback : named, error).lexically_normal().string();
  if (error) return InvalidArgument("cannot resolve the folder of ", option, ": ", error.message());
  if (!named.empty() && !fs::is_directory(path, error))
    return InvalidArgument("there is no folder \"", path, "\"; ", option, " names an existing one");
  return path;
}

class Runner {
 public:
  Runner(const CommandLine& line, Surroundings& io) : line_(line), io_(io) {}

  int Run() {
    Status ready = Prepare();
    if (!ready.ok()) {
      // Scripts count on one line a workflow.
      if (line_.json)
        for (size_t i = 0; i < line_.workflows.size(); ++i)
          io_.out << DumpJson(FailedJson("failed", Message(ready))) << "\n" << std::flush;
      return Complain(ready, io_);
    }
    for (const std::string& path : line_.workflows) One(path);
    const Status shutdown = client_->Shutdown();
    if (io_.interrupt != nullptr && io_.interrupt->count() > 1)
      master_->Kill();
    else
      master_->End(/*asked=*/shutdown.ok());
    if (lost_) return kExitNotReachable;
    if (failed_) return kExitJobFailed;
    return invalid_ ? kExitInvalid : kExitDone;
  }

 private:
  Status Prepare() {
    PrivateMasterOptions options;
    options.state_dir = line_.state;
    options.workers = line_.workers;
    options.device = line_.device;
    options.verbose = line_.verbose;
    if (line_.models.empty()) {
      ASSIGN_OR_RETURN(std::string folder, Folder("", "models", "--models"));
      options.models.push_back(folder);
    }
    for (const std::string& named : line_.models) {
      ASSIGN_OR_RETURN(std::string folder, Folder(named, "", "--models"));
      options.models.push_back(folder);
    }
    ASSIGN_OR_RETURN(options.input, Folder(line_.input, "input", "--input"));
    std::error_code error;
    output_ = fs::absolute(line_.output.empty() ? "output" : line_.output, error).lexically_normal().string();
    if (!error) fs::create_directories(output_, error);
    if (error)
      return InvalidArgument("cannot make the folder \"", output_, "\": ", error.message(),
                             "; name another with --output");
    options.output = output_;
    if (io_.terminal) io_.err << "starting a private master with " << line_.workers << " workers\n" << std::flush;
    ASSIGN_OR_RETURN(master_, PrivateMaster::Start(options, io_.interrupt));
    client_ = std::make_unique<Client>(master_->address());
    return OkStatus();
  }

  // After a crash of the master: its state is durable, so the job goes on.
  Status Recover() {
    if (io_.interrupt != nullptr && io_.interrupt->count() > 0) return Cancelled("interrupted");
    if (master_->Alive()) return client_->WaitReachable(5);
    const std::string why = master_->Obituary();
    if (restarts_ >= kRestartsMax) {
      lost_ = true;
      return Unavailable(why, "; given up after ", kRestartsMax, " restarts");
    }
    ++restarts_;
    io_.err << "atelier: " << why << "; starting it again\n" << std::flush;
    Status again = master_->Restart(io_.interrupt);
    if (!again.ok()) lost_ = true;
    return again;
  }

  void Report(const Json& json) {
    if (line_.json) io_.out << DumpJson(json) << "\n" << std::flush;
  }

  void Invalid(const std::string& path, const std::string& error) {
    invalid_ = true;
    io_.err << "atelier: " << path << ": " << error << "\n";
    Report(FailedJson("invalid", error));
  }

  void Fail(const std::string& path, const std::string& state, const std::string& error) {
    failed_ = true;
    io_.err << "atelier: " << path << ": " << error << "\n";
    Report(FailedJson(state, error));
  }

  void One(const std::string& path) {
    if (io_.interrupt != nullptr && io_.interrupt->count() > 0)
      return Fail(path, "cancelled", "interrupted before it was submitted");
    if (lost_) return Fail(path, "failed", "not submitted, since the private master is gone");
    StatusOr<std::string> text = ReadWorkflowFile(path);
    if (!text.ok()) return Invalid(path, Message(text.status()));
    StatusOr<v1::SubmitRequest> request = MakeSubmitRequest(line_, path, std::move(*text));
    if (!request.ok()) return Invalid(path, Message(request.status()));
    request->set_output_dir(output_);
    StatusOr<v1::SubmitReply> reply = client_->Submit(*request);
    for (; reply.status().code() == StatusCode::kUnavailable; reply = client_->Submit(*request)) {
      const Status recovered = Recover();
      if (!recovered.ok()) return Fail(path, "failed", Message(recovered));
    }
    if (!reply.ok()) {
      if (reply.status().code() == StatusCode::kInvalidArgument) return Invalid(path, Message(reply.status()));
      return Fail(path, "failed", Message(reply.status()));
    }
    const std::vector<std::string> sentences = ReportSentences(reply->report_json());
    if (reply->job_id().empty()) return Invalid(path, Join(sentences));
    for (const std::string& sentence : sentences) io_.err << "atelier: " << path << ": left out: " << sentence << "\n";
    StatusOr<v1::Job> job =
        FollowJob(*client_, reply->job_id(), fs::path(path).filename().string(), io_, [this] { return Recover(); });
    if (!job.ok()) {
      const bool cancelled = job.status().code() == StatusCode::kCancelled;
      return Fail(path, cancelled ? "cancelled" : "failed", Message(job.status()));
    }
    if (job->state() != "done") {
      failed_ = true;
      if (job->error().empty()) job->set_error(Cat("job ", job->id(), " was ", job->state()));
    }
    if (!line_.json || io_.terminal)
      for (const v1::Output& output : job->outputs()) io_.err << output.path() << "\n";
    Report(JobJson(*job));
  }

  static std::string Join(const std::vector<std::string>& sentences) {
    std::string text;
    for (const std::string& sentence : sentences) text += (text.empty() ? "" : "; ") + sentence;
    return text;
  }

  const CommandLine& line_;
  Surroundings& io_;
  std::string output_;
  std::unique_ptr<PrivateMaster> master_;
  std::unique_ptr<Client> client_;
  int restarts_ = 0;
  bool failed_ = false;
  bool invalid_ = false;
  bool lost_ = false;
};

}  // namespace

int RunWorkflows(const CommandLine& line, Surroundings& io) { return Runner(line, io).Run(); }

}  // namespace atelier::cli
