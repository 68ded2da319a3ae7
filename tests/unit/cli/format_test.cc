#include "master/cli/format.h"

#include <catch2/catch.hpp>

namespace atelier::cli {
namespace {

TEST_CASE("times and sizes read well") {
  CHECK(FormatSeconds(-1) == "0.0 s");
  CHECK(FormatSeconds(0.44) == "0.4 s");
  CHECK(FormatSeconds(9.96) == "10 s");
  CHECK(FormatSeconds(59.4) == "59 s");
  CHECK(FormatSeconds(187) == "3:07");
  CHECK(FormatSeconds(3729) == "1:02:09");
  CHECK(FormatBytes(0) == "0 B");
  CHECK(FormatBytes(1023) == "1023 B");
  CHECK(FormatBytes(1258291) == "1.2 MiB");
  CHECK(FormatBytes(uint64_t{78} << 30) == "78 GiB");
}

TEST_CASE("a table is aligned by what is seen, not by bytes") {
  CHECK(FormatTable({"NAME", "N", "NOTE"}, {{"é", "10", ""}, {"worker", "7", "x"}}, {1}) ==
        "NAME     N  NOTE\n"
        "é       10\n"
        "worker   7  x\n");
}

TEST_CASE("text from the cluster cannot steer the terminal") {
  CHECK(Clip("a\x1b[2Jb\n", 20) == "a [2Jb ");
  CHECK(Clip("äöü", 3) == "äöü");
  CHECK(Clip("äöüß", 3) == "äö…");
  CHECK(Clip("abc", 0).empty());
}

TEST_CASE("the JSON of a job has the fixed form") {
  v1::Job job;
  job.set_id("j");
  job.set_state("done");
  job.set_seconds(1.23456);
  v1::Output& output = *job.add_outputs();
  output.set_node("9");
  output.set_path("/o/a.png");
  output.set_type("output");
  CHECK(DumpJson(JobJson(job)) ==
        R"({"job":"j","state":"done","seconds":1.235,"outputs":[{"node":"9","path":"/o/a.png","type":"output"}]})");
  job.set_error("node 3: broken");
  CHECK(JobJson(job)["error"] == "node 3: broken");
  CHECK(DumpJson(FailedJson("invalid", "why")) ==
        R"({"job":null,"state":"invalid","seconds":0.0,"outputs":[],"error":"why"})");
}

TEST_CASE("a report becomes a sentence a fault") {
  const auto sentences = ReportSentences(
      R"({"error":{"type":"prompt_outputs_failed_validation","message":"Prompt outputs failed validation","details":""},
          "node_errors":{"5":{"errors":[{"type":"value_bigger_than_max","message":"Value 20000 bigger than max of 10000",
          "details":"steps"},{"type":"required_input_missing","message":"Required input is missing","details":"seed"}],
          "class_type":"KSampler"}}})");
  REQUIRE(sentences.size() == 2);
  CHECK(sentences[0] == "node 5 (KSampler): Value 20000 bigger than max of 10000: steps");
  CHECK(sentences[1] == "node 5 (KSampler): Required input is missing: seed");
  CHECK(
      ReportSentences(R"({"error":{"type":"prompt_no_outputs","message":"Prompt has no outputs"},"node_errors":{}})") ==
      std::vector<std::string>{"Prompt has no outputs"});
  CHECK(ReportSentences("").empty());
  CHECK(ReportSentences("not json") == std::vector<std::string>{"not json"});
  CHECK(ReportSentences("[1]") == std::vector<std::string>{"[1]"});
  CHECK(ReportSentences(R"({"node_errors":{"1":{"errors":3}}})").size() == 1);
}

TEST_CASE("why tells every worker's reason") {
  v1::Job job;
  job.set_id("j");
  job.set_state("running");
  job.set_waiting("a worker with 8 GiB");
  v1::Task& task = *job.add_tasks();
  task.set_id("t1");
  task.set_label("replica 2");
  v1::ListWorkersReply workers;
  CHECK(WhyText(job, workers).find("start one with atelier-worker") != std::string::npos);
  v1::Worker& busy = *workers.add_workers();
  busy.set_name("a");
  busy.set_state("connected");
  busy.add_running("t1");
  v1::Worker& gone = *workers.add_workers();
  gone.set_name("b");
  gone.set_state("offline");
  gone.set_note("lost 3 minutes ago");
  v1::Worker& idle = *workers.add_workers();
  idle.set_name("c");
  idle.set_state("connected");
  const std::string text = WhyText(job, workers);
  CHECK(text.find("waits for: a worker with 8 GiB") != std::string::npos);
  CHECK(text.find("a       connected  runs replica 2\n") != std::string::npos);
  CHECK(text.find("b       offline    lost 3 minutes ago\n") != std::string::npos);
  CHECK(text.find("c       connected  idle\n") != std::string::npos);
}

TEST_CASE("a node's inputs are shown with ranges, hidden ones are not") {
  const auto spec = ParseJson(
      R"({"type":"KSampler","display_name":"KSampler","category":"sampling","inputs":[
        {"name":"steps","type":"INT","default":20,"min":1,"max":10000},
        {"name":"scheduler","type":"COMBO","choices":["normal","karras"]},
        {"name":"ckpt","type":"COMBO","folder":"checkpoints","required":false},
        {"name":"replica_index","type":"INT","hidden":true}],"outputs":[{"name":"LATENT","type":"LATENT"}]})");
  REQUIRE(spec.ok());
  const std::string text = NodeText(*spec);
  CHECK(text.find("KSampler\ncategory: sampling\n") == 0);
  CHECK(text.find("1 to 10000") != std::string::npos);
  CHECK(text.find("normal | karras") != std::string::npos);
  CHECK(text.find("a file of checkpoints") != std::string::npos);
  CHECK(text.find("optional") != std::string::npos);
  CHECK(text.find("replica_index") == std::string::npos);
}

}  // namespace
}  // namespace atelier::cli
