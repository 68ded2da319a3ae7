#include "common/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <istream>
#include <memory>
#include <streambuf>

namespace atelier {
namespace {

constexpr size_t kBytesMax = 1 << 20;  // a configuration of thousands of workers is smaller
constexpr size_t kDepthMax = 16;
constexpr int kNodesMax = 10'000;

/// What the event handler finds wrong; thrown through yaml-cpp and caught in ParseYaml.
struct Refused {
  int line;
  std::string what;
};

/// Builds the tree from the parser's events, so that duplicate keys and lines are kept and bounds hold while it is
/// read.
class Builder : public YAML::EventHandler {
 public:
  YamlNode root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (anchor != 0) Refuse(mark, "anchors are not supported");
    Add(Make(YamlNode::Kind::kNull, mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { Refuse(mark, "aliases are not supported"); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Check(mark, tag, anchor);
    // yaml-cpp gives "!" to a quoted scalar and "?" to a plain one.
    const bool quoted = tag == "!";
    const bool null = !quoted && (value.empty() || value == "~" || value == "null");
    YamlNode node = Make(null ? YamlNode::Kind::kNull : YamlNode::Kind::kScalar, mark);
    node.quoted = quoted;
    node.text = value;
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Check(mark, tag, anchor);
    Open(Make(YamlNode::Kind::kList, mark));
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Check(mark, tag, anchor);
    Open(Make(YamlNode::Kind::kMap, mark));
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Level {
    YamlNode node;
    bool has_key = false;
    std::string key;
    int key_line = 0;
  };

  [[noreturn]] static void Refuse(const YAML::Mark& mark, std::string what) {
    throw Refused{mark.line + 1, std::move(what)};
  }

  static void Check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != 0) Refuse(mark, "anchors are not supported");
    if (!tag.empty() && tag != "!" && tag != "?") Refuse(mark, Cat("the tag \"", tag, "\" is not supported"));
  }

  YamlNode Make(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (++nodes_ > kNodesMax) Refuse(mark, Cat("more than ", kNodesMax, " values"));
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }

  void Open(YamlNode node) {
    if (levels_.size() >= kDepthMax) throw Refused{node.line, Cat("nested deeper than ", kDepthMax, " levels")};
    levels_.push_back(Level{std::move(node), false, {}, 0});
  }

  void Close() {
    YamlNode node = std::move(levels_.back().node);
    levels_.pop_back();
    Add(std::move(node));
  }

  void Add(YamlNode node) {
    if (levels_.empty()) {
      root = std::move(node);
      return;
    }
    Level& level = levels_.back();
    if (level.node.kind == YamlNode::Kind::kList) {
      level.node.items.push_back(std::move(node));
    } else if (!level.has_key) {
      if (node.kind != YamlNode::Kind::kScalar) throw Refused{node.line, "a key must be a plain word"};
      level.has_key = true;
      level.key = std::move(node.text);
      level.key_line = node.line;
    } else {
      level.has_key = false;
      level.node.pairs.push_back(YamlNode::Pair{std::move(level.key), level.key_line, std::move(node)});
    }
  }

  std::vector<Level> levels_;
  int nodes_ = 0;
};

/// Reads a string_view as a stream without a copy.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace

StatusOr<YamlNode> ParseYaml(std::string_view text, std::string_view name) {
  if (text.size() > kBytesMax) {
    return InvalidArgument(name, ": ", text.size(), " bytes, a configuration has at most ", kBytesMax);
  }
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    Builder builder;
    if (!parser.HandleNextDocument(builder) || builder.root.kind == YamlNode::Kind::kNull) {
      YamlNode empty;
      empty.kind = YamlNode::Kind::kMap;
      empty.line = 1;
      return empty;
    }
    YamlNode root = std::move(builder.root);
    Builder rest;
    if (parser.HandleNextDocument(rest)) {
      return InvalidArgument(name, ":", rest.root.line, ": a second document; a configuration is one");
    }
    return root;
  } catch (const Refused& refused) {
    return InvalidArgument(name, ":", refused.line, ": ", refused.what);
  } catch (const YAML::Exception& e) {
    return InvalidArgument(name, ":", e.mark.line + 1, ": not YAML: ", e.msg);
  }
}

std::string YamlScalar(std::string_view text) {
  const auto word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '/' ||
           c == '.' || c == '+';
  };
  bool plain = !text.empty() && text != "null" && word(text.front());
  for (size_t i = 0; i < text.size(); ++i) {
    const bool colon = text[i] == ':' && i + 1 < text.size() && text[i + 1] != ' ';
    plain = plain && (word(text[i]) || text[i] == '-' || colon);
  }
  if (plain) return std::string(text);
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace atelier
