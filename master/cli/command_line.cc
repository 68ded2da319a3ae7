#include "master/cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <sstream>

#include "common/base/tags.h"
#include "common/rpc/protocol.h"

namespace atelier::cli {
namespace {

// The parser of one invocation; the options write straight into `line`.
class Grammar {
 public:
  Grammar() : app_("Runs ComfyUI workflows on every GPU you own.", "atelier") {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", kProgramVersion);
    app_.get_formatter()->column_width(34);
    app_.footer(
        "Exit codes: 0 done, 1 the job failed, 2 bad usage or invalid workflow, 3 master not reachable.\n"
        "`atelier COMMAND --help` tells the options of a command; docs/cli.md shows examples.");
    const char* from_environment = std::getenv("ATELIER_MASTER_ADDRESS");
    line_.master = from_environment != nullptr && *from_environment != '\0' ? from_environment : kDefaultMasterAddress;
    DeclareRun();
    DeclareSubmit();
    DeclareJobs();
    DeclareCluster();
    DeclareLocal();
  }

  ParseOutcome Parse(std::vector<std::string> arguments) {
    ParseOutcome outcome;
    const auto known = [this](const std::string& name) {
      const auto all = app_.get_subcommands([](CLI::App*) { return true; });
      return std::any_of(all.begin(), all.end(), [&](const CLI::App* app) { return app->get_name() == name; });
    };
    if (!arguments.empty() && arguments[0].rfind('-', 0) != 0 && !known(arguments[0])) {
      outcome.exit_code = kExitInvalid;
      outcome.err = "atelier: there is no command \"" + arguments[0] + "\"; see `atelier --help`\n";
      return outcome;
    }
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    try {
      app_.parse(std::move(arguments));
    } catch (const CLI::Success& e) {  // --help, --version
      std::ostringstream out;
      std::ostringstream err;
      app_.exit(e, out, err);
      outcome.out = out.str();
      return outcome;
    } catch (const CLI::ParseError& e) {
      const CLI::App* deepest = &app_;
      while (!deepest->get_subcommands().empty()) deepest = deepest->get_subcommands().front();
      std::string path = deepest->get_name();
      for (const CLI::App* up = deepest->get_parent(); up != nullptr; up = up->get_parent())
        path = up->get_name() + " " + path;
      outcome.exit_code = kExitInvalid;
      outcome.err = "atelier: " + std::string(e.what()) + "; see `" + path + " --help`\n";
      return outcome;
    }
    for (const auto& [command, app] : commands_)
      if (app->parsed()) line_.command = command;
    outcome.command = line_;
    return outcome;
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const auto& [command, app] : commands_) {
      const bool nested = app->get_parent() != &app_;
      names.push_back((nested ? app->get_parent()->get_name() + " " : "") + app->get_name());
    }
    return names;
  }

 private:
  CLI::App* Add(Command command, CLI::App& parent, const std::string& name, const std::string& help) {
    CLI::App* app = parent.add_subcommand(name, help);
    commands_.emplace_back(command, app);
    return app;
  }
  void Master(CLI::App* app) {
    app->add_option("--master", line_.master,
                    std::string("address of the master (default ") + kDefaultMasterAddress +
                        ", or $ATELIER_MASTER_ADDRESS); of several that share a database: all of them, with commas")
        ->type_name("HOST:PORT,...");
  }
  void JsonFlag(CLI::App* app, const char* help) { app->add_flag("--json", line_.json, help); }
  void JobSettings(CLI::App* app) {
    app->add_option("--set", line_.sets, "gives an input of a node another value; may be repeated")
        ->type_name("NODE.INPUT=VALUE")
        ->allow_extra_args(false)
        ->check([](const std::string& text) {
          const size_t equals = text.find('=');
          const size_t dot = text.substr(0, equals).rfind('.');
          if (equals == std::string::npos || dot == std::string::npos || dot == 0 || dot + 1 == equals)
            return "\"" + text + "\" is not of the form NODE.INPUT=VALUE, for example 3.seed=42";
          return std::string();
        });
    app->add_option("--replicas", line_.replicas, "runs of the replicated part (default: the enabled workers)")
        ->type_name("N")
        ->check(CLI::Range(1, 1024));
    app->add_option("--tiles", line_.tiles,
                    "order of tiled upscales: exact (as one GPU would), independent, or "
                    "by-image (each picture of a batch or video by itself)")
        ->type_name("exact|independent|by-image")
        ->check(CLI::IsMember({"exact", "independent", "by-image"}));
  }

  void TagsOption(CLI::App* app) {
    app->add_option("--tags", line_.tags, "only workers that have all of these get work of it; with commas")
        ->type_name("TAG,...")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check([](const std::string& text) {
          return IsTag(text) ? std::string() : "\"" + text + "\" is no tag, expected letters, digits, '.', '_' or '-'";
        });
  }

