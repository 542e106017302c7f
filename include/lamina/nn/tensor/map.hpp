#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <string_view>
#include <utility>

#include "lamina/core/numbers.hpp"
#include "lamina/kernels/elementwise.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

/// Functions of one number x, with up to two constants a and b. Those that are steps have a derivative of zero.
enum class Function {
  abs,
  neg,
  reciprocal,
  sqrt,
  exp,
  log,
  erf,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  asinh,
  acosh,
  atanh,
  sign,
  floor,
  ceil,
  round,     ///< to the nearest whole number, halves to the even one
  truncate,  ///< towards zero
  logical_not,
  softsign,      ///< x / (1 + |x|)
  selu,          ///< b x, for x < 0 b a (e^x - 1)
  celu,          ///< x, for x < 0 a (e^(x / a) - 1)
  threshold,     ///< x where x > a, else 0
  hard_sigmoid,  ///< a x + b, in [0, 1]
  clamp,         ///< x, in [a, b]
  shrink         ///< x - b for x > a, x + b for x < -a, else 0
};

namespace detail {

/// A function's name and definition, and its derivative where x lies.
template <class Scalar>
struct FunctionRow {
  const char* name;
  Scalar (*value)(Scalar x, Scalar a, Scalar b);
  Scalar (*slope)(Scalar x, Scalar a, Scalar b);
};

/// Halves to the even number, whatever the rounding mode of the processor.
template <class Scalar>
Scalar rounded(Scalar x) {
  const Scalar down = std::floor(x), rest = x - down;
  const bool up = rest > Scalar(0.5) || (rest == Scalar(0.5) && std::fmod(down, Scalar(2)) != 0);
  return up ? down + 1 : down;
}

template <class Scalar>
const FunctionRow<Scalar>& row_of(Function function) {
  using S = Scalar;
  constexpr auto flat = [](S, S, S) { return S(0); };
  static const std::array<FunctionRow<S>, 31> rows{{
      {"abs", [](S x, S, S) { return std::abs(x); }, [](S x, S, S) { return S((x > 0) - (x < 0)); }},
      {"neg", [](S x, S, S) { return -x; }, [](S, S, S) { return S(-1); }},
      {"reciprocal", [](S x, S, S) { return 1 / x; }, [](S x, S, S) { return -1 / (x * x); }},
      {"sqrt", [](S x, S, S) { return std::sqrt(x); }, [](S x, S, S) { return S(0.5) / std::sqrt(x); }},
      {"exp", [](S x, S, S) { return std::exp(x); }, [](S x, S, S) { return std::exp(x); }},
      {"log", [](S x, S, S) { return std::log(x); }, [](S x, S, S) { return 1 / x; }},
      {"erf", [](S x, S, S) { return std::erf(x); },
       [](S x, S, S) { return 2 * std::numbers::inv_sqrtpi_v<S> * std::exp(-x * x); }},
      {"sin", [](S x, S, S) { return std::sin(x); }, [](S x, S, S) { return std::cos(x); }},
      {"cos", [](S x, S, S) { return std::cos(x); }, [](S x, S, S) { return -std::sin(x); }},
      {"tan", [](S x, S, S) { return std::tan(x); }, [](S x, S, S) { return 1 + std::tan(x) * std::tan(x); }},
      {"asin", [](S x, S, S) { return std::asin(x); }, [](S x, S, S) { return 1 / std::sqrt(1 - x * x); }},
      {"acos", [](S x, S, S) { return std::acos(x); }, [](S x, S, S) { return -1 / std::sqrt(1 - x * x); }},
      {"atan", [](S x, S, S) { return std::atan(x); }, [](S x, S, S) { return 1 / (1 + x * x); }},
      {"sinh", [](S x, S, S) { return std::sinh(x); }, [](S x, S, S) { return std::cosh(x); }},
      {"cosh", [](S x, S, S) { return std::cosh(x); }, [](S x, S, S) { return std::sinh(x); }},
      {"asinh", [](S x, S, S) { return std::asinh(x); }, [](S x, S, S) { return 1 / std::sqrt(x * x + 1); }},
      {"acosh", [](S x, S, S) { return std::acosh(x); }, [](S x, S, S) { return 1 / std::sqrt(x * x - 1); }},
      {"atanh", [](S x, S, S) { return std::atanh(x); }, [](S x, S, S) { return 1 / (1 - x * x); }},
      {"sign", [](S x, S, S) { return S((x > 0) - (x < 0)); }, flat},
      {"floor", [](S x, S, S) { return std::floor(x); }, flat},
      {"ceil", [](S x, S, S) { return std::ceil(x); }, flat},
      {"round", [](S x, S, S) { return rounded(x); }, flat},
      {"truncate", [](S x, S, S) { return std::trunc(x); }, flat},
      {"logical_not", [](S x, S, S) { return S(x == 0); }, flat},
      {"softsign", [](S x, S, S) { return x / (1 + std::abs(x)); },
       [](S x, S, S) { return 1 / ((1 + std::abs(x)) * (1 + std::abs(x))); }},
      {"selu", [](S x, S a, S b) { return b * (x < 0 ? a * std::expm1(x) : x); },
       [](S x, S a, S b) { return b * (x < 0 ? a * std::exp(x) : S(1)); }},
      {"celu", [](S x, S a, S) { return x < 0 ? a * std::expm1(x / a) : x; },
       [](S x, S a, S) { return x < 0 ? std::exp(x / a) : S(1); }},
      {"threshold", [](S x, S a, S) { return x > a ? x : S(0); }, [](S x, S a, S) { return S(x > a); }},
      {"hard_sigmoid", [](S x, S a, S b) { return std::max(S(0), std::min(S(1), a * x + b)); },
       [](S x, S a, S b) { return a * x + b > 0 && a * x + b < 1 ? a : S(0); }},
      {"clamp", [](S x, S a, S b) { return x < a   ? (a > b ? b : a)
                                           : x > b ? b
                                                   : x; },
       [](S x, S a, S b) { return S(x >= a && x <= b); }},
      {"shrink", [](S x, S a, S b) { return x > a    ? x - b
                                            : x < -a ? x + b
                                                     : S(0); },
       [](S x, S a, S) { return S(x > a || x < -a); }},
  }};
  return rows[static_cast<std::size_t>(function)];
}

}  // namespace detail

