#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <vector>

#include "lamina/nn/hamburger/hamburger.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace test_hamburger {

namespace {

/// The paper's algorithms in a few loops, in double, for one matrix.
struct Matrix {
  Index rows, columns;
  std::vector<double> values;
  Matrix(Index r, Index c, double value = 0) : rows(r), columns(c), values(static_cast<std::size_t>(r * c), value) {}
  double& operator()(Index i, Index j) { return values[static_cast<std::size_t>(i * columns + j)]; }
  double operator()(Index i, Index j) const { return values[static_cast<std::size_t>(i * columns + j)]; }
};
Matrix transpose(const Matrix& a) {
  Matrix t(a.columns, a.rows);
  for (Index i = 0; i < a.rows; ++i)
    for (Index j = 0; j < a.columns; ++j) t(j, i) = a(i, j);
  return t;
}
Matrix operator*(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.columns);
  for (Index i = 0; i < a.rows; ++i)
    for (Index k = 0; k < a.columns; ++k)
      for (Index j = 0; j < b.columns; ++j) c(i, j) += a(i, k) * b(k, j);
  return c;
}
template <class F>
Matrix map(Matrix a, F f) {
  for (Index i = 0; i < a.rows; ++i)
    for (Index j = 0; j < a.columns; ++j) a(i, j) = f(i, j, a(i, j));
  return a;
}
/// The columns' norms.
std::vector<double> norms(const Matrix& a) {
  std::vector<double> result(static_cast<std::size_t>(a.columns));
  for (Index j = 0; j < a.columns; ++j) {
    double square = 0;
    for (Index i = 0; i < a.rows; ++i) square += a(i, j) * a(i, j);
    result[static_cast<std::size_t>(j)] = std::sqrt(square);
  }
  return result;
}
Matrix normalized(const Matrix& a, double eps = 1e-12) {
  const auto norm = norms(a);
  return map(a, [&](Index, Index j, double v) { return v / std::max(norm[static_cast<std::size_t>(j)], eps); });
}
Matrix softmax_of_rows(const Matrix& a) {
  Matrix e = map(a, [](Index, Index, double v) { return std::exp(v); });
  Matrix sums = e * Matrix(a.columns, 1, 1);
  return map(e, [&](Index i, Index, double v) { return v / sums(i, 0); });
}
Matrix inverse(Matrix a) {  // Gauss and Jordan; the matrix is well-conditioned
  const Index n = a.rows;
  Matrix b(n, n);
  for (Index i = 0; i < n; ++i) b(i, i) = 1;
  for (Index k = 0; k < n; ++k) {
    const double pivot = a(k, k);
    for (Index j = 0; j < n; ++j) a(k, j) /= pivot, b(k, j) /= pivot;
    for (Index i = 0; i < n; ++i) {
      const double factor = i == k ? 0 : a(i, k);
      for (Index j = 0; j < n; ++j) a(i, j) -= factor * a(k, j), b(i, j) -= factor * b(k, j);
    }
  }
  return b;
}

struct Naive {
  HamKind kind;
  double inverse_temperature, beta;
  Matrix d, c;  // bases and coefficients

  Naive(HamKind k, const HamOptions& options, Matrix bases, Index n)
      : kind(k),
        inverse_temperature(options.inverse_temperature),
        beta(options.beta),
        d(std::move(bases)),
        c(n, d.columns) {}

  static Matrix multiplied(const Matrix& f, const Matrix& products, const Matrix& gram) {
    const Matrix denominator = f * gram;
    return map(f, [&](Index i, Index j, double v) { return v * products(i, j) / (denominator(i, j) + 1e-6); });
  }
  Matrix assigned(const Matrix& scaled_x) const {
    const Matrix cosines = transpose(scaled_x) * normalized(d, 1e-6);
    return softmax_of_rows(map(cosines, [&](Index, Index, double v) { return v * inverse_temperature; }));
  }
  void iterate(const Matrix& x, Index steps, bool from_start = true) {
    if (kind == HamKind::nmf && from_start) c = softmax_of_rows(transpose(x) * d);
    for (Index step = 0; step < steps; ++step) {
      if (kind == HamKind::nmf) {
        c = multiplied(c, transpose(x) * d, transpose(d) * d);
        d = multiplied(d, x * c, transpose(c) * c);
      } else {
        c = assigned(normalized(x));
        const Matrix sums = Matrix(1, c.rows, 1) * c;
        d = x * map(c, [&](Index, Index j, double v) { return v / (sums(0, j) + 1e-6); });
        if (kind == HamKind::cd) d = normalized(d, 1e-6);
      }
    }
  }
  /// X̄ from the last coefficients, the iterations' result and, for VQ, the norms of x held.
  Matrix last(const Matrix& x, const std::vector<double>& x_norms) const {
    Matrix coefficients = c;
    if (kind == HamKind::nmf) {
      coefficients = multiplied(c, transpose(x) * d, transpose(d) * d);
    } else if (kind == HamKind::vq) {
      coefficients =
          assigned(map(x, [&](Index, Index j, double v) { return v / (1e-6 + x_norms[static_cast<std::size_t>(j)]); }));
    } else {
      const Matrix gram = map(transpose(d) * d, [&](Index i, Index j, double v) { return v + (i == j ? beta : 0); });
      coefficients = transpose(x) * d * inverse(gram);
    }
    return d * transpose(coefficients);
  }
};

