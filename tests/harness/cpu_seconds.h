// CPU seconds, since other work on the machine is not ours, and how much longer than an optimised build this one may
// take.
#pragma once

#include <ctime>

namespace atelier {

inline double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
inline constexpr double kSlower = 1;
#else
inline constexpr double kSlower = 30;
#endif

}  // namespace atelier
