#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/axis.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/tensor/combine.hpp"

/// Layers that give the same elements another shape or order.
namespace lamina::inline LAMINA_ABI {

namespace detail {

inline std::string list(const std::vector<Index>& numbers) {
  std::string out = "[";
  for (std::size_t i = 0; i < numbers.size(); ++i) out += text(i ? ", " : "", numbers[i]);
  return out + "]";
}

/// Base of layers that give the same elements in the same order another shape: Derived gives output_shape.
template <class Derived, class Scalar>
class Reshaping : public Layer<Derived, Scalar> {
 public:
  Saved saved() const override { return Saved::nothing; }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Shape shape = this->output_shape(x.shape());
    return std::move(x).reshape(shape);
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [shape] = tape.template pop<Shape>();
    return std::move(dy).reshape(shape);
  }
};

}  // namespace detail

/// The same elements in another shape. Of the extents, 0 is the input's in that axis and one may be -1, whatever is
/// left. Throws ShapeError when the elements do not fit.
template <class Scalar = float>
class Reshape : public detail::Reshaping<Reshape<Scalar>, Scalar> {
 public:
  /// The extents of the result; 0 and -1 are said above.
  explicit Reshape(std::vector<Index> extents) : extents_(std::move(extents)) {}

  Shape output_shape(const Shape& input) const override {
    std::vector<Index> result = extents_;
    Index known = 1, *unknown = nullptr;
    for (std::size_t i = 0; i < result.size(); ++i) {
      if (result[i] == 0 && static_cast<int>(i) < input.rank()) result[i] = input[static_cast<int>(i)];
      if (result[i] == -1 && !unknown)
        unknown = &result[i];
      else
        known *= std::max<Index>(result[i], 0);
    }
    if (unknown) *unknown = known > 0 ? input.numel() / known : 0;
    const Shape shape{std::span<const Index>(result)};
    require<ShapeError>(shape.numel() == input.numel(), *this, ": does not fit the elements of shape ", input);
    return shape;
  }
  Fields fields() const override { return Fields("Reshape").argument("extents", detail::list(extents_)); }

  /// What it was made with.
  const std::vector<Index>& extents() const { return extents_; }

 private:
  std::vector<Index> extents_;
};

/// New axes of extent 1, at these places in the result; negative ones count from its end.
template <class Scalar = float>
class Unsqueeze : public detail::Reshaping<Unsqueeze<Scalar>, Scalar> {
 public:
  /// The places of the new axes in the result.
  explicit Unsqueeze(std::vector<Index> axes) : axes_(std::move(axes)) {}

  Shape output_shape(const Shape& input) const override {
    const Index rank = input.rank() + static_cast<Index>(axes_.size());
    std::vector<Index> result(static_cast<std::size_t>(rank), 0);
    for (Index axis : axes_) {
      axis = axis < 0 ? axis + rank : axis;
      require<ShapeError>(axis >= 0 && axis < rank && result[static_cast<std::size_t>(axis)] == 0, *this,
                          ": no such axes for shape ", input);
      result[static_cast<std::size_t>(axis)] = 1;
    }
    std::vector<bool> taken;
    for (const Index extent : result) taken.push_back(extent == 1);
    for (std::size_t i = 0, axis = 0; i < result.size(); ++i)
      if (!taken[i]) result[i] = input[static_cast<int>(axis++)];
    return Shape(std::span<const Index>(result));
  }
  Fields fields() const override { return Fields("Unsqueeze").argument("axes", detail::list(axes_)); }

  /// What it was made with.
  const std::vector<Index>& axes() const { return axes_; }

 private:
  std::vector<Index> axes_;
};

/// These axes, of extent 1, away; without axes all that have extent 1.
template <class Scalar = float>
class Squeeze : public detail::Reshaping<Squeeze<Scalar>, Scalar> {
 public:
  /// The axes to take away; none: all of extent 1.
  explicit Squeeze(std::vector<Index> axes = {}) : axes_(std::move(axes)) {}

  Shape output_shape(const Shape& input) const override {
    std::vector<bool> gone(static_cast<std::size_t>(input.rank()), false);
    for (const Index axis : axes_) {
      const int place = detail::axis_position(static_cast<int>(axis), input, *this);
      require<ShapeError>(input[place] == 1, *this, ": expected extent 1 in axis ", axis, ", got shape ", input);
      gone[static_cast<std::size_t>(place)] = true;
    }
    std::vector<Index> result;
    for (int axis = 0; axis < input.rank(); ++axis)
      if (axes_.empty() ? input[axis] != 1 : !gone[static_cast<std::size_t>(axis)]) result.push_back(input[axis]);
    return Shape(std::span<const Index>(result));
  }
  Fields fields() const override { return Fields("Squeeze").argument("axes", detail::list(axes_)); }

  /// What it was made with.
  const std::vector<Index>& axes() const { return axes_; }

 private:
  std::vector<Index> axes_;
};

/// Axis i of the result is axis axes[i] of the input, as torch.permute; without axes their order is reversed. Throws
/// ShapeError for axes that are not those of the input, each once.
template <class Scalar = float>
class Permute : public Layer<Permute<Scalar>, Scalar> {
 public:
  /// Axis i of the result is axis axes[i] of x; none: reversed.
  explicit Permute(std::vector<Index> axes = {}) : axes_(std::move(axes)) {}

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    std::vector<Index> result;
    for (const Index axis : axes_of(input)) result.push_back(input[static_cast<int>(axis)]);
    return Shape(std::span<const Index>(result));
  }
  Fields fields() const override { return Fields("Permute").argument("axes", detail::list(axes_)); }

  /// What it was made with.
  const std::vector<Index>& axes() const { return axes_; }

 private:
  std::vector<Index> axes_of(const Shape& input) const {
    std::vector<Index> result = axes_;
    if (result.empty())
      for (int axis = input.rank(); axis-- > 0;) result.push_back(axis);
    std::vector<Index> sorted = result;
    std::sort(sorted.begin(), sorted.end());
    bool fits = static_cast<int>(sorted.size()) == input.rank();
    for (std::size_t i = 0; fits && i < sorted.size(); ++i) fits = sorted[i] == static_cast<Index>(i);
    require<ShapeError>(fits, *this, ": expected as many axes, each once, got shape ", input);
    return result;
  }
  /// The input's step along each axis of the result.
  std::array<std::vector<Index>, 1> steps(const Shape& input) const {
    std::array<std::vector<Index>, 1> result;
    for (const Index axis : axes_of(input))
      result[0].push_back(input.product(static_cast<int>(axis) + 1, input.rank()));
    return result;
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    detail::for_each_offset<1>(y.shape(), steps(x.shape()), [&](Index i, const auto& at) { out[i] = in[at[0]]; });
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [shape] = tape.template pop<Shape>();
    Tensor<Scalar> dx(shape);
    const Scalar* const in = std::as_const(dy).data();
    Scalar* const out = dx.data();
    detail::for_each_offset<1>(dy.shape(), steps(shape), [&](Index i, const auto& at) { out[at[0]] = in[i]; });
    return dx;
  }

  std::vector<Index> axes_;
};

}  // namespace lamina::inline LAMINA_ABI
