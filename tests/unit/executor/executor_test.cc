#include "common/executor/executor.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <stdexcept>

#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/graph/frames.h"
#include "common/tensorio/safetensors.h"

namespace atelier {

// A data type and a handle type of the tests' own.
struct Text {
  std::string text;
};
struct Handle {
  int number = 0;
};
template <>
struct SocketTraits<Text> {
  static constexpr std::string_view kName = "LATENT";
};
template <>
struct SocketTraits<Handle> {
  static constexpr std::string_view kName = "MODEL";
};

namespace {

std::vector<std::string> ran;  // ids in the order in which they ran

struct Say {
  std::string text = "unset";
  std::optional<Text> before;
  static void Describe(NodeSchema<Say>& s) {
    s.Input<&Say::text>("text").Default("default");
    s.Input<&Say::before>("before");
    s.Output<Text>("LATENT").Output<int64_t>("INT");
  }
  StatusOr<std::tuple<Text, int64_t>> Run(NodeContext& ctx) const {
    ran.push_back(ctx.node_id());
    RETURN_IF_ERROR(ctx.Step(1, 1));
    const std::string all = (before ? before->text : "") + text;
    return std::tuple(Text{all}, static_cast<int64_t>(all.size()));
  }
};
ATELIER_REGISTER_NODE(Say);

struct Join {
  std::vector<Text> texts;
  static void Describe(NodeSchema<Join>& s) {
    s.Input<&Join::texts>("texts");
    s.Output<Text>("LATENT");
  }
  StatusOr<Text> Run(NodeContext& ctx) const {
    ran.push_back(ctx.node_id());
    std::string all;
    for (const Text& text : texts) all += text.text + ";";
    return Text{all};
  }
};
ATELIER_REGISTER_NODE(Join);

struct Load {
  std::string name;
  static void Describe(NodeSchema<Load>& s) {
    s.Input<&Load::name>("name").FromFolder("checkpoints");
    s.Output<Handle>("MODEL");
  }
  StatusOr<Handle> Run(NodeContext& ctx) const {
    ran.push_back(ctx.node_id());
    RETURN_IF_ERROR(ctx.ModelPath("checkpoints", name).status());
    return Handle{7};
  }
};
ATELIER_REGISTER_NODE(Load);

struct Use {
  Handle model;
  int64_t number = 0;
  static void Describe(NodeSchema<Use>& s) {
    s.Input<&Use::model>("model");
    s.Input<&Use::number>("number").Default(1);
    s.Output<Text>("LATENT");
  }
  StatusOr<Text> Run(NodeContext& ctx) const {
    ran.push_back(ctx.node_id());
    return Text{Cat(model.number, "/", number)};
  }
};
ATELIER_REGISTER_NODE(Use);

struct Save {
  Text text;
  std::string name;
  static void Describe(NodeSchema<Save>& s) {
    s.spec.output_node = true;
    s.Input<&Save::text>("text");
    s.Input<&Save::name>("name").Default("out");
  }
  Status Run(NodeContext& ctx) const {
    ran.push_back(ctx.node_id());
    OutputFile file;
    file.prefix = name;
    file.bytes = text.text;
    ctx.Emit(std::move(file));
    ctx.Warn("saved");
    return OkStatus();
  }
};
ATELIER_REGISTER_NODE(Save);

struct Break {
  std::string how;
  static void Describe(NodeSchema<Break>& s) {
    s.Input<&Break::how>("how");
    s.Output<Text>("LATENT");
  }
  StatusOr<std::vector<Value>> Run(NodeContext& ctx) const {
    if (how == "throw") throw std::runtime_error("bad shape\nbacktrace");
    if (how == "memory") throw std::runtime_error("CUDA out of memory");
    if (how == "file") return ctx.InputFile("none.png").status();
    if (how == "count") return std::vector<Value>{};
    return InvalidArgument("the number is too small");
  }
};
ATELIER_REGISTER_NODE(Break);

// Windows of a film of ten frames, a letter each.
struct Window {
  std::optional<Handle> source;
  std::optional<Text> image;
  int64_t start = 0, count = 0;
  static void Describe(NodeSchema<Window>& s) {
    s.Input<&Window::source>("source");
    s.Input<&Window::image>("image").Type("IMAGE");
    s.Input<&Window::start>("start").Hidden();
    s.Input<&Window::count>("count").Hidden();
    s.Output<Text>("LATENT").Output<int64_t>("count");
  }
  StatusOr<std::tuple<Text, int64_t>> Run(NodeContext& ctx) const {
    ran.push_back(Cat(ctx.node_id(), "@", start));
    if (image) return std::tuple(*image, static_cast<int64_t>(image->text.size()));
    const int64_t n = std::min<int64_t>(count == 0 ? 3 : count, 10 - start);
    return std::tuple(Text{std::string("abcdefghij").substr(static_cast<size_t>(start), static_cast<size_t>(n))}, n);
  }
};
ATELIER_REGISTER_NODE_AS(Window, "FrameWindow");

struct EachFrame {
  Text frames;
  Handle model;
  std::string mark = "'";
  static void Describe(NodeSchema<EachFrame>& s) {
    s.Input<&EachFrame::frames>("frames");
    s.Input<&EachFrame::model>("model");
    s.Input<&EachFrame::mark>("mark").Default("'");
    PerFrame(s, "frames");
    s.Output<Text>("LATENT");
  }
  StatusOr<Text> Run(NodeContext& ctx) const {
    ran.push_back(ctx.node_id());
    if (mark == "fail") return InvalidArgument("no such frame");
    std::string all;
    for (const char c : frames.text) all += c + mark;
    return Text{all};
  }
};
ATELIER_REGISTER_NODE(EachFrame);

struct Film {
  Value frames;
  bool twice = false;
  static void Describe(NodeSchema<Film>& s) {
    s.OutputNode();
    s.Input<&Film::frames>("frames").Type("LATENT");
    s.Input<&Film::twice>("twice").Default(false);
    DeclareFrames(s, {.role = "sink", .input = "frames"});
  }
  Status Run(NodeContext& ctx) const {
    const auto* windows = frames.Get<FrameWindows>();
    OutputFile file;
    for (int pass = 0; pass < (twice ? 2 : 1); ++pass) {
      for (int64_t w = 0;; ++w) {
        Value value = frames;
        if (windows != nullptr) {
          ASSIGN_OR_RETURN(value, windows->window(w));
        } else if (w > 0) {
          break;
        }
        if (!value.present()) break;
        ran.push_back(Cat(ctx.node_id(), "+"));
        file.bytes += value.Get<Text>()->text;
      }
    }
    file.prefix = windows == nullptr ? "whole" : Cat(windows->count, " windows");
    ctx.Emit(std::move(file));
    return OkStatus();
  }
};
ATELIER_REGISTER_NODE(Film);

const bool kCodec = Registry<BlobCodec>::Get().Add(
    "LATENT", 0,
    BlobCodec{[](const Value& value, std::string_view encoding) -> StatusOr<std::string> {
                return WriteSafetensors({},
                                        {{"atelier_type", "LATENT"},
                                         {"json", DumpJson(Json(value.Get<Text>()->text + std::string(encoding)))}});
              },
              [](std::string_view bytes) -> StatusOr<Value> {
                ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(bytes));
                return Value::Of("LATENT", Text{ParseJson(view.metadata().at("json"))->get<std::string>()});
              }});
const bool kSize = Registry<ValueSize>::Get().Add(
    "LATENT", 0, ValueSize{[](const Value& v) { return static_cast<int64_t>(v.Get<Text>()->text.size()); }});

class Host : public ExecutorHost {
 public:
  StatusOr<std::shared_ptr<const std::string>> Blob(const std::string& hash) override {
    const auto it = blobs.find(hash);
    if (it == blobs.end()) return NotFound("blob ", hash);
    return std::make_shared<const std::string>(it->second);
  }
  StatusOr<std::string> ModelPath(std::string_view folder, std::string_view name) override {
    if (model_identity.empty()) return NotFound("no ", name, " in ", folder);
    return std::string("/models/") + std::string(name);
  }
  std::string ModelIdentity(std::string_view, std::string_view) override { return model_identity; }
  bool cancelled() const override { return is_cancelled; }
  void Progress(const std::string& node, int64_t step, int64_t, const std::function<std::string()>&) override {
    if (step > 0 && node == cancel_at) is_cancelled = true;
  }
  void Warn(const std::string& node, const std::string& message) override { warnings.push_back(node + ": " + message); }
  double Seconds() const override { return 0; }

