#include "worker/engine/model_formats.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "common/tensorio/torch_archive.h"
#include "worker/engine/gguf_tensors.h"
#include "worker/engine/gguf_tokenizer.h"
#include "worker/engine/tensor_blob.h"

namespace atelier::engine {
namespace {

constexpr int64_t kT5Tokens = 32128;
constexpr std::string_view kDiffusionPrefix = "model.diffusion_model.";

// Elements at `begin` of the file, which the tensor keeps mapped; bytes that lie unaligned are copied.
at::Tensor View(const std::shared_ptr<const MappedFile>& file, at::ScalarType type, const std::vector<int64_t>& shape,
                const std::vector<int64_t>& strides, uint64_t begin) {
  int64_t elements = 1, span = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    elements *= shape[i];
    span += (shape[i] - 1) * strides[i];
  }
  if (elements == 0) return at::empty(shape, type);
  char* const data = const_cast<char*>(file->bytes().data()) + begin;
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) == 0)
    return at::from_blob(
        data, shape, strides, [file](void*) {}, type);
  const at::Tensor flat = at::empty({span}, type);
  std::memcpy(flat.data_ptr(), data, static_cast<size_t>(span) * c10::elementSize(type));
  return flat.as_strided(shape, strides);
}

at::Tensor View(const std::shared_ptr<const MappedFile>& file, at::ScalarType type, const std::vector<int64_t>& shape,
                uint64_t begin) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return View(file, type, shape, strides, begin);
}

at::ScalarType PlainType(std::string_view gguf) {
  if (gguf == "F32") return at::kFloat;
  if (gguf == "F16") return at::kHalf;
  return gguf == "BF16" ? at::kBFloat16 : at::ScalarType::Undefined;
}

at::ScalarType TypeOf(GgufPrecision precision) {
  if (precision == GgufPrecision::kFloat) return at::kFloat;
  return precision == GgufPrecision::kHalf ? at::kHalf : at::kBFloat16;
}

// Blocks to values: u8 [n] to those of `shape`, some rows u8 [rows, n] to as many of them.
at::Tensor DecodeBlocks(const at::Tensor& stored, const GgufType& type, std::vector<int64_t> shape,
                        GgufPrecision precision) {
  if (stored.dim() == 2) shape[0] = stored.size(0);
  if (!stored.device().is_cpu()) return DecodeGgufTensor(type, stored, TypeOf(precision)).view(shape);
  const at::Tensor blocks = stored.contiguous();
  at::Tensor values = at::empty(shape, TypeOf(precision));
  const int64_t count = blocks.numel() / type.block_bytes, n = type.block_elements;
  const at::Tensor flat = values.view({-1});
  const auto* bytes = blocks.const_data_ptr<uint8_t>();
  const int64_t portion = 8192 / n;  // blocks at once
  at::parallel_for(0, (count + portion - 1) / portion, 1, [&](int64_t first, int64_t last) {
    std::vector<float> part(static_cast<size_t>(portion * n));
    for (int64_t p = first; p < last; ++p) {
      const int64_t at = p * portion, here = std::min(portion, count - at);
      DecodeGgufBlocks(type, bytes + at * type.block_bytes, here, precision, part.data());
      const auto copy = [&](auto* out) {
        using T = std::remove_pointer_t<decltype(out)>;
        for (int64_t i = 0; i < here * n; ++i) out[at * n + i] = static_cast<T>(part[static_cast<size_t>(i)]);
      };
      if (precision == GgufPrecision::kFloat) copy(flat.data_ptr<float>());
      if (precision == GgufPrecision::kHalf) copy(flat.data_ptr<at::Half>());
      if (precision == GgufPrecision::kBFloat16) copy(flat.data_ptr<at::BFloat16>());
    }
  });
  return values;
}

// Rows of a llama query or key projection in the order of the original: inside a head of s rows, 2a + b goes to
// b s/2 + a.
at::Tensor UnpermuteRows(const at::Tensor& weight, int64_t heads) {
  return weight.reshape({heads, weight.size(0) / heads / 2, 2, -1}).transpose(1, 2).reshape(weight.sizes());
}

using Replacements = std::vector<std::pair<std::string_view, std::string_view>>;

const Replacements& T5Names() {
  static const Replacements names{{"enc.", "encoder."},
                                  {".blk.", ".block."},
                                  {"token_embd", "shared"},
                                  {"output_norm", "final_layer_norm"},
                                  {"attn_q", "layer.0.SelfAttention.q"},
                                  {"attn_k", "layer.0.SelfAttention.k"},
                                  {"attn_v", "layer.0.SelfAttention.v"},
                                  {"attn_o", "layer.0.SelfAttention.o"},
                                  {"attn_norm", "layer.0.layer_norm"},
                                  {"attn_rel_b", "layer.0.SelfAttention.relative_attention_bias"},
                                  {"ffn_up", "layer.1.DenseReluDense.wi_1"},
                                  {"ffn_down", "layer.1.DenseReluDense.wo"},
                                  {"ffn_gate", "layer.1.DenseReluDense.wi_0"},
                                  {"ffn_norm", "layer.1.layer_norm"}};
  return names;
}

