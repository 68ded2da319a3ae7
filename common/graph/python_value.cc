#include "common/graph/python_value.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>

#include "common/json/writer.h"

namespace atelier {
namespace {

constexpr size_t kMaxDigits = 4300;  // Python's own limit on the digits of int(text)

std::string_view TypeName(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "NoneType";
    case Json::value_t::object:
      return "dict";
    case Json::value_t::array:
      return "list";
    case Json::value_t::string:
      return "str";
    case Json::value_t::boolean:
      return "bool";
    case Json::value_t::number_float:
      return "float";
    default:
      return "int";
  }
}

std::string_view Trim(std::string_view s) {
  const auto space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); };
  while (!s.empty() && space(s.front())) s.remove_prefix(1);
  while (!s.empty() && space(s.back())) s.remove_suffix(1);
  return s;
}

bool Digit(char c) { return c >= '0' && c <= '9'; }

// Removes underscores that stand between two digits; false when one stands elsewhere.
bool DropUnderscores(std::string_view s, std::string& out) {
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '_') {
      out += s[i];
      continue;
    }
    if (i == 0 || i + 1 == s.size() || !Digit(s[i - 1]) || !Digit(s[i + 1])) return false;
  }
  return true;
}

// An integral double as the narrowest JSON number that is exact.
Json IntegerFrom(double number) {
  if (number >= -9223372036854775808.0 && number < 9223372036854775808.0) return Json(static_cast<int64_t>(number));
  if (number >= 0 && number < 18446744073709551616.0) return Json(static_cast<uint64_t>(number));
  return Json(number);
}

StatusOr<Json> IntFromText(const std::string& text) {
  const auto fail = [&] { return InvalidArgument("invalid literal for int() with base 10: ", PythonRepr(Json(text))); };
  const std::string_view trimmed = Trim(text);
  const bool negative = !trimmed.empty() && trimmed[0] == '-';
  std::string digits;
  const size_t sign = !trimmed.empty() && (trimmed[0] == '-' || trimmed[0] == '+') ? 1 : 0;
  if (!DropUnderscores(trimmed.substr(sign), digits) || digits.empty() ||
      !std::all_of(digits.begin(), digits.end(), Digit))
    return fail();
  if (digits.size() > kMaxDigits)
    return InvalidArgument("Exceeds the limit (4300 digits) for integer string conversion: value has ", digits.size(),
                           " digits; use sys.set_int_max_str_digits() to increase the limit");
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc()) return Json((negative ? -1.0 : 1.0) * std::strtod(digits.c_str(), nullptr));
  if (!negative) return Json(number);
  if (number <= uint64_t{1} << 63) return Json(static_cast<int64_t>(~number + 1));
  return Json(-static_cast<double>(number));
}

void AppendReprString(std::string& out, std::string_view s) {
  const bool has_single = s.find('\'') != std::string_view::npos;
  const bool has_double = s.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out += quote;
  for (const char c : s) {
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == 127 || (c >= 0 && c < 32)) {
      out += "\\x";
      AppendHex(out, static_cast<uint32_t>(c), 2);
    } else {
      out += c;
    }
  }
  out += quote;
}

void AppendReprFloat(std::string& out, double number) { out += PythonFloatRepr(number); }

}  // namespace

StatusOr<Json> PythonInt(const Json& value) {
  switch (value.type()) {
    case Json::value_t::boolean:
      return Json(value.get<bool>() ? 1 : 0);
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return value;
    case Json::value_t::number_float: {
      const double number = value.get<double>();
      if (std::isnan(number)) return InvalidArgument("cannot convert float NaN to integer");
      if (std::isinf(number)) return InvalidArgument("cannot convert float infinity to integer");
      return IntegerFrom(std::trunc(number));
    }
    case Json::value_t::string:
      return IntFromText(value.get_ref<const std::string&>());
    default:
      return InvalidArgument("int() argument must be a string, a bytes-like object or a real number, not '",
                             TypeName(value), "'");
  }
}

StatusOr<double> PythonFloat(const Json& value) {
  switch (value.type()) {
    case Json::value_t::boolean:
      return value.get<bool>() ? 1.0 : 0.0;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
    case Json::value_t::number_float:
      return value.get<double>();
    case Json::value_t::string: {
      const std::string& text = value.get_ref<const std::string&>();
      const auto fail = [&] { return InvalidArgument("could not convert string to float: ", PythonRepr(value)); };
      std::string digits;
      if (!DropUnderscores(Trim(text), digits) || digits.empty()) return fail();
      const size_t sign = digits[0] == '-' || digits[0] == '+' ? 1 : 0;
      std::string word = digits.substr(sign);
      for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      const double factor = digits[0] == '-' ? -1.0 : 1.0;
      if (word == "nan") return std::nan("");
      if (word == "inf" || word == "infinity") return factor * HUGE_VAL;
      if (word.empty() || word.find_first_not_of("0123456789.e+-") != std::string::npos) return fail();
      double number = 0;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
      if (word[0] == '-' || word[0] == '+' || end != word.data() + word.size() || error == std::errc::invalid_argument)
        return fail();
      if (error == std::errc::result_out_of_range) number = std::strtod(word.c_str(), nullptr);
      return factor * number;
    }
    default:
      return InvalidArgument("float() argument must be a string or a real number, not '", TypeName(value), "'");
  }
}

bool PythonBool(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return false;
    case Json::value_t::boolean:
      return value.get<bool>();
    case Json::value_t::string:
      return !value.get_ref<const std::string&>().empty();
    case Json::value_t::array:
    case Json::value_t::object:
      return !value.empty();
    default:
      return value.get<double>() != 0;
  }
}

std::string PythonStr(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>();
  return PythonRepr(value);
}

std::string PythonRepr(const Json& value) {
  std::string out;
  JsonStyle style;
  style.yes = "True";
  style.no = "False";
  style.nothing = "None";
  style.text = AppendReprString;
  style.number = AppendReprFloat;
  WriteJson(out, value, style);
  return out;
}

}  // namespace atelier
