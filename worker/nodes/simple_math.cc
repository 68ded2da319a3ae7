// Numbers and choices from expressions in Python's syntax. Source: spec extras.md 1.2.
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <compare>
#include <limits>
#include <variant>

#include "common/graph/python_value.h"
#include "worker/nodes/python_numbers.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// A name that stands for nothing: only arithmetic minds.
struct Nothing {
  std::string_view name;
};
// What cannot be computed: an error unless the reference does not look at it.
struct Fault {
  std::string what;
};
// A number, the sides of a tensor, or one of these.
using Term = std::variant<double, std::vector<double>, Nothing, Fault>;

constexpr std::array<std::string_view, 6> kComparisons = {"==", "!=", "<=", ">=", "<", ">"};

bool Holds(std::string_view sign, std::partial_ordering order) {
  return sign == "=="   ? std::is_eq(order)
         : sign == "!=" ? std::is_neq(order)
         : sign == "<=" ? std::is_lteq(order)
         : sign == ">=" ? std::is_gteq(order)
         : sign == "<"  ? std::is_lt(order)
                        : std::is_gt(order);
}

// Reads and computes an expression at once. `names` are a, b, c, ...
class Expression {
 public:
  Expression(std::string_view text, std::vector<Term> names) : text_(text), names_(std::move(names)) {}

  StatusOr<double> Evaluate() {
    ASSIGN_OR_RETURN(const Term term, Test());
    Space();
    if (at_ != text_.size()) return Unexpected();
    const Term result = Number(term);
    if (const Fault* fault = std::get_if<Fault>(&result)) return InvalidArgument(fault->what);
    const double number = std::get<double>(result);
    return std::isnan(number) ? 0.0 : number;
  }

 private:
  static constexpr int kDepthMax = 100;

  Status Unexpected() const {
    if (at_ >= text_.size()) return InvalidArgument("the expression \"", text_, "\" ends too early");
    return InvalidArgument("the expression \"", text_, "\" is not understood from character ", at_ + 1);
  }
  static Status TooDeep() { return InvalidArgument("the expression is nested too deeply"); }
  template <typename... Parts>
  Term Fail(const Parts&... parts) const {
    return Fault{Cat("the expression \"", text_, "\" ", parts...)};
  }

  static bool IsSpace(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
  static bool IsDigit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }
  static bool InWord(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
  void Space() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }
  bool Next(std::string_view token) {
    Space();
    return text_.substr(at_, token.size()) == token;
  }
  bool Take(std::string_view token) {
    if (!Next(token)) return false;
    at_ += token.size();
    return true;
  }
  bool TakeWord(std::string_view word) {
    if (!Next(word)) return false;
    if (at_ + word.size() < text_.size() && InWord(text_[at_ + word.size()])) return false;
    at_ += word.size();
    return true;
  }
  // "" where none begins.
  std::string_view NextWord() {
    Space();
    size_t end = at_;
    if (end < text_.size() && IsDigit(text_[end])) return {};
    while (end < text_.size() && InWord(text_[end])) ++end;
    return text_.substr(at_, end - at_);
  }

  static bool IsFault(const Term& term) { return std::holds_alternative<Fault>(term); }
  static bool Truth(const Term& term) {
    if (const double* number = std::get_if<double>(&term)) return *number != 0.0;
    const auto* sides = std::get_if<std::vector<double>>(&term);
    return sides != nullptr && !sides->empty();
  }
  // The term where it is a number, else what is wrong.
  Term Number(const Term& term) const {
    if (std::holds_alternative<std::vector<double>>(term))
      return Fail("uses the sides of a tensor as a number; choose one, as in a[2]");
    if (const Nothing* nothing = std::get_if<Nothing>(&term)) return Fail("uses the unknown name ", nothing->name);
    return term;
  }
  template <typename F>
  Term Apply(const Term& left, const Term& right, const F& function) const {
    const Term a = Number(left), b = Number(right);
    if (IsFault(a)) return a;
    if (IsFault(b)) return b;
    return function(std::get<double>(a), std::get<double>(b));
  }

