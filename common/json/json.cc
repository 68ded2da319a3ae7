#include "common/json/json.h"

#include <cmath>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/json/writer.h"

namespace atelier {
namespace {

struct Place {
  int64_t line = 1;
  int64_t column = 1;
};

Place PlaceOf(std::string_view text, size_t offset) {
  Place place;
  offset = std::min(offset, text.size());
  for (size_t i = 0; i < offset; ++i) {
    if (text[i] == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      ++place.column;
    }
  }
  return place;
}

Status ErrorAt(std::string_view text, size_t offset, std::string_view what) {
  const Place place = PlaceOf(text, offset);
  return InvalidArgument("invalid json at line ", place.line, ", column ", place.column, ": ", what);
}

// One pass without memory: refuses what is too deep or too large before anything is built.
Status CheckBounds(std::string_view text, const JsonLimits& limits) {
  if (static_cast<int64_t>(text.size()) > limits.bytes_max)
    return InvalidArgument("json text of ", text.size(), " bytes is larger than the limit of ", limits.bytes_max);
  int depth = 0;
  int64_t values = 1;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    switch (c) {
      case '"':
        in_string = true;
        break;
      case '[':
      case '{':
        if (++depth > limits.depth_max)
          return ErrorAt(text, i, Cat("nested deeper than ", limits.depth_max, " levels"));
        ++values;
        break;
      case ']':
      case '}':
        --depth;
        break;
      case ',':
        if (++values > limits.values_max) return ErrorAt(text, i, Cat("more than ", limits.values_max, " values"));
        break;
      default:
        break;
    }
  }
  return OkStatus();
}

// Builds the value. nlohmann's own builder searches an ordered object from its start for each new key, which is
// quadratic.
class Builder {
 public:
  explicit Builder(Json& root) : root_(root) {}

  bool null() { return Put(Json()); }
  bool boolean(bool value) { return Put(Json(value)); }
  bool number_integer(int64_t value) { return Put(Json(value)); }
  bool number_unsigned(uint64_t value) { return Put(Json(value)); }
  bool number_float(double value, const std::string&) { return Put(Json(value)); }
  bool string(std::string& value) { return Put(Json(std::move(value))); }
  bool binary(Json::binary_t&) { return false; }
  bool start_object(size_t) { return Open(Json::object()); }
  bool start_array(size_t) { return Open(Json::array()); }
  bool end_object() { return Close(); }
  bool end_array() { return Close(); }
  bool key(std::string& name) {
    Frame& frame = stack_.back();
    Json::object_t::Container& members = frame.value->get_ref<Json::object_t&>();
    constexpr size_t kLinear = 24;
    if (members.size() < kLinear) {
      for (auto& member : members) {
        if (member.first == name) {
          slot_ = &member.second;
          return true;
        }
      }
    } else {
      if (frame.index.empty())
        for (size_t i = 0; i < members.size(); ++i) frame.index.emplace(members[i].first, i);
      auto [it, fresh] = frame.index.emplace(name, members.size());
      if (!fresh) {
        slot_ = &members[it->second].second;
        return true;
      }
    }
    members.emplace_back(std::move(name), Json());
    slot_ = &members.back().second;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) {
    position_ = position;
    what_ = error.what();
    return false;
  }

  size_t position() const { return position_; }
  const std::string& what() const { return what_; }

 private:
  struct Frame {
    Json* value;
    std::unordered_map<std::string, size_t> index;
  };

  Json* Place(Json&& value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *stack_.back().value;
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    *slot_ = std::move(value);
    return slot_;
  }
  bool Put(Json&& value) {
    Place(std::move(value));
    return true;
  }
  bool Open(Json&& value) {
    stack_.push_back({Place(std::move(value)), {}});
    return true;
  }
  bool Close() {
    stack_.pop_back();
    return true;
  }

  Json& root_;
  std::vector<Frame> stack_;  // the open containers; a parent does not grow while its child is open, so pointers hold
  Json* slot_ = nullptr;      // where the value of the last key goes
  size_t position_ = 0;
  std::string what_;
};

// The part of nlohmann's message that tells the cause, short and printable.
std::string Cause(std::string what) {
  if (size_t end = what.find("] "); end != std::string::npos) what.erase(0, end + 2);
  if (what.rfind("parse error", 0) == 0) {
    if (size_t colon = what.find(": "); colon != std::string::npos) what.erase(0, colon + 2);
  }
  if (what.rfind("syntax error while parsing ", 0) == 0) {
    if (size_t dash = what.find(" - "); dash != std::string::npos) what.erase(0, dash + 3);
  }
  constexpr size_t kLength = 160;
  if (size_t last = what.find("; last read"); last != std::string::npos && what.size() > kLength) {
    const size_t expected = what.find("; expected", last);
    what = what.substr(0, last) + (expected == std::string::npos ? std::string() : what.substr(expected));
  }
  if (what.size() > kLength) what = what.substr(0, kLength) + "...";
  for (char& c : what)
    if (c < 32 || c > 126) c = '?';
  return what;
}

// The code point at `i`, which moves behind it; broken sequences give U+FFFD.
uint32_t NextCodePoint(std::string_view s, size_t& i) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(s[k]); };
  const unsigned char lead = byte(i++);
  if (lead < 0x80) return lead;
  const int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : -1;
  if (more < 0 || i + static_cast<size_t>(more) > s.size()) return 0xfffd;
  uint32_t code = lead & (0x3fu >> more);
  for (int k = 0; k < more; ++k) {
    if ((byte(i) & 0xc0) != 0x80) return 0xfffd;
    code = code << 6 | (byte(i++) & 0x3fu);
  }
  return code;
}

void AppendUnit(std::string& out, uint32_t unit) {
  out += "\\u";
  AppendHex(out, unit, 4);
}

void AppendPythonString(std::string& out, std::string_view s) {
  out += '"';
  for (size_t i = 0; i < s.size();) {
    const uint32_t c = NextCodePoint(s, i);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\b':
        out += "\\b";
        break;
      default:
        if (c >= 32 && c < 127) {
          out += static_cast<char>(c);
        } else if (c < 0x10000) {
          AppendUnit(out, c);
        } else {
          AppendUnit(out, 0xd800 + ((c - 0x10000) >> 10));
          AppendUnit(out, 0xdc00 + ((c - 0x10000) & 0x3ff));
        }
    }
  }
  out += '"';
}

void AppendPythonFloat(std::string& out, double number) {
  if (std::isnan(number)) {
    out += "NaN";
  } else if (std::isinf(number)) {
    out += number > 0 ? "Infinity" : "-Infinity";
  } else {
    out += PythonFloatRepr(number);
  }
}

}  // namespace

StatusOr<Json> ParseJson(std::string_view text, const JsonLimits& limits) {
  RETURN_IF_ERROR(CheckBounds(text, limits));
  Json root;
  Builder builder(root);
  if (!Json::sax_parse(text.begin(), text.end(), &builder)) {
    // nlohmann counts the byte it stumbled over as read.
    return ErrorAt(text, builder.position() == 0 ? 0 : builder.position() - 1, Cause(builder.what()));
  }
  return root;
}

std::string PythonFloatRepr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  const ShortestDigits shortest = ShortestDigitsOf(number);
  if (shortest.point < -3 || shortest.point > 16) return ExponentText(shortest, 2);
  const std::string text = FixedText(shortest);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::string DumpJsonPython(const Json& value) {
  std::string out;
  JsonStyle style;
  style.text = AppendPythonString;
  style.number = AppendPythonFloat;
  WriteJson(out, value, style);
  return out;
}

std::string DumpJson(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace atelier
