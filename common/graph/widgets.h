// What an editor file's widget values mean: per node type the widgets in order, the sockets and their types.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/graph/schema.h"
#include "common/json/json.h"

namespace atelier {

/// One widget of a node type in the editor.
struct WidgetSpec {
  enum class Serializer {
    kNone,
    kText,
    kPrefix
  };  // kText: comments and {a|b} resolved; kPrefix: %date% and %Node.widget% replaced
  std::string name;
  std::string type;     // wire type of the input it sets; empty for what exists in the editor only
  Json default_value;   // null: none, and the input is left out of the prompt
  Json min, max, step;  // of numbers; null: none
  bool in_prompt = true;
  bool in_values = true;  // takes a place in widgets_values
  bool newer = false;     // the reference has none: what a file holds here may be of a widget that is gone
  Serializer serializer = Serializer::kNone;
};

/// A node type as the editor lays it out.
struct NodeLayout {
  std::string title;
  std::vector<WidgetSpec> widgets;                          // in the order of widgets_values
  std::vector<std::pair<std::string, std::string>> inputs;  // sockets without widget: name and type
  std::vector<std::string> outputs;                         // types
  std::vector<size_t> forced;  // places in old files' values that belong to inputs which no longer have a widget
  bool by_name = false;        // widgets_values is an object
  std::map<std::string, std::map<std::string, std::vector<WidgetSpec>>>
      by_choice;           // widget -> choice -> widgets that follow it
  bool front_end = false;  // exists in the editor only

  const WidgetSpec* FindWidget(std::string_view name) const;
};

/// The layout that follows from a declaration. Source: spec engine.md 1.2. Thread: any.
NodeLayout LayoutOf(const NodeSpec& spec);

/// Layouts by node type. A value. Thread: const any.
class WidgetTable {
 public:
  /// Reads config/widgets.json (form: config/make_widgets.py). Errors: INVALID_ARGUMENT naming the type.
  static StatusOr<WidgetTable> FromJson(const Json& json);
  /// As FromJson, of a file. Errors: also NOT_FOUND.
  static StatusOr<WidgetTable> Load(const std::string& path);
  /// Lets the declarations of `catalog` win over what the file says: defaults and ranges always, and the whole layout
  /// where the names differ. What only the file knows (titles, widgets of the editor alone) stays.
  void Merge(const Catalog& catalog);
  const NodeLayout* Find(std::string_view type) const;
  size_t size() const { return layouts_.size(); }

 private:
  std::map<std::string, NodeLayout, std::less<>> layouts_;
};

}  // namespace atelier
