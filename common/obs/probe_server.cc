#include "common/obs/probe_server.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/detect_ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>
#include <climits>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

#include "common/security/identity.h"

namespace atelier {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::asio::ip::tcp;
using Error = boost::system::error_code;

constexpr int kConnectionsMax = 32;
constexpr uint32_t kHeaderBytesMax = 8 << 10;
constexpr std::chrono::seconds kRequestTime{5};
constexpr std::chrono::milliseconds kAcceptAgain{100};  // after an error such as "too many open files"

const std::string kText = "text/plain; charset=utf-8";

// "host" of "host:port", without the brackets of an IPv6 address.
std::string HostPart(std::string_view host) {
  if (!host.empty() && host.front() == '[') return std::string(host.substr(1, host.find(']') - 1));
  return std::string(host.substr(0, host.find(':')));
}

bool IsKnownHost(const ProbeGuard& guard, const std::string& host) {
  Error not_an_address;
  (void)asio::ip::make_address(host, not_an_address);
  char own[HOST_NAME_MAX + 1] = "";
  gethostname(own, sizeof own - 1);
  return !not_an_address || host == "localhost" || host == own ||
         std::find(guard.hosts.begin(), guard.hosts.end(), host) != guard.hosts.end();
}

// A refusal, or nothing for who may be answered.
std::optional<ProbeReply> Refuse(const ProbeGuard& guard, const http::request<http::empty_body>& request) {
  const auto field = [&](http::field name) {
    const auto value = request[name];
    return std::string(value.data(), value.size());
  };
  const size_t hosts = request.count(http::field::host);  // a browser always sends one; simple tools may not
  if (hosts > 1 || (hosts == 0 && !guard.key.empty())) return ProbeReply{400, kText, "a request names one Host\n"};
  const std::string host = field(http::field::host);
  if (hosts == 1 && !IsKnownHost(guard, HostPart(host)))
    return ProbeReply{403, kText, "this Host is not served here; ask by address, or see docs/security.md\n"};
  if (request.count(http::field::origin) != 0) {
    const std::string origin = field(http::field::origin);
    if (request.count(http::field::origin) != 1 || (origin != "http://" + host && origin != "https://" + host))
      return ProbeReply{403, kText, "requests of other origins are refused\n"};
  }
  if (guard.key.empty()) return std::nullopt;
  const std::string given = field(http::field::authorization), wanted = "Bearer " + guard.key;
  if (request.count(http::field::authorization) != 1 || given.size() != wanted.size() ||
      CRYPTO_memcmp(given.data(), wanted.data(), wanted.size()) != 0)
    return ProbeReply{401, kText, "a key is asked for: Authorization: Bearer KEY\n"};
  return std::nullopt;
}

// Counts a connection while it lasts.
class Counted {
 public:
  explicit Counted(int& open) : open_(open) { ++open_; }
  ~Counted() { --open_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  int& open_;
};

using Tls = beast::ssl_stream<beast::tcp_stream>;

// One connection: one request, one answer. Kept alive by its own pending operation. Stream: beast::tcp_stream or Tls.
template <typename Stream>
class Connection : public std::enable_shared_from_this<Connection<Stream>> {
 public:
  Connection(Stream stream, std::unique_ptr<Counted> counted, const ProbeServer::Handler& handler,
             const ProbeGuard& guard)
      : counted_(std::move(counted)), stream_(std::move(stream)), handler_(handler), guard_(guard) {
    parser_.header_limit(kHeaderBytesMax);
    parser_.body_limit(0);
  }

