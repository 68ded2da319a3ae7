// Text that the editor replaces as it sends a prompt: choices, comments, dates.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace atelier {

/// Local time for %date:...% in file names, handed in so that conversion reads no clock.
struct ClockTime {
  int year = 1970, month = 1, day = 1;  // month and day from 1
  int hour = 0, minute = 0, second = 0;
};

/// The date in a form of yyyy, yy, MM, M, dd, d, hh, h, mm, m, ss, s; other characters stay. Thread: any.
std::string FormatDate(std::string_view format, const ClockTime& now);

/// {a|b} chosen with `seed`, comments stripped, CRLF to LF, escapes resolved. Source: spec engine.md 1.3. Thread: any.
std::string ResolveDynamicPrompt(std::string_view text, uint64_t& random_state);

}  // namespace atelier