  void DeclareRun() {
    CLI::App* app = Add(Command::kRun, app_, "run", "runs workflows on a private master and local workers, then ends");
    app->add_option("WORKFLOW", line_.workflows,
                    "workflow files (JSON, or a picture that carries one), one after the other")
        ->required();
    app->add_option("--workers", line_.workers, "local workers (default 1)")->type_name("N")->check(CLI::Range(1, 256));
    app->add_option("--models", line_.models, "models folder in ComfyUI's layout (default ./models); may be repeated")
        ->type_name("DIR")
        ->allow_extra_args(false);
    app->add_option("--input", line_.input, "folder that LoadImage reads (default ./input)")->type_name("DIR");
    app->add_option("--output", line_.output, "folder that pictures are written to (default ./output)")
        ->type_name("DIR");
    app->add_option("--device", line_.device, "device of the workers (default auto)")
        ->type_name("auto|cpu|cuda:N")
        ->check([](const std::string& text) {
          if (text == "auto" || text == "cpu" || text == "cuda") return std::string();
          if (text.rfind("cuda:", 0) == 0 && text.size() > 5 &&
              text.find_first_not_of("0123456789", 5) == std::string::npos)
            return std::string();
          return "\"" + text + "\" is not a device; expected auto, cpu or cuda:N";
        });
    app->add_option("--state", line_.state, "keeps database, blobs and logs there (default: a temporary folder)")
        ->type_name("DIR");
    app->add_flag("--verbose", line_.verbose, "shows the log of master and workers on stderr");
    JobSettings(app);
    JsonFlag(app, "one JSON object a workflow on stdout, in the order given");
  }

  void DeclareSubmit() {
    CLI::App* app = Add(Command::kSubmit, app_, "submit", "gives a workflow to the master as a job");
    app->add_option("WORKFLOW", line_.workflows, "workflow file (JSON, or a picture that carries one)")
        ->required()
        ->expected(1);
    app->add_flag("--wait", line_.wait, "shows the progress and ends when the job ends");
    app->add_option("--input", line_.input, "uploads those files of this folder that the workflow names")
        ->type_name("DIR");
    app->add_option("--output", line_.output, "copies the outputs there when the job is done (waits for it)")
        ->type_name("DIR");
    app->add_option("--priority", line_.priority, "higher goes first (default 0)")
        ->type_name("N")
        ->check(CLI::Range(-1000, 1000));
    Master(app);
    JobSettings(app);
    TagsOption(app);
    JsonFlag(app, "one JSON object on stdout");
  }

  void DeclareJobs() {
    CLI::App* jobs = Add(Command::kJobs, app_, "jobs", "lists the jobs, newest first");
    jobs->add_option("-n,--limit", line_.limit, "how many (default 50)")->type_name("N")->check(CLI::Range(1, 1000));
    Master(jobs);
    JsonFlag(jobs, "one JSON object a job");
    const auto with_job = [this](Command command, const char* name, const char* help) {
      CLI::App* app = Add(command, app_, name, help);
      app->add_option("ID", line_.id, "the job's id, or the first letters of it")->required();
      Master(app);
      JsonFlag(app, "one JSON object on stdout");
    };
    with_job(Command::kJob, "job", "shows one job with its tasks and outputs");
    with_job(Command::kCancel, "cancel", "cancels a job");
    with_job(Command::kWhy, "why", "tells what a job waits for, per worker");
    CLI::App* logs = Add(Command::kLogs, app_, "logs", "shows the log of the master, a job or a worker");
    logs->add_option("SUBJECT", line_.id, "a job's id or a worker's name (default: the master)")
        ->type_name("ID|WORKER");
    logs->add_option("-n,--lines", line_.lines, "how many of the last lines (default 100)")
        ->type_name("N")
        ->check(CLI::Range(1, 10000));
    Master(logs);
    JsonFlag(logs, "one JSON object on stdout");
    CLI::App* explain = Add(Command::kExplain, app_, "explain",
                            "tells how a workflow would be spread over the workers, without running it");
    explain->add_option("WORKFLOW", line_.workflows, "workflow file")->required()->expected(1);
    Master(explain);
    JobSettings(explain);
    TagsOption(explain);
    explain->add_option("--canvas", line_.canvas, "size of tiled stages' canvas, where the workflow does not tell it")
        ->type_name("WxH");
    JsonFlag(explain, "one JSON object on stdout");
  }

