#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/adaptive_max_pool2d.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/max_pool2d.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace test_pooling {

namespace {

constexpr std::uint64_t seed = 20240611;
const double infinity = std::numeric_limits<double>::infinity();
const double not_a_number = std::numeric_limits<double>::quiet_NaN();

struct Pooled {
  Tensor<double> y, dx;
};

/// PyTorch's rule, spelled out for one axis.
Index pooled(Index in, Index kernel, Index stride, Index before, Index behind, Index dilation, bool ceil_mode) {
  const double room =
      static_cast<double>(in + before + behind - dilation * (kernel - 1) - 1) / static_cast<double>(stride);
  Index out = static_cast<Index>(ceil_mode ? std::ceil(room) : std::floor(room)) + 1;
  if (ceil_mode && (out - 1) * stride >= in + before) --out;
  return out;
}

/// The obvious loops. dy[i] is i-th of a fixed sequence.
double slope(Index i) { return static_cast<double>((i * 37) % 11) - 4.5; }

Pooled naive_max(const Tensor<double>& x, Size2 k, const MaxPool2dOptions& o) {
  const Size2 s = o.stride == kernel_sized ? k : o.stride;
  const Index h = x.dim(2), w = x.dim(3);
  const Index oh = pooled(h, k.h, s.h, o.padding.top, o.padding.bottom, o.dilation.h, o.ceil_mode);
  const Index ow = pooled(w, k.w, s.w, o.padding.left, o.padding.right, o.dilation.w, o.ceil_mode);
  Pooled result{Tensor<double>({x.dim(0), x.dim(1), oh, ow}), Tensor<double>::zeros(x.shape())};
  double* y = result.y.data();
  double* dx = result.dx.data();
  for (Index plane = 0, out = 0; plane < x.dim(0) * x.dim(1); ++plane)
    for (Index i = 0; i < oh; ++i)
      for (Index j = 0; j < ow; ++j, ++out) {
        double best = -infinity;
        Index at = -1;
        for (Index a = 0; a < k.h; ++a)
          for (Index b = 0; b < k.w; ++b) {
            const Index row = i * s.h - o.padding.top + a * o.dilation.h,
                        column = j * s.w - o.padding.left + b * o.dilation.w;
            if (row < 0 || row >= h || column < 0 || column >= w) continue;
            const Index here = (plane * h + row) * w + column;
            const double v = x.data()[here];
            if (at < 0 || v > best || std::isnan(v)) {
              best = v;
              at = here;
            }
          }
        y[out] = best;
        dx[at] += slope(out);
      }
  return result;
}

Pooled naive_avg(const Tensor<double>& x, Size2 k, const AvgPool2dOptions& o) {
  const Size2 s = o.stride == kernel_sized ? k : o.stride;
  const Index h = x.dim(2), w = x.dim(3);
  const Index oh = pooled(h, k.h, s.h, o.padding.top, o.padding.bottom, 1, o.ceil_mode);
  const Index ow = pooled(w, k.w, s.w, o.padding.left, o.padding.right, 1, o.ceil_mode);
  Pooled result{Tensor<double>({x.dim(0), x.dim(1), oh, ow}), Tensor<double>::zeros(x.shape())};
  for (Index plane = 0, out = 0; plane < x.dim(0) * x.dim(1); ++plane)
    for (Index i = 0; i < oh; ++i)
      for (Index j = 0; j < ow; ++j, ++out) {
        double sum = 0;
        Index inside = 0, padded = 0;
        std::vector<Index> seen;
        for (Index a = 0; a < k.h; ++a)
          for (Index b = 0; b < k.w; ++b) {
            const Index row = i * s.h - o.padding.top + a, column = j * s.w - o.padding.left + b;
            if (row < h + o.padding.bottom && column < w + o.padding.right) ++padded;
            if (row < 0 || row >= h || column < 0 || column >= w) continue;
            ++inside;
            seen.push_back((plane * h + row) * w + column);
            sum += x.data()[seen.back()];
          }
        const auto divisor = static_cast<double>(o.divisor_override    ? *o.divisor_override
                                                 : o.count_include_pad ? padded
                                                                       : inside);
        result.y.data()[out] = sum / divisor;
        for (Index at : seen) result.dx.data()[at] += slope(out) / divisor;
      }
  return result;
}

Pooled naive_adaptive(const Tensor<double>& x, Index oh, Index ow) {
  const Index h = x.dim(2), w = x.dim(3);
  Pooled result{Tensor<double>({x.dim(0), x.dim(1), oh, ow}), Tensor<double>::zeros(x.shape())};
  const auto first = [](Index o, Index in, Index out) {
    return static_cast<Index>(std::floor(static_cast<double>(o * in) / static_cast<double>(out)));
  };
  const auto last = [](Index o, Index in, Index out) {
    return static_cast<Index>(std::ceil(static_cast<double>((o + 1) * in) / static_cast<double>(out)));
  };
  for (Index plane = 0, out = 0; plane < x.dim(0) * x.dim(1); ++plane)
    for (Index i = 0; i < oh; ++i)
      for (Index j = 0; j < ow; ++j, ++out) {
        double sum = 0;
        std::vector<Index> seen;
        for (Index row = first(i, h, oh); row < last(i, h, oh); ++row)
          for (Index column = first(j, w, ow); column < last(j, w, ow); ++column) {
            seen.push_back((plane * h + row) * w + column);
            sum += x.data()[seen.back()];
          }
        result.y.data()[out] = sum / static_cast<double>(seen.size());
        for (Index at : seen) result.dx.data()[at] += slope(out) / static_cast<double>(seen.size());
      }
  return result;
}

template <class Scalar, class L>
void check_against(L layer, const Tensor<double>& x, const Pooled& expected, double tolerance) {
  CAPTURE(layer.name());
  CAPTURE(x.shape().to_string());
  CAPTURE(seed);
  const Tensor<Scalar> input = x.cast<Scalar>();
  Tape tape;
  const Tensor<Scalar> y = layer.forward(input, tape);
  REQUIRE(y.shape() == expected.y.shape());
  REQUIRE(layer.output_shape(x.shape()) == y.shape());
  Tensor<Scalar> dy(y.shape());
  for (Index i = 0; i < dy.numel(); ++i) dy.data()[i] = static_cast<Scalar>(slope(i));
  const Tensor<Scalar> dx = layer.backward(dy, tape);
  CHECK(testing::worst_difference(y.template cast<double>(), expected.y).error <= tolerance);
  CHECK(testing::worst_difference(dx.template cast<double>(), expected.dx).error <= tolerance);
  CHECK(layer.infer(input) == y);
}

/// Values that single precision holds exactly, many of them equal.
Tensor<double> image(Random& random, const Shape& shape) {
  Tensor<double> x(shape);
  for (double& v : x.values()) v = static_cast<double>(random.below(17)) - 8;
  return x;
}

Index between(Random& random, Index low, Index high) { return low + random.below(high - low + 1); }

/// The same on opposite sides, or on each side its own.
Padding drawn_padding(Random& random, const Size2& kernel) {
  const auto rows = [&] { return random.below(kernel.h / 2 + 1); };
  const auto columns = [&] { return random.below(kernel.w / 2 + 1); };
  if (random.below(2) == 0) return {rows(), columns()};
  const Index top = rows(), bottom = rows(), left = columns();
  return {top, bottom, left, columns()};
}

}  // namespace

