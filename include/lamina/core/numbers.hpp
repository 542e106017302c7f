#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

namespace lamina {

/// std::bit_cast, for standard libraries that lack it (libc++ before 14, that of Emscripten 3.1.6).
template <class To, class From>
constexpr To bit_cast(const From& from) noexcept {
  static_assert(sizeof(To) == sizeof(From) && std::is_trivially_copyable_v<To> && std::is_trivially_copyable_v<From>);
  return __builtin_bit_cast(To, from);
}

namespace core_detail {
/// x without its sign, as it is stored.
template <class T>
constexpr auto magnitude_bits(T x) {
  static_assert(std::numeric_limits<T>::is_iec559 && (sizeof(T) == 4 || sizeof(T) == 8));
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  return bit_cast<Bits>(x) & (~Bits(0) >> 1);
}
}  // namespace core_detail

/// What std::isnan, std::isinf and std::isfinite compute, by the bits: with -ffast-math (its -ffinite-math-only)
/// compilers take those for constants.
template <class T>
constexpr bool is_nan(T x) {
  return core_detail::magnitude_bits(x) > core_detail::magnitude_bits(std::numeric_limits<T>::infinity());
}
/// Whether x is an infinity, of either sign.
template <class T>
constexpr bool is_infinite(T x) {
  return core_detail::magnitude_bits(x) == core_detail::magnitude_bits(std::numeric_limits<T>::infinity());
}
/// Whether x is neither a NaN nor an infinity.
template <class T>
constexpr bool is_finite(T x) {
  return core_detail::magnitude_bits(x) < core_detail::magnitude_bits(std::numeric_limits<T>::infinity());
}

/// 1234567 as "1,234,567".
inline std::string with_commas(std::ptrdiff_t n) {
  std::string digits = std::to_string(n);
  for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3) digits.insert(digits.begin() + i, ',');
  return digits;
}

}  // namespace lamina
