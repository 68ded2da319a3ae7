// The cluster's own certificate authority: EC P-256, self-signed, made by `atelier-master init`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/security/identity.h"

namespace atelier {

/// Signs and checks certificates. Thread: any.
class Authority {
 public:
  /// A new one, good for ten years. Errors: INTERNAL.
  static StatusOr<Authority> Create();
  /// From its file (key and certificate). Errors: NOT_FOUND, FAILED_PRECONDITION (others may read it), DATA_LOSS.
  static StatusOr<Authority> Load(const std::string& path);
  Status Save(const std::string& path) const;

  Authority(Authority&&) noexcept;
  Authority& operator=(Authority&&) noexcept;
  ~Authority();

  const std::string& certificate() const;
  const std::string& fingerprint() const;

  /// A certificate for the key of `request` (PEM), with this name, role and id, good for `seconds` from now and
  /// for up to ten minutes before (clocks differ). Of the request only the key is taken, and that its owner has it is
  /// checked. A worker's also proves kWorkerName, as a server. Errors: INVALID_ARGUMENT.
  StatusOr<std::string> Sign(std::string_view request, const IdentityInfo& info, int64_t seconds) const;
  /// A new key with its certificate.
  StatusOr<Identity> Issue(const IdentityInfo& info, int64_t seconds) const;
  /// The master's own: it proves kMasterName and is no identity of a client. Good as long as the authority.
  StatusOr<Identity> IssueServer() const;

  /// Whether this authority made the certificate for a client and it is good at this time; what it says. Errors:
  /// UNAUTHENTICATED with the reason (another authority, expired, not yet good).
  StatusOr<IdentityInfo> Verify(std::string_view certificate, int64_t now_unix) const;

 private:
  struct Parts;
  explicit Authority(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

/// The certificate with this fingerprint that the server at `address` shows, for a first contact that nothing else
/// vouches for: whoever shows it has still to prove that it belongs to it, which a TLS connection that trusts it alone
/// does. Errors: UNAVAILABLE (no answer within `seconds`), FAILED_PRECONDITION (it shows others). Thread: any.
StatusOr<std::string> FetchAuthority(const std::string& address, const std::string& fingerprint, int seconds);

}  // namespace atelier