  std::string AddBlob(const std::string& text) {
    const std::string bytes = EncodeBlob(Value::Of("LATENT", Text{text}), "").value();
    const std::string hash = Sha256Hex(bytes);
    blobs[hash] = bytes;
    return hash;
  }

  std::map<std::string, std::string> blobs;
  std::string model_identity = "1";
  bool is_cancelled = false;
  std::string cancel_at;
  std::vector<std::string> warnings;
};

Fragment Make(const char* nodes, const std::vector<std::string>& wanted, std::vector<std::string> outputs = {}) {
  Fragment fragment;
  fragment.nodes = ParseJson(nodes).value();
  for (const std::string& node : wanted) fragment.wanted.push_back({node, 0, ""});
  fragment.output_nodes = std::move(outputs);
  ran.clear();
  return fragment;
}

std::string TextOf(const std::string& blob) { return DecodeBlob(blob).value().Get<Text>()->text; }

const char* kChain = R"({
  "9": {"class_type": "Save", "inputs": {"text": ["3", 0], "name": "a"}},
  "3": {"class_type": "Say", "inputs": {"text": "c", "before": ["2", 0]}},
  "2": {"class_type": "Say", "inputs": {"text": "b", "before": ["1", 0]}},
  "1": {"class_type": "Say", "inputs": {}},
  "7": {"class_type": "Say", "inputs": {"text": "not needed"}}})";