  void DeclareCluster() {
    CLI::App* workers = Add(Command::kWorkers, app_, "workers", "lists the workers, or changes one");
    CLI::Option* action =
        workers->add_option("ACTION", line_.action, "enable, disable, drain, or forget: revoke its certificate")
            ->type_name("enable|disable|drain|forget")
            ->check(CLI::IsMember({"enable", "disable", "drain", "forget"}));
    CLI::Option* name = workers->add_option("NAME", line_.id, "the worker's name");
    action->needs(name);
    workers->add_flag("--discover", line_.discover, "lists the masters that offer themselves in the local network")
        ->excludes(action);
    Master(workers);
    JsonFlag(workers, "one JSON object a worker");
    CLI::App* join = Add(Command::kJoin, app_, "join", "exchanges a token of `atelier-master token` for a certificate");
    join->add_option("--token-file", line_.token_file,
                     "file whose first line is the token, - for stdin (default: $ATELIER_JOIN_TOKEN)")
        ->type_name("FILE");
    join->add_option("--name", line_.name, "who you are there (default: user and machine)");
    Master(join);
    CLI::App* nodes = Add(Command::kNodes, app_, "nodes", "lists the node types, or shows the inputs of one");
    nodes->add_option("TYPE", line_.id, "a node type, for example KSampler");
    Master(nodes);
    JsonFlag(nodes, "one JSON object a node type");
    CLI::App* models = Add(Command::kModels, app_, "models", "lists the model files that the cluster has");
    models->add_option("FOLDER", line_.id, "only this folder, for example checkpoints");
    Master(models);
    JsonFlag(models, "one JSON object on stdout");
    const auto part = [&](Command command, const char* verb, const char* help) {
      CLI::App* app = Add(command, *models, verb, help);
      Master(app);
      JsonFlag(app, "one JSON object on stdout");
      return app;
    };
    const auto named = [&](CLI::App* app) {
      app->add_option("NAME", line_.id, "the file, with its folder where two have it: checkpoints/a.safetensors")
          ->required();
    };
    CLI::App* push = part(Command::kModelsPush, "push", "brings a file to the master's models folder, and to a worker");
    push->add_option("FILE", line_.id, "a model file of this machine")->required();
    push->add_option("--folder", line_.folder,
                     "models folder; default: that of the file, as in .../loras/a.safetensors");
    push->add_option("--as", line_.as, "its name there; default: the file's");
    push->add_option("--to", line_.to, "also to this worker, and wait for it")->type_name("WORKER");
    for (const auto& [command, verb, help] :
         {std::tuple(Command::kModelsPull, "pull", "brings a file that the cluster has to a worker, and waits for it"),
          std::tuple(Command::kModelsCancel, "cancel", "stops bringing a file to a worker")}) {
      CLI::App* app = part(command, verb, help);
      named(app);
      app->add_option("--to", line_.to, "the worker")->type_name("WORKER")->required();
    }
    for (const auto& [command, verb, help] :
         {std::tuple(Command::kModelsPin, "pin", "a file that was brought is not removed to make room"),
          std::tuple(Command::kModelsUnpin, "unpin", "it may be removed again")}) {
      CLI::App* app = part(command, verb, help);
      named(app);
      app->add_option("--on", line_.to, "only on this worker")->type_name("WORKER");
    }
  }

  void DeclareLocal() {
    CLI::App* convert = Add(Command::kConvert, app_, "convert", "prints the API format of an editor's workflow");
    convert->add_option("WORKFLOW", line_.workflows, "workflow file (JSON, or a picture that carries one)")
        ->required()
        ->expected(1);
    CLI::App* config = app_.add_subcommand("config", "checks, shows and edits the cluster's settings");
    config->require_subcommand(1);
    const auto with_file = [&](Command command, const char* name, const char* help) {
      CLI::App* app = Add(command, *config, name, help);
      app->add_option("--config", line_.config_file,
                      "the YAML file (default ./cluster.yaml, else ~/.config/atelier/cluster.yaml, else "
                      "/etc/atelier/cluster.yaml)")
          ->type_name("FILE");
      return app;
    };
    with_file(Command::kConfigCheck, "check", "checks the file and names each fault with its line");
    with_file(Command::kConfigShow, "show", "prints every setting with its value");
    CLI::App* get = with_file(Command::kConfigGet, "get", "prints one setting");
    get->add_option("KEY", line_.key, "for example master.listen")->required();
    CLI::App* set = with_file(Command::kConfigSet, "set", "changes one setting in place; comments stay");
    set->add_option("KEY", line_.key, "for example master.listen")->required();
    set->add_option("VALUE", line_.value, "its new value, as YAML")->required();
    CLI::App* add = with_file(Command::kConfigAddWorker, "add-worker", "adds a worker in place; comments stay");
    add->add_option("NAME", line_.id, "the worker's name")->required();
    add->add_option("KEY=VALUE", line_.pairs, "its settings, for example device=cuda:1 start=no");
    for (const auto& [command, name, help] :
         {std::tuple(Command::kConfigEnable, "enable", "lets a worker of the file work"),
          std::tuple(Command::kConfigDisable, "disable", "a worker of the file gets no work and counts as no replica")})
      with_file(command, name, help)->add_option("NAME", line_.id, "the worker's name")->required();
  }

  CLI::App app_;
  CommandLine line_;
  std::vector<std::pair<Command, CLI::App*>> commands_;
};

}  // namespace

ParseOutcome ParseCommandLine(const std::vector<std::string>& arguments) { return Grammar().Parse(arguments); }

std::vector<std::string> CommandNames() { return Grammar().Names(); }

}  // namespace atelier::cli
