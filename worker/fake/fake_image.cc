#include "worker/fake/fake_image.h"

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "common/executor/executor.h"
#include "common/tensorio/safetensors.h"
#include "worker/fake/fault.h"

namespace atelier {
namespace {

constexpr int64_t kPixelsMax = 64 << 20;

std::mutex work_mutex;
std::condition_variable work_woken;

StatusOr<std::string> EncodeFakeImage(const Value& value, std::string_view) {
  const FakeImage* image = value.Get<FakeImage>();
  if (image == nullptr) return InvalidArgument("not an image of the fake worker");
  const std::string_view bytes(reinterpret_cast<const char*>(image->data.data()), image->data.size());
  return WriteSafetensors({{"image", DType::kU8, {image->batch, image->height, image->width, 3}, bytes}},
                          {{"atelier_type", "IMAGE"}});
}

StatusOr<Value> DecodeFakeImage(std::string_view blob) {
  ASSIGN_OR_RETURN(const SafetensorsView view, ParseSafetensors(blob, "image blob"));
  const TensorInfo* info = view.Find("image");
  if (info == nullptr || info->shape.size() != 4 || info->shape[3] != 3)
    return InvalidArgument("the blob has no tensor \"image\" of [B, H, W, 3]");
  ASSIGN_OR_RETURN(FakeImage image, MakeFakeImage(info->shape[0], info->shape[1], info->shape[2]));
  const std::string_view bytes = view.Data(*info);
  if (info->dtype == DType::kU8) {
    std::memcpy(image.data.data(), bytes.data(), bytes.size());
  } else if (info->dtype == DType::kF32) {
    for (size_t i = 0; i < image.data.size(); ++i) {
      float v = 0;
      std::memcpy(&v, bytes.data() + 4 * i, 4);
      image.data[i] = static_cast<uint8_t>(v <= 0 ? 0 : v >= 1 ? 255 : v * 255);
    }
  } else {
    return InvalidArgument("the image blob holds ", DTypeName(info->dtype), ", expected U8 or F32");
  }
  return Value::Of("IMAGE", std::move(image));
}

const bool kCodec = Registry<BlobCodec>::Get().Add("IMAGE", 0, BlobCodec{EncodeFakeImage, DecodeFakeImage});
const bool kSize =
    Registry<ValueSize>::Get().Add("IMAGE", 0, ValueSize{[](const Value& value) {
                                     const FakeImage* image = value.Get<FakeImage>();
                                     return image == nullptr ? 0 : static_cast<int64_t>(image->data.size());
                                   }});

}  // namespace

StatusOr<FakeImage> MakeFakeImage(int64_t batch, int64_t height, int64_t width) {
  if (batch < 0 || height < 1 || width < 1) return InvalidArgument("an image of ", batch, " x ", height, " x ", width);
  if (batch > kPixelsMax || height > kPixelsMax || width > kPixelsMax || height * width > kPixelsMax ||
      batch * height * width > kPixelsMax)
    return ResourceExhausted("an image of more than ", kPixelsMax, " pixels");
  FakeImage image{batch, height, width, {}};
  image.data.resize(static_cast<size_t>(batch * height * width * 3));
  return image;
}

uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = a + 0x9e3779b97f4a7c15ULL + (b ^ (a << 7)) * 0xff51afd7ed558ccdULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

Status FakeWork(NodeContext& ctx, int64_t delay_ms, int64_t steps) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t step = 1; step <= steps; ++step) {
    const auto until = start + std::chrono::microseconds(delay_ms * 1000 * step / steps);
    {
      std::unique_lock lock(work_mutex);
      work_woken.wait_until(lock, until, [&] { return ctx.cancelled(); });
    }
    if (ctx.cancelled()) return Cancelled("the task was cancelled");
    fake::CountStep();
    RETURN_IF_ERROR(ctx.Step(step, steps));
  }
  return OkStatus();
}

namespace fake {
void WakeWaiters() {
  const std::lock_guard lock(work_mutex);
  work_woken.notify_all();
}
}  // namespace fake

}  // namespace atelier