  // `x if y else z` is one of the things that give 0, whatever is in them.
  StatusOr<Term> Test() {
    ASSIGN_OR_RETURN(Term term, Or());
    while (TakeWord("if")) {
      RETURN_IF_ERROR(Or().status());
      if (!TakeWord("else")) return Unexpected();
      RETURN_IF_ERROR(Or().status());
      term = 0.0;
    }
    return term;
  }
  // Of a row of them, the first two operands count.
  StatusOr<Term> Or() {
    ASSIGN_OR_RETURN(Term left, And());
    for (int operand = 2; TakeWord("or"); ++operand) {
      ASSIGN_OR_RETURN(const Term right, And());
      if (operand == 2 && !IsFault(left) && !Truth(left)) left = right;
    }
    return left;
  }
  StatusOr<Term> And() {
    ASSIGN_OR_RETURN(Term left, Not());
    for (int operand = 2; TakeWord("and"); ++operand) {
      ASSIGN_OR_RETURN(const Term right, Not());
      if (operand == 2 && Truth(left)) left = right;
    }
    return left;
  }
  StatusOr<Term> Not() {
    if (!TakeWord("not")) return Comparison();
    if (++depth_ > kDepthMax) return TooDeep();
    ASSIGN_OR_RETURN(const Term term, Not());
    --depth_;
    return IsFault(term) ? term : Term(Truth(term) ? 0.0 : 1.0);
  }
  // In a row, each term is compared with the first one.
  StatusOr<Term> Comparison() {
    ASSIGN_OR_RETURN(const Term left, Sum());
    Term result = left;
    for (bool first = true;; first = false) {
      const auto* sign = std::find_if(kComparisons.begin(), kComparisons.end(), [this](auto s) { return Take(s); });
      if (sign == kComparisons.end()) return result;
      ASSIGN_OR_RETURN(const Term right, Sum());
      if (first || Truth(result)) result = Compare(*sign, left, right);
    }
  }
  Term Compare(std::string_view sign, const Term& left, const Term& right) const {
    if (IsFault(left)) return left;
    if (IsFault(right)) return right;
    const auto *a = std::get_if<double>(&left), *b = std::get_if<double>(&right);
    const auto* these = std::get_if<std::vector<double>>(&left);
    const auto* those = std::get_if<std::vector<double>>(&right);
    auto order = std::partial_ordering::unordered;
    if (a != nullptr && b != nullptr) {
      order = *a <=> *b;
    } else if (these != nullptr && those != nullptr) {
      order = *these <=> *those;
    } else if (sign != "==" && sign != "!=") {
      const Term number = Number(left);
      return IsFault(number) ? number : Number(right);
    } else if (std::holds_alternative<Nothing>(left) && std::holds_alternative<Nothing>(right)) {
      order = std::partial_ordering::equivalent;
    }
    return Holds(sign, order) ? 1.0 : 0.0;
  }
  StatusOr<Term> Sum() {
    ASSIGN_OR_RETURN(Term left, Product());
    while (true) {
      const bool plus = Take("+");
      if (!plus && !Take("-")) return left;
      ASSIGN_OR_RETURN(const Term right, Product());
      left = Apply(left, right, [plus](double a, double b) { return plus ? a + b : a - b; });
    }
  }
  StatusOr<Term> Product() {
    ASSIGN_OR_RETURN(Term left, Unary());
    while (true) {
      static constexpr std::array<std::string_view, 4> kSigns = {"//", "*", "/", "%"};
      const auto* sign = std::find_if(kSigns.begin(), kSigns.end(), [this](auto s) { return Take(s); });
      if (sign == kSigns.end()) return left;
      ASSIGN_OR_RETURN(const Term right, Unary());
      left = Apply(left, right, [&](double a, double b) -> Term {
        if (*sign == "*") return a * b;
        if (b == 0.0) return Fail("divides by zero");
        return *sign == "/" ? a / b : *sign == "//" ? PythonFloorDivide(a, b) : PythonModulo(a, b);
      });
    }
  }
  StatusOr<Term> Unary() {
    const bool minus = Take("-");
    if (!minus && !Take("+")) return Power();
    if (++depth_ > kDepthMax) return TooDeep();
    ASSIGN_OR_RETURN(const Term term, Unary());
    --depth_;
    return Apply(term, 0.0, [minus](double a, double) { return minus ? -a : a; });
  }
  StatusOr<Term> Power() {
    ASSIGN_OR_RETURN(const Term base, Primary());
    if (!Take("**")) return base;
    if (++depth_ > kDepthMax) return TooDeep();
    ASSIGN_OR_RETURN(const Term exponent, Unary());
    --depth_;
    return Apply(base, exponent, [this](double a, double b) -> Term {
      if (a == 0.0 && b < 0) return Fail("divides by zero");
      if (a < 0 && std::isfinite(b) && b != std::trunc(b)) return Fail("takes a root of ", a);
      return std::pow(a, b);
    });
  }
  StatusOr<Term> Primary() {
    if (++depth_ > kDepthMax) return TooDeep();
    ASSIGN_OR_RETURN(Term term, Atom());
    while (true) {
      if (Take("[")) {
        ASSIGN_OR_RETURN(term, Subscript(term));
      } else if (Take(".")) {
        const std::string_view attribute = NextWord();
        if (attribute.empty()) return Unexpected();
        at_ += attribute.size();
        term = 0.0;
      } else {
        --depth_;
        return term;
      }
    }
  }
  // After its bracket. Only a constant chooses a side.
  StatusOr<Term> Subscript(const Term& term) {
    const size_t start = at_;
    do {
      if (!Next(":") && !Next(",") && !Next("]")) RETURN_IF_ERROR(Test().status());
    } while (Take(":") || Take(","));
    std::string_view inside = text_.substr(start, at_ - start);
    if (std::all_of(inside.begin(), inside.end(), IsSpace) || !Take("]")) return Unexpected();
    const auto around = [](char c) { return IsSpace(c) || c == '(' || c == ')'; };
    while (!inside.empty() && around(inside.front())) inside.remove_prefix(1);
    while (!inside.empty() && around(inside.back())) inside.remove_suffix(1);
    if (inside.empty() || !std::all_of(inside.begin(), inside.end(), [](char c) { return IsDigit(c) || c == '_'; }))
      return Term(0.0);
    const auto* sides = std::get_if<std::vector<double>>(&term);
    if (sides == nullptr) {
      const Term number = Number(term);
      return IsFault(number) ? number : Term(0.0);
    }
    ASSIGN_OR_RETURN(const double wanted, PythonFloat(Json(std::string(inside))));
    if (wanted >= static_cast<double>(sides->size())) return Fail("asks for side ", wanted, " of ", sides->size());
    return Term((*sides)[static_cast<size_t>(wanted)]);
  }
  StatusOr<Term> Atom() {
    Space();
    if (at_ >= text_.size()) return Unexpected();
    if (Take("(")) return Row(")", false);
    if (Take("[")) return Row("]", true);
    if (IsDigit(text_[at_]) || text_[at_] == '.') return Literal();
    static constexpr std::array<std::string_view, 9> kReserved = {"and", "or", "not", "if",    "else",
                                                                  "for", "in", "is",  "lambda"};
    const std::string_view word = NextWord();
    if (word.empty() || std::find(kReserved.begin(), kReserved.end(), word) != kReserved.end()) return Unexpected();
    at_ += word.size();
    if (Take("(")) return Call(word);
    if (word == "True" || word == "False") return Term(word == "True" ? 1.0 : 0.0);
    if (word.size() == 1 && word[0] >= 'a' && static_cast<size_t>(word[0] - 'a') < names_.size())
      return names_[static_cast<size_t>(word[0] - 'a')];
    return Term(Nothing{word});
  }
  // What stands between brackets; several terms make a tuple (or a list), which gives 0.
  StatusOr<Term> Row(std::string_view close, bool list) {
    if (Take(close)) return Term(0.0);
    ASSIGN_OR_RETURN(Term term, Test());
    while (Take(",")) {
      list = true;
      if (!Next(close)) RETURN_IF_ERROR(Test().status());
    }
    if (!Take(close)) return Unexpected();
    return list ? Term(0.0) : term;
  }
  StatusOr<Term> Literal() {
    size_t end = at_;
    while (end < text_.size() && (InWord(text_[end]) || text_[end] == '.' ||
                                  ((text_[end] == '-' || text_[end] == '+') && std::tolower(text_[end - 1]) == 'e')))
      ++end;
    const StatusOr<double> number = PythonFloat(Json(std::string(text_.substr(at_, end - at_))));
    if (!number.ok()) return Unexpected();
    at_ = end;
    return Term(*number);
  }
  StatusOr<Term> Call(std::string_view name) {
    std::vector<double> arguments;
    size_t count = 0;
    Term problem = 0.0;
    if (!Take(")")) {
      do {
        ASSIGN_OR_RETURN(const Term term, Test());
        ++count;
        if (const auto* list = std::get_if<std::vector<double>>(&term)) {
          arguments.insert(arguments.end(), list->begin(), list->end());
          continue;
        }
        const Term number = Number(term);
        if (const double* value = std::get_if<double>(&number))
          arguments.push_back(*value);
        else if (!IsFault(problem))
          problem = number;
      } while (Take(","));
      if (!Take(")")) return Unexpected();
    }
    return IsFault(problem) ? problem : Result(name, arguments, count);
  }
  // `count` terms hold the arguments.
  Term Result(std::string_view name, const std::vector<double>& arguments, size_t count) const {
    if (name == "len") return static_cast<double>(arguments.size());
    if (arguments.empty()) return Fail("calls ", name, " without a number");
    if (name == "min") return *std::min_element(arguments.begin(), arguments.end());
    if (name == "max") return *std::max_element(arguments.begin(), arguments.end());
    if (name == "round") {
      if (count > 2 || arguments.size() != count) return Fail("calls round with more than a number and its decimals");
      if (count == 1) return std::nearbyint(arguments[0]);
      if (arguments[1] != std::trunc(arguments[1])) return Fail("rounds to ", arguments[1], " decimals");
      return PythonRound(arguments[0], static_cast<int64_t>(std::clamp(arguments[1], -1000.0, 1000.0)));
    }
    if (name == "sum") {
      double sum = 0;
      for (const double number : arguments) sum += number;
      return sum;
    }
    return Fail("calls the unknown function ", name);
  }

