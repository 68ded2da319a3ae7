#include <catch2/catch.hpp>

#include "common/base/registry.h"
#include "common/tensorio/safetensors.h"
#include "worker/engine/device.h"
#include "worker/engine/guard.h"
#include "worker/engine/tensor_blob.h"
#include "worker/engine/tiler.h"
#include "worker/engine/types.h"
#include "worker/engine/weights.h"

namespace atelier::engine {
namespace {

const BlobCodec& Codec(std::string_view type) {
  const BlobCodec* codec = Registry<BlobCodec>::Get().Find(type);
  REQUIRE(codec != nullptr);
  return *codec;
}

template <typename T>
T RoundTrip(const T& object, std::string_view encoding = "") {
  const std::string_view type = SocketTraits<T>::kName;
  auto bytes = Codec(type).encode(Value::Of<T>(type, object), encoding);
  REQUIRE(bytes.ok());
  // Equal values have equal names.
  CHECK(*Codec(type).encode(Value::Of<T>(type, object), encoding) == *bytes);
  auto value = Codec(type).decode(*bytes);
  INFO(value.status().ToString());
  REQUIRE(value.ok());
  CHECK(value->type() == type);
  auto any = Codec("*").decode(*bytes);
  REQUIRE(any.ok());
  CHECK(any->type() == type);
  const T* held = value->template Get<T>();
  REQUIRE(held != nullptr);
  return *held;
}

TEST_CASE("values survive their blobs bit by bit") {
  const at::Tensor image = at::rand({2, 4, 5, 3});
  CHECK(at::equal(RoundTrip(Image{image}).pixels, image));
  CHECK(at::equal(RoundTrip(Image{image.movedim(1, 2)}).pixels, image.movedim(1, 2)));  // any strides
  CHECK(at::equal(RoundTrip(Mask{image.select(3, 0)}).values, image.select(3, 0)));
  const Latent latent = RoundTrip(Latent{at::randn({1, 4, 2, 2}), at::ones({1, 1, 8, 8}), std::vector<int64_t>{0, 3}});
  CHECK(latent.noise_mask.sizes() == at::IntArrayRef({1, 1, 8, 8}));
  CHECK(latent.batch_index == std::vector<int64_t>{0, 3});
  CHECK_FALSE(RoundTrip(Latent{at::zeros({1, 4, 2, 2}), {}, {}}).batch_index.has_value());
  Conditioning conditioning;
  for (int i = 0; i < 11; ++i) {
    CondEntry& entry = conditioning.entries.emplace_back();
    entry.cond = at::full({1, 77, 8}, i);
    if (i != 1) entry.tensors["pooled_output"] = at::full({1, 8}, 10 * i);
    entry.options["strength"] = 0.1 * i;
    entry.options["area"] = Json::array({8, 8, 0, i});
  }
  const Conditioning back = RoundTrip(conditioning);
  REQUIRE(back.entries.size() == 11);
  for (size_t i = 0; i < 11; ++i) {
    CHECK(at::equal(back.entries[i].cond, conditioning.entries[i].cond));
    CHECK(back.entries[i].options == conditioning.entries[i].options);
    CHECK(back.entries[i].tensors.size() == conditioning.entries[i].tensors.size());
  }
  CHECK(at::equal(back.entries[10].tensors.at("pooled_output"), at::full({1, 8}, 100)));
  CHECK(at::equal(RoundTrip(Sigmas{at::tensor({3.f, 1.f, 0.f})}).values, at::tensor({3.f, 1.f, 0.f})));
  CHECK(RoundTrip(Audio{at::zeros({1, 2, 9}), 48000}).sample_rate == 48000);
}

TEST_CASE("the canvas form of an image truncates") {
  const at::Tensor image = at::tensor({0.0f, 0.5f, 0.999f, 1.0f, -1.0f, 2.0f}).view({1, 1, 2, 3});
  const at::Tensor back = RoundTrip(Image{image}, "u8").pixels;
  const at::Tensor want = at::tensor({0.0f, 127.0f, 254.0f, 255.0f, 0.0f, 255.0f}).view({1, 1, 2, 3}) / 255.0;
  CHECK(at::equal(back, want));
  CHECK(at::equal(RoundTrip(Image{back}, "u8").pixels, want));  // stable from then on
}

TEST_CASE("literals cross as they are") {
  for (const char* type : {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "*"}) {
    for (const Json& json : {Json(18446744073709551615ULL), Json(0.1), Json("\xC3\xA4\n"), Json(true), Json(nullptr)}) {
      auto bytes = Codec(type).encode(Value::Literal(json), "");
      REQUIRE(bytes.ok());
      auto value = Codec(type).decode(*bytes);
      REQUIRE(value.ok());
      CHECK(value->literal() == json);
    }
  }
}

TEST_CASE("blobs that do not fit are refused") {
  const std::string sigmas = *Codec("SIGMAS").encode(Value::Of<Sigmas>("SIGMAS", Sigmas{at::zeros({3})}), "");
  CHECK(Codec("IMAGE").decode(sigmas).status().code() == StatusCode::kInvalidArgument);
  CHECK(Codec("IMAGE").encode(Value::Of<Sigmas>("SIGMAS", Sigmas{at::zeros({3})}), "").status().code() ==
        StatusCode::kInvalidArgument);
  CHECK_FALSE(Codec("SIGMAS").decode("nonsense").ok());
  CHECK_FALSE(Codec("IMAGE").decode(WriteSafetensors({}, {{"atelier_type", "IMAGE"}})).ok());
  CHECK_FALSE(Codec("IMAGE").decode(*WriteTensors({{"image", at::zeros({3})}}, {{"atelier_type", "IMAGE"}})).ok());
  CHECK_FALSE(
      Codec("CONDITIONING").decode(WriteSafetensors({}, {{"atelier_type", "CONDITIONING"}, {"json", "[3]"}})).ok());
  CHECK_FALSE(
      Codec("CONDITIONING").decode(WriteSafetensors({}, {{"atelier_type", "CONDITIONING"}, {"json", "[{"}})).ok());
}

TEST_CASE("exceptions become statuses") {
  CHECK(Guard([] { return at::ones({2}) + at::ones({3}); }).status().code() == StatusCode::kInternal);
  CHECK(Guard([]() -> Status { throw std::bad_alloc(); }).code() == StatusCode::kResourceExhausted);
  CHECK(Guard([]() -> StatusOr<int> { return InvalidArgument("x"); }).status().code() == StatusCode::kInvalidArgument);
  CHECK(Guard([] { TORCH_CHECK(false, "one\ntwo"); }).message() == "one");
  const Status huge = Guard([] { return at::empty({int64_t{1} << 50}); }).status();
  INFO(huge.ToString());
  CHECK(huge.code() == StatusCode::kResourceExhausted);
}

TEST_CASE("devices by name") {
  CHECK(DeviceFor("cpu")->is_cpu());
  for (const char* bad : {"gpu", "cuda:", "cuda:x", "cuda:-1", ""})
    CHECK(DeviceFor(bad).status().code() == StatusCode::kInvalidArgument);
  CHECK(DeviceFor("cuda:99").status().code() == StatusCode::kNotFound);
}

TEST_CASE("tiles of an identity give the image back") {
  const at::Tensor x = at::rand({2, 3, 50, 70});
  int64_t ticks = 0;
  const Tiling tiling{32, 24, 8, 2.0};
  auto y = RunTiled(
      x, tiling, 3,
      [](const at::Tensor& t) {
        return at::upsample_nearest2d(t, {t.size(2) * 2, t.size(3) * 2});
      },
      [&] { return ++ticks, OkStatus(); });
  REQUIRE(y.ok());
  CHECK(at::allclose(*y, at::upsample_nearest2d(x, {100, 140}), 1e-5, 1e-6));
  CHECK(ticks == 2 * TileCount(50, 70, tiling));
  CHECK(RunTiled(x, {8, 8, 8, 1.0}, 3, [](const at::Tensor& t) { return t; }).status().code() ==
        StatusCode::kInvalidArgument);
  CHECK(RunTiled(
            x, tiling, 3,
            [](const at::Tensor& t) {
              return at::upsample_nearest2d(t, {t.size(2) * 2, t.size(3) * 2});
            },
            [] { return Cancelled("stop"); })
            .status()
            .code() == StatusCode::kCancelled);
}

TEST_CASE("weights are views on the file") {
  const std::string path = "/tmp/atelier_engine_test.safetensors";
  FILE* out = std::fopen(path.c_str(), "wb");
  REQUIRE(out != nullptr);
  const std::string bytes =
      *WriteTensors({{"a.x", at::arange(4, at::kFloat)}, {"a.y", at::arange(3).to(at::kHalf)}, {"b", at::ones({1})}});
  std::fwrite(bytes.data(), 1, bytes.size(), out);
  std::fclose(out);
  at::Tensor kept;
  {
    auto source = WeightSource::Open(path);
    REQUIRE(source.ok());
    CHECK(source->tensors().size() == 3);
    CHECK(source->Prefixed("a.").tensors().size() == 2);
    CHECK(source->Dim("a.x", 0) == 4);
    CHECK(source->Dim("a.x", 1) == 0);
    kept = source->Prefixed("a.").Find("x");
    // The same memory each time: no copy was made.
    CHECK(kept.const_data_ptr() == source->Find("a.x").const_data_ptr());
  }
  CHECK(at::equal(kept, at::arange(4, at::kFloat)));  // the mapping outlives its source
  std::remove(path.c_str());
}

TEST_CASE("a pickle that wants to run something is refused") {
  using namespace std::string_literals;
  // A stored zip entry "x/data.pkl" that would call os.system.
  const auto zip = [](const std::string& pickle) {
    const auto le = [](uint64_t v, int n) {
      std::string s;
      for (int i = 0; i < n; ++i) s.push_back(static_cast<char>(v >> (8 * i)));
      return s;
    };
    const std::string name = "x/data.pkl", sizes = le(0, 4) + le(pickle.size(), 4) + le(pickle.size(), 4);
    const std::string local = "PK\3\4" + le(20, 2) + le(0, 8) + sizes + le(name.size(), 2) + le(0, 2) + name + pickle;
    const std::string central =
        "PK\1\2" + le(20, 2) + le(20, 2) + le(0, 8) + sizes + le(name.size(), 2) + le(0, 12) + le(0, 4) + name;
    return local + central + "PK\5\6" + le(0, 4) + le(1, 2) + le(1, 2) + le(central.size(), 4) + le(local.size(), 4) +
           le(0, 2);
  };
  const std::string path = "/tmp/atelier_engine_test.pt";
  const auto open = [&](const std::string& bytes) {
    FILE* out = std::fopen(path.c_str(), "wb");
    REQUIRE(out != nullptr);
    std::fwrite(bytes.data(), 1, bytes.size(), out);
    std::fclose(out);
    return WeightSource::Open(path).status();
  };
  CHECK(open(zip("\x80\x02}.")).ok());
  const Status evil =
      open(zip("\x80\x02"
               "cos\nsystem\n(X\x02\0\0\0idtR."s));
  INFO(evil.ToString());
  CHECK(evil.code() == StatusCode::kInvalidArgument);
  const Status call =
      open(zip(std::string("\x80\x02"
                           "cos\nsystem\n.")));
  CHECK(Message(call).find("os system") != std::string::npos);
  // Every cut and every changed byte is an error or harmless, never a crash.
  const std::string good = zip("\x80\x02}q\0(X\1\0\0\0aK\1X\1\0\0\0b]K\2au."s);
  for (size_t n = 4; n < good.size(); ++n) open(good.substr(0, n)).IgnoreError();
  for (size_t i = 4; i < good.size(); ++i) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      open(bad).IgnoreError();
    }
  }
  std::remove(path.c_str());
}

}  // namespace
}  // namespace atelier::engine
