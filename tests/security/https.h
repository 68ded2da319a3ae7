// Raw requests over TLS, as a client that may be anybody sends them.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "common/base/status.h"

namespace atelier::test {

/// The whole answer of 127.0.0.1:`port` to `request` over TLS, whoever it is; "" when it does not come to that.
inline std::string AskTls(int port, const std::string& request) {
  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(BIO* bio) const { BIO_free_all(bio); }
  };
  const std::unique_ptr<SSL_CTX, Free> context(SSL_CTX_new(TLS_client_method()));
  const std::unique_ptr<BIO, Free> bio(BIO_new_ssl_connect(context.get()));
  BIO_set_conn_hostname(bio.get(), Cat("127.0.0.1:", port).c_str());
  std::string all;
  if (BIO_do_connect(bio.get()) == 1 && BIO_do_handshake(bio.get()) == 1) {
    BIO_write(bio.get(), request.data(), static_cast<int>(request.size()));
    char bytes[4096];
    for (int n = 0; (n = BIO_read(bio.get(), bytes, sizeof bytes)) > 0;) all.append(bytes, static_cast<size_t>(n));
  }
  ERR_clear_error();
  return all;
}

}  // namespace atelier::test
