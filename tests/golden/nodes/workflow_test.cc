#include <catch2/catch.hpp>
#include <cmath>

#include "common/image/codec.h"
#include "tests/golden/nodes/run_prompt.h"
#include "worker/engine/tensor_blob.h"

namespace atelier {
namespace {

// Largest difference of 8-bit values; huge when the sizes differ.
int MaxDifference(const DecodedImage& got, const DecodedImage& want) {
  if (got.rgb.width != want.rgb.width || got.rgb.height != want.rgb.height || got.has_alpha != want.has_alpha)
    return 1000;
  int worst = 0;
  auto compare = [&worst](const ImageU8& a, const ImageU8& b) {
    for (size_t i = 0; i < a.data.size(); ++i) worst = std::max(worst, std::abs(int{a.data[i]} - int{b.data[i]}));
  };
  compare(got.rgb, want.rgb);
  if (got.has_alpha) compare(got.alpha, want.alpha);
  return worst;
}

// Checks one emitted file against the stored one of the same prefix; returns whether there is one.
bool CheckFile(const Json& c, const OutputFile& file, const std::string& folder) {
  const double tolerance = c.at("tolerance_abs");
  std::string name = file.prefix.substr(file.prefix.rfind('/') + 1);
  INFO(c.at("id") << " " << name);
  if (file.extension == ".latent") {
    const std::string path = folder + name + ".latent.safetensors";
    if (!std::filesystem::exists(path)) return false;
    auto view = ParseSafetensors(file.bytes);
    REQUIRE(view.ok());
    const at::Tensor got = engine::TensorCopy(*view, *view->Find("latent_tensor"));
    const at::Tensor want = golden::ReadTensors(path).at("latent_tensor");
    const double difference = golden::MaxDiff(got, want);
    std::fprintf(stderr, "%-40s %-20s latent %.2e of %.1e\n", c.at("id").get<std::string>().c_str(), name.c_str(),
                 difference, tolerance);
    CHECK(difference <= tolerance);
    return true;
  }
  char indexed[32];
  std::snprintf(indexed, sizeof(indexed), "_%03d", static_cast<int>(file.batch_index));
  std::string path = folder + name + ".png";
  if (!std::filesystem::exists(path)) path = folder + name + indexed + ".png";
  if (!std::filesystem::exists(path)) return false;
  auto got = DecodeImage(file.bytes), want = DecodeImage(golden::ReadFile(path));
  REQUIRE(got.ok());
  REQUIRE(want.ok());
  // Truncation to 8 bits may fall to either side of a difference below the tolerance.
  const int difference = MaxDifference(*got, *want),
            allowed = 1 + static_cast<int>(std::floor(std::min(tolerance, 0.01) * 255));
  std::fprintf(stderr, "%-40s %-20s png %d of %d\n", c.at("id").get<std::string>().c_str(), name.c_str(), difference,
               allowed);
  CHECK(difference <= allowed);
  return true;
}

// Asks for the pictures that the reference stored as floats, as they reach SaveImage; returns their stored files.
std::vector<std::string> WantFloats(const Json& prompt, const std::string& folder, Fragment& fragment) {
  std::vector<std::string> paths;
  for (const auto& [id, node] : prompt.items()) {
    if (node.at("class_type") != "SaveImage") continue;
    const std::string prefix = node.at("inputs").at("filename_prefix");
    const std::string path = folder + prefix.substr(prefix.rfind('/') + 1) + ".image.safetensors";
    if (!std::filesystem::exists(path)) continue;
    const Json& link = node.at("inputs").at("images");
    fragment.wanted.push_back({link.at(0).get<std::string>(), link.at(1).get<int64_t>(), ""});
    paths.push_back(path);
  }
  return paths;
}

// Checks pictures as floats, finer than their 8 bits.
void CheckFloats(const Json& c, const std::string& blob, const std::string& path) {
  INFO(path);
  auto view = ParseSafetensors(blob);
  REQUIRE(view.ok());
  const at::Tensor got = engine::TensorCopy(*view, *view->Find("image"));
  const at::Tensor stored = golden::ReadTensors(path).at("image");
  const bool half = stored.scalar_type() == at::kHalf;
  const at::Tensor want = stored.to(at::kFloat);
  REQUIRE(got.sizes() == want.sizes());
  const double tolerance = c.at("tolerance_abs").get<double>() + (half ? 5e-4 : 0.0);  // half a step of float16 at 1
  const double difference = golden::MaxDiff(got, want);
  std::fprintf(stderr, "%-40s %-20s floats %.2e of %.1e\n", c.at("id").get<std::string>().c_str(),
               path.substr(path.rfind('/') + 1).c_str(), difference, tolerance);
  CHECK(difference <= tolerance);
}

void RunGroup(const std::string& group) {
  golden::UseGoldenModels();
  golden::Host host;
  Executor executor;
  int run = 0, files = 0;
  for (const Json& c : golden::Cases(group)) {
    if (c.at("kind") != "workflow") continue;
    const std::string workflow = golden::Root() + "/" + c.at("workflow").get<std::string>();
    const std::string folder = workflow.substr(0, workflow.rfind('/') + 1);
    const Json prompt = golden::ReadJson(workflow);
    INFO(group << "/" << c.at("id").get<std::string>());
    bool models_here = true;
    for (const Json& model : c.at("models"))
      models_here =
          models_here && (group != "upscale_model" || host.ModelPath("upscale_models", model.get<std::string>()).ok());
    if (!models_here) continue;  // the large network that golden/get_upscale_models fetches
    Fragment fragment = golden::WholePrompt(prompt, host);
    const std::vector<std::string> floats = WantFloats(prompt, folder, fragment);
    auto result = executor.Run(fragment, host);
    if (!result.ok()) {
      UNSCOPED_INFO(c.at("id") << ": " << Message(result.status()));
      CHECK(result.ok());
      continue;
    }
    ++run;
    for (const OutputFile& file : result->files) files += CheckFile(c, file, folder) ? 1 : 0;
    for (size_t i = 0; i < floats.size(); ++i) CheckFloats(c, result->blobs[i], floats[i]);
  }
  std::fprintf(stderr, "%s: %d cases, %d files compared\n", group.c_str(), run, files);
  CHECK(files > 0);
}

TEST_CASE("group image_scale") { RunGroup("image_scale"); }
TEST_CASE("group image_composite") { RunGroup("image_composite"); }
TEST_CASE("group image_post") { RunGroup("image_post"); }
TEST_CASE("group mask_ops") { RunGroup("mask_ops"); }
TEST_CASE("group latent_ops") { RunGroup("latent_ops"); }
TEST_CASE("group conditioning") { RunGroup("conditioning"); }
TEST_CASE("group inpaint") { RunGroup("inpaint"); }
TEST_CASE("group model_patches") { RunGroup("model_patches"); }
TEST_CASE("group lora") { RunGroup("lora"); }
TEST_CASE("group flux") { RunGroup("flux"); }
TEST_CASE("group sd3") { RunGroup("sd3"); }
TEST_CASE("group controlnet") { RunGroup("controlnet"); }
TEST_CASE("group t2i") { RunGroup("t2i"); }
TEST_CASE("group img2img") { RunGroup("img2img"); }
TEST_CASE("group ksampler_advanced") { RunGroup("ksampler_advanced"); }
TEST_CASE("group vae") { RunGroup("vae"); }
TEST_CASE("group usdu") { RunGroup("usdu"); }
TEST_CASE("group usdu_distributed") { RunGroup("usdu_distributed"); }
TEST_CASE("group samplers") { RunGroup("samplers"); }
TEST_CASE("group samplers_sched") { RunGroup("samplers_sched"); }
TEST_CASE("group sampler_custom") { RunGroup("sampler_custom"); }
TEST_CASE("group res4lyf") { RunGroup("res4lyf"); }
TEST_CASE("group wan") { RunGroup("wan"); }
TEST_CASE("group upscale_model") { RunGroup("upscale_model"); }

}  // namespace
}  // namespace atelier
