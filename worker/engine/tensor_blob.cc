#include "worker/engine/tensor_blob.h"

#include <cstring>

namespace atelier::engine {

at::ScalarType ScalarTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return at::kBool;
    case DType::kU8:
      return at::kByte;
    case DType::kI8:
      return at::kChar;
    case DType::kF8E4M3:
      return at::kFloat8_e4m3fn;
    case DType::kF8E5M2:
      return at::kFloat8_e5m2;
    case DType::kU16:
      return at::kUInt16;
    case DType::kI16:
      return at::kShort;
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kU32:
      return at::kUInt32;
    case DType::kI32:
      return at::kInt;
    case DType::kF32:
      return at::kFloat;
    case DType::kU64:
      return at::kUInt64;
    case DType::kI64:
      return at::kLong;
    case DType::kF64:
      return at::kDouble;
  }
  return at::kByte;
}

StatusOr<DType> DTypeOf(at::ScalarType type) {
  for (DType dtype :
       {DType::kBool, DType::kU8, DType::kI8, DType::kF8E4M3, DType::kF8E5M2, DType::kU16, DType::kI16, DType::kF16,
        DType::kBF16, DType::kU32, DType::kI32, DType::kF32, DType::kU64, DType::kI64, DType::kF64}) {
    if (ScalarTypeOf(dtype) == type) return dtype;
  }
  return InvalidArgument("element type ", c10::toString(type), " cannot be stored");
}

at::Tensor TensorView(const std::shared_ptr<const SafetensorsFile>& file, const TensorInfo& info) {
  const std::string_view bytes = file->view().Data(info);
  if (info.elements() == 0) return at::empty(info.shape, ScalarTypeOf(info.dtype));
  if (reinterpret_cast<uintptr_t>(bytes.data()) % static_cast<uintptr_t>(DTypeBytes(info.dtype)) != 0) {
    return TensorCopy(file->view(), info);
  }
  return at::from_blob(
      const_cast<char*>(bytes.data()), info.shape, [file](void*) {}, ScalarTypeOf(info.dtype));
}

at::Tensor TensorCopy(const SafetensorsView& view, const TensorInfo& info) {
  const std::string_view bytes = view.Data(info);
  at::Tensor tensor = at::empty(info.shape, ScalarTypeOf(info.dtype));
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

StatusOr<std::string> WriteTensors(const std::map<std::string, at::Tensor>& tensors,
                                   const std::map<std::string, std::string, std::less<>>& metadata) {
  std::vector<TensorToWrite> to_write;
  std::vector<at::Tensor> keep;  // the bytes written must live until the end
  keep.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    auto dtype = DTypeOf(tensor.scalar_type());
    if (!dtype.ok()) return Annotate(dtype.status(), Cat("tensor \"", name, "\""));
    keep.push_back(tensor.detach().to(at::kCPU).contiguous());
    const at::Tensor& flat = keep.back();
    to_write.push_back({name, *dtype, flat.sizes().vec(),
                        std::string_view(static_cast<const char*>(flat.const_data_ptr()), flat.nbytes())});
  }
  return WriteSafetensors(to_write, metadata);
}

}  // namespace atelier::engine
