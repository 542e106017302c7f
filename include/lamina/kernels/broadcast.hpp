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

/// The offsets of element i of a space of axes, innermost first.
inline BroadcastOffset broadcast_offset(const std::vector<BroadcastAxis>& axes, Index i) {
  BroadcastOffset offset;
  for (const BroadcastAxis& axis : axes) {
    const Index at = i % axis.extent;
    i /= axis.extent;
    offset = {offset.out + at * axis.out, offset.a + at * axis.a, offset.b + at * axis.b};
  }
  return offset;
}

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
  const auto run = [&](auto row, Index first, Index last) {
    for (Index task = first; task < last; ++task) {
      const auto at = broadcast_offset(kept, task / pieces);
      const Index begin = task % pieces * length, count = std::min(length, inner.extent - begin);
      simd::Pack<Scalar> total(0);
      for (Index term = 0; term < terms; ++term) {
        const auto from = broadcast_offset(summed, term);
        const Scalar* left = a + at.a + from.a + begin * inner.a;
        const Scalar* right = b + at.b + from.b + begin * inner.b;
        if (inner.out)
          row.store(count, out + at.out + begin, left, right, term > 0);
        else
          total = row.sum(count, left, right, total);
      }
      if (!inner.out) out[at.out] = simd::sum(total);
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