TEST_CASE("MaxPool2d equals its naive twin") {
  Random random(seed);
  int tried = 0;
  while (tried < 400) {
    const Size2 kernel{between(random, 1, 5), between(random, 1, 5)};
    MaxPool2dOptions o{.stride = {between(random, 1, 4), between(random, 1, 4)},
                       .padding = drawn_padding(random, kernel),
                       .dilation = {between(random, 1, 3), between(random, 1, 3)},
                       .ceil_mode = random.below(2) == 1};
    if (random.below(4) == 0) o.stride = kernel_sized;
    if (random.below(2) == 0) o.dilation = 1;
    const Shape shape{between(random, 1, 3), between(random, 1, 3), between(random, 1, 20),
                      random.below(3) == 0 ? between(random, 30, 80) : between(random, 1, 20)};
    MaxPool2d<double> layer(kernel, o);
    try {
      layer.output_shape(shape);
    } catch (const ShapeError&) {
      continue;  // the window does not fit
    }
    ++tried;
    const Tensor<double> x = image(random, shape);
    const Pooled expected = naive_max(x, kernel, o);
    check_against<double>(layer, x, expected, 0);
    check_against<float>(MaxPool2d<float>(kernel, o), x, expected, 0);
  }
}

TEST_CASE("MaxPool2d cuts large images into bands, and numbers the taps of large windows") {
  Random random(seed);
  const Tensor<double> large = image(random, {1, 2, 301, 515});
  for (const MaxPool2dOptions& o : {MaxPool2dOptions{.stride = 2, .padding = 1}, MaxPool2dOptions{.stride = 1}})
    check_against<float>(MaxPool2d<float>(3, o), large, naive_max(large, 3, o), 0);
  const Tensor<double> x = image(random, {2, 2, 40, 37});
  const MaxPool2dOptions o{.stride = 3, .padding = 8};
  check_against<float>(MaxPool2d<float>(17, o), x, naive_max(x, 17, o), 0);
  check_against<double>(MaxPool2d<double>({16, 17}, o), x, naive_max(x, {16, 17}, o), 0);
}

