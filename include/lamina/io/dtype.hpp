#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/core/numbers.hpp"
#include "lamina/core/tensor.hpp"

namespace lamina::inline LAMINA_ABI {

/// A tensor of one of the types that files hold and Lamina uses.
using AnyTensor =
    std::variant<Tensor<float>, Tensor<double>, Tensor<std::int64_t>, Tensor<std::int32_t>, Tensor<std::uint8_t>>;

/// Names and tensors, in order.
using NamedTensors = std::vector<std::pair<std::string, AnyTensor>>;

/// An element type in a file: all that safetensors has. Those from F8_E5M2 on are named only, Lamina does not read
/// them.
enum class DType {
  BOOL,
  U8,
  I8,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  I64,
  U64,
  F64,
  F8_E5M2,
  F8_E4M3,
  F8_E8M0,
  F8_E4M3FNUZ,
  F8_E5M2FNUZ,
  F4,
  F6_E2M3,
  F6_E3M2,
  C64
};

namespace detail {

struct DTypeInfo {
  std::string_view name;  // safetensors'
  std::size_t bits;
};

inline constexpr std::array<DTypeInfo, 22> dtypes{
    {{"BOOL", 8},  {"U8", 8},      {"I8", 8},      {"I16", 16},    {"U16", 16},        {"F16", 16},
     {"BF16", 16}, {"I32", 32},    {"U32", 32},    {"F32", 32},    {"I64", 64},        {"U64", 64},
     {"F64", 64},  {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
     {"F4", 4},    {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"C64", 64}}};

inline const DTypeInfo& info(DType dtype) { return dtypes[static_cast<std::size_t>(dtype)]; }

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return DType::F32;
  else if constexpr (std::is_same_v<T, double>)
    return DType::F64;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return DType::I64;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return DType::I32;
  else {
    static_assert(std::is_same_v<T, std::uint8_t>, "files hold float, double, int64, int32 and uint8");
    return DType::U8;
  }
}

/// The 16-bit patterns of IEEE binary16 and of bfloat16, so that each has a type of its own.
enum class Half : std::uint16_t {};
enum class BFloat : std::uint16_t {};

inline float to_number(BFloat x) { return lamina::bit_cast<float>(static_cast<std::uint32_t>(x) << 16); }
inline float to_number(Half x) {
  const auto bits = static_cast<std::uint32_t>(x);
  const std::uint32_t sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ffu;
  if (exponent == 31) return lamina::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent > 0) return lamina::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float subnormal = static_cast<float>(fraction) * 0x1p-24f;
  return sign ? -subnormal : subnormal;
}
template <class T>
requires std::is_arithmetic_v<T> T to_number(T x) { return x; }

/// Elements of type From at any address, converted.
template <class T, class From>
Tensor<T> convert(const std::uint8_t* bytes, const Shape& shape) {
  Tensor<T> result(shape);
  T* out = result.data();
  for (Index i = 0; i < shape.numel(); ++i) {
    From value;
    std::memcpy(&value, bytes + static_cast<std::size_t>(i) * sizeof(From), sizeof(From));
    out[i] = static_cast<T>(to_number(value));
  }
  return result;
}

/// Whether tensor<T> reads elements of this type: a floating-point T reads F16, BF16, F32 and F64 (which is
/// rounded to a float), an integer T every integer type whose values it holds.
template <class T>
bool readable_as(DType dtype) {
  switch (dtype) {
    case DType::F16:
    case DType::BF16:
    case DType::F32:
    case DType::F64:
      return std::is_floating_point_v<T>;
    case DType::BOOL:
    case DType::U8:
      return std::is_integral_v<T>;
    case DType::I8:
    case DType::I16:
    case DType::U16:
    case DType::I32:
      return std::is_integral_v<T> && sizeof(T) >= 4;
    case DType::U32:
    case DType::I64:
      return std::is_same_v<T, std::int64_t>;
    default:
      return false;
  }
}

/// The tensor with these little-endian elements; readable_as<T>(dtype) must hold. Without conversion, and if they are
/// aligned and keep_alive is given, it lies over the bytes.
template <class T>
Tensor<T> to_tensor(const std::uint8_t* bytes, DType dtype, const Shape& shape,
                    std::shared_ptr<const void> keep_alive = nullptr) {
  if (dtype == dtype_of<T>()) {
    if (keep_alive && reinterpret_cast<std::uintptr_t>(bytes) % alignof(T) == 0)
      return Tensor<T>::wrap(reinterpret_cast<const T*>(bytes), shape, std::move(keep_alive));
    return convert<T, T>(bytes, shape);
  }
  if constexpr (std::is_floating_point_v<T>) {
    switch (dtype) {
      case DType::F16:
        return convert<T, Half>(bytes, shape);
      case DType::BF16:
        return convert<T, BFloat>(bytes, shape);
      case DType::F32:
        return convert<T, float>(bytes, shape);
      default:
        return convert<T, double>(bytes, shape);
    }
  } else {
    switch (dtype) {
      case DType::I8:
        return convert<T, std::int8_t>(bytes, shape);
      case DType::I16:
        return convert<T, std::int16_t>(bytes, shape);
      case DType::U16:
        return convert<T, std::uint16_t>(bytes, shape);
      case DType::I32:
        return convert<T, std::int32_t>(bytes, shape);
      case DType::U32:
        return convert<T, std::uint32_t>(bytes, shape);
      default:
        return convert<T, std::uint8_t>(bytes, shape);
    }
  }
}

/// The type of AnyTensor nearest to a file's, as a value: f(float{}), f(std::int64_t{}), ... U64 has none, nor has
/// what is named only.
template <class F>
AnyTensor nearest(DType dtype, F f) {
  switch (dtype) {
    case DType::BOOL:
    case DType::U8:
      return f(std::uint8_t{});
    case DType::I8:
    case DType::I16:
    case DType::U16:
    case DType::I32:
      return f(std::int32_t{});
    case DType::U32:
    case DType::I64:
    case DType::U64:
      return f(std::int64_t{});
    case DType::F64:
      return f(double{});
    default:
      return f(float{});
  }
}

template <class T>
std::span<const std::uint8_t> bytes_of(const Tensor<T>& tensor) {
  return {reinterpret_cast<const std::uint8_t*>(tensor.data()), static_cast<std::size_t>(tensor.numel()) * sizeof(T)};
}

}  // namespace detail

static_assert(std::endian::native == std::endian::little, "lamina/io reads and writes little-endian files in place");

}  // namespace lamina::inline LAMINA_ABI
