#pragma once

#include <string>
#include <utility>

#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/run.hpp"
#include "lamina/nn/axis.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/sequences.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of Mean.
struct MeanOptions {
  bool keepdim = false;  ///< the axis stays, with extent 1
};

/// The mean along an axis, as x.mean(dim); negative ones count from the end. Mean(1) is that over the tokens, of states
/// [N, L, D] -> [N, D] or, each sequence by itself, of a packed batch [tokens, D] -> [N, D]. For other sums, and
/// several axes at once, see Reduce.
///
/// Shapes: x [..., n, ...], y [..., ...]. Throws ShapeError for an axis that x does not have, or that has no entry, and
/// for another one of a packed batch.
template <class Scalar = float>
class Mean : public JointLayer<Mean<Scalar>, Scalar> {
 public:
  /// Shapes and errors are said at the class.
  explicit Mean(int dim = 1, const MeanOptions& options = {}) : dim_(dim), options_(options) {}

  Saved saved() const override { return Saved::nothing; }
  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 1, *this, ": takes one value, got ", x.size());
    const Shape& shape = x[0].shape();
    if (x[0].sequences) {
      const Sequences division = packed(x[0]);
      return options_.keepdim ? Shape{division.size(), 1, shape[1]} : Shape{division.size(), shape[1]};
    }
    const int axis = detail::axis_position(dim_, shape, *this);
    require<ShapeError>(shape[axis] >= 1, *this, ": of nothing, got shape ", shape);
    if (options_.keepdim) return shape.with(axis, 1);
    Shape behind = shape.tail(axis + 1);
    for (int before = axis - 1; before >= 0; --before) behind = behind.batch(shape[before]);
    return behind;
  }
  Fields fields() const override {
    return Fields("Mean").argument("dim", dim_).option("keepdim", options_.keepdim, false);
  }

  /// What it was made with.
  /// @{
  int dim() const { return dim_; }
  const MeanOptions& options() const { return options_; }
  /// @}

 private:
  /// The rows of each mean; there are `inner` of them side by side.
  struct Groups {
    Sequences rows;
    Index inner;
  };

  Sequences packed(const Value<Scalar>& x) const {
    const Shape& shape = x.shape();
    require<ShapeError>(shape.rank() == 2 && (dim_ == 1 || dim_ == -2), *this,
                        ": of a packed batch [tokens, D] there is the mean over the tokens, Mean(1), got shape ",
                        shape);
    return sequences_of(*this, x, shape[1]);
  }
  Groups groups(const Value<Scalar>& x) const {
    if (x.sequences) return {packed(x), x.shape()[1]};
    const detail::AroundAxis around(x.shape(), dim_, *this);
    return {Sequences(around.outer, around.n), around.inner};
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    Tensor<Scalar> y = Tensor<Scalar>::zeros(output_shapes(x)[0]);
    const Groups at = groups(x[0]);
    const Scalar* const in = std::as_const(x)[0].tensor.data();
    Scalar* const out = y.data();
    for_each(at, [&](Index i, Scalar length) {
      const Scalar* const first = in + at.rows.begin(i) * at.inner;
      Scalar* const to = out + i * at.inner;
      for (const Scalar* row = first; row != first + at.rows.length(i) * at.inner; row += at.inner)
        kernels::map_run(at.inner, to, kernels::SumAt<Scalar>{to, row});
      kernels::map_run(at.inner, to, kernels::QuotientAt<Scalar>{to, length});
    });
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].shape(), groups(x[0]));
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [shape, at] = tape.template pop<Shape, Groups>();
    Tensor<Scalar> dx(shape);
    const Scalar* const in = std::as_const(dy).data();
    Scalar* const out = dx.data();
    for_each(at, [&rows = at.rows, inner = at.inner, in, out](Index i, Scalar length) {
      const Scalar* const from = in + i * inner;
      for (Index row = rows.begin(i); row < rows.begin(i + 1); ++row)
        kernels::map_run(inner, out + row * inner, kernels::QuotientAt<Scalar>{from, length});
    });
    return dx;
  }

  /// f(group, its length), in parallel.
  template <class F>
  static void for_each(const Groups& at, F f) {
    const Index groups = at.rows.size(), elements = at.rows.tokens() * at.inner;
    if (elements == 0) return;
    parallel_for(0, groups, kernels::stream_grain * groups / elements, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) f(i, static_cast<Scalar>(at.rows.length(i)));
    });
  }

  int dim_;
  MeanOptions options_;
};

}  // namespace lamina::inline LAMINA_ABI
