// The golden conditionings: prompts through loaders and encoding nodes.
#include <catch2/catch.hpp>
#include <cstdio>

#include "common/tensorio/safetensors.h"
#include "tests/golden/nodes/run_prompt.h"
#include "worker/engine/tensor_blob.h"

namespace atelier {
namespace {

// Runs the prompt's last node, a CONDITIONING, and compares every tensor that the reference stored.
void CheckConditioning(const Json& c, Executor& executor, golden::Host& host, double* worst) {
  INFO(c.at("group") << "/" << c.at("id"));
  const std::string workflow = golden::Root() + "/" + c.at("workflow").get<std::string>();
  const Json prompt = golden::ReadJson(workflow);
  Fragment fragment = golden::WholePrompt(prompt, host);
  std::string last;
  for (const auto& [id, node] : prompt.items()) {
    if (last.empty() || std::stol(id) > std::stol(last)) last = id;
  }
  fragment.wanted = {{last, 0, ""}};
  auto result = executor.Run(fragment, host);
  if (!result.ok()) UNSCOPED_INFO(Message(result.status()));
  REQUIRE(result.ok());
  auto view = ParseSafetensors(result->blobs.at(0));
  REQUIRE(view.ok());
  const auto want = golden::ReadTensors(workflow.substr(0, workflow.rfind('/')) + "/cond.cond.safetensors");
  REQUIRE(!want.empty());
  const double tolerance = c.at("tolerance_abs");
  for (const auto& [name, tensor] : want) {
    INFO(name);
    const auto* info = view->Find(name);
    REQUIRE(info != nullptr);
    const double difference = golden::MaxDiff(engine::TensorCopy(*view, *info), tensor);
    *worst = std::max(*worst, difference / tolerance);
    CHECK(difference <= tolerance);
  }
}

TEST_CASE("every golden conditioning") {
  golden::UseGoldenModels();
  golden::Host host;
  Executor executor;
  for (const char* group : {"text_encoder", "t5_encoder", "sd3"}) {
    int checked = 0;
    double worst = 0;
    for (const Json& c : golden::Cases(group)) {
      if (c.at("files").at(0).get<std::string>().find("cond.cond.safetensors") == std::string::npos) continue;
      CheckConditioning(c, executor, host, &worst);
      ++checked;
    }
    std::fprintf(stderr, "%s: %d conditionings, worst %.2f of the tolerance\n", group, checked, worst);
    CHECK(checked > 0);
  }
}

}  // namespace
}  // namespace atelier