TEST_CASE("ancestors run first, once, and nothing else runs; defaults are filled in") {
  Host host;
  Executor executor;
  const auto result = executor.Run(Make(kChain, {"3", "1"}, {"9"}), host);
  REQUIRE(result.ok());
  CHECK(ran == std::vector<std::string>{"1", "2", "3", "9"});
  CHECK(TextOf(result->blobs[0]) == "defaultbc");
  CHECK(TextOf(result->blobs[1]) == "default");
  REQUIRE(result->files.size() == 1);
  CHECK(result->files[0].node_id == "9");
  CHECK(result->files[0].prefix == "a");
  CHECK(result->files[0].bytes == "defaultbc");
  CHECK(host.warnings == std::vector<std::string>{"9: saved"});
  CHECK(result->nodes_run == 4);
  CHECK(result->nodes_cached == 0);
}

TEST_CASE("a second run takes what is unchanged from the cache; output nodes always run") {
  Host host;
  Executor executor;
  REQUIRE(executor.Run(Make(kChain, {}, {"9"}), host).ok());
  auto again = executor.Run(Make(kChain, {}, {"9"}), host);
  CHECK(ran == std::vector<std::string>{"9"});
  CHECK(again->nodes_cached == 3);
  CHECK(again->files[0].bytes == "defaultbc");
  // Another literal in the middle runs it and what follows; ids do not matter.
  Fragment changed = Make(kChain, {}, {"9"});
  changed.nodes["2"]["inputs"]["text"] = "B";
  again = executor.Run(changed, host);
  CHECK(ran == std::vector<std::string>{"2", "3", "9"});
  CHECK(again->files[0].bytes == "defaultBc");
  executor.ClearCache();
  REQUIRE(executor.Run(Make(kChain, {}, {"9"}), host).ok());
  CHECK(ran.size() == 4);
}

const char* kFilm = R"({
  "1": {"class_type": "Load", "inputs": {"name": "a"}},
  "2": {"class_type": "FrameWindow", "inputs": {"source": ["1", 0]}},
  "3": {"class_type": "EachFrame", "inputs": {"frames": ["2", 0], "model": ["1", 0]}},
  "4": {"class_type": "Film", "inputs": {"frames": ["3", 0]}}})";

