#include "master/cli/commands.h"

namespace atelier::cli {

int RunCommand(const CommandLine& line, Surroundings& io) {
  switch (line.command) {
    case Command::kRun:
      return RunWorkflows(line, io);
    case Command::kSubmit:
    case Command::kExplain:
      return SubmitWorkflow(line, io);
    case Command::kModels:
    case Command::kModelsPush:
    case Command::kModelsPull:
    case Command::kModelsCancel:
    case Command::kModelsPin:
    case Command::kModelsUnpin:
      return MoveModels(line, io);
    case Command::kJoin:
      return JoinCluster(line, io);
    case Command::kConvert:
      return ConvertWorkflow(line, io);
    case Command::kConfigCheck:
    case Command::kConfigShow:
    case Command::kConfigGet:
    case Command::kConfigSet:
    case Command::kConfigAddWorker:
    case Command::kConfigEnable:
    case Command::kConfigDisable:
      return EditConfig(line, io);
    default:
      return ShowCluster(line, io);
  }
}

int Complain(const Status& status, Surroundings& io) {
  io.err << "atelier: " << Message(status) << "\n";
  switch (status.code()) {
    case StatusCode::kUnavailable:
    case StatusCode::kDeadlineExceeded:
      return kExitNotReachable;
    case StatusCode::kInvalidArgument:
    case StatusCode::kNotFound:
    case StatusCode::kFailedPrecondition:
    case StatusCode::kUnauthenticated:
    case StatusCode::kPermissionDenied:
      return kExitInvalid;
    default:
      return kExitJobFailed;
  }
}

}  // namespace atelier::cli
