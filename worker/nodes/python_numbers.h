// Python's arithmetic on floats, to the last bit.
#pragma once

#include <cstdint>

namespace atelier::nodes {

/// x // y. REQUIRES: y is not 0. Thread: any.
double PythonFloorDivide(double x, double y);

/// x % y, which has the sign of y. REQUIRES: y is not 0. Thread: any.
double PythonModulo(double x, double y);

/// round(x, digits): the exact decimal value of x is rounded, halves to even; below 0 digits before the point. Thread:
/// any.
double PythonRound(double x, int64_t digits);

}  // namespace atelier::nodes
