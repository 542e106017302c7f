#include <doctest/doctest.h>

#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "lamina/core/random.hpp"
#include "lamina/core/tensor.hpp"

using namespace lamina;

TEST_CASE("Shape") {
  const Shape shape{2, 3, 4};
  CHECK(shape.rank() == 3);
  CHECK(shape.numel() == 24);
  CHECK(shape[-1] == 4);
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{5, 0}.numel() == 0);
  CHECK(shape.to_string() == "[2, 3, 4]");
  CHECK(Shape{}.to_string() == "[]");
  CHECK(shape.with(1, 7) == Shape{2, 7, 4});
  CHECK(shape.tail(1) == Shape{3, 4});
  CHECK(shape.batch(9) == Shape{9, 2, 3, 4});
  CHECK(shape.product(1, 3) == 12);
  CHECK(Shape{2, 3} != Shape{2, 3, 1});
  CHECK_THROWS_WITH_AS(shape[3], "Shape: no axis 3 in [2, 3, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(shape[-4], "Shape: no axis -4 in [2, 3, 4]", ShapeError);
  CHECK_THROWS_WITH_AS((Shape{2, -1}), "Shape: extents must not be negative, got [2, -1]", ShapeError);
  CHECK_THROWS_WITH_AS((Shape{1, 2, 3, 4, 5, 6, 7}), "Shape: at most 6 dimensions, got 7", ShapeError);
  CHECK_THROWS_AS((Shape{std::numeric_limits<Index>::max(), 2}), ShapeError);
}

TEST_CASE("a copy shares storage until it is written") {
  Tensor a({2, 2}, {1.f, 2.f, 3.f, 4.f});
  const float* memory = std::as_const(a).data();
  Tensor b = a;
  CHECK(b.shares_storage(a));
  CHECK(std::as_const(b).data() == memory);
  b(0, 1) = 7;
  CHECK_FALSE(b.shares_storage(a));
  CHECK(std::as_const(a)(0, 1) == 2);
  CHECK(std::as_const(b)(0, 1) == 7);
  CHECK(a.data() == memory);  // the only owner again: no copy

  Tensor moved = std::move(a);
  CHECK(moved.data() == memory);
}

TEST_CASE("a function that takes its argument by value works in place when nobody else holds it") {
  const auto doubled = [](Tensor<float> x) {
    x.array() *= 2;
    return x;
  };
  Tensor a = Tensor<float>::ones({4});
  const float* memory = std::as_const(a).data();
  Tensor kept = doubled(a);
  CHECK(std::as_const(kept).data() != memory);
  CHECK(a == Tensor<float>::ones({4}));
  Tensor taken = doubled(std::move(a));
  CHECK(std::as_const(taken).data() == memory);
}

