#include "common/graph/dynamic_text.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace atelier {
namespace {

uint64_t NextRandom(uint64_t& state) {  // SplitMix64
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
// Comments go: /*...*/ and // to the end of the line, whichever starts first.
std::string StripComments(std::string_view text) {
  std::string out;
  size_t no_more_blocks = std::string_view::npos;  // where a search for "*/" failed: later ones fail too
  for (size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "/*") == 0 && no_more_blocks == std::string_view::npos) {
      const size_t end = text.find("*/", i + 2);
      if (end != std::string_view::npos) {
        i = end + 2;
        continue;
      }
      no_more_blocks = i;
    }
    if (text.compare(i, 2, "//") == 0) {
      while (i < text.size() && text[i] != '\n' && text[i] != '\r' && text.compare(i, 3, "\xe2\x80\xa8") != 0 &&
             text.compare(i, 3, "\xe2\x80\xa9") != 0)
        ++i;
      continue;
    }
    out += text[i++];
  }
  return out;
}

}  // namespace

std::string FormatDate(std::string_view format, const ClockTime& now) {
  static constexpr std::array<std::string_view, 12> kTokens = {"yyyy", "yy", "MM", "M", "dd", "d",
                                                               "hh",   "h",  "mm", "m", "ss", "s"};
  std::string out;
  while (!format.empty()) {
    const auto token = std::find_if(kTokens.begin(), kTokens.end(),
                                    [&](std::string_view t) { return format.substr(0, t.size()) == t; });
    if (token == kTokens.end()) {
      out += format.front();
      format.remove_prefix(1);
      continue;
    }
    int value = 0;
    switch (token->front()) {
      case 'y':
        value = now.year;
        break;
      case 'M':
        value = now.month;
        break;
      case 'd':
        value = now.day;
        break;
      case 'h':
        value = now.hour;
        break;
      case 'm':
        value = now.minute;
        break;
      default:
        value = now.second;
    }
    std::string digits = std::to_string(value);
    if (*token == "yy" && digits.size() > 2) digits = digits.substr(digits.size() - 2);
    while (token->size() == 2 && digits.size() < 2) digits.insert(digits.begin(), '0');
    out += digits;
    format.remove_prefix(token->size());
  }
  return out;
}

std::string ResolveDynamicPrompt(std::string_view text, uint64_t& random_state) {
  std::string lines;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      lines += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      lines += text[i];
    }
  }
  const std::string plain = StripComments(lines);
  struct Open {
    std::vector<std::string> options;
    std::string current;
  };
  std::vector<Open> stack(1);
  const auto close = [&] {
    Open group = std::move(stack.back());
    stack.pop_back();
    group.options.push_back(std::move(group.current));
    const size_t chosen = group.options.size() == 1 ? 0 : NextRandom(random_state) % group.options.size();
    stack.back().current += group.options[chosen];
  };
  for (size_t i = 0; i < plain.size(); ++i) {
    const char c = plain[i];
    if (c == '\\' && i + 1 < plain.size() && (plain[i + 1] == '{' || plain[i + 1] == '}' || plain[i + 1] == '|')) {
      stack.back().current += plain[++i];
    } else if (c == '{') {
      stack.emplace_back();
    } else if (c == '}' && stack.size() > 1) {
      close();
    } else if (c == '|' && stack.size() > 1) {
      stack.back().options.push_back(std::move(stack.back().current));
      stack.back().current.clear();
    } else {
      stack.back().current += c;
    }
  }
  while (stack.size() > 1) close();
  return std::move(stack.front().current);
}

}  // namespace atelier
