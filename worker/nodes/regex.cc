// Regular expressions in linear time: RE2's syntax, which is Python's without look-around and back-references, so no
// pattern can hang a worker. Source: spec engine.md 12.4 (nodes_string).
#include <re2/re2.h>

#include <memory>

#include "common/graph/node.h"
#include "worker/nodes/text_limits.h"

namespace atelier::nodes {
namespace {

struct Flags {
  bool case_insensitive = false, multiline = false, dotall = false;
};

StatusOr<std::unique_ptr<RE2>> Compile(const std::string& pattern, const Flags& flags) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_case_sensitive(!flags.case_insensitive);
  std::string prefix;
  if (flags.multiline) prefix += "m";
  if (flags.dotall) prefix += "s";
  auto regex = std::make_unique<RE2>(prefix.empty() ? pattern : "(?" + prefix + ")" + pattern, options);
  if (!regex->ok())
    return InvalidArgument("regex_pattern is not understood: ", regex->error(),
                           "; look-around and back-references are not supported");
  return regex;
}

// One match: the whole, then its groups. Groups that took no part are empty with a null pointer.
using Match = std::vector<re2::StringPiece>;

// The first match at or after `from`.
bool Find(const RE2& regex, const std::string& text, size_t from, Match& match) {
  match.assign(static_cast<size_t>(regex.NumberOfCapturingGroups()) + 1, {});
  return regex.Match(text, from, text.size(), RE2::UNANCHORED, match.data(), static_cast<int>(match.size()));
}

// Where the next search begins: after the match, or after one more character when the match is empty.
size_t After(const std::string& text, const Match& match) {
  size_t at = static_cast<size_t>(match[0].data() - text.data()) + match[0].size();
  if (!match[0].empty()) return at;
  ++at;
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  return at;
}

struct RegexMatch {
  std::string string;
  std::string regex_pattern;
  bool case_insensitive = true;
  bool multiline = false;
  bool dotall = false;

  static void Describe(NodeSchema<RegexMatch>& s) {
    s.Name("Regex Match").Category("utils/string").Cheap().Description("Whether a pattern occurs in a text.");
    s.Input<&RegexMatch::string>("string").Multiline().Tooltip("The text.");
    s.Input<&RegexMatch::regex_pattern>("regex_pattern").Multiline().Tooltip("The pattern.");
    s.Input<&RegexMatch::case_insensitive>("case_insensitive")
        .Default(true)
        .Tooltip("Large and small letters count as equal.");
    s.Input<&RegexMatch::multiline>("multiline").Default(false).Tooltip("^ and $ match at every line.");
    s.Input<&RegexMatch::dotall>("dotall").Default(false).Tooltip("The dot matches line ends too.");
    s.Output<bool>("matches");
  }
  StatusOr<bool> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const auto regex, Compile(regex_pattern, {case_insensitive, multiline, dotall}));
    return RE2::PartialMatch(string, *regex);
  }
};
ATELIER_REGISTER_NODE(RegexMatch);

struct RegexExtract {
  std::string string;
  std::string regex_pattern;
  std::string mode = "First Match";
  bool case_insensitive = true;
  bool multiline = false;
  bool dotall = false;
  int64_t group_index = 1;