/// X of one item of x [N, C, H, W], and a result put back.
Matrix matrix_of(const Tensor<double>& x, const HamOptions& options, Index item) {
  const Index channels = x.dim(1) / options.heads, pixels = x.dim(2) * x.dim(3);
  Matrix m(channels, pixels);
  std::copy_n(x.data() + item * channels * pixels, channels * pixels, m.values.begin());
  return options.spatial ? m : transpose(m);
}
void put(const Matrix& m, const HamOptions& options, Index item, Tensor<double>& y) {
  const Matrix memory = options.spatial ? m : transpose(m);
  std::copy(memory.values.begin(), memory.values.end(), y.data() + item * memory.rows * memory.columns);
}

/// f(naive after `steps`, X) for every item, put together.
template <class F>
Tensor<double> naive(HamKind kind, const HamOptions& options, const Tensor<double>& bases, const Tensor<double>& x,
                     Index steps, F f) {
  Tensor<double> y(x.shape());
  for (Index item = 0; item < x.dim(0) * options.heads; ++item) {
    const Matrix m = matrix_of(x, options, item);
    Matrix d(m.rows, options.rank);
    std::copy_n(bases.data() + item % options.heads * m.rows * options.rank, m.rows * options.rank, d.values.begin());
    Naive n(kind, options, normalized(d), m.columns);
    n.iterate(m, steps);
    put(f(n, m, item), options, item, y);
  }
  return y;
}
Tensor<double> naive_ham(HamKind kind, const HamOptions& options, const Tensor<double>& bases, const Tensor<double>& x,
                         Index steps) {
  return naive(kind, options, bases, x, steps,
               [](const Naive& n, const Matrix& m, Index) { return n.last(m, norms(m)); });
}

/// f(ham) with NMF, VQ or CD.
template <class S, class F>
auto with_ham(HamKind kind, const HamOptions& options, F f) {
  if (kind == HamKind::nmf) return f(NMF<S>(options));
  if (kind == HamKind::vq) return f(VQ<S>(options));
  return f(CD<S>(options));
}

constexpr HamKind kinds[] = {HamKind::nmf, HamKind::vq, HamKind::cd};

struct Case {
  Shape shape;
  bool spatial;
  Index heads, rank;
};
/// Either factor the longer one in either layout; ranks within a vector, beyond it and just a vector; many blocks;
/// ranks above d, above n and above both.
const Case cases[] = {
    {{2, 6, 5, 3}, true, 1, 3},    {{1, 26, 3, 4}, true, 2, 5},    {{2, 9, 3, 2}, false, 1, 4},
    {{1, 8, 5, 6}, false, 2, 3},   {{1, 40, 17, 19}, true, 1, 17}, {{1, 300, 4, 9}, true, 1, 16},
    {{2, 24, 21, 9}, false, 2, 9}, {{1, 260, 5, 7}, false, 1, 33}, {{3, 70, 8, 30}, true, 1, 64},
    {{2, 6, 2, 2}, true, 1, 5},    {{1, 5, 3, 4}, true, 1, 9},     {{1, 5, 2, 3}, false, 1, 20},
};
HamOptions options_of(const Case& c, Index dimension) {
  HamOptions options{.spatial = c.spatial, .heads = c.heads, .rank = c.rank, .inverse_temperature = 20};
  options.random_bases = false;
  options.dimension = dimension;
  return options;
}
Index dimension_of(const Case& c) { return c.spatial ? c.shape[1] / c.heads : c.shape[2] * c.shape[3]; }

