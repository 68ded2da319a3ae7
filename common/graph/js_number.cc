#include "common/graph/js_number.h"

#include <charconv>
#include <cmath>
#include <string_view>

#include "common/json/writer.h"

namespace atelier {

std::string JsNumberText(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  if (number == 0) return "0";
  const ShortestDigits shortest = ShortestDigitsOf(number);
  return shortest.point > 21 || shortest.point <= -6 ? ExponentText(shortest, 1) : FixedText(shortest);
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

void AppendJsString(std::string& out, std::string_view text) { out += DumpJson(Json(text)); }

void AppendJsNumber(std::string& out, double number) { out += std::isfinite(number) ? JsNumberText(number) : "null"; }

}  // namespace

std::string DumpJsonJs(const Json& value, int indent) {
  std::string out;
  JsonStyle style;
  style.comma = ",";
  style.colon = indent > 0 ? ": " : ":";
  style.indent = indent;
  style.text = AppendJsString;
  style.number = AppendJsNumber;
  WriteJson(out, value, style);
  return out;
}

std::string JsText(const Json& value) {
  switch (value.type()) {
    case Json::value_t::string:
      return value.get<std::string>();
    case Json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "[object Object]";
    case Json::value_t::array: {
      std::string out;
      for (size_t i = 0; i < value.size(); ++i) {
        if (i > 0) out += ',';
        if (!value[i].is_null()) out += JsText(value[i]);
      }
      return out;
    }
    default:
      return JsNumberText(value.get<double>());
  }
}

}  // namespace atelier
