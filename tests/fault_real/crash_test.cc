// A picture redrawn in tiles by the real worker: its bytes depend on the plan alone, whoever dies or comes late.
#include <algorithm>
#include <map>
#include <set>

#include "tests/fault_real/real.h"

namespace atelier::test {
namespace {

constexpr uint32_t kTiles = 6;

// Watches a job for a task that is leased again after its result was accepted.
class Once {
 public:
  explicit Once(const std::vector<AcceptedTask>& before = {}) {
    for (const AcceptedTask& task : before) done_.insert(task.task_id);
  }
  void operator()(const v1::JobEvent& event) {
    if (!event.has_task()) return;
    const v1::Task& task = event.task();
    if (task.state() == "done") {
      done_.insert(task.id());
    } else if (task.state() == "leased" && done_.count(task.id()) > 0) {
      repeated_.insert(task.id());
    }
  }
  const std::set<std::string>& repeated() const { return repeated_; }

 private:
  std::set<std::string> done_, repeated_;
};

v1::Job WaitOnce(Cluster& cluster, const std::string& job, const std::vector<AcceptedTask>& before = {}) {
  Once once(before);
  const v1::Job ended = cluster.WaitJob(job, 180, [&](const v1::JobEvent& event) { once(event); });
  CHECK(once.repeated().empty());
  CHECK(ended.tasks_total() >= kTiles);
  return ended;
}

std::set<std::string> Workers(const v1::Job& job) {
  std::set<std::string> names;
  for (const v1::Task& task : job.tasks())
    if (task.state() == "done" && !task.worker().empty()) names.insert(task.worker());  // the canvas has none
  return names;
}

void CheckAcceptedOnce(Cluster& cluster, const std::vector<v1::Job>& jobs) {
  cluster.master().Kill();
  for (const v1::Job& job : jobs) {
    std::set<std::string> seen;
    for (const AcceptedTask& task : cluster.Accepted(job.id())) {
      INFO(task.task_id);
      CHECK(seen.insert(task.task_id).second);
    }
    CHECK(seen.size() == job.tasks_total());
  }
}

const std::vector<std::string>& Orders() {
  static const std::vector<std::string> orders{"exact", "independent"};
  return orders;
}

std::vector<std::string> HashesWith(int workers) {
  Cluster cluster(Real(DemoModels()));
  for (int i = 1; i <= workers; ++i) StartAttached(cluster, "w" + std::to_string(i));
  std::vector<std::string> hashes;
  for (const std::string& order : Orders()) {
    // One after the other: two jobs at once may well have a worker each.
    const v1::Job ended = WaitOnce(cluster, cluster.Submit(RedrawPrompt(), 0, order));
    hashes.push_back(cluster.OutputHash(ended));
    // In the exact order each of these tiles waits for the one before, so one worker may do them all.
    if (order == "independent") CHECK(Workers(ended).size() >= static_cast<size_t>(std::min(workers, 2)));
  }
  return hashes;
}

// What one undisturbed worker makes of both orders.
const std::vector<std::string>& Undisturbed() {
  static const std::vector<std::string> hashes = HashesWith(1);
  return hashes;
}

TEST_CASE("real worker: 1, 2, 3 and 8 make the same bytes") {
  CHECK(Undisturbed()[0] != Undisturbed()[1]);  // the orders are different pictures
  CHECK(HashesWith(2) == Undisturbed());
  CHECK(HashesWith(3) == Undisturbed());
  CHECK(HashesWith(8) == Undisturbed());
}

// A plain workflow of the original pack, two pictures enlarged and redrawn with every kind of seam pass.
Json EnlargePrompt() {
  Json prompt = RedrawPrompt();
  prompt["4"]["inputs"] = {{"width", 80}, {"height", 64}, {"batch_size", 2}, {"color", 0x7070B0}};
  prompt["5"]["class_type"] = "UltimateSDUpscaleCustomSample";
  Json& inputs = prompt["5"]["inputs"];
  const Json image = inputs["upscaled_image"];
  inputs["image"] = image;
  inputs.erase("upscaled_image");
  inputs.erase("padding");
  inputs.update({{"upscale_by", 2.0},
                 {"steps", 2},
                 {"mode_type", "Chess"},
                 {"tile_width", 64},
                 {"tile_height", 64},
                 {"tile_padding", 16},
                 {"seam_fix_mode", "Half Tile + Intersections"},
                 {"seam_fix_denoise", 1.0},
                 {"seam_fix_width", 64},
                 {"seam_fix_mask_blur", 8},
                 {"seam_fix_padding", 16},
                 {"batch_size", 1}});
  return prompt;
}

TEST_CASE("real worker: a plain enlargement with seam passes is spread, 1 and 3 make the same bytes") {
  const auto hashes = [](size_t workers) {
    Cluster cluster(Real(DemoModels()));
    for (size_t i = 1; i <= workers; ++i) StartAttached(cluster, "w" + std::to_string(i));
    std::vector<std::string> all;
    for (const std::string& order : Orders()) {
      const v1::Job ended = WaitOnce(cluster, cluster.Submit(EnlargePrompt(), 0, order));
      CHECK(ended.tasks_total() >= 6 + 3 + 4 + 2);
      CHECK(Workers(ended).size() >= std::min<size_t>(workers, 2));
      all.push_back(cluster.OutputHash(ended));
    }
    return all;
  };
  const std::vector<std::string> one = hashes(1);
  CHECK(one[0] != one[1]);
  CHECK(hashes(3) == one);
}

TEST_CASE("real worker: one killed in the middle of a tile") {
  const std::vector<std::string> expected = Undisturbed();
  Cluster cluster(Real(DemoModels()));
  StartAttached(cluster, "lives");
  std::vector<v1::Job> ended;
  for (size_t i = 0; i < Orders().size(); ++i) {
    INFO(Orders()[i]);
    StartAttached(cluster, "dies");  // the second time as another process of the same name
    const std::string job = cluster.Submit(RedrawPrompt(), 0, Orders()[i]);
    std::string held;
    REQUIRE(cluster.WaitEvent(job, [&](const v1::JobEvent& event) {
      held = event.task().id();
      return event.task().worker() == "dies" && event.task().state() == "leased" && event.task().step() > 0;
    }));
    cluster.worker("dies").Kill();
    const StatusOr<v1::Job> middle = cluster.client().GetJob(job);
    REQUIRE(middle.ok());
    CHECK(middle->tasks_done() < middle->tasks_total());
    ended.push_back(WaitOnce(cluster, job));
    CHECK(cluster.OutputHash(ended.back()) == expected[i]);
    for (const v1::Task& task : ended.back().tasks())
      if (task.id() == held) CHECK(task.state() == "done");
  }
  CheckAcceptedOnce(cluster, ended);
}

TEST_CASE("real worker: one that joins late takes part") {
  const std::vector<std::string> expected = Undisturbed();
  Cluster cluster(Real(DemoModels()));
  StartAttached(cluster, "early");
  const std::string job = cluster.Submit(RedrawPrompt(), 0, "independent");
  REQUIRE(cluster.WaitEvent(job, [](const v1::JobEvent& event) { return event.job().tasks_done() >= 1; }));
  cluster.StartWorker("late");
  const v1::Job ended = WaitOnce(cluster, job);
  CHECK(Workers(ended) == std::set<std::string>{"early", "late"});
  CHECK(cluster.OutputHash(ended) == expected[1]);
  CheckAcceptedOnce(cluster, {ended});
}

TEST_CASE("real worker: the master killed and started again in the middle") {
  const std::vector<std::string> expected = Undisturbed();
  for (size_t i = 0; i < Orders().size(); ++i) {
    INFO(Orders()[i]);
    Cluster cluster(Real(DemoModels()));
    StartAttached(cluster, "w1");
    StartAttached(cluster, "w2");
    const std::string job = cluster.Submit(RedrawPrompt(), 0, Orders()[i]);
    REQUIRE(cluster.WaitEvent(job, [](const v1::JobEvent& event) {
      return event.job().tasks_done() >= 3 && event.task().state() == "leased" && event.task().step() > 0;
    }));
    cluster.master().Kill();
    const std::vector<AcceptedTask> before = cluster.Accepted(job);
    CHECK(before.size() >= 3);
    cluster.StartMaster();  // the workers find it again by themselves, with what they hold
    const v1::Job ended = WaitOnce(cluster, job, before);
    CHECK(before.size() < ended.tasks_total());
    CHECK(cluster.OutputHash(ended) == expected[i]);
    CHECK(cluster.worker("w1").Running());
    CHECK(cluster.worker("w2").Running());
    CheckAcceptedOnce(cluster, {ended});
    const std::vector<AcceptedTask> after = cluster.Accepted(job);
    REQUIRE(after.size() >= before.size());
    CHECK(std::equal(before.begin(), before.end(), after.begin()));
  }
}

}  // namespace
}  // namespace atelier::test
