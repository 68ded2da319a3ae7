#include "worker/fake/fake_image.h"

namespace atelier {

// The mean of two images of equal size.
struct FakeBlend {
  FakeImage image1, image2;
  int64_t delay_ms = 0;
  static void Describe(NodeSchema<FakeBlend>& s) {
    s.Name("Fake Blend").Category("fake");
    s.Input<&FakeBlend::image1>("image1");
    s.Input<&FakeBlend::image2>("image2");
    s.Input<&FakeBlend::delay_ms>("delay_ms").Default(0).Range(0, 600'000);
    s.Output<FakeImage>("IMAGE");
  }
  StatusOr<FakeImage> Run(NodeContext& ctx) const {
    if (image1.data.size() != image2.data.size() || image1.width != image2.width || image1.batch != image2.batch)
      return InvalidArgument("image1 is ", image1.batch, " x ", image1.height, " x ", image1.width, ", image2 is ",
                             image2.batch, " x ", image2.height, " x ", image2.width);
    RETURN_IF_ERROR(FakeWork(ctx, delay_ms, 1));
    FakeImage image = image1;
    for (size_t i = 0; i < image.data.size(); ++i)
      image.data[i] = static_cast<uint8_t>((image.data[i] + image2.data[i]) / 2);
    return image;
  }
};
ATELIER_REGISTER_NODE(FakeBlend);

}  // namespace atelier
