#include "worker/models/upscalers/parts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace atelier::models {

using engine::Cast;
using engine::LayerBuilder;

int64_t SequenceLength(const engine::WeightSource& w, std::string_view prefix) {
  int64_t length = 0;
  const auto& tensors = w.tensors();
  for (auto it = tensors.lower_bound(prefix); it != tensors.end() && it->first.starts_with(prefix); ++it) {
    int64_t n = 0;
    const char* end = it->first.data() + it->first.size();
    const auto parsed = std::from_chars(it->first.data() + prefix.size(), end, n);
    if (parsed.ec == std::errc() && parsed.ptr != end && *parsed.ptr == '.' && n >= 0 && n < 10'000)
      length = std::max(length, n + 1);
  }
  return length;
}

bool HasAll(const engine::WeightSource& w, std::string_view prefix, std::initializer_list<std::string_view> names) {
  return std::all_of(names.begin(), names.end(), [&](std::string_view name) { return w.Has(Cat(prefix, name)); });
}

int64_t SquareSide(int64_t elements) {
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(std::max<int64_t>(elements, 0)))));
  return side * side == elements ? side : 0;
}

int64_t ScaleOfChannels(int64_t channels, int64_t in) {
  for (const int64_t c : {in, int64_t{3}, int64_t{4}, int64_t{1}}) {
    if (c <= 0 || channels % c != 0) continue;
    if (const int64_t side = SquareSide(channels / c); side > 0) return c == 3 ? side : 0;
  }
  return 0;
}

at::Tensor DepthwiseConv::operator()(const at::Tensor& x) const {
  const at::Tensor kernel = Cast(weight, x.scalar_type());
  return at::conv2d(x, kernel, Cast(bias, x.scalar_type()), 1, kernel.size(2) / 2, 1, x.size(1));
}

engine::Bias BiasOfAll(const engine::WeightSource& weights, std::string_view suffix) {
  for (const auto& [name, tensor] : weights.tensors())
    if (name.ends_with(suffix)) return engine::Bias::kRequired;
  return engine::Bias::kNone;
}

DepthwiseConv TakeDepthwise(LayerBuilder& b, const std::string& name, int64_t channels, int64_t kernel,
                            engine::Bias bias) {
  DepthwiseConv layer;
  layer.weight = b.Take(name + ".weight", {channels, 1, kernel, kernel});
  if (bias == engine::Bias::kRequired || (bias == engine::Bias::kOptional && b.Has(name + ".bias")))
    layer.bias = b.Take(name + ".bias", {channels});
  return layer;
}

at::Tensor BatchNorm::operator()(const at::Tensor& x) const {
  const at::ScalarType type = x.scalar_type();
  return at::batch_norm(x, Cast(weight, type), Cast(bias, type), Cast(mean, type), Cast(variance, type), false, 0.1,
                        1e-5, false);
}

BatchNorm TakeBatchNorm(LayerBuilder& b, const std::string& name, int64_t channels) {
  return {b.Take(name + ".weight", {channels}), b.Take(name + ".bias", {channels}),
          b.Take(name + ".running_mean", {channels}), b.Take(name + ".running_var", {channels})};
}

at::Tensor Mlp::operator()(const at::Tensor& x) const { return fc2(at::gelu(fc1(x))); }

Mlp TakeMlp(LayerBuilder& b, const std::string& name, int64_t width) {
  const int64_t hidden = b.weights().Dim(name + ".fc1.weight", 0);
  return {b.TakeLinear(name + ".fc1", width, hidden), b.TakeLinear(name + ".fc2", hidden, width)};
}

at::Tensor GroupConv::operator()(const at::Tensor& x) const {
  if (two.weight == nullptr) return one(x);
  return three(at::leaky_relu(two(at::leaky_relu(one(x), 0.2)), 0.2));
}

