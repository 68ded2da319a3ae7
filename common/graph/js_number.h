// JavaScript's numbers: all doubles, printed with the shortest digits.
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

}  // namespace atelier
