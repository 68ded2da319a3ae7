#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/seeds.h"
#include "tests/fuzz/torch_archive.h"

namespace atelier::fuzz {

std::vector<std::string> Seeds() { return {TorchZipSeed()}; }

}  // namespace atelier::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  atelier::fuzz::CheckTorchArchive({reinterpret_cast<const char*>(data), size});
  return 0;
}
