#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "lamina/core/parallel.hpp"

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>  // a fifth of immintrin.h's compile time, and Eigen includes it anyway
#endif

/// Vectors at the width of the compile target, through GCC's and Clang's vector extensions. The only header that knows
/// about SIMD: AVX-512, AVX2, SSE2 and NEON come from the same source, and where the target has none the compiler
/// emits scalar code.
namespace lamina::simd {

#if defined(__AVX512F__)
inline constexpr Index vector_bytes = 64;
#elif defined(__AVX__)
inline constexpr Index vector_bytes = 32;
#else
inline constexpr Index vector_bytes = 16;
#endif

/// How many vector registers there are.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr Index registers = 32;
#else
inline constexpr Index registers = 16;
#endif

namespace detail {
template <class T, Index Bytes = vector_bytes>
struct Vector {
  typedef T type __attribute__((vector_size(Bytes)));
};
template <class T>
using IntegerOf = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
}  // namespace detail

/// How many T fit into one vector.
template <class T>
inline constexpr Index width = vector_bytes / static_cast<Index>(sizeof(T));

/// One vector of T with elementwise arithmetic; a scalar operand is broadcast.
template <class T>
struct Pack {
  using value_type = T;
  using Native = typename detail::Vector<T>::type;
  using Mask = typename detail::Vector<detail::IntegerOf<T>>::type;

  Native v;

  Pack() = default;
  Pack(Native native) : v(native) {}
  Pack(T value) : v(value - Native{}) {}

  static Pack load(const T* p) {
    Pack result;
    std::memcpy(&result.v, p, sizeof(Native));
    return result;
  }
  /// The first n elements from memory, `rest` behind.
  static Pack load(const T* p, Index n, T rest = T(0)) {
    Pack result(rest);
#if defined(__AVX512F__)
    const auto lanes = static_cast<__mmask16>((1u << n) - 1);
    if constexpr (sizeof(T) == 4)
      return (Native)_mm512_mask_loadu_epi32((__m512i)result.v, lanes, p);
    else if constexpr (sizeof(T) == 8)
      return (Native)_mm512_mask_loadu_epi64((__m512i)result.v, static_cast<__mmask8>(lanes), p);
#endif
    std::memcpy(&result.v, p, static_cast<std::size_t>(n) * sizeof(T));
    return result;
  }
  void store(T* p) const { std::memcpy(p, &v, sizeof(Native)); }
  void store(T* p, Index n) const {
#if defined(__AVX512F__)
    const auto lanes = static_cast<__mmask16>((1u << n) - 1);
    if constexpr (sizeof(T) == 4)
      return _mm512_mask_storeu_epi32(p, lanes, (__m512i)v);
    else if constexpr (sizeof(T) == 8)
      return _mm512_mask_storeu_epi64(p, static_cast<__mmask8>(lanes), (__m512i)v);
#endif
    std::memcpy(p, &v, static_cast<std::size_t>(n) * sizeof(T));
  }

  T operator[](Index i) const { return v[i]; }

  Pack& operator+=(Pack b) { return v += b.v, *this; }
  Pack& operator-=(Pack b) { return v -= b.v, *this; }
  Pack& operator*=(Pack b) { return v *= b.v, *this; }
  friend Pack operator+(Pack a, Pack b) { return a.v + b.v; }
  friend Pack operator-(Pack a, Pack b) { return a.v - b.v; }
  friend Pack operator*(Pack a, Pack b) { return a.v * b.v; }
  friend Pack operator/(Pack a, Pack b) { return a.v / b.v; }
  friend Pack operator-(Pack a) { return -a.v; }
  friend Mask operator<(Pack a, Pack b) { return a.v < b.v; }
  friend Mask operator>(Pack a, Pack b) { return a.v > b.v; }
  friend Mask operator<=(Pack a, Pack b) { return a.v <= b.v; }
  friend Mask operator>=(Pack a, Pack b) { return a.v >= b.v; }
  friend Mask operator==(Pack a, Pack b) { return a.v == b.v; }
};

namespace detail {
template <class F, int... I>
[[gnu::always_inline]] inline void unroll(F& f, std::integer_sequence<int, I...>) {
  (f(std::integral_constant<int, I>{}), ...);
}
}  // namespace detail

/// f(0), ..., f(N - 1) with compile-time arguments, so that arrays indexed by them live in registers.
template <int N, class F>
[[gnu::always_inline]] inline void unroll(F f) {
  detail::unroll(f, std::make_integer_sequence<int, N>{});
}

/// a * b + c, fused where the target can: written as one expression, since Clang does not fuse across functions.
template <class T>
Pack<T> multiply_add(Pack<T> a, std::type_identity_t<Pack<T>> b, std::type_identity_t<Pack<T>> c) {
  return a.v * b.v + c.v;
}

/// a, from here on in a register: of a vector that was loaded for a few uses GCC makes a load at each of them.
template <class T>
Pack<T> held(Pack<T> a) {
#if defined(__SSE2__)
  asm("" : "+v"(a.v));
#elif defined(__aarch64__)
  asm("" : "+w"(a.v));
#endif
  return a;
}

/// mask ? a : b, elementwise.
template <class T>
Pack<T> select(typename Pack<T>::Mask mask, Pack<T> a, std::type_identity_t<Pack<T>> b) {
  return mask ? a.v : b.v;
}
/// The larger and the smaller; a NaN in a stays, one in b is dropped.
template <class T>
Pack<T> max(Pack<T> a, std::type_identity_t<Pack<T>> b) {
  return a.v < b.v ? b.v : a.v;
}
template <class T>
Pack<T> min(Pack<T> a, std::type_identity_t<Pack<T>> b) {
  return a.v > b.v ? b.v : a.v;
}
template <class T>
Pack<T> abs(Pack<T> a) {
  return a.v < 0 ? -a.v : a.v;
}
/// Correctly rounded. By intrinsics: compilers do not vectorise std::sqrt, because it may set errno.
template <class T>
Pack<T> sqrt(Pack<T> a) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return typename Pack<T>::Native(_mm512_sqrt_ps(a.v));
  else
    return typename Pack<T>::Native(_mm512_sqrt_pd(a.v));
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4)
    return typename Pack<T>::Native(_mm256_sqrt_ps(a.v));
  else
    return typename Pack<T>::Native(_mm256_sqrt_pd(a.v));
