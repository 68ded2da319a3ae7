#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "common/config/cluster_config.h"

namespace atelier {
namespace {

std::string Fault(const std::string& text) {
  auto config = ParseClusterConfig(text, "cluster.yaml");
  return config.ok() ? "none" : Message(config.status());
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string Set(const std::string& text, const std::string& key, const std::string& value) {
  auto out = SetSettingInText(text, key, value, "cluster.yaml");
  return out.ok() ? *out : "error: " + Message(out.status());
}

TEST_CASE("config/cluster.yaml documents every key with its default") {
  const std::string path = ATELIER_SOURCE_DIR "/config/cluster.yaml";
  const std::string made = DocumentedClusterConfig(DefaultClusterConfig());
  if (ReadFile(path) != made) {
    std::ofstream(std::string(ATELIER_BINARY_DIR) + "/cluster.yaml") << made;
    FAIL("config/cluster.yaml is stale; the new one is cluster.yaml in the build folder");
  }
  auto config = LoadClusterConfig(path);
  REQUIRE(config.ok());
  CHECK(*config == DefaultClusterConfig());
  for (const SettingInfo& info : ClusterSettings()) {
    INFO(info.key);
    CHECK(info.help.size() > 10);
    if (info.key.find("NAME") == std::string::npos)
      CHECK(made.find(info.key.substr(info.key.rfind('.') + 1) + ":") != std::string::npos);
  }
}

TEST_CASE("what is shown reads back as the same values") {
  auto config = ParseClusterConfig(
      "master: {listen: '0.0.0.0:0', output_dir: \"a b: #c\"}\nmodels: {roots: [m, \"x, y\"]}\nworkers:\n  local: 3\n  "
      "list:\n"
      "    - {name: gpu0, device: cuda:0, threads: 2, models_bytes_max: 12GiB}\n    - name: attic\n      start: no\n"
      "limits: {blob_bytes_max: 3 MiB}\nscheduling: {hung_factor: 2.5, tiles: independent}\n",
      "cluster.yaml");
  REQUIRE(config.ok());
  CHECK(config->master.output_dir == "a b: #c");
  CHECK(config->models.roots == std::vector<std::string>{"m", "x, y"});
  REQUIRE(config->workers.list.size() == 2);
  CHECK(config->workers.list[0].models_bytes_max == 12LL << 30);
  CHECK(config->workers.list[0].device == "cuda:0");
  CHECK(config->workers.list[1].start == false);
  CHECK(config->limits.blob_bytes_max == 3 << 20);
  CHECK(config->scheduling.tiles == "independent");
  CHECK(config->scheduling.hung_factor == 2.5);
  for (const std::string& text : {ShowClusterConfig(*config), DocumentedClusterConfig(*config)}) {
    auto again = ParseClusterConfig(text, "shown");
    REQUIRE(again.ok());
    CHECK(*again == *config);
  }
}

TEST_CASE("faults name file, line, key and what was expected") {
  CHECK(Fault("# c\n\nwrokers:\n  local: 2\n") == "cluster.yaml:3: unknown key \"wrokers\", did you mean \"workers\"?");
  CHECK(Fault("workers:\n  lcoal: 2\n") == "cluster.yaml:2: unknown key \"lcoal\", did you mean \"local\"?");
  CHECK(Fault("workers:\n  local: many\n") ==
        "cluster.yaml:2: \"workers.local\" is \"many\", expected auto or 0 to 256");
  CHECK(Fault("scheduling:\n  attempts_max: 0\n") ==
        "cluster.yaml:2: \"scheduling.attempts_max\" is \"0\", expected a whole number from 1 to 100");
  CHECK(Fault("workers:\n  list: [{name: a, enabled: 7}]\n") ==
        "cluster.yaml:2: \"enabled\" is \"7\", expected yes or no");
  CHECK(Fault("scheduling:\n  hung_factor: .nan\n") ==
        "cluster.yaml:2: \"scheduling.hung_factor\" is \".nan\", expected a number from 2 to 1000");
  CHECK(Fault("limits:\n  blob_bytes_max: 99999999999TiB\n") ==
        "cluster.yaml:2: \"limits.blob_bytes_max\" is \"99999999999TiB\", expected a size from 1MiB to 4TiB, like "
        "512MiB");
  CHECK(Fault("log:\n  level: loud\n") ==
        "cluster.yaml:2: \"log.level\" is \"loud\", expected debug | info | warning | error");
  CHECK(Fault("log:\n  level: [info]\n") == "cluster.yaml:2: \"log.level\" is a list, expected text");
  CHECK(Fault("log:\n  level: info\n  level: debug\n") == "cluster.yaml:3: key \"log.level\" stands twice; keep one");
  CHECK(Fault("log: {}\nlog: {}\n") == "cluster.yaml:2: key \"log\" stands twice; keep one");
  CHECK(Fault("master:\n  listen: 50188\n") == "cluster.yaml:2: \"master.listen\" is \"50188\", expected HOST:PORT");
  CHECK(Fault("workers:\n  list:\n    - name: a\n    - name: a\n") ==
        "cluster.yaml:4: a second worker \"a\", names are unique");
  CHECK(Fault("workers:\n  list:\n    - device: cpu\n") ==
        "cluster.yaml:3: a worker without a name, add \"name: gpu0\"");
  CHECK(Fault("workers:\n  list:\n    - name: a\n      device: cuda\n") ==
        "cluster.yaml:4: \"device\" is \"cuda\", expected auto | cpu | cuda:N");
  CHECK(Fault("workers:\n  list:\n    - name: a\n      tags: [fast, 'not so']\n") ==
        "cluster.yaml:4: \"tags\": \"not so\" is no tag, expected 1 to 64 letters, digits, '.', '_' or '-', as in "
        "[fast, attic]");
  CHECK(Fault("workers:\n  list:\n    - {name: a, device: cpu, power_watts: 250}\n") ==
        "cluster.yaml:3: worker \"a\" has power_watts: 250 and device: cpu, but only a GPU has a power limit; take it "
        "out, or name the GPU as in cuda:0");
  // All at once, in the order of the file.
  CHECK(Fault("log:\n  level: loud\nwrokers: 1\n").find("\ncluster.yaml:3: unknown key") != std::string::npos);
}

TEST_CASE("what is no configuration is refused") {
  CHECK(Fault("") == "none");
  CHECK(Fault("# only a comment\n") == "none");
  CHECK(Fault("master:\n") == "none");
  CHECK(Fault("- a\n").find("cluster.yaml:1: not a configuration") == 0);
  CHECK(Fault("master: [\n").find("not YAML") != std::string::npos);
  CHECK(Fault("a: &x 1\nb: *x\n") == "cluster.yaml:1: anchors are not supported");
  CHECK(Fault("log:\n  level: !!int 1\n").find("cluster.yaml:2: the tag") == 0);
  CHECK(Fault("log: {level: info}\n---\nlog: {}\n") == "cluster.yaml:3: a second document; a configuration is one");
  CHECK(Fault(std::string(100'000, '[')).find("nested deeper") != std::string::npos);
  CHECK(Fault(std::string(2 << 20, 'a')).find("at most") != std::string::npos);
  CHECK(LoadClusterConfig("/nowhere/cluster.yaml").status().code() == StatusCode::kNotFound);
  CHECK_FALSE(LoadClusterConfig("/tmp").ok());
}

TEST_CASE("a key is set in place and everything else is kept") {
  const std::string text =
      "# mine\nmaster:\n  listen: 127.0.0.1:50188   # loopback only\n\n  output_dir: \"out # not a comment\" # "
      "pictures\n"
      "models:\n  roots:\n    - models\n    # the big disk\n    - /data/models\nworkers:\n  list:\n    - name: a.b  # "
      "first\n"
      "      device: cpu\n    - name: c\nlimits: {jobs_waiting_max: 10, replicas_max: 4}\n";
  SECTION("a value with a comment behind it") {
    CHECK(Set(text, "master.listen", "0.0.0.0:1").find("\n  listen: 0.0.0.0:1   # loopback only\n\n  output_dir:") !=
          std::string::npos);
    CHECK(Set(text, "master.output_dir", "/x").find("\n  output_dir: /x # pictures\n") != std::string::npos);
  }
  SECTION("in brackets") {
    CHECK(Set(text, "limits.jobs_waiting_max", "12").find("limits: {jobs_waiting_max: 12, replicas_max: 4}") !=
          std::string::npos);
  }
  SECTION("a block list becomes one line, its comments stay") {
    CHECK(Set(text, "models.roots", "[x, y z]").find("  roots: [x, \"y z\"]\n    # the big disk\nworkers:") !=
          std::string::npos);
  }
  SECTION("a worker's key, there or not") {
    CHECK(Set(text, "workers.list.a.b.device", "cuda:1").find("      device: cuda:1\n") != std::string::npos);
    CHECK(Set(text, "workers.list.c.enabled", "no").find("    - name: c\n      enabled: no\n") != std::string::npos);
  }
  SECTION("a key or a section that is not there yet") {
    CHECK(Set(text, "master.input_dir", "in").find("master:\n  input_dir: in\n  listen:") != std::string::npos);
    CHECK(Set(text, "log.level", "debug") == text + "\nlog:\n  level: debug\n");
    CHECK(Set("", "log.level", "debug") == "log:\n  level: debug\n");
    CHECK(Set("log:\nmodels:\n", "log.level", "debug") == "log:\n  level: debug\nmodels:\n");
    CHECK(Set("log:\n  level:   # later\n", "log.level", "debug") == "log:\n  level: debug   # later\n");
    CHECK(Set("log:\n  level: info", "log.level", "debug") == "log:\n  level: debug\n");
  }
  SECTION("every key of the documented file") {
    const std::string all = DocumentedClusterConfig(DefaultClusterConfig());
    for (const auto& [key, value] :
         std::vector<std::pair<std::string, std::string>>{{"master.state_dir", "/s"},
                                                          {"models.roots", "[a, b]"},
                                                          {"workers.local", "2"},
                                                          {"scheduling.tiles", "independent"},
                                                          {"limits.blob_bytes_max", "1GiB"},
                                                          {"scheduling.hung_factor", "3.5"}}) {
      const std::string out = Set(all, key, value);
      auto config = ParseClusterConfig(out, "out");
      REQUIRE(config.ok());
      CHECK(*GetSetting(*config, key) == value);
      CHECK(std::count(out.begin(), out.end(), '\n') == std::count(all.begin(), all.end(), '\n'));
    }
  }
  SECTION("refused") {
    CHECK(Set(text, "log.levle", "debug") == "error: unknown key \"log.levle\", did you mean \"log.level\"?");
    CHECK(Set(text, "limits.jobs_waiting_max", "0") ==
          "error: \"limits.jobs_waiting_max\" is \"0\", expected a whole number from 1 to 10000000");
    CHECK(Set(text, "workers.list.nobody.enabled", "no").find("error: unknown key") == 0);
    CHECK(Set("log:\n  level: >\n    info\n", "log.level", "debug").find("error: ") == 0);
    CHECK(Set("limits: {jobs_waiting_max: 10\n}\n", "limits.replicas_max", "4").find("error: cannot set") == 0);
    CHECK(Set("wrokers: 1\n", "log.level", "debug").find("error: cluster.yaml:1: unknown key") == 0);
  }
}

TEST_CASE("a file is replaced as a whole") {
  const std::string path = Cat(std::filesystem::temp_directory_path().string(), "/config_test.", getpid(), ".yaml");
  REQUIRE(SetSettingInFile(path, "log.level", "debug").ok());
  REQUIRE(SetSettingInFile(path, "workers.local", "4").ok());
  CHECK(ReadFile(path) == "log:\n  level: debug\n\nworkers:\n  local: 4\n");
  CHECK_FALSE(SetSettingInFile(path, "workers.local", "-1").ok());
  CHECK(ReadFile(path) == "log:\n  level: debug\n\nworkers:\n  local: 4\n");
  CHECK_FALSE(SetSettingInFile("/nowhere/x.yaml", "log.level", "debug").ok());
  std::filesystem::remove(path);
}

std::string Add(const std::string& text, const std::string& worker,
                const std::vector<std::pair<std::string, std::string>>& keys = {}) {
  auto out = AddWorkerToText(text, worker, keys, "cluster.yaml");
  return out.ok() ? *out : "error: " + Message(out.status());
}

TEST_CASE("a worker is added in place and everything else is kept") {
  SECTION("below the last one") {
    CHECK(
        Add("workers:\n  list:\n    # mine\n    - name: a\n      device: cpu  # slow\n  local: 0\n", "b",
            {{"device", "cuda:1"}, {"threads", "3"}}) ==
        "workers:\n  list:\n    # mine\n    - name: a\n      device: cpu  # slow\n    - name: b\n      device: cuda:1\n"
        "      threads: 3\n  local: 0\n");
    CHECK(Add("workers:\n  list:\n  - name: a\n", "b") == "workers:\n  list:\n  - name: a\n  - name: b\n");
  }
  SECTION("where there is no list yet") {
    CHECK(Add("", "b") == "workers:\n  list:\n    - name: b\n");
    CHECK(Add("log:\n  level: info\n", "b") == "log:\n  level: info\n\nworkers:\n  list:\n    - name: b\n");
    CHECK(Add("workers:\n  local: 2  # two\n", "b") == "workers:\n  list:\n    - name: b\n  local: 2  # two\n");
    CHECK(Add("workers:\n  list: []  # none\nlog: {}\n", "b") == "workers:\n  list:  # none\n    - name: b\nlog: {}\n");
    CHECK(Add("workers:\n  list:\n", "b") == "workers:\n  list:\n    - name: b\n");
  }
  SECTION("in brackets") {
    CHECK(Add("workers: {list: [{name: a}]}  # x\n", "b", {{"start", "no"}}) ==
          "workers: {list: [{name: a}, {name: b, start: no}]}  # x\n");
  }
  SECTION("into the documented file") {
    const std::string all = DocumentedClusterConfig(DefaultClusterConfig());
    const std::string out = Add(all, "gpu0", {{"device", "cuda:0"}});
    auto config = ParseClusterConfig(out, "out");
    REQUIRE(config.ok());
    REQUIRE(config->workers.list.size() == 1);
    CHECK(config->workers.list[0].device == "cuda:0");
    CHECK(Set(out, "workers.list.gpu0.enabled", "no")
              .find("    - name: gpu0\n      enabled: no\n      device: cuda:0\n") != std::string::npos);
  }
  SECTION("refused") {
    CHECK(Add("workers:\n  list:\n    - name: a\n", "a").find("error: there is a worker \"a\" already") == 0);
    CHECK(Add("", "b", {{"device", "cuda"}}) == "error: \"device\" is \"cuda\", expected auto | cpu | cuda:N");
    CHECK(Add("", "b", {{"colour", "red"}}).find("error: unknown key \"colour\"") == 0);
    CHECK(Add("", "no spaces").find("error: \"name\" is \"no spaces\"") == 0);
    CHECK(Add("workers: {local: 2}\n", "b").find("error: cannot add") == 0);
  }
}

TEST_CASE("two configurations are compared key by key, workers by name") {
  auto before = ParseClusterConfig(
      "master: {listen: '127.0.0.1:1'}\nlog: {level: info}\nworkers:\n  list:\n    - {name: a}\n    - {name: b}\n",
      "b");
  auto after = ParseClusterConfig(
      "master: {listen: '127.0.0.1:2'}\nlog: {level: debug}\nscheduling: {tiles: independent}\nworkers:\n  list:\n"
      "    - {name: b, enabled: no}\n    - {name: c, device: cpu}\n",
      "a");
  REQUIRE(before.ok());
  REQUIRE(after.ok());
  std::string told;
  for (const SettingChange& change : DiffClusterConfig(*before, *after))
    told +=
        Cat(change.key, change.live ? "+" : "-", change.before.substr(0, 12), ">", change.after.substr(0, 12), "\n");
  CHECK(told ==
        "master.listen-127.0.0.1:1>127.0.0.1:2\nworkers.list.a+{device: aut>\nworkers.list.b.enabled+yes>no\n"
        "workers.list.c+>{device: cpu\nscheduling.tiles+exact>independent\nlog.level+info>debug\n");
  CHECK(DiffClusterConfig(*after, *after).empty());

  const ClusterConfig merged = TakeLiveSettings(*before, *after);
  CHECK(merged.master.listen == "127.0.0.1:1");
  CHECK(merged.log.level == "debug");
  CHECK(merged.workers == after->workers);
  // What is left is exactly what needs a restart.
  for (const SettingChange& change : DiffClusterConfig(merged, *after)) CHECK_FALSE(change.live);
}

}  // namespace
}  // namespace atelier
