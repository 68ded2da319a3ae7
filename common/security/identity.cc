#include "common/security/identity.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/files/files.h"
#include "common/security/openssl.h"

namespace atelier {
namespace {

constexpr int64_t kSecretBytesMax = 64 << 10;
constexpr std::string_view kTokenLine = "Token-SHA256: ";

std::string TextOf(const BioPtr& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

BioPtr BioOf(std::string_view text) { return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

std::string NamePart(X509* certificate, int nid) {
  char text[128] = "";
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), nid, text, sizeof text);
  return size < 0 ? "" : std::string(text, static_cast<size_t>(size));
}

int64_t UnixTime(const ASN1_TIME* time) {
  std::tm parts{};
  return ASN1_TIME_to_tm(time, &parts) == 1 ? static_cast<int64_t>(timegm(&parts)) : 0;
}

bool IsHex(std::string_view text, size_t size) {
  return text.size() == size && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The part of `text` between the PEM lines that contain `what`.
std::string PemPart(const std::string& text, std::string_view what, int index) {
  size_t at = 0;
  for (int i = 0;; ++i) {
    at = text.find(Cat("-----BEGIN ", what, "-----"), at);
    if (at == std::string::npos) return "";
    const std::string end_line = Cat("-----END ", what, "-----\n");
    const size_t end = text.find(end_line, at);
    if (end == std::string::npos) return "";
    if (i == index) return text.substr(at, end + end_line.size() - at);
    at = end;
  }
}

}  // namespace

KeyPtr ParseKey(std::string_view pem) {
  return KeyPtr(PEM_read_bio_PrivateKey(BioOf(pem).get(), nullptr, nullptr, nullptr));
}
CertificatePtr ParseCertificate(std::string_view pem) {
  return CertificatePtr(PEM_read_bio_X509(BioOf(pem).get(), nullptr, nullptr, nullptr));
}
std::string PrintKey(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  ATELIER_CHECK(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return TextOf(bio);
}
std::string PrintCertificate(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  ATELIER_CHECK(PEM_write_bio_X509(bio.get(), certificate) == 1);
  return TextOf(bio);
}
std::string CertificateDigest(X509* certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  if (size <= 0) return "";
  std::string digest = Sha256Hex({reinterpret_cast<const char*>(der), static_cast<size_t>(size)});
  OPENSSL_free(der);
  return digest;
}

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kWorker:
      return "worker";
    case Role::kOperator:
      return "operator";
    case Role::kViewer:
      return "viewer";
  }
  return "viewer";
}

StatusOr<Role> ParseRole(std::string_view word) {
  for (const Role role : {Role::kWorker, Role::kOperator, Role::kViewer})
    if (word == RoleName(role)) return role;
  return InvalidArgument("the role \"", word, "\" is none of worker, operator, viewer");
}

bool IsIdentityName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

StatusOr<IdentityInfo> ReadCertificate(std::string_view certificate) {
  const CertificatePtr parsed = ParseCertificate(certificate);
  if (parsed == nullptr) return InvalidArgument("this is no certificate");
  IdentityInfo info;
  info.name = NamePart(parsed.get(), NID_commonName);
  info.id = NamePart(parsed.get(), NID_serialNumber);
  ASSIGN_OR_RETURN(info.role, ParseRole(NamePart(parsed.get(), NID_organizationalUnitName)));
  if (!IsIdentityName(info.name) || !IsHex(info.id, 32)) return InvalidArgument("this certificate is no identity");
  info.begins_unix = UnixTime(X509_get0_notBefore(parsed.get()));
  info.ends_unix = UnixTime(X509_get0_notAfter(parsed.get()));
  info.serves = info.role == Role::kWorker && X509_check_purpose(parsed.get(), X509_PURPOSE_SSL_SERVER, 0) == 1 &&
                X509_check_host(parsed.get(), kWorkerName, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, nullptr) == 1;
  return info;
}

StatusOr<std::string> Fingerprint(std::string_view certificate) {
  const CertificatePtr parsed = ParseCertificate(certificate);
  if (parsed == nullptr) return InvalidArgument("this is no certificate");
  return CertificateDigest(parsed.get());
}

StatusOr<std::string> NewKey() {
  const KeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) return Internal("no key could be made");
  return PrintKey(key.get());
}

StatusOr<std::string> NewRequest(std::string_view key, const std::string& name) {
  const KeyPtr parsed = ParseKey(key);
  const RequestPtr request(X509_REQ_new());
  if (parsed == nullptr) return InvalidArgument("this is no private key");
  X509_NAME* subject = X509_REQ_get_subject_name(request.get());
  if (X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.data()), static_cast<int>(name.size()), -1,
                                 0) != 1 ||
      X509_REQ_set_pubkey(request.get(), parsed.get()) != 1 ||
      X509_REQ_sign(request.get(), parsed.get(), EVP_sha256()) == 0)
    return InvalidArgument("no certificate can be asked for as \"", name, "\"");
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509_REQ(bio.get(), request.get()) != 1) return Internal("a request could not be written");
  return TextOf(bio);
}

