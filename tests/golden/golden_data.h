// Where the golden data lies, and comparisons with it.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/json/json.h"
#include "worker/engine/weights.h"

namespace atelier::golden {

/// The golden folder: ATELIER_GOLDEN, or shared/golden beside the checkout. Without it the test ends as skipped (77),
/// loudly.
inline const std::string& Root() {
  static const std::string root = [] {
    const char* set = std::getenv("ATELIER_GOLDEN");
    std::string path = set != nullptr ? set : ATELIER_SOURCE_DIR "/../shared/golden";
    if (!std::filesystem::exists(path + "/index.json")) path = ATELIER_SOURCE_DIR "/shared/golden";
    if (!std::filesystem::exists(path + "/index.json")) {
      std::fprintf(stderr, "SKIPPED: no golden data; set ATELIER_GOLDEN to the folder that holds index.json\n");
      std::exit(77);
    }
    return path;
  }();
  return root;
}

/// The models folder that golden/unpack prints.
inline const std::string& Models() {
  static const std::string models = [] {
    std::string out;
    FILE* pipe = ::popen(("'" + Root() + "/unpack'").c_str(), "r");
    ATELIER_CHECK(pipe != nullptr);
    std::array<char, 512> buffer{};
    while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) out += buffer.data();
    ATELIER_CHECK(::pclose(pipe) == 0);
    while (!out.empty() && out.back() == '\n') out.pop_back();
    return out;
  }();
  return models;
}

inline std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  ATELIER_CHECK(in.good());
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Root(), under the name that says what it does when the data is absent.
inline const std::string& Require() { return Root(); }

/// A JSON file by its full path.
inline Json ReadJson(const std::string& path) {
  auto json = ParseJson(ReadFile(path));
  ATELIER_CHECK(json.ok());
  return *json;
}

/// The entries of index.json of one group.
inline std::vector<Json> Cases(const std::string& group) {
  static const Json index = ReadJson(Root() + "/index.json");
  std::vector<Json> cases;
  for (const Json& item : index["cases"]) {
    if (item["group"] == group) cases.push_back(item);
  }
  return cases;
}

/// All tensors of a file by its full path.
inline std::map<std::string, at::Tensor> ReadTensors(const std::string& path) {
  auto file = engine::WeightSource::Open(path);
  ATELIER_CHECK(file.ok());
  return {file->tensors().begin(), file->tensors().end()};
}

inline engine::WeightSource Tensors(const std::string& relative) {
  auto file = engine::WeightSource::Open(Root() + "/" + relative);
  ATELIER_CHECK(file.ok());
  return *file;
}

/// Largest absolute difference; huge when the shapes differ.
inline double MaxDiff(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined() || a.sizes() != b.sizes()) return 1e30;
  return (a.to(at::kCPU).to(at::kDouble) - b.to(at::kCPU).to(at::kDouble)).abs().max().item<double>();
}

}  // namespace atelier::golden
