#include "common/files/partial_model.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "common/base/hash.h"
#include "common/files/model_library.h"
#include "common/files/models.h"

namespace atelier {
namespace {

namespace fs = std::filesystem;

const std::atomic<bool> kGoOn = false;

struct Folder {
  Folder() {
    char name[] = "/tmp/atelier-part-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  std::string path;
};

std::string Bytes(size_t size) {
  std::string bytes(size, '\0');
  uint64_t state = 88172645463325252ULL;
  for (char& c : bytes) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    c = static_cast<char>(state);
  }
  return bytes;
}

ModelManifest ManifestOf(const std::string& bytes) {
  ModelManifest manifest{Sha256Hex(bytes), bytes.size(), {}};
  for (size_t at = 0; at < bytes.size(); at += kModelChunkBytes)
    manifest.chunks.push_back(Sha256Hex(std::string_view(bytes).substr(at, kModelChunkBytes)));
  return manifest;
}

std::string_view Chunk(const std::string& bytes, size_t index) {
  return std::string_view(bytes).substr(index * kModelChunkBytes, kModelChunkBytes);
}

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void Flip(const std::string& path, int64_t at) {
  const int fd = open(path.c_str(), O_RDWR);
  REQUIRE(fd >= 0);
  char c = 0;
  REQUIRE(pread(fd, &c, 1, at) == 1);
  c = static_cast<char>(c ^ 1);
  REQUIRE(pwrite(fd, &c, 1, at) == 1);
  close(fd);
}

std::string PartOf(const std::string& folder) {
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().string().ends_with(".part")) return entry.path().string();
  return "";
}

TEST_CASE("a manifest whose size wraps around has not the chunks of none") {
  CHECK(CheckManifest({Sha256Hex(""), 0, {}}).ok());
  CHECK_FALSE(CheckManifest({Sha256Hex(""), ~uint64_t{0}, {}}).ok());
  CHECK(ModelChunkCount(kModelChunkBytes) == 1);
  CHECK(ModelChunkCount(kModelChunkBytes + 1) == 2);
}

TEST_CASE("a file of chunks goes on after it was dropped, and has its name only when it is whole") {
  const Folder root;
  const std::string bytes = Bytes(3 * kModelChunkBytes + 17);
  const ModelManifest manifest = ManifestOf(bytes);
  {
    auto part = PartialModel::Open(root.path, "checkpoints", "sub/m.safetensors", manifest);
    REQUIRE(part.ok());
    CHECK((*part)->Missing() == 4);
    REQUIRE((*part)->Write(3, Chunk(bytes, 3)).ok());
    REQUIRE((*part)->Write(1, Chunk(bytes, 1)).ok());
    CHECK((*part)->Write(0, Chunk(bytes, 1)).code() == StatusCode::kDataLoss);
    CHECK((*part)->Write(4, "").code() == StatusCode::kInvalidArgument);
    CHECK((*part)->Read(1).value() == Chunk(bytes, 1));
    CHECK((*part)->Read(2).status().code() == StatusCode::kNotFound);
    CHECK(PartialModel::Open(root.path, "checkpoints", "sub/m.safetensors", manifest).status().code() ==
          StatusCode::kUnavailable);  // one writer
  }
  CHECK(PartialModel::Begun(root.path, "checkpoints", "sub/m.safetensors", manifest));
  CHECK(ScanModels({root.path}).files.empty());
  auto part = PartialModel::Open(root.path, "checkpoints", "sub/m.safetensors", manifest);
  REQUIRE(part.ok());
  CHECK((*part)->Have() == std::vector<bool>{false, true, false, true});
  REQUIRE((*part)->Write(0, Chunk(bytes, 0)).ok());
  REQUIRE((*part)->Write(2, Chunk(bytes, 2)).ok());
  ModelIdentity told;
  REQUIRE((*part)
              ->Finish(kGoOn,
                       [&](const ModelIdentity& identity) {
                         told = identity;
                         return OkStatus();
                       })
              .ok());
  const std::string path = root.path + "/checkpoints/sub/m.safetensors";
  CHECK(ReadAll(path) == bytes);
  CHECK(IdentifyModel(path).value() == told);
  CHECK(std::distance(fs::directory_iterator(root.path + "/checkpoints/sub"), {}) == 1);
  CHECK(PartialModel::Open(root.path, "checkpoints", "sub/m.safetensors", manifest).status().code() ==
        StatusCode::kAlreadyExists);
}

TEST_CASE("a bit that flips on the disk is found when the file is read back, and only its chunk is wanted again") {
  const Folder root;
  const std::string bytes = Bytes(3 * kModelChunkBytes);
  const ModelManifest manifest = ManifestOf(bytes);
  auto part = PartialModel::Open(root.path, "vae", "m.safetensors", manifest).value();
  for (size_t i = 0; i < 3; ++i) REQUIRE(part->Write(i, Chunk(bytes, i)).ok());
  Flip(PartOf(root.path + "/vae"), static_cast<int64_t>(kModelChunkBytes) + 5);
  CHECK(part->Finish(kGoOn).code() == StatusCode::kDataLoss);
  CHECK(part->Have() == std::vector<bool>{true, false, true});
  CHECK_FALSE(fs::exists(root.path + "/vae/m.safetensors"));
  REQUIRE(part->Write(1, Chunk(bytes, 1)).ok());
  REQUIRE(part->Finish(kGoOn).ok());
  CHECK(ReadAll(root.path + "/vae/m.safetensors") == bytes);
}

TEST_CASE("nothing of the user's is replaced, and nothing is written elsewhere") {
  const Folder root;
  const std::string bytes = Bytes(100);
  const ModelManifest manifest = ManifestOf(bytes);
  auto part = PartialModel::Open(root.path, "loras", "m.safetensors", manifest).value();
  REQUIRE(part->Write(0, bytes).ok());
  std::ofstream(root.path + "/loras/m.safetensors") << "the user's";
  CHECK(part->Finish(kGoOn).code() == StatusCode::kAlreadyExists);
  CHECK(ReadAll(root.path + "/loras/m.safetensors") == "the user's");
  for (const char* name : {"../m.safetensors", "/etc/m.safetensors", "a/../../m.safetensors", "m.txt", ".m.safetensors",
                           "a\\m.safetensors", ""}) {
    INFO(name);
    CHECK(PartialModel::Open(root.path, "loras", name, manifest).status().code() == StatusCode::kInvalidArgument);
  }
  CHECK(PartialModel::Open(root.path, "input", "m.safetensors", manifest).status().code() ==
        StatusCode::kInvalidArgument);
  const Folder elsewhere;
  fs::create_symlink(elsewhere.path, root.path + "/loras/out");
  CHECK_FALSE(PartialModel::Open(root.path, "loras", "out/m.safetensors", manifest).ok());
  CHECK(fs::is_empty(elsewhere.path));
  ModelManifest wrong = manifest;
  wrong.chunks.push_back(wrong.chunks[0]);
  CHECK(PartialModel::Open(root.path, "loras", "n.safetensors", wrong).status().code() == StatusCode::kInvalidArgument);
  wrong = manifest;
  wrong.hash = Sha256Hex("another");
  part = PartialModel::Open(root.path, "loras", "n.safetensors", wrong).value();
  REQUIRE(part->Write(0, bytes).ok());
  CHECK(part->Finish(kGoOn).code() == StatusCode::kDataLoss);
  CHECK_FALSE(fs::exists(root.path + "/loras/n.safetensors"));
}

TEST_CASE("stale partial files go, those in use and others' files stay") {
  const Folder root;
  const std::string bytes = Bytes(100);
  auto held = PartialModel::Open(root.path, "loras", "held.safetensors", ManifestOf(bytes)).value();
  PartialModel::Open(root.path, "loras", "dropped.safetensors", ManifestOf(bytes)).value().reset();
  std::ofstream(root.path + "/loras/own.safetensors") << "x";
  CHECK(RemoveStalePartials(root.path, 3600) == 0);
  CHECK(RemoveStalePartials(root.path, -1) == 1);
  CHECK(PartialModel::Begun(root.path, "loras", "held.safetensors", ManifestOf(bytes)));
  CHECK(fs::exists(root.path + "/loras/own.safetensors"));
}

TEST_CASE("files are hashed once and known again, until they change") {
  const Folder root, cache;
  fs::create_directories(root.path + "/checkpoints");
  const std::string path = root.path + "/checkpoints/m.safetensors";
  const std::string bytes = Bytes(kModelChunkBytes + 1);
  std::ofstream(path, std::ios::binary) << bytes;
  std::mutex mutex;
  std::condition_variable told;
  int changes = 0;
  const auto options = [&] {
    LibraryOptions made;
    made.roots = {root.path};
    made.cache_dir = cache.path;
    made.changed = [&] {
      const std::lock_guard lock(mutex);
      ++changes;
      told.notify_all();
    };
    return made;
  };
  const auto wait = [&](const std::function<bool()>& until) {
    std::unique_lock lock(mutex);
    REQUIRE(told.wait_for(lock, std::chrono::seconds(20), until));
  };
  {
    ModelLibrary library(options());
    CHECK(library.Find("checkpoints", "m.safetensors")->hash.empty());
    library.Start();
    wait([&] { return !library.Find("checkpoints", "m.safetensors")->hash.empty(); });
    const auto opened = library.Open(Sha256Hex(bytes));
    REQUIRE(opened.ok());
    CHECK(*opened->manifest == ManifestOf(bytes));
    CHECK(ReadModelChunk(opened->fd.get(), *opened->manifest, 1).value() == Chunk(bytes, 1));
  }
  ModelLibrary library(options());  // not started: it can only have read the cache
  CHECK(library.Find("checkpoints", "m.safetensors")->hash == Sha256Hex(bytes));
  std::ofstream(path, std::ios::binary) << "other";
  CHECK(library.Open(Sha256Hex(bytes)).status().code() == StatusCode::kNotFound);
  library.Start();
  library.Rescan();
  wait([&] { return library.Find("checkpoints", "m.safetensors")->hash == Sha256Hex("other"); });
  fs::remove(path);
  library.Rescan();
  wait([&] { return !library.Find("checkpoints", "m.safetensors").has_value(); });
}

}  // namespace
}  // namespace atelier
