#include "worker/fake/fake_image.h"

namespace atelier {

// Pictures drawn from a seed.
struct FakeSource {
  uint64_t seed = 0;
  int64_t width = 64, height = 64, batch_size = 1;
  int64_t delay_ms = 0, steps = 1;
  std::optional<FakeModel> model;
  static void Describe(NodeSchema<FakeSource>& s) {
    s.Name("Fake Source").Category("fake");
    s.Input<&FakeSource::seed>("seed").Default(0).Range(0, 18446744073709551615ULL).Seed();
    s.Input<&FakeSource::width>("width").Default(64).Range(1, 8192);
    s.Input<&FakeSource::height>("height").Default(64).Range(1, 8192);
    s.Input<&FakeSource::batch_size>("batch_size").Default(1).Range(1, 64);
    s.Input<&FakeSource::delay_ms>("delay_ms").Default(0).Range(0, 600'000);
    s.Input<&FakeSource::steps>("steps").Default(1).Range(0, 10'000);
    s.Input<&FakeSource::model>("model");
    s.Output<FakeImage>("IMAGE");
  }
  StatusOr<FakeImage> Run(NodeContext& ctx) const {
    RETURN_IF_ERROR(FakeWork(ctx, delay_ms, steps));
    ASSIGN_OR_RETURN(FakeImage image, MakeFakeImage(batch_size, height, width));
    uint64_t state = Mix(seed, model ? model->hash : 0);
    for (uint8_t& byte : image.data) {
      state = Mix(state, 1);
      byte = static_cast<uint8_t>(state >> 56);
    }
    return image;
  }
};
ATELIER_REGISTER_NODE(FakeSource);

}  // namespace atelier