const Replacements& LlamaNames() {
  static const Replacements names{{"blk.", "model.layers."},
                                  {"attn_norm", "input_layernorm"},
                                  {"attn_q_norm.", "self_attn.q_norm."},
                                  {"attn_k_norm.", "self_attn.k_norm."},
                                  {"attn_v_norm.", "self_attn.v_norm."},
                                  {"attn_q", "self_attn.q_proj"},
                                  {"attn_k", "self_attn.k_proj"},
                                  {"attn_v", "self_attn.v_proj"},
                                  {"attn_output", "self_attn.o_proj"},
                                  {"ffn_up", "mlp.up_proj"},
                                  {"ffn_down", "mlp.down_proj"},
                                  {"ffn_gate", "mlp.gate_proj"},
                                  {"ffn_norm", "post_attention_layernorm"},
                                  {"token_embd", "model.embed_tokens"},
                                  {"output_norm", "model.norm"},
                                  {"output.weight", "lm_head.weight"}};
  return names;
}

const Replacements* NamesOf(std::string_view architecture) {
  static const std::map<std::string_view, const Replacements*> table{
      {"t5", &T5Names()},         {"t5encoder", &T5Names()}, {"llama", &LlamaNames()},
      {"qwen2vl", &LlamaNames()}, {"qwen3", &LlamaNames()},  {"qwen3vl", &LlamaNames()}};
  auto it = table.find(architecture);
  return it == table.end() ? nullptr : it->second;
}

// The shape to restore, which files of the UNet families carry beside tensors that were cut into rows of 256.
StatusOr<std::vector<int64_t>> LogicalShape(const GgufFile& gguf, const GgufTensor& tensor, const std::string& file) {
  const GgufValue* const original = gguf.Find(Cat("comfy.gguf.orig_shape.", tensor.name));
  if (original == nullptr) return tensor.shape;
  std::vector<int64_t> shape;
  int64_t elements = 1, stored = 1;
  bool good = original->kind == GgufValue::Kind::kArray && original->items.size() <= 8;
  for (const GgufValue& item : original->items) {
    good = good && item.kind == GgufValue::Kind::kInt && item.number >= 0 &&
           !__builtin_mul_overflow(elements, item.number, &elements);
    if (!good) break;
    shape.push_back(item.number);
  }
  for (const int64_t n : tensor.shape) stored *= n;
  if (!good || elements != stored)
    return InvalidArgument("file \"", file, "\": the original shape of tensor \"", tensor.name, "\" does not fit it");
  return shape;
}

}  // namespace

StatusOr<WeightSource> ReadTorchArchive(const std::shared_ptr<const MappedFile>& file) {
  ASSIGN_OR_RETURN(const std::vector<ArchiveTensor> found, ParseTorchArchive(file->bytes(), file->name()));
  WeightSource::Tensors tensors;
  for (const ArchiveTensor& info : found) {
    tensors.emplace_hint(tensors.end(), info.name,
                         View(file, ScalarTypeOf(info.dtype), info.shape, info.strides, info.begin));
  }
  return WeightSource(file->name(), std::move(tensors));
}

std::string GgufTextName(std::string_view architecture, std::string_view name) {
  std::string result(name);
  const Replacements* const replacements = NamesOf(architecture);
  if (replacements == nullptr) return result;
  for (const auto& [from, to] : *replacements) {
    for (size_t at = 0; (at = result.find(from, at)) != std::string::npos; at += to.size())
      result.replace(at, from.size(), to);
  }
  return result;
}