TEST_CASE("MaxPool2d: the first of equal values takes the gradient, a NaN is the maximum, -infinity is a value") {
  MaxPool2d<double> pool(2);
  const auto gradient = [&](std::initializer_list<double> values, Tensor<double>& y) {
    Tape tape;
    y = pool.forward(Tensor<double>({1, 1, 2, 2}, values), tape);
    return pool.backward(Tensor<double>::ones({1, 1, 1, 1}), tape);
  };
  Tensor<double> y;
  CHECK(gradient({1, 3, 3, 3}, y) == Tensor<double>({1, 1, 2, 2}, {0, 1, 0, 0}));
  CHECK(gradient({-infinity, -infinity, -infinity, -infinity}, y) == Tensor<double>({1, 1, 2, 2}, {1, 0, 0, 0}));
  CHECK(y.item() == -infinity);
  CHECK(gradient({1, not_a_number, 7, 2}, y) == Tensor<double>({1, 1, 2, 2}, {0, 1, 0, 0}));
  CHECK(std::isnan(y.item()));
  CHECK(gradient({not_a_number, 1, 7, 2}, y) == Tensor<double>({1, 1, 2, 2}, {1, 0, 0, 0}));
  CHECK(std::isnan(pool.infer(Tensor<double>({1, 1, 2, 2}, {infinity, 1, not_a_number, 2})).item()));

  // The padding is no value either: the first place of the image wins over it.
  MaxPool2d<double> padded(3, {.stride = 2, .padding = 1});
  const auto lowest = Tensor<double>::full({1, 1, 3, 3}, -infinity);
  Tape tape;
  padded.forward(lowest, tape);
  CHECK(padded.backward(Tensor<double>::ones({1, 1, 2, 2}), tape) ==
        Tensor<double>({1, 1, 3, 3}, {1, 1, 0, 1, 1, 0, 0, 0, 0}));
}

