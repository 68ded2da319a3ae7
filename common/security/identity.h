// Who a process is: a private key and a certificate of the cluster's authority, in one file that nobody else may read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace atelier {

/// What an identity may do; which method asks for which role stands in master/gateway/access.cc.
enum class Role { kWorker, kOperator, kViewer };

/// "worker", "operator", "viewer". Thread: any.
std::string_view RoleName(Role role);
/// Errors: INVALID_ARGUMENT for another word. Thread: any.
StatusOr<Role> ParseRole(std::string_view word);

/// Whether it can stand in a certificate: 1 to 64 letters, digits, '.', '_' or '-'. Thread: any.
bool IsIdentityName(std::string_view name);

/// What a certificate says.
struct IdentityInfo {
  std::string name;
  Role role = Role::kViewer;
  std::string id;  // 32 hex digits; stays the same when the certificate is renewed, so revoking it revokes them all
  int64_t begins_unix = 0;
  int64_t ends_unix = 0;
  bool serves = false;  // a worker's that may also stand for kWorkerName; those of before 0.1's last change may not
  /// Half of its life is over.
  bool RenewalDue(int64_t now_unix) const { return now_unix >= begins_unix + (ends_unix - begins_unix) / 2; }
  bool Expired(int64_t now_unix) const { return now_unix >= ends_unix; }
};

/// All parts are PEM. One file holds them, so a renewal replaces key and certificate at one instant.
struct Identity {
  std::string key;
  std::string certificate;
  std::string authority;   // the certificate of the authority that both sides trust
  std::string token_hash;  // of the token that it was got with, "": of none; so a restart does not try it again
};

/// The name under which a master proves itself, whatever address it is reached by.
inline constexpr const char* kMasterName = "atelier-master";
/// The name under which a worker proves itself to other workers.
inline constexpr const char* kWorkerName = "atelier-worker";

/// Reads a certificate; whether it is genuine is Authority::Verify's to say. Errors: INVALID_ARGUMENT. Thread: any.
StatusOr<IdentityInfo> ReadCertificate(std::string_view certificate);
/// SHA-256 of the certificate's bytes, 64 hex digits. Errors: INVALID_ARGUMENT. Thread: any.
StatusOr<std::string> Fingerprint(std::string_view certificate);

/// A new EC P-256 private key. Errors: INTERNAL. Thread: any.
StatusOr<std::string> NewKey();
/// A certificate signing request of `key` for `name`; only the key in it matters to the master. Errors:
/// INVALID_ARGUMENT (no such key). Thread: any.
StatusOr<std::string> NewRequest(std::string_view key, const std::string& name);
/// `bytes` random bytes as hex digits, from the system's generator. Thread: any.
std::string RandomHex(int bytes);

/// Puts `bytes` into a file that only its owner may read (0600), as a whole: temporary name, fsync, rename, fsync of
/// the folder. Folders that are not there are made for the owner alone (0700). Errors: those of WriteFileAtomic.
/// Thread: any.
Status WriteSecretFile(const std::string& path, std::string_view bytes);
/// Reads such a file. Errors: NOT_FOUND; FAILED_PRECONDITION when others may read it. Thread: any.
StatusOr<std::string> ReadSecretFile(const std::string& path);
/// The same of a whole identity. Errors beside: DATA_LOSS when parts are missing. Thread: any.
StatusOr<Identity> LoadIdentity(const std::string& path);
Status SaveIdentity(const std::string& path, const Identity& identity);

/// Where the identity for the master at `address` lies: $ATELIER_IDENTITY_DIR, else $STATE_DIRECTORY/identity
/// (systemd), else $XDG_STATE_HOME/atelier/identity, else ~/.local/state/atelier/identity; the file is ADDRESS.pem, of
/// a worker NAME@ADDRESS.pem. Thread: any that does not race setenv.
std::string IdentityPath(const std::string& address, const std::string& worker = "");

/// Whether HOST:PORT can be reached from this machine alone: localhost, 127.0.0.0/8, ::1. Thread: any.
bool IsLoopback(std::string_view address);

/// What a join command carries: whom to trust, and the secret that is good for one certificate.
struct JoinToken {
  std::string fingerprint;  // of the authority, 64 hex digits
  std::string secret;       // 40 hex digits
};
/// "FINGERPRINT.SECRET". Thread: any.
std::string PrintToken(const JoinToken& token);
/// Surrounding blanks are ignored. Errors: INVALID_ARGUMENT, which does not repeat the text. Thread: any.
StatusOr<JoinToken> ParseToken(std::string_view text);
/// What is stored in the place of a secret. Thread: any.
std::string HashSecret(std::string_view secret);

/// The variable that a join command hands the token over in: unlike an argument, other users cannot see it.
inline constexpr const char* kTokenVariable = "ATELIER_JOIN_TOKEN";
/// The token as it was given: `argument` if it is not empty, else the first line of `file` ("-": stdin) if that is not
/// empty, else $ATELIER_JOIN_TOKEN, which is then removed from the environment; "" when there is none. Errors: those
/// of reading the file. Thread: before others start.
StatusOr<std::string> TakeToken(const std::string& argument, const std::string& file);

}  // namespace atelier
