// Loading a checkpoint of Stable Diffusion 1.5's size against a plain read of the same file, both from the page cache.
//
// Load: the worker's own loader (header, names, shapes, networks of all three parts), then every weight where the first
// forward pass takes it, by the parameter sets that the networks use: text encoder and autoencoder cast to float32, the
// diffusion network used straight from the mapping, so each of its bytes is read once here. The work of a forward pass
// itself is left out. Plain read: read() of the file into memory of its size, as a loader without a mapping has to.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "tests/bench/bench.h"
#include "tests/bench/models/sd15_file.h"
#include "worker/engine/weights.h"
#include "worker/models/loaders.h"

namespace atelier {
namespace {

constexpr int kPairs = 5;
constexpr size_t kPieceBytes = 1 << 20;

class TempFile {
 public:
  TempFile() {
    std::string name = (std::filesystem::temp_directory_path() / "atelier-bench-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    folder_ = name;
  }
  ~TempFile() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::string path() const { return folder_ + "/sd15.safetensors"; }

 private:
  std::string folder_;
};

// read() of the whole file, into memory of its size or again and again into one piece.
double PlainRead(const std::string& path, size_t bytes, bool whole) {
  const auto begin = bench::Clock::now();
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  const std::unique_ptr<char, decltype(&std::free)> memory(static_cast<char*>(std::malloc(whole ? bytes : kPieceBytes)),
                                                           &std::free);
  size_t have = 0;
  while (have < bytes) {
    const ssize_t n = whole ? read(fd, memory.get() + have, bytes - have) : read(fd, memory.get(), kPieceBytes);
    REQUIRE(n > 0);
    have += static_cast<size_t>(n);
  }
  close(fd);
  return bench::Since(begin);
}

uint64_t Touch(const at::Tensor& tensor) {
  const char* bytes = static_cast<const char*>(tensor.const_data_ptr());
  uint64_t sum = 0, word = 0;
  for (size_t i = 0; i + sizeof word <= tensor.nbytes(); i += sizeof word) {
    std::memcpy(&word, bytes + i, sizeof word);
    sum += word;
  }
  return sum;
}

struct Loaded {
  double open = 0, all = 0;  // seconds: the loader's call alone, with all weights in place
  uint64_t sum = 0;
  int64_t bytes = 0;
};

Loaded Load(const std::string& path) {
  Loaded loaded;
  const c10::InferenceMode inference;
  engine::Engine engine({});
  const auto begin = bench::Clock::now();
  const auto parts = models::LoadCheckpoint(path, engine);
  INFO(Message(parts.status()));
  REQUIRE(parts.ok());
  REQUIRE((*parts)->text_encoder != nullptr);
  REQUIRE((*parts)->autoencoder != nullptr);
  loaded.open = bench::Since(begin);
  const auto source = engine::WeightSource::Open(path);
  REQUIRE(source.ok());
  std::vector<std::unique_ptr<engine::ParamSet>> sets;
  for (const auto& [prefix, part] :
       {std::pair<const char*, engine::Part>("model.diffusion_model.", engine::Part::kDiffusion),
        {"cond_stage_model.", engine::Part::kTextEncoder},
        {"first_stage_model.", engine::Part::kAutoencoder}}) {
    auto& set = sets.emplace_back(std::make_unique<engine::ParamSet>(engine.device(), part, engine.residency()));
    std::vector<engine::Param> params;
    const engine::WeightSource weights = source->Prefixed(prefix);
    for (const auto& [name, tensor] : weights.tensors()) params.push_back(set->Add(tensor));
    set->Load();
    for (const engine::Param& param : params) {
      loaded.bytes += static_cast<int64_t>(param->stored.nbytes());
      if (param->live.const_data_ptr() == param->stored.const_data_ptr()) loaded.sum += Touch(param->live);
    }
  }
  loaded.all = bench::Since(begin);
  return loaded;
}

TEST_CASE("checkpoint load against a plain read") {
  const TempFile file;
  const int64_t bytes = bench::Sd15File().Write(file.path());
  INFO("a temporary folder with 2.2 GB free is needed; name one with TMPDIR");
  REQUIRE(bytes > 2'000'000'000);
  const auto size = static_cast<size_t>(bytes);
  PlainRead(file.path(), size, false);  // now it is in the page cache
  Load(file.path());                    // and the code is warm
  std::vector<double> ratios, strict, opens, loads, reads;
  for (int i = 0; i < kPairs; ++i) {
    const double read = PlainRead(file.path(), size, true);
    const double piecewise = PlainRead(file.path(), size, false);
    const Loaded loaded = Load(file.path());
    CHECK(loaded.sum != 0);
    CHECK(bytes - loaded.bytes < 1'000'000);  // all weights; the rest is the header
    ratios.push_back(loaded.all / read);
    strict.push_back(loaded.all / piecewise);
    opens.push_back(loaded.open);
    loads.push_back(loaded.all);
    reads.push_back(read);
  }
  char note[160];
  std::snprintf(note, sizeof note, "median of %d pairs, %.2f GB in the page cache, load %.2f s, read %.2f s", kPairs,
                static_cast<double>(bytes) / 1e9, bench::Median(loads), bench::Median(reads));
  CHECK(bench::Report("checkpoint load against a plain read", bench::Median(ratios), "x", bench::Side::kAtMost, 1.3,
                      note));
  bench::Tell("checkpoint load against a read into one small buffer", bench::Median(strict), "x",
              "nothing kept: the copy alone");
  bench::Tell("checkpoint open", bench::Median(opens) * 1000, "ms",
              "until the networks stand, weights still in the file");
}

}  // namespace
}  // namespace atelier