Tensor<double> input(HamKind kind, const Shape& shape, std::uint64_t seed = 3) {
  Tensor<double> x = Random(seed).normal<double>(shape);
  if (kind == HamKind::nmf) x.array() = x.array().abs();
  return x.cast<float>().cast<double>();
}

/// The slopes of a loss by every value of m, from central differences.
template <class Loss>
Matrix slopes(const Matrix& m, double step, const Loss& loss) {
  Matrix probe = m, result = m;
  for (std::size_t k = 0; k < probe.values.size(); ++k) {
    probe.values[k] = m.values[k] + step;
    const double above = loss(probe);
    probe.values[k] = m.values[k] - step;
    result.values[k] = (above - loss(probe)) / (2 * step);
    probe.values[k] = m.values[k];
  }
  return result;
}

}  // namespace

TEST_CASE_TEMPLATE("hams equal the paper's algorithms written in loops", S, float, double) {
  for (const HamKind kind : kinds)
    for (const Case& c : cases) {
      const HamOptions options = options_of(c, dimension_of(c));
      with_ham<S>(kind, options, [&](const auto& ham) {
        CAPTURE(ham.name());
        CAPTURE(c.shape.to_string());
        const Tensor<double> x = input(kind, c.shape);
        const auto expected = naive_ham(kind, options, ham.bases.template cast<double>(), x, options.eval_steps);
        const auto got = ham(x.cast<S>()).template cast<double>();
        CHECK(testing::worst_difference(got, expected).error < (std::is_same_v<S, float> ? 1e-3 : 1e-11));
      });
    }
}

TEST_CASE("one-step gradients equal differences of the last step with the rest held") {
  for (const HamKind kind : kinds)
    for (std::size_t i = 0; i < 4; ++i) {
      const Case& c = cases[i];
      HamOptions options = options_of(c, dimension_of(c));
      options.online_update = OnlineUpdate::evaluation;
      with_ham<double>(kind, options, [&](auto ham) {
        CAPTURE(ham.name());
        Tensor<double> x = input(kind, c.shape);
        const Tensor<double> dy = Random(5).normal<double>(c.shape);
        Tape tape;
        ham.forward(x, tape);
        const Tensor<double> dx = ham.backward(dy, tape);
        Tensor<double> numeric(x.shape());
        const double step = 1e-5;
        naive(kind, options, ham.bases, x, options.train_steps, [&](const Naive& n, const Matrix& m, Index item) {
          const Matrix direction = matrix_of(dy, options, item);
          const auto loss = [&](const Matrix& probe) {
            const Matrix y = n.last(probe, norms(m));
            double sum = 0;
            for (std::size_t k = 0; k < y.values.size(); ++k) sum += y.values[k] * direction.values[k];
            return sum;
          };
          put(slopes(m, step, loss), options, item, numeric);
          return m;
        });
        CHECK(testing::worst_difference(dx, numeric).error < 1e-7);
      });
    }
}

