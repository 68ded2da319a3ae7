// A node by itself, without models, inputs or anybody who cancels it.
#pragma once

#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

#include "common/base/registry.h"
#include "common/graph/node.h"

namespace atelier::test {

/// Keeps what the node hands out and says.
class LoneContext final : public NodeContext {
 public:
  const std::string& node_id() const override { return id_; }
  bool cancelled() const override { return false; }
  Status Step(int64_t, int64_t, const std::function<std::string()>&) override { return OkStatus(); }
  StatusOr<std::string> ModelPath(std::string_view, std::string_view name) override { return NotFound(name); }
  StatusOr<std::string> InputFile(std::string_view name) override { return NotFound(name); }
  void Emit(OutputFile file) override { files.push_back(std::move(file)); }
  void Warn(const std::string& message) override { warnings.push_back(message); }

  std::vector<OutputFile> files;
  std::vector<std::string> warnings;

 private:
  std::string id_ = "1";
};

/// REQUIRES: the node type is registered.
inline StatusOr<std::vector<Value>> RunNode(const std::string& type, const InputValues& inputs, LoneContext& ctx) {
  const NodeType* node = Registry<NodeType>::Get().Find(type);
  REQUIRE(node != nullptr);
  return node->run(inputs, ctx);
}
inline StatusOr<std::vector<Value>> RunNode(const std::string& type, const InputValues& inputs) {
  LoneContext ctx;
  return RunNode(type, inputs, ctx);
}

}  // namespace atelier::test