#elif defined(__SSE2__)
  if constexpr (sizeof(T) == 4)
    return typename Pack<T>::Native(_mm_sqrt_ps(a.v));
  else
    return typename Pack<T>::Native(_mm_sqrt_pd(a.v));
#else
  for (Index i = 0; i < width<T>; ++i) a.v[i] = std::sqrt(a.v[i]);
  return a;
#endif
}
namespace detail {
template <class T, Index Bytes>
T halved_sum(typename Vector<T, Bytes>::type v) {
  if constexpr (Bytes > 16) {
    struct {
      typename Vector<T, Bytes / 2>::type low, high;
    } halves;
    std::memcpy(&halves, &v, sizeof v);
    return halved_sum<T, Bytes / 2>(halves.low + halves.high);
  } else if constexpr (sizeof(T) == 4) {
    return (v[0] + v[2]) + (v[1] + v[3]);
  } else {
    return v[0] + v[1];
  }
}
}  // namespace detail

/// The sum of the elements, pairwise.
template <class T>
T sum(Pack<T> a) {
  return detail::halved_sum<T, vector_bytes>(a.v);
}

/// The largest element; that of the others if some are NaN.
template <class T>
T max(Pack<T> a) {
  T result = -std::numeric_limits<T>::infinity();
  for (Index i = 0; i < width<T>; ++i) result = a.v[i] > result ? a.v[i] : result;
  return result;
}

/// A scalar function on each element.
template <class T, class F>
Pack<T> each(Pack<T> a, F f) {
  for (Index i = 0; i < width<T>; ++i) a.v[i] = f(a.v[i]);
  return a;
}

/// c[0] x^n + c[1] x^(n-1) + ... + c[n] by Horner's rule.
template <class T, class... Rest>
Pack<T> polynomial(Pack<T> x, std::type_identity_t<Pack<T>> first, Rest... rest) {
  ((first = multiply_add(first, x, Pack<T>(static_cast<T>(rest)))), ...);
  return first;
}

/// e^x. Single precision: Cephes' expf (Moshier), within 2 units in the last place; double: std::exp.
template <class T>
Pack<T> exp(Pack<T> x) {
  if constexpr (sizeof(T) == 4) {
    using Int = typename Pack<T>::Mask;
    x = min(max(x, T(-104)), T(89));                                          // beyond, the result is 0 or infinity
    const Pack<T> scaled = select(x == x, x, T(0)) * T(1.44269504088896341);  // a NaN has no integer part
    const Int n = __builtin_convertvector((scaled + select(scaled < Pack<T>(T(0)), Pack<T>(T(-0.5)), T(0.5))).v, Int);
    const Pack<T> whole = __builtin_convertvector(n, typename Pack<T>::Native);
    const Pack<T> r = x - whole * T(0.693359375) - whole * T(-2.12194440e-4);
    const Pack<T> p = polynomial(r, T(1.9875691500e-4), T(1.3981999507e-3), T(8.3334519073e-3), T(4.1665795894e-2),
                                 T(1.6666665459e-1), T(5.0000001201e-1));
    const auto power = [](Int k) {  // 2^k
      const Int bits = (k + 127) << 23;
      Pack<T> result;
      std::memcpy(&result, &bits, sizeof bits);
      return result;
    };
    const Int half = n >> 1;  // in two steps, since 2^n itself may overflow where the result does not
    return (p * r * r + r + T(1)) * power(half) * power(n - half);
  } else {
    return each(x, [](T value) { return std::exp(value); });
  }
}

/// 1 / (1 + e^-x).
template <class T>
Pack<T> sigmoid(Pack<T> x) {
  return Pack<T>(T(1)) / (exp(-x) + T(1));
}

