// A file mapped into memory read-only: its bytes are paged in when touched. No torch here.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace atelier {

/// Thread: any.
class MappedFile {
 public:
  /// Errors: NOT_FOUND when it cannot be opened or is no regular file, RESOURCE_EXHAUSTED when it cannot be mapped;
  /// messages hold the name without its folder.
  static StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Takes the pages that lie wholly in `bytes` out of this process's memory; they come back from the file when they
  /// are touched again. Returns false, and does nothing, when `bytes` is no part of a mapping that is open. Thread:
  /// any.
  static bool GiveBack(std::string_view bytes);

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }
  /// The file's name without its folder, for messages.
  const std::string& name() const { return name_; }

 private:
  MappedFile() = default;
  std::string name_;
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace atelier
