// Numbers from expressions in Python's syntax. Source: spec extras.md 1.2.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <variant>

#include "common/graph/python_value.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// A number, or the sides of a tensor.
using Term = std::variant<double, std::vector<double>>;

// Reads and computes an expression at once. `names` are a, b, c, ...
class Expression {
 public:
  Expression(std::string_view text, std::vector<Term> names) : text_(text), names_(std::move(names)) {}

  StatusOr<double> Evaluate() {
    ASSIGN_OR_RETURN(const Term term, Or());
    Space();
    if (at_ != text_.size()) return Unexpected();
    ASSIGN_OR_RETURN(const double number, Number(term));
    return std::isnan(number) ? 0.0 : number;
  }

 private:
  static constexpr int kDepthMax = 100;

  Status Unexpected() const {
    if (at_ >= text_.size()) return InvalidArgument("the expression \"", text_, "\" ends too early");
    return InvalidArgument("the expression \"", text_, "\" is not understood from character ", at_ + 1);
  }
  void Space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool Take(std::string_view token) {
    Space();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  static bool InWord(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
  bool TakeWord(std::string_view word) {
    Space();
    if (text_.substr(at_, word.size()) != word) return false;
    if (at_ + word.size() < text_.size() && InWord(text_[at_ + word.size()])) return false;
    at_ += word.size();
    return true;
  }
  StatusOr<double> Number(const Term& term) const {
    if (const double* number = std::get_if<double>(&term)) return *number;
    return InvalidArgument("the expression \"", text_,
                           "\" uses the sides of a tensor as a number; choose one, as in a[2]");
  }

  StatusOr<Term> Or() {
    ASSIGN_OR_RETURN(Term left, And());
    while (TakeWord("or")) {
      ASSIGN_OR_RETURN(const double first, Number(left));
      ASSIGN_OR_RETURN(const Term right, And());
      ASSIGN_OR_RETURN(const double second, Number(right));
      left = first != 0.0 || second != 0.0 ? 1.0 : 0.0;
    }
    return left;
  }
  StatusOr<Term> And() {
    ASSIGN_OR_RETURN(Term left, Not());
    while (TakeWord("and")) {
      ASSIGN_OR_RETURN(const double first, Number(left));
      ASSIGN_OR_RETURN(const Term right, Not());
      ASSIGN_OR_RETURN(const double second, Number(right));
      left = first != 0.0 && second != 0.0 ? 1.0 : 0.0;
    }
    return left;
  }
  StatusOr<Term> Not() {
    if (!TakeWord("not")) return Comparison();
    if (++depth_ > kDepthMax) return InvalidArgument("the expression is nested too deeply");
    ASSIGN_OR_RETURN(const Term term, Not());
    --depth_;
    ASSIGN_OR_RETURN(const double number, Number(term));
    return Term(number == 0.0 ? 1.0 : 0.0);
  }
  StatusOr<Term> Comparison() {
    ASSIGN_OR_RETURN(const Term left, Sum());
    bool compared = false, holds = true;
    while (true) {
      static constexpr std::string_view kSigns[] = {"==", "!=", "<=", ">=", "<", ">"};
      const auto* sign = std::find_if(std::begin(kSigns), std::end(kSigns), [this](auto s) { return Take(s); });
      if (sign == std::end(kSigns)) break;
      ASSIGN_OR_RETURN(const Term right, Sum());
      ASSIGN_OR_RETURN(const double a, Number(left));
      ASSIGN_OR_RETURN(const double b, Number(right));
      const bool results[] = {a == b, a != b, a <= b, a >= b, a<b, a> b};
      holds = holds && results[sign - std::begin(kSigns)];
      compared = true;
    }
    if (!compared) return left;
    return Term(holds ? 1.0 : 0.0);
  }
  StatusOr<Term> Sum() {
    ASSIGN_OR_RETURN(Term left, Product());
    while (true) {
      const bool plus = Take("+");
      if (!plus && !Take("-")) return left;
      ASSIGN_OR_RETURN(const Term right, Product());
      ASSIGN_OR_RETURN(const double a, Number(left));
      ASSIGN_OR_RETURN(const double b, Number(right));
      left = plus ? a + b : a - b;
    }
  }
  StatusOr<Term> Product() {
    ASSIGN_OR_RETURN(Term left, Unary());
    while (true) {
      Space();
      if (text_.substr(at_, 2) == "**") return left;
      static constexpr std::string_view kSigns[] = {"//", "*", "/", "%"};
      const auto* sign = std::find_if(std::begin(kSigns), std::end(kSigns), [this](auto s) { return Take(s); });
      if (sign == std::end(kSigns)) return left;
      ASSIGN_OR_RETURN(const Term right, Unary());
      ASSIGN_OR_RETURN(const double a, Number(left));
      ASSIGN_OR_RETURN(const double b, Number(right));
      if (*sign != "*" && b == 0.0) return InvalidArgument("the expression \"", text_, "\" divides by zero");
      if (*sign == "*")
        left = a * b;
      else if (*sign == "/")
        left = a / b;
      else if (*sign == "//")
        left = std::floor(a / b);
      else
        left = a - std::floor(a / b) * b;
    }
  }
  StatusOr<Term> Unary() {
    if (!Take("-")) return Power();
    if (++depth_ > kDepthMax) return InvalidArgument("the expression is nested too deeply");
    ASSIGN_OR_RETURN(const Term term, Unary());
    --depth_;
    ASSIGN_OR_RETURN(const double number, Number(term));
    return Term(-number);
  }
  StatusOr<Term> Power() {
    ASSIGN_OR_RETURN(const Term base, Primary());
    if (!Take("**")) return base;
    if (++depth_ > kDepthMax) return InvalidArgument("the expression is nested too deeply");
    ASSIGN_OR_RETURN(const Term exponent, Unary());
    --depth_;
    ASSIGN_OR_RETURN(const double a, Number(base));
    ASSIGN_OR_RETURN(const double b, Number(exponent));
    return Term(std::pow(a, b));
  }
  StatusOr<Term> Primary() {
    Space();
    if (++depth_ > kDepthMax) return InvalidArgument("the expression is nested too deeply");
    ASSIGN_OR_RETURN(Term term, Atom());
    --depth_;
    while (Take("[")) {
      ASSIGN_OR_RETURN(const Term index, Or());
      if (!Take("]")) return Unexpected();
      ASSIGN_OR_RETURN(const double wanted, Number(index));
      const auto* list = std::get_if<std::vector<double>>(&term);
      if (list == nullptr) {
        term = 0.0;
        continue;
      }
      const auto size = static_cast<double>(list->size());
      const double from_start = wanted < 0 ? wanted + size : wanted;
      if (from_start < 0 || from_start >= size)
        return InvalidArgument("the expression \"", text_, "\" asks for side ", wanted, " of ", list->size());
      term = (*list)[static_cast<size_t>(from_start)];
    }
    return term;
  }
  StatusOr<Term> Atom() {
    if (Take("(")) {
      ASSIGN_OR_RETURN(const Term term, Or());
      if (!Take(")")) return Unexpected();
      return term;
    }
    if (at_ >= text_.size()) return Unexpected();
    if (std::isdigit(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '.') return Literal();
    size_t end = at_;
    while (end < text_.size() && InWord(text_[end])) ++end;
    const std::string_view word = text_.substr(at_, end - at_);
    if (word.empty()) return Unexpected();
    at_ = end;
    if (Take("(")) return Call(word);
    if (word.size() == 1 && word[0] >= 'a' && static_cast<size_t>(word[0] - 'a') < names_.size())
      return names_[static_cast<size_t>(word[0] - 'a')];
    return InvalidArgument("the expression \"", text_, "\" uses the unknown name ", word);
  }
  StatusOr<Term> Literal() {
    const std::string rest(text_.substr(at_, 64));
    char* end = nullptr;
    const double number = std::strtod(rest.c_str(), &end);
    if (end == rest.c_str()) return Unexpected();
    at_ += static_cast<size_t>(end - rest.c_str());
    return Term(number);
  }
  StatusOr<Term> Call(std::string_view name) {
    std::vector<double> arguments;
    size_t count = 0;
    if (!Take(")")) {
      do {
        ASSIGN_OR_RETURN(const Term term, Or());
        ++count;
        if (const auto* list = std::get_if<std::vector<double>>(&term))
          arguments.insert(arguments.end(), list->begin(), list->end());
        else
          arguments.push_back(std::get<double>(term));
      } while (Take(","));
      if (!Take(")")) return Unexpected();
    }
    if (name == "len") return Term(static_cast<double>(arguments.size()));
    if (arguments.empty()) return InvalidArgument("the expression \"", text_, "\" calls ", name, " without a number");
    if (name == "min") return Term(*std::min_element(arguments.begin(), arguments.end()));
    if (name == "max") return Term(*std::max_element(arguments.begin(), arguments.end()));
    if (name == "round" && count == 1) return Term(std::nearbyint(arguments[0]));
    if (name == "round") {
      const double scale = std::pow(10.0, arguments[1]);
      return Term(std::nearbyint(arguments[0] * scale) / scale);
    }
    if (name == "sum") {
      double sum = 0;
      for (const double number : arguments) sum += number;
      return Term(sum);
    }
    return InvalidArgument("the expression \"", text_, "\" calls the unknown function ", name);
  }

  std::string_view text_;
  std::vector<Term> names_;
  size_t at_ = 0;
  int depth_ = 0;
};

// What a linked value stands for: a number, or the sides of its tensor.
StatusOr<Term> TermOf(const std::optional<Value>& value) {
  if (!value || !value->present()) return Term(0.0);
  auto sides = [](const at::Tensor& tensor) {
    std::vector<double> list;
    for (const int64_t side : tensor.sizes()) list.push_back(static_cast<double>(side));
    return Term(std::move(list));
  };
  if (const Image* image = value->Get<Image>()) return sides(image->pixels);
  if (const Mask* mask = value->Get<Mask>()) return sides(mask->values);
  if (const Latent* latent = value->Get<Latent>()) return sides(latent->samples);
  if (!value->is_literal()) return InvalidArgument("a value of type ", value->type(), " is no number");
  ASSIGN_OR_RETURN(const double number, PythonFloat(value->literal()));
  return Term(number);
}

StatusOr<std::tuple<int64_t, double>> Compute(const std::string& text,
                                              const std::vector<std::optional<Value>>& values) {
  std::vector<Term> names;
  for (const std::optional<Value>& value : values) {
    ASSIGN_OR_RETURN(Term term, TermOf(value));
    names.push_back(std::move(term));
  }
  while (names.size() < 4) names.emplace_back(0.0);
  ASSIGN_OR_RETURN(const double number, Expression(text, std::move(names)).Evaluate());
  if (!(std::abs(number) < 9e18)) return InvalidArgument("the expression \"", text, "\" gives ", number, ", too large");
  return std::tuple(RoundHalfEven(number), number);
}

struct SimpleMath {
  std::string value;
  std::optional<Value> a;
  std::optional<Value> b;
  std::optional<Value> c;

  static void Describe(NodeSchema<SimpleMath>& s) {
    s.Name("🔧 Simple Math").Category("essentials/utilities").Description("Computes an expression.");
    s.Input<&SimpleMath::value>("value").Default("").Tooltip(
        "The expression in Python's syntax, with the names a, b and c.");
    s.Input<&SimpleMath::a>("a").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Input<&SimpleMath::b>("b").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Input<&SimpleMath::c>("c").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Output<int64_t>("INT").Output<double>("FLOAT");
  }
  StatusOr<std::tuple<int64_t, double>> Run(NodeContext&) const { return Compute(value, {a, b, c}); }
};
ATELIER_REGISTER_NODE_AS(SimpleMath, "SimpleMath+");

struct SimpleMathDual {
  std::string value_1;
  std::string value_2;
  std::optional<Value> a;
  std::optional<Value> b;
  std::optional<Value> c;
  std::optional<Value> d;

  static void Describe(NodeSchema<SimpleMathDual>& s) {
    s.Name("🔧 Simple Math Dual").Category("essentials/utilities").Description("Computes two expressions.");
    s.Input<&SimpleMathDual::value_1>("value_1").Default("").Tooltip("The first expression, with the names a to d.");
    s.Input<&SimpleMathDual::value_2>("value_2").Default("").Tooltip("The second expression.");
    s.Input<&SimpleMathDual::a>("a").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Input<&SimpleMathDual::b>("b").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Input<&SimpleMathDual::c>("c").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Input<&SimpleMathDual::d>("d").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Output<int64_t>("INT").Output<double>("FLOAT").Output<int64_t>("INT").Output<double>("FLOAT");
  }
  StatusOr<std::tuple<int64_t, double, int64_t, double>> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const auto first, Compute(value_1, {a, b, c, d}));
    ASSIGN_OR_RETURN(const auto second, Compute(value_2, {a, b, c, d}));
    return std::tuple_cat(first, second);
  }
};
ATELIER_REGISTER_NODE_AS(SimpleMathDual, "SimpleMathDual+");

struct SimpleMathCondition {
  Value evaluate;
  std::string on_true;
  std::string on_false;
  std::optional<Value> a;
  std::optional<Value> b;
  std::optional<Value> c;

