#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lamina/core/choice.hpp"
#include "lamina/nn/axis.hpp"
#include "lamina/nn/embedding.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/tensor/reshape.hpp"

/// Layers whose result takes entries of their input along axes: y[i, j, ...] = x[f(i), g(j), ...].
namespace lamina::inline LAMINA_ABI {

/// So many entries along an axis are made at most; a file may ask for any number.
inline constexpr Index most_entries = Index{1} << 24;

namespace detail {

/// The entries along an axis, in order; -1: none, a number stands there. None at all: the axis is kept as it is.
using Entries = std::optional<std::vector<Index>>;

/// Base of those layers. Derived gives `std::vector<Entries> entries(const Shape& input) const`, one for each axis, and
/// may give `Scalar fill() const`.
template <class Derived, class Scalar>
class Selecting : public Layer<Derived, Scalar> {
 public:
  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    const std::vector<Entries> entries = self().entries(input);
    Shape result = input;
    for (int axis = 0; axis < input.rank(); ++axis)
      if (const Entries& along = entries[static_cast<std::size_t>(axis)])
        result = result.with(axis, static_cast<Index>(along->size()));
    return result;
  }
  Scalar fill() const { return Scalar(0); }

 private:
  const Derived& self() const { return static_cast<const Derived&>(*this); }

  /// `count` neighbouring entries, from `first` on; or as many places where there is none (-1).
  struct Run {
    Index first, count;
  };
  static std::vector<Run> runs_of(const std::vector<Index>& along) {
    std::vector<Run> runs;
    for (const Index entry : along) {
      const bool follows =
          !runs.empty() && entry == (runs.back().first < 0 ? -1 : runs.back().first + runs.back().count);
      if (follows)
        ++runs.back().count;
      else
        runs.push_back({entry, 1});
    }
    return runs;
  }

  /// f(place in x or -1, place in y, length) for the runs of elements that lie together in both. What lies before the
  /// first axis with entries runs in parallel.
  template <class F>
  void for_each_run(const Shape& input, const Shape& output, F f) const {
    const std::vector<Entries> entries = self().entries(input);
    const auto listed = [&](int axis) { return entries[static_cast<std::size_t>(axis)].has_value(); };
    int outer = 0, inner = input.rank() - 1;
    while (outer <= inner && !listed(outer)) ++outer;
    if (outer > inner) return f(0, 0, input.numel());
    while (!listed(inner)) --inner;
    const std::vector<Run> runs = runs_of(*entries[static_cast<std::size_t>(inner)]);
    const Index length = input.product(inner + 1, input.rank()), part_size = output.product(outer, output.rank());
    // `from`: a place along the axes before `axis`; -1: there is none.
    const auto walk = [&](const auto& next, int axis, Index from, Index& to) -> void {
      const Index n = input[axis];
      if (axis == inner) {
        for (const Run& run : runs) {
          f(from < 0 || run.first < 0 ? -1 : (from * n + run.first) * length, to, run.count * length);
          to += run.count * length;
        }
        return;
      }
      const Entries& along = entries[static_cast<std::size_t>(axis)];
      for (Index i = 0, count = along ? static_cast<Index>(along->size()) : n; i < count; ++i) {
        const Index entry = along ? (*along)[static_cast<std::size_t>(i)] : i;
        next(next, axis + 1, from < 0 || entry < 0 ? -1 : from * n + entry, to);
      }
    };
    parallel_for(0, input.product(0, outer), (1 << 15) / std::max<Index>(1, part_size), [&](Index first, Index last) {
      Index to = first * part_size;
      for (Index part = first; part < last; ++part) walk(walk, outer, part, to);
    });
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y(this->output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    for_each_run(x.shape(), y.shape(), [&](Index from, Index to, Index length) {
      if (from < 0)
        std::fill_n(out + to, length, self().fill());
      else
        std::copy_n(in + from, length, out + to);
    });
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [shape] = tape.template pop<Shape>();
    Tensor<Scalar> dx = Tensor<Scalar>::zeros(shape);
    const Scalar* const in = std::as_const(dy).data();
    Scalar* const out = dx.data();
    for_each_run(shape, dy.shape(), [&](Index from, Index to, Index length) {
      if (from >= 0)
        for (Index i = 0; i < length; ++i) out[from + i] += in[to + i];
    });
    return dx;
  }
};

}  // namespace detail

/// Part of a Slice: entries first, first + step, ... before last, along an axis. Negative numbers count from the end,
/// and what lies outside is not there, as in Python.
struct SliceRange {
  Index axis;      ///< along which
  Index first;     ///< the first entry
  Index last;      ///< where it ends
  Index step = 1;  ///< distance of entries; negative: backwards
};

/// Python's x[first:last:step] along some axes. Throws ShapeError for an axis that x does not have, ValueError for a
/// step of 0.
template <class Scalar = float>
class Slice : public detail::Selecting<Slice<Scalar>, Scalar> {
 public:
  /// Throws ValueError for a step of 0.
  explicit Slice(std::vector<SliceRange> ranges) : ranges_(std::move(ranges)) {
    for (const SliceRange& range : ranges_) require(range.step != 0, *this, ": a step must not be 0");
  }

