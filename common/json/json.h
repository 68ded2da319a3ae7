// Bounded JSON: the only door to nlohmann-json. Key order is kept, since the order of a prompt's nodes and inputs is
// what the reference writes into its files.
#pragma once

#include <string>
#include <string_view>

#include "common/base/limits.h"
#include "common/base/status.h"
#include "nlohmann/json.hpp"

namespace atelier {

/// JSON with keys in insertion order. Integers to 2^64-1 stay exact; larger ones become doubles.
using Json = nlohmann::ordered_json;

struct JsonLimits {
  int64_t bytes_max = limits::kJsonBytesMax;
  int depth_max = limits::kJsonDepthMax;
  int64_t values_max = limits::kJsonValuesMax;
};

/// Parses one JSON text. NaN and Infinity, broken UTF-8, trailing text, nesting or size beyond the limits and (as
/// Python does) duplicate keys: the last one wins, all others are errors. Errors: INVALID_ARGUMENT with line and
/// column. Thread: any.
StatusOr<Json> ParseJson(std::string_view text, const JsonLimits& limits = {});

/// As Python's json.dumps with default separators and ASCII escapes: ", " and ": ", floats as repr(). This is the form
/// of the PNG chunks `prompt` and `workflow`. Source: spec engine.md 11.2. Thread: any.
std::string DumpJsonPython(const Json& value);

/// Python's repr() of a float: the shortest digits that read back the same, exponent from 1e16 and below 1e-4; "nan",
/// "inf",
/// "-inf". Thread: any.
std::string PythonFloatRepr(double number);

/// Compact form, UTF-8 kept. Thread: any.
std::string DumpJson(const Json& value);

}  // namespace atelier
