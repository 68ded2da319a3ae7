#include "common/discovery/discovery.h"

#include <poll.h>
#include <signal.h>

#include <catch2/catch.hpp>
#include <sstream>

#include "tests/unit/discovery/fake_avahi.h"

namespace atelier {
namespace {

const std::string kMark(64, 'a');

std::string Line(const std::string& name, const std::string& host, const std::string& port, const std::string& text) {
  return Cat("=;eth0;IPv4;", name, ";_atelier._tcp;local;h.local;", host, ";", port, ";", text, "\n");
}
std::string Fine(const std::string& name, const std::string& host = "192.168.1.5", const std::string& port = "50188") {
  return Line(name, host, port, Cat("\"version=1\" \"fingerprint=", kMark, "\""));
}

std::string ReadWhenThere(const std::string& path) {
  for (int i = 0; i < 200; ++i, poll(nullptr, 0, 50)) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    if (text.str().ends_with("\n")) return text.str();
  }
  return "";
}

TEST_CASE("offers are read, and nothing else that is printed") {
  const auto offers = ParseOffers("+;eth0;IPv4;studio;_atelier._tcp;local\n" + Fine("studio\\032two") +
                                  Fine("studio\\032two") + Fine("b", "2001:db8::1") + "garbage\n;;;;;;;;;;;\n");
  CHECK(offers == std::vector<Offer>{{"b", "[2001:db8::1]:50188", kMark}, {"studio two", "192.168.1.5:50188", kMark}});
  for (const std::string& bad :
       {Fine("x", "192.168.1.5", "0"), Fine("x", "192.168.1.5", "65536"), Fine("x", "192.168.1.5", "50188x"),
        Fine("x", "fe80::1"), Fine("x", "evil.example"), Fine("x", ""), Fine("x", "1.2.3.4\x1b[2J"),
        Line("x", "1.2.3.4", "1", "\"fingerprint=short\""), Line("x", "1.2.3.4", "1", ""),
        Line("x", "1.2.3.4", "1", Cat("\"fingerprint=", std::string(64, 'G'), "\"")), std::string("=;;;;\n"),
        std::string("=\n"), std::string(), std::string(3, '\0')}) {
    INFO(bad);
    CHECK(ParseOffers(bad).empty());
  }
  // What a terminal might obey does not come through, nor do thousands of offers or endless names.
  CHECK(ParseOffers(Fine("a\\027[2J\\\\b\\")).at(0).name == "a[2J\\b\\");
  CHECK(ParseOffers(Fine(std::string(5000, 'n'))).at(0).name.size() == 64);
  std::string many;
  for (int i = 0; i < 2000; ++i) many += Fine(Cat("n", i));
  CHECK(ParseOffers(many).size() == 256);
}

TEST_CASE("Avahi's program is asked, and its absence and failures are told") {
  const test::FakeAvahi avahi;
  avahi.SetOffer("10.0.0.1:7", kMark);
  const auto found = DiscoverMasters();
  INFO(found.status().ToString());
  REQUIRE(found.ok());
  CHECK(*found == std::vector<Offer>{{"Atelier", "10.0.0.1:7", kMark}});
  CHECK(OffersText(*found).find("10.0.0.1:7") != std::string::npos);
  CHECK(OffersText(*found).find("token") != std::string::npos);
  CHECK(OffersText({}).find("discovery.publish") != std::string::npos);
  avahi.Set("avahi-browse", "exit 1");
  CHECK(DiscoverMasters().status().code() == StatusCode::kUnavailable);
  avahi.Set("avahi-browse", "yes '=;;;;;;;;;;'");  // never ends
  CHECK(DiscoverMasters().status().code() == StatusCode::kUnavailable);
  setenv("PATH", "/nowhere", 1);
  CHECK(DiscoverMasters().status().code() == StatusCode::kFailedPrecondition);
  CHECK(Message(DiscoverMasters().status()).find("avahi-utils") != std::string::npos);
}

TEST_CASE("a master is offered as long as its publisher lives") {
  const test::FakeAvahi avahi;
  const std::string told = avahi.folder() + "/told";
  avahi.Set("avahi-publish-service", Cat("echo $$ \"$@\" > ", told, "; exec sleep 600"));
  pid_t pid = 0;
  {
    Publisher publisher("Atelier on studio", 50188, kMark);
    REQUIRE(publisher.Tick().ok());
    std::string rest;
    std::istringstream line(ReadWhenThere(told));
    line >> pid;
    std::getline(line, rest);
    CHECK(rest == Cat(" --no-fail Atelier on studio _atelier._tcp 50188 fingerprint=", kMark));
    CHECK(publisher.Tick().ok());
  }
  REQUIRE(pid > 0);
  CHECK(kill(pid, 0) != 0);
}

TEST_CASE("that no master can be offered is told once") {
  const test::FakeAvahi avahi;
  setenv("PATH", "/nowhere", 1);
  Publisher publisher("x", 1, kMark);
  Status told;
  for (int i = 0; i < 100 && told.ok(); ++i, poll(nullptr, 0, 50)) told = publisher.Tick();
  CHECK(told.code() == StatusCode::kFailedPrecondition);
  CHECK(Message(told).find("avahi-utils") != std::string::npos);
  for (int i = 0; i < 5; ++i) CHECK(publisher.Tick().ok());
}

}  // namespace
}  // namespace atelier
