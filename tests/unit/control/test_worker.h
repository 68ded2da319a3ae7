// A worker as control sees it.
#pragma once

#include <memory>
#include <string>

#include "master/control/control.h"
#include "tests/unit/planner/catalog_for_tests.h"

namespace atelier {

/// Offers all node types of the tests and one checkpoint.
inline WorkerInfo TestWorker(const std::string& name, const std::string& model = "m.safetensors") {
  WorkerInfo info;
  info.name = info.instance = name;
  info.catalog = std::make_shared<const Catalog>(TestCatalog());
  auto inventory = std::make_shared<Inventory>();
  inventory->files["checkpoints"] = {model};
  info.inventory = inventory;
  return info;
}

}  // namespace atelier
