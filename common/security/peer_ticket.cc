#include "common/security/peer_ticket.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <charconv>

namespace atelier {

std::string MakePeerTicket(std::string_view key, std::string_view taker, std::string_view hash, uint32_t index,
                           int64_t ends_unix) {
  const std::string text = Cat(ends_unix, " ", hash, " ", index, " ", taker);
  std::array<unsigned char, EVP_MAX_MD_SIZE> code{};
  unsigned size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
       text.size(), code.data(), &size);
  std::string ticket = Cat(ends_unix, ".");
  for (unsigned i = 0; i < size; ++i) {
    ticket += "0123456789abcdef"[code.at(i) >> 4];
    ticket += "0123456789abcdef"[code.at(i) & 15];
  }
  return ticket;
}

Status CheckPeerTicket(std::string_view ticket, std::string_view key, std::string_view taker, std::string_view hash,
                       uint32_t index, int64_t now_unix) {
  int64_t ends = 0;
  std::from_chars(ticket.data(), ticket.data() + ticket.size(), ends);
  const std::string right = MakePeerTicket(key, taker, hash, index, ends);
  if (ticket.size() != right.size() || CRYPTO_memcmp(ticket.data(), right.data(), right.size()) != 0)
    return MakeStatus(StatusCode::kPermissionDenied, "this ticket is not the master's for \"", taker,
                      "\" and this chunk");
  if (now_unix >= ends)
    return MakeStatus(StatusCode::kPermissionDenied, "this ticket is out of date; the master gives another");
  return OkStatus();
}

}  // namespace atelier
