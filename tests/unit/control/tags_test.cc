// Tags: a job's tasks go to workers alone that have all that it asks for.
#include <catch2/catch.hpp>

#include "master/control/control.h"
#include "master/planner/planner.h"
#include "tests/unit/control/test_worker.h"
#include "tests/unit/planner/catalog_for_tests.h"

namespace atelier {
namespace {

struct TaggedFleet {
  void AddJob(const std::string& id, Tags tags, int replicas = 1) {
    Json prompt = ReplicaPrompt();
    prompt["8"]["inputs"]["images"] = Link("6");
    auto plan = MakePlan(prompt, {"8"}, TestCatalog(), {replicas, "exact"});
    REQUIRE(plan.ok());
    Control::NewJob job{id, "", 0, std::move(*plan), {"8"}, {}, {}};
    job.tags = std::move(tags);
    Note(control.AddJob(std::move(job), now));
  }
  void Attach(const std::string& name, Tags tags, const std::string& model = "m.safetensors") {
    Note(control.SetWorkerTags(name, std::move(tags), now));
    Note(control.WorkerAttached(TestWorker(name, model), {}, now));
    Note(control.WorkerPulls(name, 2, now));
  }
  void Note(Effects effects) {
    for (const Effect& any : effects)
      if (auto* lease = std::get_if<effect::SendLease>(&any)) leased.emplace_back(lease->worker, lease->job);
  }
  Control control{ControlOptions{}};
  std::vector<std::pair<std::string, std::string>> leased;
  int64_t now = 0;
};

TEST_CASE("tags: a task waits for a worker with all of them, and says so") {
  TaggedFleet fleet;
  fleet.AddJob("j", {"attic", "fast"});
  CHECK(fleet.control.WhyWaiting("j") ==
        "no worker has ever attached: start one with `atelier-worker --master HOST:PORT`");
  fleet.Attach("slow", {});
  fleet.Attach("half", {"fast"});
  CHECK(fleet.leased.empty());
  CHECK(fleet.control.WhyWaiting("j") == "no attached worker has the tags attic, fast; workers with it: none");
  CHECK(fleet.control.MissingModels("j").empty());
  fleet.Note(fleet.control.SetWorkerTags("away", {"attic", "fast"}, fleet.now));
  CHECK(fleet.control.WhyWaiting("j") == "no attached worker has the tags attic, fast; workers with it: away");
  SECTION("one with more attaches") {
    fleet.Attach("both", {"attic", "fast", "new"});
    REQUIRE(fleet.leased.size() == 1);
    CHECK(fleet.leased[0].first == "both");
  }
  SECTION("one gets them while it runs") {
    fleet.Note(fleet.control.SetWorkerTags("half", {"attic", "fast"}, fleet.now));
    REQUIRE(fleet.leased.size() == 1);
    CHECK(fleet.leased[0].first == "half");
  }
  SECTION("one has them and lacks the model: others are told as not tagged") {
    fleet.Attach("both", {"attic", "fast"}, "other.safetensors");
    CHECK(fleet.leased.empty());
    const std::string why = fleet.control.WhyWaiting("j");
    CHECK(why.find("worker \"both\" has no file \"m.safetensors\"") != std::string::npos);
    CHECK(why.find("worker \"half\" does not have the tags attic, fast") != std::string::npos);
    REQUIRE(fleet.control.MissingModels("j").size() == 1);
    CHECK(fleet.control.MissingModels("j")[0].worker == "both");
    const auto bring = fleet.control.ModelsToBring([](const auto&, const auto&) { return true; });
    REQUIRE(bring.size() == 1);
    CHECK(bring[0].worker == "both");
  }
}

TEST_CASE("tags: tasks alike but for tags do not count on each other's workers") {
  TaggedFleet fleet;
  fleet.Attach("fast", {"fast"});
  fleet.Attach("slow", {});
  fleet.AddJob("any", {}, 4);
  fleet.AddJob("tagged", {"fast"}, 4);
  // What "slow" learns of the kind says nothing about where the tagged job may go.
  for (int round = 0; round < 40; ++round) {
    fleet.now += 1000;
    std::vector<std::tuple<std::string, std::string, uint64_t>> held;
    for (const auto& [id, job] : fleet.control.jobs())
      for (const auto& [task, one] : job.tasks)
        for (const Attempt& attempt : one.attempts)
          held.emplace_back(attempt.worker, Control::WireId(id, task), attempt.number);
    for (const auto& [worker, task, attempt] : held) {
      const auto& job = fleet.control.jobs().at(task.substr(0, task.find('/')));
      std::vector<Blob> results(job.tasks.at(task.substr(task.find('/') + 1)).spec.wanted.size(),
                                Blob{std::string(64, 'a'), 1});
      fleet.Note(fleet.control.TaskDone(worker, task, attempt, results, {}, worker == "fast" ? 1 : 0.1, fleet.now));
      fleet.Note(fleet.control.WorkerPulls(worker, 1, fleet.now));
    }
  }
  for (const auto& [worker, job] : fleet.leased) CHECK((job == "any" || worker == "fast"));
  for (const char* id : {"any", "tagged"}) CHECK(fleet.control.jobs().at(id).state == JobState::kSaving);
}

}  // namespace
}  // namespace atelier
