#include "worker/share/model_store.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace atelier {
namespace {

namespace fs = std::filesystem;

struct Root {
  Root() {
    char name[] = "/tmp/atelier-store-XXXXXX";
    path = mkdtemp(name);
    fs::create_directories(path + "/loras");
  }
  ~Root() { fs::remove_all(path); }
  std::string File(const std::string& name) const { return path + "/loras/" + name; }
  void Write(const std::string& name, size_t bytes) const { std::ofstream(File(name)) << std::string(bytes, 'x'); }
  void Bring(ModelStore& store, const std::string& name, size_t bytes, int64_t used) const {
    Write(name, bytes);
    REQUIRE(store.Added("loras", name, std::string(64, 'a'), IdentifyModel(File(name)).value(), used).ok());
  }
  bool Has(const std::string& name) const { return fs::exists(File(name)); }
  std::string path;
};

TEST_CASE("the least recently used of the brought files goes, pins and the user's own stay") {
  const Root root;
  ModelStore store(root.path, 1000);
  root.Write("own.safetensors", 5000);
  root.Bring(store, "a.safetensors", 300, 10);
  root.Bring(store, "b.safetensors", 300, 20);
  root.Bring(store, "c.safetensors", 300, 30);
  REQUIRE(store.Pin("loras", "a.safetensors", true).ok());
  const auto removed = store.MakeRoom(400, 0, {});
  REQUIRE(removed.ok());
  REQUIRE(removed->size() == 1);
  CHECK((*removed)[0].name == "b.safetensors");
  CHECK(root.Has("a.safetensors"));
  CHECK_FALSE(root.Has("b.safetensors"));
  CHECK(root.Has("c.safetensors"));
  CHECK(root.Has("own.safetensors"));
  // c is used now, and another process's view is the same.
  ModelStore other(root.path, 1000);
  other.Used("loras", "c.safetensors", 1000);
  CHECK(store.Entries().size() == 2);
  const auto refused = store.MakeRoom(800, 0, {{"loras", "c.safetensors"}});
  CHECK(refused.status().code() == StatusCode::kResourceExhausted);
  CHECK(root.Has("c.safetensors"));
  REQUIRE(store.Pin("loras", "a.safetensors", false).ok());
  REQUIRE(store.MakeRoom(700, 0, {{"loras", "c.safetensors"}}).ok());
  CHECK_FALSE(root.Has("a.safetensors"));
  CHECK(root.Has("c.safetensors"));
}

TEST_CASE("a file that its user replaced is his own") {
  const Root root;
  ModelStore store(root.path, 100);
  root.Bring(store, "a.safetensors", 90, 1);
  fs::remove(root.File("a.safetensors"));
  root.Write("a.safetensors", 91);
  CHECK(store.Entries().empty());
  REQUIRE(store.MakeRoom(100, 0, {}).ok());
  CHECK(root.Has("a.safetensors"));
  CHECK(store.Pin("loras", "a.safetensors", true).code() == StatusCode::kFailedPrecondition);
  CHECK(store.Pin("loras", "absent.safetensors", true).code() == StatusCode::kNotFound);
}

TEST_CASE("a damaged list removes nothing") {
  const Root root;
  ModelStore store(root.path, 100);
  root.Bring(store, "a.safetensors", 90, 1);
  std::ofstream(root.path + "/.atelier-brought.json") << "{\"files\": [{";
  CHECK(store.Entries().empty());
  REQUIRE(store.MakeRoom(100, 0, {}).ok());
  CHECK(root.Has("a.safetensors"));
}

TEST_CASE("a list that names files outside of the folder removes nothing there") {
  const Root root;
  const std::string outside = root.path + "-outside.safetensors";
  std::ofstream(outside) << "x";
  const ModelIdentity identity = IdentifyModel(outside).value();
  ModelStore store(root.path, 10);
  (void)store.Added("loras", "../../" + fs::path(outside).filename().string(), std::string(64, 'a'), identity, 1).ok();
  REQUIRE(store.MakeRoom(10, 0, {}).ok());
  CHECK(fs::exists(outside));
  fs::remove(outside);
}

}  // namespace
}  // namespace atelier