TEST_CASE("frames without windows told are made window by window, when the sink asks, and not kept") {
  Host host;
  Executor executor;
  auto result = executor.Run(Make(kFilm, {}, {"4"}), host);
  INFO(Message(result.status()));
  REQUIRE(result.ok());
  CHECK(result->files[0].bytes == "a'b'c'd'e'f'g'h'i'j'");
  CHECK(result->files[0].node_id == "4");
  CHECK(result->files[0].prefix == "-1 windows");
  CHECK(ran == std::vector<std::string>{"1", "2@0", "3", "4+", "2@3", "3", "4+", "2@6", "3", "4+", "2@9", "3", "4+",
                                        "2@10"});
  CHECK(executor.cache_nodes() == 1);  // the handle
  // Again from the beginning.
  Fragment twice = Make(kFilm, {}, {"4"});
  twice.nodes["4"]["inputs"]["twice"] = true;
  result = executor.Run(twice, host);
  REQUIRE(result.ok());
  CHECK(result->files[0].bytes == "a'b'c'd'e'f'g'h'i'j'a'b'c'd'e'f'g'h'i'j'");
  // A node that fails on the way is named.
  Fragment broken = Make(kFilm, {}, {"4"});
  broken.nodes["3"]["inputs"]["mark"] = "fail";
  const Status failed = executor.Run(broken, host).status();
  CHECK(Message(failed).find("node \"3\" (EachFrame): no such frame") != std::string::npos);
  // Cancelled between windows.
  host.cancel_at = "nobody";
  host.is_cancelled = true;
  CHECK(executor.Run(Make(kFilm, {}, {"4"}), host).status().code() == StatusCode::kCancelled);
}

TEST_CASE("a window that was told is an ordinary fragment, whose values are used once") {
  Host host;
  Executor executor;
  Fragment window = Make(kFilm, {"3"});
  window.nodes["2"]["inputs"]["start"] = 4;
  window.nodes["2"]["inputs"]["count"] = 2;
  const auto result = executor.Run(window, host);
  REQUIRE(result.ok());
  CHECK(TextOf(result->blobs[0]) == "e'f'");
  CHECK(result->once);
  CHECK(executor.cache_nodes() == 1);
  CHECK_FALSE(executor.Run(Make(kChain, {"3"}), host)->once);
}

TEST_CASE("windows that are blobs are read one at a time, in order; one blob alone is a value") {
  Host host;
  Executor executor;
  Fragment film = Make(R"({"4": {"class_type": "Film", "inputs": {}}})", {}, {"4"});
  film.bindings.push_back({"4", "frames", {host.AddBlob("x"), host.AddBlob("y"), host.AddBlob("z")}, true});
  auto result = executor.Run(film, host);
  INFO(Message(result.status()));
  REQUIRE(result.ok());
  CHECK(result->files[0].bytes == "xyz");
  CHECK(result->files[0].prefix == "3 windows");
  film.bindings[0] = {"4", "frames", {host.AddBlob("x")}, true};
  CHECK(executor.Run(film, host)->files[0].prefix == "1 windows");
  film.bindings[0].gather = false;
  CHECK(executor.Run(film, host)->files[0].prefix == "whole");
  film.bindings[0].blobs.push_back(host.AddBlob("y"));
  CHECK_FALSE(executor.Run(film, host).ok());
}

TEST_CASE("the cache is bounded by bytes and drops what was used least recently") {
  Host host;
  Executor executor({.cache_bytes_max = 64, .cache_nodes_max = 100});
  const auto say = [&](const std::string& text) {
    Fragment fragment = Make(R"({"1": {"class_type": "Say", "inputs": {}}})", {"1"});
    fragment.nodes["1"]["inputs"]["text"] = text;
    REQUIRE(executor.Run(fragment, host).ok());
    return ran.size() == 1;
  };
  CHECK(say("aaaaaaaaaaaaaaaaaaaa"));  // 20 bytes and an INT of 8
  CHECK(say("bbbbbbbbbbbbbbbbbbbb"));
  CHECK_FALSE(say("aaaaaaaaaaaaaaaaaaaa"));
  CHECK(say("cccccccccccccccccccc"));
  CHECK(executor.cache_bytes() <= 64);
  CHECK_FALSE(say("aaaaaaaaaaaaaaaaaaaa"));
  CHECK(say("bbbbbbbbbbbbbbbbbbbb"));
  CHECK(say(std::string(100, 'x')));
  CHECK(say(std::string(100, 'x')));
}

