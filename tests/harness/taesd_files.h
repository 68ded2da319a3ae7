// Tiny autoencoders in the layout of madebyollin/taesd (MIT), narrower and with weights of chance, as files.
#pragma once

#include <ATen/ATen.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/tensorio/safetensors.h"
#include "tests/fuzz/seeds.h"

namespace atelier::test {

using Tensors = std::map<std::string, at::Tensor>;

inline constexpr int64_t kTinyWidth = 8;  // 64 in the published files

/// A folder that goes with its object.
struct TinyFolder {
  TinyFolder() {
    char name[] = "/tmp/atelier-taesd-XXXXXX";
    path = mkdtemp(name);
  }
  ~TinyFolder() { std::filesystem::remove_all(path); }
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path + "/" + name, std::ios::binary) << bytes;
    return path + "/" + name;
  }
  std::string path;
};

inline std::string_view BytesOf(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

inline std::string Safetensors(const Tensors& tensors) {
  std::vector<TensorToWrite> list;
  for (const auto& [name, tensor] : tensors) list.push_back({name, DType::kF32, tensor.sizes().vec(), BytesOf(tensor)});
  return WriteSafetensors(list, {});
}

/// As torch.save writes a dictionary of tensors.
inline std::string TorchFile(const Tensors& tensors) {
  using fuzz::PickleText;
  const auto number = [](int64_t n) { return "J" + fuzz::Little(static_cast<uint64_t>(n), 4); };
  std::string pickle = "\x80\x02}(";
  std::vector<std::pair<std::string, std::string>> entries{{"x/data.pkl", ""}, {"x/byteorder", "little"}};
  for (const auto& [name, tensor] : tensors) {
    const std::string key = std::to_string(entries.size());
    std::string sizes, strides;
    for (const int64_t n : tensor.sizes()) sizes += number(n);
    for (const int64_t n : tensor.strides()) strides += number(n);
    pickle += PickleText(name) + "ctorch._utils\n_rebuild_tensor_v2\n((" + PickleText("storage") +
              "ctorch\nFloatStorage\n" + PickleText(key) + PickleText("cpu") + number(tensor.numel()) + "tQ" +
              number(0) + "(" + sizes + "t(" + strides + "t\x89" + "ccollections\nOrderedDict\n)RtR";
    entries.emplace_back("x/data/" + key, std::string(BytesOf(tensor)));
  }
  entries[0].second = pickle + "u.";
  entries.emplace_back("x/version", "3\n");
  return fuzz::Zip(entries);
}

inline void AddConv(Tensors& to, const std::string& name, int64_t in, int64_t out, bool bias) {
  to[name + ".weight"] = at::randn({out, in, 3, 3}) * 0.12;
  if (bias) to[name + ".bias"] = at::randn({out}) * 0.1;
}
inline void AddBlock(Tensors& to, int64_t number) {
  for (const char* conv : {".conv.0", ".conv.2", ".conv.4"})
    AddConv(to, std::to_string(number) + conv, kTinyWidth, kTinyWidth, true);
}

inline Tensors EncoderFile(int64_t channels) {
  Tensors t;
  AddConv(t, "0", 3, kTinyWidth, true);
  for (const int64_t n : {1, 3, 4, 5, 7, 8, 9, 11, 12, 13}) AddBlock(t, n);
  for (const char* n : {"2", "6", "10"}) AddConv(t, n, kTinyWidth, kTinyWidth, false);
  AddConv(t, "14", kTinyWidth, channels, true);
  return t;
}

inline Tensors DecoderFile(int64_t channels) {
  Tensors t;
  AddConv(t, "1", channels, kTinyWidth, true);
  for (const int64_t n : {3, 4, 5, 8, 9, 10, 13, 14, 15, 18}) AddBlock(t, n);
  for (const char* n : {"7", "12", "17"}) AddConv(t, n, kTinyWidth, kTinyWidth, false);
  AddConv(t, "19", kTinyWidth, 3, true);
  t["19.weight"] *= 0.3;
  t["19.bias"] += 0.5;
  return t;
}

}  // namespace atelier::test
