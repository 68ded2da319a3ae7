// What lets one worker take one chunk of a model from another for a while: the master, which has the giver's key,
// makes it; the giver checks it. The key itself stays with the two.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace atelier {

/// How long a ticket is good, by the clocks of master and giver; a worker that was forgotten gets no other.
inline constexpr int64_t kPeerTicketSeconds = 900;

/// Of `taker` (a worker's name) for chunk `index` of the file with this hash. Thread: any.
std::string MakePeerTicket(std::string_view key, std::string_view taker, std::string_view hash, uint32_t index,
                           int64_t ends_unix);
/// Errors: PERMISSION_DENIED, which says whether it is out of date or of something else. Thread: any.
Status CheckPeerTicket(std::string_view ticket, std::string_view key, std::string_view taker, std::string_view hash,
                       uint32_t index, int64_t now_unix);

}  // namespace atelier