TEST_CASE("AvgPool2d equals its naive twin") {
  Random random(seed);
  int tried = 0;
  while (tried < 400) {
    const Size2 kernel{between(random, 1, 5), between(random, 1, 5)};
    AvgPool2dOptions o{.stride = {between(random, 1, 4), between(random, 1, 4)},
                       .padding = drawn_padding(random, kernel),
                       .ceil_mode = random.below(2) == 1,
                       .count_include_pad = random.below(2) == 1};
    if (random.below(3) == 0) o.stride = kernel_sized;
    if (random.below(5) == 0) o.divisor_override = between(random, -3, -1);
    const Shape shape{between(random, 1, 3), between(random, 1, 3), between(random, 1, 20),
                      random.below(3) == 0 ? between(random, 30, 80) : between(random, 1, 20)};
    AvgPool2d<double> layer(kernel, o);
    try {
      layer.output_shape(shape);
    } catch (const ShapeError&) {
      continue;
    }
    ++tried;
    const Tensor<double> x = image(random, shape);
    const Pooled expected = naive_avg(x, kernel, o);
    check_against<double>(layer, x, expected, 1e-14);
    check_against<float>(AvgPool2d<float>(kernel, o), x, expected, 1e-6);
  }
}

TEST_CASE("AvgPool2d(2) equals its naive twin for every small image") {
  Random random(seed);
  for (Index h = 2; h <= 7; ++h)
    for (Index w = 2; w <= 70; ++w) {
      const Tensor<double> x = image(random, {2, 3, h, w});
      const Pooled expected = naive_avg(x, 2, {});
      check_against<float>(AvgPool2d<float>(2), x, expected, 0);
      check_against<double>(AvgPool2d<double>(2), x, expected, 0);
    }
}

TEST_CASE("AdaptiveAvgPool2d equals its naive twin") {
  Random random(seed);
  for (int i = 0; i < 300; ++i) {
    const Index h = between(random, 1, 20), w = between(random, 1, 40);
    const Index oh = random.below(3) == 0 ? 1 : between(random, 1, 9),
                ow = random.below(3) == 0 ? 1 : between(random, 1, 9);
    const Tensor<double> x = image(random, {between(random, 1, 3), between(random, 1, 5), h, w});
    const Pooled expected = naive_adaptive(x, oh, ow);
    check_against<double>(AdaptiveAvgPool2d<double>({oh, ow}), x, expected, 1e-14);
    check_against<float>(AdaptiveAvgPool2d<float>({oh, ow}), x, expected, 1e-6);
  }
  const Tensor<double> x = image(random, {2, 2, 5, 7});
  check_against<float>(AdaptiveAvgPool2d<float>({-1, 3}), x, naive_adaptive(x, 5, 3), 1e-6);
}

TEST_CASE("padding \"same\" gives ceil(n / stride) windows, the odd zero behind, as TensorFlow's SAME") {
  // By TensorFlow's documentation of tf.nn: its total padding, and half of it, rounded down, before.
  const auto zeros = [](Index n, Index kernel, Index stride) {
    const Index total = n % stride == 0 ? std::max<Index>(kernel - stride, 0) : std::max<Index>(kernel - n % stride, 0);
    return std::pair(total / 2, total - total / 2);
  };
  Random random(seed);
  for (int i = 0; i < 200; ++i) {
    const Size2 kernel{between(random, 1, 5), between(random, 1, 5)},
        stride{between(random, 1, 4), between(random, 1, 4)};
    const Tensor<double> x = image(random, {2, 2, between(random, 1, 20), between(random, 1, 20)});
    const auto [top, bottom] = zeros(x.dim(2), kernel.h, stride.h);
    const auto [left, right] = zeros(x.dim(3), kernel.w, stride.w);
    const Padding sides(top, bottom, left, right);
    const MaxPool2d<double> max(kernel, {.stride = stride, .padding = "same"});
    CHECK(max.padding({x.dim(2), x.dim(3)}) == sides);
    CHECK(max(x).shape() == Shape{2, 2, parts_of(x.dim(2), stride.h), parts_of(x.dim(3), stride.w)});
    CHECK(max(x) == MaxPool2d<double>(kernel, {.stride = stride, .padding = sides})(x));
    for (const bool counts : {true, false})
      CHECK(AvgPool2d<double>(kernel, {.stride = stride, .padding = "same", .count_include_pad = counts})(x) ==
            AvgPool2d<double>(kernel, {.stride = stride, .padding = sides, .count_include_pad = counts})(x));
    const Conv2d<double> same(2, 3, kernel, {.stride = stride, .padding = "same"});
    Conv2d<double> plain(2, 3, kernel, {.stride = stride, .padding = sides});
    plain.weight = same.weight;
    plain.bias = same.bias;
    CHECK(same(x) == plain(x));
    CHECK(same.output_shape(x.shape()) == plain.output_shape(x.shape()));
  }
}

