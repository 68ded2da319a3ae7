// Owners of OpenSSL's objects. Used by this module only.
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

namespace atelier {

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
template <typename T, auto Free>
using Owned = std::unique_ptr<T, Freer<Free>>;
using BioPtr = Owned<BIO, BIO_free_all>;
using KeyPtr = Owned<EVP_PKEY, EVP_PKEY_free>;
using CertificatePtr = Owned<X509, X509_free>;
using RequestPtr = Owned<X509_REQ, X509_REQ_free>;

/// Null for what is no PEM of that kind. Thread: any.
KeyPtr ParseKey(std::string_view pem);
CertificatePtr ParseCertificate(std::string_view pem);
std::string PrintKey(EVP_PKEY* key);
std::string PrintCertificate(X509* certificate);
/// SHA-256 of the DER form, in hex. Thread: any.
std::string CertificateDigest(X509* certificate);

}  // namespace atelier