TEST_CASE("gradients of the last steps equal differences with what is before them held") {
  const double step = 1e-5;
  for (const HamKind kind : kinds)
    for (const Index last : {1, 2}) {
      const Case& c = cases[last];
      HamOptions options = options_of(c, dimension_of(c));
      options.train_steps = 4;
      options.inverse_temperature = 3;
      options.online_update = OnlineUpdate::evaluation;
      options.gradient = HamGradient::bptt;
      options.gradient_steps = last;
      with_ham<double>(kind, options, [&](auto ham) {
        CAPTURE(ham.name());
        Tensor<double> x = input(kind, c.shape);
        x.array() += 1;
        const Tensor<double> dy = Random(5).normal<double>(c.shape);
        Tape tape;
        ham.forward(x, tape);
        const Tensor<double> dx = ham.backward(dy, tape);
        Tensor<double> numeric(x.shape());
        naive(kind, options, ham.bases, x, options.train_steps - last,
              [&](const Naive& held, const Matrix& m, Index item) {
                const Matrix direction = matrix_of(dy, options, item);
                const auto loss = [&](const Matrix& probe) {
                  Naive n = held;
                  n.iterate(probe, last, false);
                  const Matrix y = n.last(probe, norms(probe));
                  double sum = 0;
                  for (std::size_t k = 0; k < y.values.size(); ++k) sum += y.values[k] * direction.values[k];
                  return sum;
                };
                put(slopes(m, step, loss), options, item, numeric);
                return m;
              });
        CHECK(testing::worst_difference(dx, numeric).error < 1e-6);
      });
    }
  // No step at all is the one-step gradient but for the norms of VQ; more steps than there are is all of it.
  for (const HamKind kind : {HamKind::nmf, HamKind::cd}) {
    const Tensor<double> x = input(kind, {1, 6, 4, 3});
    const auto gradient = [&](HamGradient through, std::optional<Index> steps) {
      const HamOptions options{.rank = 3, .train_steps = 4, .gradient = through, .gradient_steps = steps};
      return with_ham<double>(kind, options, [&](auto ham) {
        Tape tape;
        return ham.backward(ham.forward(x, tape), tape);
      });
    };
    const auto differ = [](const Tensor<double>& a, const Tensor<double>& b) {
      return testing::worst_difference(a, b).error;
    };
    const Tensor<double> one = gradient(HamGradient::one_step, {}), all = gradient(HamGradient::bptt, {});
    CHECK(differ(gradient(HamGradient::bptt, 0), one) < 1e-12);
    CHECK(differ(gradient(HamGradient::bptt, 4), all) == 0);
    CHECK(differ(gradient(HamGradient::bptt, 9), all) == 0);
    CHECK(differ(one, all) > 1e-6);
  }
  CHECK_THROWS_WITH_AS(NMF({.gradient_steps = 2}), "NMF: gradient_steps is for the gradient bptt", ValueError);
  CHECK_THROWS_WITH_AS(CD({.gradient = HamGradient::bptt, .gradient_steps = -1}),
                       "CD: gradient_steps must not be negative, got -1", ValueError);
}

TEST_CASE("hams with full gradients conform") {
  for (const HamKind kind : kinds)
    for (const bool spatial : {true, false})
      for (const Shape& shape : {Shape{2, 10, 3, 4}, Shape{1, 28, 2, 3}}) {
        const HamOptions options{.spatial = spatial,
                                 .heads = 2,
                                 .rank = 3,
                                 .train_steps = 3,
                                 .inverse_temperature = 3,
                                 .gradient = HamGradient::bptt};
        with_ham<double>(kind, options, [&](const auto& ham) {
          CHECK(conforms(ham, shape, {.training_differs = true, .scale = 0.3, .offset = 2}));
        });
      }
  // In a Hamburger the one-step gradient is exact for the parameters above the ham.
  HamburgerOptions options{.kind = HamKind::cd, .D = 6};
  options.ham = {.rank = 2, .train_steps = 0, .eval_steps = 0};
  CHECK(conforms(hamburger_v1<double>(4, options), {2, 4, 3, 3}, {.training_differs = true, .offset = 1}));
  options.zero_ham = false;
  CHECK(conforms(hamburger_v2_plus<double>(4, options), {2, 4, 3, 3}, {.training_differs = true, .offset = 1}));
  CHECK(conforms(Narrow<double>(1, 1, 3), {2, 5, 3}));
  CHECK(conforms(Narrow<double>(-1, 0, 2), {2, 3, 4}));
  CHECK(conforms(Scale<double>(0.5), {3, 7}));
}

TEST_CASE("NMF's reconstruction error falls with every step") {
  const Tensor<double> x = input(HamKind::nmf, {1, 32, 12, 12});
  double last = INFINITY;
  for (Index steps = 0; steps < 20; ++steps) {
    const Tensor<double> y = NMF<double>({.rank = 8, .eval_steps = steps})(x);
    const double error = (y.array() - x.array()).square().sum();
    CHECK(error < last);
    last = error;
  }
}

TEST_CASE("hams give the same bits for any number of threads, and the same bases for a seed") {
  const int before = num_threads();
  for (const HamKind kind : kinds)
    for (const bool spatial : {true, false}) {
      const HamOptions options{.spatial = spatial, .rank = 12, .seed = 7};
      const auto run = [&](int threads, std::uint64_t seed) {
        set_num_threads(threads);
        return with_ham<float>(kind, options, [&](auto ham) {
          const Tensor<float> x = input(kind, {1, 40, 30, 35}).cast<float>();
          Tape tape(seed);
          std::vector<Tensor<float>> results{ham(x), ham.forward(x, tape)};
          results.push_back(ham.backward(x, tape));
          return results;
        });
      };
      const auto one = run(1, 1);
      CHECK(run(2, 1) == one);
      CHECK(run(3, 1) == one);
      const auto other = run(2, 2);
      CHECK(other[0] == one[0]);
      CHECK(!(other[1] == one[1]));
    }
  set_num_threads(before);
}