  std::string_view text_;
  std::vector<Term> names_;
  size_t at_ = 0;
  int depth_ = 0;
};

// What the value of an input stands for: a number, or the sides of its tensor.
StatusOr<Term> TermOf(std::string_view input, const std::optional<Value>& value) {
  if (!value || !value->present()) return Term(0.0);
  auto sides = [](const at::Tensor& tensor) {
    std::vector<double> list;
    for (const int64_t side : tensor.sizes()) list.push_back(static_cast<double>(side));
    return Term(std::move(list));
  };
  if (const Image* image = value->Get<Image>()) return sides(image->pixels);
  if (const Mask* mask = value->Get<Mask>()) return sides(mask->values);
  if (const Latent* latent = value->Get<Latent>()) return sides(latent->samples);
  if (!value->is_literal())
    return InvalidArgument("input \"", input, "\" is a value of type ", value->type(), ", which is no number");
  const StatusOr<double> number = PythonFloat(value->literal());
  if (!number.ok()) return Annotate(number.status(), Cat("input \"", input, "\""));
  return Term(*number);
}

StatusOr<std::tuple<int64_t, double>> Compute(const std::string& text,
                                              const std::vector<std::optional<Value>>& values) {
  std::vector<Term> names;
  for (const std::optional<Value>& value : values) {
    const auto name = static_cast<char>('a' + static_cast<char>(names.size()));
    ASSIGN_OR_RETURN(Term term, TermOf(std::string_view(&name, 1), value));
    names.push_back(std::move(term));
  }
  while (names.size() < 4) names.emplace_back(0.0);
  ASSIGN_OR_RETURN(const double number, Expression(text, std::move(names)).Evaluate());
  if (!(std::abs(number) < 9e18)) return InvalidArgument("the expression \"", text, "\" gives ", number, ", too large");
  return std::tuple(RoundHalfEven(number), number);
}

