#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "common/graph/load_workflow.h"
#include "common/graph/validate.h"
#include "tests/golden/workflows/workflow_data.h"
#include "tests/harness/cpu_seconds.h"

namespace atelier {
namespace {

// The archive's folder, unpacked for this process.
class Unpacked {
 public:
  Unpacked() {
    const std::filesystem::path archive = GoldenWorkflows() / "hostile.tar.xz";
    folder_ = std::filesystem::temp_directory_path() / Cat("atelier_hostile_", getpid());
    std::filesystem::create_directories(folder_);
    REQUIRE(std::system(Cat("tar -xf '", archive.string(), "' -C '", folder_.string(), "'").c_str()) == 0);
  }
  ~Unpacked() { std::filesystem::remove_all(folder_); }
  std::vector<std::filesystem::path> Files(const std::string& name) const {
    std::vector<std::filesystem::path> files;
    for (const auto& file : std::filesystem::directory_iterator(folder_ / name)) {
      const std::string stem = file.path().stem().string();
      if (file.path().extension() == ".json" && !stem.ends_with(".expected") && !stem.ends_with(".api"))
        files.push_back(file.path());
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

int64_t PeakMiB() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

// Passes checking and is refused or bounded while it runs: sizes that only multiply there, text that grows, regular
// expressions.
const std::set<std::string> kRunTime = {"batch_4096_512",           "max_size_one",          "regex_redos",
                                        "repeat_batch_bomb",        "scaleby_bomb",          "slow_encode_16384_png",
                                        "string_doubling_bomb",     "saveimage_long_dirs",   "extra_pnginfo_bad_key",
                                        "extra_pnginfo_wrong_type", "wrong_types_everywhere"};

// The editor fails at these by limits that are its own, not the file's: a byte order mark, the recursion of its walk,
// names that JavaScript objects inherit, ids that are odd but unique.
const std::set<std::string> kHarmless = {"bom", "id_proto", "reroute_chain_3000"};

TEST_CASE("hostile requests are refused quickly and cheaply") {
  const Unpacked data;
  StatusOr<Catalog> catalog = CatalogFromObjectInfo(*ParseJson(ReadFile(GoldenWorkflows() / "object_info.json")));
  REQUIRE(catalog.ok());
  Inventory inventory;
  inventory.files["input"] = {"example.png"};
  int refused = 0, accepted = 0;
  const int64_t before = PeakMiB();
  for (const std::filesystem::path& file : data.Files("hostile")) {
    const std::string name = file.stem();
    INFO(name);
    const std::string text = ReadFile(file);
    const Json expected = ParseJson(ReadFile(file.parent_path() / (name + ".expected.json"))).value_or(Json::object());
    const double start = CpuSeconds();
    StatusOr<Json> body = ParseJson(text);
    const ValidationReport report = body.ok() ? ValidateRequest(*body, *catalog, inventory) : ValidationReport();
    const double seconds = CpuSeconds() - start;
    CHECK(seconds < 0.7 * kSlower);
    const bool refuses = !body.ok() || !report.ok();
    (refuses ? refused : accepted) += 1;
    if (!body.ok()) CHECK_FALSE(Message(body.status()).empty());
    if (body.ok() && !report.ok()) {
      CHECK_FALSE(report.Sentences().empty());
      for (const std::string& line : report.Sentences()) CHECK(line.size() < 10'000);
    }
    const std::string verdict =
        expected.contains("verdict") && expected["verdict"].is_string() ? expected["verdict"].get<std::string>() : "";
    if (verdict == "rejected" || verdict == "internal_server_error") {
      // Bodies that the reference refuses for their transfer coding have no meaning here.
      CHECK((refuses || name == "gzip_bomb_150mb" || name == "body_101mb"));
    } else if (verdict != "accepted_success") {
      CHECK((refuses || kRunTime.count(name) > 0));
    }
  }
  const int64_t grown = PeakMiB() - before;
  WARN(refused << " refused, " << accepted << " accepted; " << grown << " MiB at the peak");
  CHECK(grown < 300);
}

TEST_CASE("hostile editor files are refused quickly and cheaply") {
  const Unpacked data;
  StatusOr<WidgetTable> widgets = WidgetTable::Load(std::string(ATELIER_SOURCE_DIR) + "/config/widgets.json");
  REQUIRE(widgets.ok());
  int equal = 0, other = 0, refused = 0;
  const int64_t before = PeakMiB();
  for (const std::filesystem::path& file : data.Files("hostile_ui")) {
    const std::string name = file.stem();
    INFO(name);
    const std::string text = ReadFile(file);
    const double start = CpuSeconds();
    ConvertOptions options;
    options.now = {2025, 11, 5, 13, 7, 9};
    StatusOr<LoadedWorkflow> loaded = LoadWorkflow(text, *widgets, options);
    const double seconds = CpuSeconds() - start;
    CHECK(seconds < 0.7 * kSlower);
    const std::filesystem::path api = file.parent_path() / (name + ".api.json");
    if (!loaded.ok()) {
      ++refused;
      CHECK_FALSE(Message(loaded.status()).empty());
      CHECK(Message(loaded.status()).size() < 1000);
      continue;
    }
    if (!std::filesystem::exists(api)) {  // the editor fails here: only its own limits may be the cause
      ++other;
      CHECK(kHarmless.count(name) == 1);
      continue;
    }
    const bool same = SameJson(loaded->prompt, *ParseJson(ReadFile(api)));
    (same ? equal : other) += 1;
    if (!same) WARN(name << ": another prompt than the editor's");
  }
  const int64_t grown = PeakMiB() - before;
  WARN(refused << " refused, " << equal << " converted as the editor does, " << other << " otherwise; " << grown
               << " MiB at the peak");
  CHECK(grown < 300);
}

}  // namespace
}  // namespace atelier
