#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <tuple>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/kernels/convolution-inl.hpp"

using namespace lamina;
using kernels::ConvolutionMethod;
using kernels::ConvolutionShape;

namespace test_convolution {

namespace {

std::string describe(const ConvolutionShape& s) {
  return text("n ", s.n, " c ", s.c, " h ", s.h, " w ", s.w, " m ", s.m, " k ", s.kh, "x", s.kw, " s ", s.sh, "x", s.sw,
              " d ", s.dh, "x", s.dw, " padding ", s.top, " ", s.bottom, " ", s.left, " ", s.right, " groups ",
              s.groups);
}

/// The definition, in loops: what the fast kernels must equal.
struct Naive {
  Tensor<double> y, dx, dweight, dbias;

  Naive(const ConvolutionShape& s, const Tensor<double>& x, const Tensor<double>& weight, const Tensor<double>& bias,
        const Tensor<double>& dy)
      : y({s.n, s.m, s.oh(), s.ow()}),
        dx(Tensor<double>::zeros(x.shape())),
        dweight(Tensor<double>::zeros(weight.shape())),
        dbias(Tensor<double>::zeros({s.m})) {
    for (Index n = 0; n < s.n; ++n)
      for (Index m = 0; m < s.m; ++m)
        for (Index i = 0; i < s.oh(); ++i)
          for (Index j = 0; j < s.ow(); ++j) {
            double sum = bias(m);
            dbias(m) += dy(n, m, i, j);
            for (Index c = 0; c < s.group_c(); ++c)
              for (Index a = 0; a < s.kh; ++a)
                for (Index b = 0; b < s.kw; ++b) {
                  const Index p = i * s.sh + a * s.dh - s.top, q = j * s.sw + b * s.dw - s.left;
                  if (p < 0 || p >= s.h || q < 0 || q >= s.w) continue;
                  const Index channel = m / s.group_m() * s.group_c() + c;
                  sum += weight(m, c, a, b) * x(n, channel, p, q);
                  dx(n, channel, p, q) += weight(m, c, a, b) * dy(n, m, i, j);
                  dweight(m, c, a, b) += x(n, channel, p, q) * dy(n, m, i, j);
                }
            y(n, m, i, j) = sum;
          }
  }
};

/// |a - b| / |b|, in the L2 norm.
template <class Scalar>
double relative_error(const Tensor<Scalar>& a, const Tensor<double>& b) {
  const auto exact = b.array();
  return std::sqrt((a.template cast<double>().array() - exact).square().sum() / std::max(exact.square().sum(), 1e-300));
}

/// Whether all elements are equal, or NaN in both.
template <class Scalar>
bool same(const Tensor<Scalar>& a, const Tensor<Scalar>& b) {
  return (a.array() == b.array() || (a.array().isNaN() && b.array().isNaN())).all();
}

/// The methods that can do this convolution, whether or not the rule would take them.
std::vector<ConvolutionMethod> methods(const ConvolutionShape& s) {
  std::vector<ConvolutionMethod> result{ConvolutionMethod::sweep, ConvolutionMethod::direct};
  const bool plain = s.sh == 1 && s.sw == 1 && s.kh == s.kw;
  if (plain && s.kh == 3) result.insert(result.end(), {ConvolutionMethod::winograd_2, ConvolutionMethod::winograd_4});
  if (s.depthwise()) result.push_back(ConvolutionMethod::depthwise);
  if (plain && s.kh == 5) result.push_back(ConvolutionMethod::winograd_5);
  return result;
}

/// Operands of a convolution, of unit variance in y.
template <class Scalar>
struct Operands {
  Tensor<Scalar> x, weight, bias, dy;
  explicit Operands(const ConvolutionShape& s) {
    Random random(static_cast<std::uint64_t>(s.h * 1000 + s.w * 10 + s.kh));
    x = random.normal<Scalar>({s.n, s.c, s.h, s.w});
    const auto scale = static_cast<Scalar>(1 / std::sqrt(static_cast<double>(s.group_c() * s.taps())));
    weight = random.normal<Scalar>({s.m, s.group_c(), s.kh, s.kw}, 0, scale);
    bias = random.normal<Scalar>({s.m});
    dy = random.normal<Scalar>({s.n, s.m, s.oh(), s.ow()});
  }
};

template <class Scalar>
struct Results {
  Tensor<Scalar> y, dx, dweight, dbias;

