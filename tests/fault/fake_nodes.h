// A cluster of workers with the fake nodes.
#pragma once

#include "tests/harness/cluster.h"
#include "worker/session/session.h"

namespace atelier::test {

inline ClusterOptions FakeNodes() {
  ClusterOptions options;
  options.catalog = DumpJson(RegisteredCatalog().ToJson());
  return options;
}

}  // namespace atelier::test