  /// Which entries of each axis are taken.
  std::vector<detail::Entries> entries(const Shape& input) const {
    std::vector<detail::Entries> result(static_cast<std::size_t>(input.rank()));
    for (const SliceRange& range : ranges_) {
      const int axis = detail::axis_position(static_cast<int>(range.axis), input, *this);
      const Index n = input[axis], low = range.step > 0 ? 0 : -1, high = range.step > 0 ? n : n - 1;
      const auto within = [&](Index i) { return std::clamp(i < 0 ? i + n : i, low, high); };
      std::vector<Index> along;
      const Index last = within(range.last), far = n + 1, step = std::clamp(range.step, -far, far);
      for (Index i = within(range.first); step > 0 ? i < last : i > last; i += step) along.push_back(i);
      result[static_cast<std::size_t>(axis)] = std::move(along);
    }
    return result;
  }
  Fields fields() const override {
    std::string ranges;
    for (const SliceRange& r : ranges_) ranges += text(r.axis, "[", r.first, ":", r.last, ":", r.step, "]");
    return Fields("Slice").argument("ranges", ranges);
  }

  /// What it was made with.
  const std::vector<SliceRange>& ranges() const { return ranges_; }

 private:
  std::vector<SliceRange> ranges_;
};

/// What stands in the border: one value, the image mirrored at its edge, or its edge.
enum class PadMode { constant, reflect, edge };
/// NumPy's and ONNX's.
template <>
struct Words<PadMode> {
  static constexpr const char* what = "mode";                        ///< in messages
  static constexpr std::array words{"constant", "reflect", "edge"};  ///< of each
};

namespace detail {

/// Axis `axis` of the input with so many entries before and behind it. Throws ShapeError, naming the caller, where it
/// is too short for the mode, or too long.
template <class Caller>
std::vector<Index> padded_entries(PadMode mode, Index before, Index behind, const Shape& input, int axis,
                                  const Caller& caller) {
  const Index n = input[axis], most = std::max({before, behind, Index{0}});
  require<ShapeError>(mode == PadMode::constant || (mode == PadMode::edge ? n > 0 : most < n), caller, ": axis ", axis,
                      " is too short, got shape ", input);
  require<ShapeError>(most <= most_entries && n <= most_entries, caller, ": more than ", most_entries,
                      " entries in axis ", axis, ", got shape ", input);
  const auto place = [&](Index i) -> Index {
    if (i >= 0 && i < n) return i;
    if (mode == PadMode::constant) return -1;
    if (mode == PadMode::edge) return i < 0 ? 0 : n - 1;
    return i < 0 ? -i : 2 * (n - 1) - i;
  };
  std::vector<Index> along;
  for (Index i = -before; i < n + behind; ++i) along.push_back(place(i));
  return along;
}

}  // namespace detail

/// Entries before and behind each axis, negative ones cut off: `value`, or the input mirrored at its first and last
/// entry, or those repeated. Throws ShapeError for another rank, a reflection of more than the axis has, or an edge of
/// nothing.
template <class Scalar = float>
class Pad : public detail::Selecting<Pad<Scalar>, Scalar> {
 public:
  /// Entries to add before and behind each axis.
  Pad(std::vector<Index> before, std::vector<Index> behind, Choice<PadMode> mode = PadMode::constant, double value = 0)
      : before_(std::move(before)), behind_(std::move(behind)), mode_(mode), value_(static_cast<Scalar>(value)) {
    require(before_.size() == behind_.size(), *this, ": expected as many entries before as behind");
  }

