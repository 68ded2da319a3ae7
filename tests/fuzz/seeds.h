// Small whole files in the formats that the readers take, made here: what the fuzz targets begin with, and what tests
// of the readers damage.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace atelier::fuzz {

/// `v` as n little-endian bytes; n may be above 8.
inline std::string Little(uint64_t v, int n) {
  std::string s;
  for (int i = 0; i < n; ++i) s.push_back(i < 8 ? static_cast<char>(v >> (8 * i)) : 0);
  return s;
}

/// A zip archive of stored entries.
inline std::string Zip(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string body, directory;
  for (const auto& [name, bytes] : entries) {
    const std::string sizes = Little(0, 4) + Little(bytes.size(), 4) + Little(bytes.size(), 4);
    directory += "PK\1\2" + Little(20, 2) + Little(20, 2) + Little(0, 8) + sizes + Little(name.size(), 2) +
                 Little(0, 12) + Little(body.size(), 4) + name;
    body += "PK\3\4" + Little(20, 2) + Little(0, 8) + sizes + Little(name.size(), 2) + Little(0, 2) + name + bytes;
  }
  return body + directory + "PK\5\6" + Little(0, 4) + Little(entries.size(), 2) + Little(entries.size(), 2) +
         Little(directory.size(), 4) + Little(body.size(), 4) + Little(0, 2);
}

/// Instructions of pickles.
inline std::string PickleText(const std::string& s) { return "X" + Little(s.size(), 4) + s; }
inline std::string PickleInt(uint64_t n) { return "K" + Little(n, 1); }
inline std::string PickleTensor(const std::string& storage_type, const std::string& key, uint64_t elements,
                                uint64_t rows, uint64_t columns, bool legacy) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + PickleText("storage") + "ctorch\n" + storage_type + "\n" +
         PickleText(key) + PickleText("cpu") + PickleInt(elements) + (legacy ? "N" : "") + "tQ" + PickleInt(0) +
         PickleInt(rows) + PickleInt(columns) + "\x86" + PickleInt(columns) + PickleInt(1) +
         "\x86\x89"
         "ccollections\nOrderedDict\n)RtR";
}
/// {"epoch": 3, "state_dict": OrderedDict(w: f32 [2,3] of storage "0", h: f16 [2,2] of storage "1")}
inline std::string PickledState(bool legacy) {
  return "\x80\x02}(" + PickleText("epoch") + PickleInt(3) + PickleText("state_dict") +
         "ccollections\nOrderedDict\n)R(" + PickleText("w") + PickleTensor("FloatStorage", "0", 6, 2, 3, legacy) +
         PickleText("h") + PickleTensor("HalfStorage", "1", 4, 2, 2, legacy) + "u}" + PickleText("_metadata") + "}sbu.";
}

inline std::string TorchZipSeed() {
  std::string floats;
  for (int i = 0; i < 6; ++i) floats += Little(0x3F800000, 4);
  return Zip({{"x/data.pkl", PickledState(false)},
              {"x/byteorder", "little"},
              {"x/data/0", floats},
              {"x/data/1", std::string(8, '\x3c')},
              {"x/version", "3\n"}});
}

inline std::string TorchLegacySeed() {
  std::string file("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  file += std::string("\x80\x02M\xe9\x03.", 6);
  file += "\x80\x02}(" + PickleText("protocol_version") + std::string("M\xe9\x03", 3) + PickleText("little_endian") +
          "\x88" + PickleText("type_sizes") + "}" + "u.";
  file += PickledState(true) + "\x80\x02](" + PickleText("0") + PickleText("1") + "e.";
  file += Little(6, 8);
  for (int i = 0; i < 6; ++i) file += Little(0x3F800000, 4);
  return file + Little(4, 8) + std::string(8, '\x3c');
}

/// Metadata of most kinds, an F32 tensor of 5 dimensions and one of each given quantised type with one row of blocks.
inline std::string GgufSeed(const std::vector<std::pair<uint32_t, std::pair<uint64_t, uint64_t>>>& types) {
  const auto text = [](const std::string& s) { return Little(s.size(), 8) + s; };
  std::string keys = text("general.architecture") + Little(8, 4) + text("t5");
  keys += text("general.alignment") + Little(4, 4) + Little(32, 4);
  keys += text("tokens") + Little(9, 4) + Little(8, 4) + Little(2, 8) + text("a") + text("b");
  keys += text("scores") + Little(9, 4) + Little(6, 4) + Little(1, 8) + Little(0x3F800000, 4);
  keys += text("flag") + Little(7, 4) + Little(1, 1);
  std::string infos = text("enc.blk.0.attn_q.weight") + Little(5, 4), data(128, '\1');
  for (const uint64_t n : {2, 2, 1, 2, 4}) infos += Little(n, 8);
  infos += Little(0, 4) + Little(0, 8);
  for (const auto& [id, block] : types) {
    infos +=
        text("q" + std::to_string(id)) + Little(1, 4) + Little(block.first, 8) + Little(id, 4) + Little(data.size(), 8);
    data.append(block.second, '\x35');
    data.resize((data.size() + 31) / 32 * 32, '\0');
  }
  std::string file = "GGUF" + Little(3, 4) + Little(types.size() + 1, 8) + Little(5, 8) + keys + infos;
  file.resize((file.size() + 31) / 32 * 32, '\0');
  return file + data;
}

}  // namespace atelier::fuzz
