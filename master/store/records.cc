#include "master/store/records.h"

#include "common/base/status.h"

namespace atelier {

std::string OutputIntent::filename() const {
  std::string digits = std::to_string(counter);
  if (digits.size() < 5) digits.insert(0, 5 - digits.size(), '0');
  return Cat(base, "_", digits, suffix.value_or("_"), ".", extension);
}

}  // namespace atelier
