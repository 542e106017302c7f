#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/axis.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/tensor/reshape.hpp"

namespace lamina::inline LAMINA_ABI {

/// What becomes of the numbers along axes: of x the sum, the mean, the largest, the smallest, the product, the sum of
/// |x|, the root of the sum of x², that sum, the logarithm of the sum of x, or of e^x.
enum class Aggregate { sum, mean, max, min, product, l1, l2, sum_of_squares, log_sum, log_sum_exp };

/// Options of Reduce.
struct ReduceOptions {
  std::vector<Index> axes = {};  ///< none: all; negative ones count from the end
  bool keep = true;              ///< the axes stay, with extent 1
};

/// An Aggregate along axes. A largest or smallest number that occurs more than once takes the gradient where it occurs
/// first. Throws ShapeError for axes that x does not have, or for the mean, largest or smallest of nothing.
template <class Scalar = float>
class Reduce : public Layer<Reduce<Scalar>, Scalar> {
 public:
  /// Shapes, defaults and errors are said at the class.
  explicit Reduce(Aggregate aggregate, const ReduceOptions& options = {}) : aggregate_(aggregate), options_(options) {}

  Saved saved() const override { return Saved::both; }
  Shape output_shape(const Shape& input) const override {
    const std::vector<bool> reduced = reduced_axes(input);
    std::vector<Index> extents;
    for (int axis = 0; axis < input.rank(); ++axis) {
      const bool gone = reduced[static_cast<std::size_t>(axis)];
      if (!gone || options_.keep) extents.push_back(gone ? 1 : input[axis]);
    }
    const bool needs_one =
        aggregate_ == Aggregate::mean || aggregate_ == Aggregate::max || aggregate_ == Aggregate::min;
    const Shape result{std::span<const Index>(extents)};
    require<ShapeError>(!needs_one || result.numel() == 0 || input.numel() > 0, *this, ": of nothing, got shape ",
                        input);
    return result;
  }
  Fields fields() const override {
    static constexpr const char* names[] = {"sum", "mean",           "max",     "min",        "product", "l1",
                                            "l2",  "sum_of_squares", "log_sum", "log_sum_exp"};
    return Fields("Reduce")
        .argument("aggregate", names[static_cast<int>(aggregate_)])
        .argument("axes", detail::list(options_.axes))
        .option("keep", options_.keep, true);
  }

  /// What it was made with.
  /// @{
  Aggregate aggregate() const { return aggregate_; }
  const ReduceOptions& options() const { return options_; }
  /// @}

 private:
  std::vector<bool> reduced_axes(const Shape& input) const {
    std::vector<bool> result(static_cast<std::size_t>(input.rank()), options_.axes.empty());
    for (const Index axis : options_.axes)
      result[static_cast<std::size_t>(detail::axis_position(static_cast<int>(axis), input, *this))] = true;
    return result;
  }

  /// The places of the first elements of all groups, and of a group's elements from its first.
  struct Places {
    std::vector<Index> groups{0}, members{0};
  };
  Places places(const Shape& input) const {
    const std::vector<bool> reduced = reduced_axes(input);
    Places result;
    for (int axis = 0; axis < input.rank(); ++axis) {
      auto& list = reduced[static_cast<std::size_t>(axis)] ? result.members : result.groups;
      const Index step = input.product(axis + 1, input.rank());
      std::vector<Index> longer;
      for (const Index at : list)
        for (Index i = 0; i < input[axis]; ++i) longer.push_back(at + i * step);
      list = std::move(longer);
    }
    return result;
  }

  /// f over x[0] ... x[n - 1], begun with `start`.
  template <class F>
  static Scalar fold(const Scalar* x, const std::vector<Index>& members, Scalar start, F f) {
    for (const Index at : members) start = f(start, x[at]);
    return start;
  }

  Scalar value(const Scalar* x, const std::vector<Index>& members) const {
    const auto sum = [&](auto term) {
      double total = 0;
      for (const Index at : members) total += static_cast<double>(term(x[at]));
      return static_cast<Scalar>(total);
    };
    const auto same = [](Scalar v) { return v; };
    const auto largest = [&] {
      return fold(x, members, x[members[0]], [](Scalar a, Scalar b) { return a < b || b != b ? b : a; });
    };
    switch (aggregate_) {
      case Aggregate::sum:
        return sum(same);
      case Aggregate::mean:
        return sum(same) / static_cast<Scalar>(members.size());
      case Aggregate::max:
        return largest();
      case Aggregate::min:
        return fold(x, members, x[members[0]], [](Scalar a, Scalar b) { return a > b || b != b ? b : a; });
      case Aggregate::product:
        return fold(x, members, Scalar(1), [](Scalar a, Scalar b) { return a * b; });
      case Aggregate::l1:
        return sum([](Scalar v) { return std::abs(v); });
      case Aggregate::l2:
        return std::sqrt(sum([](Scalar v) { return v * v; }));
      case Aggregate::sum_of_squares:
        return sum([](Scalar v) { return v * v; });
      case Aggregate::log_sum:
        return std::log(sum(same));
      default: {
        if (members.empty()) return -std::numeric_limits<Scalar>::infinity();
        const Scalar most = largest();
        return most + std::log(sum([most](Scalar v) { return std::exp(v - most); }));
      }
    }
  }

  /// dy/dx of member i, where y = value(x).
  Scalar slope(const Scalar* x, const std::vector<Index>& members, std::size_t i, Scalar y) const {
    const Scalar v = x[members[i]];
    switch (aggregate_) {
      case Aggregate::sum:
        return 1;
      case Aggregate::mean:
        return 1 / static_cast<Scalar>(members.size());
      case Aggregate::max:
      case Aggregate::min:
        return Scalar(v == y && std::none_of(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(i),
                                             [&](Index at) { return x[at] == y; }));
      case Aggregate::product: {
        Scalar others = 1;
        for (std::size_t j = 0; j < members.size(); ++j)
          if (j != i) others *= x[members[j]];
        return others;
      }
      case Aggregate::l1:
        return Scalar((v > 0) - (v < 0));
      case Aggregate::l2:
        return y == 0 ? Scalar(0) : v / y;
      case Aggregate::sum_of_squares:
        return 2 * v;
      case Aggregate::log_sum:
        return std::exp(-y);
      default:
        return std::exp(v - y);
    }
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Places at = places(x.shape());
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    for (std::size_t i = 0; i < at.groups.size(); ++i) out[i] = value(in + at.groups[i], at.members);
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    Tensor<Scalar> y = do_infer(x);
    tape.push(std::move(x), y);
    return y;
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [x, y] = tape.template pop<Tensor<Scalar>, Tensor<Scalar>>();
    const Places at = places(x.shape());
    Tensor<Scalar> dx(x.shape());
    Scalar* const out = dx.data();
    for (std::size_t i = 0; i < at.groups.size(); ++i)
      for (std::size_t j = 0; j < at.members.size(); ++j)
        out[at.groups[i] + at.members[j]] =
            std::as_const(dy).data()[i] * slope(x.data() + at.groups[i], at.members, j, y.data()[i]);
    return dx;
  }

  Aggregate aggregate_;
  ReduceOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
