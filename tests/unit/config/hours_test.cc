#include "common/config/hours.h"

#include <catch2/catch.hpp>

namespace atelier {
namespace {

bool At(const char* text, int weekday, int hour, int minute = 0) {
  const auto hours = Hours::Parse(text);
  INFO(text << ": " << Message(hours.status()));
  REQUIRE(hours.ok());
  return hours->Contain(weekday, hour * 60 + minute);
}

TEST_CASE("hours of the day and of the week") {
  CHECK(At("", 0, 12));
  CHECK(At("09:00-17:30", 3, 9));
  CHECK(At("09:00-17:30", 3, 17, 29));
  CHECK_FALSE(At("09:00-17:30", 3, 17, 30));
  CHECK(At("22:00-07:00", 6, 23));
  CHECK(At("22:00-07:00", 0, 6, 59));
  CHECK_FALSE(At("22:00-07:00", 0, 7));
  // A night belongs to the day on which it begins.
  const char* week = "mon-fri 19:00-08:00, sat-sun 00:00-24:00";
  CHECK(At(week, 4, 20));
  CHECK(At(week, 5, 3));
  CHECK(At(week, 6, 23, 59));
  CHECK_FALSE(At(week, 0, 3));
  CHECK_FALSE(At(week, 0, 12));
  CHECK(At("sat-mon 10:00-11:00", 0, 10));
  CHECK_FALSE(At("sat-mon 10:00-11:00", 1, 10));
  CHECK(At("sun 23:00-01:00", 0, 0, 30));
}

TEST_CASE("what is no range of hours is refused with the faulty part") {
  for (const char* text : {"9:00-17:00", "09:00", "09:00-25:00", "10:60-11:00", "10:00-10:00", "day 10:00-11:00",
                           "mon-xxx 10:00-11:00", "24:00-01:00", "10:00-11:00,,12:00-13:00", "-", "mon "}) {
    INFO(text);
    CHECK_FALSE(Hours::Parse(text).ok());
  }
  CHECK(Message(Hours::Parse("10:00-11:00, noon").status()).find("\"noon\" is no range") == 0);
}

}  // namespace
}  // namespace atelier
