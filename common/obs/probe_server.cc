#include "common/obs/probe_server.h"

#include <pthread.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

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

// One connection: one request, one answer. Kept alive by its own pending operation.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, const ProbeServer::Handler& handler, int& open)
      : stream_(std::move(socket)), handler_(handler), open_(open) {
    ++open_;
    parser_.header_limit(kHeaderBytesMax);
    parser_.body_limit(0);
  }
  ~Connection() { --open_; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Begin() {
    stream_.expires_after(kRequestTime);
    http::async_read(stream_, buffer_, parser_, [self = shared_from_this()](Error error, size_t) {
      if (!error) self->Answer();
    });
  }

 private:
  void Answer() {
    const auto& request = parser_.get();
    const bool head = request.method() == http::verb::head;
    ProbeReply reply;
    if (head || request.method() == http::verb::get) {
      const auto target = request.target();
      const std::string_view path(target.data(), target.size());
      reply = handler_(path.substr(0, path.find('?')));
    } else {
      reply = {405, "text/plain; charset=utf-8", "only GET and HEAD are answered here\n"};
    }
    response_.version(11);
    response_.result(static_cast<unsigned>(reply.status));
    response_.set(http::field::content_type, reply.type);
    response_.set(http::field::cache_control, "no-store");
    response_.keep_alive(false);
    const size_t size = reply.body.size();
    if (!head) response_.body() = std::move(reply.body);
    response_.content_length(size);
    serializer_.emplace(response_);
    http::async_write(stream_, *serializer_, [self = shared_from_this()](Error, size_t) {
      Error ignored;
      self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    });
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{kHeaderBytesMax * 2};
  http::request_parser<http::empty_body> parser_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  const ProbeServer::Handler& handler_;
  int& open_;
};

}  // namespace

class ProbeServer::Impl {
 public:
  explicit Impl(Handler handler) : handler_(std::move(handler)) {}

  Status Listen(const std::string& listen) {
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
      if (open_ < kConnectionsMax) std::make_shared<Connection>(std::move(socket), handler_, open_)->Begin();
      Accept();
    });
  }

  const Handler handler_;
  int open_ = 0;  // before io_: connections that it still holds count down as they go
  asio::io_context io_{1};
  tcp::acceptor acceptor_{io_};
  asio::steady_timer again_{io_};
  uint16_t port_ = 0;
  std::thread thread_;
};

ProbeServer::ProbeServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ProbeServer::~ProbeServer() { impl_->Stop(); }
uint16_t ProbeServer::port() const { return impl_->port(); }

StatusOr<std::unique_ptr<ProbeServer>> ProbeServer::Start(const std::string& listen, Handler handler) {
  auto impl = std::make_unique<Impl>(std::move(handler));
  RETURN_IF_ERROR(impl->Listen(listen));
  return std::unique_ptr<ProbeServer>(new ProbeServer(std::move(impl)));
}

}  // namespace atelier