GroupConv TakeGroupConv(LayerBuilder& b, const std::string& name, int64_t channels) {
  GroupConv conv;
  if (b.Has(name + ".weight") || !b.Has(name + ".0.weight")) {
    conv.one = b.TakeConv(name, channels, channels, 3);
  } else {
    conv.one = b.TakeConv(name + ".0", channels, channels / 4, 3);
    conv.two = b.TakeConv(name + ".2", channels / 4, channels / 4, 1);
    conv.three = b.TakeConv(name + ".4", channels / 4, channels, 3);
  }
  return conv;
}

at::Tensor PixelShuffleTail::operator()(const at::Tensor& x) const {
  at::Tensor y = at::leaky_relu(before(x), 0.01);
  for (size_t i = 0; i < steps.size(); ++i) y = at::pixel_shuffle(steps[i](y), factors[i]);
  return last(y);
}

PixelShuffleTail TakePixelShuffleTail(LayerBuilder& b, int64_t channels) {
  PixelShuffleTail tail;
  const engine::WeightSource& w = b.weights();
  const int64_t features = w.Dim("conv_last.weight", 1);
  tail.before = b.TakeConv("conv_before_upsample.0", channels, features, 3);
  for (int64_t i = 0; i <= 8; i += 2) {
    const std::string name = Cat("upsample.", i);
    const int64_t out = w.Dim(name + ".weight", 0);
    if (out == 0) break;
    const int64_t factor = features > 0 && out % features == 0 ? SquareSide(out / features) : 0;
    if (factor == 0 || factor > 8) {
      b.Fail(Cat("tensor \"", name, ".weight\" has ", out, " channels, expected a square times ", features));
      break;
    }
    tail.steps.push_back(b.TakeConv(name, features, out, 3));
    tail.factors.push_back(factor);
    tail.scale *= factor;
  }
  if (tail.scale > 16) b.Fail(Cat("it enlarges ", tail.scale, " times, expected at most 16"));
  tail.last = b.TakeConv("conv_last", features, 3, 3);
  return tail;
}

at::Tensor ImageMean(const at::Tensor& x) {
  return at::tensor({0.4488F, 0.4371F, 0.4040F}).view({1, 3, 1, 1}).to(x.options());
}

at::Tensor ReflectToMultiple(const at::Tensor& x, int64_t multiple) { return PadToMultiple(x, 0, multiple); }

at::Tensor ToWindows(const at::Tensor& x, Extent window) {
  const int64_t b = x.size(0), h = x.size(1), w = x.size(2), c = x.size(3);
  return x.reshape({b, h / window.h, window.h, w / window.w, window.w, c})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({-1, window.h * window.w, c});
}

at::Tensor FromWindows(const at::Tensor& windows, Extent window, Extent map) {
  const int64_t c = windows.size(2);
  return windows.reshape({-1, map.h / window.h, map.w / window.w, window.h, window.w, c})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({-1, map.h, map.w, c});
}

at::Tensor ShiftMask(Extent map, Extent window, Extent shift, at::Device device) {
  const auto options = at::TensorOptions(device).dtype(at::kFloat);
  const auto regions = [&](int64_t size, int64_t side, int64_t moved) {
    at::Tensor r = at::zeros({size}, options);
    r.narrow(0, size - side, side - moved).fill_(1);
    r.narrow(0, size - moved, moved).fill_(2);
    return r;
  };
  const at::Tensor rows = regions(map.h, window.h, shift.h), columns = regions(map.w, window.w, shift.w);
  const at::Tensor region = (rows.unsqueeze(1) * 3 + columns.unsqueeze(0)).view({1, map.h, map.w, 1});
  const at::Tensor tokens = ToWindows(region, window).squeeze(2);
  return at::ne(tokens.unsqueeze(1), tokens.unsqueeze(2)).to(at::kFloat) * -100.0;
}

