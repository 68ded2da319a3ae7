// The laws of control.h on a simulated fleet: one thread, a seed, no clock but the step count.
#include "master/control/control.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <random>
#include <set>

#include "common/base/hash.h"
#include "master/planner/planner.h"
#include "tests/unit/control/test_worker.h"
#include "tests/unit/planner/catalog_for_tests.h"

namespace atelier {
namespace {

Blob Named(const std::string& text) { return {Sha256Hex(text), text.size()}; }

// Carries effects out as the shell does, with canvases that are lists of what was pasted.
class World {
 public:
  World(uint64_t seed, std::string order) : random_(seed), order_(std::move(order)), asks_(seed % 2 == 0) { Begin(); }

  void Begin() {
    control_ = std::make_unique<Control>(Options(epoch_));
    if (asks_) control_->AssignWhenAsked();
  }

  static ControlOptions Options(uint64_t epoch) {
    ControlOptions options;
    options.epoch = epoch;
    options.attempts_max = 1000;
    options.poison_workers = 1000;
    return options;
  }

  Plan MakeJobPlan() {
    auto plan = MakePlan(prompt_, {outputs_}, TestCatalog(), {3, order_});
    REQUIRE(plan.ok());
    return std::move(plan).value();
  }

  void Submit(const Json& prompt, const std::string& output) {
    prompt_ = prompt;
    outputs_ = output;
    Carry(control_->AddJob({"j", "", 0, MakeJobPlan(), {outputs_}, {}, {}}, now_));
  }

  void Attach(const std::string& name) {
    WorkerInfo info;
    info.name = name;
    info.instance = Cat(name, "#", ++instances_);
    info.catalog = std::make_shared<const Catalog>(TestCatalog());
    auto inventory = std::make_shared<Inventory>();
    inventory->files["checkpoints"] = {"m.safetensors"};
    inventory->files["controlnet"] = {"c.safetensors"};
    info.inventory = inventory;
    live_[name] = info.instance;
    Carry(control_->WorkerAttached(info, {}, now_));
    Carry(control_->WorkerPulls(name, 2, now_));
  }

  void Kill(std::string name) {  // by value: the caller's may be the key that goes
    const std::string instance = live_.at(name);
    live_.erase(name);
    std::erase_if(leases_, [&](const auto& lease) { return lease.worker == name; });
    Carry(control_->WorkerLost(name, instance, now_, true));
  }

  // The master dies and comes back with what was recorded.
  void Restart() {
    ++epoch_;
    Begin();
    pixels_.clear();
    leases_.clear();
    const auto names = live_;
    live_.clear();
    Control::NewJob job{"j", "", 0, MakeJobPlan(), {outputs_}, {}, {}};
    for (const auto& [task, results] : accepted_) job.restored[task] = {results, {}};
    Carry(control_->AddJob(std::move(job), now_));
    for (const auto& [name, instance] : names) Attach(name);
  }

  bool Step() {
    ++now_;
    if (asks_ && (random_() % 3 == 0 || (pixels_.empty() && leases_.empty()))) Carry(control_->Assign(now_));
    if (!pixels_.empty()) {
      auto work = pixels_.front();
      pixels_.pop_front();
      work();
      return true;
    }
    if (leases_.empty()) return false;
    const size_t pick = random_() % leases_.size();
    const auto lease = leases_[pick];
    leases_.erase(leases_.begin() + static_cast<std::ptrdiff_t>(pick));
    Carry(control_->WorkerPulls(lease.worker, 1, now_));
    Carry(control_->TaskDone(lease.worker, lease.task, lease.attempt, lease.results, {}, 1, now_));
    return true;
  }

  std::mt19937_64 random_;
  std::string saved_hash_;
  int accepted_twice_ = 0;
  std::map<std::string, std::vector<Blob>> accepted_;
  std::map<std::string, std::string> live_;
  std::unique_ptr<Control> control_;
  std::string failed_;
  size_t leased_to_dead_ = 0;

