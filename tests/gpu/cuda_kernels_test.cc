// Our CUDA kernels against libtorch's operators, and how long both take.
#include "worker/engine/cuda_kernels.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "worker/engine/device.h"
#include "worker/engine/guard.h"

namespace atelier::engine {
namespace {

at::Device Gpu() {
  static const at::Device device = [] {
    const StatusOr<at::Device> found = DeviceFor("cuda:0");
    std::string why = found.ok() ? "" : Message(found.status());
    if (why.empty()) {
      if (const Status opened = OpenCudaKernels(CudaKernelsPath()); opened.code() == StatusCode::kNotFound) {
        why = Message(opened);
      } else {
        REQUIRE(opened.ok());
      }
    }
    if (!why.empty()) {
      std::printf("SKIPPED: %s\n", why.c_str());
      std::fflush(stdout);
      std::exit(77);
    }
    return *found;
  }();
  return device;
}

struct Shape {
  int64_t batch, channels, height, width, groups;
};

TEST_CASE("the worker's own check of the kernels passes") {
  Gpu();
  const Status status = CheckCudaKernels(Gpu());
  INFO(status.ToString());
  CHECK(status.ok());
}

TEST_CASE("group normalisation is libtorch's") {
  const c10::InferenceMode inference;
  Gpu();
  at::manual_seed(1);
  for (const Shape& s :
       {Shape{2, 320, 64, 64, 32}, Shape{1, 2560, 8, 8, 32}, Shape{2, 640, 33, 17, 32}, Shape{1, 128, 512, 512, 32},
        Shape{3, 96, 5, 7, 32}, Shape{1, 66, 9, 9, 11}, Shape{1, 1024, 16, 16, 2}, Shape{2, 32, 1, 1, 16}}) {
    for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
      for (const bool last : {false, true}) {
        for (const bool silu : {false, true}) {
          INFO(s.batch << "x" << s.channels << "x" << s.height << "x" << s.width << " in " << s.groups << ", "
                       << c10::toString(type) << ", channels last " << last << ", SiLU " << silu);
          const auto options = at::TensorOptions(Gpu()).dtype(type);
          at::Tensor x = at::randn({s.batch, s.channels, s.height, s.width}, options) * 2 + 3;
          if (last) x = x.contiguous(at::MemoryFormat::ChannelsLast);
          const at::Tensor weight = at::randn({s.channels}, options), bias = at::randn({s.channels}, options);
          const auto ours = FusedGroupNorm(x, weight, bias, s.groups, 1e-5, silu);
          REQUIRE(ours.has_value());
          CHECK(ours->is_contiguous(x.suggest_memory_format()));
          // Against libtorch in float64, ours may err by the rounding of its type and no more than libtorch's twice.
          const auto exact = [&](const at::Tensor& t) { return t.to(at::kDouble); };
          at::Tensor truth = at::group_norm(exact(x), s.groups, exact(weight), exact(bias), 1e-5, false);
          at::Tensor theirs = at::group_norm(x, s.groups, weight, bias, 1e-5);
          if (silu) truth = at::silu(truth), theirs = at::silu(theirs);
          const auto error = [&](const at::Tensor& y) {
            return ((exact(y) - truth).abs() / (1 + truth.abs())).max().item<double>();
          };
          const double floor = type == at::kFloat ? 2e-6 : type == at::kHalf ? 1e-3 : 8e-3;
          CHECK(error(*ours) <= std::max(floor, 2 * error(theirs)));
          // The same bytes each time, and for a sample alone.
          CHECK(at::equal(*ours, *FusedGroupNorm(x, weight, bias, s.groups, 1e-5, silu)));
          const at::Tensor first = x.narrow(0, 0, 1).clone(at::MemoryFormat::Preserve);
          if (first.is_contiguous() == x.is_contiguous())
            CHECK(at::equal(ours->narrow(0, 0, 1), *FusedGroupNorm(first, weight, bias, s.groups, 1e-5, silu)));
        }
      }
    }
  }
}

TEST_CASE("group normalisation with SiLU takes less time than libtorch's two") {
  const c10::InferenceMode inference;
  const auto options = at::TensorOptions(Gpu()).dtype(at::kHalf);
  const at::Tensor x = at::randn({2, 320, 128, 128}, options).contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor weight = at::ones({320}, options), bias = at::zeros({320}, options);
  const auto time = [&](auto body) {
    constexpr int kRounds = 50;
    body().sum().template item<float>();  // warm, and waits
    const auto start = std::chrono::steady_clock::now();
    at::Tensor y;
    for (int i = 0; i < kRounds; ++i) y = body();
    y.sum().template item<float>();
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / kRounds;
  };
  const double ours = time([&] { return *FusedGroupNorm(x, weight, bias, 32, 1e-5, true); });
  const double theirs = time(
      [&] { return at::silu(at::group_norm(x, 32, weight, bias, 1e-5)).contiguous(at::MemoryFormat::ChannelsLast); });
  std::printf("GroupNorm and SiLU of 2x320x128x128 half, channels last: ours %.1f us, libtorch's %.1f us\n", ours,
              theirs);
  CHECK(ours < theirs);
}

}  // namespace
}  // namespace atelier::engine
