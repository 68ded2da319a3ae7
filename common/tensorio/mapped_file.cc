#include "common/tensorio/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>

namespace atelier {
namespace {

// Begin and end of each open mapping.
struct Mappings {
  std::mutex mutex;
  std::map<uintptr_t, uintptr_t> ranges;
};
Mappings& OpenMappings() {
  static auto* const mappings = new Mappings;  // files may be closed by static destructors
  return *mappings;
}

}  // namespace

StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->name_ = path.substr(path.rfind('/') + 1);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NotFound("file \"", file->name_, "\" cannot be opened: ", std::strerror(errno));
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return NotFound("\"", file->name_, "\" is not a file");
  }
  if (info.st_size > 0) {
    void* mapping = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapping == MAP_FAILED) {
      const int error = errno;
      ::close(fd);
      return ResourceExhausted("file \"", file->name_, "\" cannot be mapped: ", std::strerror(error));
    }
    file->data_ = mapping;
    file->size_ = static_cast<size_t>(info.st_size);
    const auto begin = reinterpret_cast<uintptr_t>(mapping);
    const std::lock_guard lock(OpenMappings().mutex);
    OpenMappings().ranges[begin] = begin + file->size_;
  }
  ::close(fd);
  return std::shared_ptr<const MappedFile>(std::move(file));
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  const std::lock_guard lock(OpenMappings().mutex);
  OpenMappings().ranges.erase(reinterpret_cast<uintptr_t>(data_));
  ::munmap(data_, size_);
}

bool MappedFile::GiveBack(std::string_view bytes) {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()), end = begin + bytes.size();
  const std::lock_guard lock(OpenMappings().mutex);  // the mapping stays while it is held
  auto range = OpenMappings().ranges.upper_bound(begin);
  if (range == OpenMappings().ranges.begin() || (--range)->second < end) return false;
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (first < last) ::madvise(const_cast<char*>(bytes.data()) + (first - begin), last - first, MADV_DONTNEED);
  return true;
}

}  // namespace atelier