// The number that a value is, exactly.
std::optional<long double> ExactNumber(const Json& value) {
  static_assert(std::numeric_limits<long double>::digits >= 64);
  if (value.is_boolean()) return value.get<bool>() ? 1.0L : 0.0L;
  if (value.is_number_unsigned()) return static_cast<long double>(value.get<uint64_t>());
  if (value.is_number_integer()) return static_cast<long double>(value.get<int64_t>());
  if (value.is_number()) return static_cast<long double>(value.get<double>());
  return std::nullopt;
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
    ASSIGN_OR_RETURN(const Term term, TermOf("evaluate", evaluate));
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
    s.Name("🔧 Simple Comparison").Category("essentials/utilities").Description("Compares two numbers or two texts.");
    s.Input<&SimpleComparison::a>("a").Tooltip("A number or a text.");
    s.Input<&SimpleComparison::b>("b").Tooltip("A number or a text; a number equals no text.");
    s.Input<&SimpleComparison::comparison>("comparison")
        .OneOf({"==", "!=", "<", "<=", ">", ">="})
        .Tooltip("What should hold.");
    s.Output<bool>("BOOLEAN");
  }
  StatusOr<bool> Run(NodeContext&) const {
    if (!a.is_literal()) return NotComparable("a", a);
    if (!b.is_literal()) return NotComparable("b", b);
    const Json &left = a.literal(), &right = b.literal();
    const auto first = ExactNumber(left), second = ExactNumber(right);
    if (first && second) return Holds(comparison, *first <=> *second);
    if (left.is_string() && right.is_string())
      return Holds(comparison, left.get_ref<const std::string&>() <=> right.get_ref<const std::string&>());
    if (comparison == "==" || comparison == "!=") return (!first && !second && left == right) == (comparison == "==");
    return InvalidArgument("input \"a\" is ", PythonRepr(left), " and input \"b\" ", PythonRepr(right),
                           ", of which none is the larger; expected two numbers or two texts for ", comparison);
  }
  static Status NotComparable(std::string_view input, const Value& value) {
    return InvalidArgument("input \"", input, "\" is a value of type ", value.type(), ", expected a number or a text");
  }
};
ATELIER_REGISTER_NODE_AS(SimpleComparison, "SimpleComparison+");

