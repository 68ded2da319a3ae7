// Texts, in code points as Python counts them. Source: spec engine.md 12.4 (nodes_string, nodes_preview_any).
#include <utf8proc.h>

#include <algorithm>

#include "common/graph/node.h"
#include "common/graph/python_value.h"
#include "worker/nodes/text_limits.h"

namespace atelier::nodes {
namespace {

// The code points of a text; bytes that are no UTF-8 stand for themselves.
std::u32string Points(const std::string& text) {
  std::u32string points;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  for (utf8proc_ssize_t at = 0; at < size;) {
    utf8proc_int32_t point = 0;
    const utf8proc_ssize_t taken = utf8proc_iterate(bytes + at, size - at, &point);
    if (taken <= 0) {
      points.push_back(bytes[at++]);
      continue;
    }
    points.push_back(static_cast<char32_t>(point));
    at += taken;
  }
  return points;
}

std::string Text(const std::u32string& points) {
  std::string text;
  for (const char32_t point : points) {
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t count = utf8proc_encode_char(static_cast<utf8proc_int32_t>(point), bytes);
    text.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
  }
  return text;
}

char32_t Upper(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }
char32_t Lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
char32_t Title(char32_t c) { return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))); }

bool IsLetter(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

bool IsSpace(char32_t c) {
  if ((c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f) || c == 0x85) return true;
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

std::string LowerText(const std::string& text) {
  std::u32string points = Points(text);
  for (char32_t& c : points) c = Lower(c);
  return Text(points);
}

struct StringConcatenate {
  std::string string_a;
  std::string string_b;
  std::string delimiter;

  static void Describe(NodeSchema<StringConcatenate>& s) {
    s.Name("Concatenate").Category("utils/string").Cheap().Description("Joins two texts.");
    s.Input<&StringConcatenate::string_a>("string_a").Multiline().Tooltip("The first text.");
    s.Input<&StringConcatenate::string_b>("string_b").Multiline().Tooltip("The second text.");
    s.Input<&StringConcatenate::delimiter>("delimiter").Default("").Tooltip("What to put between them.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckTextSize(string_a.size() + delimiter.size() + string_b.size()));
    return string_a + delimiter + string_b;
  }
};
ATELIER_REGISTER_NODE(StringConcatenate);

struct StringSubstring {
  std::string string;
  int64_t start = 0;
  int64_t end = 0;

  static void Describe(NodeSchema<StringSubstring>& s) {
    s.Name("Substring").Category("utils/string").Cheap().Description("Takes a part of a text.");
    s.Input<&StringSubstring::string>("string").Multiline().Tooltip("The text.");
    s.Input<&StringSubstring::start>("start").Tooltip("The first character, from 0; below 0 counts from the end.");
    s.Input<&StringSubstring::end>("end").Tooltip("The character to stop before; below 0 counts from the end.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const {
    const std::u32string points = Points(string);
    const auto size = static_cast<int64_t>(points.size());
    auto place = [size](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
    const int64_t from = place(start), to = std::max(from, place(end));
    return Text(points.substr(static_cast<size_t>(from), static_cast<size_t>(to - from)));
  }
};
ATELIER_REGISTER_NODE(StringSubstring);

struct StringLength {
  std::string string;

  static void Describe(NodeSchema<StringLength>& s) {
    s.Name("Length").Category("utils/string").Cheap().Description("Counts the characters of a text.");
    s.Input<&StringLength::string>("string").Multiline().Tooltip("The text.");
    s.Output<int64_t>("length");
  }
  StatusOr<int64_t> Run(NodeContext&) const { return static_cast<int64_t>(Points(string).size()); }
};
ATELIER_REGISTER_NODE(StringLength);

struct CaseConverter {
  std::string string;
  std::string mode = "UPPERCASE";

  static void Describe(NodeSchema<CaseConverter>& s) {
    s.Name("Case Converter").Category("utils/string").Cheap().Description("Changes the case of letters.");
    s.Input<&CaseConverter::string>("string").Multiline().Tooltip("The text.");
    s.Input<&CaseConverter::mode>("mode")
        .OneOf({"UPPERCASE", "lowercase", "Capitalize", "Title Case"})
        .Tooltip("Which case.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const {
    std::u32string points = Points(string);
    bool inside = false;  // of a word
    for (size_t i = 0; i < points.size(); ++i) {
      char32_t& c = points[i];
      const bool letter = IsLetter(c);
      if (mode == "UPPERCASE")
        c = Upper(c);
      else if (mode == "lowercase")
        c = Lower(c);
      else if (mode == "Capitalize")
        c = i == 0 ? Title(c) : Lower(c);
      else
        c = inside ? Lower(c) : Title(c);
      inside = letter;
    }
    return Text(points);
  }
};
ATELIER_REGISTER_NODE(CaseConverter);

struct StringTrim {
  std::string string;
  std::string mode = "Both";

  static void Describe(NodeSchema<StringTrim>& s) {
    s.Name("Trim").Category("utils/string").Cheap().Description("Takes white space off the ends of a text.");
    s.Input<&StringTrim::string>("string").Multiline().Tooltip("The text.");
    s.Input<&StringTrim::mode>("mode").OneOf({"Both", "Left", "Right"}).Tooltip("Which ends.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const {
    const std::u32string points = Points(string);
    size_t from = 0, to = points.size();
    if (mode != "Right")
      while (from < to && IsSpace(points[from])) ++from;
    if (mode != "Left")
      while (to > from && IsSpace(points[to - 1])) --to;
    return Text(points.substr(from, to - from));
  }
};
ATELIER_REGISTER_NODE(StringTrim);

struct StringReplace {
  std::string string;
  std::string find;
  std::string replace;

  static void Describe(NodeSchema<StringReplace>& s) {
    s.Name("Replace").Category("utils/string").Cheap().Description("Replaces a text within another.");
    s.Input<&StringReplace::string>("string").Multiline().Tooltip("The text.");
    s.Input<&StringReplace::find>("find").Multiline().Tooltip("What to look for.");
    s.Input<&StringReplace::replace>("replace").Multiline().Tooltip("What to put in its place.");
    s.Output<std::string>("STRING");
  }
  StatusOr<std::string> Run(NodeContext&) const {
    std::string result;
    if (find.empty()) {  // as Python: between all characters
      const std::u32string points = Points(string);
      RETURN_IF_ERROR(CheckTextSize(string.size() + (points.size() + 1) * replace.size()));
      result = replace;
      for (const char32_t point : points) result += Text(std::u32string(1, point)) + replace;
      return result;
    }
    size_t at = 0;
    for (size_t hit = string.find(find); hit != std::string::npos; hit = string.find(find, at)) {
      RETURN_IF_ERROR(CheckTextSize(result.size() + hit - at + replace.size()));
      result.append(string, at, hit - at);
      result += replace;
      at = hit + find.size();
    }
    result.append(string, at);
    RETURN_IF_ERROR(CheckTextSize(result.size()));
    return result;
  }
};
ATELIER_REGISTER_NODE(StringReplace);

struct StringContains {
  std::string string;
  std::string substring;
  bool case_sensitive = true;

  static void Describe(NodeSchema<StringContains>& s) {
    s.Name("Contains").Category("utils/string").Cheap().Description("Whether a text holds another.");
    s.Input<&StringContains::string>("string").Multiline().Tooltip("The text.");
    s.Input<&StringContains::substring>("substring").Multiline().Tooltip("What to look for.");
    s.Input<&StringContains::case_sensitive>("case_sensitive")
        .Default(true)
        .Tooltip("Whether large and small letters differ.");
    s.Output<bool>("contains");
  }
  StatusOr<bool> Run(NodeContext&) const {
    if (case_sensitive) return string.find(substring) != std::string::npos;
    return LowerText(string).find(LowerText(substring)) != std::string::npos;
  }
};
ATELIER_REGISTER_NODE(StringContains);

struct StringCompare {
  std::string string_a;
  std::string string_b;
  std::string mode = "Starts With";
  bool case_sensitive = true;

  static void Describe(NodeSchema<StringCompare>& s) {
    s.Name("Compare").Category("utils/string").Cheap().Description("Compares two texts.");
    s.Input<&StringCompare::string_a>("string_a").Multiline().Tooltip("The first text.");
    s.Input<&StringCompare::string_b>("string_b").Multiline().Tooltip("The second text.");
    s.Input<&StringCompare::mode>("mode").OneOf({"Starts With", "Ends With", "Equal"}).Tooltip("What should hold.");
    s.Input<&StringCompare::case_sensitive>("case_sensitive")
        .Default(true)
        .Tooltip("Whether large and small letters differ.");
    s.Output<bool>("BOOLEAN");
  }
  StatusOr<bool> Run(NodeContext&) const {
    const std::string a = case_sensitive ? string_a : LowerText(string_a);
    const std::string b = case_sensitive ? string_b : LowerText(string_b);
    if (mode == "Equal") return a == b;
    if (b.size() > a.size()) return false;
    return a.compare(mode == "Starts With" ? 0 : a.size() - b.size(), b.size(), b) == 0;
  }
};
ATELIER_REGISTER_NODE(StringCompare);

struct PreviewAny {
  Value source;

  static void Describe(NodeSchema<PreviewAny>& s) {
    s.Name("Preview Any").Category("utils").OutputNode().Description("Shows a value as text without keeping it.");
    s.Input<&PreviewAny::source>("source").Tooltip("The value.");
  }
  Status Run(NodeContext& ctx) const {
    OutputFile file;
    file.type = "temp";
    file.prefix = "ComfyUI_temp_text";
    file.extension = ".txt";
    file.embed_workflow = false;
    if (source.is_literal())
      file.bytes = source.literal().is_structured() ? DumpJson(source.literal()) : PythonStr(source.literal());
    else
      file.bytes = source.present() ? source.type() : "None";
    RETURN_IF_ERROR(CheckTextSize(file.bytes.size()));
    ctx.Emit(std::move(file));
    return OkStatus();
  }
};
ATELIER_REGISTER_NODE(PreviewAny);

}  // namespace
}  // namespace atelier::nodes
