// SHA-256, the name of every blob.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace atelier {

/// Streaming SHA-256. Thread: one at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  /// Adds bytes. REQUIRES: HexDigest() was not called yet.
  void Update(std::string_view bytes);
  /// 64 lower-case hex digits of all bytes added. Call once.
  std::string HexDigest();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The hash of `bytes` as 64 lower-case hex digits. Thread: any.
std::string Sha256Hex(std::string_view bytes);

/// Whether `text` has the form of a blob's name. Thread: any.
bool IsSha256Hex(std::string_view text);

}  // namespace atelier
