// JSON as JavaScript has and prints it: all numbers are doubles, printed with the shortest digits.
#pragma once

#include <string>

#include "common/json/json.h"

namespace atelier {

/// String(number) of JavaScript: "1", "0.1", "18446744073709552000", "1e+21". Thread: any.
std::string JsNumberText(double number);

/// A number as JavaScript reads and prints it again: integers beyond 2^53 take the value of their shortest digits, 1.0
/// is 1, -0.0 is 0. Beyond 64 bits it stays a double. Thread: any.
Json JsNumber(const Json& number);

/// JsNumber() of every number inside. Thread: any.
Json JsNumbers(const Json& value);

/// String(value) of JavaScript: text as it is, arrays joined by commas, "[object Object]". Thread: any.
std::string JsText(const Json& value);

/// As JavaScript's JSON.stringify(value, null, indent): 1.0 is 1, 1e20 is 100000000000000000000. indent 0: one line.
/// Thread: any.
std::string DumpJsonJs(const Json& value, int indent = 0);

}  // namespace atelier
