#include "worker/fake/fake_image.h"

namespace atelier {

// Source: spec distributed.md 1.2; images of all replicas in replica order.
struct FakeDistributedCollector {
  std::vector<FakeImage> images;
  bool load_balance = false;
  static void Describe(NodeSchema<FakeDistributedCollector>& s) {
    s.Name("Distributed Collector").Category("image").Gathers("load_balance");
    s.Input<&FakeDistributedCollector::images>("images");
    s.Input<&FakeDistributedCollector::load_balance>("load_balance").Default(false);
    s.Output<FakeImage>("images");
  }
  StatusOr<FakeImage> Run(NodeContext&) const {
    if (images.empty()) return InvalidArgument("no images to collect");
    FakeImage all = images[0];
    for (size_t i = 1; i < images.size(); ++i) {
      if (images[i].width != all.width || images[i].height != all.height)
        return InvalidArgument("replica ", i, " made images of another size than replica 0");
      all.batch += images[i].batch;
      all.data.insert(all.data.end(), images[i].data.begin(), images[i].data.end());
    }
    return all;
  }
};
ATELIER_REGISTER_NODE_AS(FakeDistributedCollector, "DistributedCollector");

}  // namespace atelier
