// What each command does. Everything that is not the answer itself (JSON, a table, a text asked for) goes to `err`.
#pragma once

#include <ostream>

#include "common/base/status.h"
#include "master/cli/command_line.h"
#include "master/cli/interrupt.h"

namespace atelier::cli {

/// Where a command writes and what may interrupt it.
struct Surroundings {
  std::ostream& out;
  std::ostream& err;
  bool terminal = false;           // err is a terminal: bars
  Interrupt* interrupt = nullptr;  // may be null
  double patience_seconds = 300;   // a watched job waits so long for a master that went away
};

/// Runs one command to its end. Returns the exit code. Thread: one at a time.
int RunCommand(const CommandLine& line, Surroundings& io);

// The parts of RunCommand(), each a file.
int RunWorkflows(const CommandLine& line, Surroundings& io);
int SubmitWorkflow(const CommandLine& line, Surroundings& io);
/// join. Thread: as RunCommand.
int JoinCluster(const CommandLine& line, Surroundings& io);
int ShowCluster(const CommandLine& line, Surroundings& io);
int MoveModels(const CommandLine& line, Surroundings& io);
int ConvertWorkflow(const CommandLine& line, Surroundings& io);
int EditConfig(const CommandLine& line, Surroundings& io);

/// Prints "atelier: MESSAGE" and returns the exit code of `status`: 3 when nobody answers, 2 for what the person asked
/// wrongly, 1 else. Thread: any.
int Complain(const Status& status, Surroundings& io);

}  // namespace atelier::cli
