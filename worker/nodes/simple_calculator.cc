// A number from an expression over linked numbers, in Python's arithmetic. Source: spec extras.md 2.2.
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <compare>
#include <cstdlib>
#include <numbers>
#include <variant>

#include "worker/nodes/python_numbers.h"
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

// Truth values count as 0 and 1.
using Number = std::variant<int64_t, double>;

double Real(const Number& n) {
  return std::visit([](auto v) { return static_cast<double>(v); }, n);
}
bool Truth(const Number& n) { return Real(n) != 0.0; }

// What goes wrong in the expression itself: the reference gives zeros then.
struct Wrong {
  std::string what;
};
// What Python could do and this cannot.
struct TooLarge {};

// Reads and computes at once; what and/or leave out is read only. Throws Wrong and TooLarge.
class Calculation {
 public:
  Calculation(std::string_view text, std::vector<std::optional<Number>> names)
      : text_(text), names_(std::move(names)) {}

  Number Result() {
    const Number result = Or();
    Space();
    if (at_ != text_.size()) throw Wrong{Cat("character ", at_ + 1, " is not understood")};
    return result;
  }

 private:
  static constexpr int kDepthMax = 100;

  // One more level of nesting while it lives.
  struct Deeper {
    explicit Deeper(int& depth) : depth_(depth) {
      if (++depth_ > kDepthMax) throw Wrong{"it is nested too deeply"};
    }
    ~Deeper() { --depth_; }
    int& depth_;
  };

