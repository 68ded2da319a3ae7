#include "master/cli/command_line.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

namespace atelier::cli {
namespace {

CommandLine Good(const std::vector<std::string>& arguments) {
  const ParseOutcome outcome = ParseCommandLine(arguments);
  INFO(outcome.err);
  REQUIRE(outcome.command);
  return *outcome.command;
}

TEST_CASE("run takes workflows and repeated options in any order") {
  const CommandLine line =
      Good({"run", "a.json", "b.png", "--models", "/m1", "--models", "/m2", "--workers", "3", "--set", "3.seed=5",
            "c.json", "--set", "4.text=a=b.c", "--tiles", "independent", "--json"});
  CHECK(line.command == Command::kRun);
  CHECK(line.workflows == std::vector<std::string>{"a.json", "b.png", "c.json"});
  CHECK(line.models == std::vector<std::string>{"/m1", "/m2"});
  CHECK(line.workers == 3);
  CHECK(line.sets == std::vector<std::string>{"3.seed=5", "4.text=a=b.c"});
  CHECK(line.tiles == "independent");
  CHECK(line.json);
  CHECK(line.device == "auto");
}

TEST_CASE("the other commands") {
  CHECK(Good({"submit", "w.json", "--master", "h:1", "--wait"}).master == "h:1");
  CHECK(Good({"submit", "w.json", "--tags", "fast,attic", "--tags", "new"}).tags ==
        std::vector<std::string>{"fast", "attic", "new"});
  CHECK(Good({"explain", "w.json", "--tags", "fast"}).tags == std::vector<std::string>{"fast"});
  CHECK(ParseCommandLine({"submit", "w.json", "--tags", "not so"}).exit_code == kExitInvalid);
  CHECK(Good({"jobs", "-n", "3"}).limit == 3);
  CHECK(Good({"job", "j1"}).id == "j1");
  CHECK(Good({"cancel", "j1"}).command == Command::kCancel);
  CHECK(Good({"logs"}).id.empty());
  CHECK(Good({"logs", "w", "-n", "7"}).lines == 7);
  CHECK(Good({"why", "j"}).command == Command::kWhy);
  CHECK(Good({"explain", "w.json"}).command == Command::kExplain);
  CHECK(Good({"workers"}).action.empty());
  const CommandLine drain = Good({"workers", "drain", "gpu-1"});
  CHECK(drain.action == "drain");
  CHECK(drain.id == "gpu-1");
  CHECK(Good({"workers", "forget", "gpu-1"}).action == "forget");
  const CommandLine join = Good({"join", "--master", "h:1", "--token-file", "-", "--name", "me"});
  CHECK(join.command == Command::kJoin);
  CHECK(join.token_file == "-");
  CHECK(join.name == "me");
  CHECK(Good({"nodes", "KSampler"}).id == "KSampler");
  CHECK(Good({"models"}).command == Command::kModels);
  CHECK(Good({"models", "loras"}).id == "loras");
  CHECK(Good({"models", "push", "a.safetensors", "--to", "w"}).command == Command::kModelsPush);
  CHECK(Good({"models", "pull", "a.safetensors", "--to", "w"}).to == "w");
  CHECK(Good({"models", "unpin", "a.safetensors"}).command == Command::kModelsUnpin);
  CHECK(Good({"convert", "w.json"}).command == Command::kConvert);
  CHECK(Good({"config", "check"}).command == Command::kConfigCheck);
  const CommandLine set = Good({"config", "set", "scheduling.tiles", "independent", "--config", "c.yaml"});
  CHECK(set.command == Command::kConfigSet);
  CHECK(set.key == "scheduling.tiles");
  CHECK(set.value == "independent");
  CHECK(set.config_file == "c.yaml");
  const CommandLine add = Good({"config", "add-worker", "gpu1", "device=cuda:1", "start=no"});
  CHECK(add.command == Command::kConfigAddWorker);
  CHECK(add.id == "gpu1");
  CHECK(add.pairs == std::vector<std::string>{"device=cuda:1", "start=no"});
  CHECK(Good({"config", "enable", "gpu1"}).command == Command::kConfigEnable);
  CHECK(Good({"config", "disable", "gpu1"}).id == "gpu1");
}

TEST_CASE("bad usage is one sentence with a hint and exit code 2") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {std::vector<std::string>{}, "subcommand is required"},
      {{"frobnicate"}, "there is no command \"frobnicate\""},
      {{"run"}, "WORKFLOW"},
      {{"run", "a.json", "--workers", "0"}, "--workers"},
      {{"run", "a.json", "--workers", "many"}, "many"},
      {{"run", "a.json", "--set", "seed"}, "NODE.INPUT=VALUE"},
      {{"run", "a.json", "--set", ".seed=3"}, "NODE.INPUT=VALUE"},
      {{"run", "a.json", "--tiles", "fast"}, "--tiles"},
      {{"run", "a.json", "--device", "tpu"}, "expected auto, cpu or cuda:N"},
      {{"submit", "a.json", "b.json"}, "WORKFLOW: At Most 1"},
      {{"workers", "drain"}, "NAME"},
      {{"workers", "fire", "w"}, "fire"},
      {{"config"}, "subcommand is required"},
      {{"config", "set", "key"}, "VALUE"},
      {{"jobs", "--nonsense"}, "--nonsense"},
  };
  for (const auto& [arguments, part] : cases) {
    const ParseOutcome outcome = ParseCommandLine(arguments);
    INFO(outcome.err);
    CHECK_FALSE(outcome.command);
    CHECK(outcome.exit_code == kExitInvalid);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.find(part) != std::string::npos);
    CHECK(outcome.err.find("--help`") != std::string::npos);
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  }
}

TEST_CASE("help goes to stdout with exit code 0") {
  const ParseOutcome outcome = ParseCommandLine({"--help"});
  CHECK_FALSE(outcome.command);
  CHECK(outcome.exit_code == 0);
  for (const char* name : {"run", "submit", "jobs", "job", "cancel", "logs", "why", "explain", "workers", "nodes",
                           "models", "convert", "config"})
    CHECK(outcome.out.find(std::string("\n  ") + name + " ") != std::string::npos);
}

TEST_CASE("docs/cli.md has every command and every option") {
  std::ifstream in(ATELIER_SOURCE_DIR "/docs/cli.md");
  REQUIRE(in);
  std::stringstream text;
  text << in.rdbuf();
  const std::string page = text.str();
  for (const std::string& name : CommandNames()) {
    INFO(name);
    CHECK(page.find("## atelier " + name) != std::string::npos);
    CHECK(page.find("$ atelier " + name) != std::string::npos);
    std::vector<std::string> arguments;
    std::stringstream words(name);
    for (std::string word; words >> word;) arguments.push_back(word);
    arguments.push_back("--help");
    std::stringstream help(ParseCommandLine(arguments).out);
    for (std::string word; help >> word;) {
      if (word.rfind("--", 0) != 0 || word.size() < 4) continue;
      const std::string option = word.substr(0, word.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"));
      if (option == "--help") continue;
      INFO(option);
      CHECK(page.find(option) != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace atelier::cli
