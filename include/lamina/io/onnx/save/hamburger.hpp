#pragma once

#include <cmath>

#include "lamina/io/onnx/save/exporter.hpp"
#include "lamina/nn/hamburger/cd.hpp"
#include "lamina/nn/hamburger/nmf.hpp"
#include "lamina/nn/hamburger/vq.hpp"

/// Matrix decompositions, their iterations written out.
namespace lamina::inline LAMINA_ABI::onnx {

namespace detail {

/// The matrices of a ham's input, as values [N, S, ...]: X [d, n] and Xᵀ, and what the iterations do with them.
template <class Scalar>
struct HamNodes {
  using Value = std::string;

  Exporter<Scalar>& to;
  const HamOptions& options;
  Value x, transposed, bases;

  template <class Ham>
  HamNodes(Exporter<Scalar>& exporter, const Ham& layer) : to(exporter), options(layer.options()) {
    const Shape& shape = to.shape();
    x = to.reshape(to.in(), {shape[0], options.heads, shape[1] / options.heads, shape[2] * shape[3]});
    transposed = flip(x);
    if (!options.spatial) std::swap(x, transposed);
    const Tensor<Scalar> first = layer.initial_bases(shape);
    bases = options.random_bases ? to.constant(first.template cast<float>()) : to.parameter("bases", first);
  }

  Value flip(const Value& value) { return to.transpose(value, {0, 1, 3, 2}); }
  Value product(const Value& a, const Value& b) { return to.add("MatMul", {a, b}); }
  Value times(const Value& a, const Value& b) { return to.add("Mul", {a, b}); }
  Value over(const Value& a, const Value& b) { return to.add("Div", {a, b}); }
  Value plus(const Value& a, double b) { return to.add("Add", {a, to.constant(b)}); }
  Value softmax(const Value& a) { return to.add("Softmax", {a}, {attribute("axis", -1)}); }
  /// Norms of the rows (axis 3) or columns (axis 2) of matrices.
  Value norms(const Value& a, Index axis) { return to.add("Sqrt", {to.sum(times(a, a), {axis})}); }
  Value at_least(const Value& a, double least) { return to.add("Max", {a, to.constant(least)}); }
  /// Kept bases are [S, d, R]; with them transposed as all are, [1, S, d, R].
  void lift_bases() { bases = to.add("Unsqueeze", {bases, to.constant(Integers{0})}); }

  /// D Cᵀ as images.
  Value images(const Value& d, const Value& c) {
    const Value y = options.spatial ? product(d, flip(c)) : product(c, flip(d));
    return to.reshape(y, extents(to.output_shape()));
  }
};

/// C = softmax(XᵀD) at first; then factor * products / (factor gram + eps).
template <class Scalar>
std::string multiplied(HamNodes<Scalar>& ham, const std::string& factor, const std::string& products,
                       const std::string& other) {
  const std::string gram = ham.product(ham.flip(other), other);
  return ham.over(ham.times(factor, products), ham.plus(ham.product(factor, gram), 1e-6));
}

/// Rounds of soft k-means on the sphere, C = softmax(XᵀD s_r a_n / T) and D = X C / (sum of C + eps); x_scale is a_n of
/// the iterations. Gives the bases.
template <class Scalar>
struct SoftAssignmentNodes {
  HamNodes<Scalar>& ham;
  std::string norms = ham.norms(ham.transposed, 3);  // |x_n|, [N, S, n, 1]

  std::string unit_bases(const std::string& d) { return ham.over(d, ham.at_least(ham.norms(d, 2), 1e-6)); }
  std::string assigned(const std::string& d, const std::string& x_norms) {
    const std::string cosines = ham.over(ham.product(ham.transposed, unit_bases(d)), x_norms);
    return ham.softmax(ham.times(cosines, ham.to.constant(ham.options.inverse_temperature)));
  }
  std::string iterated() {
    std::string d = ham.bases;
    const std::string bounded = ham.at_least(norms, 1e-12);
    for (Index step = 0; step < ham.options.eval_steps; ++step) {
      const std::string c = assigned(d, bounded);
      d = ham.over(ham.product(ham.x, c), ham.plus(ham.to.sum(c, {2}), 1e-6));
    }
    return d;
  }
};

/// (UᵀU + beta I)⁻¹ for columns U of norm 1 or 0, by Newton's iteration Y <- Y (2 I - A Y) in double precision. The
/// eigenvalues of A lie between beta and R + beta, so from Y = 2 / (R + 2 beta) I the error I - A Y, at most
/// R / (R + 2 beta) at first, is squared so many times that it is below 1e-16.
template <class Scalar>
std::string ridge_inverse(HamNodes<Scalar>& ham, const std::string& unit) {
  Exporter<Scalar>& to = ham.to;
  const Index rank = ham.options.rank;
  const double beta = ham.options.beta, r = static_cast<double>(rank);
  const auto diagonal = [&](double value) {
    Tensor<double> result = Tensor<double>::zeros({rank, rank});
    for (Index i = 0; i < rank; ++i) result(i, i) = value;
    return to.constant(result);
  };
  const auto cast = [&](const std::string& x, ElementType type) {
    return to.add("Cast", {x}, {attribute("to", static_cast<int>(type))});
  };
  const std::string u = cast(unit, ElementType::float64);
  const std::string a = to.add("Add", {ham.product(ham.flip(u), u), diagonal(beta)});
  const std::string two = diagonal(2);
  std::string y = diagonal(2 / (r + 2 * beta));
  const int steps = 1 + static_cast<int>(std::ceil(std::log2(std::log(1e-16) / std::log(r / (r + 2 * beta)))));
  for (int step = 0; step < std::max(1, steps); ++step) y = ham.product(y, to.add("Sub", {two, ham.product(a, y)}));
  return cast(y, ElementType::float32);
}

}  // namespace detail

/// A layer as nodes of ONNX; the name of its result.
/// @{
template <class Scalar>
std::string exported(Exporter<Scalar>& to, const NMF<Scalar>& layer) {
  detail::HamNodes<Scalar> ham(to, layer);
  ham.lift_bases();
  std::string d = ham.bases, c;
  for (Index step = 0; step <= ham.options.eval_steps; ++step) {
    const std::string products = ham.product(ham.transposed, d);
    c = detail::multiplied(ham, step == 0 ? ham.softmax(products) : c, products, d);
    if (step < ham.options.eval_steps) d = detail::multiplied(ham, d, ham.product(ham.x, c), c);
  }
  return ham.images(d, c);
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const VQ<Scalar>& layer) {
  detail::HamNodes<Scalar> ham(to, layer);
  ham.lift_bases();
  detail::SoftAssignmentNodes<Scalar> soft{ham};
  const std::string d = soft.iterated();
  return ham.images(d, soft.assigned(d, ham.plus(soft.norms, 1e-6)));
}

template <class Scalar>
std::string exported(Exporter<Scalar>& to, const CD<Scalar>& layer) {
  detail::HamNodes<Scalar> ham(to, layer);
  ham.lift_bases();
  detail::SoftAssignmentNodes<Scalar> soft{ham};
  const std::string unit = soft.unit_bases(soft.iterated());
  const std::string products = ham.product(ham.transposed, unit);
  return ham.images(unit, ham.product(products, detail::ridge_inverse(ham, unit)));
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
