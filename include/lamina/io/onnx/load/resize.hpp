#pragma once

#include <array>

#include "lamina/io/onnx/load/shape.hpp"
#include "lamina/nn/interpolate.hpp"

namespace lamina::inline LAMINA_ABI::onnx {

namespace detail {

/// What a Resize does, and how one axis of it is computed.
struct Resampling {
  std::string mode, coordinates, nearest;
  double cubic = -0.75;
  bool exclude_outside = false;

  /// Where entry o of the result lies in the input.
  double place(Index o, Index in, Index out, double scale) const {
    const auto x = static_cast<double>(o), n = static_cast<double>(in), m = n * scale;  // maybe with a fraction
    if (coordinates == "asymmetric") return x / scale;
    if (coordinates == "align_corners") return out == 1 ? 0 : x * (n - 1) / (m - 1);
    if (coordinates == "pytorch_half_pixel" && out == 1) return 0;
    if (coordinates == "tf_half_pixel_for_nn") return (x + 0.5) / scale;
    return (x + 0.5) / scale - 0.5;
  }

  Index nearest_entry(double x) const {
    if (nearest == "floor") return static_cast<Index>(std::floor(x));
    if (nearest == "ceil") return static_cast<Index>(std::ceil(x));
    return static_cast<Index>(nearest == "round_prefer_ceil" ? std::floor(x + 0.5) : std::ceil(x - 0.5));
  }

  /// Keys' cubic kernel (1981): the weights of the entries -1, 0, 1, 2 from the one before, at a distance t in [0, 1).
  std::array<double, 4> cubic_weights(double t) const {
    const double a = cubic;
    const auto near = [a](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
    const auto far = [a](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
    return {far(t + 1), near(t), near(1 - t), far(2 - t)};
  }

  template <class Scalar>
  std::vector<MixTerm<Scalar>> terms(double x, Index n) const {
    const auto inside = [n](Index i) { return std::clamp<Index>(i, 0, n - 1); };
    if (mode == "nearest") return {{inside(nearest_entry(x)), Scalar(1)}};
    const double first = std::floor(x), t = x - first;
    const auto at = static_cast<Index>(first);
    if (mode == "linear") return {{inside(at), static_cast<Scalar>(1 - t)}, {inside(at + 1), static_cast<Scalar>(t)}};
    auto weights = cubic_weights(t);
    double total = 0;
    for (Index i = 0; i < 4; ++i) {
      auto& weight = weights[static_cast<std::size_t>(i)];
      if (exclude_outside && inside(at + i - 1) != at + i - 1) weight = 0;
      total += weight;
    }
    std::vector<MixTerm<Scalar>> result;
    for (Index i = 0; i < 4; ++i)
      result.push_back({inside(at + i - 1), static_cast<Scalar>(weights[static_cast<std::size_t>(i)] / total)});
    return result;
  }
};

}  // namespace detail

/// Scales or sizes for all axes; one axis after the other is resampled.
template <class Scalar>
void resample(Importer<Scalar>& op, const detail::Resampling& how, const std::vector<double>& scales,
              const std::vector<Index>& sizes) {
  const Shape shape = op.shape(0);
  require(static_cast<int>(std::max(scales.size(), sizes.size())) == shape.rank(),
          "expected a scale or a size for each axis of shape ", shape);
  require(shape.numel() > 0, "cannot resize shape ", shape);
  Term<Scalar> x = op.in(0);
  const auto size_of = [&](std::size_t axis) {
    if (!sizes.empty()) return sizes[axis];
    return static_cast<Index>(std::floor(static_cast<double>(shape[static_cast<int>(axis)]) * scales[axis]));
  };
  // What Interpolate means.
  const bool linear = how.mode == "linear" && shape.rank() == 4 && size_of(0) == shape[0] && size_of(1) == shape[1];
  const bool exact = !sizes.empty() || (static_cast<double>(size_of(2)) == scales[2] * static_cast<double>(shape[2]) &&
                                        static_cast<double>(size_of(3)) == scales[3] * static_cast<double>(shape[3]));
  if (linear && exact && (how.coordinates == "align_corners" || how.coordinates == "half_pixel"))
    return op.result(op.apply(
        Interpolate<Scalar>({size_of(2), size_of(3)},
                            {.mode = InterpolateMode::bilinear, .align_corners = how.coordinates == "align_corners"}),
        {x}));
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const auto a = static_cast<std::size_t>(axis);
    const Index in = shape[axis], out = size_of(a);
    require(out >= 1 && out <= most_entries, "the result of axis ", axis, " would have ", out, " entries");
    const double scale = sizes.empty() ? scales[a] : static_cast<double>(out) / static_cast<double>(in);
    if (scale == 1 && out == in) continue;
    std::vector<std::vector<MixTerm<Scalar>>> rows;
    std::vector<Index> entries;
    for (Index o = 0; o < out; ++o) {
      rows.push_back(how.terms<Scalar>(how.place(o, in, out, scale), in));
      entries.push_back(rows.back()[0].entry);
    }
    x = how.mode == "nearest" ? op.apply(IndexSelect<Scalar>(axis, entries), {x})
                              : op.apply(Mix<Scalar>(axis, in, std::move(rows)), {x});
  }
  op.result(std::move(x));
}

/// As doubles.
template <class Scalar>
std::vector<double> doubles(const Tensor<Scalar>& values) {
  std::vector<double> result;
  for (const Scalar value : values.values()) result.push_back(static_cast<double>(value));
  return result;
}

/// Opset 10 has scales alone, and means "asymmetric" and "floor".
template <class Scalar>
void resize(Importer<Scalar>& op) {
  detail::Resampling how;
  how.mode = op.word("mode", "nearest");
  const bool old = op.opset() < 11;
  how.coordinates = op.word("coordinate_transformation_mode", old ? "asymmetric" : "half_pixel");
  how.nearest = op.word("nearest_mode", old ? "floor" : "round_prefer_floor");
  how.cubic = op.number("cubic_coeff_a", -0.75);
  how.exclude_outside = op.integer("exclude_outside", 0) != 0;
  op.number("extrapolation_value", 0);  // of tf_crop_and_resize alone
  for (const auto& [word, known] :
       {std::pair<std::string, std::set<std::string>>{how.mode, {"nearest", "linear", "cubic"}},
        {how.coordinates, {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn"}},
        {how.nearest, {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}}})
    require(known.contains(word), "mode '", word, "' is not taken");
  const std::size_t at = old ? 1 : 2;
  const std::vector<double> scales = op.has(at) ? doubles(op.constant(at)) : std::vector<double>();
  const std::vector<Index> sizes = op.has(3) ? op.whole(3) : std::vector<Index>();
  require(scales.empty() != sizes.empty(), "expected either scales or sizes");
  resample(op, how, scales, sizes);
}
/// An operator of ONNX, or a part of it, as layers; add_... puts all of them into the table.
/// @{
template <class Scalar>
void upsample(Importer<Scalar>& op) {
  detail::Resampling how{.mode = op.word("mode", "nearest"), .coordinates = "asymmetric", .nearest = "floor"};
  require(how.mode == "nearest" || how.mode == "linear", "mode '", how.mode, "' is not taken");
  std::vector<double> scales;
  if (const Attribute* const list = op.find("scales"))
    scales.assign(list->floats.begin(), list->floats.end());
  else
    scales = doubles(op.constant(1));
  resample(op, how, scales, {});
}

template <class Scalar>
void add_resize(Operators<Scalar>& table) {
  table["Resize"] = {&resize<Scalar>};
  table["Upsample"] = {&upsample<Scalar>};
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
