// Asking the probe listener of a daemon under test.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>

namespace atelier::test {

/// The whole answer to a request, "" when nobody answers.
inline std::string Ask(int port, const std::string& request) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string all;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    (void)!write(fd, request.data(), request.size());
    char bytes[4096];
    for (ssize_t n = 0; (n = read(fd, bytes, sizeof bytes)) > 0;) all.append(bytes, static_cast<size_t>(n));
  }
  close(fd);
  return all;
}

/// The whole answer to GET `path`, "" when nobody answers.
inline std::string Get(int port, const std::string& path) {
  return Ask(port, "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
}

/// The value of a metric with its labels as they are written, NaN when it is not there.
inline double Metric(const std::string& page, const std::string& name) {
  const size_t at = page.find("\n" + name + " ");
  return at == std::string::npos ? __builtin_nan("") : std::atof(page.c_str() + at + name.size() + 2);
}

/// Waits until `what` is true, asking again each 50 ms; false after `seconds`.
inline bool Until(const std::function<bool()>& what, double seconds = 20) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!what()) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, 50);
  }
  return true;
}

}  // namespace atelier::test
