#pragma once

/// Functions of vectors, for the passes of elementwise.hpp and update.hpp. Their members are plain numbers, so that
/// each is one type for all instruction sets: a library can hold a pass with it (compiled/kernels.inc). A pass takes
/// any other function too, and is then compiled where it is called.
namespace lamina::kernels {

/// a + b.
struct Sum {
  /// Of vectors.
  template <class V>
  V operator()(V a, V b) const {
    return a + b;
  }
};

/// a * b.
struct Product {
  /// Of vectors.
  template <class V>
  V operator()(V a, V b) const {
    return a * b;
  }
};

/// a / b.
struct Quotient {
  /// Of vectors.
  template <class V>
  V operator()(V a, V b) const {
    return a / b;
  }
};

/// v + term.
template <class T>
struct Added {
  T term;  ///< what is added to all
  /// Of a vector.
  template <class V>
  V operator()(V v) const {
    return v + V(term);
  }
};

/// What lies at a plus what lies at b, for map_run.
template <class T>
struct SumAt {
  /// Where.
  /// @{
  const T *a, *b;
  /// @}
  /// At the present position.
  template <class Load>
  auto operator()(Load load) const {
    return load(a) + load(b);
  }
};

/// What lies at x divided by a number, for map_run.
template <class T>
struct QuotientAt {
  const T* x;  ///< where
  T divisor;   ///< the number
  /// At the present position.
  template <class Load>
  auto operator()(Load load) const {
    const auto value = load(x);
    return value / decltype(value)(divisor);
  }
};

/// v * factor.
template <class T>
struct Scaled {
  T factor;  ///< what all are multiplied by
  /// Of a vector.
  template <class V>
  V operator()(V v) const {
    return v * factor;
  }
};

/// v *= factor, for update.
template <class T>
struct ScaleBy {
  T factor;  ///< what all are multiplied by
  /// Of a vector.
  template <class V>
  void operator()(V& v) const {
    v *= V(factor);
  }
};

/// a * keep + b * take, a moving average.
template <class T>
struct Blended {
  /// Of what is there, and of what is new.
  /// @{
  T keep, take;
  /// @}
  /// Of vectors.
  template <class V>
  V operator()(V a, V b) const {
    return multiply_add(a, keep, b * take);
  }
};

/// The factor of dropout for a number u of [0, 1): 0 below p, else `scale`.
template <class T>
struct DropoutNoise {
  /// See above.
  /// @{
  T p, scale;
  /// @}
  /// Of a vector of numbers.
  template <class V>
  V operator()(V u) const {
    return select(u < V(p), V(T(0)), scale);
  }
};

/// v times that factor.
template <class T>
struct Dropped {
  DropoutNoise<T> noise;  ///< the factor
  /// Of a vector and one of numbers.
  template <class V>
  V operator()(V v, V u) const {
    return v * noise(u);
  }
};

/// x as it is, and its gradient.
struct Unclamped {
  /// Of a vector.
  template <class V>
  static V value(V x) {
    return x;
  }
  /// Of dy, by the result y.
  template <class V>
  static V gradient(V, V dy) {
    return dy;
  }
};

/// max(x, 0), and its gradient.
struct Relu {
  /// Of a vector.
  template <class V>
  static V value(V x) {
    return max(x, V(0));
  }
  /// Of dy, by the result y.
  template <class V>
  static V gradient(V y, V dy) {
    return select(y <= V(0), V(0), dy);
  }
};

/// min(max(x, 0), 6), and its gradient.
struct Relu6 {
  /// Of a vector.
  template <class V>
  static V value(V x) {
    return min(max(x, V(0)), V(6));
  }
  /// Of dy, by the result y.
  template <class V>
  static V gradient(V y, V dy) {
    return select(y <= V(0), V(0), select(y >= V(6), V(0), dy));
  }
};

}  // namespace lamina::kernels