TEST_CASE("handles are kept only while fragments in a row need them, and not when their file changed") {
  Host host;
  Executor executor;
  const char* nodes = R"({"1": {"class_type": "Load", "inputs": {"name": "a.safetensors"}},
                          "2": {"class_type": "Use", "inputs": {"model": ["1", 0]}}})";
  const auto run = [&](int number) {
    Fragment fragment = Make(nodes, {"2"});
    fragment.nodes["2"]["inputs"]["number"] = number;
    REQUIRE(executor.Run(fragment, host).ok());
    return ran;
  };
  CHECK(run(1) == std::vector<std::string>{"1", "2"});
  CHECK(run(2) == std::vector<std::string>{"2"});
  CHECK(run(2).empty());
  REQUIRE(executor.Run(Make(kChain, {"3"}), host).ok());  // needs no model
  CHECK(run(3) == std::vector<std::string>{"1", "2"});
  CHECK(run(2).empty());  // data is still kept
  host.model_identity = "2";
  CHECK(run(2) == std::vector<std::string>{"1", "2"});
}

TEST_CASE("bound blobs replace links; gather inputs take one value a blob, in order") {
  Host host;
  Executor executor;
  Fragment fragment = Make(R"({"1": {"class_type": "Join", "inputs": {"texts": ["5", 0]}},
                               "2": {"class_type": "Say", "inputs": {"text": "!", "before": ["5", 0]}}})",
                           {"1", "2"});
  const std::string a = host.AddBlob("a"), b = host.AddBlob("b");
  fragment.bindings = {{"1", "texts", {b, a, b}, true}, {"2", "before", {a}, false}};
  auto result = executor.Run(fragment, host);
  REQUIRE(result.ok());
  CHECK(TextOf(result->blobs[0]) == "b;a;b;");
  CHECK(TextOf(result->blobs[1]) == "a!");
  // The same blobs in another order are another value.
  ran.clear();
  fragment.bindings[0].blobs = {a, b, b};
  result = executor.Run(fragment, host);
  CHECK(ran == std::vector<std::string>{"1"});
  CHECK(TextOf(result->blobs[0]) == "a;b;b;");
  fragment.bindings[1].blobs = {a, b};
  CHECK(Message(executor.Run(fragment, host).status()) ==
        "node \"2\" (Say): input \"before\" takes one value, 2 are bound");
  fragment.bindings[1].blobs = {Sha256Hex("none")};
  CHECK(executor.Run(fragment, host).status().code() == StatusCode::kNotFound);
}

TEST_CASE("literals and encodings cross as blobs") {
  Host host;
  Executor executor;
  Fragment fragment = Make(kChain, {"1", "1"});
  fragment.wanted[0].slot = 1;
  fragment.wanted[1].encoding = "u8";
  const auto result = executor.Run(fragment, host);
  REQUIRE(result.ok());
  CHECK(DecodeBlob(result->blobs[0])->literal() == Json(7));
  CHECK(TextOf(result->blobs[1]) == "defaultu8");
  CHECK_FALSE(DecodeBlob("not a blob").ok());
  CHECK_FALSE(DecodeBlob(WriteSafetensors({}, {})).ok());
  CHECK_FALSE(DecodeBlob(WriteSafetensors({}, {{"atelier_type", "MODEL"}})).ok());
  CHECK(EncodeBlob(Value::Of("MODEL", Handle{}), "").status().code() == StatusCode::kInvalidArgument);
}

