#include "master/planner/planner.h"

#include <catch2/catch.hpp>

#include "tests/unit/planner/catalog_for_tests.h"

namespace atelier {
namespace {

const TaskSpec* FindTask(const Plan& plan, const std::string& id) {
  for (const TaskSpec& task : plan.tasks)
    if (task.id == id) return &task;
  return nullptr;
}

Plan Must(StatusOr<Plan> plan) {
  INFO(Message(plan.status()));
  REQUIRE(plan.ok());
  return std::move(plan).value();
}

TEST_CASE("planner: a prompt without a cut is one task") {
  Json prompt = ReplicaPrompt();
  prompt["8"]["inputs"]["images"] = Link("6");
  prompt["5"]["inputs"]["seed"] = 7;
  const Plan plan = Must(MakePlan(prompt, {"8"}, TestCatalog(), {4, "exact"}));
  REQUIRE(plan.tasks.size() == 1);
  CHECK(plan.tasks[0].id == "shared");
  CHECK(plan.tasks[0].bindings.empty());
  CHECK(plan.tasks[0].wanted.empty());
  CHECK(plan.tasks[0].output_nodes == std::vector<std::string>{"8"});
  CHECK_FALSE(plan.tasks[0].nodes.contains("4"));  // nobody needs it
  CHECK(plan.tasks[0].needs.models.contains({"checkpoints", "m.safetensors"}));
}

TEST_CASE("planner: a set of files is needed by its parts") {
  Catalog catalog = TestCatalog();
  NodeSpec loader = *catalog.Find("Loader");
  loader.inputs[0].sets = {{"pair", "halves", {{"left", "pair_left"}}}};
  InputSpec part;
  part.name = "left";
  part.type = "COMBO";
  part.folder = "halves";
  part.required = false;
  part.hidden = true;
  loader.inputs.push_back(part);
  catalog.Add(loader);
  Json prompt = ReplicaPrompt();
  for (auto& [id, node] : prompt.items())
    if (node["class_type"] == "Loader") node["inputs"] = {{"ckpt_name", "pair"}, {"left", "pair_left.pth"}};
  const Plan plan = Must(MakePlan(prompt, {"8"}, catalog, {2, "exact"}));
  int loads = 0;
  for (const TaskSpec& task : plan.tasks) {
    if (!task.needs.node_types.contains("Loader")) continue;
    ++loads;
    CHECK(task.needs.models == std::set<std::pair<std::string, std::string>>{{"halves", "pair_left.pth"}});
    for (const auto& [id, node] : task.nodes.items())
      if (node["class_type"] == "Loader") CHECK(node["inputs"]["left"] == "pair_left.pth");
  }
  CHECK(loads > 0);
}

TEST_CASE("planner: who divides what replicas gave is told the replicas' own parts") {
  Json prompt = ReplicaPrompt();
  prompt["9"] = Node("Divide", {{"images", Link("7")}});
  prompt["8"]["inputs"]["images"] = Link("9");
  const Plan plan = Must(MakePlan(prompt, {"8"}, TestCatalog(), {3, "exact"}));
  const TaskSpec* assembly = FindTask(plan, "shared-1");
  REQUIRE(assembly != nullptr);
  REQUIRE(assembly->bindings.size() == 2);
  for (const Binding& binding : assembly->bindings) {
    CHECK(binding.gather);
    CHECK(binding.sources == std::vector<Source>{{"replica-0", 0}, {"replica-1", 0}, {"replica-2", 0}});
  }
  CHECK(assembly->bindings[0].input != assembly->bindings[1].input);
  // Without replicas there is nothing to tell.
  CHECK(Must(MakePlan(prompt, {"8"}, TestCatalog(), {1, "exact"})).tasks[0].bindings.empty());
}

TEST_CASE("planner: replicas run once each, what they share once, results stand in replica order") {
  const Plan plan = Must(MakePlan(ReplicaPrompt(), {"8"}, TestCatalog(), {3, "exact"}));
  REQUIRE(plan.tasks.size() == 5);
  const TaskSpec* shared = FindTask(plan, "shared");
  REQUIRE(shared != nullptr);
  CHECK(shared->nodes.contains("2"));
  CHECK_FALSE(shared->nodes.contains("5"));
  for (int r = 0; r < 3; ++r) {
    const TaskSpec* replica = FindTask(plan, Cat("replica-", r));
    REQUIRE(replica != nullptr);
    CHECK(replica->nodes["4"]["inputs"]["replica_index"] == r);
    CHECK(replica->nodes.contains("1"));  // handles do not cross: the loader is carried along
    CHECK(replica->nodes.contains("3"));  // cheap: made anew
    CHECK_FALSE(replica->nodes.contains("2"));
    REQUIRE(replica->bindings.size() == 1);
    CHECK(replica->bindings[0].input == "positive");
    CHECK(replica->bindings[0].sources == std::vector<Source>{{"shared", 0}});
    REQUIRE(replica->wanted.size() == 1);
    CHECK(replica->wanted[0].node == "6");
  }
  const TaskSpec* assembly = FindTask(plan, "shared-1");
  REQUIRE(assembly != nullptr);
  REQUIRE(assembly->bindings.size() == 1);
  CHECK(assembly->bindings[0].gather);
  CHECK(assembly->bindings[0].sources == std::vector<Source>{{"replica-0", 0}, {"replica-1", 0}, {"replica-2", 0}});
  CHECK(assembly->output_nodes == std::vector<std::string>{"8"});
}

TEST_CASE("planner: load_balance asks for one replica") {
  Json prompt = ReplicaPrompt();
  prompt["7"]["inputs"]["load_balance"] = true;
  const Plan plan = Must(MakePlan(prompt, {"8"}, TestCatalog(), {3, "exact"}));
  REQUIRE(plan.tasks.size() == 1);
  CHECK(plan.tasks[0].nodes["4"]["inputs"]["replica_index"] == 0);
}

TEST_CASE("planner: an output inside the replicated part runs for replica 0 only") {
  Json prompt = ReplicaPrompt();
  prompt["9"] = Node("Save", {{"images", Link("6")}, {"filename_prefix", "y"}});
  const Plan plan = Must(MakePlan(prompt, {"8", "9"}, TestCatalog(), {2, "exact"}));
  CHECK(FindTask(plan, "replica-0")->output_nodes == std::vector<std::string>{"9"});
  CHECK(FindTask(plan, "replica-1")->output_nodes.empty());
}

TEST_CASE("planner: a tiled node becomes a stage whose canvas is the 8-bit form") {
  const Plan plan = Must(MakePlan(TiledPrompt(), {"5"}, TestCatalog(), {2, "exact"}));
  REQUIRE(plan.stages.size() == 1);
  const StageSpec& stage = plan.stages[0];
  CHECK(stage.tile.nodes["4"]["class_type"] == "Tile");
  CHECK(stage.tile.nodes.contains("1"));
  CHECK_FALSE(stage.tile.nodes.contains("2"));
  REQUIRE(stage.bindings.size() == 2);
  CHECK(stage.bindings[0].input == "image");
  const TaskSpec* base = FindTask(plan, stage.bindings[0].sources[0].task);
  REQUIRE(base != nullptr);
  CHECK(base->wanted[stage.bindings[0].sources[0].output].encoding == "u8");
  CHECK(base->input_files.contains("cat.png"));
  bool found = false;
  for (const TaskSpec& task : plan.tasks)
    for (const Binding& binding : task.bindings) found |= binding.sources == std::vector<Source>{{stage.id, 0}};
  CHECK(found);
}

TEST_CASE("planner: a prompt that holds a control net is made anew in each tile, its picture and text once") {
  const Plan plan = Must(MakePlan(WithControl(TiledPrompt(), "4"), {"5"}, TestCatalog(), {1, "exact"}));
  REQUIRE(plan.stages.size() == 1);
  const TaskSpec& tile = plan.stages[0].tile;
  for (const char* id : {"1", "20", "22", "23"}) CHECK(tile.nodes.contains(id));
  for (const char* id : {"2", "21"}) CHECK_FALSE(tile.nodes.contains(id));
  CHECK(tile.needs.models.contains({"controlnet", "c.safetensors"}));
  REQUIRE(plan.stages[0].bindings.size() == 1);  // the canvas alone comes from the stage
  std::set<std::string> bound;
  for (const Binding& binding : tile.bindings) bound.insert(Cat(binding.node, ".", binding.input));
  CHECK(bound == std::set<std::string>{"22.conditioning"});
  REQUIRE(plan.stages[0].pictures.size() == 1);  // of which a tile gets its part
  const Binding& picture = plan.stages[0].pictures[0];
  CHECK(tile.nodes["22"]["inputs"]["image"] == Link(picture.node));
  CHECK(tile.nodes[picture.node]["class_type"] == kPicturePartType);
  CHECK(tile.needs.node_types.contains(kPicturePartType));
  CHECK(picture.input == "image");
  const TaskSpec* from = FindTask(plan, picture.sources[0].task);
  REQUIRE(from != nullptr);
  CHECK(from->wanted[picture.sources[0].output].encoding == "plain");
  CHECK(from->wanted[picture.sources[0].output].node == "21");
  CHECK(ExplainPlan(plan).find("after " + from->id) != std::string::npos);
  for (const TaskSpec& task : plan.tasks) CHECK_FALSE(task.nodes.contains("22"));
}

TEST_CASE("planner: a control net that a tile also sees in another way than as a prompt gets its whole picture") {
  Catalog catalog = TestCatalog();
  catalog.Add(MakeSpec("Steer", {{"model", "MODEL"}, {"empty", "CONDITIONING"}}, {"MODEL"}));
  Json prompt = WithControl(TiledPrompt(), "4");
  prompt["24"] = Node("Steer", {{"model", prompt["4"]["inputs"]["model"]}, {"empty", Link("23")}});
  prompt["4"]["inputs"]["model"] = Link("24");
  const Plan plan = Must(MakePlan(prompt, {"5"}, catalog, {1, "exact"}));
  REQUIRE(plan.stages.size() == 1);
  CHECK(plan.stages[0].pictures.empty());
  std::set<std::string> bound;
  for (const Binding& binding : plan.stages[0].tile.bindings) bound.insert(Cat(binding.node, ".", binding.input));
  CHECK(bound == std::set<std::string>{"22.conditioning", "22.image"});
  CHECK(plan.Digest() != Must(MakePlan(WithControl(TiledPrompt(), "4"), {"5"}, catalog, {1, "exact"})).Digest());
}

std::set<std::string> BoundInputs(const TaskSpec& task) {
  std::set<std::string> bound;
  for (const Binding& binding : task.bindings) bound.insert(Cat(binding.node, ".", binding.input));
  return bound;
}

TEST_CASE("planner: a tile gets its part of a prompt's mask, and the texts as they are") {
  const Plan plan = Must(MakePlan(WithMask(TiledPrompt(), "4"), {"5"}, TestCatalog(), {1, "exact"}));
  REQUIRE(plan.stages.size() == 1);
  const TaskSpec& tile = plan.stages[0].tile;
  for (const char* id : {"32", "34"}) CHECK(tile.nodes.contains(id));
  for (const char* id : {"2", "31", "33"}) CHECK_FALSE(tile.nodes.contains(id));
  CHECK(BoundInputs(tile) == std::set<std::string>{"32.conditioning", "34.second"});
  REQUIRE(plan.stages[0].pictures.size() == 1);
  const Binding& mask = plan.stages[0].pictures[0];
  CHECK(tile.nodes["32"]["inputs"]["mask"] == Link(mask.node));
  CHECK(tile.nodes[mask.node]["class_type"] == kMaskPartType);
  CHECK(tile.needs.node_types.contains(kMaskPartType));
  CHECK(mask.input == "mask");
  const TaskSpec* from = FindTask(plan, mask.sources[0].task);
  REQUIRE(from != nullptr);
  CHECK(from->wanted[mask.sources[0].output].node == "31");

  // So of the latent that it is to go by, between mask and tile.
  Json latent = WithMask(TiledPrompt(), "4");
  latent["37"] = Node("Reference", {{"conditioning", Link("34")}, {"latent", Link("38")}});
  latent["38"] = Node("EncodePicture", {{"image", Link("30")}});
  latent["4"]["inputs"]["positive"] = Link("37");
  const StageSpec stage = Must(MakePlan(latent, {"5"}, TestCatalog(), {1, "exact"})).stages.at(0);
  REQUIRE(stage.pictures.size() == 2);
  const bool first = stage.pictures[0].input == "latent";
  const Binding& part = stage.pictures[first ? 0 : 1];
  CHECK(stage.tile.nodes["37"]["inputs"]["latent"] == Link(part.node));
  CHECK(stage.tile.nodes[part.node]["class_type"] == kLatentPartType);

  // Outside of tiles a prompt with a mask crosses as it is.
  Json replicas = WithMask(ReplicaPrompt(), "5");
  const Plan other = Must(MakePlan(replicas, {"8"}, TestCatalog(), {2, "exact"}));
  CHECK_FALSE(FindTask(other, "replica-0")->nodes.contains("32"));
}

TEST_CASE("planner: a mask goes whole where its part would not do") {
  const auto stage = [](const Json& prompt, const Catalog& catalog) {
    Plan plan = Must(MakePlan(prompt, {"5"}, catalog, {1, "exact"}));
    REQUIRE(plan.stages.size() == 1);
    CHECK(plan.stages[0].pictures.empty());
    return plan.stages[0];
  };
  Catalog catalog = TestCatalog();
  Json prompt = WithMask(TiledPrompt(), "4");
  SECTION("a guider holds the prompt too") {
    catalog.Add(MakeSpec("Steer", {{"model", "MODEL"}, {"empty", "CONDITIONING"}}, {"MODEL"}));
    prompt["35"] = Node("Control", {{"conditioning", Link("34")}, {"control_net", Link("20")}, {"image", Link("30")}});
    prompt["20"] = Node("ControlLoader", {{"name", "c.safetensors"}});
    prompt["24"] = Node("Steer", {{"model", prompt["4"]["inputs"]["model"]}, {"empty", Link("35")}});
    prompt["4"]["inputs"]["model"] = Link("24");
    prompt["4"]["inputs"]["positive"] = Link("35");
    CHECK(BoundInputs(stage(prompt, catalog).tile) ==
          std::set<std::string>{"32.conditioning", "32.mask", "34.second", "35.image"});
  }
  SECTION("work stands between the mask and the tile") {
    prompt["36"] = Node("Area", {{"conditioning", Link("34")}});
    prompt["4"]["inputs"]["positive"] = Link("36");
    CHECK_FALSE(stage(prompt, catalog).tile.nodes.contains("32"));
  }
  SECTION("the workers do not know parts of masks") {
    Catalog old;
    for (const std::string& type : catalog.Types())
      if (type != kMaskPartType) old.Add(*catalog.Find(type));
    CHECK_FALSE(stage(prompt, old).tile.nodes.contains("32"));
  }
}

TEST_CASE("planner: replicas make a prompt with a control net anew, and what comes of it crosses as data") {
  Json prompt = WithControl(ReplicaPrompt(), "5");
  prompt["5"]["inputs"]["latent"] = Link("23", 1);
  const Plan plan = Must(MakePlan(prompt, {"8"}, TestCatalog(), {2, "exact"}));
  for (int r = 0; r < 2; ++r) {
    const TaskSpec* replica = FindTask(plan, Cat("replica-", r));
    REQUIRE(replica != nullptr);
    for (const char* id : {"20", "22", "23"}) CHECK(replica->nodes.contains(id));
    std::set<std::string> bound;
    for (const Binding& binding : replica->bindings) bound.insert(Cat(binding.node, ".", binding.input));
    CHECK(bound == std::set<std::string>{"22.conditioning", "22.image", "5.latent"});
  }
}

TEST_CASE("planner: a canvas that is made first is a node of its own, and the master learns its measures") {
  Catalog catalog = TestCatalog();
  NodeSpec enlarge = *catalog.Find("Tiled");
  enlarge.type = "Enlarge";
  InputSpec& by = enlarge.inputs.emplace_back();
  by.name = "by";
  by.type = "FLOAT";
  enlarge.tiles->tile_node = "Crop";
  enlarge.tiles->canvas_multiple = 8;
  catalog.Add(enlarge);
  catalog.Add(MakeSpec("Crop", {{"crops", "IMAGE"}, {"model", "MODEL"}}, {"IMAGE"}));
  catalog.Add(MakeSpec("CropCanvas", {{"image", "IMAGE"}, {"by", "FLOAT"}}, {"IMAGE", "INT", "INT"}));
  Json prompt = TiledPrompt();
  prompt["4"]["class_type"] = "Enlarge";
  prompt["4"]["inputs"]["by"] = 2.0;
  const Json image = prompt["4"]["inputs"]["image"];
  const Plan plan = Must(MakePlan(prompt, {"5"}, catalog, {2, "exact"}));
  REQUIRE(plan.stages.size() == 1);
  const StageSpec& stage = plan.stages[0];
  CHECK_FALSE(stage.tile.nodes["4"]["inputs"].contains("image"));
  CHECK(stage.crop_input == "crops");
  REQUIRE(stage.measures.size() == 2);
  CHECK(stage.measures[0].input == "init_width");
  CHECK(stage.measures[1].input == "init_height");
  const TaskSpec* base = FindTask(plan, stage.bindings.at(0).sources[0].task);
  REQUIRE(base != nullptr);
  const Wanted& canvas = base->wanted[stage.bindings[0].sources[0].output];
  CHECK(canvas.node == "4.base");
  CHECK(canvas.encoding == "u8");
  CHECK(base->wanted[stage.measures[0].sources[0].output].slot == 1);
  CHECK(base->wanted[stage.measures[1].sources[0].output].slot == 2);
  CHECK(base->nodes["4.base"]["class_type"] == "CropCanvas");
  CHECK(base->nodes["4.base"]["inputs"]["image"] == image);
  CHECK(base->nodes["4.base"]["inputs"]["by"] == 2.0);
}

TEST_CASE("planner: a collector below a tiled node passes replica 0 through") {
  Json prompt = TiledPrompt();
  prompt["6"] = Node("Seed", {{"seed", 1}});
  prompt["4"]["inputs"]["seed"] = Link("6");
  prompt["7"] = Node("Collect", {{"images", Link("4")}});
  prompt["5"]["inputs"]["images"] = Link("7");
  const Plan plan = Must(MakePlan(prompt, {"5"}, TestCatalog(), {3, "exact"}));
  CHECK(plan.stages.size() == 1);
  for (const TaskSpec& task : plan.tasks)
    for (const Binding& binding : task.bindings) CHECK(binding.sources.size() == 1);
}

TEST_CASE("planner: two tiled nodes in a row are two stages with handle chains of their own") {
  Json prompt = TiledPrompt();
  prompt["6"] = Node("Tiled", {{"image", Link("4")}, {"model", Link("1")}, {"positive", Link("2")}, {"seed", 6}});
  prompt["5"]["inputs"]["images"] = Link("6");
  const Plan plan = Must(MakePlan(prompt, {"5"}, TestCatalog(), {2, "exact"}));
  REQUIRE(plan.stages.size() == 2);
  for (const StageSpec& stage : plan.stages) CHECK(stage.tile.nodes.contains("1"));
}

TEST_CASE("planner: the plan is a function of prompt and options alone") {
  const std::string a = Must(MakePlan(ReplicaPrompt(), {"8"}, TestCatalog(), {3, "exact"})).Digest();
  CHECK(a == Must(MakePlan(ReplicaPrompt(), {"8"}, TestCatalog(), {3, "exact"})).Digest());
  CHECK(a != Must(MakePlan(ReplicaPrompt(), {"8"}, TestCatalog(), {4, "exact"})).Digest());
}

TEST_CASE("planner: cycles, unknown types and bad options are refused") {
  Json prompt = ReplicaPrompt();
  prompt["2"]["inputs"]["clip"] = Link("6");
  CHECK(MakePlan(prompt, {"8"}, TestCatalog(), {1, "exact"}).status().code() == StatusCode::kInvalidArgument);
  prompt = ReplicaPrompt();
  prompt["6"]["class_type"] = "Nope";
  CHECK_FALSE(MakePlan(prompt, {"8"}, TestCatalog(), {1, "exact"}).ok());
  CHECK_FALSE(MakePlan(ReplicaPrompt(), {"8"}, TestCatalog(), {0, "exact"}).ok());
  CHECK_FALSE(MakePlan(ReplicaPrompt(), {"8"}, TestCatalog(), {1, "fast"}).ok());
}

TEST_CASE("planner: a chain of 10,000 nodes needs no deep stack") {
  Json prompt = TiledPrompt();
  prompt["5"]["inputs"]["images"] = Link("n9999");
  for (int i = 0; i < 10'000; ++i)
    prompt[Cat("n", i)] =
        Node("Collect", {{"images", i == 0 ? Link("3") : Link(Cat("n", i - 1))}, {"load_balance", true}});
  CHECK(MakePlan(prompt, {"5"}, TestCatalog(), {1, "exact"}).ok());
}

}  // namespace
}  // namespace atelier
