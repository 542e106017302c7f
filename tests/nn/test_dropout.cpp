#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <utility>

#include "lamina/nn/container.hpp"
#include "lamina/nn/drop_path.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/dropout2d.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

/// y of a forward and dx of its backward for dy = 1.
template <class L>
std::pair<Tensor<float>, Tensor<float>> run(L layer, const Tensor<float>& x, std::uint64_t seed) {
  Tape tape(seed);
  Tensor<float> y = layer.forward(x, tape);
  return {std::move(y), layer.backward(Tensor<float>::ones(x.shape()), tape)};
}

Index zeros(const Tensor<float>& x) { return (x.array() == 0).count(); }

}  // namespace

TEST_CASE("Dropout drops a share p and scales the rest by 1 / (1 - p)") {
  const Index n = 400000;
  const Tensor<float> ones = Tensor<float>::ones({n});
  for (const double p : {0.1, 0.5, 0.9}) {
    const auto [y, dx] = run(Dropout(p), ones, 1);
    const double deviation = std::sqrt(p * (1 - p) / static_cast<double>(n));
    CHECK(std::abs(static_cast<double>(zeros(y)) / static_cast<double>(n) - p) < 4 * deviation);
    CHECK(y.array().maxCoeff() == static_cast<float>(1 / (1 - p)));
    CHECK(((y.array() == 0) || (y.array() == y.array().maxCoeff())).all());
    CHECK(dx == y);
    // Neighbours are dropped independently.
    const auto dropped = (y.array() == 0).cast<float>();
    const double pairs =
        static_cast<double>((dropped.head(n - 1) * dropped.tail(n - 1)).sum()) / static_cast<double>(n);
    CHECK(std::abs(pairs - p * p) < 6 * deviation);
  }
}

TEST_CASE("Dropout2d drops whole channels") {
  const Tensor<float> x = Random(3).uniform<float>({200, 50, 3, 5}, 1, 2);
  const auto [y, dx] = run(Dropout2d(0.3), x, 2);
  Index dropped = 0;
  bool whole = true;
  for (Index channel = 0; channel < 200 * 50; ++channel) {
    const auto in = x.array().segment(channel * 15, 15), out = y.array().segment(channel * 15, 15);
    const auto slope = dx.array().segment(channel * 15, 15);
    const bool gone = out[0] == 0;
    dropped += gone;
    const float scale = gone ? 0 : static_cast<float>(1 / 0.7);
    whole = whole && (out == in * scale).all() && (slope == scale).all();
  }
  CHECK(whole);
  CHECK(std::abs(static_cast<double>(dropped) / 10000 - 0.3) < 4 * std::sqrt(0.3 * 0.7 / 10000));
}

TEST_CASE("DropPath drops whole samples, as many as it should, and the same ones backward") {
  const Tensor<float> x = Random(1).normal<float>({10000, 3, 5});
  const auto [y, dx] = run(DropPath(0.3), x, 7);
  Index dropped = 0;
  for (Index i = 0; i < 10000; ++i) {
    const bool gone = y[i].data()[0] == 0;
    dropped += gone;
    const float scale = gone ? 0 : static_cast<float>(1 / 0.7);
    const bool whole = (y[i].array() == x[i].array() * scale).all() && (dx[i].array() == scale).all();
    if (!whole) CHECK(whole);
  }
  CHECK(std::abs(static_cast<double>(dropped) / 10000 - 0.3) < 4 * std::sqrt(0.3 * 0.7 / 10000));
  CHECK(DropPath(0.3)(x).shares_storage(x));
}

TEST_CASE("the seed and the position of the draw decide what is dropped") {
  const Tensor<float> x = Tensor<float>::ones({4, 8, 5, 5});
  CHECK(run(Dropout(), x, 7) == run(Dropout(), x, 7));
  CHECK(run(Dropout(), x, 7).first != run(Dropout(), x, 8).first);
  CHECK(run(Dropout2d(), x, 7) == run(Dropout2d(), x, 7));
  CHECK(run(Dropout2d(), x, 7).first != run(Dropout2d(), x, 8).first);
  Dropout layer;
  Tape tape(7);
  const Tensor<float> first = layer.forward(x, tape), second = layer.forward(x, tape);
  CHECK(first != second);
  CHECK(layer.backward(x, tape) == second);
  CHECK(layer.backward(x, tape) == first);
  CHECK(tape.empty());
}

