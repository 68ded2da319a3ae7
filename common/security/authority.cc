#include "common/security/authority.h"

#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "common/security/openssl.h"

namespace atelier {
namespace {

constexpr int64_t kAuthoritySeconds = int64_t{10} * 365 * 86'400;
constexpr int64_t kBackdateSeconds = 600;  // clocks differ
using StorePtr = Owned<X509_STORE, X509_STORE_free>;
using CheckPtr = Owned<X509_STORE_CTX, X509_STORE_CTX_free>;

bool AddName(X509_NAME* name, int nid, const std::string& text) {
  return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(text.data()),
                                    static_cast<int>(text.size()), -1, 0) == 1;
}

bool AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Owned<X509_EXTENSION, X509_EXTENSION_free> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// A certificate without its subject, extensions and signature.
CertificatePtr NewCertificate(EVP_PKEY* key, int64_t seconds) {
  CertificatePtr made(X509_new());
  const int64_t now = std::time(nullptr);
  // A short life begins later, so that half of it is not over at once.
  const int64_t begins =
      now + std::min<int64_t>(seconds, 0) - (seconds > 0 ? std::min(seconds / 10, kBackdateSeconds) : 1);
  const Owned<BIGNUM, BN_free> serial(BN_new());
  if (made == nullptr || serial == nullptr || X509_set_version(made.get(), 2) != 1 ||
      BN_rand(serial.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1 ||
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(made.get())) == nullptr ||
      ASN1_TIME_set(X509_getm_notBefore(made.get()), begins) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(made.get()), now + seconds) == nullptr || X509_set_pubkey(made.get(), key) != 1)
    return nullptr;
  return made;
}

}  // namespace

struct Authority::Parts {
  KeyPtr key;
  CertificatePtr certificate;
  StorePtr store;
  std::string pem, fingerprint;

  static StatusOr<std::unique_ptr<Parts>> Make(KeyPtr key, CertificatePtr certificate) {
    auto parts = std::make_unique<Parts>();
    parts->store.reset(X509_STORE_new());
    if (key == nullptr || certificate == nullptr || X509_check_private_key(certificate.get(), key.get()) != 1 ||
        parts->store == nullptr || X509_STORE_add_cert(parts->store.get(), certificate.get()) != 1)
      return DataLoss("key and certificate of the authority are missing or do not belong together");
    parts->pem = PrintCertificate(certificate.get());
    parts->fingerprint = CertificateDigest(certificate.get());
    parts->key = std::move(key);
    parts->certificate = std::move(certificate);
    return parts;
  }

  // Signs `certificate` as this authority's for `usage`, with `other` (alternative name) if it is not null.
  StatusOr<std::string> Finish(CertificatePtr made, const char* usage, const char* other) const {
    X509* issuer = certificate.get();
    if (X509_set_issuer_name(made.get(), X509_get_subject_name(issuer)) != 1 ||
        !AddExtension(made.get(), issuer, NID_basic_constraints, "critical,CA:FALSE") ||
        !AddExtension(made.get(), issuer, NID_key_usage, "critical,digitalSignature") ||
        !AddExtension(made.get(), issuer, NID_ext_key_usage, usage) ||
        !AddExtension(made.get(), issuer, NID_authority_key_identifier, "keyid:always") ||
        (other != nullptr && !AddExtension(made.get(), issuer, NID_subject_alt_name, other)) ||
        X509_sign(made.get(), key.get(), EVP_sha256()) == 0)
      return Internal("a certificate could not be signed");
    return PrintCertificate(made.get());
  }
};

Authority::Authority(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Authority::Authority(Authority&&) noexcept = default;
Authority& Authority::operator=(Authority&&) noexcept = default;
Authority::~Authority() = default;
const std::string& Authority::certificate() const { return parts_->pem; }
const std::string& Authority::fingerprint() const { return parts_->fingerprint; }

StatusOr<Authority> Authority::Create() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) return Internal("no key could be made");
  CertificatePtr made = NewCertificate(key.get(), kAuthoritySeconds);
  if (made == nullptr) return Internal("no certificate could be made");
  X509_NAME* subject = X509_get_subject_name(made.get());
  if (!AddName(subject, NID_organizationName, "atelier") ||
      !AddName(subject, NID_commonName, "authority " + RandomHex(4)) ||
      X509_set_issuer_name(made.get(), subject) != 1 ||
      !AddExtension(made.get(), made.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !AddExtension(made.get(), made.get(), NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !AddExtension(made.get(), made.get(), NID_subject_key_identifier, "hash") ||
      X509_sign(made.get(), key.get(), EVP_sha256()) == 0)
    return Internal("the authority's certificate could not be signed");
  ASSIGN_OR_RETURN(std::unique_ptr<Parts> parts, Parts::Make(std::move(key), std::move(made)));
  return Authority(std::move(parts));
}

StatusOr<Authority> Authority::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadSecretFile(path));
  StatusOr<std::unique_ptr<Parts>> parts = Parts::Make(ParseKey(text), ParseCertificate(text));
  if (!parts.ok()) return Annotate(parts.status(), path);
  return Authority(std::move(*parts));
}