  void Begin() {
    http::async_read(stream_, buffer_, parser_, [self = this->shared_from_this()](Error error, size_t) {
      if (!error) self->Answer();
    });
  }
  // `begun`: what has come of it.
  void BeginTls(beast::flat_buffer begun) {
    buffer_ = std::move(begun);
    stream_.async_handshake(asio::ssl::stream_base::server, buffer_.data(),
                            [self = this->shared_from_this()](Error error, size_t used) {
                              self->buffer_.consume(used);
                              if (!error) self->Begin();
                            });
  }
  void Send(ProbeReply reply, bool head = false) {
    response_.version(11);
    response_.result(static_cast<unsigned>(reply.status));
    response_.set(http::field::content_type, reply.type);
    response_.set(http::field::cache_control, "no-store");
    response_.keep_alive(false);
    const size_t size = reply.body.size();
    if (!head) response_.body() = std::move(reply.body);
    response_.content_length(size);
    serializer_.emplace(response_);
    http::async_write(stream_, *serializer_, [self = this->shared_from_this()](Error, size_t) { self->Close(self); });
  }

 private:
  void Answer() {
    const auto& request = parser_.get();
    const bool head = request.method() == http::verb::head;
    ProbeReply reply;
    if (std::optional<ProbeReply> refusal = Refuse(guard_, request)) {
      reply = *std::move(refusal);
      if (reply.status == 401) response_.set(http::field::www_authenticate, "Bearer");
    } else if (head || request.method() == http::verb::get) {
      const auto target = request.target();
      const std::string_view path(target.data(), target.size());
      reply = handler_(path.substr(0, path.find('?')));
    } else {
      reply = {405, kText, "only GET and HEAD are answered here\n"};
    }
    Send(std::move(reply), head);
  }
  void Close(const std::shared_ptr<Connection>& self) {
    if constexpr (std::is_same_v<Stream, Tls>) {
      stream_.async_shutdown([self](Error) {});
    } else {
      Error ignored;
      stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
      (void)self;
    }
  }

  const std::unique_ptr<Counted> counted_;
  Stream stream_;
  beast::flat_buffer buffer_{size_t{2} * kHeaderBytesMax};
  http::request_parser<http::empty_body> parser_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  const ProbeServer::Handler& handler_;
  const ProbeGuard& guard_;
};

// A connection that is to speak TLS, until it shows whether it does.
class Greeting : public std::enable_shared_from_this<Greeting> {
 public:
  Greeting(beast::tcp_stream stream, std::unique_ptr<Counted> counted, const ProbeServer::Handler& handler,
           const ProbeGuard& guard, asio::ssl::context& tls)
      : counted_(std::move(counted)), stream_(std::move(stream)), handler_(handler), guard_(guard), tls_(tls) {}

  void Begin() {
    beast::async_detect_ssl(stream_, buffer_, [self = shared_from_this()](Error error, bool speaks_tls) {
      if (!error) self->GoOn(speaks_tls);
    });
  }

 private:
  void GoOn(bool speaks_tls) {
    if (speaks_tls) {
      std::make_shared<Connection<Tls>>(Tls(std::move(stream_), tls_), std::move(counted_), handler_, guard_)
          ->BeginTls(std::move(buffer_));
      return;
    }
    std::make_shared<Connection<beast::tcp_stream>>(std::move(stream_), std::move(counted_), handler_, guard_)
        ->Send({400, kText, "this port speaks TLS alone: ask with https://\n"});
  }

  std::unique_ptr<Counted> counted_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{size_t{2} * kHeaderBytesMax};
  const ProbeServer::Handler& handler_;
  const ProbeGuard& guard_;
  asio::ssl::context& tls_;
};

}  // namespace

class ProbeServer::Impl {
 public:
  Impl(Handler handler, ProbeGuard guard) : handler_(std::move(handler)), guard_(std::move(guard)) {}

