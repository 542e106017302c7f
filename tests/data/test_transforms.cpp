#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <vector>

#include "lamina/data/transforms.hpp"

using namespace lamina;

namespace {

/// Values in [0, 1] without a pattern; the expected values below are torchvision 0.14's for the same image.
Tensor<float> image(const Shape& shape) {
  Tensor<float> x(shape);
  for (Index i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i * 37 % 101) / 100;
  return x;
}

void check_close(const Tensor<float>& x, const Shape& shape, const std::vector<float>& expected) {
  REQUIRE(x.shape() == shape);
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(x.values()[i] == doctest::Approx(expected[i]).epsilon(1e-5));
}

}  // namespace

TEST_CASE("Resize equals torchvision's, with and without antialias") {
  const Tensor<float> x = image({1, 6, 5});
  check_close(
      Resize({4, 7}, {.antialias = false})(x), {1, 4, 7},
      {0.21f,   0.2771429f, 0.4332143f, 0.6975f,    0.4207143f, 0.3603572f, 0.4275f,    0.7125f, 0.3467857f, 0.1782143f,
       0.4425f, 0.7067857f, 0.5382142f, 0.1725f,    0.4575f,    0.6689286f, 0.6446428f, 0.1875f, 0.4517857f, 0.7160715f,
       0.9275f, 0.2025f,    0.4139286f, 0.6060714f, 0.6899999f, 0.4132142f, 0.4610715f, 0.6725f});
  check_close(Resize({4, 7})(x), {1, 4, 7},
              {0.315f,     0.31f,      0.4119643f, 0.67625f,   0.4896429f, 0.41125f,   0.40625f,
               0.7077778f, 0.4061905f, 0.2536508f, 0.4377778f, 0.7020636f, 0.5815873f, 0.28f,
               0.4622222f, 0.6095238f, 0.5692063f, 0.1922222f, 0.456508f,  0.6726984f, 0.82f,
               0.22375f,   0.4351786f, 0.59125f,   0.585f,     0.3983928f, 0.4823214f, 0.69375f});
  check_close(Resize({2, 2}, {.antialias = false})(x), {1, 2, 2}, {0.36f, 0.78f, 0.6075f, 0.5225f});
  check_close(Resize({2, 2})(x), {1, 2, 2}, {0.4386932f, 0.51875f, 0.4727841f, 0.5298864f});
  check_close(
      Resize({9, 3}, {.antialias = false})(x), {1, 9, 3},
      {0.1233333f, 0.74f,      0.3466666f, 0.375f,     0.655f,     0.43f,      0.5983333f, 0.5416666f, 0.485f,
       0.485f,     0.4283333f, 0.3716667f, 0.54f,      0.315f,     0.5950001f, 0.595f,     0.2016667f, 0.8183333f,
       0.4816667f, 0.0883333f, 0.7049999f, 0.3683333f, 0.4800001f, 0.5916666f, 0.2833333f, 0.8999999f, 0.5066666f});
  check_close(
      Resize({9, 3})(x), {1, 9, 3},
      {0.1585714f, 0.5155556f, 0.3114285f, 0.3621429f, 0.5427778f, 0.4428571f, 0.5373809f, 0.5416666f, 0.5459524f,
       0.4240476f, 0.4283333f, 0.432619f,  0.5271429f, 0.4272222f, 0.6078571f, 0.6302381f, 0.4261111f, 0.7830952f,
       0.5169047f, 0.3127777f, 0.6697618f, 0.4035714f, 0.48f,      0.5564286f, 0.3185714f, 0.6755555f, 0.4714285f});
  check_close(Resize(3)(x), {1, 3, 3},
              {0.3669388f, 0.5223809f, 0.437347f, 0.5271429f, 0.4272222f, 0.6078572f, 0.44f, 0.4763492f, 0.5928571f});
}