TEST_CASE("elements, slices and reshapes") {
  Tensor<double> t({2, 3, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  CHECK(std::as_const(t)(1, 2, 0) == 10);
  CHECK(t[1] == Tensor<double>({3, 2}, {6, 7, 8, 9, 10, 11}));
  CHECK(t[1].shares_storage(t));
  CHECK(t.slice(1, 2).shape() == Shape{1, 3, 2});
  CHECK(t.slice(2, 2).empty());
  CHECK(t.reshape({4, -1}).shape() == Shape{4, 3});
  CHECK(t.reshape({12}).shares_storage(t));
  Tensor<double> part = t[0];
  part(0, 0) = 100;
  CHECK(std::as_const(t)(0, 0, 0) == 0);
  CHECK(Tensor<float>::full({}, 3).item() == 3);
  CHECK_THROWS_WITH_AS(t(0, 3, 0), "Tensor: no element [0, 3, 0] in [2, 3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(t(0, 0), "Tensor: no element [0, 0] in [2, 3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(t[2], "Tensor: no entry 2 in [2, 3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(t.slice(1, 3), "Tensor::slice: [1, 3) is not within the first axis of [2, 3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(t.reshape({5, -1}), "Tensor::reshape: cannot view [2, 3, 2] as [5, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(t.item(), "Tensor::item: expected one element, got shape [2, 3, 2]", ShapeError);
  CHECK_THROWS_WITH_AS(t.matrix(5, 2), "Tensor::matrix: cannot view [2, 3, 2] as 5 x 2", ShapeError);
  CHECK_THROWS_WITH_AS(Tensor<float>({2}, {1.f, 2.f, 3.f}), "Tensor: shape [2] needs 2 values, got 3", ShapeError);
  Tensor<double> other({2});
  CHECK_THROWS_WITH_AS(t += other, "Tensor +=: shapes [2, 3, 2] and [2] differ", ShapeError);
}

TEST_CASE("to and from Eigen") {
  Eigen::MatrixXf m(2, 3);
  m << 1, 2, 3, 4, 5, 6;
  const Tensor t = m;  // column-major to row-major
  CHECK(t == Tensor<float>({2, 3}, {1, 2, 3, 4, 5, 6}));
  CHECK(t.matrix() == m);
  const Tensor column = Eigen::VectorXd::LinSpaced(3, 0, 2).eval();
  CHECK(column == Tensor<double>({3}, {0, 1, 2}));
  const Tensor sum = m.array() + 1;
  CHECK(sum(1, 2) == 7);
  Tensor<float> u({3, 2});
  u.matrix() = m.transpose();
  CHECK(std::as_const(u)(2, 1) == 6);
  CHECK(t.cast<double>().matrix().sum() == 21);
}

TEST_CASE("foreign memory is read and written in place, or kept unwritten") {
  std::vector<float> memory{1, 2, 3, 4};
  {
    Tensor<float> t = Tensor<float>::wrap(memory.data(), {2, 2});
    t(0, 0) = 9;
    CHECK(memory[0] == 9);
    Tensor<float> copy = t;
    copy(0, 1) = 8;  // shared: the copy leaves
    CHECK(memory[1] == 2);
  }
  Tensor<float> constant = Tensor<float>::wrap(static_cast<const float*>(memory.data()), {4});
  constant(3) = 7;
  CHECK(memory[3] == 4);
  CHECK(std::as_const(constant)(3) == 7);

  auto owner = std::make_shared<std::vector<float>>(3, 5.f);
  const std::weak_ptr<std::vector<float>> watch = owner;
  {
    const Tensor<float> held = Tensor<float>::wrap(owner->data(), {3}, owner);
    const Tensor<float> slice = held.slice(1, 2);
    owner.reset();
    CHECK_FALSE(watch.expired());
    CHECK(slice.item() == 5);
  }
  CHECK(watch.expired());
}

TEST_CASE("what wrap returns writes to the memory; what it is copied, moved or handed to does not") {
  std::vector<float> memory{1, 2, 3, 4};
  const auto kept = memory;
  const auto wrapped = [&] { return Tensor<float>::wrap(memory.data(), {4}); };
  const auto changed = [](Tensor<float> x) {
    x = std::move(x) * Tensor<float>::full({4}, 2);
    x(0) = -1;
    return x;
  };
  CHECK(changed(wrapped()) == Tensor<float>({4}, {-1, 4, 6, 8}));
  CHECK(wrapped() + wrapped() == Tensor<float>({4}, {2, 4, 6, 8}));
  CHECK(wrapped() - wrapped() == Tensor<float>::zeros({4}));
  CHECK(wrapped() * wrapped() == Tensor<float>({4}, {1, 4, 9, 16}));
  Tensor<float> assigned;
  assigned = wrapped();
  assigned.fill(0);
  Tensor<float> moved = std::move(assigned = wrapped());
  moved.array() += 1;
  CHECK(memory == kept);
  CHECK(moved == Tensor<float>({4}, {2, 3, 4, 5}));
  CHECK_FALSE(wrapped().exclusive());
  CHECK(Tensor<float>({4}).exclusive());

  auto own = wrapped();
  own.fill(7);
  CHECK(memory == std::vector<float>(4, 7));
}

TEST_CASE("floating point to integers: static_cast where that is defined, else the nearest integer, and 0 for NaN") {
  constexpr double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  using Int = std::numeric_limits<std::int32_t>;
  const Tensor<double> x({9}, {nan, inf, -inf, 1e30, -1e30, -2.9, 2.9, 2147483647.0, -2147483648.5});
  CHECK(x.cast<std::int32_t>() ==
        Labels({9}, {0, Int::max(), Int::min(), Int::max(), Int::min(), -2, 2, Int::max(), Int::min()}));
  CHECK(x.cast<std::uint8_t>() == Tensor<std::uint8_t>({9}, {0, 255, 0, 255, 0, 0, 2, 255, 0}));
  CHECK(
      Tensor<float>({2}, {0x1p63f, -0x1p63f}).cast<std::int64_t>() ==
      Tensor<std::int64_t>({2}, {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}));
}

TEST_CASE("sizes near the largest number are refused") {
  constexpr Index huge = std::numeric_limits<Index>::max() / 2 + 1;  // 2^62, where Index has 64 bits
  Tensor<float> x({2, 12});
  CHECK_THROWS_AS(x.reshape({huge, 4, -1}), ShapeError);
  CHECK_THROWS_AS(x.reshape({huge, huge, -1}), ShapeError);
  CHECK_THROWS_AS(x.reshape({huge, 8}), ShapeError);
  CHECK_THROWS_AS(x.matrix(huge, 4), ShapeError);
  CHECK_THROWS_AS(x.matrix(huge + 6, 4), ShapeError);  // 24 modulo 2^64
  CHECK(x.matrix(4, 6).rows() == 4);
  CHECK(parts_of(huge + (huge - 1), huge) == 2);
  CHECK(parts_of(-3, 2) == 0);
  CHECK(parts_of(7, 2) == 4);
}

TEST_CASE("equality is by bits and shape") {
  CHECK(Tensor<float>({2}, {1, 2}) != Tensor<float>({2, 1}, {1, 2}));
  CHECK(Tensor<float>() == Tensor<float>(Shape{0}));
  CHECK(Tensor<float>().empty());
}

TEST_CASE("storage is reused, aligned and counted") {
  release_cached_storage();
  { Tensor<float> warm({1000}); }
  const auto before = storage_statistics();
  for (int i = 0; i < 10; ++i) {
    Tensor<float> t({1000});
    CHECK(reinterpret_cast<std::uintptr_t>(t.data()) % 64 == 0);
  }
  const auto after = storage_statistics();
  CHECK(after.system_allocations == before.system_allocations);
  CHECK(after.bytes_in_use == before.bytes_in_use);

  reset_peak_storage();
  { Tensor<double> big({1 << 16}); }
  CHECK(storage_statistics().peak_bytes >= before.bytes_in_use + (8u << 16));
  release_cached_storage();
  CHECK(storage_statistics().bytes_cached == 0);
}

TEST_CASE("where sizes vary, little more is kept than was in use at once") {
  release_cached_storage();
  const auto start = storage_statistics();
  reset_peak_storage();
  Random random(1);
  std::int64_t fetched = 0;
  for (int i = 0; i < 3000; ++i) {
    if (i == 500) fetched = storage_statistics().system_allocations;
    const Index n = 1000 + random.below(100000);
    const Tensor<float> a({n}), b({2 * n}), c({n / 2});
    const auto now = storage_statistics();
    REQUIRE(now.bytes_cached + now.bytes_in_use <= 2 * now.peak_bytes);
  }
  const auto end = storage_statistics();
  CHECK(end.bytes_in_use == start.bytes_in_use);
  CHECK(end.system_allocations - fetched < 50);  // of 7500
  release_cached_storage();
}

TEST_CASE("a limit holds for what is kept as well") {
  release_cached_storage();
  { const Tensor<float> a({1 << 20}), b({1 << 18}); }
  const auto in_use = storage_statistics().bytes_in_use;
  set_storage_limit(in_use + (3u << 20));
  CHECK(storage_statistics().bytes_cached <= 3u << 20);
  CHECK_THROWS_AS(Tensor<float>({1 << 20}), OutOfMemory);  // a block of this size was free
  set_storage_limit(SIZE_MAX);
  release_cached_storage();
}

TEST_CASE("storage beyond the limit is refused with the sizes, and nothing leaks") {
  const auto in_use = storage_statistics().bytes_in_use;
  set_storage_limit(in_use + (1u << 20));
  CHECK_THROWS_AS(Tensor<float>({1 << 20}), OutOfMemory);
  try {
    Tensor<float> t({1 << 20});
  } catch (const OutOfMemory& e) {
    CHECK(std::string(e.what()).find("Tensor storage: cannot allocate ") == 0);
    CHECK(std::string(e.what()).find(", limit ") != std::string::npos);
  }
  CHECK_NOTHROW(Tensor<float>({1 << 10}));
  set_storage_limit(SIZE_MAX);
  CHECK(storage_statistics().bytes_in_use == in_use);
  CHECK_NOTHROW(Tensor<float>({1 << 20}));
}

TEST_CASE_TEMPLATE("elementwise operations reach every element, whatever the number of them", T, float, double, int) {
  for (Index n = 0; n < 20; ++n) {
    CAPTURE(n);
    Tensor<T> a({n}), b({n});
    for (Index i = 0; i < n; ++i) a(i) = static_cast<T>(i + 2), b(i) = static_cast<T>(3 * i + 1);
    const Tensor<T> sum = a + b, difference = a - b, product = a * b;
    Tensor<T> scaled = a;
    scaled *= T(5);
    for (Index i = 0; i < n; ++i) {
      CHECK(sum(i) == static_cast<T>(4 * i + 3));
      CHECK(difference(i) == static_cast<T>(1 - 2 * i));
      CHECK(product(i) == static_cast<T>((i + 2) * (3 * i + 1)));
      CHECK(scaled(i) == static_cast<T>(5 * (i + 2)));
    }
  }
}

TEST_CASE("numbers on either side of an operator stand for every element") {
  const Tensor<float> x({2, 2}, {1, 2.5, 3, -4});
  CHECK(x * 2.0f == Tensor<float>({2, 2}, {2, 5, 6, -8}));
  CHECK(2 * x == x * 2);
  CHECK(x / 2 == Tensor<float>({2, 2}, {0.5, 1.25, 1.5, -2}));
  CHECK(x + 1 == Tensor<float>({2, 2}, {2, 3.5, 4, -3}));
  CHECK(1 + x == x + 1);
  CHECK(x - 1 == Tensor<float>({2, 2}, {0, 1.5, 2, -5}));
  CHECK(1 - x == Tensor<float>({2, 2}, {0, -1.5, -2, 5}));
  CHECK(-x == Tensor<float>({2, 2}, {-1, -2.5, -3, 4}));
  CHECK(x / x == Tensor<float>::ones({2, 2}));
  CHECK_THROWS_WITH_AS(x / Tensor<float>({3}), "Tensor /=: shapes [2, 2] and [3] differ", ShapeError);
  CHECK(x == Tensor<float>({2, 2}, {1, 2.5, 3, -4}));  // untouched by all that

  // In the storage of a tensor that nobody else holds.
  Tensor<double> y({2}, {1, 2});
  const double* const before = std::as_const(y).data();
  y = 3 - std::move(y) * 2;
  CHECK(std::as_const(y).data() == before);
  CHECK(y == Tensor<double>({2}, {1, -1}));
  y += 1;
  y /= 2;
  y -= 0.5;
  CHECK(y == Tensor<double>({2}, {0.5, -0.5}));
}