  void Space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  static bool InWord(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
  bool Take(std::string_view sign) {
    Space();
    if (text_.substr(at_, sign.size()) != sign) return false;
    const size_t end = at_ + sign.size();
    if (InWord(sign.back()) && end < text_.size() && InWord(text_[end])) return false;
    at_ = end;
    return true;
  }
  // The first of these signs that is there, or "".
  template <size_t N>
  std::string_view TakeOne(const std::array<std::string_view, N>& signs) {
    for (const std::string_view sign : signs)
      if (Take(sign)) return sign;
    return {};
  }

  Number Or() {
    Number left = And();
    while (Take("or")) left = Second(left, !Truth(left), &Calculation::And);
    return left;
  }
  Number And() {
    Number left = Not();
    while (Take("and")) left = Second(left, Truth(left), &Calculation::Not);
    return left;
  }
  Number Second(const Number& left, bool counts, Number (Calculation::*read)()) {
    const bool live = live_;
    live_ = live && counts;
    const Number right = (this->*read)();
    live_ = live;
    return counts ? right : left;
  }
  Number Not() {
    const Deeper deeper(depth_);
    if (!Take("not")) return Comparison();
    return int64_t{!Truth(Not())};
  }
  Number Comparison() {
    static constexpr std::array<std::string_view, 6> kSigns = {"==", "!=", "<=", ">=", "<", ">"};
    Number left = Shift();
    bool compared = false, holds = true;
    while (true) {
      Space();
      if (text_.substr(at_, 2) == "<<" || text_.substr(at_, 2) == ">>") break;
      const std::string_view sign = TakeOne(kSigns);
      if (sign.empty()) break;
      const Number right = Shift();
      const auto* a = std::get_if<int64_t>(&left);
      const auto* b = std::get_if<int64_t>(&right);
      const auto order = a && b ? std::partial_ordering(*a <=> *b) : Real(left) <=> Real(right);
      holds = holds && (sign == "=="   ? std::is_eq(order)
                        : sign == "!=" ? std::is_neq(order)
                        : sign == "<=" ? std::is_lteq(order)
                        : sign == ">=" ? std::is_gteq(order)
                        : sign == "<"  ? std::is_lt(order)
                                       : std::is_gt(order));
      compared = true;
      left = right;
    }
    return compared ? Number(int64_t{holds}) : left;
  }
  Number Shift() {
    Number left = Sum();
    while (true) {
      const std::string_view sign = TakeOne(std::array<std::string_view, 2>{"<<", ">>"});
      if (sign.empty()) return left;
      left = Apply(sign, left, Sum());
    }
  }
  Number Sum() {
    Number left = Product();
    while (true) {
      const std::string_view sign = TakeOne(std::array<std::string_view, 2>{"+", "-"});
      if (sign.empty()) return left;
      left = Apply(sign, left, Product());
    }
  }
  Number Product() {
    Number left = Unary();
    while (true) {
      Space();
      if (text_.substr(at_, 2) == "**") return left;
      const std::string_view sign = TakeOne(std::array<std::string_view, 4>{"//", "*", "/", "%"});
      if (sign.empty()) return left;
      left = Apply(sign, left, Unary());
    }
  }
  Number Unary() {
    const Deeper deeper(depth_);
    if (Take("-")) return Apply("-", int64_t{0}, Unary());
    if (Take("+")) return Unary();
    const Number base = Atom();
    return Take("**") ? Apply("**", base, Unary()) : base;
  }
  Number Atom() {
    Space();
    if (at_ >= text_.size()) throw Wrong{"it ends too early"};
    if (Take("(")) {
      const Number inside = Or();
      if (!Take(")")) throw Wrong{"a bracket is not closed"};
      return inside;
    }
    if (std::isdigit(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '.') return Literal();
    size_t end = at_;
    while (end < text_.size() && InWord(text_[end])) ++end;
    const std::string_view word = text_.substr(at_, end - at_);
    if (word.empty()) throw Wrong{Cat("character ", at_ + 1, " is not understood")};
    at_ = end;
    if (Take("(")) return Call(word);
    if (word == "pi") return std::numbers::pi;
    if (word == "euler") return std::numbers::e;
    if (word == "True" || word == "False") return int64_t{word == "True"};
    const auto index = static_cast<size_t>(word[0] - 'a');
    if (word.size() == 1 && word[0] >= 'a' && index < names_.size() && names_[index]) return *names_[index];
    if (!live_) return int64_t{0};
    throw Wrong{Cat(word, " is not linked")};
  }
  Number Literal() {
    size_t end = at_;
    bool whole = true;
    while (end < text_.size() && (InWord(text_[end]) || text_[end] == '.' ||
                                  ((text_[end] == '-' || text_[end] == '+') && std::tolower(text_[end - 1]) == 'e')))
      whole &= std::isdigit(static_cast<unsigned char>(text_[end++])) != 0;
    const std::string digits(text_.substr(at_, end - at_));
    char* after = nullptr;
    const double real = std::strtod(digits.c_str(), &after);
    if (*after != '\0' || !std::isfinite(real)) throw Wrong{Cat(digits, " is no number")};
    at_ = end;
    if (!whole) return real;
    if (digits.size() > 18) throw TooLarge();
    return int64_t{std::stoll(digits)};
  }

  static Number Checked(bool overflow, const int64_t& value) {  // by reference: it is set while `overflow` is made
    if (overflow) throw TooLarge();
    return value;
  }
  static Number Whole(double value) {
    if (!std::isfinite(value)) throw Wrong{"a result is not finite"};
    if (std::abs(value) >= 9.2e18) throw TooLarge();
    return static_cast<int64_t>(value);
  }
  static Number Finite(double value) {
    if (!std::isfinite(value)) throw Wrong{"a result is not finite"};
    return value;
  }

  Number Apply(std::string_view sign, const Number& left, const Number& right) const {
    if (!live_) return int64_t{0};
    const auto* a = std::get_if<int64_t>(&left);
    const auto* b = std::get_if<int64_t>(&right);
    const double x = Real(left), y = Real(right);
    const bool divides = sign == "/" || sign == "//" || sign == "%";
    if (divides && y == 0.0) throw Wrong{"it divides by zero"};
    if (sign == "/") return Finite(x / y);
    if (sign == "**") return Power(left, right);
    if (sign == "<<" || sign == ">>") {
      if (!a || !b || *b < 0) throw Wrong{"a shift needs whole numbers, to the right of it none below 0"};
      if (sign == ">>") return *a >> std::min<int64_t>(*b, 63);
      if (*a != 0 && *b > 62) throw TooLarge();
      int64_t shifted = 0;
      return Checked(__builtin_mul_overflow(*a, int64_t{1} << std::min<int64_t>(*b, 62), &shifted), shifted);
    }
    if (!a || !b) {
      if (sign == "+") return Finite(x + y);
      if (sign == "-") return Finite(x - y);
      if (sign == "*") return Finite(x * y);
      return sign == "%" ? PythonModulo(x, y) : Finite(PythonFloorDivide(x, y));
    }
    int64_t value = 0;
    if (sign == "+") return Checked(__builtin_add_overflow(*a, *b, &value), value);
    if (sign == "-") return Checked(__builtin_sub_overflow(*a, *b, &value), value);
    if (sign == "*") return Checked(__builtin_mul_overflow(*a, *b, &value), value);
    if (*b == -1)
      return sign == "%" ? Number(int64_t{0}) : Checked(__builtin_sub_overflow(int64_t{0}, *a, &value), value);
    const int64_t rest = *a % *b;
    const bool below = rest != 0 && (rest < 0) != (*b < 0);
    return sign == "%" ? rest + (below ? *b : 0) : *a / *b - (below ? 1 : 0);
  }
  static Number Power(const Number& left, const Number& right) {
    const auto* a = std::get_if<int64_t>(&left);
    const auto* b = std::get_if<int64_t>(&right);
    if (!a || !b || *b < 0) {
      if (Real(left) == 0.0 && Real(right) < 0) throw Wrong{"it divides by zero"};
      return Finite(std::pow(Real(left), Real(right)));
    }
    int64_t value = 1;
    for (int64_t i = 0; i < *b && value != 0 && !(*a == 1 || (*a == -1 && i == *b % 2)); ++i)
      if (__builtin_mul_overflow(value, *a, &value)) throw TooLarge();
    return value;
  }

  Number Call(std::string_view name) {
    std::vector<Number> given;
    if (!Take(")")) {
      do given.push_back(Or());
      while (Take(","));
      if (!Take(")")) throw Wrong{"a bracket is not closed"};
    }
    if (!live_) return int64_t{0};
    const auto takes = [&](size_t low, size_t high) {
      if (given.size() < low || given.size() > high)
        throw Wrong{Cat(name, " got ", given.size(), " numbers, expected ", low, low == high ? "" : " or more")};
    };
    if (name == "min" || name == "max") {
      takes(2, SIZE_MAX);
      const auto less = [](const Number& a, const Number& b) { return Real(a) < Real(b); };
      // As Python, the first of equal ones.
      return name == "min" ? *std::min_element(given.begin(), given.end(), less)
                           : *std::max_element(given.begin(), given.end(), less);
    }
    if (name == "pow") {
      takes(2, 2);
      return Power(given[0], given[1]);
    }
    if (name == "round") {
      takes(1, 2);
      if (given.size() == 1) return Whole(std::nearbyint(Real(given[0])));
      const auto digits = static_cast<int64_t>(std::clamp(Real(given[1]), -1000.0, 1000.0));
      if (digits >= 0 && std::holds_alternative<int64_t>(given[0])) return given[0];
      return Finite(PythonRound(Real(given[0]), digits));
    }
    if (name == "log" && given.size() == 2) return Finite(std::log(Real(given[0])) / std::log(Real(given[1])));
    using Function = double (*)(double);
    static constexpr std::array<std::pair<std::string_view, Function>, 7> kFunctions = {
        {{"sqrt", [](double v) { return std::sqrt(v); }},
         {"sin", [](double v) { return std::sin(v); }},
         {"cos", [](double v) { return std::cos(v); }},
         {"tan", [](double v) { return std::tan(v); }},
         {"log", [](double v) { return std::log(v); }},
         {"log10", [](double v) { return std::log10(v); }},
         {"exp", [](double v) { return std::exp(v); }}}};
    const auto found =
        std::find_if(kFunctions.begin(), kFunctions.end(), [&](const auto& f) { return f.first == name; });
    if (found == kFunctions.end() && name != "abs" && name != "floor" && name != "ceil")
      throw Wrong{Cat("there is no function ", name)};
    takes(1, 1);
    if (found != kFunctions.end()) return Finite(found->second(Real(given[0])));
    if (name == "abs") return Real(given[0]) < 0 ? Apply("-", int64_t{0}, given[0]) : given[0];
    return Whole(name == "floor" ? std::floor(Real(given[0])) : std::ceil(Real(given[0])));
  }

  std::string_view text_;
  std::vector<std::optional<Number>> names_;
  size_t at_ = 0;
  int depth_ = 0;
  bool live_ = true;
};

StatusOr<std::optional<Number>> NumberOf(char name, const std::optional<Value>& value) {
  if (!value || !value->present()) return std::optional<Number>();
  if (value->is_literal()) {
    const Json& json = value->literal();
    if (json.is_boolean()) return std::optional<Number>(int64_t{json.get<bool>()});
    const bool large = json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX;
    if (large)
      return InvalidArgument("input \"", std::string(1, name), "\" is ", json.dump(), ", expected at most ", INT64_MAX);
    if (json.is_number_integer()) return std::optional<Number>(json.get<int64_t>());
    if (json.is_number()) return std::optional<Number>(json.get<double>());
  }
  return InvalidArgument("input \"", std::string(1, name), "\" is a value of type ", value->type(),
                         ", expected a number or a truth value");
}

struct SimpleCalculatorKJ {
  using T = SimpleCalculatorKJ;
  std::string expression;
  std::optional<Value> a, b, c, d, e, f, g, h, i, j, k;

  static void Describe(NodeSchema<T>& s) {
    s.Name("Simple Calculator KJ").Category("KJNodes/misc").Cheap();
    s.Description("Computes an expression in Python's syntax; one that cannot be computed gives 0 and a warning.");
    s.Input<&T::expression>("expression")
        .Multiline()
        .Tooltip(
            "+ - * / // % ** << >>, comparisons, and, or, not; abs, round, min, max, pow, sqrt, sin, cos, tan, log, "
            "log10, exp, floor, ceil; pi, euler; the names a to k.");
    constexpr const char* kLinked = "What the name stands for: a number or a truth value.";
    s.Input<&T::a>("a").Tooltip(kLinked);
    s.Input<&T::b>("b").Tooltip(kLinked);
    s.Input<&T::c>("c").Tooltip(kLinked);
    s.Input<&T::d>("d").Tooltip(kLinked);
    s.Input<&T::e>("e").Tooltip(kLinked);
    s.Input<&T::f>("f").Tooltip(kLinked);
    s.Input<&T::g>("g").Tooltip(kLinked);
    s.Input<&T::h>("h").Tooltip(kLinked);
    s.Input<&T::i>("i").Tooltip(kLinked);
    s.Input<&T::j>("j").Tooltip(kLinked);
    s.Input<&T::k>("k").Tooltip(kLinked);
    s.Output<double>("FLOAT").Output<int64_t>("INT").Output<bool>("BOOLEAN");
  }

  StatusOr<std::tuple<double, int64_t, bool>> Run(NodeContext& ctx) const {
    std::vector<std::optional<Number>> names;
    char name = 'a';
    for (const auto* value : {&a, &b, &c, &d, &e, &f, &g, &h, &i, &j, &k}) {
      ASSIGN_OR_RETURN(names.emplace_back(), NumberOf(name++, *value));
    }
    try {
      const Number result = Calculation(expression, std::move(names)).Result();
      const double real = Real(result);
      const auto* whole = std::get_if<int64_t>(&result);
      if (whole == nullptr && std::abs(real) >= 9.2e18) throw TooLarge();
      return std::tuple(real, whole != nullptr ? *whole : static_cast<int64_t>(real), Truth(result));
    } catch (const Wrong& wrong) {
      ctx.Warn(Cat("the expression \"", expression, "\" gives 0: ", wrong.what));
      return std::tuple(0.0, int64_t{0}, false);
    } catch (const TooLarge&) {
      return InvalidArgument("the expression \"", expression,
                             "\" gives a number of more than 63 bits; use smaller ones");
    }
  }
};
ATELIER_REGISTER_NODE(SimpleCalculatorKJ);

}  // namespace
}  // namespace atelier::nodes
