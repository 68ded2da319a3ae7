// Runs a fuzz target without libFuzzer, with the options of libFuzzer that it knows:
//   -runs=N (default 10000)  -max_total_time=SECONDS  -seed=N
//   FOLDER... (whose files come first and are damaged, too)  FILE... (these and nothing else)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string_view>

#include "tests/fuzz/fuzz.h"

namespace {

using Random = std::mt19937_64;

size_t Below(Random& random, size_t n) { return n == 0 ? 0 : static_cast<size_t>(random() % n); }

void Mutate(std::string& bytes, const std::vector<std::string>& seeds, Random& random) {
  const size_t at = Below(random, bytes.size());
  switch (random() % 9) {
    case 0:  // a bit
      if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      break;
    case 1:  // a byte
      if (!bytes.empty()) bytes[at] = static_cast<char>(random());
      break;
    case 2: {  // a number at the edge of its range
      static constexpr uint64_t kEdges[] = {0,          1,      0x7F,       0x80,       0xFF,
                                            0x7FFF,     0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
                                            ~0ULL >> 1, ~0ULL,  1ULL << 62, 1ULL << 32};
      const uint64_t value = kEdges[Below(random, std::size(kEdges))];
      const size_t width = size_t{1} << random() % 4;
      for (size_t i = 0; i < width && at + i < bytes.size(); ++i) bytes[at + i] = static_cast<char>(value >> (8 * i));
      break;
    }
    case 3:
      bytes.resize(at);
      break;
    case 4:
      bytes.erase(at, 1 + Below(random, 16));
      break;
    case 5:
      bytes.insert(at, 1 + Below(random, 16), static_cast<char>(random()));
      break;
    case 6:  // a part once more
      bytes.insert(at, std::string(bytes, Below(random, bytes.size()), 1 + Below(random, 64)));
      break;
    case 7: {  // a part of another seed
      const std::string& other = seeds[Below(random, seeds.size())];
      bytes.insert(at, std::string(other, Below(random, other.size()), 1 + Below(random, 64)));
      break;
    }
    default: {  // two parts change places
      const size_t from = Below(random, bytes.size()), n = std::min<size_t>(8, bytes.size() - std::max(at, from));
      std::swap_ranges(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                       bytes.begin() + static_cast<std::ptrdiff_t>(at + std::min(n, at > from ? at - from : from - at)),
                       bytes.begin() + static_cast<std::ptrdiff_t>(from));
    }
  }
}

std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) std::fprintf(stderr, "%s cannot be read\n", path.c_str());
  return in ? std::optional<std::string>(std::in_place, std::istreambuf_iterator<char>(in),
                                         std::istreambuf_iterator<char>())
            : std::nullopt;
}

void Run(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 10'000, seed = 1;
  double seconds = 0;
  std::vector<std::string> files, kept;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option.starts_with("-runs=")) {
      runs = std::strtoull(argv[i] + 6, nullptr, 10);
    } else if (option.starts_with("-max_total_time=")) {
      seconds = std::strtod(argv[i] + 16, nullptr);
    } else if (option.starts_with("-seed=")) {
      seed = std::strtoull(argv[i] + 6, nullptr, 10);
    } else if (option.starts_with("-")) {
      std::fprintf(stderr, "unknown option %s\n", argv[i]);
      return 2;
    } else if (std::filesystem::is_directory(option)) {
      for (const auto& entry : std::filesystem::directory_iterator(option)) kept.push_back(entry.path());
    } else {
      files.emplace_back(option);
    }
  }
  for (const std::string& file : files) {
    const std::optional<std::string> bytes = ReadFile(file);
    if (!bytes) return 2;
    Run(*bytes);
  }
  if (!files.empty()) return 0;
  std::vector<std::string> seeds = atelier::fuzz::Seeds();
  std::sort(kept.begin(), kept.end());
  for (const std::string& file : kept) {
    std::optional<std::string> bytes = ReadFile(file);
    if (!bytes) return 2;
    seeds.push_back(std::move(*bytes));
  }
  for (const std::string& bytes : seeds) Run(bytes);
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  uint64_t done = 0;
  for (; seconds > 0 ? elapsed() < seconds : done < runs; ++done) {
    // Each input depends on its number only, so a failing one can be made again.
    Random random(seed * 1'000'003 + done);
    std::string bytes = seeds[Below(random, seeds.size())];
    for (uint64_t n = 1 + random() % 6; n > 0; --n) Mutate(bytes, seeds, random);
    Run(bytes);
  }
  std::printf("%llu inputs of seed %llu in %.1f s, after %zu that were kept\n", static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(seed), elapsed(), kept.size());
  return 0;
}
