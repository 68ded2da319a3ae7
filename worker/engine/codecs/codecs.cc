// How values become blobs: a safetensors file whose metadata has "atelier_type" and, for plain values, "json".
// Source: docs/architecture.md, "Values and blobs".
#include <algorithm>
#include <string>

#include "common/base/registry.h"
#include "common/tensorio/packed_blob.h"
#include "common/tensorio/safetensors.h"
#include "worker/engine/codecs/blob.h"
#include "worker/engine/picture_parts.h"
#include "worker/engine/types.h"

namespace atelier::engine {
namespace {

// One struct a wire type: Encode and Decode.

struct ImageCodec {
  using Type = Image;
  static StatusOr<std::string> Encode(const Image& image, std::string_view encoding) {
    if (encoding == "u8") {
      // The canvas form, as the reference saves a PNG: trunc(255 v) of a clamped value.
      return WriteBlob("IMAGE", {{"image", (image.pixels * 255.0).nan_to_num(0.0).clamp(0, 255).to(at::kByte)}});
    }
    if (encoding == "rounded") {
      const at::Tensor v = image.pixels.to(at::kCPU, at::kFloat) * 255.0 + 0.5;
      return WriteBlob("IMAGE", {{"image", v.nan_to_num(0.0).clamp(0.0, 255.0).to(at::kByte)}});
    }
    const at::Tensor pixels = image.pixels.to(at::kFloat);
    // Pictures out of files and canvases are bytes over 255: those give the same floats back in a quarter of the room.
    const at::Tensor bytes = (pixels * 255.0).round().clamp(0, 255).to(at::kByte);
    const bool exact = at::equal(bytes.to(at::kFloat) / 255.0, pixels);
    return WriteBlob("IMAGE", {{"image", exact ? bytes : pixels}});
  }
  static StatusOr<Image> Decode(const Blob& blob) {
    ASSIGN_OR_RETURN(at::Tensor pixels, blob.Get("image"));
    if (pixels.dim() != 4) return InvalidArgument("an IMAGE blob needs 4 dimensions [B,H,W,C], not ", pixels.dim());
    if (pixels.scalar_type() == at::kByte) {
      pixels = pixels.to(at::kFloat) / 255.0;
    } else if (pixels.scalar_type() != at::kFloat) {
      return InvalidArgument("an IMAGE blob has to be F32 or U8");
    }
    return Image{pixels};
  }
};

struct MaskCodec {
  using Type = Mask;
  static StatusOr<std::string> Encode(const Mask& mask, std::string_view) {
    return WriteBlob("MASK", {{"mask", mask.values}});
  }
  static StatusOr<Mask> Decode(const Blob& blob) {
    ASSIGN_OR_RETURN(at::Tensor values, blob.Get("mask"));
    return Mask{values};
  }
};

struct LatentCodec {
  using Type = Latent;
  static StatusOr<std::string> Encode(const Latent& latent, std::string_view) {
    TensorMap tensors{{"samples", latent.samples}};
    if (latent.noise_mask.defined()) tensors.emplace("noise_mask", latent.noise_mask);
    Json json = Json::object();
    if (latent.batch_index) json["batch_index"] = *latent.batch_index;
    return WriteBlob("LATENT", tensors, json);
  }
  static StatusOr<Latent> Decode(const Blob& blob) {
    Latent latent;
    ASSIGN_OR_RETURN(latent.samples, blob.Get("samples"));
    auto mask = blob.tensors.find("noise_mask");
    if (mask != blob.tensors.end()) latent.noise_mask = mask->second;
    if (blob.json.is_object() && blob.json.contains("batch_index")) {
      latent.batch_index.emplace();
      for (const Json& index : blob.json["batch_index"]) {
        if (!index.is_number_integer())
          return InvalidArgument("a LATENT blob's \"batch_index\" has to hold whole numbers");
        latent.batch_index->push_back(index.get<int64_t>());
      }
    }
    return latent;
  }
};

struct ConditioningCodec {
  using Type = Conditioning;
  static StatusOr<std::string> Encode(const Conditioning& conditioning, std::string_view) {
    TensorMap tensors;
    Json json = Json::array();
    for (size_t i = 0; i < conditioning.entries.size(); ++i) {
      const CondEntry& entry = conditioning.entries[i];
      if (entry.control != nullptr)
        return Internal("entry ", i, " of a CONDITIONING holds a control net, which cannot cross between tasks");
      tensors.emplace(Cat(i, ".cond"), entry.cond);
      for (const auto& [key, tensor] : entry.tensors) {
        if (key == "cond") return InvalidArgument("a CONDITIONING entry has a tensor under the reserved key \"cond\"");
        tensors.emplace(Cat(i, ".", key), tensor);
      }
      json.push_back(entry.options);
    }
    return WriteBlob("CONDITIONING", tensors, json);
  }
  static StatusOr<Conditioning> Decode(const Blob& blob) {
    if (!blob.json.is_array()) return InvalidArgument("a CONDITIONING blob needs a list of entries");
    Conditioning conditioning;
    for (size_t i = 0; i < blob.json.size(); ++i) {
      CondEntry entry;
      const std::string prefix = Cat(i, ".");
      ASSIGN_OR_RETURN(entry.cond, blob.Get(prefix + "cond"));
      for (auto it = blob.tensors.lower_bound(prefix); it != blob.tensors.end() && it->first.starts_with(prefix);
           ++it) {
        if (it->first != prefix + "cond") entry.tensors.emplace(it->first.substr(prefix.size()), it->second);
      }
      if (!blob.json[i].is_object()) return InvalidArgument("entry ", i, " of a CONDITIONING blob is no object");
      entry.options = blob.json[i];
      conditioning.entries.push_back(std::move(entry));
    }
    return conditioning;
  }
};

struct SigmasCodec {
  using Type = Sigmas;
  static StatusOr<std::string> Encode(const Sigmas& sigmas, std::string_view) {
    return WriteBlob("SIGMAS", {{"sigmas", sigmas.values}});
  }
  static StatusOr<Sigmas> Decode(const Blob& blob) {
    ASSIGN_OR_RETURN(at::Tensor values, blob.Get("sigmas"));
    if (values.dim() != 1) return InvalidArgument("a SIGMAS blob needs 1 dimension, not ", values.dim());
    return Sigmas{values};
  }
};

struct AudioCodec {
  using Type = Audio;
  static StatusOr<std::string> Encode(const Audio& audio, std::string_view) {
    return WriteBlob("AUDIO", {{"waveform", audio.waveform}}, Json{{"sample_rate", audio.sample_rate}});
  }
  static StatusOr<Audio> Decode(const Blob& blob) {
    Audio audio;
    ASSIGN_OR_RETURN(audio.waveform, blob.Get("waveform"));
    if (!blob.json.contains("sample_rate") || !blob.json["sample_rate"].is_number_integer()) {
      return InvalidArgument("an AUDIO blob needs a \"sample_rate\"");
    }
    audio.sample_rate = blob.json["sample_rate"].get<int64_t>();
    return audio;
  }
};

StatusOr<Box> ReadBox(const Json& json) {
  const auto whole = [](const Json& side) { return side.is_number_integer(); };
  if (!json.is_array() || json.size() != 4 || !std::all_of(json.begin(), json.end(), whole))
    return InvalidArgument("the box of a part is ", json.dump(), ", expected [x1, y1, x2, y2]");
  return Box{json[0].get<int>(), json[1].get<int>(), json[2].get<int>(), json[3].get<int>()};
}

// Parts of a picture, each an IMAGE blob of its own; the master alone makes them (master/collect/picture_parts.h).
StatusOr<Value> DecodeParts(std::string_view bytes) {
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(bytes, "blob"));
  const auto text = view.metadata().find("json");
  if (text == view.metadata().end()) return InvalidArgument("an IMAGE_PARTS blob needs its boxes");
  ASSIGN_OR_RETURN(const Json json, ParseJson(text->second));
  if (!json.is_object()) return InvalidArgument("an IMAGE_PARTS blob needs its boxes");
  const Json boxes = json.value("boxes", Json());
  const Json width = json.value("width", Json()), height = json.value("height", Json());
  if (!boxes.is_array() || boxes.empty() || !width.is_number_integer() || !height.is_number_integer())
    return InvalidArgument("an IMAGE_PARTS blob needs \"boxes\", \"width\" and \"height\"");
  PictureParts picture{width.get<int64_t>(), height.get<int64_t>(), {}};
  for (size_t i = 0; i < boxes.size(); ++i) {
    const TensorInfo* info = view.Find(Cat(i));
    if (info == nullptr) return InvalidArgument("part ", i, " of an IMAGE_PARTS blob is not there");
    ASSIGN_OR_RETURN(const Box at, ReadBox(boxes[i]));
    ASSIGN_OR_RETURN(const std::string part, UnpackBlob(std::string(view.Data(*info))));
    ASSIGN_OR_RETURN(const Value value, TensorCodec<ImageCodec>().decode(part));
    const at::Tensor& pixels = value.Get<Image>()->pixels;
    if (pixels.size(1) != at.height() || pixels.size(2) != at.width())
      return InvalidArgument("part ", i, " of an IMAGE_PARTS blob has ", pixels.size(2), "x", pixels.size(1),
                             " pixels, which is not the size of its box ", boxes[i].dump());
    picture.parts.emplace_back(at, pixels);
  }
  return Value::Of<PictureParts>("IMAGE", std::move(picture));
}

// The part of a mask, made by the master alone too: as of a picture with one box and one channel.
StatusOr<Value> DecodeMaskPart(std::string_view bytes) {
  ASSIGN_OR_RETURN(const Value value, DecodeParts(bytes));
  const auto& [box, pixels] = value.Get<PictureParts>()->parts.front();
  if (pixels.size(3) != 1) return InvalidArgument("a MASK_PART blob has ", pixels.size(3), " channels, expected 1");
  return Value::Of<Mask>("MASK", Mask{pixels.squeeze(3), box});
}

// A latent's part: a LATENT with its box.
StatusOr<Value> DecodeLatentPart(std::string_view bytes) {
  return Guard([&]() -> StatusOr<Value> {
    ASSIGN_OR_RETURN(const Blob blob, ReadAs("LATENT_PART", bytes));
    ASSIGN_OR_RETURN(Latent latent, LatentCodec::Decode(blob));
    ASSIGN_OR_RETURN(latent.part, ReadBox(blob.json.is_object() ? blob.json.value("box", Json()) : Json()));
    return Value::Of<Latent>("LATENT", std::move(latent));
  });
}

BlobCodec PartsCodec(StatusOr<Value> (*decode)(std::string_view bytes)) {
  return {[](const Value& value, std::string_view) -> StatusOr<std::string> {
            return InvalidArgument("a value of type ", value.type(), " is not one that the master cut into parts");
          },
          decode};
}

BlobCodec LiteralCodec(const std::string& type) {
  return {[type](const Value& value, std::string_view) -> StatusOr<std::string> {
            if (!value.is_literal()) return InvalidArgument("a value of type ", value.type(), " is no ", type);
            Json json = Json::object();
            json["value"] = value.literal();
            return WriteBlob(type, {}, json);
          },
          [type](std::string_view bytes) -> StatusOr<Value> {
            ASSIGN_OR_RETURN(const Blob blob, ReadAs(type, bytes));
            if (!blob.json.is_object() || !blob.json.contains("value"))
              return InvalidArgument("a ", type, " blob has no value");
            return Value::Literal(blob.json["value"]);
          }};
}

// "*": a value of any data type under its own type; a literal under "*".
BlobCodec AnyCodec() {
  return {[](const Value& value, std::string_view encoding) -> StatusOr<std::string> {
            if (value.is_literal()) return LiteralCodec("*").encode(value, encoding);
            const BlobCodec* codec = Registry<BlobCodec>::Get().Find(value.type());
            if (codec == nullptr)
              return InvalidArgument("a value of type ", value.type(), " cannot cross between tasks");
            return codec->encode(value, encoding);
          },
          [](std::string_view bytes) -> StatusOr<Value> {
            ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(bytes, "blob"));
            auto type = view.metadata().find("atelier_type");
            if (type == view.metadata().end()) return InvalidArgument("blob has no \"atelier_type\" in its metadata");
            if (type->second == "*") return LiteralCodec("*").decode(bytes);
            const BlobCodec* codec = Registry<BlobCodec>::Get().Find(type->second);
            if (codec == nullptr) return InvalidArgument("blob is of the unknown type ", type->second);
            return codec->decode(bytes);
          }};
}

const bool kRegistered = [] {
  auto& registry = Registry<BlobCodec>::Get();
  registry.Add("IMAGE", 0, TensorCodec<ImageCodec>());
  registry.Add("IMAGE_PARTS", 0, PartsCodec(DecodeParts));
  registry.Add("MASK_PART", 0, PartsCodec(DecodeMaskPart));
  registry.Add("LATENT_PART", 0, PartsCodec(DecodeLatentPart));
  registry.Add("MASK", 0, TensorCodec<MaskCodec>());
  registry.Add("LATENT", 0, TensorCodec<LatentCodec>());
  registry.Add("CONDITIONING", 0, TensorCodec<ConditioningCodec>());
  registry.Add("SIGMAS", 0, TensorCodec<SigmasCodec>());
  registry.Add("AUDIO", 0, TensorCodec<AudioCodec>());
  for (const char* type : {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}) registry.Add(type, 0, LiteralCodec(type));
  registry.Add("*", 0, AnyCodec());
  return true;
}();

}  // namespace
}  // namespace atelier::engine
