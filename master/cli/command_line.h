// The grammar of `atelier`: arguments in, one plain struct out. command_line.cc is the only file that sees CLI11.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace atelier::cli {

/// Exit codes. Source: design.md section 7.
enum ExitCode : int {
  kExitDone = 0,
  kExitJobFailed = 1,
  kExitInvalid = 2,       // bad usage or an invalid workflow
  kExitNotReachable = 3,  // no master answers
};

enum class Command {
  kRun,
  kSubmit,
  kJobs,
  kJob,
  kCancel,
  kLogs,
  kWhy,
  kExplain,
  kWorkers,
  kJoin,
  kNodes,
  kModels,
  kModelsPush,
  kModelsPull,
  kModelsCancel,
  kModelsPin,
  kModelsUnpin,
  kConvert,
  kConfigCheck,
  kConfigShow,
  kConfigGet,
  kConfigSet,
  kConfigAddWorker,
  kConfigEnable,
  kConfigDisable,
};

/// What the person asked for. Fields that a command does not use keep their defaults.
struct CommandLine {
  Command command = Command::kJobs;
  bool json = false;
  bool verbose = false;
  std::string master;                  // HOST:PORT, or several with commas
  std::vector<std::string> workflows;  // files
  std::vector<std::string> sets;       // NODE.INPUT=VALUE, taken apart by the master
  uint32_t replicas = 0;
  std::string tiles;
  std::string canvas;  // explain: "WxH"
  int32_t priority = 0;
  std::vector<std::string> tags;
  // run
  uint32_t workers = 1;
  std::vector<std::string> models;
  std::string input;
  std::string device = "auto";
  std::string state;  // keeps the state folder there
  // submit
  bool wait = false;
  // run: where outputs go; submit: where they are copied to
  std::string output;
  std::string id;  // a job, a worker, a node type
  uint32_t lines = 100;
  uint32_t limit = 50;
  std::string to;      // models: a worker
  std::string folder;  // models push
  std::string as;      // models push: the name there
  std::string action;  // enable, disable, drain, forget
  bool discover = false;
  // join
  std::string token_file, name;
  std::string config_file;
  std::vector<std::string> pairs;  // KEY=VALUE of config add-worker
  std::string key;
  std::string value;
};

/// Either a command, or the text to print and the exit code (help and version: 0; bad usage: 2, one sentence and a
/// hint).
struct ParseOutcome {
  std::optional<CommandLine> command;
  int exit_code = 0;
  std::string out;
  std::string err;
};

/// Reads the arguments after the program's name. Thread: any.
ParseOutcome ParseCommandLine(const std::vector<std::string>& arguments);

/// Every command as it is typed, "config set" included. Thread: any.
std::vector<std::string> CommandNames();

}  // namespace atelier::cli
