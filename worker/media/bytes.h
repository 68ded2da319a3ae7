// Where the bytes of a file lie and go.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace atelier::media {

/// The content of a file, wherever it lies. Thread: one at a time.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual int64_t size() const = 0;
  /// Reads up to `count` bytes at `offset` < size(); how many, 0 when they cannot be had.
  virtual int Read(int64_t offset, uint8_t* to, int count) = 0;
};

/// Bytes that outlive the object.
class BytesInMemory : public ByteSource {
 public:
  explicit BytesInMemory(std::string_view bytes) : bytes_(bytes) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  int Read(int64_t offset, uint8_t* to, int count) override;

 private:
  const std::string_view bytes_;
};

/// Where a file goes. Thread: one at a time.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  /// Puts `count` > 0 bytes at `offset`, over what is there; false when there is no room.
  virtual bool Write(int64_t offset, const uint8_t* from, int count) = 0;
};

/// A file in memory.
class BytesToMemory : public ByteSink {
 public:
  bool Write(int64_t offset, const uint8_t* from, int count) override;
  std::string& bytes() { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace atelier::media
