// The safetensors format: the form of model files, of blobs between tasks and of .latent files. No torch here.
//
// A file is: u64 little-endian length n of the header, n bytes of JSON, then the data of all tensors without gaps.
// Everything is checked before a tensor is handed out: the size of the header, every offset against the file and
// against the product of the shape, gaps, overlaps and names that occur twice.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/tensorio/mapped_file.h"

namespace atelier {

/// Element types of the format.
enum class DType { kBool, kU8, kI8, kF8E4M3, kF8E5M2, kU16, kI16, kF16, kBF16, kU32, kI32, kF32, kU64, kI64, kF64 };

/// The format's name of a type, e.g. "BF16", "F8_E4M3". Thread: any.
std::string_view DTypeName(DType dtype);

/// The type of a name. Errors: INVALID_ARGUMENT for a name the format does not have. Thread: any.
StatusOr<DType> DTypeFromName(std::string_view name);

/// Bytes of one element. Thread: any.
int64_t DTypeBytes(DType dtype);

/// One tensor of a header.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes, relative to the start of the data

  int64_t elements() const;
};

/// A checked header and the bytes it describes, which the view does not own. Thread: any.
class SafetensorsView {
 public:
  const std::map<std::string, TensorInfo, std::less<>>& tensors() const { return tensors_; }
  /// The `__metadata__` entries.
  const std::map<std::string, std::string, std::less<>>& metadata() const { return metadata_; }
  /// The tensor of that name, or null.
  const TensorInfo* Find(std::string_view name) const;
  /// The tensor's bytes, row-major, little-endian; not necessarily aligned. REQUIRES: `info` is one of tensors().
  std::string_view Data(const TensorInfo& info) const { return data_.substr(info.begin, info.end - info.begin); }

 private:
  friend StatusOr<SafetensorsView> ParseSafetensors(std::string_view bytes, std::string_view file);
  std::map<std::string, TensorInfo, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> metadata_;
  std::string_view data_;
};

/// Checks `bytes` as one whole safetensors file; the view points into them. `file` names them in errors. Errors:
/// DATA_LOSS when the file is shorter or longer than its header says; INVALID_ARGUMENT for a header that is malformed,
/// naming the tensor. Thread: any.
StatusOr<SafetensorsView> ParseSafetensors(std::string_view bytes, std::string_view file = "safetensors data");

/// A safetensors file mapped into memory read-only: opening reads the header, tensors are paged in when touched.
/// Thread: any.
class SafetensorsFile {
 public:
  /// Maps the file, so that MappedFile::GiveBack() knows its tensors. Errors: those of MappedFile::Open and
  /// ParseSafetensors.
  static StatusOr<std::shared_ptr<const SafetensorsFile>> Open(const std::string& path);
  /// Owns `bytes` instead of a mapping.
  static StatusOr<std::shared_ptr<const SafetensorsFile>> FromBytes(std::string bytes,
                                                                    std::string_view file = "safetensors data");
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const SafetensorsView& view() const { return view_; }
  /// The file's name without its folder, for messages.
  const std::string& name() const { return name_; }

 private:
  SafetensorsFile() = default;
  std::string name_;
  std::string owned_;
  std::shared_ptr<const MappedFile> mapped_;
  SafetensorsView view_;
};

/// A tensor to write; `bytes` are row-major little-endian and not owned.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::string_view bytes;
};

/// The bytes of a safetensors file with the tensors in the given order, the header padded with spaces to 8 bytes. Equal
/// inputs give equal bytes. REQUIRES: names are unique and each size is that of its shape. Thread: any.
std::string WriteSafetensors(const std::vector<TensorToWrite>& tensors,
                             const std::map<std::string, std::string, std::less<>>& metadata);

/// What stands before the tensors' own bytes in such a file; `bytes` are not looked at. For who appends large ones
/// piece by piece. Thread: any.
std::string SafetensorsHead(const std::vector<TensorToWrite>& tensors,
                            const std::map<std::string, std::string, std::less<>>& metadata);

/// The same file with the given entries added to its metadata (an existing key is replaced); tensors and their order
/// are kept. Errors: those of ParseSafetensors. Thread: any.
StatusOr<std::string> AddSafetensorsMetadata(std::string_view bytes,
                                             const std::map<std::string, std::string, std::less<>>& metadata);

}  // namespace atelier
