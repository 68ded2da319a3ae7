#include "common/json/writer.h"

#include <array>
#include <charconv>
#include <cstdlib>

namespace atelier {
namespace {

void NewLine(std::string& out, const JsonStyle& style, int depth) {
  if (style.indent == 0) return;
  out += '\n';
  out.append(static_cast<size_t>(depth) * static_cast<size_t>(style.indent), ' ');
}

void Write(std::string& out, const Json& value, const JsonStyle& style, int depth) {
  switch (value.type()) {
    case Json::value_t::object: {
      out += '{';
      bool first = true;
      for (const auto& [key, item] : value.get_ref<const Json::object_t&>()) {
        if (!first) out += style.comma;
        first = false;
        NewLine(out, style, depth + 1);
        style.text(out, key);
        out += style.colon;
        Write(out, item, style, depth + 1);
      }
      if (!first) NewLine(out, style, depth);
      out += '}';
      break;
    }
    case Json::value_t::array: {
      out += '[';
      bool first = true;
      for (const Json& item : value) {
        if (!first) out += style.comma;
        first = false;
        NewLine(out, style, depth + 1);
        Write(out, item, style, depth + 1);
      }
      if (!first) NewLine(out, style, depth);
      out += ']';
      break;
    }
    case Json::value_t::string:
      style.text(out, value.get_ref<const std::string&>());
      break;
    case Json::value_t::boolean:
      out += value.get<bool>() ? style.yes : style.no;
      break;
    case Json::value_t::number_integer:
      out += std::to_string(value.get<int64_t>());
      break;
    case Json::value_t::number_unsigned:
      out += std::to_string(value.get<uint64_t>());
      break;
    case Json::value_t::number_float:
      style.number(out, value.get<double>());
      break;
    default:
      out += style.nothing;
  }
}

}  // namespace

void WriteJson(std::string& out, const Json& value, const JsonStyle& style) { Write(out, value, style, 0); }

ShortestDigits ShortestDigitsOf(double number) {
  std::array<char, 40> buffer;
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::scientific).ptr;
  const std::string_view text(buffer.data(), static_cast<size_t>(end - buffer.data()));
  const size_t e = text.find('e');
  ShortestDigits shortest;
  for (const char c : text.substr(0, e)) {
    if (c == '-') {
      shortest.sign = "-";
    } else if (c != '.') {
      shortest.digits += c;
    }
  }
  shortest.point = std::stoi(std::string(text.substr(e + 1))) + 1;
  return shortest;
}

std::string FixedText(const ShortestDigits& number) {
  const auto count = static_cast<int>(number.digits.size());
  if (number.point <= 0)
    return number.sign + "0." + std::string(static_cast<size_t>(-number.point), '0') + number.digits;
  if (number.point >= count)
    return number.sign + number.digits + std::string(static_cast<size_t>(number.point - count), '0');
  const auto at = static_cast<size_t>(number.point);
  return number.sign + number.digits.substr(0, at) + "." + number.digits.substr(at);
}

std::string ExponentText(const ShortestDigits& number, int exponent_digits) {
  std::string out = number.sign + number.digits.substr(0, 1);
  if (number.digits.size() > 1) out += "." + number.digits.substr(1);
  std::string exponent = std::to_string(std::abs(number.point - 1));
  if (exponent.size() < static_cast<size_t>(exponent_digits)) exponent.insert(exponent.begin(), '0');
  return out + (number.point < 1 ? "e-" : "e+") + exponent;
}

void AppendHex(std::string& out, uint32_t value, int count) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (int shift = 4 * (count - 1); shift >= 0; shift -= 4) out += kDigits[(value >> shift) & 15];
}

}  // namespace atelier
