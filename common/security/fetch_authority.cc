#include <netdb.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "common/files/files.h"
#include "common/security/authority.h"
#include "common/security/openssl.h"

namespace atelier {
namespace {

// A socket connected to HOST:PORT whose reads and writes end after `seconds`; invalid when nobody is there.
UniqueFd Dial(const std::string& address, int seconds) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (colon == std::string::npos || getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found) != 0)
    return {};
  const Owned<addrinfo, freeaddrinfo> owner(found);
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    UniqueFd fd(socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, one->ai_protocol));
    const timeval limit{seconds, 0};
    if (!fd.valid()) continue;
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd.get(), one->ai_addr, one->ai_addrlen) == 0) return fd;
  }
  return {};
}

}  // namespace

StatusOr<std::string> FetchAuthority(const std::string& address, const std::string& fingerprint, int seconds) {
  static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  const UniqueFd fd = Dial(address, seconds);
  if (!fd.valid())
    return Unavailable("no master answers at ", address, "; start it, or correct the address of the join command");
  const Owned<SSL_CTX, SSL_CTX_free> context(SSL_CTX_new(TLS_client_method()));
  const Owned<SSL, SSL_free> ssl(context == nullptr ? nullptr : SSL_new(context.get()));
  if (ssl == nullptr) return Internal("no TLS connection can be made");
  SSL_set_verify(ssl.get(), SSL_VERIFY_NONE, nullptr);  // the fingerprint is looked for instead
  SSL_set_alpn_protos(ssl.get(), kHttp2, sizeof kHttp2);
  // SSL_set_tlsext_host_name, without its cast
  SSL_ctrl(ssl.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, const_cast<char*>(kMasterName));
  if (SSL_set_fd(ssl.get(), fd.get()) != 1 || SSL_connect(ssl.get()) != 1)
    return Unavailable("what answers at ", address,
                       " does not speak TLS; a master outside loopback does once `atelier-master init` was run there");
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl.get());
  for (int i = 0; chain != nullptr && i < sk_X509_num(chain); ++i)
    if (X509* one = sk_X509_value(chain, i); CertificateDigest(one) == fingerprint) return PrintCertificate(one);
  return FailedPrecondition("the master at ", address,
                            " is not the one that made this token: its authority has another fingerprint; take a token "
                            "from the master that answers there, or correct the address");
}

}  // namespace atelier