StatusOr<WeightSource> ReadGguf(const std::shared_ptr<const MappedFile>& file, GgufPrecision precision,
                                std::map<std::string, std::string, std::less<>>* metadata) {
  ASSIGN_OR_RETURN(const GgufFile gguf, ParseGguf(file->bytes(), file->name()));
  const std::string architecture(gguf.Text("general.architecture"));
  const bool prefixed = std::any_of(gguf.tensors.begin(), gguf.tensors.end(),
                                    [](const GgufTensor& tensor) { return tensor.name.starts_with(kDiffusionPrefix); });
  WeightSource::Tensors tensors;
  WeightSource::Extras extras;
  for (const GgufTensor& tensor : gguf.tensors) {
    if (prefixed && !tensor.name.starts_with(kDiffusionPrefix)) continue;
    ASSIGN_OR_RETURN(const std::vector<int64_t> shape, LogicalShape(gguf, tensor, file->name()));
    if (!tensor.type->readable) {
      return InvalidArgument("file \"", file->name(), "\": tensor \"", tensor.name, "\" is of type ", tensor.type->name,
                             ", which cannot be read; choose a file of another quantisation");
    }
    const std::string name =
        GgufTextName(architecture, prefixed ? tensor.name.substr(kDiffusionPrefix.size()) : tensor.name);
    const at::ScalarType plain = PlainType(tensor.type->name);
    const int64_t heads = architecture != "llama" || shape.size() != 2 ? 0
                          : name.ends_with("q_proj.weight")            ? 32
                          : name.ends_with("k_proj.weight")            ? 8
                                                                       : 0;
    if (heads > 0 && shape[0] % (2 * heads) != 0) {
      return InvalidArgument("file \"", file->name(), "\": tensor \"", tensor.name, "\" has ", shape[0],
                             " rows, expected a multiple of ", 2 * heads);
    }
    bool added = false;
    if (plain != at::ScalarType::Undefined) {
      at::Tensor values = View(file, plain, shape, tensor.begin);
      if (plain == at::kBFloat16 && values.dim() == 1) values = values.to(at::kFloat);
      added = tensors.emplace(name, values).second;
      if (heads > 0) extras[name] = {values, [heads](const at::Tensor& t) { return UnpermuteRows(t, heads); }, {}};
    } else {
      added = tensors.emplace(name, at::empty(shape, at::TensorOptions(at::kMeta).dtype(TypeOf(precision)))).second;
      const auto bytes = static_cast<int64_t>(tensor.bytes);
      // Rows of whole blocks stay apart, so that an embedding can take some of them.
      const bool rows = shape.size() > 1 && shape[0] > 0 && bytes / tensor.type->block_bytes % shape[0] == 0;
      const at::Tensor blocks =
          View(file, at::kByte, rows ? std::vector<int64_t>{shape[0], bytes / shape[0]} : std::vector<int64_t>{bytes},
               tensor.begin);
      const GgufType* const type = tensor.type;
      extras[name] = {blocks,
                      [type, shape, precision, heads](const at::Tensor& stored) {
                        const at::Tensor values = DecodeBlocks(stored, *type, shape, precision);
                        return heads > 0 ? UnpermuteRows(values, heads) : values;
                      },
                      {}};
    }
    if (!added) return InvalidArgument("file \"", file->name(), "\": tensor \"", name, "\" occurs twice");
  }
  if (architecture == "t5" || architecture == "t5encoder") {
    // T5's own tokenizer is part of the binary; UMT5's vocabulary is another one.
    const auto embedding = tensors.find("shared.weight");
    if (embedding != tensors.end() && embedding->second.dim() == 2 && embedding->second.size(0) != kT5Tokens) {
      ASSIGN_OR_RETURN(const std::optional<std::string> model, SentencepieceModelOf(gguf, file->name()));
      if (model) {
        const at::Tensor bytes = at::empty({static_cast<int64_t>(model->size())}, at::kByte);
        std::memcpy(bytes.data_ptr(), model->data(), model->size());
        tensors.insert_or_assign("spiece_model", bytes);
      }
    }
  }
  if (metadata != nullptr) {
    *metadata = {{"general.architecture", architecture}, {"general.type", std::string(gguf.Text("general.type"))}};
  }
  return WeightSource(file->name(), std::move(tensors), std::move(extras));
}

WeightSource WithScaledFp8(const WeightSource& source) {
  const auto marker = std::find_if(source.tensors().begin(), source.tensors().end(), [](const auto& item) {
    return item.first == "scaled_fp8" || item.first.ends_with(".scaled_fp8");
  });
  if (marker == source.tensors().end()) return source;
  WeightSource::Tensors tensors;
  WeightSource::Extras extras;
  for (const auto& [name, tensor] : source.tensors()) {
    const at::Tensor scale =
        name.ends_with(".weight") ? source.Find(Cat(name.substr(0, name.size() - 6), "scale_weight")) : at::Tensor();
    const bool fp8 = tensor.scalar_type() == at::kFloat8_e4m3fn || tensor.scalar_type() == at::kFloat8_e5m2;
    if (!fp8 || !scale.defined() || scale.numel() != 1 || !scale.is_floating_point()) {
      tensors.emplace_hint(tensors.end(), name, tensor);
      continue;
    }
    tensors.emplace_hint(tensors.end(), name,
                         at::empty(tensor.sizes(), at::TensorOptions(at::kMeta).dtype(at::kFloat)));
    const auto factor = scale.to(at::kFloat).reshape({1}).item<float>();
    extras[name] = {tensor, [factor](const at::Tensor& stored) { return stored.to(at::kFloat) * factor; }, {}};
  }
  return WeightSource(source.file(), std::move(tensors), std::move(extras));
}

}  // namespace atelier::engine
