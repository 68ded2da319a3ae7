#include "worker/sampling/samplers/res4lyf_tableau.h"

#include <cmath>

namespace atelier::engine {
namespace {

using LogLevels = std::vector<double>;

constexpr double kFactorial[] = {1, 1, 2, 6};

// phi functions of a step: P(j) at the whole step, P(j, i) at node i (counted from 1; 0 for a node at 0).
class PhiTable {
 public:
  PhiTable(double h, std::vector<double> c) : h_(h), c_(std::move(c)) {}
  double operator()(int j) const { return Phi(j, -h_); }
  double operator()(int j, size_t i) const { return c_[i - 1] == 0 ? 0.0 : Phi(j, -h_ * c_[i - 1]); }

 private:
  double h_;
  std::vector<double> c_;
};

// An explicit method of as many stages as c has, all other coefficients 0.
Tableau Explicit(std::vector<double> c) {
  Tableau t;
  t.a.assign(c.size(), std::vector<double>(c.size(), 0.0));
  t.b.assign(c.size(), 0.0);
  t.c = std::move(c);
  return t;
}

// First column: what the others leave of the row's sum.
void Fill(Tableau& t, const PhiTable& phi) {
  auto rest = [](const std::vector<double>& row) {
    double sum = 0;
    for (size_t j = 1; j < row.size(); ++j) sum += row[j];
    return sum;
  };
  for (size_t r = 1; r < t.c.size(); ++r) t.a[r][0] = t.c[r] * phi(1, r + 1) - rest(t.a[r]);
  t.b[0] = phi(1) - rest(t.b);
}

Tableau Res2(double h, double c2) {
  const PhiTable phi(h, {0, c2});
  Tableau t = Explicit({0, c2});
  t.b[1] = phi(2) / c2;
  Fill(t, phi);
  return t;
}

Tableau Res3(double h, double c2, double c3) {
  const PhiTable phi(h, {0, c2, c3});
  Tableau t = Explicit({0, c2, c3});
  const double gamma = (3 * c3 * c3 * c3 - 2 * c3) / (c2 * (2 - 3 * c2));
  t.a[2][1] = gamma * c2 * phi(2, 2) + c3 * c3 / c2 * phi(2, 3);
  t.b[2] = phi(2) / (gamma * c2 + c3);
  t.b[1] = gamma * t.b[2];
  Fill(t, phi);
  return t;
}

Tableau Res2s(const LogLevels&, size_t, double h) { return Res2(h, 0.5); }
Tableau Res3s(const LogLevels&, size_t, double h) { return Res3(h, 0.5, 1.0); }

Tableau Res5s(const LogLevels&, size_t, double h) {
  const std::vector<double> c{0, 0.5, 0.5, 1, 0.5};
  const PhiTable phi(h, c);
  Tableau t = Explicit(c);
  t.a[2][1] = phi(2, 3);
  t.a[3][1] = t.a[3][2] = phi(2, 4);
  t.a[4][1] = t.a[4][2] = phi(2, 5) / 2 - phi(3, 4) + phi(2, 4) / 4 - phi(3, 5) / 2;
  t.a[4][3] = phi(2, 5) / 4 - t.a[4][1];
  t.b[3] = -phi(2) + 4 * phi(3);
  t.b[4] = 4 * phi(2) - 8 * phi(3);
  Fill(t, phi);
  return t;
}

Tableau Res6s(const LogLevels&, size_t, double h) {
  const std::vector<double> c{0, 0.5, 0.5, 1.0 / 3, 1.0 / 3, 5.0 / 6};
  const double c2 = c[1], c3 = c[2], c4 = c[3], c5 = c[4], c6 = c[5];
  const PhiTable phi(h, c);
  Tableau t = Explicit(c);
  t.a[2][1] = c3 * c3 / c2 * phi(2, 3);
  t.a[3][1] = c4 * c4 / c2 * phi(2, 4);
  t.a[3][2] = (c4 * c4 * phi(2, 4) - t.a[3][1] * c2) / c3;
  for (size_t r = 5; r <= 6; ++r) {
    const double cr = c[r - 1], square = cr * cr * phi(2, r), cube = 2 * cr * cr * cr * phi(3, r);
    t.a[r - 1][2] = (-c4 * square + cube) / (c3 * (c3 - c4));
    t.a[r - 1][3] = (-c3 * square + cube) / (c4 * (c4 - c3));
  }
  t.a[5][4] = (c6 * c6 * phi(2, 6) - t.a[5][2] * c3 - t.a[5][3] * c4) / c5;
  t.b[4] = (-c6 * phi(2) + 2 * phi(3)) / (c5 * (c5 - c6));
  t.b[5] = (-c5 * phi(2) + 2 * phi(3)) / (c6 * (c6 - c5));
  Fill(t, phi);
  return t;
}

Tableau EulerTableau(const LogLevels&, size_t, double) {
  Tableau t = Explicit({0});
  t.b[0] = 1;
  return t;
}

// Steps longer than this in log sigma are not bridged by earlier predictions; below this level they are not worth
// extra evaluations either.
constexpr double kLongStep = 1.0, kLowLevel = 0.1;

Tableau Res2m(const LogLevels& s, size_t i, double h) {
  const double hn = std::log(s[i] / s[i + 1]);
  if (hn >= kLongStep) return s[i] >= kLowLevel ? Res2(h, 0.5) : EulerTableau(s, i, h);
  if (i < 2) return Res2(h, 0.5);
  Tableau t = Res2(h, -std::log(s[i - 1] / s[i]) / hn);
  t.history = 1;
  return t;
}

Tableau Res3m(const LogLevels& s, size_t i, double h) {
  const double hn = std::log(s[i] / s[i + 1]);
  if (hn >= kLongStep) return s[i] >= kLowLevel ? Res3(h, 0.5, 1.0) : EulerTableau(s, i, h);
  if (i < 3) return Res3(h, 0.5, 1.0);
  Tableau t = Res3(h, -std::log(s[i - 1] / s[i]) / hn, -std::log(s[i - 2] / s[i]) / hn);
  t.history = 2;
  return t;
}

Tableau Deis2m(const LogLevels& s, size_t i, double h) {
  if (i < 3) {
    Tableau t = Explicit({0, 2.0 / 3});
    t.a[1][0] = 2.0 / 3;
    t.b = {0.25, 0.75};
    return t;
  }
  const double a = s[i], e = s[i + 1], p = s[i - 1];
  Tableau t = Explicit({0, 0});
  t.b = {((e - p) * (e - p) - (a - p) * (a - p)) / (2 * (a - p)) / h, (e - a) * (e - a) / (2 * (p - a)) / h};
  t.history = 1;
  return t;
}

Tableau Deis3m(const LogLevels& s, size_t i, double h) {
  if (i < 4) {
    Tableau t = Explicit({0, 0.5, 0.75});
    t.a[1][0] = 0.5;
    t.a[2][1] = 0.75;
    t.b = {2.0 / 9, 1.0 / 3, 4.0 / 9};
    return t;
  }
  const double a = s[i], e = s[i + 1], p = s[i - 1], q = s[i - 2];
  auto f = [a, e](double u, double v, double w) {
    return ((e * e * e - a * a * a) / 3 - (e * e - a * a) * (u + v) / 2 + (e - a) * u * v) / ((w - u) * (w - v));
  };
  Tableau t = Explicit({0, 0, 0});
  t.b = {f(p, q, a) / h, f(a, q, p) / h, f(a, p, q) / h};
  t.history = 2;
  return t;
}

}  // namespace

double Phi(int j, double z) {
  if (std::fabs(z) < 1) {  // the recurrence would cancel
    double sum = 0, term = 1 / kFactorial[j];
    for (int k = 0; k < 30; ++k) {
      sum += term;
      term *= z / (k + 1 + j);
    }
    return sum;
  }
  double phi = std::expm1(z) / z;
  for (int k = 2; k <= j; ++k) phi = (phi - 1 / kFactorial[k - 1]) / z;
  return phi;
}

const std::map<std::string, RkMethod, std::less<>>& RkMethods() {
  static const std::map<std::string, RkMethod, std::less<>> methods{
      {"res_2s", {true, Res2s}},        {"res_3s", {true, Res3s}},    {"res_5s", {true, Res5s}},
      {"res_6s", {true, Res6s}},        {"res_2m", {true, Res2m}},    {"res_3m", {true, Res3m}},
      {"euler", {false, EulerTableau}}, {"deis_2m", {false, Deis2m}}, {"deis_3m", {false, Deis3m}},
  };
  return methods;
}

}  // namespace atelier::engine