  /// Which entries of each axis are taken.
  std::vector<detail::Entries> entries(const Shape& input) const {
    require<ShapeError>(input.rank() == static_cast<int>(before_.size()), *this, ": got shape ", input);
    std::vector<detail::Entries> result(before_.size());
    for (std::size_t axis = 0; axis < before_.size(); ++axis) {
      if (before_[axis] == 0 && behind_[axis] == 0) continue;
      result[axis] = detail::padded_entries(mode_, before_[axis], behind_[axis], input, static_cast<int>(axis), *this);
    }
    return result;
  }
  /// What it was made with.
  Scalar fill() const { return value_; }
  Fields fields() const override {
    return Fields("Pad")
        .argument("before", detail::list(before_))
        .argument("behind", detail::list(behind_))
        .option("mode", std::string(mode_.word()), "constant")
        .option("value", static_cast<double>(value_), 0);
  }

  /// What it was made with.
  /// @{
  const std::vector<Index>& before() const { return before_; }
  const std::vector<Index>& behind() const { return behind_; }
  PadMode mode() const { return mode_; }
  Scalar value() const { return value_; }
  /// @}

 private:
  std::vector<Index> before_, behind_;
  Choice<PadMode> mode_;
  Scalar value_;
};

/// The entries with these numbers along an axis, in this order, as torch.index_select; negative ones count from the
/// end. Throws ShapeError for one that is not there.
template <class Scalar = float>
class IndexSelect : public detail::Selecting<IndexSelect<Scalar>, Scalar> {
 public:
  /// Entries `indices` along axis dim.
  IndexSelect(int dim, std::vector<Index> indices) : dim_(dim), indices_(std::move(indices)) {}

  /// Which entries of each axis are taken.
  std::vector<detail::Entries> entries(const Shape& input) const {
    std::vector<detail::Entries> result(static_cast<std::size_t>(input.rank()));
    const int axis = detail::axis_position(dim_, input, *this);
    std::vector<Index> along = indices_;
    for (Index& i : along) {
      if (i < 0) i += input[axis];
      require<ShapeError>(i >= 0 && i < input[axis], *this, ": an index is not in axis ", axis, " of shape ", input);
    }
    result[static_cast<std::size_t>(axis)] = std::move(along);
    return result;
  }
  Fields fields() const override {
    const std::string all = detail::list(indices_);
    return Fields("IndexSelect")
        .argument("dim", dim_)
        .field("indices", all, indices_.size() > 8 ? text(indices_.size(), " indices") : all);
  }

  /// What it was made with.
  /// @{
  int dim() const { return dim_; }
  const std::vector<Index>& indices() const { return indices_; }
  /// @}

 private:
  int dim_;
  std::vector<Index> indices_;
};

/// The whole repeated so many times along each axis, as torch.tile. Throws ShapeError for another rank.
template <class Scalar = float>
class Tile : public detail::Selecting<Tile<Scalar>, Scalar> {
 public:
  /// How often each axis is repeated. Throws ValueError for a negative number.
  explicit Tile(std::vector<Index> repeats) : repeats_(std::move(repeats)) {
    for (const Index count : repeats_) require(count >= 0, *this, ": a number of repeats must not be negative");
  }

