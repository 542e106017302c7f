#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "lamina/core/numbers.hpp"
#include "lamina/core/parallel.hpp"

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>  // a fifth of immintrin.h's compile time, and Eigen includes it anyway
#endif

// With -ffast-math Clang leaves this header's arithmetic and comparisons as they stand (not for WebAssembly, where it
// has no such pragma); what GCC needs is at rounded(), detail::as_it_stands() and is_nan().
#if defined(__wasm__) && defined(__FAST_MATH__)
#error "Lamina for WebAssembly is compiled without -ffast-math"
#elif defined(__clang__) && !defined(__wasm__)
#pragma float_control(precise, on, push)
#endif

/// for (int i = 0; i < n; ++i) for a constant n, unrolled whole (by GCC from -O2 or -Os on): simd::Registers indexed by
/// i lie in registers. (A function of a lambda does it too, and takes three times as long to compile.)
#if defined(__clang__)
#define LAMINA_UNROLL(i, n) _Pragma("clang loop unroll(full)") for (int i = 0; i < static_cast<int>(n); ++i)
#else
#define LAMINA_UNROLL(i, n) _Pragma("GCC unroll 1024") for (int i = 0; i < static_cast<int>(n); ++i)
#endif

/// Vectors at the width of the compile target, through GCC's and Clang's vector extensions. The only header that knows
/// about SIMD: AVX-512, AVX2, SSE2 and NEON come from the same source, and where the target has none the compiler
/// emits scalar code.
namespace lamina::simd::inline LAMINA_ISA {

/// Bytes of a vector.
inline constexpr Index vector_bytes = LAMINA_VECTOR_BYTES;

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

/// n rounded up to whole vectors.
template <class T>
constexpr Index whole_vectors(Index n) {
  return parts_of(n, width<T>) * width<T>;
}

/// f(i) for every whole vector from `first` on, then f(i, n) for the n < width values that are left before `last`, if
/// there are any: f takes (Index i, auto... partial), and hands `partial` on to Pack::load and store.
template <class T, class F>
__attribute__((always_inline)) inline void for_each_vector(Index first, Index last, const F& f) {
  Index i = first;
  for (; i + width<T> <= last; i += width<T>) f(i);
  if (i < last) f(i, last - i);
}

/// One vector of T with elementwise arithmetic; a scalar operand is broadcast.
template <class T>
struct Pack {
  using value_type = T;                                              ///< the type of an element
  using Native = typename detail::Vector<T>::type;                   ///< the compiler's vector
  using Mask = typename detail::Vector<detail::IntegerOf<T>>::type;  ///< of comparisons: all bits of a lane, or none

  Native v;  ///< the elements

  Pack() = default;
  /// A vector, or one value in all lanes.
  /// @{
  Pack(Native native) : v(native) {}
  Pack(T value) : v(value - Native{}) {}
  /// @}

  /// One vector from memory, of any alignment.
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
  /// To memory, of any alignment.
  void store(T* p) const { std::memcpy(p, &v, sizeof(Native)); }
  /// The first n elements to memory.
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

  /// Element i.
  T operator[](Index i) const { return v[i]; }

  /// Elementwise.
  /// @{
  Pack& operator+=(Pack b) { return v += b.v, *this; }
  Pack& operator-=(Pack b) { return v -= b.v, *this; }
  Pack& operator*=(Pack b) { return v *= b.v, *this; }
  friend Pack operator+(Pack a, Pack b) { return a.v + b.v; }
  friend Pack operator-(Pack a, Pack b) { return a.v - b.v; }
  friend Pack operator*(Pack a, Pack b) { return a.v * b.v; }
  friend Pack operator/(Pack a, Pack b) { return a.v / b.v; }
  friend Pack operator-(Pack a) { return -a.v; }
  /// @}
  /// Elementwise; a comparison with a NaN is false.
  /// @{
  friend Mask operator<(Pack a, Pack b) { return a.v < b.v; }
  friend Mask operator>(Pack a, Pack b) { return a.v > b.v; }
  friend Mask operator<=(Pack a, Pack b) { return a.v <= b.v; }
  friend Mask operator>=(Pack a, Pack b) { return a.v >= b.v; }
  friend Mask operator==(Pack a, Pack b) { return a.v == b.v; }
  /// @}
};

/// N values, vectors or pointers, that lie in registers where LAMINA_UNROLL's loops index them: std::array's aggregate
/// with signed indices.
template <class V, int N>
struct Registers {
  V values[N];  ///< the values

