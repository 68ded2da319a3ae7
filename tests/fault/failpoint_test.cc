// The master is killed at every durable step: the job ends with the same bytes, each task accepted once.
#include <signal.h>

#include <catch2/catch.hpp>
#include <set>

#include "master/store/files.h"
#include "tests/fault/fake_nodes.h"
#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {
namespace {

std::vector<std::string> Jobs(Cluster& cluster) {
  std::vector<std::string> ids;
  const auto jobs = cluster.client().ListJobs(100);
  REQUIRE(jobs.ok());
  for (const v1::Job& job : jobs->jobs()) ids.push_back(job.id());
  return ids;
}

// The job that the cluster has, submitted (again) when the killed master had not stored it.
std::string TheJob(Cluster& cluster, const Json& prompt) {
  const std::vector<std::string> ids = Jobs(cluster);
  REQUIRE(ids.size() <= 1);
  return ids.empty() ? cluster.Submit(prompt, 0, "exact") : ids[0];
}

TEST_CASE("the master killed at every durable step") {
  const Json prompt = TilePrompt(0);
  std::string expected;
  {
    Cluster cluster(FakeNodes());
    cluster.StartWorker("alone");
    expected = cluster.OutputHash(cluster.WaitJob(cluster.Submit(prompt, 0, "exact")));
  }
  for (const std::string_view name : Failpoints()) {
    for (const int count : {1, 2, 5}) {
      INFO(name << ", pass " << count);
      Cluster cluster(FakeNodes());
      cluster.master().Kill();
      Process& doomed = cluster.LaunchMaster({{"ATELIER_FAILPOINT", Cat(name, ":", count)}});
      cluster.StartWorker("w1");
      cluster.StartWorker("w2");
      // Submitting may already be too much for it, and then the answer is lost.
      v1::SubmitRequest request;
      request.set_workflow(DumpJson(prompt));
      request.set_tiles("exact");
      while (doomed.Running() && !cluster.client().Submit(request).ok()) (void)cluster.client().WaitReachable(0.1).ok();
      // Some steps happen but once in a job, so not every pass is reached; the first always is.
      const auto ended_by_itself = [&] {
        const auto jobs = cluster.client().ListJobs(1);
        return jobs.ok() && jobs->jobs_size() == 1 && jobs->jobs(0).state() == "done";
      };
      bool died = false;
      while (!died && !ended_by_itself()) died = doomed.WaitEnd(0.1);
      // The last steps come after the job is told as done; the list of workers is stored once a second.
      died = died || doomed.WaitEnd(count == 1 ? 5 : 0.5);
      INFO(doomed.Log());
      if (count == 1) REQUIRE(died);
      if (died) {
        CHECK(doomed.exit_code() == 128 + SIGKILL);
        cluster.StartMaster();
      }
      const v1::Job ended = cluster.WaitJob(TheJob(cluster, prompt));
      CHECK(cluster.OutputHash(ended) == expected);
      CHECK(ended.outputs_size() == 1);
      int files = 0;
      for (const auto& file : std::filesystem::recursive_directory_iterator(cluster.output_dir()))
        files += file.is_regular_file() ? 1 : 0;
      CHECK(files == 1);
      cluster.master().Kill();
      std::set<std::string> seen;
      for (const AcceptedTask& task : cluster.Accepted(ended.id())) CHECK(seen.insert(task.task_id).second);
      CHECK(seen.size() == 12);  // 9 tiles, their canvas, what comes before and after
      if (!died) break;
    }
  }
}

TEST_CASE("a failpoint that there is not is refused, none is armed by itself") {
  TempDir dir;
  Process master({BinDir() + "/atelier-master", "--listen", "127.0.0.1:0", "--state", dir / "state"}, dir / "log",
                 {{"ATELIER_DATA_DIR", ATELIER_SOURCE_DIR "/config"}, {"ATELIER_FAILPOINT", "no such step"}});
  REQUIRE(master.WaitEnd(30));
  CHECK(master.exit_code() == 1);
  CHECK(master.Log().find("ATELIER_FAILPOINT names no failpoint: \"no such step\"") != std::string::npos);
}

}  // namespace
}  // namespace atelier::test
