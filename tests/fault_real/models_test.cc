// Model files that are damaged or gone: the job says which file and what to do, everybody stays up.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "master/cli/format.h"
#include "tests/fault_real/real.h"

namespace atelier::test {
namespace {

std::string DemoBytes() {
  std::ifstream in(DemoModels() + "/checkpoints/demo.safetensors", std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  REQUIRE(text.str().size() > 1000000);
  return text.str();
}

std::string Checkpoint(const Cluster& cluster, const std::string& name) {
  return cluster.models_dir() + "/checkpoints/" + name;
}

void PutCheckpoint(const Cluster& cluster, const std::string& name, const std::string& bytes) {
  std::filesystem::create_directories(cluster.models_dir() + "/checkpoints");
  std::ofstream out(Checkpoint(cluster, name), std::ios::binary);
  out << bytes;
  out.close();
  REQUIRE(out.good());
}

std::string Replaced(std::string bytes, const std::string& from, const std::string& to) {
  const size_t at = bytes.find(from);
  REQUIRE(at != std::string::npos);
  return bytes.replace(at, from.size(), to);
}

// One line that has each of `parts`.
void CheckSentence(const std::string& text, const std::vector<std::string>& parts) {
  INFO(text);
  CHECK(text.find('\n') == std::string::npos);
  for (const std::string& part : parts) {
    INFO("expected: " << part);
    CHECK(text.find(part) != std::string::npos);
  }
}

TEST_CASE("real worker: damaged checkpoints fail their jobs and nobody else") {
  Cluster cluster(Real(""));
  const std::string good = DemoBytes();
  PutCheckpoint(cluster, "good.safetensors", good);
  const std::map<std::string, std::string> damaged{
      {"empty.safetensors", ""},
      {"page.safetensors", "<html>404: not found, but this is long enough to have a header</html>"},
      {"short_header.safetensors", good.substr(0, 1000)},
      {"half.safetensors", good.substr(0, good.size() / 2)},
      {"last_byte.safetensors", good.substr(0, good.size() - 1)},
      {"brace.safetensors", Replaced(good, "{", "[")},
      {"header_size.safetensors", std::string(1, '\x01') + good.substr(1)},
      {"quote.safetensors", Replaced(good, "\"dtype\"", "\"dty\x01e\"")},
      {"shape.safetensors", Replaced(good, "\"shape\":[", "\"shape\":[9")},
      {"dtype.safetensors", Replaced(good, "\"dtype\":\"F", "\"dtype\":\"Q")},
      {"family.safetensors", Replaced(good, "input_blocks.0.0.weight", "input_blocks.0.0.wEight")},
      {"tensor.safetensors",
       Replaced(good, "output_blocks.0.0.emb_layers.1.weight", "output_blocks.0.0.emb_layers.1.wEight")},
      {"bias_unet.safetensors", Replaced(good, "input_blocks.1.1.proj_in.bias", "input_blocks.1.1.proj_in.bIas")},
      {"bias_norm.safetensors", Replaced(good, "transformer_blocks.0.norm2.bias", "transformer_blocks.0.norm2.bIas")},
      {"bias_text.safetensors", Replaced(good, "layers.0.self_attn.q_proj.bias", "layers.0.self_attn.q_proj.bIas")},
      {"bias_vae.safetensors", Replaced(good, "decoder.conv_out.bias", "decoder.conv_out.bIas")},
  };
  for (const auto& [name, bytes] : damaged) PutCheckpoint(cluster, name, bytes);
  Process& w1 = StartAttached(cluster, "w1");
  Process& w2 = StartAttached(cluster, "w2");
  for (const auto& [name, bytes] : damaged) {
    INFO(name);
    const v1::Job ended = cluster.WaitJob(cluster.Submit(PicturePrompt(1, 5, name)), 60);
    CHECK(ended.state() == "failed");
    CheckSentence(ended.error(), {name, "CheckpointLoaderSimple", "download it again"});
    CHECK(w1.Running());
    CHECK(w2.Running());
  }
  CHECK(cluster.master().Running());
  const StatusOr<v1::ListWorkersReply> workers = cluster.client().ListWorkers();
  REQUIRE(workers.ok());
  for (const v1::Worker& worker : workers->workers()) {
    INFO(worker.name() << ": " << worker.note());
    CHECK(worker.state() == "connected");
  }
  CHECK(cluster.WaitJob(cluster.Submit(PicturePrompt(2, 5, "good.safetensors")), 60).state() == "done");
}

TEST_CASE("real worker: a damaged checkpoint replaced by a good one works at once") {
  Cluster cluster(Real(""));
  const std::string good = DemoBytes();
  PutCheckpoint(cluster, "demo.safetensors", good.substr(0, good.size() / 2));
  StartAttached(cluster, "w1");
  CHECK(cluster.WaitJob(cluster.Submit(PicturePrompt(1)), 60).state() == "failed");
  PutCheckpoint(cluster, "demo.safetensors", good);
  CHECK(cluster.WaitJob(cluster.Submit(PicturePrompt(1)), 60).state() == "done");
}

TEST_CASE("real worker: a checkpoint that disappears before its task begins") {
  Cluster cluster(Real(""));
  PutCheckpoint(cluster, "demo.safetensors", DemoBytes());
  std::filesystem::copy_file(Checkpoint(cluster, "demo.safetensors"), Checkpoint(cluster, "other.safetensors"));
  SECTION("while the worker is busy with another job") {
    Process& worker = StartAttached(cluster, "w1");
    const std::string busy = cluster.Submit(PicturePrompt(2000));
    REQUIRE(cluster.WaitEvent(busy, [](const v1::JobEvent& event) { return event.task().step() > 0; }));
    const std::string job = cluster.Submit(PicturePrompt(1, 5, "other.safetensors"));
    // It is leased before its own watch can begin, so the steps of the other job are the clock.
    REQUIRE(cluster.WaitEvent(busy, [&](const v1::JobEvent&) {
      const StatusOr<v1::Job> queued = cluster.client().GetJob(job);
      return queued.ok() && queued->tasks_size() > 0 && queued->tasks(0).state() == "leased";
    }));
    REQUIRE(std::filesystem::remove(Checkpoint(cluster, "other.safetensors")));
    REQUIRE(cluster.client().CancelJob(busy).ok());
    CHECK(cluster.WaitJob(busy, 60).state() == "cancelled");
    const v1::Job ended = cluster.WaitJob(job, 60);
    CHECK(ended.state() == "failed");
    CheckSentence(ended.error(), {"other.safetensors", "is not in", "put the file there"});
    CHECK(worker.Running());
    CHECK(cluster.WaitJob(cluster.Submit(PicturePrompt(1, 6)), 60).state() == "done");
    CHECK(cluster.SubmitRefused(PicturePrompt(1, 7, "gone.safetensors")).find("gone.safetensors") != std::string::npos);
  }
  SECTION("before a worker attached; the job waits for the file") {
    const std::string job = cluster.Submit(PicturePrompt(1));
    REQUIRE(std::filesystem::remove(Checkpoint(cluster, "demo.safetensors")));
    StartAttached(cluster, "w1");
    // Another job is not held up by it.
    CHECK(cluster.WaitJob(cluster.Submit(PicturePrompt(1, 5, "other.safetensors")), 60).state() == "done");
    const StatusOr<v1::Job> waiting = cluster.client().GetJob(job);
    REQUIRE(waiting.ok());
    CHECK_FALSE(cli::IsEnded(waiting->state()));
    CheckSentence(waiting->waiting(), {"w1", "demo.safetensors", "checkpoints"});
    std::filesystem::rename(Checkpoint(cluster, "other.safetensors"), Checkpoint(cluster, "demo.safetensors"));
    CHECK(cluster.WaitJob(job, 60).state() == "done");  // the worker saw it come back
  }
}

TEST_CASE("real worker: models that do not fit are streamed and give the same bytes") {
  std::map<std::string, std::string> hashes;
  for (const std::string limit : {"0", "4000000", "1"}) {
    ClusterOptions options = Real(DemoModels());
    options.worker_flags.insert(options.worker_flags.end(), {"--models-bytes-max", limit});
    Cluster cluster(options);
    Process& worker = StartAttached(cluster, "w1");
    const v1::Job ended = cluster.WaitJob(cluster.Submit(PicturePrompt(3)), 120);
    INFO(worker.Log());
    REQUIRE(ended.state() == "done");
    hashes[limit] = cluster.OutputHash(ended);
    CHECK((worker.Log().find("is streamed") != std::string::npos) == (limit != "0"));
  }
  CHECK(hashes["4000000"] == hashes["0"]);
  CHECK(hashes["1"] == hashes["0"]);
}

}  // namespace
}  // namespace atelier::test
