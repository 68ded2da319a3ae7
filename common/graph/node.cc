#include "common/graph/node.h"

#include <cstdint>
#include <limits>
#include <string>

#include "common/graph/python_value.h"

namespace atelier::internal {
namespace {

StatusOr<Json> LiteralOf(const Value& value, std::string_view expected) {
  if (value.is_literal()) return value.literal();
  return InvalidArgument("got a value of type ", value.present() ? value.type() : "nothing", ", expected ", expected);
}

}  // namespace

Status FromLiteral(const Value& value, int64_t& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "INT"));
  ASSIGN_OR_RETURN(const Json number, PythonInt(literal));
  const bool fits = number.is_number_unsigned()
                        ? number.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())
                        : number.is_number_integer();
  if (!fits) return InvalidArgument("got ", PythonStr(number), ", expected an integer of 64 bits");
  out = number.get<int64_t>();
  return OkStatus();
}

Status FromLiteral(const Value& value, uint64_t& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "INT"));
  ASSIGN_OR_RETURN(const Json number, PythonInt(literal));
  const bool fits = number.is_number_unsigned() || (number.is_number_integer() && number.get<int64_t>() >= 0);
  if (!fits) return InvalidArgument("got ", PythonStr(number), ", expected an integer from 0 to 18446744073709551615");
  out = number.get<uint64_t>();
  return OkStatus();
}

Status FromLiteral(const Value& value, double& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "FLOAT"));
  ASSIGN_OR_RETURN(out, PythonFloat(literal));
  return OkStatus();
}

Status FromLiteral(const Value& value, bool& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "BOOLEAN"));
  out = PythonBool(literal);
  return OkStatus();
}

Status FromLiteral(const Value& value, std::string& out) {
  ASSIGN_OR_RETURN(const Json literal, LiteralOf(value, "STRING"));
  out = PythonStr(literal);
  return OkStatus();
}

}  // namespace atelier::internal
