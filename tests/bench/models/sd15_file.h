// A checkpoint with the names and shapes of Stable Diffusion 1.5 (fp16, 2.1 GB) and noise for weights, so that loading
// can be timed where the real one is not at hand. Source: spec engine.md 4.2-4.6 (layouts).
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace atelier::bench {

class Sd15File {
 public:
  Sd15File() {
    UNet();
    Clip();
    Vae();
  }

  /// Writes the file anew; its size in bytes, or 0 when the disk refuses.
  int64_t Write(const std::string& path) const {
    std::string header = "{";
    int64_t offset = 0;
    for (const auto& [name, shape] : tensors_) {
      int64_t bytes = 2;
      std::string dims;
      for (const int64_t n : shape) {
        bytes *= n;
        dims += (dims.empty() ? "" : ",") + std::to_string(n);
      }
      header += (offset == 0 ? "\"" : ",\"") + name + "\":{\"dtype\":\"F16\",\"shape\":[" + dims +
                "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(offset + bytes) + "]}";
      offset += bytes;
    }
    header += "}";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::vector<uint16_t> noise(1 << 20);
    uint32_t state = 1;
    for (uint16_t& value : noise) {
      state = state * 1664525 + 1013904223;
      value = static_cast<uint16_t>(((state >> 16) & 0x83ff) | 0x2c00);  // +-0.06 to 0.12
    }
    FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr) return 0;
    const uint64_t length = header.size();
    bool good = std::fwrite(&length, sizeof length, 1, file) == 1;
    good = good && std::fwrite(header.data(), 1, header.size(), file) == header.size();
    const int64_t block = static_cast<int64_t>(noise.size() * sizeof noise[0]);
    for (int64_t left = offset; good && left > 0; left -= block) {
      const size_t n = static_cast<size_t>(left < block ? left : block);
      good = std::fwrite(noise.data(), 1, n, file) == n;
    }
    good = std::fclose(file) == 0 && good;
    return good ? static_cast<int64_t>(sizeof length + header.size()) + offset : 0;
  }

 private:
  void Add(const std::string& name, std::vector<int64_t> shape) { tensors_.emplace_back(name, std::move(shape)); }
  void Both(const std::string& name, std::vector<int64_t> shape) {
    Add(name + ".bias", {shape[0]});
    Add(name + ".weight", std::move(shape));
  }
  void Conv(const std::string& name, int64_t in, int64_t out, int64_t kernel) { Both(name, {out, in, kernel, kernel}); }
  void Linear(const std::string& name, int64_t in, int64_t out) { Both(name, {out, in}); }
  void Norm(const std::string& name, int64_t width) { Both(name, {width}); }

  void UNetRes(const std::string& name, int64_t in, int64_t out) {
    Norm(name + ".in_layers.0", in);
    Conv(name + ".in_layers.2", in, out, 3);
    Linear(name + ".emb_layers.1", 1280, out);
    Norm(name + ".out_layers.0", out);
    Conv(name + ".out_layers.3", out, out, 3);
    if (in != out) Conv(name + ".skip_connection", in, out, 1);
  }
  void Transformer(const std::string& name, int64_t width) {
    Norm(name + ".norm", width);
    Conv(name + ".proj_in", width, width, 1);
    Conv(name + ".proj_out", width, width, 1);
    const std::string block = name + ".transformer_blocks.0.";
    for (const char* norm : {"norm1", "norm2", "norm3"}) Norm(block + norm, width);
    for (const auto& [attention, context] : {std::pair<std::string, int64_t>("attn1", width), {"attn2", 768}}) {
      Add(block + attention + ".to_q.weight", {width, width});
      Add(block + attention + ".to_k.weight", {width, context});
      Add(block + attention + ".to_v.weight", {width, context});
      Linear(block + attention + ".to_out.0", width, width);
    }
    Linear(block + "ff.net.0.proj", width, width * 8);
    Linear(block + "ff.net.2", width * 4, width);
  }
  void UNet() {
    const std::string u = "model.diffusion_model.";
    const auto at = [&](const char* side, int block, int layer) {
      return u + side + "_blocks." + std::to_string(block) + "." + std::to_string(layer);
    };
    const int64_t width[] = {320, 640, 1280, 1280};
    Linear(u + "time_embed.0", 320, 1280);
    Linear(u + "time_embed.2", 1280, 1280);
    Conv(at("input", 0, 0), 4, 320, 3);
    std::vector<int64_t> skips = {320};
    int64_t channels = 320;
    int n = 1;
    for (int level = 0; level < 4; ++level) {
      for (int j = 0; j < 2; ++j, ++n) {
        UNetRes(at("input", n, 0), channels, width[level]);
        channels = width[level];
        if (level < 3) Transformer(at("input", n, 1), channels);
        skips.push_back(channels);
      }
      if (level == 3) break;
      Conv(at("input", n++, 0) + ".op", channels, channels, 3);
      skips.push_back(channels);
    }
    UNetRes(u + "middle_block.0", channels, channels);
    Transformer(u + "middle_block.1", channels);
    UNetRes(u + "middle_block.2", channels, channels);
    n = 0;
    for (int level = 3; level >= 0; --level) {
      for (int j = 0; j < 3; ++j, ++n) {
        UNetRes(at("output", n, 0), channels + skips.back(), width[level]);
        skips.pop_back();
        channels = width[level];
        if (level < 3) Transformer(at("output", n, 1), channels);
        if (level > 0 && j == 2) Conv(at("output", n, level < 3 ? 2 : 1) + ".conv", channels, channels, 3);
      }
    }
    Norm(u + "out.0", 320);
    Conv(u + "out.2", 320, 4, 3);
  }

  void Clip() {
    const std::string c = "cond_stage_model.transformer.text_model.";
    Add(c + "embeddings.token_embedding.weight", {49408, 768});
    Add(c + "embeddings.position_embedding.weight", {77, 768});
    for (int i = 0; i < 12; ++i) {
      const std::string layer = c + "encoder.layers." + std::to_string(i) + ".";
      for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) Linear(layer + "self_attn." + name, 768, 768);
      Norm(layer + "layer_norm1", 768);
      Norm(layer + "layer_norm2", 768);
      Linear(layer + "mlp.fc1", 768, 3072);
      Linear(layer + "mlp.fc2", 3072, 768);
    }
    Norm(c + "final_layer_norm", 768);
  }

  void VaeRes(const std::string& name, int64_t in, int64_t out) {
    Norm(name + ".norm1", in);
    Conv(name + ".conv1", in, out, 3);
    Norm(name + ".norm2", out);
    Conv(name + ".conv2", out, out, 3);
    if (in != out) Conv(name + ".nin_shortcut", in, out, 1);
  }
  void VaeMiddle(const std::string& name) {
    VaeRes(name + ".block_1", 512, 512);
    Norm(name + ".attn_1.norm", 512);
    for (const char* part : {"q", "k", "v", "proj_out"}) Conv(name + ".attn_1." + part, 512, 512, 1);
    VaeRes(name + ".block_2", 512, 512);
  }
  void Vae() {
    const std::string v = "first_stage_model.";
    const int64_t width[] = {128, 256, 512, 512};
    Conv(v + "encoder.conv_in", 3, 128, 3);
    int64_t channels = 128;
    for (int level = 0; level < 4; ++level) {
      const std::string at = v + "encoder.down." + std::to_string(level) + ".";
      for (int j = 0; j < 2; ++j, channels = width[level])
        VaeRes(at + "block." + std::to_string(j), channels, width[level]);
      if (level < 3) Conv(at + "downsample.conv", channels, channels, 3);
    }
    VaeMiddle(v + "encoder.mid");
    Norm(v + "encoder.norm_out", 512);
    Conv(v + "encoder.conv_out", 512, 8, 3);
    Conv(v + "quant_conv", 8, 8, 1);
    Conv(v + "post_quant_conv", 4, 4, 1);
    Conv(v + "decoder.conv_in", 4, 512, 3);
    VaeMiddle(v + "decoder.mid");
    channels = 512;
    for (int level = 3; level >= 0; --level) {
      const std::string at = v + "decoder.up." + std::to_string(level) + ".";
      for (int j = 0; j < 3; ++j, channels = width[level])
        VaeRes(at + "block." + std::to_string(j), channels, width[level]);
      if (level > 0) Conv(at + "upsample.conv", channels, channels, 3);
    }
    Norm(v + "decoder.norm_out", 128);
    Conv(v + "decoder.conv_out", 128, 3, 3);
  }

  std::vector<std::pair<std::string, std::vector<int64_t>>> tensors_;
};

}  // namespace atelier::bench