TEST_CASE("errors name the node, the input and the value") {
  Host host;
  Executor executor;
  const auto fail = [&](const char* nodes, const std::string& wanted) {
    const auto result = executor.Run(Make(nodes, {wanted}), host);
    REQUIRE_FALSE(result.ok());
    return result.status();
  };
  CHECK(Message(fail(R"({"1": {"class_type": "Say", "inputs": {"before": ["2", 0]}},
                         "2": {"class_type": "Say", "inputs": {"before": ["1", 0]}}})",
                     "1")) == "node \"2\" (Say): input \"before\" closes a cycle through node \"1\"");
  CHECK(executor.failed_node() == "2");
  CHECK(Message(fail(R"({"1": {"class_type": "Say", "inputs": {"before": ["1", 0]}}})", "1")).find("cycle") !=
        std::string::npos);
  CHECK(Message(fail(R"({"1": {"class_type": "Say", "inputs": {"before": ["2", 0]}}})", "1")) ==
        "node \"1\" (Say): input \"before\" is linked to node \"2\", which is not in the fragment");
  CHECK(Message(fail(R"({"1": {"class_type": "Say", "inputs": {"before": ["2", 5]}},
                         "2": {"class_type": "Say", "inputs": {}}})",
                     "1")) ==
        "node \"1\" (Say): input \"before\" is linked to output 5 of node \"2\" (Say), which has 2");
  CHECK(Message(fail(R"({"1": {"class_type": "Save", "inputs": {}}})", "1")) ==
        "node \"1\" (Save): input \"text\" of type LATENT is missing");
  CHECK(Message(fail(R"({"1": {"class_type": "Save", "inputs": {"text": 5}}})", "1")) ==
        "node \"1\" (Save): input \"text\": got a value of type LITERAL, expected LATENT");
  const Status unknown = fail(R"({"1": {"class_type": "Nothing", "inputs": {}}})", "1");
  CHECK(unknown.code() == StatusCode::kFailedPrecondition);
  CHECK(Message(unknown) == "node \"1\" (Nothing): this worker does not have the node type");
  CHECK(fail(R"({"1": 5})", "1").code() == StatusCode::kInvalidArgument);
  CHECK(fail("{}", "1").code() == StatusCode::kInvalidArgument);

  const auto broken = [&](const std::string& how) {
    Fragment fragment = Make(R"({"1": {"class_type": "Break", "inputs": {}}})", {"1"});
    fragment.nodes["1"]["inputs"]["how"] = how;
    return executor.Run(fragment, host).status();
  };
  CHECK(Message(broken("throw")) == "node \"1\" (Break): bad shape");
  CHECK(broken("throw").code() == StatusCode::kInternal);
  CHECK(broken("memory").code() == StatusCode::kResourceExhausted);
  CHECK(broken("file").code() == StatusCode::kNotFound);
  CHECK(broken("count").code() == StatusCode::kInternal);
  CHECK(broken("other").code() == StatusCode::kInvalidArgument);
  CHECK(executor.failed_node() == "1");
}

TEST_CASE("a cancelled fragment stops at the next step; what was done stays in the cache") {
  Host host;
  Executor executor;
  host.cancel_at = "2";
  CHECK(executor.Run(Make(kChain, {"3"}), host).status().code() == StatusCode::kCancelled);
  CHECK(ran == std::vector<std::string>{"1", "2"});
  host.is_cancelled = false;
  host.cancel_at.clear();
  CHECK(executor.Run(Make(kChain, {"3"}), host).ok());
  CHECK(ran == std::vector<std::string>{"3"});
}

TEST_CASE("long chains run without recursion, longer ones are refused") {
  Host host;
  Executor executor;
  const auto chain = [](int length) {
    Fragment fragment;
    for (int i = 0; i < length; ++i) {
      Json inputs = {{"text", "x"}};
      if (i > 0) inputs["before"] = Json::array({Cat(i - 1), 0});
      fragment.nodes[Cat(i)] = {{"class_type", "Say"}, {"inputs", inputs}};
    }
    fragment.wanted = {{Cat(length - 1), 1, ""}};
    return fragment;
  };
  const auto result = executor.Run(chain(1000), host);
  REQUIRE(result.ok());
  CHECK(DecodeBlob(result->blobs[0])->literal() == Json(1000));
  CHECK(executor.Run(chain(limits::kGraphDepthMax + 1), host).status().code() == StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace atelier
