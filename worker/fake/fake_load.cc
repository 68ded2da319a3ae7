#include <cstdio>
#include <memory>

#include "worker/fake/fake_image.h"

namespace atelier {

// A handle made of a file's first bytes.
struct FakeLoad {
  std::string ckpt_name;
  static void Describe(NodeSchema<FakeLoad>& s) {
    s.Name("Fake Load").Category("fake");
    s.Input<&FakeLoad::ckpt_name>("ckpt_name").FromFolder("checkpoints");
    s.Output<FakeModel>("MODEL");
  }
  StatusOr<FakeModel> Run(NodeContext& ctx) const {
    ASSIGN_OR_RETURN(const std::string path, ctx.ModelPath("checkpoints", ckpt_name));
    struct Close {
      void operator()(std::FILE* file) const { std::fclose(file); }
    };
    const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
    if (file == nullptr) return NotFound("model \"", ckpt_name, "\" cannot be opened");
    unsigned char bytes[4096];
    const size_t n = std::fread(bytes, 1, sizeof(bytes), file.get());
    FakeModel model;
    for (size_t i = 0; i < n; ++i) model.hash = Mix(model.hash, bytes[i]);
    return model;
  }
};
ATELIER_REGISTER_NODE(FakeLoad);

}  // namespace atelier