  Status Listen(const std::string& listen) {
    if (guard_.tls != nullptr) RETURN_IF_ERROR(UseTls(*guard_.tls));
    const size_t colon = listen.rfind(':');
    if (colon == std::string::npos) return InvalidArgument("\"", listen, "\" is not HOST:PORT");
    std::string host = listen.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    Error error;
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(host, listen.substr(colon + 1), tcp::resolver::passive, error);
    if (!error && found.empty()) error = asio::error::host_not_found;
    if (!error) {
      const tcp::endpoint endpoint = found.begin()->endpoint();
      acceptor_.open(endpoint.protocol(), error);
      if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
      if (!error) acceptor_.bind(endpoint, error);
      if (!error) acceptor_.listen(kConnectionsMax, error);
    }
    if (error) return Unavailable("cannot listen on ", listen, ": ", error.message());
    port_ = acceptor_.local_endpoint().port();
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "probes");
      Accept();
      io_.run();
    });
    return OkStatus();
  }

  void Stop() {
    if (!thread_.joinable()) return;
    io_.stop();
    thread_.join();
  }
  uint16_t port() const { return port_; }

 private:
  void Accept() {
    acceptor_.async_accept([this](Error error, tcp::socket socket) {
      if (error) {
        again_.expires_after(kAcceptAgain);
        again_.async_wait([this](Error) { Accept(); });
        return;
      }
      // Beyond the bound the socket is closed as it goes.
      if (open_ < kConnectionsMax) Serve(beast::tcp_stream(std::move(socket)));
      Accept();
    });
  }

  void Serve(beast::tcp_stream stream) {
    stream.expires_after(kRequestTime);
    auto counted = std::make_unique<Counted>(open_);
    if (tls_)
      std::make_shared<Greeting>(std::move(stream), std::move(counted), handler_, guard_, *tls_)->Begin();
    else
      std::make_shared<Connection<beast::tcp_stream>>(std::move(stream), std::move(counted), handler_, guard_)->Begin();
  }
  Status UseTls(const Identity& identity) {
    tls_.emplace(asio::ssl::context::tls_server);
    SSL_CTX_set_min_proto_version(tls_->native_handle(), TLS1_2_VERSION);
    Error error;
    tls_->use_certificate_chain(asio::buffer(identity.certificate + identity.authority), error);
    if (!error) tls_->use_private_key(asio::buffer(identity.key), asio::ssl::context::pem, error);
    if (error) return FailedPrecondition("key or certificate cannot be used for HTTPS: ", error.message());
    return OkStatus();
  }

  const Handler handler_;
  const ProbeGuard guard_;
  std::optional<asio::ssl::context> tls_;
  int open_ = 0;  // before io_: connections that it still holds count down as they go
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer again_{io_};
  uint16_t port_ = 0;
  std::thread thread_;
};

StatusOr<ProbeGuard> MakeProbeGuard(const std::string& listen, const std::string& key_file,
                                    std::shared_ptr<const Identity> identity) {
  if (key_file.empty()) {
    if (IsLoopback(listen)) return ProbeGuard();
    return FailedPrecondition(listen,
                              " is outside loopback, where a key is asked for; name a file with one, or listen on "
                              "127.0.0.1");
  }
  ASSIGN_OR_RETURN(std::string key, ReadSecretFile(key_file));
  while (!key.empty() && (key.back() == '\n' || key.back() == '\r')) key.pop_back();
  if (key.size() < 32)
    return FailedPrecondition("the key in ", key_file, " has ", key.size(), " characters, at least 32 are wanted");
  if (!IsLoopback(listen) && identity == nullptr)
    return FailedPrecondition(listen,
                              " is outside loopback, where HTTP is asked for over TLS alone; name a file with a "
                              "key and certificate, or listen on 127.0.0.1");
  return ProbeGuard{key, {}, std::move(identity)};
}

ProbeServer::ProbeServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ProbeServer::~ProbeServer() { impl_->Stop(); }
uint16_t ProbeServer::port() const { return impl_->port(); }

StatusOr<std::unique_ptr<ProbeServer>> ProbeServer::Start(const std::string& listen, Handler handler,
                                                          ProbeGuard guard) {
  auto impl = std::make_unique<Impl>(std::move(handler), std::move(guard));
  RETURN_IF_ERROR(impl->Listen(listen));
  return std::unique_ptr<ProbeServer>(new ProbeServer(std::move(impl)));
}

}  // namespace atelier
