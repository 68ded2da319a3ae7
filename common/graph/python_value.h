// Python's conversions of JSON values, as the reference applies them to the constants of a prompt: int(), float(),
// bool(), str().
#pragma once

#include <string>

#include "common/base/status.h"
#include "common/json/json.h"

namespace atelier {

/// int(value): numbers are cut towards zero, strings are read as Python reads them ("128", " 7 ", "1_000"). The result
/// is an integer, or a double with an integral value beyond 64 bits. Errors: INVALID_ARGUMENT with Python's own
/// exception text, as it is part of the reference's answer. Source: spec engine.md 2.1. Thread: any.
StatusOr<Json> PythonInt(const Json& value);

/// float(value); strings may say "nan" and "inf". Errors as PythonInt. Thread: any.
StatusOr<double> PythonFloat(const Json& value);

/// bool(value): false for false, 0, "", [], {} and null. Thread: any.
bool PythonBool(const Json& value);

/// str(value). Thread: any.
std::string PythonStr(const Json& value);

/// repr(value). Thread: any.
std::string PythonRepr(const Json& value);

}  // namespace atelier
