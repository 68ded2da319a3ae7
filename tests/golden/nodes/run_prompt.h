// Runs API prompts of the golden data in this process through the executor, and reads what they made.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "common/executor/executor.h"
#include "common/json/json.h"
#include "tests/golden/golden_data.h"
#include "worker/engine/model_cache.h"

namespace atelier::golden {

/// Model files from the golden models, input files from golden/inputs, blobs from memory.
class Host : public ExecutorHost {
 public:
  StatusOr<std::shared_ptr<const std::string>> Blob(const std::string& hash) override {
    const auto it = blobs.find(hash);
    if (it == blobs.end()) return NotFound("blob ", hash);
    return it->second;
  }
  StatusOr<std::string> ModelPath(std::string_view folder, std::string_view name) override {
    for (const std::string& root : {Models(), Root() + "/models"}) {
      const std::string path = Cat(root, "/", folder, "/", name);
      if (std::filesystem::exists(path)) return path;
    }
    return NotFound("model file \"", name, "\" in ", folder);
  }
  std::string ModelIdentity(std::string_view folder, std::string_view name) override { return Cat(folder, "/", name); }
  bool cancelled() const override { return false; }
  void Progress(const std::string&, int64_t, int64_t, const std::function<std::string()>&) override { ++steps; }
  void Warn(const std::string&, const std::string& message) override {
    std::fprintf(stderr, "warning: %s\n", message.c_str());
  }
  double Seconds() const override {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  std::map<std::string, std::shared_ptr<const std::string>> blobs;
  int64_t steps = 0;
};

/// Sets the process's engine up for the golden models; call it before anything runs.
inline void UseGoldenModels() {
  static const bool once = [] {
    engine::EngineOptions options;
    options.embedding_folders = {Models() + "/embeddings"};
    engine::ConfigureEngine(options);
    return true;
  }();
  static_cast<void>(once);
}

/// A fragment of a whole prompt, with the input files that it names.
inline Fragment WholePrompt(const Json& prompt, Host& host) {
  Fragment fragment;
  fragment.nodes = prompt;
  for (const auto& [id, node] : prompt.items()) {
    const std::string type = node.at("class_type");
    if (type == "SaveImage" || type == "SaveLatent" || type == "PreviewImage") fragment.output_nodes.push_back(id);
    for (const auto& [key, value] : node.at("inputs").items()) {
      if (key != "image" || !value.is_string()) continue;
      const std::string name = value;
      host.blobs[name] = std::make_shared<const std::string>(ReadFile(Root() + "/inputs/" + name));
      fragment.inputs[name] = name;
    }
  }
  return fragment;
}

}  // namespace atelier::golden