 private:
  struct Leased {
    std::string worker, task;
    uint64_t attempt;
    std::vector<Blob> results;
  };
  struct FakeCanvas {
    // Three overlapping neighbours in a row: tile t reads and writes cells t and t+1.
    std::vector<std::string> cells;
  };
  static constexpr int kTiles = 6;

  void Carry(Effects effects) {
    for (Effect& any : effects) {
      if (auto* lease = std::get_if<effect::SendLease>(&any)) {
        leased_to_dead_ += live_.contains(lease->worker) ? 0U : 1U;
        CHECK_FALSE(accepted_.contains(lease->spec->id));  // never leased again
        std::string in = DumpJson(lease->spec->nodes);
        for (const auto& binding : lease->bindings)
          for (const Blob& blob : binding.blobs) {
            CHECK_FALSE(whole_.contains(blob.hash));
            CHECK(blob.hash.size() == 64);  // all inputs are there
            in += blob.hash;
          }
        std::vector<Blob> results;
        for (size_t i = 0; i < lease->spec->wanted.size(); ++i) results.push_back(Named(Cat(in, "/", i)));
        leases_.push_back({lease->worker, lease->task, lease->attempt, results});
      } else if (auto* refused = std::get_if<effect::Refused>(&any)) {
        FAIL_CHECK(refused->what);
      } else if (auto* cancel = std::get_if<effect::SendCancel>(&any)) {
        const uint64_t number = cancel->attempt;
        if (std::erase_if(leases_, [number](const auto& l) { return l.attempt == number; }) > 0)
          pulls_.push_back(cancel->worker);
      } else if (auto* record = std::get_if<effect::RecordAccepted>(&any)) {
        accepted_twice_ += accepted_.contains(record->task) ? 1 : 0;
        accepted_[record->task] = record->results;
      } else if (auto* open = std::get_if<effect::OpenCanvas>(&any)) {
        pixels_.push_back([this, o = *open] { OpenCanvas(o); });
      } else if (auto* stream = std::get_if<effect::OpenStream>(&any)) {
        CHECK(stream->from.hash.size() == 64);
        pixels_.push_back([this, s = *stream] {
          std::vector<Blob> crops;
          for (int i = 0; s.cut && i < 7; ++i) crops.push_back(Named(Cat(s.from.hash, i)));
          Carry(control_->StreamOpened(s.job, s.stream, s.cut ? 7 : 20, s.cut ? 1 : 3, std::move(crops), now_));
        });
      } else if (auto* cut = std::get_if<effect::CutTile>(&any)) {
        pixels_.push_back([this, c = *cut] {
          FakeCanvas& canvas = canvases_[c.stage];
          const size_t t = static_cast<size_t>(c.tile);
          std::vector<Blob> parts;
          for (const Blob& picture : c.pictures) {
            CHECK(picture.hash.size() == 64);
            whole_.insert(picture.hash);
            parts.push_back(Named(Cat(picture.hash, " ", t)));
          }
          Carry(control_->TileCut(c.job, c.stage, c.tile, {Named(canvas.cells[t] + "|" + canvas.cells[t + 1])}, now_,
                                  std::move(parts)));
        });
      } else if (auto* paste = std::get_if<effect::PasteTile>(&any)) {
        pixels_.push_back([this, p = *paste] {
          FakeCanvas& canvas = canvases_[p.stage];
          for (size_t c : {static_cast<size_t>(p.tile), static_cast<size_t>(p.tile) + 1})
            canvas.cells[c] = Sha256Hex(canvas.cells[c] + p.pixels.hash);
        });
      } else if (auto* close = std::get_if<effect::CloseCanvas>(&any)) {
        pixels_.push_back([this, c = *close] {
          std::string all;
          for (const std::string& cell : canvases_[c.stage].cells) all += cell;
          if (c.keep) Carry(control_->CanvasClosed(c.job, c.stage, Named(all), now_));
        });
      } else if (std::get_if<effect::SaveOutputs>(&any) != nullptr) {
        std::string all;
        for (const auto& [task, results] : accepted_)
          for (const Blob& blob : results) all += blob.hash;
        saved_hash_ = Sha256Hex(all);
        pixels_.push_back([this] { Carry(control_->JobSaved("j", now_)); });
      } else if (auto* end = std::get_if<effect::EndJob>(&any)) {
        failed_ = end->error;
      }
    }
    auto pulls = std::move(pulls_);
    pulls_.clear();
    for (const std::string& name : pulls)
      if (live_.contains(name)) Carry(control_->WorkerPulls(name, 1, now_));
  }

