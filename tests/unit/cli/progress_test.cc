#include "master/cli/progress.h"

#include <catch2/catch.hpp>
#include <sstream>

#include "master/cli/format.h"

namespace atelier::cli {
namespace {

v1::JobEvent JobIs(const std::string& state, uint32_t done, uint32_t total) {
  v1::JobEvent event;
  event.mutable_job()->set_id("j");
  event.mutable_job()->set_state(state);
  event.mutable_job()->set_tasks_done(done);
  event.mutable_job()->set_tasks_total(total);
  return event;
}

v1::JobEvent TaskIs(const std::string& id, const std::string& label, const std::string& state,
                    const std::string& worker, uint32_t step = 0, uint32_t total = 0, uint32_t attempts = 1) {
  v1::JobEvent event = JobIs("running", 0, 4);
  v1::Task& task = *event.mutable_task();
  task.set_id(id);
  task.set_label(label);
  task.set_state(state);
  task.set_worker(worker);
  task.set_step(step);
  task.set_total(total);
  task.set_attempts(attempts);
  return event;
}

TEST_CASE("a bar is filled by its share") {
  CHECK(Bar(0, 4, 8) == "[--------]");
  CHECK(Bar(1, 4, 8) == "[##------]");
  CHECK(Bar(9, 4, 8) == "[########]");
  CHECK(Bar(3, 0, 4) == "[----]");
}

TEST_CASE("plain lines: each change once") {
  ProgressView view("w.json", 0);
  CHECK(view.Apply(JobIs("queued", 0, 0), 0) == std::vector<std::string>{"w.json: queued"});
  CHECK(view.Apply(JobIs("queued", 0, 0), 0).empty());
  auto lines = view.Apply(TaskIs("t1", "replica 1", "leased", "w1", 0, 20), 1);
  CHECK(lines == std::vector<std::string>{"w.json: running", "replica 1: started on w1"});
  CHECK(view.Apply(TaskIs("t1", "replica 1", "leased", "w1", 7, 20), 2).empty());
  lines = view.Apply(TaskIs("t1", "replica 1", "leased", "w2", 0, 20, 2), 3);
  CHECK(lines == std::vector<std::string>{"replica 1: started on w2 (attempt 2)"});
  v1::JobEvent done = TaskIs("t1", "replica 1", "done", "w2", 20, 20, 2);
  done.mutable_task()->set_seconds(12);
  CHECK(view.Apply(done, 4) == std::vector<std::string>{"replica 1: done on w2 in 12 s"});
  v1::JobEvent failed = JobIs("failed", 1, 4);
  failed.mutable_job()->set_error("node 3: no memory");
  failed.mutable_job()->set_seconds(5);
  CHECK(view.Apply(failed, 5) == std::vector<std::string>{"w.json: failed after 5.0 s: node 3: no memory"});
}

TEST_CASE("bars: one line a worker, tiles and tasks in the last") {
  ProgressView view("w.json", 10);
  view.Apply(TaskIs("t1", "replica 1", "leased", "w1", 5, 20), 11);
  view.Apply(TaskIs("t2", "tile 3/16 of node 12", "leased", "w2", 2, 4), 12);
  view.Apply(TaskIs("t3", "tile 1/16 of node 12", "done", "w2"), 13);
  const auto bars = view.Bars(15, 100, 24);
  REQUIRE(bars.size() == 3);
  CHECK(bars[0] == "w1  [######------------------]    5/20  replica 1             4.0 s");
  CHECK(bars[1] == "w2  [############------------]     2/4  tile 3/16 of node 12  3.0 s");
  CHECK(bars[2] == "w.json  running  [------------------------]  tasks 0/4  tiles 1/16  5.0 s");
  for (const std::string& line : view.Bars(15, 30, 24)) CHECK(DisplayWidth(line) <= 30);
  CHECK(view.Bars(15, 100, 2).size() == 2);
}

TEST_CASE("without a terminal nothing is redrawn") {
  std::ostringstream out;
  {
    ProgressPrinter printer(out, false, "w.json");
    printer.Apply(JobIs("running", 0, 1));
    printer.Apply(TaskIs("t1", "replica 1", "leased", "w1"));
  }
  CHECK(out.str() == "w.json: running\nreplica 1: started on w1\n");
}

TEST_CASE("on a terminal the bars are erased at the end") {
  std::ostringstream out;
  {
    ProgressPrinter printer(out, true, "w.json");
    printer.Apply(TaskIs("t1", "replica 1", "leased", "w1"));
  }
  CHECK(out.str().find("replica 1") != std::string::npos);
  CHECK(out.str().ends_with("\x1b[1A\x1b[2K"));
}

}  // namespace
}  // namespace atelier::cli
