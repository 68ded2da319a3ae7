#include "worker/fake/fake_image.h"

namespace atelier {

// Source: spec distributed.md 1.1; replica r has seed S + r.
struct FakeDistributedSeed {
  uint64_t seed = 0;
  uint64_t replica_index = 0;
  static void Describe(NodeSchema<FakeDistributedSeed>& s) {
    s.Name("Distributed Seed").Category("utils").PerReplica().Cheap();
    s.Input<&FakeDistributedSeed::seed>("seed").Default(1125899906842).Range(0, 1125899906842624).Seed();
    s.Input<&FakeDistributedSeed::replica_index>("replica_index").Default(0).Hidden();
    s.Output<uint64_t>("seed");
  }
  StatusOr<uint64_t> Run(NodeContext&) const { return seed + replica_index; }
};
ATELIER_REGISTER_NODE_AS(FakeDistributedSeed, "DistributedSeed");

}  // namespace atelier
