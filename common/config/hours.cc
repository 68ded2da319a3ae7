#include "common/config/hours.h"

#include <algorithm>
#include <array>
#include <ctime>

namespace atelier {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
constexpr int kDayMinutes = 24 * 60;

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// The two sides of the only `mark`, or twice the whole.
std::pair<std::string_view, std::string_view> Split(std::string_view text, char mark) {
  const size_t at = text.find(mark);
  if (at == std::string_view::npos) return {text, text};
  return {Trim(text.substr(0, at)), Trim(text.substr(at + 1))};
}

int Day(std::string_view text) {
  const auto at = std::find(kDays.begin(), kDays.end(), text);
  return at == kDays.end() ? -1 : static_cast<int>(at - kDays.begin());
}

// HH:MM as minutes, to 24:00; -1 when it is none.
int Minute(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return -1;
  for (const size_t i : {0, 1, 3, 4})
    if (text[i] < '0' || text[i] > '9') return -1;
  const int hour = (text[0] - '0') * 10 + text[1] - '0', minute = (text[3] - '0') * 10 + text[4] - '0';
  return minute < 60 && hour * 60 + minute <= kDayMinutes ? hour * 60 + minute : -1;
}

}  // namespace

StatusOr<Hours> Hours::Parse(std::string_view text) {
  Hours hours;
  while (!Trim(text).empty()) {
    const size_t comma = text.find(',');
    const std::string_view part = Trim(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    Range range;
    const size_t space = part.rfind(' ');
    if (space != std::string_view::npos) {
      const auto [first, last] = Split(Trim(part.substr(0, space)), '-');
      range.first_day = Day(first);
      range.last_day = Day(last);
    }
    const auto [begin, end] = Split(space == std::string_view::npos ? part : part.substr(space + 1), '-');
    range.begin = Minute(begin);
    range.end = Minute(end);
    if (range.first_day < 0 || range.last_day < 0 || range.begin < 0 || range.end < 0 || range.begin == range.end ||
        range.begin == kDayMinutes)
      return InvalidArgument("\"", part,
                             "\" is no range of hours, expected for example \"22:00-07:00\" or \"mon-fri "
                             "19:00-08:00, sat-sun 00:00-24:00\"");
    hours.ranges_.push_back(range);
  }
  return hours;
}

bool Hours::Contain(int weekday, int minute) const {
  if (ranges_.empty()) return true;
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    const auto on = [&](int day) {
      return range.first_day <= range.last_day ? day >= range.first_day && day <= range.last_day
                                               : day >= range.first_day || day <= range.last_day;
    };
    if (range.begin < range.end) return on(weekday) && minute >= range.begin && minute < range.end;
    return (on(weekday) && minute >= range.begin) || (on((weekday + 6) % 7) && minute < range.end);
  });
}

bool AreNow(const Hours& hours) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return hours.Contain((local.tm_wday + 6) % 7, local.tm_hour * 60 + local.tm_min);
}

}  // namespace atelier
