#include "common/obs/probe_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <chrono>

namespace atelier {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::asio::ip::tcp;
using Error = boost::system::error_code;

constexpr std::chrono::seconds kTime{5};

// Runs one operation to its end; `begin` starts it with the handler that it is given.
template <typename Begin>
Error Wait(asio::io_context& io, const Begin& begin) {
  Error result = asio::error::timed_out;
  begin([&result](Error error, const auto&...) { result = error; });
  io.restart();
  io.run();
  return result;
}

template <typename Stream>
StatusOr<ProbeReply> Exchange(asio::io_context& io, Stream& stream, const std::string& address, const std::string& path,
                              const std::string& key) {
  http::request<http::empty_body> request(http::verb::get, path, 11);
  request.set(http::field::host, address);
  if (!key.empty()) request.set(http::field::authorization, "Bearer " + key);
  http::response<http::string_body> response;
  beast::flat_buffer buffer;
  Error error = Wait(io, [&](auto done) { http::async_write(stream, request, done); });
  if (!error) error = Wait(io, [&](auto done) { http::async_read(stream, buffer, response, done); });
  if (error) return Unavailable("no answer from ", address, ": ", error.message());
  const auto type = response[http::field::content_type];
  return ProbeReply{static_cast<int>(response.result_int()), std::string(type.data(), type.size()), response.body()};
}

}  // namespace

StatusOr<ProbeReply> AskProbe(const std::string& address, const std::string& path, const std::string& key,
                              const std::string& authority) {
  asio::io_context io;
  Error error;
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  const auto found = tcp::resolver(io).resolve(host, address.substr(colon + 1), error);
  if (error) return Unavailable("there is no address ", address, ": ", error.message());
  beast::tcp_stream plain(io);
  plain.expires_after(kTime);
  error = Wait(io, [&](auto done) { plain.async_connect(found, done); });
  if (error) return Unavailable("nobody answers at ", address, ": ", error.message());
  if (authority.empty()) return Exchange(io, plain, address, path, key);
  asio::ssl::context context(asio::ssl::context::tls_client);
  context.add_certificate_authority(asio::buffer(authority), error);
  if (error) return FailedPrecondition("the authority's certificate cannot be used: ", error.message());
  beast::ssl_stream<beast::tcp_stream> stream(std::move(plain), context);
  stream.set_verify_mode(asio::ssl::verify_peer);
  stream.set_verify_callback(asio::ssl::host_name_verification(kMasterName));
  error = Wait(io, [&](auto done) { stream.async_handshake(asio::ssl::stream_base::client, done); });
  if (error) return FailedPrecondition("who answers at ", address, " does not prove itself: ", error.message());
  return Exchange(io, stream, address, path, key);
}

}  // namespace atelier