Status Authority::Save(const std::string& path) const {
  return WriteSecretFile(path, PrintKey(parts_->key.get()) + parts_->pem);
}

StatusOr<std::string> Authority::Sign(std::string_view request, const IdentityInfo& info, int64_t seconds) const {
  const BioPtr bio(BIO_new_mem_buf(request.data(), static_cast<int>(request.size())));
  const RequestPtr parsed(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  EVP_PKEY* key = parsed == nullptr ? nullptr : X509_REQ_get0_pubkey(parsed.get());
  if (key == nullptr || EVP_PKEY_get_base_id(key) != EVP_PKEY_EC || EVP_PKEY_get_bits(key) != 256 ||
      X509_REQ_verify(parsed.get(), key) != 1)
    return InvalidArgument("this is no certificate signing request of an EC P-256 key");
  if (!IsIdentityName(info.name))
    return InvalidArgument("the name \"", info.name.substr(0, 80),
                           "\" cannot stand in a certificate; expected 1 to 64 letters, digits, '.', '_' or '-'");
  CertificatePtr made = NewCertificate(key, seconds);
  X509_NAME* subject = made == nullptr ? nullptr : X509_get_subject_name(made.get());
  if (subject == nullptr || !AddName(subject, NID_commonName, info.name) ||
      !AddName(subject, NID_organizationalUnitName, std::string(RoleName(info.role))) ||
      !AddName(subject, NID_serialNumber, info.id))
    return Internal("no certificate could be made");
  if (info.role != Role::kWorker) return parts_->Finish(std::move(made), "clientAuth", nullptr);
  // Workers give chunks of models to one another.
  return parts_->Finish(std::move(made), "clientAuth,serverAuth", Cat("DNS:", kWorkerName).c_str());
}

StatusOr<Identity> Authority::Issue(const IdentityInfo& info, int64_t seconds) const {
  Identity identity;
  ASSIGN_OR_RETURN(identity.key, NewKey());
  ASSIGN_OR_RETURN(const std::string request, NewRequest(identity.key, info.name));
  ASSIGN_OR_RETURN(identity.certificate, Sign(request, info, seconds));
  identity.authority = parts_->pem;
  return identity;
}

StatusOr<Identity> Authority::IssueServer() const {
  Identity identity;
  ASSIGN_OR_RETURN(identity.key, NewKey());
  const KeyPtr key = ParseKey(identity.key);
  CertificatePtr made = NewCertificate(key.get(), kAuthoritySeconds);
  if (made == nullptr || X509_set1_notAfter(made.get(), X509_get0_notAfter(parts_->certificate.get())) != 1 ||
      !AddName(X509_get_subject_name(made.get()), NID_commonName, kMasterName))
    return Internal("no certificate could be made");
  ASSIGN_OR_RETURN(identity.certificate,
                   parts_->Finish(std::move(made), "serverAuth", Cat("DNS:", kMasterName).c_str()));
  identity.authority = parts_->pem;
  return identity;
}

StatusOr<IdentityInfo> Authority::Verify(std::string_view certificate, int64_t now_unix) const {
  const CertificatePtr parsed = ParseCertificate(certificate);
  const CheckPtr check(X509_STORE_CTX_new());
  if (parsed == nullptr || check == nullptr ||
      X509_STORE_CTX_init(check.get(), parts_->store.get(), parsed.get(), nullptr) != 1)
    return MakeStatus(StatusCode::kUnauthenticated, "this is no certificate");
  X509_STORE_CTX_set_purpose(check.get(), X509_PURPOSE_SSL_CLIENT);
  X509_STORE_CTX_set_time(check.get(), 0, now_unix);
  if (X509_verify_cert(check.get()) != 1) {
    switch (const int error = X509_STORE_CTX_get_error(check.get()); error) {
      case X509_V_ERR_CERT_HAS_EXPIRED:
        return MakeStatus(StatusCode::kUnauthenticated,
                          "this certificate has expired; join again with a new token (`atelier-master token`)");
      case X509_V_ERR_CERT_NOT_YET_VALID:
        return MakeStatus(StatusCode::kUnauthenticated, "this certificate is not good yet; set the clocks right");
      case X509_V_ERR_INVALID_PURPOSE:
        return MakeStatus(StatusCode::kUnauthenticated, "this certificate is not that of a client");
      default:
        return MakeStatus(StatusCode::kUnauthenticated,
                          "this certificate is of another authority; join with a token of this master (",
                          X509_verify_cert_error_string(error), ")");
    }
  }
  StatusOr<IdentityInfo> info = ReadCertificate(certificate);
  if (!info.ok()) return MakeStatus(StatusCode::kUnauthenticated, Message(info.status()));
  return info;
}

}  // namespace atelier
