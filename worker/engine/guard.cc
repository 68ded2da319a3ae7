#include "worker/engine/guard.h"

#include <new>
#include <string>

namespace atelier::engine {

Status StatusOfCurrentException() {
  const auto first_line = [](const std::string& text) { return text.substr(0, text.find('\n')); };
  try {
    throw;
  } catch (const c10::OutOfMemoryError& e) {
    return ResourceExhausted("out of device memory: ", first_line(e.what_without_backtrace()));
  } catch (const c10::Error& e) {
    const std::string line = first_line(e.what_without_backtrace());
    // How the CPU's allocator, CUDA (page-locked memory, kernels loaded late), and cuBLAS and cuDNN report.
    for (const char* words : {"not enough memory", "can't allocate memory", "out of memory", "ALLOC_FAILED"})
      if (line.find(words) != std::string::npos) return ResourceExhausted("out of memory: ", line);
    return Internal(line);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("out of memory");
  } catch (const std::exception& e) {
    return Internal(first_line(e.what()));
  } catch (...) {
    return Internal("an exception of unknown type");
  }
}

Status StatusOf(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (...) {
    return StatusOfCurrentException();
  }
}

}  // namespace atelier::engine