struct SimpleCondition {
  Value evaluate;
  Value on_true;
  std::optional<Value> on_false;

  static void Describe(NodeSchema<SimpleCondition>& s) {
    s.Name("🔧 Simple Condition").Category("essentials/utilities").Description("Passes one of two values on.");
    s.Input<&SimpleCondition::evaluate>("evaluate")
        .Tooltip("Chooses: false, 0 and what is empty take the second value, all else the first.");
    s.Input<&SimpleCondition::on_true>("on_true").Tooltip("The first value.");
    s.Input<&SimpleCondition::on_false>("on_false").Tooltip("The second value; without it, evaluate has to be true.");
    s.Output<Value>("result");
  }
  StatusOr<Value> Run(NodeContext&) const {
    if (evaluate.is_literal() ? PythonBool(evaluate.literal()) : evaluate.present()) return on_true;
    if (on_false && on_false->present()) return *on_false;
    return InvalidArgument(
        "input \"evaluate\" is false and input \"on_false\" is not linked; link the value to go on with");
  }
};
ATELIER_REGISTER_NODE_AS(SimpleCondition, "SimpleCondition+");

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
    if (rounding > 0) number = PythonRound(number, rounding);
    if (!(std::abs(number) < 9e18)) return InvalidArgument("the number ", number, " is too large");
    return std::tuple(number, static_cast<int64_t>(number));
  }
};
ATELIER_REGISTER_NODE_AS(SimpleMathSlider, "SimpleMathSlider+");

}  // namespace
}  // namespace atelier::nodes
