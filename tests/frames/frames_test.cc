// Videos go from a file to a file in windows of frames: the bytes are those of all frames in memory at once, whatever
// the windows, whoever makes them and whoever dies. docs/frames.md.
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "common/media/tags.h"
#include "tests/fault_real/real.h"
#include "tests/frames/clip.h"
#include "tests/frames/prompts.h"

namespace atelier::test {
namespace {

Json ScalePrompt(const Json& combine = Json::object()) {
  return {{"1", LoadNode()}, {"2", ScaleNode("1", "bicubic", 112, 80)}, {"3", CombineNode("2", true, combine)}};
}
Json EnlargePrompt() {
  return {{"1", LoadNode()},
          {"4", Node("UpscaleModelLoader", {{"model_name", "realesr-animevideov3.safetensors"}})},
          {"2", Node("ImageUpscaleWithModel", {{"upscale_model", Link("4")}, {"image", Link("1")}})},
          {"3", CombineNode("2", true)}};
}
// The same through the nodes of the reference: LoadVideo, GetVideoComponents, CreateVideo, SaveVideo.
Json ComponentsPrompt() {
  return {{"1", Node("LoadVideo", {{"file", "clip.mp4"}})},
          {"2", Node("GetVideoComponents", {{"video", Link("1")}})},
          {"3", ScaleNode("2", "lanczos", 112, 80)},
          {"4", Node("CreateVideo", {{"images", Link("3")}, {"fps", Link("2", 2)}, {"audio", Link("2", 1)}})},
          {"5", Node("SaveVideo",
                     {{"video", Link("4")}, {"filename_prefix", "video/out"}, {"format", "auto"}, {"codec", "auto"}})}};
}
// Each frame redrawn in tiles by the demonstration's model.
Json RedrawFramesPrompt(int cap) {
  Json prompt = RedrawPrompt();
  Json inputs = prompt["5"]["inputs"];
  inputs.update({{"upscaled_image", Link("9")}, {"steps", 1}, {"padding", 8}, {"tile_width", 64}, {"tile_height", 64}});
  prompt.erase("4");
  prompt.erase("6");
  prompt["5"]["inputs"] = inputs;
  prompt["1b"] = prompt["1"];
  prompt["1"] = LoadNode(cap);
  for (const char* id : {"2", "3"}) prompt[id]["inputs"]["clip"] = Link("1b", 1);
  prompt["5"]["inputs"]["model"] = Link("1b");
  prompt["5"]["inputs"]["vae"] = Link("1b", 2);
  prompt["9"] = ScaleNode("1", "lanczos", 112, 80);
  prompt["8"] = CombineNode("5", true);
  return prompt;
}

struct Setting {
  std::string frames = "auto";
  int window = 0, workers = 1;
};

ClusterOptions OptionsOf(const Setting& setting) {
  ClusterOptions options = Real(DemoModels());
  options.config = Cat("scheduling:\n  frames: ", setting.frames, "\n  window_frames: ", setting.window, "\n");
  return options;
}

void PutClip(Cluster& cluster, const std::string& clip) {
  std::ofstream(cluster.dir() / "input/clip.mp4", std::ios::binary) << clip;
}

struct Made {
  std::vector<std::string> hashes;
  std::vector<uint32_t> tasks;
};

Made Run(const Setting& setting, const std::string& clip, const std::vector<Json>& prompts,
         const std::string& tiles = "") {
  INFO(setting.frames << " windows of " << setting.window << ", workers " << setting.workers);
  Cluster cluster(OptionsOf(setting));
  PutClip(cluster, clip);
  for (int i = 1; i <= setting.workers; ++i) StartAttached(cluster, "w" + std::to_string(i));
  Made made;
  for (const Json& prompt : prompts) {
    const v1::Job ended = cluster.WaitJob(cluster.Submit(prompt, 0, tiles), 180);
    made.hashes.push_back(cluster.OutputHash(ended));
    made.tasks.push_back(ended.tasks_total());
  }
  return made;
}

TEST_CASE("100 frames: whole, made as they are taken, and in stored windows on 1 and 3 workers are the same files") {
  const std::string clip = MakeClip(100, 56, 40, true);
  const std::vector<Json> prompts{ScalePrompt(), EnlargePrompt(), ComponentsPrompt(),
                                  ScalePrompt({{"pingpong", true}, {"loop_count", 1}}),
                                  ScalePrompt({{"format", "video/ffv1-mkv"}})};
  const Made whole = Run({"whole", 0, 1}, clip, prompts);
  CHECK(whole.tasks == std::vector<uint32_t>(prompts.size(), 1));
  CHECK(std::set<std::string>(whole.hashes.begin(), whole.hashes.end()).size() == prompts.size());
  const Made automatic = Run({"auto", 7, 1}, clip, prompts);
  CHECK(automatic.hashes == whole.hashes);
  // 15 windows of 7, what comes before and the sink; what needs no model and no second look goes in one task.
  CHECK(automatic.tasks == std::vector<uint32_t>{1, 17, 1, 17, 1});
  const Made three = Run({"windows", 7, 3}, clip, prompts);
  CHECK(three.hashes == whole.hashes);
  CHECK(three.tasks == std::vector<uint32_t>(prompts.size(), 17));
  CHECK(Run({"windows", 64, 1}, clip, prompts).hashes == whole.hashes);
  CHECK(Run({"windows", 0, 3}, clip, prompts).hashes == whole.hashes);
}

TEST_CASE("frames redrawn in tiles, each by itself: the same in memory, in windows and on more workers") {
  const std::string clip = MakeClip(6, 56, 40, true);
  Json batch = RedrawPrompt();  // five pictures that are no video
  batch["4"] = Node("RepeatImageBatch", {{"image", Link("9")}, {"amount", 5}});
  batch["9"] = Node("EmptyImage", {{"width", 128}, {"height", 128}, {"batch_size", 1}, {"color", 0x7070B0}});
  batch["5"]["inputs"]["steps"] = 1;
  const std::vector<Json> prompts{RedrawFramesPrompt(5), batch};
  const Made whole = Run({"whole", 0, 1}, clip, prompts, "by-image");
  CHECK(whole.tasks == std::vector<uint32_t>{1, 1});
  const Made one = Run({"auto", 2, 1}, clip, prompts, "by-image");
  CHECK(one.hashes == whole.hashes);
  CHECK(one.tasks == std::vector<uint32_t>{5, 7});  // windows of 2, 2 and 1; a picture each
  CHECK(Run({"auto", 1, 3}, clip, prompts, "by-image").hashes == whole.hashes);
}

std::string Slurp(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

TEST_CASE("the master knows of a clip and tags one, and reads none itself") {
  Cluster cluster(OptionsOf({"windows", 7, 1}));
  StartAttached(cluster, "w1");
  v1::SubmitRequest request;
  request.set_workflow(DumpJson(ScalePrompt()));
  const auto explained = [&](const std::string& clip) {
    PutClip(cluster, clip);
    const auto reply = cluster.client().Explain(request);
    INFO(Message(reply.status()));
    REQUIRE(reply.ok());
    return reply->text();
  };
  const std::string clip = MakeClip(20, 56, 40, true);
  const std::string damaged = explained(std::string(2000, 'x'));
  INFO(damaged);
  CHECK(damaged.find("no video or sound that can be read") != std::string::npos);
  const std::string whole = explained(clip);
  INFO(whole);
  CHECK(whole.find("windows of 7 frames of 56x40; the file has about 20") != std::string::npos);

  const v1::Job ended = cluster.WaitJob(cluster.Submit(ScalePrompt()), 120);
  INFO(ended.error());
  REQUIRE(ended.state() == "done");
  int tagged = 0;
  for (const v1::Output& output : ended.outputs()) {
    if (!output.path().ends_with(".mp4")) continue;
    const auto tags = media::ReadTags(Slurp(output.path()));
    REQUIRE(tags.ok());
    for (const auto& [key, text] : *tags)
      if (key == "prompt") tagged += text.find("VHS_VideoCombine") != std::string::npos ? 1 : 0;
  }
  CHECK(tagged >= 1);
  const std::string mapped = Slurp(Cat("/proc/", cluster.master().pid(), "/maps"));
  CHECK(mapped.find("libgrpc") != std::string::npos);
  CHECK(mapped.find("libav") == std::string::npos);
}

TEST_CASE("clips of replicas that differ in length come apart as they were") {
  Json prompt{{"1", Node("DistributedSeed", {{"seed", 2}})},
              {"2", Node("EmptyImage", {{"width", 64}, {"height", 48}, {"batch_size", Link("1")}, {"color", 255}})},
              {"3", Node("DistributedCollector", {{"images", Link("2")}, {"load_balance", false}})},
              {"4", Node("ImageBatchDivider", {{"images", Link("3")}, {"divide_by", 3}})}};
  for (int part = 0; part < 3; ++part) {
    Json combine = CombineNode("4", false);
    combine["inputs"]["images"] = Link("4", part);
    prompt[Cat("out", part)] = combine;
  }
  Cluster cluster(OptionsOf({"auto", 0, 2}));
  for (const char* name : {"w1", "w2"}) StartAttached(cluster, name);
  const v1::Job ended = cluster.WaitJob(cluster.Submit(prompt, 3), 120);
  INFO(ended.error());
  REQUIRE(ended.state() == "done");
  std::map<std::string, int64_t> frames;
  for (const v1::Output& output : ended.outputs()) {
    if (!output.path().ends_with(".mp4")) continue;
    const auto info = media::Probe(Slurp(output.path()));
    REQUIRE(info.ok());
    frames[output.node()] = info->video->frames;
  }
  CHECK(frames == std::map<std::string, int64_t>{{"out0", 2}, {"out1", 3}, {"out2", 4}});
}

TEST_CASE("a worker killed twice and the master once cost a window, and the file is the same") {
  const std::string clip = MakeClip(200, 56, 40, true);
  const std::string expected = Run({"whole", 0, 1}, clip, {EnlargePrompt()}).hashes.at(0);
  Cluster cluster(OptionsOf({"auto", 8, 2}));
  PutClip(cluster, clip);
  StartAttached(cluster, "lives");
  StartAttached(cluster, "dies");
  const std::string job = cluster.Submit(EnlargePrompt());
  std::set<std::string> done, repeated;
  const auto note = [&](const v1::JobEvent& event) {
    if (event.task().state() == "done") done.insert(event.task().id());
    if (event.task().state() == "leased" && done.contains(event.task().id())) repeated.insert(event.task().id());
  };
  for (const uint32_t at : {4U, 9U}) {
    REQUIRE(cluster.WaitEvent(job, [&](const v1::JobEvent& event) {
      note(event);
      return event.job().tasks_done() >= at && event.task().worker() == "dies" && event.task().state() == "leased";
    }));
    cluster.worker("dies").Kill();
    StartAttached(cluster, "dies");
  }
  REQUIRE(cluster.WaitEvent(job, [&](const v1::JobEvent& event) {
    note(event);
    return event.job().tasks_done() >= 14;
  }));
  cluster.master().Kill();
  const std::vector<AcceptedTask> before = cluster.Accepted(job);
  CHECK(before.size() >= 14);
  for (const AcceptedTask& task : before) done.insert(task.task_id);
  cluster.StartMaster();
  const v1::Job ended = cluster.WaitJob(job, 180, note);
  CHECK(repeated.empty());
  CHECK(ended.tasks_total() == 25 + 2);
  CHECK(before.size() < ended.tasks_total());
  CHECK(cluster.OutputHash(ended) == expected);
  cluster.master().Kill();
  CHECK(cluster.Accepted(job).size() == ended.tasks_total());
}

}  // namespace
}  // namespace atelier::test
