// What a test run is told by its environment.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace atelier::test {

/// The number in a variable of the environment; `otherwise` where there is none.
inline int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? otherwise : std::atoll(text);
}

}  // namespace atelier::test