TEST_CASE("a ham's result does not depend on the place in the batch") {
  for (const HamKind kind : kinds)
    for (const bool spatial : {true, false})
      for (const bool random : {true, false}) {
        const HamOptions options{.spatial = spatial,
                                 .heads = 2,
                                 .rank = 5,
                                 .random_bases = random,
                                 .dimension = random    ? 0
                                              : spatial ? 10
                                                        : 63};
        with_ham<float>(kind, options, [&](auto ham) {
          CAPTURE(ham.name());
          const Tensor<float> one = input(kind, {1, 20, 7, 9}).cast<float>();
          const auto repeated = [&](Index count) {
            Tensor<float> x({count, 20, 7, 9});
            for (Index b = 0; b < count; ++b) std::copy_n(one.data(), one.numel(), x.data() + b * one.numel());
            return x;
          };
          const Tensor<float> alone = ham(one)[0], many = ham(repeated(19));
          for (Index b = 0; b < 19; ++b) CHECK(many[b] == alone);
          // In training, others' bases for every sample; the first sample's do not depend on how many follow.
          const auto train = [&](Index count) {
            auto copy = ham;
            Tape tape(5);
            Tensor<float> y = copy.forward(repeated(count), tape);
            copy.backward(y, tape);
            CHECK(tape.empty());
            return y;
          };
          const Tensor<float> first = train(1), three = train(3);
          CHECK(three[0] == first[0]);
          CHECK((three[1] == first[0]) == !random);
          CHECK((three[2] == three[1]) == !random);
        });
      }
}

