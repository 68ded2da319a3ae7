#include "common/config/setting.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace atelier {
namespace {

bool IsScalar(const std::string& key, const YamlNode& node, std::string_view expected, Faults& faults) {
  if (node.kind == YamlNode::Kind::kScalar) return true;
  const char* found = node.kind == YamlNode::Kind::kList ? "a list" : "a section";
  faults.Add(node.line, "\"", key, "\" is ", found, ", expected ", expected);
  return false;
}

struct Suffix {
  std::string_view text;
  int shift;
};
constexpr std::array<Suffix, 4> kSuffixes = {{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}};

}  // namespace

Status Faults::ToStatus() const {
  if (list_.empty()) return OkStatus();
  auto sorted = list_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string all;
  for (const auto& [line, text] : sorted) all += (all.empty() ? "" : "\n") + text;
  return InvalidArgument(all);
}

void ReadText(const std::string& key, const YamlNode& node, std::string& out, Faults& faults) {
  if (IsScalar(key, node, "text", faults)) out = node.text;
}

void ReadFlag(const std::string& key, const YamlNode& node, bool& out, Faults& faults) {
  if (!IsScalar(key, node, "yes or no", faults)) return;
  if (node.text == "yes" || node.text == "true" || node.text == "on") {
    out = true;
  } else if (node.text == "no" || node.text == "false" || node.text == "off") {
    out = false;
  } else {
    faults.Add(node.line, "\"", key, "\" is \"", node.text, "\", expected yes or no");
  }
}

void ReadNumber(const std::string& key, const YamlNode& node, double low, double high, double& out, Faults& faults) {
  const std::string range = Cat("a number from ", PrintNumber(low), " to ", PrintNumber(high));
  if (!IsScalar(key, node, range, faults)) return;
  double value = 0;
  const char* end = node.text.data() + node.text.size();
  auto [stop, error] = std::from_chars(node.text.data(), end, value);
  if (error != std::errc() || stop != end || !(value >= low && value <= high)) {
    faults.Add(node.line, "\"", key, "\" is \"", node.text, "\", expected ", range);
    return;
  }
  out = value;
}

void ReadInteger(const std::string& key, const YamlNode& node, int64_t low, int64_t high, bool bytes, int64_t& out,
                 Faults& faults) {
  const std::string range = bytes ? Cat("a size from ", PrintBytes(low), " to ", PrintBytes(high), ", like 512MiB")
                                  : Cat("a whole number from ", low, " to ", high);
  if (!IsScalar(key, node, range, faults)) return;
  std::string_view digits = node.text;
  int shift = 0;
  for (const Suffix& suffix : kSuffixes) {
    if (bytes && digits.size() > suffix.text.size() &&
        digits.substr(digits.size() - suffix.text.size()) == suffix.text) {
      digits.remove_suffix(suffix.text.size());
      while (!digits.empty() && digits.back() == ' ') digits.remove_suffix(1);
      shift = suffix.shift;
      break;
    }
  }
  int64_t value = 0;
  auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool whole = error == std::errc() && stop == digits.data() + digits.size();
  if (!whole || value > (INT64_MAX >> shift) || value < (INT64_MIN >> shift) || value * (int64_t{1} << shift) < low ||
      value * (int64_t{1} << shift) > high) {
    faults.Add(node.line, "\"", key, "\" is \"", node.text, "\", expected ", range);
    return;
  }
  out = value * (int64_t{1} << shift);
}

std::string PrintBytes(int64_t value) {
  for (const Suffix& suffix : kSuffixes) {
    const int64_t unit = int64_t{1} << suffix.shift;
    if (value != 0 && value % unit == 0) return Cat(value / unit, suffix.text);
  }
  return Cat(value);
}

std::string PrintNumber(double value) {
  std::array<char, 32> buffer;
  auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return error == std::errc() ? std::string(buffer.data(), end) : "nan";
}

std::string QuotedChoices(const std::vector<std::string>& choices) {
  std::string all;
  for (const std::string& choice : choices) all += (all.empty() ? "" : " | ") + choice;
  return all;
}

}  // namespace atelier
