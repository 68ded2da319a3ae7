#include "worker/nodes/python_numbers.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace atelier::nodes {
namespace {

// Beyond these, Python leaves a float as it is, or gives 0.
constexpr int64_t kDigitsMax = 323;
constexpr int64_t kDigitsMin = -308;

}  // namespace

double PythonFloorDivide(double x, double y) {
  const double rest = std::fmod(x, y);
  double quotient = (x - rest) / y;
  if (rest != 0.0 && (rest < 0) != (y < 0)) quotient -= 1.0;
  if (quotient == 0.0) return std::copysign(0.0, x / y);
  const double whole = std::floor(quotient);  // it is whole but for the division's rounding
  return quotient - whole > 0.5 ? whole + 1.0 : whole;
}

double PythonModulo(double x, double y) {
  const double rest = std::fmod(x, y);
  if (rest == 0.0) return std::copysign(0.0, y);
  return (rest < 0) != (y < 0) ? rest + y : rest;
}

double PythonRound(double x, int64_t digits) {
  if (!std::isfinite(x) || digits > kDigitsMax) return x;
  if (digits < kDigitsMin) return std::copysign(0.0, x);
  char text[700];  // 309 digits before the point, 323 behind it
  if (digits >= 0) {
    std::snprintf(text, sizeof text, "%.*f", static_cast<int>(digits), x);
    return std::strtod(text, nullptr);
  }
  std::snprintf(text, sizeof text, "%.17e", x);
  const int64_t exponent = std::strtol(std::strchr(text, 'e') + 1, nullptr, 10);
  const int64_t kept = exponent + 1 + digits;
  if (kept <= 0) {
    std::snprintf(text, sizeof text, "1e%d", static_cast<int>(-digits));
    const double unit = std::strtod(text, nullptr);
    return std::copysign(kept == 0 && std::abs(x) > unit / 2 ? unit : 0.0, x);
  }
  std::snprintf(text, sizeof text, "%.*e", static_cast<int>(kept) - 1, x);
  return std::strtod(text, nullptr);
}

}  // namespace atelier::nodes
