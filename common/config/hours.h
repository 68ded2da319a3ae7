// Times of the week, as "22:00-07:00" or "mon-fri 19:00-08:00, sat-sun 00:00-24:00".
#pragma once

#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace atelier {

/// Thread: any, when constant.
class Hours {
 public:
  /// Ranges HH:MM-HH:MM, each behind the days on which it begins (mon ... sun, or mon-fri; none: all of them). One that
  /// ends before it begins goes on into the next day. "": always. Errors: INVALID_ARGUMENT with the faulty part.
  static StatusOr<Hours> Parse(std::string_view text);
  /// `weekday` 0 (Monday) to 6, `minute` of the day 0 to 1439.
  bool Contain(int weekday, int minute) const;

 private:
  struct Range {
    int first_day = 0, last_day = 6;  // may wrap around the end of the week
    int begin = 0, end = 0;           // minutes; end <= begin: of the next day
  };
  std::vector<Range> ranges_;  // none: always
};

/// Now, in this machine's time zone. Thread: any.
bool AreNow(const Hours& hours);

}  // namespace atelier