TEST_CASE("the one-step gradient costs the same after any number of steps") {
  const Tensor<float> x = input(HamKind::nmf, {1, 64, 32, 32}).cast<float>();
  const auto tape_bytes = [&](HamKind kind, Index steps, HamGradient gradient) {
    return with_ham<float>(kind, {.rank = 16, .train_steps = steps, .gradient = gradient}, [&](auto ham) {
      release_cached_storage();  // a block that is kept may be larger than what it is taken for
      const auto before = storage_statistics().bytes_in_use;
      Tape tape;
      ham.forward(x, tape);
      return storage_statistics().bytes_in_use - before;
    });
  };
  for (const HamKind kind : kinds) {
    const auto few = tape_bytes(kind, 6, HamGradient::one_step);
    CHECK(tape_bytes(kind, 60, HamGradient::one_step) == few);
    const auto full = tape_bytes(kind, 6, HamGradient::bptt), step = tape_bytes(kind, 7, HamGradient::bptt) - full;
    CHECK(tape_bytes(kind, 60, HamGradient::bptt) == full + 54 * step);
    CHECK(few < full);
  }
  // And in time: were the steps seen, the ratio would be ten.
  const auto seconds_of_backward = [&](Index steps) {
    NMF<float> ham({.rank = 16, .train_steps = steps});
    double best = INFINITY;
    for (int round = 0; round < 20; ++round) {
      Tape tape;
      ham.forward(x, tape);
      const auto start = std::chrono::steady_clock::now();
      ham.backward(x, tape);
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  };
  CHECK(seconds_of_backward(60) < 3 * seconds_of_backward(6));
}

TEST_CASE("kept bases move in training, or in evaluation as in the listing") {
  const Tensor<float> x = input(HamKind::nmf, {2, 6, 4, 5}).cast<float>();
  HamOptions options{.rank = 3, .random_bases = false, .dimension = 6};
  NMF<float> training(options);
  const Tensor<float> start = training.bases;
  CHECK(start.shape() == Shape{1, 6, 3});
  training.infer_and_update(x);
  CHECK(training.bases == start);
  Tape tape;
  training.forward(x, tape);
  CHECK(!(training.bases == start));
  for (Index j = 0; j < 3; ++j) {
    float square = 0;
    for (Index i = 0; i < 6; ++i) square += training.bases(0, i, j) * training.bases(0, i, j);
    CHECK(square == doctest::Approx(1));
  }
  options.online_update = OnlineUpdate::evaluation;
  NMF<float> evaluation(options);
  evaluation.forward(x, tape);
  CHECK(evaluation.bases == start);
  CHECK(evaluation.infer_and_update(x) == NMF<float>(options)(x));
  CHECK(!(evaluation.bases == start));
}

TEST_CASE("zeros stay zeros") {
  const auto x = Tensor<float>::zeros({1, 6, 4, 4});
  for (const HamKind kind : kinds)
    for (const HamGradient gradient : {HamGradient::one_step, HamGradient::bptt})
      with_ham<float>(kind, {.rank = 3, .gradient = gradient}, [&](auto ham) {
        CAPTURE(ham.name());
        CHECK(ham(x) == x);
        Tape tape;
        CHECK(ham.forward(x, tape) == x);
        CHECK(ham.backward(Tensor<float>::ones(x.shape()), tape).array().isFinite().all());
      });
}

TEST_CASE("parameters and multiply-adds of the paper's table 3") {
  for (const auto& [kind, multiply_adds] : {std::pair(HamKind::nmf, 17.6e9), std::pair(HamKind::cd, 16.2e9)}) {
    HamburgerOptions options{.kind = kind};
    options.ham.eval_steps = 6;
    auto net = hamburger_v1<float>(512, options);
    CHECK(static_cast<double>(net.multiply_adds({1, 512, 128, 128})) == doctest::Approx(multiply_adds).epsilon(0.02));
    Index weights = 0;
    for (const auto& [name, parameter, owner] : parameters(net)) weights += parameter->value.numel();
    CHECK(static_cast<double>(weights) / (1 << 20) == doctest::Approx(0.50).epsilon(0.01));
  }
}

TEST_CASE("hams name themselves and what is wrong") {
  CHECK(NMF({.rank = 2, .eval_steps = 0}).multiply_adds({1, 4, 2, 4}) == 3 * 32 * 2 + (4 + 8) * 4);
  CHECK(NMF().name() == "NMF(rank=64, steps=6/7)");
  CHECK(CD({.spatial = false, .heads = 2, .rank = 8, .gradient = HamGradient::bptt}).name() ==
        "CD(rank=8, heads=2, spatial=false, steps=6/7, bptt)");
  CHECK(VQ({.rank = 8, .random_bases = false, .dimension = 32}).name() == "VQ(rank=8, steps=6/7, kept bases of 32)");
  CHECK_THROWS_WITH_AS(NMF({.rank = 9}).output_shape({1, 16, 0, 4}),
                       "NMF(rank=9, steps=6/7): expected an input [N, C, H, W], got shape [1, 16, 0, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(NMF({.heads = 3, .rank = 2}).infer(Tensor<float>::ones({1, 16, 4, 4})),
                       "NMF(rank=2, heads=3, steps=6/7): expected channels for 3 equal heads, got shape [1, 16, 4, 4]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(VQ({.rank = 2}).output_shape({16, 4, 4}),
                       "VQ(rank=2, steps=6/7): expected an input [N, C, H, W], got shape [16, 4, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(
      CD({.spatial = false, .rank = 2, .random_bases = false, .dimension = 16}).output_shape({1, 8, 5, 4}),
      "CD(rank=2, spatial=false, steps=6/7, kept bases of 16): expected H * W to be 16, got shape [1, 8, 5, 4]",
      ShapeError);
  Tensor<float> x = Tensor<float>::ones({1, 8, 4, 4});
  x.data()[37] = -0.5f;
  CHECK_THROWS_WITH_AS(NMF({.rank = 2}).infer(x),
                       "NMF(rank=2, steps=6/7): the input has negative values; put a ReLU before it", ValueError);
  CHECK_THROWS_WITH_AS(NMF({.random_bases = false}),
                       "NMF: kept bases need their dimension, C / heads or, if not spatial, H * W", ValueError);
  CHECK_THROWS_WITH_AS(NMF({.rank = 0}), "NMF: rank must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(CD({.beta = 0}), "CD: beta must be positive, got 0", ValueError);
  NMF<float> ham({.rank = 2});
  CHECK_THROWS_WITH_AS(ham.online_update(Tensor<float>::ones({1, 1, 8, 2})),
                       "NMF(rank=2, steps=6/7): online_update without kept bases", StateError);
  CHECK_THROWS_AS(Narrow<float>(1, 3, 4).output_shape({2, 6}), ShapeError);
}

}  // namespace test_hamburger
