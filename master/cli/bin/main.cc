#include <unistd.h>

#include <csignal>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "master/cli/command_line.h"
#include "master/cli/commands.h"

int main(int argc, char** argv) {
  using atelier::cli::Command;
  std::signal(SIGPIPE, SIG_IGN);  // `atelier jobs | head` ends by a failed write
  const atelier::cli::ParseOutcome parsed =
      atelier::cli::ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc));
  std::cout << parsed.out;
  std::cerr << parsed.err;
  if (!parsed.command) return parsed.exit_code;
  const atelier::cli::CommandLine& line = *parsed.command;
  // Only where something has to be ended in order; elsewhere ^C just ends the program.
  const bool follows =
      line.command == Command::kRun || (line.command == Command::kSubmit && (line.wait || !line.output.empty()));
  const auto interrupt = follows ? std::make_unique<atelier::cli::Interrupt>() : nullptr;
  atelier::cli::Surroundings io{std::cout, std::cerr, isatty(STDERR_FILENO) == 1, interrupt.get()};
  const int code = atelier::cli::RunCommand(line, io);
  std::cout.flush();
  return code;
}
