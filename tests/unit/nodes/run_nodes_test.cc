// Nodes that change a run, make lists or look at values.
#include <catch2/catch.hpp>

#include "tests/harness/node_context.h"
#include "worker/engine/types.h"
#include "worker/sampling/conditioning.h"
#include "worker/sampling/model_sampling.h"

namespace atelier::engine {
namespace {

using test::RunNode;

// Adds a share of x and of the mean of the prompt.
class Plain final : public DiffusionNetwork {
 public:
  at::Tensor Forward(const at::Tensor& x, const at::Tensor&, const ModelCallInputs& inputs) const override {
    return x * 0.3 + inputs.context.mean({1, 2}).view({-1, 1, 1, 1});
  }
  at::Device device() const override { return at::kCPU; }
};

Model PlainModel(const std::shared_ptr<const Plain>& network) {
  Model model;
  model.network = network;
  model.sampling = ModelSampling::Discrete(Prediction::kEps);
  return model;
}

Conditioning Prompt(double mean) {
  CondEntry entry;
  entry.cond = at::full({1, 3, 2}, mean);
  return {{entry}};
}

// The same, counting its calls; of any number of dimensions.
class Counting final : public DiffusionNetwork {
 public:
  at::Tensor Forward(const at::Tensor& x, const at::Tensor&, const ModelCallInputs& inputs) const override {
    ++calls;
    std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
    shape[0] = -1;
    return x * 0.3 + inputs.context.mean({1, 2}).view(shape);
  }
  at::Device device() const override { return at::kCPU; }
  mutable int calls = 0;
};

TEST_CASE("caches of steps leave out the network where it changes little, and forget after the run") {
  const c10::InferenceMode inference;
  constexpr int kSteps = 12;
  const char* type = GENERATE("EasyCache", "LazyCache");
  const double cfg = GENERATE(1.0, 7.0);
  const std::vector<int64_t> shape = GENERATE(std::vector<int64_t>{2, 4, 16, 16}, std::vector<int64_t>{1, 4, 3, 8, 8});
  const auto network = std::make_shared<Counting>();
  Model plain;
  plain.network = network;
  plain.sampling = ModelSampling::Discrete(Prediction::kEps);
  plain.latent_format.dims = static_cast<int64_t>(shape.size()) - 2;
  const auto sample = [&](const Model& model) {
    network->calls = 0;
    const auto made =
        RunNode("KSampler", {{"model", {Value::Of<Model>("MODEL", model)}},
                             {"positive", {Value::Of<Conditioning>("CONDITIONING", Prompt(0.5))}},
                             {"negative", {Value::Of<Conditioning>("CONDITIONING", Prompt(-0.5))}},
                             {"latent_image", {Value::Of<Latent>("LATENT", Latent{at::zeros(shape), {}, {}})}},
                             {"steps", {Value::Literal(Json(kSteps))}},
                             {"cfg", {Value::Literal(Json(cfg))}},
                             {"sampler_name", {Value::Literal(Json("euler"))}},
                             {"scheduler", {Value::Literal(Json("normal"))}}});
    INFO(Message(made.status()));
    REQUIRE(made.ok());
    return made->at(0).Get<Latent>()->samples;
  };
  const auto with = [&](double threshold) {
    const auto made = RunNode(type, {{"model", {Value::Of<Model>("MODEL", plain)}},
                                     {"reuse_threshold", {Value::Literal(Json(threshold))}},
                                     {"start_percent", {Value::Literal(Json(0.0))}}});
    REQUIRE(made.ok());
    return *made->at(0).Get<Model>();
  };
  INFO(type << ", cfg " << cfg << ", " << shape.size() << " dimensions");
  const at::Tensor all = sample(plain);
  CHECK(network->calls == kSteps);
  CHECK(at::equal(sample(with(0.0)), all));
  CHECK(network->calls == kSteps);

  const Model cached = with(0.5);
  const at::Tensor some = sample(cached);
  const int calls = network->calls;
  CHECK(calls < kSteps);
  CHECK(calls > 2);
  CHECK(at::isfinite(some).all().item<bool>());
  CHECK_FALSE(at::equal(some, all));
  CHECK(at::equal(sample(cached), some));
  CHECK(network->calls == calls);
}

// Rounds to the type that it is asked to compute in.
class Rounding final : public DiffusionNetwork {
 public:
  at::Tensor Forward(const at::Tensor& x, const at::Tensor&, const ModelCallInputs& inputs) const override {
    const at::Tensor y = x * 0.3 + inputs.context.mean({1, 2}).view({-1, 1, 1, 1});
    return inputs.compute ? y.to(*inputs.compute).to(at::kFloat) : y;
  }
  at::Device device() const override { return at::kCPU; }
};

TEST_CASE("a model computes in the type that ModelComputeDtype sets, and default takes it back") {
  const c10::InferenceMode inference;
  at::manual_seed(3);
  Model plain;
  plain.network = std::make_shared<Rounding>();
  plain.sampling = ModelSampling::Discrete(Prediction::kEps);
  const at::Tensor x = at::randn({1, 4, 8, 8});
  const auto with = [&](const Model& model, const char* type) {
    const auto made = RunNode("ModelComputeDtype",
                              {{"model", {Value::Of<Model>("MODEL", model)}}, {"dtype", {Value::Literal(Json(type))}}});
    INFO(Message(made.status()));
    REQUIRE(made.ok());
    return *made->at(0).Get<Model>();
  };
  const auto denoised = [&](const Model& model) {
    CondRun run{at::zeros_like(x), at::zeros_like(x), {}, CondKind::kPositive, {}};
    auto list = PrepareConds(Prompt(0.5), model, run);
    REQUIRE(list.ok());
    return EvaluateConds(model, {&*list}, x, 2.0)[0];
  };
  const at::Tensor exact = denoised(plain);
  CHECK(at::equal(denoised(with(plain, "default")), exact));
  CHECK(at::equal(denoised(with(plain, "fp32")), exact));
  for (const char* type : {"bf16", "fp16"}) {
    INFO(type);
    const Model narrow = with(plain, type);
    CHECK_FALSE(at::equal(denoised(narrow), exact));
    CHECK(at::allclose(denoised(narrow), exact, 0.02, 0.02));
    CHECK(at::equal(denoised(with(narrow, "default")), exact));
    CHECK(at::equal(denoised(with(narrow, "fp32")), exact));
  }
}

// The text attends to the picture and to itself: what is there twice counts twice.
class Joint final : public DiffusionNetwork {
 public:
  at::Tensor Forward(const at::Tensor& x, const at::Tensor&, const ModelCallInputs& inputs) const override {
    lengths.push_back(inputs.context.size(1));
    return x * 0.3 + inputs.context.sum({1, 2}).view({-1, 1, 1, 1});
  }
  at::Device device() const override { return at::kCPU; }
  mutable std::vector<int64_t> lengths;
};

TEST_CASE("contexts of unequal length are repeated only for networks that may not tell") {
  const c10::InferenceMode inference;
  const auto network = std::make_shared<Joint>();
  Model model;
  model.network = network;
  model.sampling = ModelSampling::Discrete(Prediction::kEps);
  const at::Tensor x = at::ones({1, 4, 4, 4});
  const CondRun run{at::zeros_like(x), at::zeros_like(x), {}, CondKind::kPositive, {}};
  Conditioning twice = Prompt(0.25);
  twice.entries[0].cond = at::full({1, 6, 2}, 0.25);
  const auto both = [&] {
    const auto one = PrepareConds(Prompt(0.5), model, run), other = PrepareConds(twice, model, run);
    REQUIRE(one.ok());
    REQUIRE(other.ok());
    network->lengths.clear();
    return EvaluateConds(model, {&*one, &*other}, x, 2.0);
  };
  both();
  CHECK(network->lengths == std::vector<int64_t>{6});
  model.fixed_context = true;
  const std::vector<at::Tensor> apart = both();
  std::sort(network->lengths.begin(), network->lengths.end());
  CHECK(network->lengths == std::vector<int64_t>{3, 6});
  const auto alone = PrepareConds(Prompt(0.5), model, run);
  CHECK(at::equal(apart[0], EvaluateConds(model, {&*alone}, x, 2.0)[0]));
}

TEST_CASE("the shape of a merged weight is told without decoding the other model's") {
  const c10::InferenceMode inference;
  Model first;
  first.weights = WeightSource("first", {{"a.weight", at::full({2, 3}, 1.0)}});
  Model second;
  WeightExtras extras;
  extras.encoded = at::full({2, 3}, 6, at::kByte);
  extras.decoder = [](const at::Tensor& stored) {
    TORCH_CHECK(!stored.is_meta(), "decoded without bytes");
    return stored.to(at::kFloat) * 0.5;
  };
  second.weights =
      WeightSource("second", {{"a.weight", at::empty({2, 3}, at::TensorOptions(at::kMeta).dtype(at::kFloat))}},
                   {{"a.weight", extras}});
  std::vector<int64_t> shape;
  at::Tensor merged;
  first.rebuild = [&](const WeightPatches& patches) -> StatusOr<std::shared_ptr<const DiffusionNetwork>> {
    const WeightSource changed = first.weights.Patched(patches);
    shape = changed.PatchedShape("a.weight");
    merged = changed.Value("a.weight", at::kCPU);
    return std::shared_ptr<const DiffusionNetwork>(std::make_shared<Plain>());
  };
  const auto made = RunNode("ModelMergeSimple", {{"model1", {Value::Of<Model>("MODEL", first)}},
                                                 {"model2", {Value::Of<Model>("MODEL", second)}},
                                                 {"ratio", {Value::Literal(Json(0.25))}}});
  INFO(Message(made.status()));
  REQUIRE(made.ok());
  CHECK(shape == std::vector<int64_t>{2, 3});
  CHECK(at::allclose(merged, at::full({2, 3}, 0.25 + 0.75 * 3)));
}

TEST_CASE("LTXVScheduler's levels") {
  const auto levels = [](int64_t steps, bool stretch, std::vector<int64_t> shape) {
    InputValues inputs{{"steps", {Value::Literal(Json(steps))}}, {"stretch", {Value::Literal(Json(stretch))}}};
    if (!shape.empty()) inputs["latent"] = {Value::Of<Latent>("LATENT", Latent{at::zeros(shape), {}, {}})};
    const auto made = RunNode("LTXVScheduler", inputs);
    INFO(Message(made.status()));
    REQUIRE(made.ok());
    const at::Tensor sigmas = made->at(0).Get<Sigmas>()->values;
    return std::vector<float>(sigmas.const_data_ptr<float>(), sigmas.const_data_ptr<float>() + sigmas.numel());
  };
  const double e = std::exp(2.05), few = std::exp(0.95);
  const auto plain = levels(4, false, {});
  REQUIRE(plain.size() == 5);
  CHECK(plain[0] == 1.0f);
  CHECK(plain[1] == Approx(e / (e + 1 / 0.75 - 1)));
  CHECK(plain[3] == Approx(e / (e + 3)));
  CHECK(plain[4] == 0.0f);
  CHECK(levels(4, false, {1, 128, 4, 16, 16})[3] == Approx(few / (few + 3)));
  const auto stretched = levels(4, true, {});
  CHECK(stretched[0] == 1.0f);
  CHECK(stretched[3] == Approx(0.1));
  CHECK((1 - stretched[1]) / (1 - stretched[3]) == Approx((1 - plain[1]) / (1 - plain[3])));
  CHECK(stretched[4] == 0.0f);
  CHECK(levels(1, true, {}) == std::vector<float>{1.0f, 0.0f});
}

TEST_CASE("a default prompt fills what the others leave") {
  const c10::InferenceMode inference;
  // The left half has a prompt of its own.
  at::Tensor mask = at::zeros({1, 16, 16});
  mask.narrow(2, 0, 8).fill_(1.0);
  Conditioning left = Prompt(0.5);
  left.entries[0].tensors["mask"] = mask;
  left.entries[0].options["mask_strength"] = 1.0;
  const auto both = RunNode("ConditioningSetDefaultCombine",
                            {{"cond", {Value::Of<Conditioning>("CONDITIONING", left)}},
                             {"cond_DEFAULT", {Value::Of<Conditioning>("CONDITIONING", Prompt(-0.5))}}});
  REQUIRE(both.ok());
  const auto denoised = [&](const Conditioning& positive) {
    const Model model = PlainModel(std::make_shared<const Plain>());
    const at::Tensor x = at::ones({1, 4, 16, 16});
    CondRun run{at::zeros_like(x), at::zeros_like(x), {}, CondKind::kPositive, {}};
    auto list = PrepareConds(positive, model, run);
    REQUIRE(list.ok());
    return EvaluateConds(model, {&*list}, x, 2.0)[0];
  };
  const at::Tensor got = denoised(*both->at(0).Get<Conditioning>());
  const at::Tensor at_left = denoised(Prompt(0.5)), at_right = denoised(Prompt(-0.5));
  CHECK(at::allclose(got.narrow(3, 0, 8), at_left.narrow(3, 0, 8)));
  CHECK(at::allclose(got.narrow(3, 8, 8), at_right.narrow(3, 8, 8)));
  // Nothing is left where another prompt covers all.
  Conditioning covered = Prompt(0.5);
  covered.entries.push_back(Prompt(-0.5).entries[0]);
  covered.entries[1].options["default"] = true;
  CHECK(at::allclose(denoised(covered), at_left));
}

const std::vector<Value>& ListOf(const StatusOr<std::vector<Value>>& values) {
  INFO(Message(values.status()));
  REQUIRE(values.ok());
  const auto* list = values->at(0).Get<std::vector<Value>>();
  REQUIRE(list != nullptr);
  return *list;
}

Value Pictures(at::IntArrayRef shape, double grey) { return Value::Of<Image>("IMAGE", Image{at::full(shape, grey)}); }

TEST_CASE("batches are made anew from all pictures of a list") {
  const auto made = RunNode("RebatchImages", {{"images", {Pictures({2, 4, 6, 3}, 0.1), Pictures({3, 4, 6, 3}, 0.2)}},
                                              {"batch_size", {Value::Literal(Json(2))}}});
  const std::vector<Value>& list = ListOf(made);
  REQUIRE(list.size() == 3);
  CHECK(list[0].Get<Image>()->pixels.sizes() == at::IntArrayRef({2, 4, 6, 3}));
  CHECK(list[2].Get<Image>()->pixels.sizes() == at::IntArrayRef({1, 4, 6, 3}));
  CHECK(list[1].Get<Image>()->pixels[1][0][0][0].item<float>() == 0.2f);
  CHECK_FALSE(RunNode("RebatchImages", {{"images", {Pictures({1, 4, 6, 3}, 0), Pictures({1, 4, 5, 3}, 0)}},
                                        {"batch_size", {Value::Literal(Json(2))}}})
                  .ok());
  const auto pictures = RunNode("ImageBatchToList+", {{"image", {Pictures({3, 4, 6, 3}, 0.1)}}});
  CHECK(ListOf(pictures).size() == 3);
  const auto batch =
      RunNode("ImageListToBatch+", {{"image", {Pictures({1, 4, 6, 3}, 0.25), Pictures({2, 8, 12, 3}, 0.5)}}});
  REQUIRE(batch.ok());
  CHECK(batch->at(0).Get<Image>()->pixels.sizes() == at::IntArrayRef({3, 4, 6, 3}));
}

TEST_CASE("latents of one shape share a batch and keep mask and number") {
  const auto latent = [](at::IntArrayRef shape, bool masked, std::optional<std::vector<int64_t>> index) {
    return Value::Of<Latent>("LATENT",
                             Latent{at::ones(shape), masked ? at::zeros({1, 1, 64, 64}) : at::Tensor(), index});
  };
  const auto made =
      RunNode("RebatchLatents",
              {{"latents",
                {latent({2, 4, 8, 8}, false, std::nullopt), latent({2, 4, 8, 8}, true, std::vector<int64_t>{7, 8}),
                 latent({1, 4, 4, 8}, false, std::nullopt)}},
               {"batch_size", {Value::Literal(Json(3))}}});
  const std::vector<Value>& list = ListOf(made);
  REQUIRE(list.size() == 3);
  const Latent& first = *list[0].Get<Latent>();
  CHECK(first.samples.size(0) == 3);
  CHECK(first.batch_index == std::vector<int64_t>{0, 1, 7});
  CHECK(first.noise_mask.sizes() == at::IntArrayRef({3, 1, 64, 64}));
  CHECK(first.noise_mask[0].min().item<float>() == 1);
  CHECK(first.noise_mask[2].max().item<float>() == 0);
  CHECK(list[1].Get<Latent>()->batch_index == std::vector<int64_t>{8});
  CHECK_FALSE(list[2].Get<Latent>()->noise_mask.defined());
}

TEST_CASE("values are shown as text") {
  const auto shown = [](const Value& value, const std::string& mode) {
    const auto result = RunNode("DisplayAny", {{"input", {value}}, {"mode", {Value::Literal(Json(mode))}}});
    REQUIRE(result.ok());
    return result->at(0).literal().get<std::string>();
  };
  CHECK(shown(Value::Literal(Json(2.5)), "raw value") == "2.5");
  CHECK(shown(Pictures({2, 4, 6, 3}, 0), "tensor shape") == "[[2, 4, 6, 3]]");
  CHECK(shown(Value::Literal(Json("a")), "tensor shape") == "[]");
  const auto count = RunNode("BatchCount+", {{"batch", {Pictures({5, 4, 6, 3}, 0)}}});
  REQUIRE(count.ok());
  CHECK(count->at(0).literal() == 5);
}

}  // namespace
}  // namespace atelier::engine
