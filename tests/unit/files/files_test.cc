#include "common/files/files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/files/models.h"

namespace atelier {
namespace {

namespace fs = std::filesystem;

struct TempFolder {
  TempFolder() {
    char name[] = "/tmp/atelier-files-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempFolder() { fs::remove_all(path); }
  void Write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(path + "/" + name).parent_path());
    std::ofstream(path + "/" + name) << text;
  }
  std::string path;
};

TEST_CASE("a written file is whole, replaced as one and leaves nothing beside it") {
  const TempFolder folder;
  const std::string path = folder.path + "/a.bin";
  REQUIRE(WriteFileAtomic(path, "one").ok());
  REQUIRE(WriteFileAtomic(path, std::string(100'000, 'x')).ok());
  CHECK(ReadFileBounded(path, 100'000).value() == std::string(100'000, 'x'));
  CHECK(ReadFileBounded(path, 99'999).status().code() == StatusCode::kResourceExhausted);
  CHECK(ReadFileBounded(folder.path + "/b", 10).status().code() == StatusCode::kNotFound);
  CHECK(ReadFileBounded(folder.path, 10).status().code() == StatusCode::kInvalidArgument);
  CHECK(WriteFileAtomic(folder.path + "/none/a", "x").code() == StatusCode::kNotFound);
  CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);
}

TEST_CASE("names cannot leave their folder") {
  const TempFolder folder;
  folder.Write("in/a.txt", "a");
  folder.Write("in/sub/b.txt", "b");
  folder.Write("secret.txt", "s");
  fs::create_symlink(folder.path + "/secret.txt", folder.path + "/in/link.txt");
  fs::create_symlink("../secret.txt", folder.path + "/in/relative.txt");
  fs::create_symlink("sub/b.txt", folder.path + "/in/inside.txt");
  const std::string root = folder.path + "/in";
  for (const char* good : {"a.txt", "sub/b.txt", "inside.txt"}) {
    INFO(good);
    CHECK(ConfinedOpen(root, good).ok());
  }
  for (const char* bad : {"../secret.txt", "/etc/passwd", "", ".", "sub/../../secret.txt", "sub//b.txt",
                          "..\\secret.txt", "link.txt", "relative.txt", "sub/./b.txt", "a\nb"}) {
    INFO(bad);
    CHECK(ConfinedOpen(root, bad).status().code() == StatusCode::kInvalidArgument);
  }
  CHECK(ConfinedOpen(root, "none.txt").status().code() == StatusCode::kNotFound);
  CHECK(ConfinedOpen(root, std::string_view("a.txt\0b", 7)).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("models: roots merge, legacy folders count as modern ones, foreign files and outward links are left out") {
  const TempFolder folder;
  folder.Write("one/checkpoints/b.safetensors", "1");
  folder.Write("one/checkpoints/SD/a.CKPT", "1");
  folder.Write("one/checkpoints/readme.txt", "1");
  folder.Write("one/unet/u.safetensors", "1");
  folder.Write("two/checkpoints/b.safetensors", "22");
  folder.Write("two/checkpoints/c.pt", "1");
  folder.Write("two/diffusion_models/d.sft", "1");
  folder.Write("two/configs/v1.yaml", "1");
  folder.Write("outside.safetensors", "1");
  fs::create_symlink(folder.path + "/outside.safetensors", folder.path + "/one/checkpoints/out.safetensors");
  fs::create_directory_symlink("..", folder.path + "/one/checkpoints/SD/loop");
  const std::vector<std::string> roots = {folder.path + "/one", folder.path + "/two", folder.path + "/three"};
  const Inventory inventory = ScanModels(roots);
  CHECK(inventory.files.at("checkpoints") == std::vector<std::string>{"SD/a.CKPT", "b.safetensors", "c.pt"});
  CHECK(inventory.files.at("diffusion_models") == std::vector<std::string>{"d.sft", "u.safetensors"});
  CHECK(inventory.files.at("configs") == std::vector<std::string>{"v1.yaml"});
  CHECK(inventory.files.count("loras") == 0);

  CHECK(ResolveModel(roots, "checkpoints", "b.safetensors").value() == folder.path + "/one/checkpoints/b.safetensors");
  CHECK(ResolveModel(roots, "unet", "d.sft").value() == folder.path + "/two/diffusion_models/d.sft");
  CHECK(ResolveModel(roots, "checkpoints", "x.pt").status().code() == StatusCode::kNotFound);
  CHECK(ResolveModel(roots, "checkpoints", "../../outside.safetensors").status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(ResolveModel(roots, "checkpoints", "out.safetensors").status().code() == StatusCode::kInvalidArgument);
  CHECK(ResolveModel(roots, "secrets", "a.pt").status().code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atelier