at::Tensor RelativeIndex(Extent window) {
  const at::Tensor y = at::arange(window.h, at::kLong).repeat_interleave(window.w);
  const at::Tensor x = at::arange(window.w, at::kLong).repeat({window.h});
  const at::Tensor dy = y.unsqueeze(1) - y.unsqueeze(0) + (window.h - 1);
  const at::Tensor dx = x.unsqueeze(1) - x.unsqueeze(0) + (window.w - 1);
  return dy * (2 * window.w - 1) + dx;
}

at::Tensor SpreadBias(const at::Tensor& table, const at::Tensor& index) {
  return table.index_select(0, index.flatten().to(table.device()))
      .view({index.size(0), index.size(1), -1})
      .permute({2, 0, 1})
      .contiguous();
}

at::Tensor AttendWindows(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads,
                         const at::Tensor& bias, const at::Tensor& mask) {
  const int64_t windows = q.size(0), n = q.size(1), c = q.size(2), m = k.size(1);
  const auto split = [&](const at::Tensor& x) {
    return x.reshape({x.size(0), x.size(1), heads, c / heads}).transpose(1, 2);
  };
  constexpr int64_t kScoresMax = int64_t{1} << 25;
  const int64_t per_picture = mask.defined() ? mask.size(0) : windows;
  const int64_t portion = std::clamp<int64_t>(kScoresMax / std::max<int64_t>(1, heads * n * m), 1, per_picture);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < windows; first += per_picture) {
    for (int64_t at = 0; at < per_picture; at += portion) {
      const int64_t count = std::min(portion, per_picture - at);
      const auto part = [&](const at::Tensor& x) { return split(x.narrow(0, first + at, count)); };
      std::optional<at::Tensor> add;
      if (bias.defined()) add = bias.unsqueeze(0);
      if (mask.defined()) {
        const at::Tensor here = mask.narrow(0, at, count).unsqueeze(1).to(q.scalar_type());
        add = add ? *add + here : here;
      }
      const at::Tensor out = at::scaled_dot_product_attention(part(q), part(k), part(v), add);
      parts.push_back(out.transpose(1, 2).reshape({count, n, c}));
    }
  }
  return parts.size() == 1 ? parts[0] : at::cat(parts);
}

at::Tensor WindowAttention::operator()(const at::Tensor& x, bool shifted) const {
  const Extent window{side, side}, map{x.size(1), x.size(2)};
  const int64_t shift = shifted ? side / 2 : 0;
  const at::Tensor moved = shift > 0 ? at::roll(x, {-shift, -shift}, {1, 2}) : x;
  const at::Tensor mask = shift > 0 ? ShiftMask(map, window, {shift, shift}, x.device()) : at::Tensor();
  const at::Tensor all = qkv(ToWindows(moved, window));
  const int64_t c = x.size(3);
  const at::Tensor bias = SpreadBias(Cast(table, x.scalar_type()), RelativeIndex(window));
  const at::Tensor out =
      proj(AttendWindows(all.narrow(2, 0, c), all.narrow(2, c, c), all.narrow(2, 2 * c, c), heads, bias, mask));
  const at::Tensor back = FromWindows(out, window, map);
  return shift > 0 ? at::roll(back, {shift, shift}, {1, 2}) : back;
}

WindowAttention TakeWindowAttention(LayerBuilder& b, const std::string& name, int64_t width, int64_t side) {
  WindowAttention attention;
  attention.side = side;
  attention.heads = b.weights().Dim(name + ".relative_position_bias_table", 1);
  if (attention.heads <= 0 || width % attention.heads != 0) {
    b.Fail(Cat("\"", name, "\" has ", attention.heads, " heads, which do not divide its width of ", width));
    return attention;
  }
  attention.qkv = b.TakeLinear(name + ".qkv", width, 3 * width, BiasOfAll(b.weights(), ".qkv.bias"));
  attention.proj = b.TakeLinear(name + ".proj", width, width);
  attention.table = b.Take(name + ".relative_position_bias_table", {(2 * side - 1) * (2 * side - 1), attention.heads});
  return attention;
}

}  // namespace atelier::models
