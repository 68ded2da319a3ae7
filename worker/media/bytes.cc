#include "worker/media/bytes.h"

#include <cstring>
#include <new>

namespace atelier::media {

int BytesInMemory::Read(int64_t offset, uint8_t* to, int count) {
  const std::string_view part = bytes_.substr(static_cast<size_t>(offset), static_cast<size_t>(count));
  std::memcpy(to, part.data(), part.size());
  return static_cast<int>(part.size());
}

bool BytesToMemory::Write(int64_t offset, const uint8_t* from, int count) {
  const size_t at = static_cast<size_t>(offset), end = at + static_cast<size_t>(count);
  try {
    if (end > bytes_.size()) bytes_.resize(end);
  } catch (const std::bad_alloc&) {
    return false;
  }
  std::memcpy(bytes_.data() + at, from, end - at);
  return true;
}

}  // namespace atelier::media
