#include "common/image/codec.h"
#include "worker/fake/fake_image.h"

namespace atelier {

// Hands each picture over as a PNG file.
struct FakeSave {
  FakeImage images;
  std::string filename_prefix;
  static void Describe(NodeSchema<FakeSave>& s) {
    s.Name("Fake Save").Category("fake").OutputNode();
    s.Input<&FakeSave::images>("images");
    s.Input<&FakeSave::filename_prefix>("filename_prefix").Default("fake");
  }
  Status Run(NodeContext& ctx) const {
    const size_t bytes = static_cast<size_t>(images.height * images.width * 3);
    for (int64_t i = 0; i < images.batch; ++i) {
      ImageU8 picture;
      picture.width = static_cast<int>(images.width);
      picture.height = static_cast<int>(images.height);
      picture.channels = 3;
      const uint8_t* begin = images.data.data() + static_cast<size_t>(i) * bytes;
      picture.data.assign(begin, begin + bytes);
      OutputFile file;
      file.prefix = filename_prefix;
      file.extension = ".png";
      file.batch_index = i;
      file.width = images.width;
      file.height = images.height;
      ASSIGN_OR_RETURN(file.bytes, EncodePng(picture, 1));
      ctx.Emit(std::move(file));
    }
    return OkStatus();
  }
};
ATELIER_REGISTER_NODE(FakeSave);

}  // namespace atelier