  void OpenCanvas(const effect::OpenCanvas& open) {
    canvases_[open.stage].cells.assign(kTiles + 1, open.image.hash);
    StageGraph graph;
    graph.tiles.resize(kTiles);
    for (int t = 0; t < kTiles; ++t) {
      graph.tiles[static_cast<size_t>(t)].hidden = {{"crop_x1", t}};
      if (t == 0) continue;
      graph.tiles[static_cast<size_t>(t)].paste_after = {t - 1};
      if (order_ == "independent") continue;
      graph.tiles[static_cast<size_t>(t)].cut_after = {t - 1};
    }
    Carry(control_->CanvasOpened(open.job, open.stage, std::move(graph), now_));
  }

  const std::string order_;
  const bool asks_;  // for leases, after any number of events
  Json prompt_;
  std::string outputs_;
  uint64_t epoch_ = 1;
  int64_t now_ = 0;
  int instances_ = 0;
  std::vector<Leased> leases_;
  std::vector<std::string> pulls_;
  std::deque<std::function<void()>> pixels_;
  std::map<std::string, FakeCanvas> canvases_;
  std::set<std::string> whole_;  // pictures of which tiles get parts
};

std::string RunCalm(const Json& prompt, const std::string& output, const std::string& order, int workers) {
  World world(1, order);
  world.Submit(prompt, output);
  for (int i = 0; i < workers; ++i) world.Attach(Cat("w", i));
  while (world.Step()) {
  }
  CHECK(world.failed_.empty());
  return world.saved_hash_;
}

void RunStormy(const Json& prompt, const std::string& output, const std::string& order, uint64_t seed,
               const std::string& expected) {
  INFO("seed " << seed << " order " << order);
  World world(seed, order);
  world.Submit(prompt, output);
  world.Attach("w0");
  int next = 1;
  for (int step = 0; step < 5000 && world.saved_hash_.empty(); ++step) {
    switch (world.random_() % 12) {
      case 0:
        if (world.live_.size() < 5) world.Attach(Cat("w", next++));
        break;
      case 1:
        if (world.live_.size() > 1) world.Kill(world.live_.begin()->first);
        break;
      case 2:
        if (world.random_() % 4 == 0) world.Restart();
        break;
      default:
        world.Step();
    }
  }
  CHECK(world.failed_.empty());
  CHECK(world.saved_hash_ == expected);
  CHECK(world.accepted_twice_ == 0);
  CHECK(world.leased_to_dead_ == 0);
}

TEST_CASE("control: results do not depend on the number of workers") {
  for (const char* order : {"exact", "independent"}) {
    const std::string one = RunCalm(TiledPrompt(), "5", order, 1);
    CHECK_FALSE(one.empty());
    for (int workers : {2, 3, 8}) CHECK(RunCalm(TiledPrompt(), "5", order, workers) == one);
    const Json steered = WithControl(TiledPrompt(), "4");
    const std::string with_control = RunCalm(steered, "5", order, 1);
    CHECK(RunCalm(steered, "5", order, 3) == with_control);
    CHECK(with_control != one);
  }
  CHECK(RunCalm(TiledPrompt(), "5", "exact", 1) != RunCalm(TiledPrompt(), "5", "independent", 1));
  CHECK(RunCalm(ReplicaPrompt(), "8", "exact", 1) == RunCalm(ReplicaPrompt(), "8", "exact", 4));
}

TEST_CASE("control: deaths, late workers and restarts of the master change nothing, lose nothing, do nothing twice") {
  const char* const told = std::getenv("ATELIER_STORMS");  // of each kind of job
  const uint64_t storms = told == nullptr ? 300 : std::strtoull(told, nullptr, 10);
  for (const char* order : {"exact", "independent"}) {
    const std::string tiled = RunCalm(TiledPrompt(), "5", order, 1);
    for (uint64_t seed = 1; seed <= storms; ++seed) RunStormy(TiledPrompt(), "5", order, seed, tiled);
    const Json steered = WithControl(TiledPrompt(), "4");
    const std::string with_control = RunCalm(steered, "5", order, 1);
    for (uint64_t seed = 1; seed <= storms / 4; ++seed) RunStormy(steered, "5", order, seed, with_control);
  }
  const std::string video = RunCalm(VideoPrompt(), "5", "exact", 1);
  CHECK_FALSE(video.empty());
  CHECK(RunCalm(VideoPrompt(), "5", "exact", 4) == video);
  for (uint64_t seed = 1; seed <= storms; ++seed) RunStormy(VideoPrompt(), "5", "exact", seed, video);
  Json pictures = TiledPrompt();
  for (auto& [id, node] : pictures.items())
    if (node["class_type"] == "Tiled") node["class_type"] = "TiledPictures";
  const std::string by_image = RunCalm(pictures, "5", "by-image", 1);
  CHECK_FALSE(by_image.empty());
  for (uint64_t seed = 1; seed <= storms; ++seed) RunStormy(pictures, "5", "by-image", seed, by_image);
  const std::string replicas = RunCalm(ReplicaPrompt(), "8", "exact", 1);
  for (uint64_t seed = 1; seed <= storms; ++seed) RunStormy(ReplicaPrompt(), "8", "exact", seed, replicas);
}

// What the single cases below share: one job, workers by hand.
struct Hand {
  explicit Hand(ControlOptions options = {}) : control(options) {
    Json prompt = ReplicaPrompt();
    prompt["8"]["inputs"]["images"] = Link("6");
    auto plan = MakePlan(prompt, {"8"}, TestCatalog(), {1, "exact"});
    REQUIRE(plan.ok());
    control.AddJob({"j", "", 0, std::move(*plan), {"8"}, {}, {}}, 0);
  }
  Effects Attach(const std::string& name, std::vector<Held> held = {}, const std::string& model = "m.safetensors") {
    Effects all = control.WorkerAttached(TestWorker(name, model), held, now);
    for (Effect& effect : control.WorkerPulls(name, 1, now)) all.push_back(std::move(effect));
    return all;
  }
  const effect::SendLease* Lease(const Effects& effects) {
    for (const Effect& any : effects)
      if (auto* lease = std::get_if<effect::SendLease>(&any)) return lease;
    return nullptr;
  }
  JobState state() const { return control.jobs().at("j").state; }
  std::string error() const { return control.jobs().at("j").error; }
  Control control;
  int64_t now = 0;
};

TEST_CASE("control: who asks for leases gets them once for all events before") {
  Hand hand;
  hand.control.AssignWhenAsked();
  CHECK(hand.Lease(hand.Attach("a")) == nullptr);
  CHECK(hand.Lease(hand.Attach("b")) == nullptr);
  CHECK(hand.Lease(hand.control.Assign(0)) != nullptr);
  CHECK(hand.control.Assign(0).empty());
}

TEST_CASE("control: of a canvas's tiles that one goes first which the longest chain waits for") {
  auto plan = MakePlan(TiledPrompt(), {"5"}, TestCatalog(), {1, "exact"});
  REQUIRE(plan.ok());
  Control control{ControlOptions{}};
  Effects effects = control.AddJob({"j", "", 0, std::move(*plan), {"5"}, {}, {}}, 0);
  WorkerInfo info;
  info.name = info.instance = "a";
  info.catalog = std::make_shared<const Catalog>(TestCatalog());
  auto inventory = std::make_shared<Inventory>();
  inventory->files["checkpoints"] = {"m.safetensors"};
  info.inventory = inventory;
  control.WorkerAttached(info, {}, 0);
  effects = control.WorkerPulls("a", 1, 0);
  // Tile 2 waits for 1, 3 for 2; nothing waits for 0, 4 and 5.
  StageGraph graph;
  graph.tiles.resize(6);
  graph.tiles[2].cut_after = {1};
  graph.tiles[3].cut_after = {2};
  std::vector<std::string> leased;
  while (!effects.empty() && leased.size() < 20) {
    Effects next;
    const auto add = [&](Effects more) {
      for (Effect& effect : more) next.push_back(std::move(effect));
    };
    for (const Effect& any : effects) {
      if (const auto* lease = std::get_if<effect::SendLease>(&any)) {
        leased.push_back(lease->spec->label);
        const std::vector<Blob> results(lease->spec->wanted.size(), Named("result"));
        // Done before the next is asked for, so that all that is ready is there to be chosen from.
        add(control.TaskDone("a", lease->task, lease->attempt, results, {}, 1, 0));
      } else if (const auto* open = std::get_if<effect::OpenCanvas>(&any)) {
        add(control.CanvasOpened("j", open->stage, graph, 0));
      } else if (const auto* cut = std::get_if<effect::CutTile>(&any)) {
        add(control.TileCut("j", cut->stage, cut->tile, {Named("crop")}, 0));
      }
    }
    if (next.empty()) next = control.WorkerPulls("a", 1, 0);
    effects = std::move(next);
  }
  std::erase_if(leased, [](const std::string& label) { return !label.starts_with("tile "); });
  for (std::string& label : leased) label = label.substr(0, label.find(' ', 5));
  CHECK(leased == std::vector<std::string>{"tile 2/6", "tile 3/6", "tile 1/6", "tile 4/6", "tile 5/6", "tile 6/6"});
}

TEST_CASE("control: a task that kills two workers fails its job and says so") {
  Hand hand;
  REQUIRE(hand.Lease(hand.Attach("a")) != nullptr);
  hand.control.WorkerLost("a", "a", 1, true);
  CHECK_FALSE(hand.control.jobs().at("j").ended());
  REQUIRE(hand.Lease(hand.Attach("b")) != nullptr);
  hand.control.WorkerLost("b", "b", 2, true);
  CHECK(hand.state() == JobState::kFailed);
  CHECK(hand.error().find("2 workers died") != std::string::npos);
}

TEST_CASE("control: workers that a broken line takes are no witnesses against the task that wanders among them") {
  Hand hand;
  REQUIRE(hand.Lease(hand.Attach("a")) != nullptr);
  hand.control.WorkerLost("a", "a", 1, false);  // it may well live
  REQUIRE(hand.Lease(hand.Attach("b")) != nullptr);
  hand.control.WorkerLost("b", "b", 2, true);
  REQUIRE(hand.Lease(hand.Attach("c")) != nullptr);
  hand.control.WorkerLost("c", "c", 3, false);
  CHECK_FALSE(hand.control.jobs().at("j").ended());
  REQUIRE(hand.Lease(hand.Attach("d")) != nullptr);
  hand.control.WorkerLost("d", "d", 4, true);
  CHECK(hand.state() == JobState::kFailed);
}

TEST_CASE("control: a copy that is lost with the attempt beside it does not poison the task") {
  Hand hand;
  hand.Attach("b");
  Effects effects = hand.control.CancelJob("j", 0);
  hand.control.ForgetJob("j");
  const auto submit = [&](const std::string& id) {
    Json prompt = ReplicaPrompt();
    prompt["8"]["inputs"]["images"] = Link("6");
    auto plan = MakePlan(prompt, {"8"}, TestCatalog(), {1, "exact"});
    REQUIRE(plan.ok());
    return hand.control.AddJob({id, "", 0, std::move(*plan), {"8"}, {}, {}}, 0);
  };
  hand.control.WorkerPulls("b", 1, 0);
  effects = submit("k1");
  const auto* first = hand.Lease(effects);
  REQUIRE(first != nullptr);
  hand.control.TaskDone("b", first->task, first->attempt, std::vector<Blob>(first->spec->wanted.size()), {}, 1, 0);
  hand.control.SetWorkerEnabled("b", false, 0);
  submit("k2");
  REQUIRE(hand.Lease(hand.Attach("a")) != nullptr);  // nothing is known of "a"
  hand.control.WorkerPulls("b", 1, 0);
  const Effects enabled = hand.control.SetWorkerEnabled("b", true, 0);
  const auto* copy = hand.Lease(enabled);
  REQUIRE(copy != nullptr);
  CHECK(copy->worker == "b");
  hand.control.WorkerLost("a", "a", 1, true);
  hand.control.WorkerLost("b", "b", 1, true);
  CHECK_FALSE(hand.control.jobs().at("k2").ended());
}

TEST_CASE("control: a stream that comes back keeps its task, and its late result counts") {
  Hand hand;
  const Effects attached = hand.Attach("a");
  const auto* lease = hand.Lease(attached);
  REQUIRE(lease != nullptr);
  const std::string task = lease->task;
  const uint64_t attempt = lease->attempt;
  hand.control.WorkerLost("a", "a", 1, true);
  CHECK(hand.Lease(hand.Attach("a", {{task, attempt, false}})) == nullptr);
  hand.control.TaskDone("a", task, attempt, {}, {}, 1, 2);
  INFO(hand.error());
  CHECK(hand.state() == JobState::kSaving);
}

TEST_CASE("control: an attempt of before the master's restart is taken up again") {
  ControlOptions second;
  second.epoch = 2;
  Hand hand(second);
  const uint64_t old_attempt = (uint64_t{1} << 24) + 7;
  CHECK(hand.Lease(hand.Attach("a", {{"j/shared", old_attempt, true}})) == nullptr);
  hand.control.TaskDone("a", "j/shared", old_attempt, {}, {}, 1, 2);
  INFO(hand.error());
  CHECK(hand.state() == JobState::kSaving);
}

TEST_CASE("control: a fenced attempt's result is refused") {
  ControlOptions options;
  options.first_step_ms_max = 1000;
  Hand hand(options);
  const Effects attached = hand.Attach("a");
  const auto* lease = hand.Lease(attached);
  REQUIRE(lease != nullptr);
  const std::string task = lease->task;
  const uint64_t attempt = lease->attempt;
  hand.Attach("b");
  const Effects tick = hand.control.Tick(5000);  // "a" stood still: hung
  const auto* again = hand.Lease(tick);
  REQUIRE(again != nullptr);
  CHECK(again->worker == "b");
  CHECK(again->attempt > attempt);
  hand.control.TaskDone("a", task, attempt, {}, {}, 1, 5001);
  CHECK_FALSE(hand.state() == JobState::kSaving);
}

TEST_CASE("control: a model that one worker lacks goes to another, and why tells it") {
  Hand hand;
  CHECK(hand.Lease(hand.Attach("a", {}, "other.safetensors")) == nullptr);
  CHECK(hand.control.WhyWaiting("j").find("has no file \"m.safetensors\"") != std::string::npos);
  CHECK(hand.Lease(hand.Attach("b")) != nullptr);
  CHECK(hand.control.WhyWaiting("j").empty());
}

TEST_CASE("control: bad input fails the job at once, a worker's own trouble sends the task elsewhere") {
  Hand hand;
  const Effects attached = hand.Attach("a");
  const auto* lease = hand.Lease(attached);
  REQUIRE(lease != nullptr);
  const std::string task = lease->task;
  hand.Attach("b");
  const Effects failed = hand.control.TaskFailed("a", task, lease->attempt, "out of memory", true, 1);
  const auto* again = hand.Lease(failed);
  REQUIRE(again != nullptr);
  CHECK(again->worker == "b");
  hand.control.TaskFailed("b", task, again->attempt, "node \"5\": bad value", false, 2);
  CHECK(hand.state() == JobState::kFailed);
  CHECK(hand.error() == "node \"5\": bad value");
}

TEST_CASE("control: a worker is drained for what others complete, never for what fails everywhere") {
  Hand hand;
  hand.control.CancelJob("j", 0);
  hand.Attach("a");
  hand.Attach("b");
  // One job whose first task fails on "a"; then "b" fails too or completes it. Returns who was drained.
  const auto run = [&](const std::string& id, bool b_completes) {
    Json prompt = ReplicaPrompt();
    prompt["8"]["inputs"]["images"] = Link("6");
    auto plan = MakePlan(prompt, {"8"}, TestCatalog(), {1, "exact"});
    REQUIRE(plan.ok());
    hand.control.SetWorkerEnabled("b", false, 1);
    const Effects added = hand.control.AddJob({id, "", 0, std::move(*plan), {"8"}, {}, {}}, 1);
    const auto* lease = hand.Lease(added);
    REQUIRE(lease != nullptr);
    const std::string task = lease->task;
    const size_t results = lease->spec->wanted.size();
    const uint64_t attempt = lease->attempt;
    const Effects enabled = hand.control.SetWorkerEnabled("b", true, 1);
    const Effects failed = hand.control.TaskFailed("a", task, attempt, "the file is damaged", true, 1);
    const auto* again = hand.Lease(failed);
    if (again == nullptr) again = hand.Lease(enabled);  // idle "b", which knows the task, tried it beside "a" already
    REQUIRE(again != nullptr);
    REQUIRE(again->worker == "b");
    Effects all = failed;
    const Effects more = b_completes
                             ? hand.control.TaskDone("b", task, again->attempt, std::vector<Blob>(results), {}, 1, 1)
                             : hand.control.TaskFailed("b", task, again->attempt, "the file is damaged", true, 1);
    all.insert(all.end(), more.begin(), more.end());
    CHECK((hand.control.jobs().at(id).state == JobState::kFailed) == !b_completes);
    hand.control.CancelJob(id, 1);
    std::set<std::string> drained;
    for (const Effect& any : all)
      if (const auto* drain = std::get_if<effect::SendDrain>(&any)) drained.insert(drain->worker);
    for (const char* worker : {"a", "b"}) hand.control.WorkerPulls(worker, 1, 1);
    return drained;
  };
  for (const char* id : {"k1", "k2", "k3", "k4"}) CHECK(run(id, false).empty());
  CHECK(run("l1", true).empty());
  CHECK(run("l2", true).empty());
  CHECK(run("l3", true) == std::set<std::string>{"a"});
}

TEST_CASE("control: cancelling ends attempts and a job once") {
  Hand hand;
  REQUIRE(hand.Lease(hand.Attach("a")) != nullptr);
  const Effects effects = hand.control.CancelJob("j", 1);
  bool told = false;
  for (const Effect& any : effects) told |= std::holds_alternative<effect::SendCancel>(any);
  CHECK(told);
  CHECK(hand.state() == JobState::kCancelled);
  CHECK(hand.control.CancelJob("j", 2).empty());
}

}  // namespace
}  // namespace atelier
