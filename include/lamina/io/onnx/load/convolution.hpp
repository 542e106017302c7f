#pragma once

#include "lamina/io/onnx/load/shape.hpp"
#include "lamina/nn/conv1d.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/tensor/matmul.hpp"

/// Operators with weights, which must be constants: convolutions; and products of matrices.
namespace lamina::inline LAMINA_ABI::onnx {

/// The attributes of windows that slide over images, for each axis of an image.
struct Window {
  /// The attributes of these names; `before` and `behind` are the pads.
  /// @{
  std::vector<Index> kernel, stride, dilation, before, behind;
  /// @}
  std::string automatic;  ///< auto_pad

  /// How many axes.
  std::size_t axes() const { return kernel.size(); }
  /// Places that the kernel spans along axis i.
  Index reach(std::size_t i) const { return (kernel[i] - 1) * dilation[i] + 1; }
  /// Padding for a result of ceil(n / stride).
  void pad_same(std::size_t i, Index n) {
    const Index out = parts_of(n, stride[i]);
    const Index total = std::max<Index>(0, (out - 1) * stride[i] + reach(i) - n);
    (automatic == "SAME_UPPER" ? before : behind)[i] = total / 2;
    (automatic == "SAME_UPPER" ? behind : before)[i] = total - total / 2;
  }
  /// Whether pads are to keep the size.
  bool same() const { return automatic.starts_with("SAME"); }
  /// One axis as the second of two.
  void unsqueeze() {
    for (auto* list : {&kernel, &stride, &dilation}) list->insert(list->begin(), 1);
    for (auto* list : {&before, &behind}) list->insert(list->begin(), 0);
  }
  /// Of two axes: rows, columns.
  Size2 pair(const std::vector<Index>& list) const { return {list[0], list[1]}; }
  /// Of two axes.
  Padding padding() const { return {before[0], behind[0], before[1], behind[1]}; }
};

/// `axes` of them; the kernel's default is that of a weight, if there is one.
template <class Scalar>
Window window_of(Importer<Scalar>& op, std::size_t axes, const std::vector<Index>& kernel = {}) {
  const auto list = [&](const char* name, Index otherwise) {
    auto numbers = op.integers(name).value_or(std::vector<Index>(axes, otherwise));
    require(numbers.size() == axes, "expected ", axes, " numbers in attribute '", name, "'");
    return numbers;
  };
  Window result;
  result.kernel = op.integers("kernel_shape").value_or(kernel);
  require(result.kernel.size() == axes && (kernel.empty() || result.kernel == kernel),
          "kernel_shape does not fit the weight or the image");
  result.stride = list("strides", 1);
  result.dilation = list("dilations", 1);
  const auto pads = op.integers("pads").value_or(std::vector<Index>(2 * axes, 0));
  require(pads.size() == 2 * axes, "expected pads before and behind each axis");
  const auto half = pads.begin() + static_cast<std::ptrdiff_t>(axes);
  result.before.assign(pads.begin(), half);
  result.behind.assign(half, pads.end());
  result.automatic = op.word("auto_pad", "NOTSET");
  require(result.automatic == "NOTSET" || result.automatic == "VALID" || result.same(), "auto_pad '", result.automatic,
          "' is not known");
  for (std::size_t i = 0; i < axes; ++i) {
    constexpr Index most = largest_window;
    require(result.before[i] >= 0 && result.behind[i] >= 0 && result.stride[i] >= 1 && result.dilation[i] >= 1 &&
                result.kernel[i] >= 1,
            "negative pads, and kernels, strides or dilations below 1, are not taken");
    require(
        std::max({result.before[i], result.behind[i], result.stride[i], result.dilation[i], result.kernel[i]}) <= most,
        "pads, kernels, strides and dilations above ", most, " are not taken");
  }
  return result;
}

/// A sequence [N, C, L] as images [N, C, 1, L], and back.
template <class Scalar>
Term<Scalar> as_images(Importer<Scalar>& op, const Term<Scalar>& x, std::size_t axes) {
  return axes == 1 ? op.apply(Unsqueeze<Scalar>({2}), {x}) : x;
}
/// See as_images.
template <class Scalar>
Term<Scalar> from_images(Importer<Scalar>& op, const Term<Scalar>& x, std::size_t axes) {
  return axes == 1 ? op.apply(Squeeze<Scalar>({2}), {x}) : x;
}

/// An operator of ONNX, or a part of it, as layers; add_... puts all of them into the table.
/// @{
template <class Scalar>
Term<Scalar> conv2d(Importer<Scalar>& op, const Term<Scalar>& x, const Tensor<Scalar>& weight, const Window& w,
                    Index groups, bool bias) {
  Conv2d<Scalar> layer(weight.dim(1) * groups, weight.dim(0), w.pair(w.kernel),
                       {.stride = w.pair(w.stride),
                        .padding = w.padding(),
                        .dilation = w.pair(w.dilation),
                        .groups = groups,
                        .bias = bias});
  layer.weight.value = weight;
  if (bias) layer.bias.value = op.constant(2);
  return op.apply(std::move(layer), {x}, op.in(1).key);
}

/// A convolution over volumes [N, C, D, H, W]: the sum over the taps along D of convolutions over the planes.
template <class Scalar>
Term<Scalar> conv3d(Importer<Scalar>& op, const Tensor<Scalar>& weight, const Window& w, Index groups) {
  const Shape& shape = op.shape(0);
  const Index depth = shape[2], out = (depth + w.before[0] + w.behind[0] - w.reach(0)) / w.stride[0] + 1;
  require(out >= 1, "the kernel is larger than the padded volume");
  const Term<Scalar> planes = op.apply(Pad<Scalar>({w.before[0], 0, 0, 0, 0}, {w.behind[0], 0, 0, 0, 0}),
                                       {op.apply(Permute<Scalar>({2, 0, 1, 3, 4}), {op.in(0)})});
  Window plane = w;
  for (auto* list : {&plane.kernel, &plane.stride, &plane.dilation, &plane.before, &plane.behind})
    list->erase(list->begin());
  Term<Scalar> total;
  for (Index tap = 0; tap < w.kernel[0]; ++tap) {
    const Index first = tap * w.dilation[0];
    const Term<Scalar> seen =
        op.apply(Slice<Scalar>({{0, first, first + (out - 1) * w.stride[0] + 1, w.stride[0]}}), {planes});
    const Term<Scalar> images = op.apply(Reshape<Scalar>({out * shape[0], shape[1], shape[3], shape[4]}), {seen});
    const Tensor<Scalar> taps =
        Squeeze<Scalar>({2}).infer(Slice<Scalar>({{2, tap, tap + 1}}).infer(Value<Scalar>(weight)));
    Term<Scalar> part = conv2d(op, images, taps, plane, groups, tap == 0 && op.has(2));
    total = tap == 0 ? std::move(part) : op.apply(Add<Scalar>(), {std::move(total), std::move(part)});
  }
  const Shape y = op.shape(total);
  total = op.apply(Reshape<Scalar>({out, shape[0], y[1], y[2], y[3]}), {total});
  return op.apply(Permute<Scalar>({1, 2, 0, 3, 4}), {total});
}

template <class Scalar>
void convolution(Importer<Scalar>& op) {
  Tensor<Scalar> weight = op.constant(1);
  require(weight.rank() >= 3 && weight.rank() <= 5, "expected a weight of rank 3 to 5, got shape ", weight.shape());
  const auto axes = static_cast<std::size_t>(weight.rank() - 2);
  const Shape filters = weight.shape();
  Window w = window_of(op, axes, {filters.begin() + 2, filters.end()});
  const Index groups = op.integer("group", 1);
  if (w.same())
    for (std::size_t i = 0; i < axes; ++i) w.pad_same(i, op.shape(0)[static_cast<int>(i) + 2]);
  if (axes == 3) return op.result(conv3d(op, weight, w, groups));
  if (axes == 2) return op.result(conv2d(op, op.in(0), weight, w, groups, op.has(2)));
  Conv1d<Scalar> layer(filters[1] * groups, filters[0], filters[2],
                       {.stride = w.stride[0],
                        .padding = {w.before[0], w.behind[0]},
                        .dilation = w.dilation[0],
                        .groups = groups,
                        .bias = op.has(2)});
  layer.weight.value = std::move(weight);
  if (op.has(2)) layer.bias.value = op.constant(2);
  op.result(op.apply(std::move(layer), {op.in(0)}, op.in(1).key));
}

template <class Scalar>
void transposed_convolution(Importer<Scalar>& op) {
  Tensor<Scalar> weight = op.constant(1);
  require(weight.rank() == 3 || weight.rank() == 4, "transposed convolutions of images and sequences are taken, got a ",
          "weight of shape ", weight.shape());
  const auto axes = static_cast<std::size_t>(weight.rank() - 2);
  const Shape filters = weight.shape();
  Window w = window_of(op, axes, {filters.begin() + 2, filters.end()});
  const Index groups = op.integer("group", 1);
  auto more = op.integers("output_padding").value_or(std::vector<Index>(axes, 0));
  const auto wanted = op.integers("output_shape");
  require(more.size() == axes && (!wanted || wanted->size() == axes), "expected ", axes,
          " numbers in output_padding and output_shape");
  for (std::size_t i = 0; i < axes && (wanted || w.same()); ++i) {
    const Index n = op.shape(0)[static_cast<int>(i) + 2];
    const Index full = w.stride[i] * (n - 1) + more[i] + w.reach(i);
    Index total = full - (wanted ? (*wanted)[i] : n * w.stride[i]);
    if (total < 0) more[i] -= std::exchange(total, 0);
    const bool upper = w.automatic == "SAME_UPPER";
    w.before[i] = upper ? total / 2 : total - total / 2;
    w.behind[i] = total - w.before[i];
  }
  if (axes == 1) {
    w.unsqueeze();
    more.insert(more.begin(), 0);
    weight = weight.reshape({filters[0], filters[1], 1, filters[2]});
  }
  ConvTranspose2d<Scalar> layer(weight.dim(0), weight.dim(1) * groups, w.pair(w.kernel),
                                {.stride = w.pair(w.stride),
                                 .padding = w.padding(),
                                 .output_padding = w.pair(more),
                                 .dilation = w.pair(w.dilation),
                                 .groups = groups,
                                 .bias = op.has(2)});
  layer.weight.value = weight;
  if (op.has(2)) layer.bias.value = op.constant(2);
  op.result(from_images(op, op.apply(std::move(layer), {as_images(op, op.in(0), axes)}, op.in(1).key), axes));
}

/// x weightᵀ + bias for a constant weight [out, in].
template <class Scalar>
Term<Scalar> linear(Importer<Scalar>& op, const Term<Scalar>& x, Tensor<Scalar> weight,
                    const std::optional<Tensor<Scalar>>& bias, const std::string& key) {
  Linear<Scalar> layer(weight.dim(1), weight.dim(0), {.bias = bias.has_value()});
  layer.weight.value = std::move(weight);
  if (bias) layer.bias.value = *bias;
  return op.apply(std::move(layer), {x}, key);
}

/// alpha A B + beta C.
template <class Scalar>
void gemm(Importer<Scalar>& op) {
  const double alpha = op.number("alpha", 1), beta = op.number("beta", 1);
  const bool flip_a = op.integer("transA", 0) != 0, flip_b = op.integer("transB", 0) != 0;
  if (op.opset() < 7) op.integer("broadcast", 0);
  const auto flipped = [&](Term<Scalar> term) { return op.apply(Permute<Scalar>({1, 0}), {std::move(term)}); };
  const Term<Scalar> a = flip_a ? flipped(op.in(0)) : op.in(0);
  const Term<Scalar> weight = op.in(1);
  if (weight.constant && weight.shape->rank() == 2 && alpha == 1) {
    const Tensor<Scalar> rows = flip_b ? *weight.constant : *flipped(weight).constant;
    const bool plain = op.has(2) && beta == 1 && op.in(2).constant && *op.in(2).shape == Shape{rows.dim(0)};
    if (plain || !op.has(2))
      return op.result(
          linear(op, a, rows, plain ? op.in(2).constant : std::nullopt, flip_b ? weight.key : weight.transposed));
  }
  const auto scaled = [&](Term<Scalar> term, double factor) {
    if (factor == 1) return term;
    return combined(op, Operation::multiply, std::move(term),
                    Term<Scalar>::of(Tensor<Scalar>::full({}, static_cast<Scalar>(factor))));
  };
  Term<Scalar> y = scaled(op.apply(MatMul<Scalar>(), {a, flip_b ? flipped(weight) : weight}), alpha);
  if (op.has(2)) y = combined(op, Operation::add, std::move(y), scaled(op.in(2), beta));
  op.result(std::move(y));
}

/// As NumPy's matmul: a vector on the left is a row, on the right a column.
template <class Scalar>
void matmul(Importer<Scalar>& op) {
  Term<Scalar> a = op.in(0), b = op.in(1);
  if (!a.constant && b.constant && b.shape->rank() == 2)
    return op.result(linear(op, a, *op.apply(Permute<Scalar>({1, 0}), {b}).constant, {}, b.transposed));
  const bool row = a.shape && a.shape->rank() == 1, column = b.shape && b.shape->rank() == 1;
  if (row) a = op.apply(Unsqueeze<Scalar>({0}), {a});
  if (column) b = op.apply(Unsqueeze<Scalar>({1}), {b});
  Term<Scalar> y = op.apply(MatMul<Scalar>(), {a, b});
  if (row) y = op.apply(Squeeze<Scalar>({-2}), {y});
  if (column) y = op.apply(Squeeze<Scalar>({-1}), {y});
  op.result(std::move(y));
}

template <class Scalar>
void add_convolutions(Operators<Scalar>& table) {
  table["Conv"] = {&convolution<Scalar>};
  table["ConvTranspose"] = {&transposed_convolution<Scalar>};
  table["Gemm"] = {&gemm<Scalar>};
  table["MatMul"] = {&matmul<Scalar>};
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