  /// Which entries of each axis are taken.
  std::vector<detail::Entries> entries(const Shape& input) const {
    require<ShapeError>(input.rank() == static_cast<int>(repeats_.size()), *this, ": got shape ", input);
    std::vector<detail::Entries> result(repeats_.size());
    for (std::size_t axis = 0; axis < repeats_.size(); ++axis) {
      if (repeats_[axis] == 1) continue;
      require<ShapeError>(repeats_[axis] <= most_entries / std::max<Index>(1, input[static_cast<int>(axis)]), *this,
                          ": more than ", most_entries, " entries in axis ", axis, ", got shape ", input);
      std::vector<Index> along;
      for (Index i = 0, n = input[static_cast<int>(axis)]; i < n * repeats_[axis]; ++i) along.push_back(i % n);
      result[axis] = std::move(along);
    }
    return result;
  }
  Fields fields() const override { return Fields("Tile").argument("repeats", detail::list(repeats_)); }

  /// What it was made with.
  const std::vector<Index>& repeats() const { return repeats_; }

 private:
  std::vector<Index> repeats_;
};

/// y = the entries of x along an axis whose numbers come as a second value, as ONNX's Gather: x [A..., n, B...] and
/// indices [I...] give [A..., I..., B...]. Negative numbers count from the end. No gradient for the indices. Throws
/// ValueError for a number that is not there, ShapeError for an axis that x does not have.
template <class Scalar = float>
class Gather : public JointLayer<Gather<Scalar>, Scalar> {
 public:
  /// Along axis dim.
  explicit Gather(int dim = 0) : dim_(dim) {}

  Few<Shape> output_shapes(const Values<Scalar>& x) const override {
    require(x.size() == 2, *this, ": takes entries and indices, got ", x.size(), " values");
    const Shape &from = x[0].shape(), &indices = x[1].shape();
    const int axis = detail::axis_position(dim_, from, *this);
    std::vector<Index> extents(from.begin(), from.begin() + axis);
    extents.insert(extents.end(), indices.begin(), indices.end());
    extents.insert(extents.end(), from.begin() + axis + 1, from.end());
    return Shape(std::span<const Index>(extents));
  }
  Fields fields() const override { return Fields("Gather").argument("dim", dim_); }

  /// What it was made with.
  int dim() const { return dim_; }

 private:
  std::vector<Index> places(const Tensor<Scalar>& indices, Index n) const {
    const Labels ids = detail::ids_of(*this, indices);
    std::vector<Index> result;
    for (Index i = 0; i < ids.numel(); ++i) {
      const Index id = ids.data()[i], place = id < 0 ? id + n : id;
      require(place >= 0 && place < n, *this, ": index ", id, " at position ", i, " is not one of ", n, " entries");
      result.push_back(place);
    }
    return result;
  }

  Value<Scalar> do_infer(Values<Scalar> x) const override {
    Tensor<Scalar> y(output_shapes(x)[0]);
    const Tensor<Scalar>& from = std::as_const(x)[0].tensor;
    const detail::AroundAxis around(from.shape(), dim_, *this);
    const std::vector<Index> at = places(x[1].tensor, around.n);
    Scalar* out = y.data();
    for (Index i = 0; i < around.outer; ++i)
      for (const Index place : at)
        out = std::copy_n(from.data() + (i * around.n + place) * around.inner, around.inner, out);
    return y;
  }
  Value<Scalar> do_forward(Values<Scalar> x, Tape& tape) override {
    tape.push(x[0].shape(), x[1].tensor);
    return do_infer(std::move(x));
  }
  Few<Tensor<Scalar>> do_backward(Tensor<Scalar> dy, Tape& tape, const Few<InputGrad>&) override {
    const auto [shape, indices] = tape.template pop<Shape, Tensor<Scalar>>();
    const detail::AroundAxis around(shape, dim_, *this);
    const std::vector<Index> at = places(indices, around.n);
    Tensor<Scalar> dx = Tensor<Scalar>::zeros(shape);
    const Scalar* in = std::as_const(dy).data();
    Scalar* const out = dx.data();
    for (Index i = 0; i < around.outer; ++i)
      for (const Index place : at)
        for (Index j = 0; j < around.inner; ++j) out[(i * around.n + place) * around.inner + j] += *in++;
    return {std::move(dx), Tensor<Scalar>::zeros(indices.shape())};
  }

