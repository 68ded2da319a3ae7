// Which tensors a network can be built without.
#pragma once

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <vector>

#include "worker/engine/weights.h"

namespace atelier {

/// The names whose absence `build` does not notice. Checks that the errors for all others name the file.
inline std::vector<std::string> Unnoticed(const engine::WeightSource& weights,
                                          const std::function<Status(const engine::WeightSource&)>& build) {
  std::vector<std::string> names;
  REQUIRE(build(weights).ok());
  for (const auto& [name, tensor] : weights.tensors()) {
    engine::WeightSource::Tensors rest = weights.tensors();
    rest.erase(name);
    const Status status = build(engine::WeightSource("cut.safetensors", std::move(rest)));
    if (status.ok()) {
      names.push_back(name);
    } else if (Message(status).find("cut.safetensors") == std::string::npos) {
      FAIL_CHECK(name << ": the file is not named: " << Message(status));
    }
  }
  return names;
}

}  // namespace atelier