  static void Describe(NodeSchema<RegexExtract>& s) {
    s.Name("Regex Extract")
        .Category("utils/string")
        .Cheap()
        .Description("Takes what matches a pattern out of a text; several matches one a line.");
    s.Input<&RegexExtract::string>("string").Multiline().Tooltip("The text.");
    s.Input<&RegexExtract::regex_pattern>("regex_pattern").Multiline().Tooltip("The pattern.");
    s.Input<&RegexExtract::mode>("mode")
        .OneOf({"First Match", "All Matches", "First Group", "All Groups"})
        .Tooltip("The first match or all, as a whole or one group of them.");
    s.Input<&RegexExtract::case_insensitive>("case_insensitive")
        .Default(true)
        .Tooltip("Large and small letters count as equal.");
    s.Input<&RegexExtract::multiline>("multiline").Default(false).Tooltip("^ and $ match at every line.");
    s.Input<&RegexExtract::dotall>("dotall").Default(false).Tooltip("The dot matches line ends too.");
    s.Input<&RegexExtract::group_index>("group_index")
        .Default(1)
        .Range(0, 100)
        .Tooltip("Which group, from 1; 0 is the whole match.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const auto regex, Compile(regex_pattern, {case_insensitive, multiline, dotall}));
    const bool all = mode == "All Matches" || mode == "All Groups";
    const int groups = regex->NumberOfCapturingGroups();
    // Python's findall gives the first group where there is one.
    size_t wanted = mode == "All Matches" && groups > 0 ? 1 : 0;
    if (mode == "First Group" || mode == "All Groups") {
      if (groups == 0 || group_index > groups) return std::string();
      wanted = static_cast<size_t>(group_index);
    }
    std::string result;
    Match match;
    bool first = true;
    for (size_t at = 0; at <= string.size() && Find(*regex, string, at, match); at = After(string, match)) {
      if (!first) result += '\n';
      first = false;
      if (match[wanted].data() != nullptr) result.append(match[wanted].data(), match[wanted].size());
      RETURN_IF_ERROR(CheckTextSize(result.size()));
      if (!all) break;
    }
    return result;
  }
};
ATELIER_REGISTER_NODE(RegexExtract);

// `replacement` with \1, \g<1>, \g<name> and \n filled in, as Python's re.sub writes them. Errors: INVALID_ARGUMENT.
Status Expand(const RE2& regex, const std::string& replacement, const Match& match, std::string& out) {
  auto group = [&](const std::string& name) -> Status {
    size_t index = match.size();
    if (!name.empty() && name.size() < 4 && name.find_first_not_of("0123456789") == std::string::npos) {
      index = static_cast<size_t>(std::stoi(name));
    } else if (const auto it = regex.NamedCapturingGroups().find(name); it != regex.NamedCapturingGroups().end()) {
      index = static_cast<size_t>(it->second);
    }
    if (index >= match.size())
      return InvalidArgument("replace names the group \"", name, "\", which the pattern lacks");
    if (match[index].data() != nullptr) out.append(match[index].data(), match[index].size());
    return OkStatus();
  };
  for (size_t i = 0; i < replacement.size(); ++i) {
    if (replacement[i] != '\\' || i + 1 == replacement.size()) {
      out += replacement[i];
      continue;
    }
    const char next = replacement[++i];
    if (next == 'n' || next == 't' || next == 'r') {
      out += next == 'n' ? '\n' : next == 't' ? '\t' : '\r';
    } else if (next == 'g' && i + 1 < replacement.size() && replacement[i + 1] == '<') {
      const size_t end = replacement.find('>', i);
      if (end == std::string::npos) return InvalidArgument("replace has \\g< without >");
      RETURN_IF_ERROR(group(replacement.substr(i + 2, end - i - 2)));
      i = end;
    } else if (next >= '1' && next <= '9') {
      size_t digits = 1;
      if (i + 1 < replacement.size() && replacement[i + 1] >= '0' && replacement[i + 1] <= '9') digits = 2;
      RETURN_IF_ERROR(group(replacement.substr(i, digits)));
      i += digits - 1;
    } else if (next == '\\') {
      out += '\\';
    } else {
      return InvalidArgument("replace has \\", std::string(1, next),
                             ", which means nothing; write \\\\ for a backslash");
    }
  }
  return OkStatus();
}

struct RegexReplace {
  std::string string;
  std::string regex_pattern;
  std::string replace;
  bool case_insensitive = true;
  bool multiline = false;
  bool dotall = false;
  int64_t count = 0;

  static void Describe(NodeSchema<RegexReplace>& s) {
    s.Name("Regex Replace").Category("utils/string").Cheap().Description("Replaces what matches a pattern.");
    s.Input<&RegexReplace::string>("string").Multiline().Tooltip("The text.");
    s.Input<&RegexReplace::regex_pattern>("regex_pattern").Multiline().Tooltip("The pattern.");
    s.Input<&RegexReplace::replace>("replace").Multiline().Tooltip(
        "What to put in its place; \\1 or \\g<name> is a group.");
    s.Input<&RegexReplace::case_insensitive>("case_insensitive")
        .Optional()
        .Default(true)
        .Tooltip("Large and small letters count as equal.");
    s.Input<&RegexReplace::multiline>("multiline").Optional().Default(false).Tooltip("^ and $ match at every line.");
    s.Input<&RegexReplace::dotall>("dotall").Optional().Default(false).Tooltip("The dot matches line ends too.");
    s.Input<&RegexReplace::count>("count").Optional().Default(0).Range(0, 100).Tooltip(
        "How many matches at most; 0 is all.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const auto regex, Compile(regex_pattern, {case_insensitive, multiline, dotall}));
    std::string result;
    Match match;
    size_t copied = 0;
    int64_t done = 0;
    for (size_t at = 0; at <= string.size() && Find(*regex, string, at, match); at = After(string, match)) {
      const auto begin = static_cast<size_t>(match[0].data() - string.data());
      result.append(string, copied, begin - copied);
      RETURN_IF_ERROR(Expand(*regex, replace, match, result));
      RETURN_IF_ERROR(CheckTextSize(result.size()));
      copied = begin + match[0].size();
      if (++done == count) break;
    }
    result.append(string, copied);
    RETURN_IF_ERROR(CheckTextSize(result.size()));
    return result;
  }
};
ATELIER_REGISTER_NODE(RegexReplace);

}  // namespace
}  // namespace atelier::nodes
