// A seed of its own for each replica. Source: spec distributed.md 1.1; design.md section 3 (replica).
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

struct DistributedSeed {
  uint64_t seed = 1125899906842;
  int64_t replica_index = 0;

  static void Describe(NodeSchema<DistributedSeed>& s) {
    s.Name("Distributed Seed").Category("utils").Cheap().PerReplica();
    s.Description("Gives each replica the seed plus its number.");
    s.Input<&DistributedSeed::seed>("seed")
        .Default(1125899906842)
        .Range(0, 1125899906842624)
        .Seed()
        .Tooltip("The seed of the noise.");
    s.Input<&DistributedSeed::replica_index>("replica_index").Default(0).Hidden();
    s.Output<uint64_t>("seed");
  }
  StatusOr<uint64_t> Run(NodeContext&) const { return seed + static_cast<uint64_t>(replica_index); }
};
ATELIER_REGISTER_NODE(DistributedSeed);

}  // namespace
}  // namespace atelier::nodes
