// Which models are missing where, and which of them are worth bringing.
#include <catch2/catch.hpp>

#include "master/control/control.h"
#include "tests/unit/planner/catalog_for_tests.h"

namespace atelier {
namespace {

using Brought = std::vector<std::pair<std::string, std::string>>;  // worker, name

struct Fleet {
  Fleet() : control(ControlOptions{}) {}
  void Attach(const std::string& name, const std::vector<std::string>& checkpoints, uint64_t memory_bytes = 0) {
    WorkerInfo info;
    info.memory_bytes = memory_bytes;
    info.name = info.instance = name;
    info.catalog = std::make_shared<const Catalog>(TestCatalog());
    auto inventory = std::make_shared<Inventory>();
    if (!checkpoints.empty()) inventory->files["checkpoints"] = checkpoints;
    info.inventory = inventory;
    control.WorkerAttached(info, {}, 0);
    control.WorkerPulls(name, 1, 0);
  }
  void Submit(const std::string& id, int tasks) {
    Plan plan;
    for (int i = 0; i < tasks; ++i) {
      TaskSpec spec;
      spec.id = "t" + std::to_string(i);
      spec.needs.models = {{"checkpoints", "m.safetensors"}};
      plan.tasks.push_back(spec);
    }
    control.AddJob({id, "", 0, plan, {}, {}, {}}, 0);
  }
  // `never`: a worker to which nothing can be brought.
  Brought ToBring(const std::string& never = "") {
    Brought list;
    const auto can = [&](const std::string& worker, const auto&) { return worker != never; };
    for (const Control::MissingModel& model : control.ModelsToBring(can)) list.emplace_back(model.worker, model.name);
    return list;
  }
  Control control;
};

TEST_CASE("a model is brought to one idle worker for each task that nobody else can take") {
  Fleet fleet;
  fleet.Attach("a", {"m.safetensors"});
  fleet.Attach("b", {});
  fleet.Attach("c", {"other.safetensors"});
  fleet.Submit("j", 1);
  CHECK(fleet.ToBring().empty());  // a has it and runs it
  CHECK(fleet.control.MissingModels("j").size() == 2);
  fleet.Submit("k", 1);
  CHECK(fleet.ToBring() == Brought{{"b", "m.safetensors"}});
  fleet.Submit("l", 5);
  CHECK(fleet.ToBring() == Brought{{"b", "m.safetensors"}, {"c", "m.safetensors"}});
}

TEST_CASE("a model is brought to the worker with the most room for it, where it can be brought") {
  Fleet fleet;
  fleet.Attach("a", {}, 8);
  fleet.Attach("b", {}, 24);
  fleet.Attach("c", {}, 12);
  fleet.Submit("j", 1);
  CHECK(fleet.ToBring() == Brought{{"b", "m.safetensors"}});
  CHECK(fleet.ToBring("b") == Brought{{"c", "m.safetensors"}});
}

TEST_CASE("nothing is brought to workers that could not take the task then") {
  Fleet fleet;
  fleet.Attach("off", {});
  fleet.Attach("gone", {});
  fleet.Attach("full", {"m.safetensors"});
  fleet.Submit("j", 3);
  fleet.control.SetWorkerEnabled("off", false, 0);
  fleet.control.WorkerLost("gone", "gone", 0, true);
  CHECK(fleet.ToBring().empty());
  CHECK(fleet.control.MissingModels("j").empty());
  CHECK(fleet.control.MissingModels("unknown").empty());
  fleet.control.SetWorkerEnabled("off", true, 0);
  CHECK(fleet.ToBring() == Brought{{"off", "m.safetensors"}});
  fleet.control.DrainWorker("off", "test", 0);
  CHECK(fleet.ToBring().empty());
  fleet.control.CancelJob("j", 0);
  CHECK(fleet.control.MissingModels("j").empty());
}

}  // namespace
}  // namespace atelier