  static void Describe(NodeSchema<SimpleMathCondition>& s) {
    s.Name("🔧 Simple Math Condition").Category("essentials/utilities").Description("Computes one of two expressions.");
    s.Input<&SimpleMathCondition::evaluate>("evaluate").Tooltip("Chooses: true or any number but 0 takes the first.");
    s.Input<&SimpleMathCondition::on_true>("on_true").Default("").Tooltip("The first expression.");
    s.Input<&SimpleMathCondition::on_false>("on_false").Default("").Tooltip("The second expression.");
    s.Input<&SimpleMathCondition::a>("a").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Input<&SimpleMathCondition::b>("b").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Input<&SimpleMathCondition::c>("c").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Output<int64_t>("INT").Output<double>("FLOAT");
  }
  StatusOr<std::tuple<int64_t, double>> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const Term term, TermOf(evaluate));
    const double* number = std::get_if<double>(&term);
    return Compute(number == nullptr || *number != 0.0 ? on_true : on_false, {a, b, c});
  }
};
ATELIER_REGISTER_NODE_AS(SimpleMathCondition, "SimpleMathCondition+");

struct SimpleComparison {
  Value a;
  Value b;
  std::string comparison = "==";

  static void Describe(NodeSchema<SimpleComparison>& s) {
    s.Name("🔧 Simple Comparison").Category("essentials/utilities").Description("Compares two numbers.");
    s.Input<&SimpleComparison::a>("a").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Input<&SimpleComparison::b>("b").Tooltip("A number, or something whose sides count, as in a[2].");
    s.Input<&SimpleComparison::comparison>("comparison")
        .OneOf({"==", "!=", "<", "<=", ">", ">="})
        .Tooltip("What should hold.");
    s.Output<bool>("BOOLEAN");
  }
  StatusOr<bool> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(const auto result, Compute("a " + comparison + " b", {a, b}));
    return std::get<0>(result) != 0;
  }
};
ATELIER_REGISTER_NODE_AS(SimpleComparison, "SimpleComparison+");

