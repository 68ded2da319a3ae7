// Writes the target's seeds into the folder ATELIER_FUZZ_SEEDS before libFuzzer reads it as its corpus.
#include <cstdlib>
#include <fstream>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* const folder = std::getenv("ATELIER_FUZZ_SEEDS");
  if (folder == nullptr) return 0;
  int i = 0;
  for (const std::string& bytes : atelier::fuzz::Seeds())
    std::ofstream(folder + ("/seed" + std::to_string(i++)), std::ios::binary) << bytes;
  return 0;
}
