// Programs in the place of Avahi's.
#pragma once

#include <string>

#include "common/base/status.h"
#include "tests/harness/fake_programs.h"

namespace atelier::test {

class FakeAvahi : public FakePrograms {
 public:
  void SetOffer(const std::string& address, const std::string& fingerprint) const {
    const size_t colon = address.rfind(':');
    Set("avahi-browse", Cat("echo '=;lo;IPv4;Atelier;_atelier._tcp;local;h.local;", address.substr(0, colon), ";",
                            address.substr(colon + 1), ";\"fingerprint=", fingerprint, "\"'"));
  }
};

}  // namespace atelier::test
