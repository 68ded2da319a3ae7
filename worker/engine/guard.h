// The one place where torch's exceptions become statuses.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <exception>
#include <type_traits>
#include <utility>

#include "common/base/status.h"

namespace atelier::engine {

/// The status of the exception being handled: RESOURCE_EXHAUSTED when memory ran out, INTERNAL with the first line of
/// its text otherwise. REQUIRES: called inside a catch block. Thread: any.
Status StatusOfCurrentException();

/// The same of an exception that was kept. REQUIRES: not null. Thread: any.
Status StatusOf(const std::exception_ptr& error);

/// What `body` throws, or null.
template <typename Body>
std::exception_ptr Try(Body&& body) {
  try {
    std::forward<Body>(body)();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

/// Runs `body` (returning a tensor or other value T, a StatusOr<T>, a Status, or nothing) without autograd and gives
/// its result as StatusOr<T> or Status; a thrown exception becomes a status. Thread: any.
template <typename Body>
auto Guard(Body&& body) {
  using R = std::invoke_result_t<Body>;
  constexpr bool kStatusOnly = std::is_void_v<R> || std::is_same_v<R, Status>;
  c10::InferenceMode inference;
  if constexpr (kStatusOnly) {
    try {
      if constexpr (std::is_void_v<R>) {
        std::forward<Body>(body)();
        return OkStatus();
      } else {
        return std::forward<Body>(body)();
      }
    } catch (...) {
      return StatusOfCurrentException();
    }
  } else if constexpr (requires(R r) {
                         r.status();
                         r.value();
                       }) {
    try {
      return std::forward<Body>(body)();
    } catch (...) {
      return R(StatusOfCurrentException());
    }
  } else {
    try {
      return StatusOr<R>(std::forward<Body>(body)());
    } catch (...) {
      return StatusOr<R>(StatusOfCurrentException());
    }
  }
}

}  // namespace atelier::engine
