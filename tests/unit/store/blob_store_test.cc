#include "master/store/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/unit/store/temp_folder.h"

namespace atelier {
namespace {

namespace fs = std::filesystem;

size_t FilesBelow(const std::string& folder) {
  size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) count += entry.is_regular_file() ? 1 : 0;
  return count;
}

TEST_CASE("a blob is stored once under its hash and read back checked") {
  TempFolder temp;
  auto store = BlobStore::Open(temp.path() + "/blobs");
  REQUIRE(store.ok());
  for (const std::string& bytes : {std::string(), std::string("abc"), std::string(5 << 20, 'x')}) {
    const auto ref = (*store)->Put(bytes);
    REQUIRE(ref.ok());
    CHECK(ref->hash == Sha256Hex(bytes));
    CHECK(ref->size == bytes.size());
    CHECK((*store)->Has(ref->hash));
    CHECK((*store)->Size(ref->hash).value() == bytes.size());
    CHECK((*store)->ReadAll(ref->hash).value() == bytes);
    CHECK((*store)->Put(bytes).value() == *ref);
    CHECK(fs::exists(Cat((*store)->dir(), "/", ref->hash.substr(0, 2), "/", ref->hash)));
  }
  CHECK(FilesBelow((*store)->dir()) == 3);
  CHECK_FALSE((*store)->Has(std::string(64, '0')));
  CHECK_FALSE((*store)->Has("../../etc/passwd"));
  CHECK((*store)->ReadAll(std::string(64, '0')).status().code() == StatusCode::kNotFound);
  CHECK((*store)->OpenBlob("../x").status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("a blob comes in pieces and is refused when it is not what was announced") {
  TempFolder temp;
  auto store = BlobStore::Open(temp.path(), 1000);
  REQUIRE(store.ok());
  const std::string hash = Sha256Hex("hello world");
  SECTION("right") {
    auto writer = (*store)->NewBlob(hash, 11);
    REQUIRE(writer.ok());
    REQUIRE((*writer)->Append("hello ").ok());
    REQUIRE((*writer)->Append("world").ok());
    CHECK_FALSE((*store)->Has(hash));
    CHECK((*writer)->Commit().value() == hash);
    CHECK((*store)->Has(hash));
    CHECK((*writer)->Commit().status().code() == StatusCode::kInternal);
    return;
  }
  SECTION("other bytes") {
    auto writer = (*store)->NewBlob(hash, 11);
    REQUIRE((*writer)->Append("hello World").ok());
    CHECK((*writer)->Commit().status().code() == StatusCode::kDataLoss);
  }
  SECTION("too few") {
    auto writer = (*store)->NewBlob(hash, 11);
    REQUIRE((*writer)->Append("hello").ok());
    CHECK((*writer)->Commit().status().code() == StatusCode::kDataLoss);
  }
  SECTION("too many") {
    auto writer = (*store)->NewBlob(hash, 5);
    CHECK((*writer)->Append("hello world").code() == StatusCode::kInvalidArgument);
  }
  SECTION("too large") {
    CHECK((*store)->NewBlob("", 1001).status().code() == StatusCode::kResourceExhausted);
    auto writer = (*store)->NewBlob();
    CHECK((*writer)->Append(std::string(1001, 'x')).code() == StatusCode::kResourceExhausted);
  }
  SECTION("no hash") { CHECK((*store)->NewBlob("ABC").status().code() == StatusCode::kInvalidArgument); }
  SECTION("dropped") {
    auto writer = (*store)->NewBlob();
    REQUIRE((*writer)->Append("hello").ok());
  }
  CHECK(FilesBelow(temp.path()) == 0);
}

TEST_CASE("a damaged blob is found by a read in order and moved aside") {
  TempFolder temp;
  auto store = BlobStore::Open(temp.path());
  const std::string bytes(3 << 20, 'y');
  const BlobRef ref = (*store)->Put(bytes).value();
  const std::string path = Cat(temp.path(), "/", ref.hash.substr(0, 2), "/", ref.hash);
  {
    std::fstream file(path, std::ios::in | std::ios::out);
    file.seekp(2 << 20);
    file.put('z');
  }
  auto reader = (*store)->OpenBlob(ref.hash);
  REQUIRE(reader.ok());
  CHECK(reader->Read(1 << 20, 10).value() == std::string(10, 'y'));  // random access is not checked
  CHECK(reader->Read(0, 1 << 20).ok());
  CHECK(reader->Read(1 << 20, 1 << 20).ok());
  CHECK(reader->Read(2 << 20, 1 << 20).status().code() == StatusCode::kDataLoss);
  CHECK_FALSE((*store)->Has(ref.hash));
  CHECK(fs::exists(temp.path() + "/damaged/" + ref.hash));
  REQUIRE((*store)->Put(bytes).ok());
  CHECK((*store)->OpenBlob(ref.hash)->Verify().ok());
  fs::resize_file(path, 100);
  CHECK((*store)->ReadAll(ref.hash).status().code() == StatusCode::kDataLoss);
}

TEST_CASE("a file is copied into the store") {
  TempFolder temp;
  auto store = BlobStore::Open(temp.path() + "/blobs");
  std::ofstream(temp.path() + "/in.png") << "pixels";
  CHECK((*store)->PutFile(temp.path() + "/in.png").value() == BlobRef{Sha256Hex("pixels"), 6});
  CHECK((*store)->PutFile(temp.path() + "/none").status().code() == StatusCode::kNotFound);
  CHECK((*store)->PutFile(temp.path()).status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("collecting keeps what lives and what was used lately") {
  TempFolder temp;
  auto store = BlobStore::Open(temp.path());
  const BlobRef live = (*store)->Put("live").value(), old = (*store)->Put("old").value(),
                asked = (*store)->Put("asked").value(), fresh = (*store)->Put("fresh").value();
  for (const BlobRef& ref : {live, old, asked}) {
    const timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 1000, .tv_nsec = 0}};
    REQUIRE(utimensat(AT_FDCWD, Cat(temp.path(), "/", ref.hash.substr(0, 2), "/", ref.hash).c_str(), times, 0) == 0);
  }
  REQUIRE((*store)->Has(asked.hash));
  const auto collected = (*store)->Collect({live.hash}, 3600);
  REQUIRE(collected.ok());
  CHECK(collected->blobs == 1);
  CHECK(collected->bytes == 3);
  CHECK((*store)->Has(live.hash));
  CHECK_FALSE((*store)->Has(old.hash));
  CHECK((*store)->Has(asked.hash));
  CHECK((*store)->Has(fresh.hash));
}

TEST_CASE("a crash at any instant of storing leaves a blob absent or right, and no remains") {
  for (const std::string_view at : {"blob before fsync", "blob before rename", "blob before folder fsync"}) {
    INFO(at);
    TempFolder temp;
    REQUIRE(CrashAt(at, 1, [&] {
      auto store = BlobStore::Open(temp.path());
      (*store)->Put("bytes of a task").IgnoreError();
    }));
    auto store = BlobStore::Open(temp.path());
    REQUIRE(store.ok());
    const std::string hash = Sha256Hex("bytes of a task");
    const bool there = (*store)->Has(hash);
    CHECK(there == (at == "blob before folder fsync"));
    CHECK(FilesBelow(temp.path()) == (there ? 1 : 0));
    CHECK((*store)->Put("bytes of a task").ok());
    CHECK((*store)->ReadAll(hash).value() == "bytes of a task");
  }
}

TEST_CASE("a full disk is told with the folder and what to do, and leaves nothing") {
  TempFolder temp;
  const SmallDisk disk(temp.path(), 4 << 20);
  if (!disk.ok()) {
    WARN("skipped: a small disk can be mounted by root only");
    return;
  }
  auto store = BlobStore::Open(temp.path());
  REQUIRE(store.ok());
  CHECK((*store)->NewBlob("", 8 << 20).status().code() == StatusCode::kResourceExhausted);
  const auto put = (*store)->Put(std::string(8 << 20, 'x'));
  REQUIRE(put.status().code() == StatusCode::kResourceExhausted);
  CHECK(Message(put.status()).find(temp.path()) != std::string::npos);
  CHECK(Message(put.status()).find("free some space") != std::string::npos);
  auto writer = (*store)->NewBlob();
  Status status;
  for (int i = 0; i < 80 && status.ok(); ++i) status = (*writer)->Append(std::string(100'000, 'x'));
  CHECK(status.code() == StatusCode::kResourceExhausted);
  writer->reset();
  CHECK(FilesBelow(temp.path()) == 0);
  CHECK((*store)->Put("small").ok());
}

TEST_CASE("a folder that cannot be made is told") {
  TempFolder temp;
  std::ofstream(temp.path() + "/file") << "x";
  CHECK_FALSE(BlobStore::Open(temp.path() + "/file/blobs").ok());
}

TEST_CASE("blob store throughput", "[.bench]") {
  const char* folder = std::getenv("ATELIER_BENCH_DIR");
  TempFolder temp(folder == nullptr ? "/tmp" : folder);
  auto store = BlobStore::Open(temp.path());
  const std::string chunk(1 << 20, 'q');
  const auto start = std::chrono::steady_clock::now();
  auto writer = (*store)->NewBlob("", 1 << 30);
  for (int i = 0; i < 1024; ++i) REQUIRE((*writer)->Append(chunk).ok());
  const auto appended = std::chrono::steady_clock::now();
  const std::string hash = (*writer)->Commit().value();
  const auto committed = std::chrono::steady_clock::now();
  REQUIRE((*store)->OpenBlob(hash)->Verify().ok());
  const auto verified = std::chrono::steady_clock::now();
  const auto rate = [](auto a, auto b) { return 1024.0 * 1.048576 / std::chrono::duration<double>(b - a).count(); };
  WARN("append " << rate(start, appended) << " MB/s, with commit " << rate(start, committed) << " MB/s, checked read "
                 << rate(committed, verified) << " MB/s");
}

TEST_CASE("of idle blobs beyond a sum of bytes the least recently used go, none that is needed or in use") {
  TempFolder temp;
  auto store = BlobStore::Open(temp.path());
  REQUIRE(store.ok());
  const auto aged = [&](char c, int minutes) {
    const BlobRef ref = (*store)->Put(std::string(1000, c)).value();
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    const timespec times[2] = {{now.tv_sec - 60 * minutes, 0}, {now.tv_sec - 60 * minutes, 0}};
    REQUIRE(utimensat(AT_FDCWD, Cat(temp.path(), "/", ref.hash.substr(0, 2), "/", ref.hash).c_str(), times, 0) == 0);
    return ref.hash;
  };
  const std::string oldest = aged('a', 30), older = aged('b', 20), old = aged('c', 10), live = aged('d', 40),
                    now = aged('e', 0);
  const auto collected = (*store)->Collect({live}, 3600, 2500);
  REQUIRE(collected.ok());
  CHECK(collected->blobs == 2);  // 4000 idle bytes, at most 2500
  CHECK(collected->kept_blobs == 3);
  CHECK(collected->kept_bytes == 3000);
  for (const std::string& gone : {oldest, older}) CHECK_FALSE((*store)->Has(gone));
  for (const std::string& kept : {old, live, now}) CHECK((*store)->Has(kept));
  CHECK((*store)->Collect({}, 3600, 1)->kept_blobs == 3);  // all were asked for just now
}

TEST_CASE("a blob is linked into another folder, also where links cannot be, and lives on there") {
  TempFolder temp;
  auto store = BlobStore::Open(temp.path() + "/blobs");
  REQUIRE(store.ok());
  const std::string hash = (*store)->Put("bytes")->hash;
  for (const std::string& to : {temp.path() + "/copy", std::string("/tmp/atelier-link-") + std::to_string(getpid())}) {
    CHECK((*store)->LinkInto(hash, to).value() == 5);
    CHECK((*store)->LinkInto(hash, to).value() == 5);
    CHECK((*store)->LinkInto(std::string(64, '0'), to).value() == 0);
    CHECK_FALSE((*store)->LinkInto("../x", to).ok());
    auto other = BlobStore::Open(to);
    REQUIRE(other.ok());
    CHECK((*other)->ReadAll(hash).value() == "bytes");
    std::filesystem::remove_all(to);
  }
}

TEST_CASE("a blob of tensors is mapped, and stays so when it is removed; others are refused") {
  TempFolder temp;
  auto store = BlobStore::Open(temp.path());
  REQUIRE(store.ok());
  const std::string bytes = WriteSafetensors({{"image", DType::kU8, {3}, "abc"}}, {{"atelier_type", "IMAGE"}});
  const std::string hash = (*store)->Put(bytes)->hash;
  const auto mapped = (*store)->Map(hash);
  REQUIRE(mapped.ok());
  REQUIRE((*store)->Collect({}, -1).ok());
  CHECK((*store)->Map(hash).status().code() == StatusCode::kNotFound);
  CHECK((*mapped)->view().Data(*(*mapped)->view().Find("image")) == "abc");
  CHECK_FALSE((*store)->Map((*store)->Put("no tensors")->hash).ok());
  CHECK((*store)->Map("../x").status().code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atelier