struct SimpleMathFloat {
  double value = 0.0;

  static void Describe(NodeSchema<SimpleMathFloat>& s) {
    s.Name("🔧 Simple Math Float").Category("essentials/utilities").Cheap().Description("A number.");
    s.Input<&SimpleMathFloat::value>("value")
        .Default(0.0)
        .Range(-INT64_MAX, INT64_MAX)
        .Step(0.05)
        .Tooltip("The number.");
    s.Output<double>("FLOAT");
  }
  StatusOr<double> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE_AS(SimpleMathFloat, "SimpleMathFloat+");

struct SimpleMathInt {
  int64_t value = 0;

  static void Describe(NodeSchema<SimpleMathInt>& s) {
    s.Name("🔧 Simple Math Int").Category("essentials/utilities").Cheap().Description("A whole number.");
    s.Input<&SimpleMathInt::value>("value").Default(0).Range(-INT64_MAX, INT64_MAX).Step(1).Tooltip("The number.");
    s.Output<int64_t>("INT");
  }
  StatusOr<int64_t> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE_AS(SimpleMathInt, "SimpleMathInt+");

struct SimpleMathPercent {
  double value = 0.0;

  static void Describe(NodeSchema<SimpleMathPercent>& s) {
    s.Name("🔧 Simple Math Percent").Category("essentials/utilities").Cheap().Description("A share.");
    s.Input<&SimpleMathPercent::value>("value").Default(0.0).Range(0.0, 1.0).Step(0.05).Tooltip("The share, 0 to 1.");
    s.Output<double>("FLOAT");
  }
  StatusOr<double> Run(NodeContext&) const { return value; }
};
ATELIER_REGISTER_NODE_AS(SimpleMathPercent, "SimpleMathPercent+");

struct SimpleMathBoolean {
  bool value = false;

