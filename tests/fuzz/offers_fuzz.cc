#include <algorithm>
#include <cstdlib>

#include "common/discovery/discovery.h"
#include "tests/fuzz/fuzz.h"

namespace atelier::fuzz {

std::vector<std::string> Seeds() {
  return {
      "+;eth0;IPv4;studio;_atelier._tcp;local\n=;eth0;IPv4;studio\\032two\\\\;_atelier._tcp;local;h.local;"
      "192.168.1.5;50188;\"version=1\" \"fingerprint="
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n",
      "=;e;IPv6;n;_atelier._tcp;local;h;2001:db8::1;1;\"fingerprint="
      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
      ";;;;;;;;;;\n", ""};
}

}  // namespace atelier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const atelier::Offer& offer : atelier::ParseOffers({reinterpret_cast<const char*>(data), size})) {
    const auto plain = [](char c) { return c >= ' ' && c < 127; };
    if (!std::all_of(offer.name.begin(), offer.name.end(), plain) || offer.fingerprint.size() != 64 ||
        !std::all_of(offer.address.begin(), offer.address.end(), plain))
      std::abort();
  }
  return 0;
}