std::string RandomHex(int bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string raw(static_cast<size_t>(bytes), '\0'), text;
  ATELIER_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(raw.data()), bytes) == 1);
  for (const char c : raw) {
    text += kHex[static_cast<unsigned char>(c) >> 4];
    text += kHex[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

Status WriteSecretFile(const std::string& path, std::string_view bytes) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!folder.empty() && !std::filesystem::exists(folder, error)) {
    std::filesystem::create_directories(folder.parent_path(), error);
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
      return FailedPrecondition("the folder ", folder.string(), " cannot be made: ", std::strerror(errno));
  }
  return WriteFileAtomic(path, bytes, 0600);
}

StatusOr<std::string> ReadSecretFile(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid() && errno == ENOENT) return NotFound("there is no file ", path);
  if (!fd.valid()) return FailedPrecondition("the file ", path, " cannot be read: ", std::strerror(errno));
  struct stat info {};
  if (fstat(fd.get(), &info) != 0 || (info.st_mode & 077) != 0)
    return FailedPrecondition("the file ", path,
                              " holds a secret and others may read it; chmod 600 it, or make it anew");
  return ReadFdBounded(fd.get(), path, kSecretBytesMax);
}

StatusOr<Identity> LoadIdentity(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadSecretFile(path));
  Identity identity{PemPart(text, "PRIVATE KEY", 0), PemPart(text, "CERTIFICATE", 0), PemPart(text, "CERTIFICATE", 1),
                    ""};
  if (identity.key.empty() || identity.certificate.empty() || identity.authority.empty())
    return DataLoss("the file ", path, " is no identity; remove it and join again with a new token");
  if (text.compare(0, kTokenLine.size(), kTokenLine) == 0)
    identity.token_hash = text.substr(kTokenLine.size(), text.find('\n') - kTokenLine.size());
  return identity;
}

Status SaveIdentity(const std::string& path, const Identity& identity) {
  const std::string token = identity.token_hash.empty() ? "" : Cat(kTokenLine, identity.token_hash, "\n");
  return WriteSecretFile(path, token + identity.key + identity.certificate + identity.authority);
}

std::string IdentityPath(const std::string& address, const std::string& worker) {
  std::string folder = Variable("ATELIER_IDENTITY_DIR");
  if (folder.empty()) {
    if (const std::string state = Variable("STATE_DIRECTORY"); !state.empty())
      folder = state.substr(0, state.find(':')) + "/identity";
    else if (const std::string xdg = Variable("XDG_STATE_HOME"); !xdg.empty())
      folder = xdg + "/atelier/identity";
    else
      folder = Variable("HOME") + "/.local/state/atelier/identity";
  }
  std::string name = worker.empty() ? address : worker + "@" + address;
  std::replace(name.begin(), name.end(), '/', '_');
  return Cat(folder, "/", name, ".pem");
}

bool IsLoopback(std::string_view address) {
  const size_t colon = address.rfind(':');
  std::string_view host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.find(']') - 1);
  const bool numbers = host.find_first_not_of("0123456789.") == std::string_view::npos;
  return host == "localhost" || host == "::1" || (numbers && host.substr(0, 4) == "127.");
}

std::string PrintToken(const JoinToken& token) { return Cat(token.fingerprint, ".", token.secret); }

StatusOr<JoinToken> ParseToken(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos || !IsHex(text.substr(0, dot), 64) || !IsHex(text.substr(dot + 1), 40))
    return InvalidArgument(
        "this is no token: expected 64 hex digits, a dot and 40 hex digits, as `atelier-master token` prints them");
  return JoinToken{std::string(text.substr(0, dot)), std::string(text.substr(dot + 1))};
}

std::string HashSecret(std::string_view secret) { return Sha256Hex(Cat("atelier join token ", secret)); }

StatusOr<std::string> TakeToken(const std::string& argument, const std::string& file) {
  if (!argument.empty()) return argument;
  if (file == "-") {
    std::string line;
    std::getline(std::cin, line);
    if (line.empty()) return InvalidArgument("there is no token on the standard input");
    return line;
  }
  if (!file.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadFileBounded(file, kSecretBytesMax));
    return text.substr(0, text.find('\n'));
  }
  char* variable = std::getenv(kTokenVariable);
  if (variable == nullptr) return std::string();
  std::string token = variable;
  OPENSSL_cleanse(variable, std::strlen(variable));  // also what /proc shows to this user
  unsetenv(kTokenVariable);
  return token;
}

}  // namespace atelier
