#pragma once

#include <limits>

#include "lamina/io/onnx/load/elementwise.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/pixel_shuffle.hpp"
#include "lamina/nn/tensor/reduce.hpp"
#include "lamina/nn/tensor/reshape.hpp"
#include "lamina/nn/tensor/select.hpp"

/// Operators that give values another shape, cut, join and repeat them, or reduce axes; and shapes as values.
namespace lamina::inline LAMINA_ABI::onnx {

/// Whole numbers that were an attribute in older opsets and are an input in newer ones.
template <class Scalar>
std::optional<std::vector<Index>> listed(Importer<Scalar>& op, const char* attribute, std::size_t input) {
  if (auto numbers = op.integers(attribute)) return numbers;
  if (!op.has(input)) return std::nullopt;
  return op.whole(input);
}

/// An operator of ONNX, or a part of it, as layers; add_... puts all of them into the table.
/// @{
template <class Scalar>
void reshape(Importer<Scalar>& op) {
  op.find("consumed_inputs");
  std::vector<Index> shape = listed(op, "shape", 1).value_or(std::vector<Index>());
  const bool has_zero = std::find(shape.begin(), shape.end(), 0) != shape.end();
  if (op.integer("allowzero", 0) != 0 && has_zero) {
    require(op.shape(0).numel() == 0, "allowzero with an input that is not empty");
    for (Index& extent : shape)
      if (extent == -1) extent = 0;
    Term<Scalar> empty = Term<Scalar>::of(Tensor<Scalar>::zeros(Shape(std::span<const Index>(shape))));
    return op.result(std::move(empty));
  }
  op.result(op.apply(Reshape<Scalar>(shape), {op.in(0)}));
}

template <class Scalar>
void flatten(Importer<Scalar>& op) {
  const Index axis = op.integer("axis", 1);
  if (axis == 1 && (!op.in(0).shape || op.rank(0) >= 2)) return op.result(op.apply(Flatten<Scalar>(), {op.in(0)}));
  const Shape& shape = op.shape(0);
  const int first = static_cast<int>(axis < 0 ? axis + shape.rank() : axis);
  require(first >= 0 && first <= shape.rank(), "axis ", axis, " is not there in shape ", shape);
  const std::vector<Index> extents{shape.product(0, first), shape.product(first, shape.rank())};
  op.result(op.apply(Reshape<Scalar>(extents), {op.in(0)}));
}

template <class Scalar>
void squeeze(Importer<Scalar>& op) {
  op.result(op.apply(Squeeze<Scalar>(listed(op, "axes", 1).value_or(std::vector<Index>())), {op.in(0)}));
}
template <class Scalar>
void unsqueeze(Importer<Scalar>& op) {
  const auto axes = listed(op, "axes", 1);
  require(axes.has_value(), "its axes are missing");
  op.result(op.apply(Unsqueeze<Scalar>(*axes), {op.in(0)}));
}

template <class Scalar>
void transpose(Importer<Scalar>& op) {
  const std::vector<Index> axes = op.integers("perm").value_or(std::vector<Index>());
  const Term<Scalar> x = op.in(0);
  Term<Scalar> y = op.apply(Permute<Scalar>(axes), {x});
  if (x.constant && x.shape->rank() == 2 && axes != std::vector<Index>{0, 1}) y.transposed = x.key;
  op.result(std::move(y));
}

template <class Scalar>
void concat(Importer<Scalar>& op) {
  const Index axis = op.integer("axis", 1);
  std::vector<Term<Scalar>> parts;
  for (std::size_t i = 0; i < op.inputs(); ++i) parts.push_back(op.in(i));
  op.result(op.apply(Cat<Scalar>(static_cast<int>(axis)), std::move(parts)));
}

template <class Scalar>
void split(Importer<Scalar>& op) {
  const Index axis = op.integer("axis", 0);
  auto lengths = listed(op, "split", 1);
  const auto count = static_cast<Index>(op.outputs());
  if (!lengths) {
    const Index n = op.shape(0)[static_cast<int>(axis)];
    require(n % count == 0, "cannot cut ", n, " entries into ", count, " equal parts");
    lengths = std::vector<Index>(op.outputs(), n / count);
  }
  require(static_cast<Index>(lengths->size()) == count, "expected a length for each of ", count, " outputs, got ",
          lengths->size());
  Index first = 0;
  for (const Index length : *lengths) {
    op.result(op.apply(Slice<Scalar>({{axis, first, first + length}}), {op.in(0)}));
    first += length;
  }
}

template <class Scalar>
void slice(Importer<Scalar>& op) {
  const auto first = listed(op, "starts", 1), last = listed(op, "ends", 2), axes = listed(op, "axes", 3),
             steps = op.has(4) ? std::optional(op.whole(4)) : std::nullopt;
  require(first && last && first->size() == last->size() && (!axes || axes->size() == first->size()) &&
              (!steps || steps->size() == first->size()),
          "expected as many starts, ends, axes and steps");
  std::vector<SliceRange> ranges;
  for (std::size_t i = 0; i < first->size(); ++i)
    ranges.push_back(
        {axes ? (*axes)[i] : static_cast<Index>(i), (*first)[i], (*last)[i], steps ? (*steps)[i] : Index{1}});
  op.result(op.apply(Slice<Scalar>(std::move(ranges)), {op.in(0)}));
}

template <class Scalar>
void pad(Importer<Scalar>& op) {
  const std::string word = op.word("mode", "constant");
  const auto pads = listed(op, "pads", 1);
  require(pads && pads->size() % 2 == 0, "expected pads before and behind each axis");
  const double value = op.has(2) ? op.number_of(2) : op.number("value", 0);
  const auto half = pads->begin() + static_cast<std::ptrdiff_t>(pads->size() / 2);
  op.result(op.apply(Pad<Scalar>({pads->begin(), half}, {half, pads->end()}, word, value), {op.in(0)}));
}

/// x repeated so that it has this shape, where its extent is 1 or the axis is missing.
template <class Scalar>
void expand(Importer<Scalar>& op) {
  const std::vector<Index> extents = op.whole(1);
  const Shape wanted{std::span<const Index>(extents)};
  const Term<Scalar> x = of_rank(op, op.in(0), wanted.rank());
  const Shape& shape = op.shape(x);
  std::vector<Index> repeats(static_cast<std::size_t>(shape.rank()), 1);
  for (int axis = -1; axis >= -wanted.rank(); --axis) {
    require(shape[axis] == wanted[axis] || shape[axis] == 1 || wanted[axis] == 1, "shape ", shape,
            " cannot be repeated to ", wanted);
    if (shape[axis] == 1) repeats[static_cast<std::size_t>(shape.rank() + axis)] = wanted[axis];
  }
  op.result(op.apply(Tile<Scalar>(repeats), {x}));
}
template <class Scalar>
void tile(Importer<Scalar>& op) {
  op.result(op.apply(Tile<Scalar>(op.whole(1)), {op.in(0)}));
}

template <class Scalar>
void gather(Importer<Scalar>& op) {
  const int axis = static_cast<int>(op.integer("axis", 0));
  const Term<Scalar> indices = op.in(1);
  if (!indices.constant || indices.shape->rank() > 1)
    return op.result(op.apply(Gather<Scalar>(axis), {op.in(0), indices}));
  Term<Scalar> y = op.apply(IndexSelect<Scalar>(axis, op.whole(1)), {op.in(0)});
  if (indices.shape->rank() == 0) y = op.apply(Squeeze<Scalar>({axis}), {std::move(y)});
  op.result(std::move(y));
}

/// Blocks of channels into blocks of pixels.
template <class Scalar>
void depth_to_space(Importer<Scalar>& op) {
  const Index b = op.integer("blocksize", 0);
  const bool crd = op.word("mode", "DCR") == "CRD";
  if (crd) return op.result(op.apply(PixelShuffle<Scalar>(b), {op.in(0)}));
  const Shape shape = op.shape(0);
  require(shape.rank() == 4 && b >= 1 && shape[1] % (b * b) == 0, "blocksize ", b, " does not fit shape ", shape);
  const Index c = shape[1] / (b * b), h = shape[2], w = shape[3];
  const Term<Scalar> parts = op.apply(Reshape<Scalar>({shape[0], b, b, c, h, w}), {op.in(0)});
  const Term<Scalar> y = op.apply(Permute<Scalar>({0, 3, 4, 1, 5, 2}), {parts});
  op.result(op.apply(Reshape<Scalar>({shape[0], c, h * b, w * b}), {y}));
}
template <class Scalar>
void space_to_depth(Importer<Scalar>& op) {
  const Index b = op.integer("blocksize", 0);
  const Shape shape = op.shape(0);
  require(shape.rank() == 4 && b >= 1 && shape[2] % b == 0 && shape[3] % b == 0, "blocksize ", b,
          " does not fit shape ", shape);
  const Index h = shape[2] / b, w = shape[3] / b;
  const Term<Scalar> parts = op.apply(Reshape<Scalar>({shape[0], shape[1], h, b, w, b}), {op.in(0)});
  const Term<Scalar> y = op.apply(Permute<Scalar>({0, 3, 5, 1, 2, 4}), {parts});
  op.result(op.apply(Reshape<Scalar>({shape[0], shape[1] * b * b, h, w}), {y}));
}

template <Aggregate aggregate, class Scalar>
void reduce(Importer<Scalar>& op) {
  const auto axes = listed(op, "axes", 1);
  const bool keep = op.integer("keepdims", 1) != 0;
  const bool nothing = op.integer("noop_with_empty_axes", 0) != 0 && (!axes || axes->empty());
  if (nothing) return op.result(op.in(0));
  op.result(op.apply(Reduce<Scalar>(aggregate, {axes.value_or(std::vector<Index>()), keep}), {op.in(0)}));
}

// Shapes as values, and constants.

template <class Scalar>
void shape_of(Importer<Scalar>& op) {
  const Shape& shape = op.shape(0);
  const auto within = [&](Index i) { return std::clamp<Index>(i < 0 ? i + shape.rank() : i, 0, shape.rank()); };
  const Index first = within(op.integer("start", 0)), last = within(op.integer("end", shape.rank()));
  std::vector<std::int64_t> extents;
  for (Index axis = first; axis < last; ++axis) extents.push_back(shape[static_cast<int>(axis)]);
  op.result(Tensor<std::int64_t>({static_cast<Index>(extents.size())}, extents));
}
template <class Scalar>
void size_of(Importer<Scalar>& op) {
  op.result(Tensor<std::int64_t>({}, {static_cast<std::int64_t>(op.shape(0).numel())}));
}

/// The tensor of an attribute.
template <class Scalar>
void result_of_tensor(Importer<Scalar>& op, const TensorMessage& tensor) {
  if (is_integral(tensor.type))
    op.result(detail::elements<std::int64_t>("its value", tensor), tensor.type);
  else
    op.result(Term<Scalar>::of(detail::elements<Scalar>("its value", tensor)), tensor.type);
}
template <class Scalar>
void constant(Importer<Scalar>& op) {
  if (const Attribute* const value = op.find("value")) return result_of_tensor(op, value->tensor);
  const auto floats = [&](const Shape& shape, const std::vector<float>& values) {
    op.result(Term<Scalar>::of(Tensor<float>(shape, values).template cast<Scalar>()), ElementType::float32);
  };
  if (const auto* value = op.find("value_float")) return floats({}, {value->f});
  if (const auto* value = op.find("value_floats"))
    return floats({static_cast<Index>(value->floats.size())}, value->floats);
  if (const auto* value = op.find("value_int")) return op.result(Tensor<std::int64_t>({}, {value->i}));
  if (const auto* value = op.find("value_ints"))
    return op.result(Tensor<std::int64_t>({static_cast<Index>(value->ints.size())}, value->ints));
  fail<ValueError>("a constant of this kind is not taken");
}

template <class Scalar>
void constant_of_shape(Importer<Scalar>& op) {
  const std::vector<Index> extents = op.whole(0);
  const Shape shape{std::span<const Index>(extents)};
  op.limited(shape.numel());
  const Attribute* const value = op.find("value");
  if (value && is_integral(value->tensor.type)) {
    const auto number = detail::elements<std::int64_t>("its value", value->tensor);
    return op.result(Tensor<std::int64_t>::full(shape, number.reshape(Shape{}).item()), value->tensor.type);
  }
  const Scalar number = value ? detail::elements<Scalar>("its value", value->tensor).reshape(Shape{}).item() : 0;
  op.result(Term<Scalar>::of(Tensor<Scalar>::full(shape, number)), value ? value->tensor.type : ElementType::float32);
}

template <class Scalar>
void range(Importer<Scalar>& op) {
  const double first = op.number_of(0), last = op.number_of(1), step = op.number_of(2);
  require(step != 0, "a step must not be 0");
  const double count = std::max(0.0, std::ceil((last - first) / step));
  require(count <= static_cast<double>(most_entries), "a range of ", count, " numbers is not taken");
  Tensor<Scalar> numbers({static_cast<Index>(count)});
  for (Index i = 0; i < numbers.numel(); ++i)
    numbers.data()[i] = static_cast<Scalar>(first + static_cast<double>(i) * step);
  op.result(Term<Scalar>::of(std::move(numbers)));
}

template <class Scalar>
void add_shapes(Operators<Scalar>& table) {
  table["Reshape"] = {&reshape<Scalar>, true};
  table["Flatten"] = {&flatten<Scalar>, true};
  table["Squeeze"] = {&squeeze<Scalar>, true};
  table["Unsqueeze"] = {&unsqueeze<Scalar>, true};
  table["Transpose"] = {&transpose<Scalar>, true};
  table["Concat"] = {&concat<Scalar>, true};
  table["Split"] = {&split<Scalar>, true};
  table["Slice"] = {&slice<Scalar>, true};
  table["Pad"] = {&pad<Scalar>, true};
  table["Expand"] = {&expand<Scalar>, true};
  table["Tile"] = {&tile<Scalar>, true};
  table["Gather"] = {&gather<Scalar>, true};
  table["DepthToSpace"] = {&depth_to_space<Scalar>, true};
  table["SpaceToDepth"] = {&space_to_depth<Scalar>, true};
  table["Identity"] = {[](Importer<Scalar>& op) { op.result(op.in(0)); }, true};
  table["Shape"] = {&shape_of<Scalar>, true};
  table["Size"] = {&size_of<Scalar>, true};
  table["Constant"] = {&constant<Scalar>, true};
  table["ConstantOfShape"] = {&constant_of_shape<Scalar>, true};
  table["Range"] = {&range<Scalar>, true};
  table["ReduceSum"] = {&reduce<Aggregate::sum, Scalar>};
  table["ReduceMean"] = {&reduce<Aggregate::mean, Scalar>};
  table["ReduceMax"] = {&reduce<Aggregate::max, Scalar>, true};
  table["ReduceMin"] = {&reduce<Aggregate::min, Scalar>, true};
  table["ReduceProd"] = {&reduce<Aggregate::product, Scalar>};
  table["ReduceL1"] = {&reduce<Aggregate::l1, Scalar>};
  table["ReduceL2"] = {&reduce<Aggregate::l2, Scalar>};
  table["ReduceSumSquare"] = {&reduce<Aggregate::sum_of_squares, Scalar>};
  table["ReduceLogSum"] = {&reduce<Aggregate::log_sum, Scalar>};
  table["ReduceLogSumExp"] = {&reduce<Aggregate::log_sum_exp, Scalar>};
}
/// @}

}  // namespace lamina::inline LAMINA_ABI::onnx