  static void Describe(NodeSchema<SimpleMathBoolean>& s) {
    s.Name("🔧 Simple Math Boolean").Category("essentials/utilities").Cheap().Description("A truth value.");
    s.Input<&SimpleMathBoolean::value>("value").Default(false).Tooltip("The value.");
    s.Output<int64_t>("INT");
  }
  StatusOr<int64_t> Run(NodeContext&) const { return value ? int64_t{1} : int64_t{0}; }
};
ATELIER_REGISTER_NODE_AS(SimpleMathBoolean, "SimpleMathBoolean+");

struct SimpleMathSlider {
  double value = 0.5;
  double min = 0.0;
  double max = 1.0;
  int64_t rounding = 0;

  static void Describe(NodeSchema<SimpleMathSlider>& s) {
    s.Name("🔧 Simple Math Slider").Category("essentials/utilities").Cheap().Description("A number between two others.");
    s.Input<&SimpleMathSlider::value>("value").Default(0.5).Range(0.0, 1.0).Step(0.001).Tooltip(
        "Where between them, 0 to 1.");
    s.Input<&SimpleMathSlider::min>("min")
        .Default(0.0)
        .Range(-INT64_MAX, INT64_MAX)
        .Step(0.001)
        .Tooltip("The number at 0.");
    s.Input<&SimpleMathSlider::max>("max")
        .Default(1.0)
        .Range(-INT64_MAX, INT64_MAX)
        .Step(0.001)
        .Tooltip("The number at 1.");
    s.Input<&SimpleMathSlider::rounding>("rounding")
        .Default(0)
        .Range(0, 10)
        .Step(1)
        .Tooltip("Decimals to keep; 0 keeps all.");
    s.Output<double>("FLOAT").Output<int64_t>("INT");
  }
  StatusOr<std::tuple<double, int64_t>> Run(NodeContext&) const {
    double number = min + value * (max - min);
    if (rounding > 0) {
      const double scale = std::pow(10.0, static_cast<double>(rounding));
      number = std::nearbyint(number * scale) / scale;
    }
    if (!(std::abs(number) < 9e18)) return InvalidArgument("the number ", number, " is too large");
    return std::tuple(number, static_cast<int64_t>(number));
  }
};
ATELIER_REGISTER_NODE_AS(SimpleMathSlider, "SimpleMathSlider+");

}  // namespace
}  // namespace atelier::nodes
