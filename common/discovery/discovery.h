// Masters of the local network by DNS-SD (service type _atelier._tcp), through Avahi's own programs:
// avahi-publish-service and avahi-browse of Debian's avahi-utils. What is found is an offer of whoever answered; only a
// token proves a master.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace atelier {

/// One master as it offers itself. Every text is plain: letters, digits and a few signs.
struct Offer {
  std::string name;
  std::string address;      // HOST:PORT
  std::string fingerprint;  // of its authority, 64 hex digits
  bool operator==(const Offer&) const = default;
};

/// Reads what `avahi-browse --resolve --parsable` prints; lines that are no proper offer are left out. At most 256, by
/// name, each once. Thread: any.
std::vector<Offer> ParseOffers(std::string_view printed);

/// Asks the local network. Errors: FAILED_PRECONDITION (avahi-utils is not installed), UNAVAILABLE (no Avahi daemon
/// runs, or it does not answer within 10 s). Thread: any.
StatusOr<std::vector<Offer>> DiscoverMasters();

/// The table of offers, with what they are worth. Thread: any.
std::string OffersText(const std::vector<Offer>& offers);

/// Offers a master for as long as this lives. Thread: one at a time.
class Publisher {
 public:
  Publisher(std::string name, uint16_t port, const std::string& fingerprint);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;
  /// Starts Avahi's program where it does not run, at most each 30 s. Call now and then. Errors, told once each:
  /// FAILED_PRECONDITION (it is not installed, or ended).
  Status Tick();

 private:
  const std::vector<std::string> command_;
  pid_t pid_ = -1;
  int64_t next_ms_ = 0;
  std::string told_;
};

}  // namespace atelier