/// y = f(x), elementwise, for inputs of any shape: Map(Function::exp), Map(Function::clamp, -1, 1).
template <class Scalar = float>
class Map : public Layer<Map<Scalar>, Scalar> {
 public:
  /// a and b are the function's own numbers, where it has any.
  explicit Map(Function function, double a = 0, double b = 0)
      : function_(function), a_(static_cast<Scalar>(a)), b_(static_cast<Scalar>(b)) {}

  Fields fields() const override {
    return Fields("Map").argument("function", row().name).argument("a", a_).argument("b", b_);
  }
  Locality locality() const override { return Locality::element; }

  /// What it was made with.
  /// @{
  Function function() const { return function_; }
  Scalar a() const { return a_; }
  Scalar b() const { return b_; }
  /// @}

 private:
  const detail::FunctionRow<Scalar>& row() const { return detail::row_of<Scalar>(function_); }

  /// out[i] = f(i).
  template <class F>
  static void each(Index n, Scalar* out, F f) {
    parallel_for(0, n, kernels::stream_grain / 4, [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) out[i] = f(i);
    });
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    const Scalar* const in = std::as_const(x).data();
    Tensor<Scalar> y = x.exclusive() ? std::move(x) : Tensor<Scalar>(x.shape());
    each(y.numel(), y.data(), [&, f = row().value](Index i) { return f(in[i], a_, b_); });
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x);
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [x] = tape.template pop<Tensor<Scalar>>();
    const Scalar *const in = x.data(), *const gradient = std::as_const(dy).data();
    Tensor<Scalar> dx(x.shape());
    each(x.numel(), dx.data(), [&, f = row().slope](Index i) { return f(in[i], a_, b_) * gradient[i]; });
    return dx;
  }

  Function function_;
  Scalar a_, b_;
};

}  // namespace lamina::inline LAMINA_ABI