  Results(const ConvolutionShape& s, const Operands<Scalar>& o, ConvolutionMethod method)
      : y(o.dy.shape()),
        dx(o.x.shape()),
        dweight(Tensor<Scalar>::full(o.weight.shape(), 2)),
        dbias(Tensor<Scalar>::full(o.bias.shape(), 2)) {
    const auto filters = kernels::pack_filters(s, o.weight.data(), method);
    kernels::convolution_forward(s, o.x.data(), filters, o.bias.data(), y.data());
    Tensor<Scalar> once(y.shape());
    kernels::convolution_forward(s, o.x.data(), o.weight.data(), o.bias.data(), once.data(), method);
    CHECK(same(once, y));
    const bool negative_padding =  // of the convolution over dy, which Winograd's kernels do not do
        method != ConvolutionMethod::sweep && method != ConvolutionMethod::direct &&
        method != ConvolutionMethod::depthwise && !kernels::dilated(s) &&
        std::max({s.top, s.bottom, s.left, s.right}) >= s.kh;
    kernels::convolution_backward_input(s, o.dy.data(), o.weight.data(), dx.data(),
                                        negative_padding ? ConvolutionMethod::direct : method);
    kernels::convolution_backward_weight(s, o.x.data(), o.dy.data(), dweight.data(), dbias.data(), method);
    dweight.array() -= 2;  // the gradients are added
    dbias.array() -= 2;
  }
};

/// Images in blocks of channels, and back. Lanes behind the last channel hold a number that must not count.
/// @{
template <class Scalar>
Tensor<Scalar> blocks(const Tensor<Scalar>& x) {
  const Index lanes = kernels::block_lanes<Scalar>(), parts = parts_of(x.dim(1), lanes), pixels = x.dim(2) * x.dim(3);
  Tensor<Scalar> y = Tensor<Scalar>::full({x.dim(0), parts, pixels, lanes}, 3);
  for (Index n = 0; n < x.dim(0); ++n)
    for (Index c = 0; c < x.dim(1); ++c)
      for (Index p = 0; p < pixels; ++p) y(n, c / lanes, p, c % lanes) = x.data()[(n * x.dim(1) + c) * pixels + p];
  return y;
}
template <class Scalar>
Tensor<Scalar> planes(const Tensor<Scalar>& y, const Shape& shape) {
  const Index lanes = kernels::block_lanes<Scalar>(), pixels = shape[2] * shape[3];
  Tensor<Scalar> x(shape);
  for (Index n = 0; n < shape[0]; ++n)
    for (Index c = 0; c < shape[1]; ++c)
      for (Index p = 0; p < pixels; ++p) x.data()[(n * shape[1] + c) * pixels + p] = y(n, c / lanes, p, c % lanes);
  return x;
}
/// @}

/// With x, y or both in blocks, by the methods that are taken then.
template <class Scalar>
void check_blocks(ConvolutionShape s, const Operands<Scalar>& o, const Naive& naive, double tolerance) {
  if (!kernels::takes_blocks<Scalar>(s)) return;
  for (const int which : {1, 2, 3}) {
    if (s.depthwise() && which != 3) continue;
    s.blocked_x = which % 2 == 1, s.blocked_y = which >= 2;
    INFO(describe(s), ", in blocks: ", which);
    const Tensor<Scalar> x = s.blocked_x ? blocks(o.x) : o.x, dy = s.blocked_y ? blocks(o.dy) : o.dy;
    Tensor<Scalar> y(dy.shape()), dx(x.shape());
    kernels::convolution_forward(s, x.data(), kernels::pack_filters(s, o.weight.data()), o.bias.data(), y.data());
    Tensor<Scalar> once(y.shape());
    kernels::convolution_forward(s, x.data(), o.weight.data(), o.bias.data(), once.data());
    CHECK(same(once, y));
    kernels::convolution_backward_input(s, dy.data(), o.weight.data(), dx.data());
    Tensor<Scalar> dweight = Tensor<Scalar>::full(o.weight.shape(), 2), dbias = Tensor<Scalar>::full(o.bias.shape(), 2);
    kernels::convolution_backward_weight(s, x.data(), dy.data(), dweight.data(), dbias.data());
    dweight.array() -= 2;
    dbias.array() -= 2;
    CHECK(relative_error(s.blocked_y ? planes(y, o.dy.shape()) : y, naive.y) < tolerance);
    CHECK(relative_error(s.blocked_x ? planes(dx, o.x.shape()) : dx, naive.dx) < tolerance);
    CHECK(relative_error(dweight, naive.dweight) < 3 * tolerance);
    CHECK(relative_error(dbias, naive.dbias) < tolerance);
    CHECK((y.array().isFinite().all() && dx.array().isFinite().all()));  // lanes behind the last channel, too

    Tensor<Scalar> sum = x;
    const bool adds = kernels::add_convolution_backward_input(s, dy.data(), o.weight.data(), sum.data());
    CHECK(adds == (s.blocked_x && kernels::backward_input_method<Scalar>(s) == ConvolutionMethod::direct));
    if (adds) {
      sum.array() -= x.array();
      CHECK(relative_error(planes(sum, o.x.shape()), naive.dx) < 4 * tolerance);
    } else {
      CHECK(same(sum, x));
    }
  }
}

template <class Scalar>
void check(const ConvolutionShape& s, double tolerance) {
  const Operands<Scalar> o(s);
  const Naive naive(s, o.x.template cast<double>(), o.weight.template cast<double>(), o.bias.template cast<double>(),
                    o.dy.template cast<double>());
  std::vector<ConvolutionMethod> all = methods(s);
  all.insert(all.end(), {kernels::forward_method<Scalar>(s), kernels::backward_weight_method<Scalar>(s)});
  for (ConvolutionMethod method : all) {
    INFO(describe(s), ", method ", static_cast<int>(method));
    const Results<Scalar> results(s, o, method);
    CHECK(relative_error(results.y, naive.y) < tolerance);
    CHECK(relative_error(results.dx, naive.dx) < tolerance);
    CHECK(relative_error(results.dweight, naive.dweight) < 3 * tolerance);  // a long sum
    CHECK(relative_error(results.dbias, naive.dbias) < tolerance);
  }
  Tensor<Scalar> dx(o.x.shape());
  kernels::convolution_backward_input(s, o.dy.data(), o.weight.data(), dx.data());
  CHECK(relative_error(dx, naive.dx) < tolerance);
  check_blocks(s, o, naive, tolerance);
}

ConvolutionShape square(Index n, Index c, Index pixels, Index m, Index kernel, Index padding, Index stride = 1,
                        Index groups = 1) {
  return {.n = n,
          .c = c,
          .h = pixels,
          .w = pixels,
          .m = m,
          .kh = kernel,
          .kw = kernel,
          .sh = stride,
          .sw = stride,
          .top = padding,
          .bottom = padding,
          .left = padding,
          .right = padding,
          .groups = groups};
}

}  // namespace

TEST_CASE("every convolution kernel equals the definition over a grid of options") {
  Random random(7);
  const auto pick = [&](Index low, Index high) { return low + random.below(high - low + 1); };
  int checked = 0;
  for (int trial = 0; trial < 300; ++trial) {
    ConvolutionShape s{};
    s.groups = random.uniform() < 0.5 ? 1 : pick(2, 4);
    s.n = pick(1, 3), s.c = s.groups * pick(1, trial % 4 == 0 ? 20 : 4),
    s.m = s.groups * pick(1, trial % 5 == 0 ? 40 : 5);
    s.h = pick(1, 14), s.w = pick(1, trial % 8 == 0 ? 50 : 14);
    s.kh = pick(1, 5), s.kw = pick(1, 5), s.sh = pick(1, 3), s.sw = pick(1, 3), s.dh = pick(1, 3), s.dw = pick(1, 3);
    s.top = pick(0, 3), s.bottom = pick(0, 3), s.left = pick(0, 3), s.right = pick(0, 3);
    if (trial % 3 == 0) s.kh = s.kw = trial % 2 ? 3 : 5, s.sh = s.sw = 1;
    if (trial % 12 < 6) s.dh = s.dw = 1;
    if (s.h + s.top + s.bottom < s.dh * (s.kh - 1) + 1 || s.w + s.left + s.right < s.dw * (s.kw - 1) + 1) continue;
    ++checked;
    check<double>(s, 1e-13);
    check<float>(s, 1e-5);
  }
  CHECK(checked > 150);
}

TEST_CASE("every convolution kernel equals the definition on the shapes of real networks") {
  const ConvolutionShape shapes[] = {
      square(20, 1, 28, 6, 5, 2),         square(20, 6, 14, 16, 5, 0), square(1, 3, 60, 64, 7, 3, 2),
      square(1, 64, 14, 70, 3, 1),        square(1, 96, 9, 32, 1, 0),  square(2, 32, 17, 32, 3, 1, 2, 32),
      square(1, 3, 50, 32, 11, 1, 4),     square(2, 40, 28, 24, 3, 1), square(3, 64, 7, 96, 1, 0, 2),
      square(2, 48, 13, 64, 3, 1, 1, 2),  square(1, 24, 27, 40, 5, 2), square(2, 24, 15, 24, 3, 1, 1, 24),
      square(2, 40, 15, 40, 5, 2, 2, 40), square(2, 70, 7, 72, 3, 1),  square(2, 72, 12, 70, 3, 1),
      square(13, 70, 7, 40, 1, 0)};
  for (const ConvolutionShape& s : shapes) {
    check<float>(s, 2e-6);
    check<double>(s, 1e-14);
  }
}

TEST_CASE("Winograd's convolution of 512 channels is within 2e-5 of the exact one") {
  const ConvolutionShape s = square(1, 512, 8, 32, 3, 1);
  const Operands<float> o(s);
  const Operands<double> exact = [&] {
    Operands<double> result(s);
    result.x = o.x.cast<double>(), result.weight = o.weight.cast<double>(), result.bias = o.bias.cast<double>();
    return result;
  }();
  Tensor<double> y(o.dy.shape());
  kernels::convolution_forward(s, exact.x.data(),
                               kernels::pack_filters(s, exact.weight.data(), ConvolutionMethod::direct),
                               exact.bias.data(), y.data());
  for (auto [method, bound] : {std::pair(ConvolutionMethod::winograd_2, 1e-6), {ConvolutionMethod::winograd_4, 3e-6}})
    CHECK(relative_error(Results<float>(s, o, method).y, y) < bound);
}

TEST_CASE("convolution kernels give the same bits for any number of threads") {
  const int before = num_threads();
  for (const ConvolutionShape& s :
       {square(40, 6, 14, 16, 5, 0), square(1, 32, 28, 48, 3, 1), square(9, 16, 20, 32, 3, 1),
        square(5, 20, 9, 33, 3, 1, 2), square(3, 16, 12, 32, 5, 2), square(2, 70, 7, 72, 3, 1)})
    for (ConvolutionMethod method : methods(s)) {
      INFO(describe(s), ", method ", static_cast<int>(method));
      const Operands<float> o(s);
      const auto run = [&](int threads) {
        set_num_threads(threads);
        Results<float> r(s, o, method);
        return std::tuple(r.y, r.dx, r.dweight, r.dbias);
      };
      const auto one = run(1);
      CHECK(one == run(2));
      CHECK(one == run(5));
    }
  set_num_threads(before);
}

TEST_CASE("a NaN or an infinity reaches the outputs that depend on it, and no others") {
  const ConvolutionShape s = square(1, 16, 20, 16, 3, 1);
  for (ConvolutionMethod method : methods(s))
    for (float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      INFO("method ", static_cast<int>(method));
      Operands<float> o(s);
      o.weight.fill(1);
      o.x(0, 3, 10, 9) = value;
      const Tensor<float> y = Results<float>(s, o, method).y;
      for (Index m = 0; m < s.m; ++m)
        for (Index i = 0; i < 20; ++i)
          for (Index j = 0; j < 20; ++j) {
            const bool near = std::abs(i - 10) <= 1 && std::abs(j - 9) <= 1;
            if (near) CHECK_FALSE(std::isfinite(y(0, m, i, j)));
            // Winograd's tiles are at most 4 x 4: what is farther away is not touched.
            if (std::abs(i - 10) > 5 || std::abs(j - 9) > 5) CHECK(std::isfinite(y(0, m, i, j)));
            const bool exact = method == ConvolutionMethod::sweep || method == ConvolutionMethod::direct;
            if (exact) CHECK(std::isfinite(y(0, m, i, j)) != near);
            if (exact && near && std::isinf(value)) CHECK(y(0, m, i, j) == value);
          }
    }
}

}  // namespace test_convolution
