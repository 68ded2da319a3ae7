#include "worker/engine/cpu_kernels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/engine/vector_kernels.h"

namespace atelier::engine {
namespace {

constexpr int64_t kPieceElements = 1 << 16;  // what one thread takes at a time; sums depend on it

// Rows of a piece of rows of n numbers.
int64_t PieceRows(int64_t n) { return std::max<int64_t>(1, kPieceElements / n); }

bool IsPlain(const at::Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kFloat && x.is_contiguous(); }

}  // namespace

std::optional<at::Tensor> CpuGroupNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                       const at::Tensor& offset, int64_t groups, double eps, bool silu) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.dim() != 4 || x.numel() == 0 ||
      !x.is_contiguous(at::MemoryFormat::ChannelsLast) || x.size(1) % groups != 0 || !weight.defined() ||
      !IsPlain(weight) || !bias.defined() || !IsPlain(bias)) {
    return std::nullopt;
  }
  const int64_t batch = x.size(0), channels = x.size(1), area = x.size(2) * x.size(3), width = channels / groups;
  const at::Tensor moved = offset.defined() ? offset.contiguous() : offset;
  const int64_t rows = PieceRows(channels), pieces = (area + rows - 1) / rows;
  const auto* in = x.const_data_ptr<float>();
  std::vector<double> moments(static_cast<size_t>(batch * pieces * channels * 2));
  at::parallel_for(0, batch * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / pieces, row = i % pieces * rows;
      double* const sums = moments.data() + i * channels * 2;
      ColumnMoments(in + (b * area + row) * channels, std::min(rows, area - row), channels, sums, sums + channels);
    }
  });
  std::vector<float> scales(static_cast<size_t>(batch * channels)), shifts(scales.size());
  const auto* w = weight.const_data_ptr<float>();
  const auto* add = bias.const_data_ptr<float>();
  for (int64_t b = 0; b < batch; ++b) {
    double* const sums = moments.data() + b * pieces * channels * 2;
    double* const squares = sums + channels;
    for (int64_t i = 1; i < pieces; ++i)
      for (int64_t c = 0; c < channels * 2; ++c) sums[c] += sums[i * channels * 2 + c];
    const float* const e = moved.defined() ? moved.const_data_ptr<float>() + b * channels : nullptr;
    const auto count = static_cast<double>(area);
    for (int64_t c = 0; e != nullptr && c < channels; ++c) {
      const auto d = static_cast<double>(e[c]);
      squares[c] += 2 * d * sums[c] + count * d * d;
      sums[c] += count * d;
    }
    for (int64_t g = 0; g < groups; ++g) {
      double sum = 0, square = 0;
      for (int64_t c = g * width; c < (g + 1) * width; ++c) sum += sums[c], square += squares[c];
      const double n = count * static_cast<double>(width), mean = sum / n;
      const double inverse = 1.0 / std::sqrt(std::max(square / n - mean * mean, 0.0) + eps);
      for (int64_t c = g * width; c < (g + 1) * width; ++c) {
        const double scale = inverse * static_cast<double>(w[c]);
        const double centre = mean - (e != nullptr ? static_cast<double>(e[c]) : 0.0);
        scales[static_cast<size_t>(b * channels + c)] = static_cast<float>(scale);
        shifts[static_cast<size_t>(b * channels + c)] =
            static_cast<float>(static_cast<double>(add[c]) - centre * scale);
      }
    }
  }
  at::Tensor out = at::empty_like(x, x.options().memory_format(at::MemoryFormat::ChannelsLast));
  auto* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, batch * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / pieces, row = i % pieces * rows, at = (b * area + row) * channels;
      ScaleRows(in + at, scales.data() + b * channels, shifts.data() + b * channels, to + at,
                std::min(rows, area - row), channels, silu);
    }
  });
  return out;
}

at::Tensor GatedGelu(const at::Tensor& x) {
  if (!IsPlain(x)) {
    const std::vector<at::Tensor> halves = x.chunk(2, -1);
    return halves[0] * at::gelu(halves[1]);
  }
  const int64_t n = x.size(-1) / 2, rows = n == 0 ? 0 : x.numel() / (2 * n),
                step = PieceRows(std::max<int64_t>(1, 2 * n));
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = n;
  at::Tensor out = at::empty(shape, x.options());
  const auto* in = x.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, (rows + step - 1) / step, 1, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * step, count = std::min(rows, end * step) - first;
    GatedGelu(in + first * 2 * n, to + first * n, count, n);
  });
  return out;
}

}  // namespace atelier::engine
