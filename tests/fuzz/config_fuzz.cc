#include "common/config/cluster_config.h"
#include "tests/fuzz/fuzz.h"

namespace atelier::fuzz {

std::vector<std::string> Seeds() {
  return {
      "master:\n  listen: 127.0.0.1:7000\n  # why\n  state_dir: \"/tmp/a\"\nmodels:\n  roots: [a, b]\nworkers:\n"
      "  local: 2\n  list:\n    - name: a\n      device: cpu\n      start: no\n",
      "a: &x [1, 2.5, true, ~, 'q', \"\\u00e9\"]\nb: *x\nc: {d: |\n  text\n}\n", ""};
}

}  // namespace atelier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  atelier::ParseClusterConfig(text, "fuzz.yaml").status().IgnoreError();
  return 0;
}
