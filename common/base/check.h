// Assertions for programmer errors, always on. Never for data from a socket, a file or a user.
#pragma once

#include <cstdio>
#include <cstdlib>

/// Aborts with file, line and the condition's text when `condition` is false.
#define ATELIER_CHECK(condition)                                                         \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
