#pragma once

#include <vector>

#include "lamina/kernels/elementwise.hpp"

namespace lamina::kernels {

inline namespace LAMINA_KERNELS {

/// Whether two shapes agree in rank, and in every axis where neither has extent 1.
inline bool broadcasts(const Shape& a, const Shape& b) {
  if (a.rank() != b.rank()) return false;
  for (int axis = 0; axis < a.rank(); ++axis)
    if (a[axis] != b[axis] && a[axis] != 1 && b[axis] != 1) return false;
  return true;
}

/// The shape of two tensors that broadcast, each repeated along the axes where it has extent 1.
inline Shape broadcast_shape(const Shape& a, const Shape& b) {
  Shape joined = a;
  for (int axis = 0; axis < a.rank(); ++axis)
    if (a[axis] == 1) joined = joined.with(axis, b[axis]);
  return joined;
}

}  // namespace LAMINA_KERNELS

inline namespace LAMINA_ISA {

namespace detail {

/// One axis of the space that an operation runs over, with the distance of neighbours in each operand: 0 where the
/// operand has extent 1.
struct BroadcastAxis {
  Index extent, out, a, b;
};

/// Where each operand stands.
struct BroadcastOffset {
  Index out = 0, a = 0, b = 0;
};

/// The axes innermost first, those of extent 1 dropped and neighbours joined where all operands allow it.
inline std::vector<BroadcastAxis> broadcast_axes(const Shape& space, const Shape& out, const Shape& a, const Shape& b) {
  std::vector<BroadcastAxis> axes;
  BroadcastAxis steps{1, 1, 1, 1};
  for (int i = space.rank(); i-- > 0;) {
    const Index n = space[i];
    const BroadcastAxis axis{n, out[i] == 1 ? 0 : steps.out, a[i] == 1 ? 0 : steps.a, b[i] == 1 ? 0 : steps.b};
    steps = {1, steps.out * out[i], steps.a * a[i], steps.b * b[i]};
    if (n == 1) continue;
    if (!axes.empty()) {
      BroadcastAxis& inner = axes.back();
      if (axis.out == inner.out * inner.extent && axis.a == inner.a * inner.extent &&
          axis.b == inner.b * inner.extent) {
        inner.extent *= n;
        continue;
      }
    }
    axes.push_back(axis);
  }
  if (axes.empty()) axes.push_back({1, 1, 1, 1});
  return axes;
}

/// Goes through the elements of a space of axes, innermost first, from number `first` on.
class BroadcastWalk {
 public:
  explicit BroadcastWalk(const std::vector<BroadcastAxis>& axes, Index first = 0) : axes_(axes), places_(axes.size()) {
    for (std::size_t i = 0; i < axes.size(); ++i) {
      places_[i] = first % axes[i].extent;
      first /= axes[i].extent;
      move(axes[i], places_[i]);
    }
  }

  /// Of the element.
  const BroadcastOffset& offset() const { return offset_; }
  /// How many elements there are from this to the end of the innermost axis, and how far apart they are.
  /// @{
  Index line() const { return axes_.empty() ? 1 : axes_[0].extent - places_[0]; }
  BroadcastOffset step() const {
    return axes_.empty() ? BroadcastOffset{} : BroadcastOffset{axes_[0].out, axes_[0].a, axes_[0].b};
  }
  /// @}
  /// On by at most line() elements; from the last to the first.
  void next(Index count) {
    for (std::size_t i = 0; i < axes_.size(); ++i, count = 1) {
      move(axes_[i], count);
      if ((places_[i] += count) < axes_[i].extent) return;
      move(axes_[i], -places_[i]);
      places_[i] = 0;
    }
  }

 private:
  void move(const BroadcastAxis& axis, Index by) {
    offset_ = {offset_.out + by * axis.out, offset_.a + by * axis.a, offset_.b + by * axis.b};
  }

  const std::vector<BroadcastAxis>& axes_;
  std::vector<Index> places_;
  BroadcastOffset offset_;
};

inline Index broadcast_size(const std::vector<BroadcastAxis>& axes) {
  Index size = 1;
  for (const BroadcastAxis& axis : axes) size *= axis.extent;
  return size;
}

struct Times {
  template <class Pack>
  static Pack of(Pack a, Pack b) {
    return a * b;
  }
};
struct Plus {
  template <class Pack>
  static Pack of(Pack a, Pack b) {
    return a + b;
  }
};

/// How a row of n results goes out: out[i] = or += a[i] * b[i], or as their sum, or with another operation. An operand
/// with step 0 is one number.
template <class Scalar, class Operation, bool a_step, bool b_step>
struct BroadcastRow {
  using Pack = simd::Pack<Scalar>;
  static constexpr Index width = simd::width<Scalar>;

  static void store(Index n, Scalar* out, const Scalar* a, const Scalar* b, bool add) {
    simd::for_each_vector<Scalar>(0, n, [&](Index i, auto... lanes) {
      Pack value = Operation::of(load<a_step>(a, i, lanes...), load<b_step>(b, i, lanes...));
      if (add) value += Pack::load(out + i, lanes...);
      value.store(out + i, lanes...);
    });
  }

  /// The same for so many rows of at most one vector.
  static void store_short(Index rows, BroadcastOffset step, Index n, Scalar* out, const Scalar* a, const Scalar* b) {
    each_short(rows, step, n, a, b, [&](Pack value) {
      n == width ? value.store(out) : value.store(out, n);
      out += step.out;
    });
  }
  /// The sum of so many rows of at most one vector, added to `total`.
  static Pack sum_short(Index rows, BroadcastOffset step, Index n, const Scalar* a, const Scalar* b, Pack total) {
    each_short(rows, step, n, a, b, [&](Pack value) { total += value; });
    return total;
  }

  /// Added to what the lanes of `total` hold.
  static Pack sum(Index n, const Scalar* a, const Scalar* b, Pack total) {
    Index i = 0;
    for (; i + width <= n; i += width) total += Operation::of(load<a_step>(a, i), load<b_step>(b, i));
    if (i < n) {
      Scalar values[width];  // what lies behind the row must not count: infinity * 0 is NaN
      Operation::of(load<a_step>(a, i, n - i), load<b_step>(b, i, n - i)).store(values);
      total += Pack::load(values, n - i);
    }
    return total;
  }

 private:
  template <class F>
  [[gnu::always_inline]] static void each_short(Index rows, BroadcastOffset step, Index n, const Scalar* a,
                                                const Scalar* b, F f) {
    if (n == width)
      for (Index r = 0; r < rows; ++r, a += step.a, b += step.b)
        f(Operation::of(load<a_step>(a, 0), load<b_step>(b, 0)));
    else
      for (Index r = 0; r < rows; ++r, a += step.a, b += step.b)
        f(Operation::of(load<a_step>(a, 0, n), load<b_step>(b, 0, n)));
  }

  template <bool step, class... Lanes>
  static Pack load(const Scalar* p, Index i, Lanes... lanes) {
    if constexpr (step)
      return Pack::load(p + i, lanes...);
    else
      return Pack(*p);
  }
};

/// f(BroadcastRow) for the steps that the operands take.
template <class Scalar, class Operation, class F>
void with_broadcast_row(const BroadcastAxis& axis, F f) {
  if (axis.a && axis.b)
    f(BroadcastRow<Scalar, Operation, true, true>());
  else if (axis.a)
    f(BroadcastRow<Scalar, Operation, true, false>());
  else if (axis.b)
    f(BroadcastRow<Scalar, Operation, false, true>());
  else
    f(BroadcastRow<Scalar, Operation, false, false>());
}

/// out = sum of `operation(a, b)` over the axes of `space` in which out has extent 1; see multiply.
template <class Operation, class Scalar>
void broadcast(const Shape& space, const Shape& out_shape, Scalar* out, const Shape& a_shape, const Scalar* a,
               const Shape& b_shape, const Scalar* b) {
  if (space.numel() == 0) {
    std::fill_n(out, out_shape.numel(), Scalar(0));
    return;
  }
  std::vector<BroadcastAxis> kept, summed;
  const auto axes = broadcast_axes(space, out_shape, a_shape, b_shape);
  const BroadcastAxis inner = axes.front();
  for (std::size_t i = 1; i < axes.size(); ++i) (axes[i].out ? kept : summed).push_back(axes[i]);

  // A task is a piece of the innermost axis where that is kept, or the whole of it where it is summed.
  const Index length = inner.out ? std::min(inner.extent, stream_grain) : inner.extent;
  const Index pieces = (inner.extent + length - 1) / length;
  const Index terms = broadcast_size(summed);
  const bool is_short = inner.out && inner.extent <= simd::width<Scalar>;  // as the channels of a block are
  const auto run = [&](auto row, Index first, Index last) {
    BroadcastWalk rows(kept, first / pieces), sums(summed);
    for (Index task = first, count; task < last; task += count) {
      const BroadcastOffset at = rows.offset();
      if (is_short && terms == 1) {
        count = std::min(rows.line(), last - task);
        row.store_short(count, rows.step(), inner.extent, out + at.out, a + at.a, b + at.b);
        rows.next(count);
        continue;
      }
      count = 1;
      const Index begin = task % pieces * length, n = std::min(length, inner.extent - begin);
      simd::Pack<Scalar> total(0);
      for (Index term = 0, together; term < terms; term += together, sums.next(together)) {
        const Scalar* left = a + at.a + sums.offset().a + begin * inner.a;
        const Scalar* right = b + at.b + sums.offset().b + begin * inner.b;
        together = is_short ? sums.line() : 1;
        if (is_short)
          total = row.sum_short(together, sums.step(), n, left, right, total);
        else if (inner.out)
          row.store(n, out + at.out + begin, left, right, term > 0);
        else
          total = row.sum(n, left, right, total);
      }
      if (is_short)
        total.store(out + at.out, n);
      else if (!inner.out)
        out[at.out] = simd::sum(total);
      if (task % pieces == pieces - 1) rows.next(1);
    }
  };
  with_broadcast_row<Scalar, Operation>(inner, [&](auto row) {
    parallel_for(0, broadcast_size(kept) * pieces, stream_grain / (length * terms),
                 [&](Index first, Index last) { run(row, first, last); });
  });
}

/// The result of an operation on two tensors that broadcast, in the storage of one of them that fits if nobody else
/// holds it. The operation must not care about the order.
template <class Operation, class Scalar>
Tensor<Scalar> broadcast(Tensor<Scalar> a, Tensor<Scalar> b) {
  const Shape space = broadcast_shape(a.shape(), b.shape());
  const auto reusable = [&](const Tensor<Scalar>& t) { return t.shape() == space && t.exclusive(); };
  if (!reusable(a)) std::swap(a, b);
  const Shape shape = a.shape();
  const Scalar* left = std::as_const(a).data();
  Tensor<Scalar> result = reusable(a) ? std::move(a) : Tensor<Scalar>(space);
  broadcast<Operation>(space, space, result.data(), shape, left, b.shape(), std::as_const(b).data());
  return result;
}

}  // namespace detail

}  // namespace LAMINA_ISA

inline namespace LAMINA_KERNELS {

/// out = sum of a * b over the axes of `space` in which out has extent 1. All shapes have the rank of `space` and in
/// each axis its extent or 1; an operand is repeated along the axes where it has 1. So this is the product of two
/// tensors that broadcast, and with a gradient as `a` also that product's gradients. The order of every sum is fixed.
/// out may be a or b if it has the same shape and nothing is summed.
template <class Scalar>
void multiply(const Shape& space, const Shape& out_shape, Scalar* out, const Shape& a_shape, const Scalar* a,
              const Shape& b_shape, const Scalar* b) {
  detail::broadcast<detail::Times>(space, out_shape, out, a_shape, a, b_shape, b);
}

/// a * b and a + b of two tensors that broadcast.
/// @{
template <class Scalar>
Tensor<Scalar> multiply(Tensor<Scalar> a, Tensor<Scalar> b) {
  return detail::broadcast<detail::Times>(std::move(a), std::move(b));
}
template <class Scalar>
Tensor<Scalar> add(Tensor<Scalar> a, Tensor<Scalar> b) {
  return detail::broadcast<detail::Plus>(std::move(a), std::move(b));
}
/// @}

/// The sums of x over the axes in which `shape` has extent 1: the gradient of a tensor of that shape that was repeated.
template <class Scalar>
Tensor<Scalar> sum_to(const Shape& shape, const Tensor<Scalar>& x) {
  Shape ones = shape;
  for (int axis = 0; axis < ones.rank(); ++axis) ones = ones.with(axis, 1);
  const Scalar one(1);
  Tensor<Scalar> result(shape);
  multiply(x.shape(), shape, result.data(), x.shape(), x.data(), ones, &one);
  return result;
}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels
