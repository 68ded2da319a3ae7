// A fuzz target is a file NAME_fuzz.cc that defines both functions below. With libFuzzer its own main runs; else
// fuzz_main.cc, which damages the seeds in ways that depend on a number only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace atelier::fuzz {

/// Good inputs.
std::vector<std::string> Seeds();

}  // namespace atelier::fuzz

/// Gives the bytes to the reader. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
