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

}  // namespace lamina::kernels