  /// Value i.
  /// @{
  V& operator[](Index i) { return values[i]; }
  const V& operator[](Index i) const { return values[i]; }
  /// @}
};

/// N vectors of one value, for sums: the compiler holds each in a register. (Of std::array::fill GCC makes a loop over
/// memory, and may leave the sums there.)
template <int N, class T>
[[gnu::always_inline]] inline Registers<Pack<T>, N> filled(Pack<T> value) {
  Registers<Pack<T>, N> result;
  LAMINA_UNROLL(i, N) result[i] = value;
  return result;
}

/// a * b + c, fused where the target can. By instruction where there is one: left to themselves compilers fuse in some
/// loops and not in others, so that an element's bits would depend on the kernel, and with it on the sizes of a batch.
/// Else as one expression, since Clang does not fuse across functions.
template <class T>
Pack<T> multiply_add(Pack<T> a, std::type_identity_t<Pack<T>> b, std::type_identity_t<Pack<T>> c) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return _mm512_fmadd_ps(a.v, b.v, c.v);
  if constexpr (std::is_same_v<T, double>) return _mm512_fmadd_pd(a.v, b.v, c.v);
#elif defined(__FMA__)
  if constexpr (std::is_same_v<T, float>) return _mm256_fmadd_ps(a.v, b.v, c.v);
  if constexpr (std::is_same_v<T, double>) return _mm256_fmadd_pd(a.v, b.v, c.v);
#endif
  return a.v * b.v + c.v;
}

namespace detail {
/// A vector, of which the compiler knows no longer where it comes from.
template <class V>
V opaque(V v) {
#if defined(__SSE2__)
  asm("" : "+v"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#else
  asm("" : "+m"(v));
#endif
  return v;
}
}  // namespace detail

/// a, from here on in a register: of a vector that was loaded for a few uses GCC makes a load at each of them.
template <class T>
Pack<T> held(Pack<T> a) {
#if defined(__SSE2__) || defined(__aarch64__)
  return detail::opaque(a.v);
#else
  return a;
#endif
}

/// a, rounded as it is here: compilers that may rearrange arithmetic (-ffast-math, -fassociative-math) do not look
/// through, so that (a + b) - b is not taken for a.
template <class T>
Pack<T> rounded(Pack<T> a) {
  return detail::opaque(a.v);
}

/// mask ? a : b, elementwise.
template <class T>
Pack<T> select(typename Pack<T>::Mask mask, Pack<T> a, std::type_identity_t<Pack<T>> b) {
  return mask ? a.v : b.v;
}
namespace detail {
/// A comparison's result that is used as it stands. Where compilers may assume that there is no NaN
/// (-ffinite-math-only, in -ffast-math) they would make an instruction for the maximum of a comparison and a choice,
/// with the operands in any order, and the place of a NaN counts.
template <class Mask>
Mask as_it_stands(Mask mask) {
#if __FINITE_MATH_ONLY__
  return opaque(mask);
#else
  return mask;
#endif
}
}  // namespace detail

/// The larger and the smaller; a NaN in a stays, one in b is dropped.
template <class T>
Pack<T> max(Pack<T> a, std::type_identity_t<Pack<T>> b) {
  return detail::as_it_stands(a.v < b.v) ? b.v : a.v;
}
/// See max.
template <class T>
Pack<T> min(Pack<T> a, std::type_identity_t<Pack<T>> b) {
  return detail::as_it_stands(a.v > b.v) ? b.v : a.v;
}
namespace detail {
/// The bits of a vector of T as integers, and back.
template <class T>
typename Pack<T>::Mask bits(Pack<T> a) {
  return (typename Pack<T>::Mask)a.v;
}
template <class T>
Pack<T> from_bits(typename Pack<T>::Mask a) {
  return (typename Pack<T>::Native)a;
}
/// How T is stored: the bits of the fraction, the offset of the exponent.
template <class T>
inline constexpr int fraction_bits = std::numeric_limits<T>::digits - 1;
template <class T>
inline constexpr int exponent_bias = std::numeric_limits<T>::max_exponent - 1;
template <class T>
inline constexpr IntegerOf<T> sign_bit = std::numeric_limits<IntegerOf<T>>::min();
template <class T>
inline constexpr IntegerOf<T> infinity_bits = lamina::bit_cast<IntegerOf<T>>(std::numeric_limits<T>::infinity());
}  // namespace detail

/// |a|.
template <class T>
Pack<T> abs(Pack<T> a) {
  return detail::from_bits<T>(detail::bits(a) & ~detail::sign_bit<T>);
}
/// Where a is NaN. By its bits where compilers take a != a for false.
template <class T>
typename Pack<T>::Mask is_nan(Pack<T> a) {
#if __FINITE_MATH_ONLY__
  return detail::bits(abs(a)) > detail::infinity_bits<T>;
#else
  return a.v != a.v;
#endif
}
/// |a| with the sign of b.
template <class T>
Pack<T> copysign(Pack<T> a, Pack<T> b) {
  constexpr auto sign = detail::sign_bit<T>;
  return detail::from_bits<T>((detail::bits(a) & ~sign) | (detail::bits(b) & sign));
}
/// Correctly rounded. By intrinsics: compilers do not vectorise std::sqrt, because it may set errno.
template <class T>
Pack<T> sqrt(Pack<T> a) {
#if defined(__AVX512F__)
  constexpr __mmask16 every = 0xffff;  // GCC 12 warns of a value left undefined in the form without a mask
  if constexpr (sizeof(T) == 4)
    return typename Pack<T>::Native(_mm512_maskz_sqrt_ps(every, a.v));
  else
    return typename Pack<T>::Native(_mm512_maskz_sqrt_pd(static_cast<__mmask8>(every), a.v));
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
/// The elements joined pairwise: half with half, and so on.
template <class T, Index Bytes, class F>
T halve(typename Vector<T, Bytes>::type v, F join) {
  if constexpr (Bytes > 16) {
    struct {
      typename Vector<T, Bytes / 2>::type low, high;
    } halves;
    std::memcpy(&halves, &v, sizeof v);
    return halve<T, Bytes / 2>(join(halves.low, halves.high), join);
  } else if constexpr (sizeof(T) == 4) {
    return join(join(v[0], v[2]), join(v[1], v[3]));
  } else {
    return join(v[0], v[1]);
  }
}
}  // namespace detail

/// The sum of the elements, pairwise.
template <class T>
T sum(Pack<T> a) {
  return detail::halve<T, vector_bytes>(a.v, [](auto x, auto y) { return x + y; });
}

/// The largest element; that of the others if some are NaN, -infinity if all are.
template <class T>
T max(Pack<T> a) {
  a = select(is_nan(a), Pack<T>(-std::numeric_limits<T>::infinity()), a);
  return detail::halve<T, vector_bytes>(a.v, [](auto x, auto y) { return x < y ? y : x; });
}

/// c[0] x^n + c[1] x^(n-1) + ... + c[n] by Horner's rule.
template <class T, class First, class... Rest>
Pack<T> polynomial(Pack<T> x, First first, Rest... rest) {
  Pack<T> result(static_cast<T>(first));
  ((result = multiply_add(result, x, Pack<T>(static_cast<T>(rest)))), ...);
  return result;
}

// The functions below are for any argument: infinities, NaN, denormal numbers and results. Their largest errors, in
// units in the last place (ulp), were measured in the next wider type on every eighth single-precision number and on a
// hundred million of double precision; tests/kernels/test_simd.cpp repeats it on fewer.

namespace detail {
/// e^x = 2^k (p + 1), |p| < 0.42, the power as a product of two, since it may overflow or vanish where e^x does not.
template <class T>
struct Exponential {
  Pack<T> p, first, second, inverse;  // 1 / second