TEST_CASE("Resize keeps the aspect ratio when given one number, and equal sizes untouched") {
  CHECK(Resize(32)(image({3, 40, 60})).shape() == Shape{3, 32, 48});
  CHECK(Resize(32)(image({3, 100, 41})).shape() == Shape{3, 78, 32});
  CHECK(Resize(Size2(32))(image({3, 40, 60})).shape() == Shape{3, 32, 32});
  const Tensor<float> x = image({1, 4, 6});
  CHECK(Resize({4, 6})(x).shares_storage(x));
  for (const bool antialias : {false, true})  // a constant stays constant
    for (const Index size : {1, 2, 3, 5, 11, 64}) {
      const Tensor<float> y = Resize({size, 2 * size}, {.antialias = antialias})(Tensor<float>::full({2, 9, 7}, 0.25f));
      for (const float value : y.values()) CHECK(value == doctest::Approx(0.25f));
    }
  CHECK_THROWS_WITH_AS(Resize(0), "Resize: the size must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(Resize({3, 0}), "Resize: the size must be at least 1, got (3, 0)", ValueError);
  CHECK_THROWS_WITH_AS(Resize(3)(Tensor<float>({4, 4})), "Resize: expected an image [C, H, W], got shape [4, 4]",
                       ShapeError);
}

TEST_CASE("CenterCrop equals torchvision's") {
  const Tensor<float> x = image({1, 6, 5});
  check_close(CenterCrop({3, 2})(x), {1, 3, 2}, {0.4f, 0.77f, 0.23f, 0.6f, 0.06f, 0.43f});
  check_close(
      CenterCrop({8, 4})(x), {1, 8, 4},
      {0,    0,     0,     0,    0,     0.37f, 0.74f, 0.1f,  0.84f, 0.2f,  0.57f, 0.94f, 0.67f, 0.03f, 0.4f, 0.77f,
       0.5f, 0.87f, 0.23f, 0.6f, 0.33f, 0.7f,  0.06f, 0.43f, 0.16f, 0.53f, 0.9f,  0.26f, 0,     0,     0,    0});
  check_close(CenterCrop(1)(x), {1, 1, 1}, {0.4f});
  // The first column taken from 1..8 columns when cropping to 1 and to 2; Python rounds halves to even.
  const int one[] = {0, 0, 1, 2, 2, 2, 3, 4}, two[] = {0, 0, 0, 1, 2, 2, 2, 3};
  for (Index w = 2; w <= 8; ++w) {
    Tensor<float> row({1, 1, w});
    for (Index i = 0; i < w; ++i) row.data()[i] = static_cast<float>(i);
    CHECK(CenterCrop({1, 1})(row).data()[0] == static_cast<float>(one[w - 1]));
    CHECK(CenterCrop({1, 2})(row).data()[0] == static_cast<float>(two[w - 1]));
  }
  CHECK_THROWS_WITH_AS(CenterCrop(0), "CenterCrop: the size must be at least 1, got 0", ValueError);
}

TEST_CASE("Normalize equals torchvision's") {
  Tensor<float> x({3, 2, 2});
  for (Index i = 0; i < 12; ++i) x.data()[i] = static_cast<float>(i) / 12;
  const Normalize normalize({0.485, 0.456, 0.406}, {0.229, 0.224, 0.225});
  check_close(normalize(x), {3, 2, 2},
              {-2.117904f, -1.754003f, -1.390102f, -1.026201f, -0.547619f, -0.1755953f, 0.1964286f, 0.5684523f,
               1.158519f, 1.528889f, 1.899259f, 2.26963f});
  CHECK(x.data()[1] == static_cast<float>(1) / 12);  // the argument was a copy
  CHECK_THROWS_WITH_AS(normalize(Tensor<float>({1, 2, 2})), "Normalize: expected 3 channels, got shape [1, 2, 2]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(Normalize({0.5}, {0}), "Normalize: std must be positive, got 0", ValueError);
  CHECK_THROWS_WITH_AS(Normalize({0.5, 0.5}, {1}), "Normalize: expected as many means as stds, got 2 and 1",
                       ValueError);
}

TEST_CASE("RandomCrop takes every window of the padded image, each equally often") {
  Tensor<float> x({1, 2, 2}, {1, 2, 3, 4});
  const RandomCrop crop(2, {.padding = 1, .fill = -1});
  Random random(1);
  std::vector<int> count(9);
  for (int i = 0; i < 9000; ++i) {
    const Tensor<float> y = crop(x, random);
    REQUIRE(y.shape() == Shape{1, 2, 2});
    for (Index top = 0; top < 3; ++top)
      for (Index left = 0; left < 3; ++left) {
        bool same = true;
        for (Index r = 0; r < 2; ++r)
          for (Index c = 0; c < 2; ++c) {
            const Index row = r + top - 1, column = c + left - 1;
            const bool inside = row >= 0 && row < 2 && column >= 0 && column < 2;
            same = same && y(0, r, c) == (inside ? x(0, row, column) : -1.0f);
          }
        count[static_cast<std::size_t>(top * 3 + left)] += same;
      }
  }
  for (const int n : count) CHECK(std::abs(n - 1000) < 150);
  CHECK(RandomCrop(2)(x, random) == x);
  CHECK_THROWS_WITH_AS(RandomCrop(7, {.padding = 2})(x, random),
                       "RandomCrop: a window of 7 with padding 2 does not fit into shape [1, 2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(RandomCrop(0), "RandomCrop: the size must be at least 1, got 0", ValueError);
  CHECK_THROWS_WITH_AS(RandomCrop(1, {.padding = -1}), "RandomCrop: padding must not be negative, got -1", ValueError);
}

TEST_CASE("RandomHorizontalFlip mirrors with its probability") {
  const Tensor<float> x({1, 2, 3}, {1, 2, 3, 4, 5, 6}), mirrored({1, 2, 3}, {3, 2, 1, 6, 5, 4});
  Random random;
  CHECK(RandomHorizontalFlip(1)(x, random) == mirrored);
  CHECK(RandomHorizontalFlip(0)(x, random) == x);
  int flips = 0;
  for (int i = 0; i < 1000; ++i) flips += RandomHorizontalFlip(0.3)(x, random) == mirrored;
  CHECK(std::abs(flips - 300) < 60);
  CHECK_THROWS_WITH_AS(RandomHorizontalFlip(1.5), "RandomHorizontalFlip: expected a probability in [0, 1], got 1.5",
                       ValueError);
}

TEST_CASE("Lighting adds one colour along the principal components") {
  const Tensor<double> x = Tensor<double>::full({3, 2, 2}, 0.5);
  // One component at a time: the shift is a N(0, deviation^2) multiple of the eigenvector.
  const Lighting red({.standard_deviation = 0.1, .eigenvalues = {2, 0, 0}});
  Random random(3), same(3);
  const Tensor<double> y = red(x, random);
  const double amount = 0.1 * same.normal() * 2;
  const double eigenvector[] = {-0.5675, -0.5808, -0.5836};
  for (Index c = 0; c < 3; ++c)
    for (Index i = 0; i < 4; ++i)
      CHECK(y.data()[c * 4 + i] == doctest::Approx(0.5 + amount * eigenvector[c]).epsilon(1e-12));
  double sum = 0, squares = 0;
  for (int i = 0; i < 4000; ++i) {
    const double shift = Lighting()(x, random).data()[0] - 0.5;
    sum += shift;
    squares += shift * shift;
  }
  const double expected =
      0.01 * (std::pow(0.5675 * 0.2175, 2) + std::pow(0.7192 * 0.0188, 2) + std::pow(0.4009 * 0.0045, 2));
  CHECK(std::abs(sum / 4000) < 0.001);
  CHECK(squares / 4000 == doctest::Approx(expected).epsilon(0.08));
  CHECK(Lighting({.standard_deviation = 0})(x, random) == x);
  CHECK_THROWS_WITH_AS(Lighting()(Tensor<float>({1, 2, 2}), random),
                       "Lighting: expected 3 channels, got shape [1, 2, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(Lighting({.standard_deviation = -1}),
                       "Lighting: standard_deviation must not be negative, got -1", ValueError);
}

TEST_CASE("Compose runs transforms, compositions and lambdas one after the other") {
  const Compose inner{RandomHorizontalFlip(1), Normalize({1}, {2})};
  const Compose all{Resize({2, 3}), inner, [](auto x, Random& random) {
                      x.data()[0] = static_cast<float>(random.position());
                      return x;
                    }};
  const Transform<float> transform = all;
  Random random;
  const Tensor<float> y = transform(Tensor<float>({1, 2, 3}, {1, 3, 5, 7, 9, 11}), random);
  CHECK(y == Tensor<float>({1, 2, 3}, {1, 1, 0, 5, 4, 3}));
}
