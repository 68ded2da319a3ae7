// Compressed files that are part of the binary.
#pragma once

#include <cstddef>
#include <string>

/// Puts the bytes of FILE into this object as read-only data, no copy into a source file and nothing to install, and
/// declares NAMEBegin and NAMEEnd around them. At file scope, outside namespaces; `symbol` is unique in the binary.
#define ATELIER_EMBED_FILE(Name, symbol, file)                                                         \
  asm(".section .rodata\n"                                                                             \
      ".balign 16\n" symbol                                                                            \
      "_begin:\n"                                                                                      \
      ".incbin \"" file "\"\n" symbol                                                                  \
      "_end:\n"                                                                                        \
      ".byte 0\n"                                                                                      \
      ".previous\n");                                                                                  \
  extern "C" {                                                                                         \
  extern const unsigned char Name##Begin[] asm(symbol "_begin") __attribute__((visibility("hidden"))); \
  extern const unsigned char Name##End[] asm(symbol "_end") __attribute__((visibility("hidden")));     \
  }                                                                                                    \
  static_assert(true)

namespace atelier::text {

/// What a gzip file in memory holds. REQUIRES: it is one, and holds at most `bytes_max`. Thread: any.
std::string Inflate(const unsigned char* begin, const unsigned char* end, size_t bytes_max);

}  // namespace atelier::text
