#include "common/graph/input_folder.h"
#include "worker/fake/fake_image.h"

namespace atelier {
namespace {

StatusOr<FakeImage> DrawnFrom(const std::string& bytes) {
  ASSIGN_OR_RETURN(FakeImage image, MakeFakeImage(1, 64, 64));
  uint64_t state = 0;
  for (const char c : bytes) state = Mix(state, static_cast<unsigned char>(c));
  for (uint8_t& byte : image.data) {
    state = Mix(state, 1);
    byte = static_cast<uint8_t>(state >> 56);
  }
  return image;
}

// A picture drawn from the bytes of an input file.
struct FakeInput {
  std::string file;
  static void Describe(NodeSchema<FakeInput>& s) {
    s.Name("Fake Input").Category("fake");
    s.Input<&FakeInput::file>("file").FromFolder("input");
    s.Output<FakeImage>("IMAGE");
  }
  StatusOr<FakeImage> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string bytes, ctx.InputFile(file));
    return DrawnFrom(bytes);
  }
};
ATELIER_REGISTER_NODE(FakeInput);

// The same of all pictures of a folder.
struct FakeInputFolder {
  std::string folder;
  static void Describe(NodeSchema<FakeInputFolder>& s) {
    s.Name("Fake Input Folder").Category("fake");
    s.Input<&FakeInputFolder::folder>("folder").FromFolder(kPictureFolders);
    s.Output<FakeImage>("IMAGE");
  }
  StatusOr<FakeImage> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string bytes, ctx.InputFile(folder + "/"));
    return DrawnFrom(bytes);
  }
};
ATELIER_REGISTER_NODE(FakeInputFolder);

}  // namespace
}  // namespace atelier