/// Hyperbolic tangent; single precision after Cephes' tanhf.
template <class T>
Pack<T> tanh(Pack<T> x) {
  if constexpr (sizeof(T) == 4) {
    const Pack<T> z = x * x;
    const Pack<T> small = polynomial(z, T(-5.70498872745e-3), T(2.06390887954e-2), T(-5.37397155531e-2),
                                     T(1.33314422036e-1), T(-3.33332819422e-1)) *
                              z * x +
                          x;
    const Pack<T> a = abs(x);
    const Pack<T> large = Pack<T>(T(1)) - Pack<T>(T(2)) / (exp(a + a) + T(1));
    return select(a < Pack<T>(T(0.625)), small, select(x < Pack<T>(T(0)), -large, large));
  } else {
    return each(x, [](T value) { return std::tanh(value); });
  }
}

/// The error function; single precision after Cephes' erff and erfcf.
template <class T>
Pack<T> erf(Pack<T> x) {
  if constexpr (sizeof(T) == 4) {
    const Pack<T> z = x * x;
    const Pack<T> small = x * polynomial(z, T(7.853861353153693e-5), T(-8.010193625184903e-4), T(5.188327685732524e-3),
                                         T(-2.685381193529856e-2), T(1.128358514861418e-1), T(-3.761262582423300e-1),
                                         T(1.128379165726710));
    const Pack<T> a = max(abs(x), T(1));  // the other branch; kept where it is finite
    const Pack<T> q = Pack<T>(T(1)) / a;
    const Pack<T> y = q * q;
    const Pack<T> middle = polynomial(y, T(2.326819970068386e-2), T(-1.387039388740657e-1), T(3.687424674597105e-1),
                                      T(-5.824733027278666e-1), T(6.210004621745983e-1), T(-4.944515323274145e-1),
                                      T(3.404879937665872e-1), T(-2.741127028184656e-1), T(5.638259427386472e-1));
    const Pack<T> far =
        polynomial(y, T(-1.047766399936249e+1), T(1.297719955372516e+1), T(-7.495518717768503), T(2.921019019210786),
                   T(-1.015265279202700), T(4.218463358204948e-1), T(-2.820767439740514e-1), T(5.641895067754075e-1));
    const Pack<T> large = Pack<T>(T(1)) - exp(-z) * q * select(a < Pack<T>(T(2)), middle, far);
    return select(abs(x) <= Pack<T>(T(1)), small, select(x < Pack<T>(T(0)), -large, large));
  } else {
    return each(x, [](T value) { return std::erf(value); });
  }
}

namespace detail {
template <class Int, Int... I>
auto lanes(std::integer_sequence<Int, I...>) {
  return typename Vector<Int>::type{I...};
}
}  // namespace detail

/// 0, 1, 2, ...: the position of each element, to compare with.
template <class T>
typename Pack<T>::Mask lanes() {
  using Int = detail::IntegerOf<T>;
  return detail::lanes<Int>(std::make_integer_sequence<Int, static_cast<Int>(width<T>)>{});
}

/// Stores integers that fit into the narrower type To.
template <class T, class To>
void store_narrow(typename detail::Vector<detail::IntegerOf<T>>::type values, To* p) {
  typedef To Narrow __attribute__((vector_size(vector_bytes / sizeof(T) * sizeof(To))));
  const Narrow narrow = __builtin_convertvector(values, Narrow);
  std::memcpy(p, &narrow, sizeof narrow);
}

namespace detail {
template <class T, int... I>
Pack<T> shuffle(Pack<T> a, Pack<T> b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a.v, b.v, I...);
}
/// The integers first, first + step, ... for I = 0, 1, ...; and those of an interleaving of two halves.
template <int First, int Step, int... I>
auto strided(std::integer_sequence<int, I...>) {
  return std::integer_sequence<int, First + Step * I...>{};
}
template <int First, int Width, int... I>
auto alternating(std::integer_sequence<int, I...>) {
  return std::integer_sequence<int, First + I / 2 + I % 2 * Width...>{};
}
template <class T>
using Lanes = std::make_integer_sequence<int, static_cast<int>(width<T>)>;
}  // namespace detail

/// Of the 2 * width elements a, b: those at even positions; those at odd positions.
template <class T>
Pack<T> even(Pack<T> a, Pack<T> b) {
  return detail::shuffle(a, b, detail::strided<0, 2>(detail::Lanes<T>{}));
}
template <class T>
Pack<T> odd(Pack<T> a, Pack<T> b) {
  return detail::shuffle(a, b, detail::strided<1, 2>(detail::Lanes<T>{}));
}
/// The first and the second half of a[0], b[0], a[1], b[1], ...
template <class T>
Pack<T> interleave_low(Pack<T> a, Pack<T> b) {
  return detail::shuffle(a, b, detail::alternating<0, static_cast<int>(width<T>)>(detail::Lanes<T>{}));
}
template <class T>
Pack<T> interleave_high(Pack<T> a, Pack<T> b) {
  return detail::shuffle(
      a, b, detail::alternating<static_cast<int>(width<T> / 2), static_cast<int>(width<T>)>(detail::Lanes<T>{}));
}

}  // namespace lamina::simd