  int dim_;
};

/// A term of a Mix: the entry of the input, and its weight.
template <class Scalar>
struct MixTerm {
  Index entry;    ///< of the axis
  Scalar weight;  ///< its factor
};

/// Weighted sums of entries along an axis of n: y[..., o, ...] = the sum over the terms of o of weight x[..., entry,
/// ...]. Any resampling of one axis is such a layer. Throws ShapeError for another extent, ValueError for an entry that
/// is not there.
template <class Scalar = float>
class Mix : public Layer<Mix<Scalar>, Scalar> {
 public:
  /// `terms` has those of each entry of the result; n is the extent of the input's axis.
  Mix(int dim, Index n, std::vector<std::vector<MixTerm<Scalar>>> terms) : dim_(dim), n_(n), terms_(std::move(terms)) {
    for (const auto& row : terms_)
      for (const auto& term : row)
        require(term.entry >= 0 && term.entry < n_, *this, ": there is no entry ", term.entry);
  }

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& input) const override {
    const int axis = detail::axis_position(dim_, input, *this);
    require<ShapeError>(input[axis] == n_, *this, ": expected ", n_, " entries in axis ", axis, ", got shape ", input);
    return input.with(axis, static_cast<Index>(terms_.size()));
  }
  Fields fields() const override {
    return Fields("Mix").argument("dim", dim_).argument("entries", n_).argument("results", terms_.size());
  }

  /// What it was made with.
  /// @{
  int dim() const { return dim_; }
  const std::vector<std::vector<MixTerm<Scalar>>>& terms() const { return terms_; }
  /// @}

 private:
  /// f(place in x, place in y, weight, length) for all terms of all rows.
  template <class F>
  void for_each_term(const Shape& input, F f) const {
    const detail::AroundAxis around(input, dim_, *this);
    const auto rows = static_cast<Index>(terms_.size());
    for (Index i = 0; i < around.outer; ++i)
      for (Index o = 0; o < rows; ++o)
        for (const auto& term : terms_[static_cast<std::size_t>(o)])
          f((i * around.n + term.entry) * around.inner, (i * rows + o) * around.inner, term.weight, around.inner);
  }

  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override {
    Tensor<Scalar> y = Tensor<Scalar>::zeros(output_shape(x.shape()));
    const Scalar* const in = std::as_const(x).data();
    Scalar* const out = y.data();
    for_each_term(x.shape(), [=](Index from, Index to, Scalar weight, Index length) {
      for (Index i = 0; i < length; ++i) out[to + i] += weight * in[from + i];
    });
    return y;
  }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [shape] = tape.template pop<Shape>();
    Tensor<Scalar> dx = Tensor<Scalar>::zeros(shape);
    const Scalar* const in = std::as_const(dy).data();
    Scalar* const out = dx.data();
    for_each_term(shape, [=](Index from, Index to, Scalar weight, Index length) {
      for (Index i = 0; i < length; ++i) out[from + i] += weight * in[to + i];
    });
    return dx;
  }

  int dim_;
  Index n_;
  std::vector<std::vector<MixTerm<Scalar>>> terms_;
};

}  // namespace lamina::inline LAMINA_ABI
