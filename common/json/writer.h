// What the printed forms of JSON share (json.dumps and repr() of Python, JSON.stringify of JavaScript): the walk, the
// shortest digits of a number, hexadecimal escapes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/json/json.h"

namespace atelier {

/// How values are put.
struct JsonStyle {
  std::string_view comma = ", ", colon = ": ";
  std::string_view yes = "true", no = "false", nothing = "null";
  int indent = 0;  // spaces of a level; 0: one line
  void (*text)(std::string& out, std::string_view value) = nullptr;
  void (*number)(std::string& out, double value) = nullptr;  // floats; integers are digits in every style
};

/// Appends `value`, keys in their order. Thread: any.
void WriteJson(std::string& out, const Json& value, const JsonStyle& style);

/// The fewest digits that read back as the same finite number: 0.digits times 10^point, the sign apart.
struct ShortestDigits {
  std::string sign;  // "-" or ""
  std::string digits;
  int point = 0;  // digits before the decimal point
};
ShortestDigits ShortestDigitsOf(double number);

/// "d.ddd" with the point after `point` of the digits; zeros fill up both ways. No point where no digit follows it.
std::string FixedText(const ShortestDigits& number);
/// "d.ddde+X", X of at least `exponent_digits`.
std::string ExponentText(const ShortestDigits& number, int exponent_digits);

/// Appends `count` hexadecimal digits of `value`.
void AppendHex(std::string& out, uint32_t value, int count);

}  // namespace atelier
