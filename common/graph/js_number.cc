#include "common/graph/js_number.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "common/graph/convert.h"

namespace atelier {

std::string JsNumberText(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  if (number == 0) return "0";
  std::array<char, 40> buffer;
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::scientific).ptr;
  const std::string_view text(buffer.data(), static_cast<size_t>(end - buffer.data()));
  const size_t e = text.find('e');
  std::string sign;
  std::string digits;
  for (char c : text.substr(0, e)) {
    if (c == '-') {
      sign = "-";
    } else if (c != '.') {
      digits += c;
    }
  }
  const int point = std::stoi(std::string(text.substr(e + 1))) + 1;  // digits before the decimal point
  const int count = static_cast<int>(digits.size());
  if (point > 21 || point <= -6) {
    const int exponent = point - 1;
    std::string out = sign + digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    return out + (exponent < 0 ? "e-" : "e+") + std::to_string(std::abs(exponent));
  }
  if (point <= 0) return sign + "0." + std::string(static_cast<size_t>(-point), '0') + digits;
  if (point >= count) return sign + digits + std::string(static_cast<size_t>(point - count), '0');
  const auto at = static_cast<size_t>(point);
  return sign + digits.substr(0, at) + "." + digits.substr(at);
}

Json JsNumber(const Json& number) {
  const double value = number.get<double>();
  if (value != std::floor(value) || std::isinf(value)) return Json(value);
  const std::string text = JsNumberText(value);
  const char* last = text.data() + text.size();
  int64_t small = 0;
  if (auto [end, error] = std::from_chars(text.data(), last, small); error == std::errc() && end == last)
    return Json(small);
  uint64_t large = 0;
  if (auto [end, error] = std::from_chars(text.data(), last, large); error == std::errc() && end == last)
    return Json(large);
  return Json(value);
}

Json JsNumbers(const Json& value) {
  if (value.is_number()) return JsNumber(value);
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value) out.push_back(JsNumbers(item));
    return out;
  }
  if (value.is_object()) {
    Json::object_t out;
    for (const auto& [key, item] : value.get_ref<const Json::object_t&>())
      static_cast<Json::object_t::Container&>(out).emplace_back(key, JsNumbers(item));
    return Json(std::move(out));
  }
  return value;
}

namespace {

void AppendJs(std::string& out, const Json& value, int indent, int depth) {
  const auto line = [&](int level) {
    if (indent > 0) out += "\n" + std::string(static_cast<size_t>(level * indent), ' ');
  };
  if (value.is_object()) {
    out += '{';
    bool first = true;
    for (const auto& [key, item] : value.get_ref<const Json::object_t&>()) {
      if (!first) out += ',';
      first = false;
      line(depth + 1);
      out += DumpJson(Json(key));
      out += indent > 0 ? ": " : ":";
      AppendJs(out, item, indent, depth + 1);
    }
    if (!first) line(depth);
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    bool first = true;
    for (const Json& item : value) {
      if (!first) out += ',';
      first = false;
      line(depth + 1);
      AppendJs(out, item, indent, depth + 1);
    }
    if (!first) line(depth);
    out += ']';
  } else if (value.is_number_float()) {
    const double number = value.get<double>();
    out += std::isfinite(number) ? JsNumberText(number) : "null";
  } else {
    out += DumpJson(value);
  }
}

}  // namespace

std::string DumpJsonJs(const Json& value, int indent) {
  std::string out;
  AppendJs(out, value, indent, 0);
  return out;
}

}  // namespace atelier
