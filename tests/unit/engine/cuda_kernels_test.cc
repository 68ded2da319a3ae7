// What of our CUDA library shows without a GPU: that it opens, its version, which calls it takes.
#include "worker/engine/cuda_kernels.h"

#include <dlfcn.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>

#include "worker/engine/cuda/kernels.h"

namespace atelier::engine {
namespace {

const std::string kLibrary = ATELIER_BINARY_DIR "/bin/libatelier_cuda.so";

// The build says whether it made the library, so that a lost one fails instead of being skipped.
bool Built() {
#ifdef ATELIER_CUDA_BUILT
  return true;
#else
  std::printf("SKIPPED part: no nvcc, so there is no library of CUDA kernels\n");
  return false;
#endif
}

TEST_CASE("a library of CUDA kernels that is absent or another's is said and not used") {
  CHECK(OpenCudaKernels("/nowhere/libatelier_cuda.so").code() == StatusCode::kNotFound);
  const std::string other = std::filesystem::canonical("/proc/self/exe");
  const Status status = OpenCudaKernels(other);
  INFO(status.ToString());
  CHECK(status.code() == StatusCode::kFailedPrecondition);
  CHECK(OpenCudaKernels("libm.so.6").code() == StatusCode::kNotFound);  // never searched for
  CHECK_FALSE(HasCudaKernels());
  CHECK(CheckCudaKernels(at::kCPU).code() == StatusCode::kFailedPrecondition);
}

TEST_CASE("the library of CUDA kernels opens without a GPU") {
  if (!Built()) return;
  const Status status = OpenCudaKernels(kLibrary);
  INFO(status.ToString());
  REQUIRE(status.ok());
  CHECK(HasCudaKernels());
  // Tensors of the CPU are none of its business; a check there says so and closes it.
  CHECK_FALSE(FusedGroupNorm(at::rand({1, 32, 4, 4}), {}, {}, 32, 1e-5, true).has_value());
  CHECK(CheckCudaKernels(at::kCPU).code() == StatusCode::kInternal);
  CHECK_FALSE(HasCudaKernels());
}

TEST_CASE("the library of CUDA kernels tells what it takes") {
  if (!Built()) return;
  void* library = ::dlopen(kLibrary.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library != nullptr);
  const auto abi = reinterpret_cast<decltype(&atelier_cuda_abi)>(::dlsym(library, "atelier_cuda_abi"));
  REQUIRE(abi != nullptr);
  CHECK(abi() == kAtelierCudaAbi);
  const auto workspace = reinterpret_cast<decltype(&atelier_cuda_group_norm_workspace)>(
      ::dlsym(library, "atelier_cuda_group_norm_workspace"));
  REQUIRE(workspace != nullptr);
  AtelierGroupNorm call{};
  call.batch = 2, call.channels = 320, call.area = 64 * 64, call.groups = 32;
  for (const int32_t last : {0, 1}) {
    call.channels_last = last;
    const int64_t two = workspace(&call);
    CHECK(two > 2 * 2 * 320);
    call.batch = 4;
    CHECK(workspace(&call) == 2 * two);  // a sample is summed the same way beside any other
    call.batch = 2;
  }
  const auto refuses = [&](auto change) {
    AtelierGroupNorm other = call;
    change(other);
    return workspace(&other) == -1;
  };
  CHECK(refuses([](AtelierGroupNorm& c) { c.channels = 100; }));
  CHECK(refuses([](AtelierGroupNorm& c) { c.groups = 0; }));
  CHECK(refuses([](AtelierGroupNorm& c) { c.batch = 0; }));
  CHECK(refuses([](AtelierGroupNorm& c) { c.area = int64_t{1} << 40; }));
  CHECK(refuses([](AtelierGroupNorm& c) { c.channels = 4096, c.groups = 2; }));
}

}  // namespace
}  // namespace atelier::engine