TEST_CASE("AdaptiveMaxPool2d: of equal values the first takes the gradient, a NaN is the maximum") {
  AdaptiveMaxPool2d<double> pool({1, 2});
  Tape tape;
  const Tensor<double> x({1, 1, 2, 3}, {1, 4, not_a_number, 4, 2, 0});
  const Tensor<double> y = pool.forward(x, tape);
  CHECK(y(0, 0, 0, 0) == 4);
  CHECK(std::isnan(y(0, 0, 0, 1)));
  CHECK(pool.backward(Tensor<double>({1, 1, 1, 2}, {2, 3}), tape) == Tensor<double>({1, 1, 2, 3}, {0, 2, 3, 0, 0, 0}));
}

TEST_CASE("pooling layers conform") {
  CHECK(conforms(MaxPool2d<double>(3, {.stride = 2, .padding = "same"}), {2, 2, 8, 7}));
  CHECK(conforms(MaxPool2d<double>(3, {.stride = 2, .padding = {0, 1, 1, 0}}), {2, 2, 8, 7}));
  CHECK(
      conforms(AvgPool2d<double>({3, 2}, {.stride = 2, .padding = "same", .count_include_pad = false}), {2, 2, 8, 7}));
  CHECK(conforms(AvgPool2d<double>(3, {.stride = 2, .padding = {0, 1, 1, 0}, .ceil_mode = true}), {2, 2, 8, 7}));
  CHECK(conforms(AdaptiveMaxPool2d<double>(1), {2, 3, 4, 5}));
  CHECK(conforms(AdaptiveMaxPool2d<double>({3, 2}), {1, 2, 7, 5}));
  CHECK(conforms(AdaptiveMaxPool2d<double>({-1, 7}), {1, 2, 7, 5}));
  CHECK(conforms(AdaptiveMaxPool2d<double>(1), {0, 3, 4, 4}));
  CHECK(conforms(MaxPool2d<double>(2), {2, 3, 6, 8}));
  CHECK(conforms(MaxPool2d<double>(3, {.stride = 2, .padding = 1}), {2, 2, 7, 6}));
  CHECK(conforms(MaxPool2d<double>({2, 3}, {.stride = {2, 1}, .dilation = 2, .ceil_mode = true}), {1, 2, 7, 9}));
  CHECK(conforms(MaxPool2d<double>({17, 16}, {.stride = 1}), {1, 1, 18, 17}));
  CHECK(conforms(AvgPool2d<double>(2), {2, 3, 7, 9}));
  CHECK(conforms(AvgPool2d<double>(3, {.stride = 2, .padding = 1, .ceil_mode = true, .count_include_pad = false}),
                 {2, 2, 8, 6}));
  CHECK(conforms(AvgPool2d<double>({2, 3}, {.stride = 1, .divisor_override = 4}), {1, 2, 5, 5}));
  CHECK(conforms(AdaptiveAvgPool2d<double>(1), {2, 3, 4, 5}));
  CHECK(conforms(AdaptiveAvgPool2d<double>({3, 2}), {1, 2, 7, 5}));
  CHECK(conforms(MaxPool2d<double>(2), {0, 3, 4, 4}));
  CHECK(conforms(AvgPool2d<double>(2), {0, 3, 4, 4}));
  CHECK(conforms(AdaptiveAvgPool2d<double>(1), {0, 3, 4, 4}));
}