TEST_CASE("the tape keeps the generator, not a mask") {
  const Tensor<float> x = Tensor<float>::ones({1000, 1000});
  const std::size_t before = storage_statistics().bytes_in_use;
  Dropout layer;
  Tape tape;
  Tensor<float> y = layer.forward(x, tape);
  CHECK(storage_statistics().bytes_in_use >= before + 4000000);
  y = {};
  CHECK(storage_statistics().bytes_in_use == before);
  CHECK(zeros(layer.backward(x, tape)) > 0);
}

TEST_CASE("dropout does not depend on the number of threads") {
  const int before = num_threads();
  const Tensor<float> x = Random(9).normal<float>({5, 7, 101, 103});
  set_num_threads(1);
  const auto one = run(Dropout(0.4), x, 3), one2d = run(Dropout2d(0.4), x, 3);
  set_num_threads(2);
  CHECK(run(Dropout(0.4), x, 3) == one);
  CHECK(run(Dropout2d(0.4), x, 3) == one2d);
  set_num_threads(before);
}

TEST_CASE("dropping nothing and everything") {
  const Tensor<float> x = Random(1).normal<float>({2, 3, 4, 5});
  Tape tape(5);
  Dropout none(0);
  CHECK(none.forward(x, tape).shares_storage(x));
  CHECK(tape.random() == Random(5));
  CHECK(none.backward(x, tape).shares_storage(x));
  CHECK(zeros(run(Dropout(1), x, 1).first) == x.numel());
  CHECK(zeros(run(Dropout(1), x, 1).second) == x.numel());
  CHECK(zeros(run(Dropout2d(1), x, 1).first) == x.numel());
  const Tensor<float> bad = Tensor<float>::full({3}, std::numeric_limits<float>::quiet_NaN());
  CHECK(run(Dropout(1), bad, 1).first.array().isNaN().all());
}

TEST_CASE("inference keeps everything and draws nothing") {
  const Tensor<float> x = Random(1).normal<float>({2, 3, 4, 5});
  CHECK(Dropout(0.5)(x).shares_storage(x));
  CHECK(Dropout2d(1)(x).shares_storage(x));
}

TEST_CASE("dropout conforms") {
  CHECK(conforms(Dropout<double>(0.3), {3, 7}, {.training_differs = true}));
  CHECK(conforms(Dropout<double>(0.5), {1}, {.training_differs = true}));
  CHECK(conforms(Dropout<double>(0), {2, 3}));
  CHECK(conforms(Dropout<double>(1), {2, 3}, {.training_differs = true}));
  CHECK(conforms(Dropout<double>(0.5), {0, 3}));
  CHECK(conforms(Dropout2d<double>(0.4), {2, 5, 3, 3}, {.training_differs = true}));
  CHECK(conforms(Dropout2d<double>(0.4), {1, 7, 1, 1}, {.training_differs = true}));
  CHECK(conforms(DropPath<double>(0.4), {5, 3, 3}, {.training_differs = true}));
  CHECK(conforms(DropPath<double>(0.4), {7}, {.training_differs = true}));
  CHECK(conforms(Sequential<double>{Dropout<double>(0.2), Dropout2d<double>(0.4)}, {2, 3, 2, 3},
                 {.training_differs = true}));
}

TEST_CASE("names and errors of dropout") {
  CHECK(Dropout().name() == "Dropout(0.5)");
  CHECK(Dropout2d(0.1).name() == "Dropout2d(0.1)");
  CHECK(DropPath(0.1).name() == "DropPath(0.1)");
  CHECK_THROWS_WITH_AS(DropPath(-1), "DropPath(-1): p must be in [0, 1], got -1", ValueError);
  CHECK_THROWS_WITH_AS(DropPath(0.5)(Tensor<float>(Shape{})), "DropPath(0.5): expected [N, ...], got shape []",
                       ShapeError);
  CHECK_THROWS_WITH_AS(Dropout(1.5), "Dropout(1.5): p must be in [0, 1], got 1.5", ValueError);
  CHECK_THROWS_WITH_AS(Dropout2d(-0.1), "Dropout2d(-0.1): p must be in [0, 1], got -0.1", ValueError);
  CHECK_THROWS_AS(Dropout{std::numeric_limits<double>::quiet_NaN()}, ValueError);
  Tape tape;
  const Tensor<float> x({2, 3});
  Dropout2d layer;
  CHECK_THROWS_WITH_AS(layer.forward(x, tape), "Dropout2d(0.5): expected [N, C, H, W], got shape [2, 3]", ShapeError);
  CHECK_THROWS_WITH_AS(layer(x), "Dropout2d(0.5): expected [N, C, H, W], got shape [2, 3]", ShapeError);
}
