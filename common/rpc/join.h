// Getting, keeping and finding the identity with which a process calls its master.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/security/identity.h"

namespace atelier {

/// The addresses of "HOST:PORT,HOST:PORT"; at least one, blanks left out. Thread: any.
std::vector<std::string> SplitAddresses(const std::string& list);
/// Whether all of them are on loopback. Thread: any.
bool OnLoopback(const std::string& addresses);

/// Exchanges a token for an identity named `name`: fetches the authority that the token names, then asks over TLS that
/// trusts it alone. Nothing is stored. Errors: UNAVAILABLE; FAILED_PRECONDITION (another master answers);
/// UNAUTHENTICATED (token used, too old or unknown); ALREADY_EXISTS, INVALID_ARGUMENT (the name). Of several addresses
/// (SplitAddresses) those are asked in turn whose master is UNAVAILABLE. Thread: any.
StatusOr<Identity> Join(const std::string& addresses, const JoinToken& token, const std::string& name);

/// The same identity with a new key and certificate; of several addresses (SplitAddresses) the first master that gives
/// one. Errors: those of the last call. Thread: any.
StatusOr<Identity> Renew(const std::string& addresses, const Identity& identity);

/// What to call the master at `addresses` (SplitAddresses) with: the identity that is stored for the first of them that
/// there is one for (IdentityPath), renewed and stored again when half of
/// its life is over; null, which means no TLS, for addresses on loopback that there is none for. Errors:
/// UNAUTHENTICATED for an address outside loopback that there is none for, or when it has expired; those of
/// LoadIdentity. Thread: any.
StatusOr<std::shared_ptr<const Identity>> IdentityFor(const std::string& addresses);

}  // namespace atelier