TEST_CASE("pooling gives the same bits for any number of threads") {
  Random random(seed);
  const Tensor<float> x = random.normal({16, 13, 33, 35});
  const auto run = [&](Module<float>& layer, int threads) {
    const int before = num_threads();
    set_num_threads(threads);
    Tape tape;
    Tensor<float> y = layer.forward(x, tape);
    Tensor<float> dx = layer.backward(y, tape);
    set_num_threads(before);
    return std::pair(y, dx);
  };
  MaxPool2d<float> max_pool(3, {.stride = 2, .padding = 1});
  AvgPool2d<float> halving(2), overlapping(3, {.stride = 1, .padding = 1});
  AdaptiveAvgPool2d<float> global(1), adaptive(6);
  AdaptiveMaxPool2d<float> largest(6);
  for (Module<float>* layer :
       std::initializer_list<Module<float>*>{&max_pool, &halving, &overlapping, &global, &adaptive, &largest})
    CHECK(run(*layer, 1) == run(*layer, 4));
}

TEST_CASE("pooling layers name themselves and what is wrong") {
  CHECK(MaxPool2d(2).name() == "MaxPool2d(2)");
  CHECK(MaxPool2d({3, 2}, {.stride = {2, 1}, .padding = 1, .dilation = 2, .ceil_mode = true}).name() ==
        "MaxPool2d((3, 2), stride=(2, 1), padding=1, dilation=2, ceil_mode=true)");
  CHECK(AvgPool2d(3, {.stride = 1, .count_include_pad = false, .divisor_override = 2}).name() ==
        "AvgPool2d(3, stride=1, count_include_pad=false, divisor_override=2)");
  CHECK(AdaptiveAvgPool2d({-1, 7}).name() == "AdaptiveAvgPool2d((-1, 7))");

  CHECK_THROWS_WITH_AS(MaxPool2d(0), "MaxPool2d(0): kernel_size must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(MaxPool2d(2, {.stride = 0}), "MaxPool2d(2, stride=0): stride must be at least 1, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(MaxPool2d(2, {.dilation = 0}), "MaxPool2d(2, dilation=0): dilation must be at least 1, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(AvgPool2d(3, {.padding = {-1, 0}}), "padding must not be negative, got (-1, 0)", ValueError);
  CHECK_THROWS_WITH_AS(MaxPool2d(3, {.padding = "same", .ceil_mode = true}),
                       "MaxPool2d(3, padding=same, ceil_mode=true): with padding \"same\" no window hangs over for "
                       "ceil_mode",
                       ValueError);
  CHECK_THROWS_WITH_AS(AdaptiveMaxPool2d({3, -2}),
                       "AdaptiveMaxPool2d((3, -2)): output_size must be at least 1, or -1 to keep the input's, got "
                       "(3, -2)",
                       ValueError);
  CHECK_THROWS_WITH_AS(AvgPool2d(3, {.padding = 2}),
                       "AvgPool2d(3, padding=2): padding must be at most half of kernel_size 3, got 2", ValueError);
  CHECK_THROWS_WITH_AS(AvgPool2d(3, {.divisor_override = 0}),
                       "AvgPool2d(3, divisor_override=0): divisor_override must not be 0", ValueError);
  CHECK_THROWS_WITH_AS(AdaptiveAvgPool2d(0),
                       "AdaptiveAvgPool2d(0): output_size must be at least 1, or -1 to keep the input's, got 0",
                       ValueError);

  CHECK_THROWS_WITH_AS(MaxPool2d(2).output_shape({3, 4, 4}),
                       "MaxPool2d(2): expected an input [N, C, H, W], got shape [3, 4, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(AvgPool2d(5).infer(Tensor<float>({1, 2, 4, 8})),
                       "AvgPool2d(5): the window is larger than the padded image, got shape [1, 2, 4, 8]", ShapeError);
  CHECK_THROWS_WITH_AS(
      MaxPool2d(2, {.padding = 1, .dilation = 3}).output_shape({1, 1, 2, 2}),
      "MaxPool2d(2, padding=1, dilation=3): a window lies in the padding alone, got shape [1, 1, 2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(AdaptiveAvgPool2d(1).output_shape({1, 2, 0, 3}),
                       "AdaptiveAvgPool2d(1): expected images of at least 1 x 1, got shape [1, 2, 0, 3]", ShapeError);
}

}  // namespace test_pooling