  /// 2^k, for k that is stored as a number's exponent.
  static Pack<T> power(typename Pack<T>::Mask k) { return from_bits<T>((k + exponent_bias<T>) << fraction_bits<T>); }

  /// By e^x = 2^k e^r, |r| <= log(2) / 2, and e^r by its Taylor series, in single precision by the minimax polynomial
  /// of Cephes' expf (Moshier).
  [[gnu::always_inline]] explicit Exponential(Pack<T> x) {
    using Limits = std::numeric_limits<T>;
    constexpr bool single = sizeof(T) == 4;
    // Beyond, the result is 0 or infinity.
    x = min(max(x, T(single ? -104 : -746)), T(single ? 89 : 710));
    // Adding 1.5 * 2^23 (2^52) rounds to an integer, and leaves it in the low bits.
    constexpr T shift = T(3) / Limits::epsilon() / 2;
    const Pack<T> shifted = rounded(multiply_add(x, T(1.44269504088896340736), shift)), n = shifted - shift;
    constexpr T log2_high = single ? T(0.693359375) : T(6.93145751953125e-1);  // few bits, so that n times it is exact
    constexpr T log2_low = single ? T(-2.12194440e-4) : T(1.42860682030941723212e-6);
    const Pack<T> r = multiply_add(n, -log2_low, rounded(multiply_add(n, -log2_high, x)));
    if constexpr (single)
      p = polynomial(r, 1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
                     5.0000001201e-1);
    else
      p = polynomial(r, 1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                     1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5);
    p = multiply_add(p * r, r, r);
    using Int = typename Pack<T>::Mask;
    const Int k = bits(shifted) - bits(Pack<T>(shift)), half = k >> 1;
    first = power(half);
    second = power(k - half);
    inverse = power(half - k);
  }
};
}  // namespace detail

/// e^x, within 1.02 ulp.
template <class T>
[[gnu::always_inline]] inline Pack<T> exp(Pack<T> x) {
  const detail::Exponential<T> e(x);
  return rounded((e.p + T(1)) * e.first) * e.second;
}

/// e^x - 1, within 2 ulp, also where it is nearly 0.
template <class T>
[[gnu::always_inline]] inline Pack<T> expm1(Pack<T> x) {
  const detail::Exponential<T> e(x);
  return rounded(multiply_add(e.p, e.first, rounded(e.first - e.inverse))) * e.second;
}

/// The natural logarithm, within 0.84 ulp; NaN for x < 0. After fdlibm's log (Sun Microsystems 1993): x = 2^k (1 + f),
/// sqrt(1/2) <= 1 + f < sqrt(2), s = f / (2 + f), log(1 + f) = 2 artanh(s).
template <class T>
[[gnu::always_inline]] inline Pack<T> log(Pack<T> x) {
  using Limits = std::numeric_limits<T>;
  using Int = typename Pack<T>::Mask;
  using Bits = detail::IntegerOf<T>;
  constexpr bool single = sizeof(T) == 4;
  constexpr T scale = T(1) / Limits::epsilon();
  const Pack<T> a = abs(x);
  const auto denormal = a < Pack<T>(Limits::min());
  const Int number = detail::bits(select(denormal, a * scale, a));
  // Subtracting sqrt(1/2)'s bits makes the exponent change at it.
  const Bits root = single ? Bits(0x3f3504f3) : static_cast<Bits>(0x3fe6a09e667f3bcd);
  const Int from_root = number - root, k = from_root >> detail::fraction_bits<T>;
  const Int fraction = from_root & ((Bits(1) << detail::fraction_bits<T>)-1);
  const Pack<T> f = detail::from_bits<T>(fraction + root) - Pack<T>(T(1));
  // k as a number, by the bits of 1.5 * 2^23 + k.
  constexpr T shift = T(3) / Limits::epsilon() / 2;
  Pack<T> n = detail::from_bits<T>(k + detail::bits(Pack<T>(shift))) - Pack<T>(shift);
  n -= select(denormal, Pack<T>(T(detail::fraction_bits<T>)), T(0));
  const Pack<T> s = f / (f + T(2)), z = s * s, half_square = f * f * T(0.5);
  Pack<T> rest;
  if constexpr (single)
    rest = polynomial(z, 0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693);
  else
    rest = polynomial(z, 1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
                      2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
                      6.666666666666735130e-01);
  constexpr T log2_high = single ? T(6.9313812256e-01) : T(6.93147180369123816490e-01);
  constexpr T log2_low = single ? T(9.0580006145e-06) : T(1.90821492927058770002e-10);
  const Pack<T> tail = rounded(multiply_add(s, multiply_add(z, rest, half_square), n * Pack<T>(log2_low)));
  Pack<T> result = multiply_add(n, log2_high, f - (half_square - tail));
  result = select(detail::bits(x) < Int{}, Pack<T>(Limits::quiet_NaN()), result);
  result = select(x == Pack<T>(T(0)), Pack<T>(-Limits::infinity()), result);
  return select(detail::bits(x) < detail::infinity_bits<T>, result, x);  // infinity and NaN
}

/// 1 / (1 + e^-x), within 2.41 ulp, also where it is nearly 0.
template <class T>
[[gnu::always_inline]] inline Pack<T> sigmoid(Pack<T> x) {
  const Pack<T> e = exp(-abs(x));
  return select(x < Pack<T>(T(0)), e, T(1)) / (e + T(1));
}

/// Hyperbolic tangent, within 1.33 ulp. After Cephes' tanhf and tanh.
template <class T>
[[gnu::always_inline]] inline Pack<T> tanh(Pack<T> x) {
  const Pack<T> a = abs(x), z = x * x;
  Pack<T> small;
  if constexpr (sizeof(T) == 4)
    small = polynomial(z, -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1);
  else
    small = polynomial(z, -9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3) /
            polynomial(z, 1, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3);
  small = multiply_add(small * z, a, a);
  // Bounded where the result is 1: an approximate division (-mrecip, in -ffast-math) by infinity is not 0.
  const Pack<T> large = Pack<T>(T(1)) - Pack<T>(T(2)) / (exp(min(a + a, T(40))) + T(1));
  return copysign(select(a < Pack<T>(T(0.625)), small, large), x);
}

/// The error function, within 2.95 ulp. After Cephes' erff and erfcf, erf and erfc.
template <class T>
Pack<T> erf(Pack<T> x) {
  const Pack<T> z = x * x;
  const Pack<T> a = min(max(abs(x), T(1)), T(6.5));  // where 1 - erfc(a) is used, or 1
  Pack<T> small, tail;                               // erf(x) / x for |x| <= 1, erfc(a) e^(a^2) for a >= 1
  if constexpr (sizeof(T) == 4) {
    small = polynomial(z, 7.853861353153693e-5, -8.010193625184903e-4, 5.188327685732524e-3, -2.685381193529856e-2,
                       1.128358514861418e-1, -3.761262582423300e-1, 1.128379165726710);
    const Pack<T> q = Pack<T>(T(1)) / a, y = q * q;
    const Pack<T> middle = polynomial(y, 2.326819970068386e-2, -1.387039388740657e-1, 3.687424674597105e-1,
                                      -5.824733027278666e-1, 6.210004621745983e-1, -4.944515323274145e-1,
                                      3.404879937665872e-1, -2.741127028184656e-1, 5.638259427386472e-1);
    const Pack<T> far =
        polynomial(y, -1.047766399936249e+1, 1.297719955372516e+1, -7.495518717768503, 2.921019019210786,
                   -1.015265279202700, 4.218463358204948e-1, -2.820767439740514e-1, 5.641895067754075e-1);
    tail = q * select(a < Pack<T>(T(2)), middle, far);
  } else {
    small = polynomial(z, 9.60497373987051638749, 9.00260197203842689217e1, 2.23200534594684319226e3,
                       7.00332514112805075473e3, 5.55923013010394962768e4) /
            polynomial(z, 1, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3,
                       2.26290000613890934246e4, 4.92673942608635921086e4);
    tail = polynomial(a, 2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687,
                      4.86371970985681366614e1, 1.96520832956077098242e2, 5.26445194995477358631e2,
                      9.34528527171957607540e2, 1.02755188689515710272e3, 5.57535335369399327526e2) /
           polynomial(a, 1, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2,
                      9.75708501743205489753e2, 1.82390916687909736289e3, 2.24633760818710981792e3,
                      1.65666309194161350182e3, 5.57535340817727675546e2);
  }
  const Pack<T> large = copysign(Pack<T>(T(1)) - exp(-(a * a)) * tail, x);
  return select(abs(x) >= Pack<T>(T(1)), large, x * small);  // a NaN comes through the second
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

/// Loads integers of a narrower type.
template <class T, class From>
typename Pack<T>::Mask load_wide(const From* p) {
  typedef From Narrow __attribute__((vector_size(vector_bytes / sizeof(T) * sizeof(From))));
  Narrow narrow;
  std::memcpy(&narrow, p, sizeof narrow);
  return __builtin_convertvector(narrow, typename Pack<T>::Mask);
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
/// See even.
template <class T>
Pack<T> odd(Pack<T> a, Pack<T> b) {
  return detail::shuffle(a, b, detail::strided<1, 2>(detail::Lanes<T>{}));
}
/// The first and the second half of a[0], b[0], a[1], b[1], ...
template <class T>
Pack<T> interleave_low(Pack<T> a, Pack<T> b) {
  return detail::shuffle(a, b, detail::alternating<0, static_cast<int>(width<T>)>(detail::Lanes<T>{}));
}
/// See interleave_low.
template <class T>
Pack<T> interleave_high(Pack<T> a, Pack<T> b) {
  return detail::shuffle(
      a, b, detail::alternating<static_cast<int>(width<T> / 2), static_cast<int>(width<T>)>(detail::Lanes<T>{}));
}

/// The transpose of a square of elements, one vector a row.
template <class T>
[[gnu::always_inline]] inline void transpose(Registers<Pack<T>, width<T>>& rows) {
  constexpr int n = static_cast<int>(width<T>);
  constexpr int stages = n == 16 ? 4 : n == 8 ? 3 : n == 4 ? 2 : 1;
  LAMINA_UNROLL(stage, stages) {
    Registers<Pack<T>, n> next;
    LAMINA_UNROLL(i, n / 2) {
      next[2 * i] = interleave_low(rows[i], rows[i + n / 2]);
      next[2 * i + 1] = interleave_high(rows[i], rows[i + n / 2]);
    }
    rows = next;
  }
}

}  // namespace lamina::simd::inline LAMINA_ISA

#if defined(__clang__) && !defined(__wasm__)
#pragma float_control(pop)
#endif
