#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lamina/kernels/functions.hpp"
#include "lamina/kernels/run.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/module.hpp"

namespace lamina::inline LAMINA_ABI {

namespace detail {

/// Ids that come as numbers. Throws ValueError for one that is not a whole number, naming its place.
template <class Caller, class Scalar>
Labels ids_of(const Caller& caller, const Tensor<Scalar>& x) {
  Labels ids = x.template cast<std::int32_t>();
  for (Index i = 0; i < x.numel(); ++i)
    require(static_cast<Scalar>(std::as_const(ids).data()[i]) == x.data()[i], caller, ": ", x.data()[i],
            " at position ", i, " is not an id");
  return ids;
}

}  // namespace detail

/// Options of Embedding.
struct EmbeddingOptions {
  std::int32_t padding_idx = -1;  ///< this id's row starts as zeros and is not learned; negative: there is none
};

/// y = weight[id]: a learned vector for each of `entries` ids, words or positions.
///
/// Shapes: ids of any shape [...], weight [entries, features], y [..., features]. Weight starts from N(0, 1). Backward
/// touches the gradient's rows of the ids that occur, and there is no dx: it is empty. Ids are Labels, or numbers in a
/// tensor. Throws ValueError for sizes below 1, a padding index or an id that is not an entry, naming it
/// and its place.
template <class Scalar = float>
class Embedding : public Layer<Embedding<Scalar>, Scalar> {
 public:
  Parameter<Scalar> weight;  ///< [entries, features]

  /// Shapes, defaults and errors are said at the class.
  Embedding(Index entries, Index features, const EmbeddingOptions& options = {})
      : entries_(entries), features_(features), padding_(options.padding_idx) {
    require(entries_ >= 1 && features_ >= 1, *this, ": sizes must be at least 1");
    require(padding_ < entries_, *this, ": padding_idx must be below ", entries_);
    weight = init::normal<Scalar>({entries_, features_});
    if (padding_ >= 0) std::fill_n(weight.value.data() + padding_ * features_, features_, Scalar(0));
  }

  Saved saved() const override { return Saved::nothing; }
  Shape output_shape(const Shape& ids) const override {
    require<ShapeError>(ids.rank() < Shape::max_rank, *this, ": expected ids of rank below ", Shape::max_rank,
                        ", got shape ", ids);
    std::vector<Index> extents;
    for (int axis = 0; axis < ids.rank(); ++axis) extents.push_back(ids[axis]);
    extents.push_back(features_);
    return Shape(std::span<const Index>(extents));
  }
  Members<Scalar> members() override { return {{"weight", &weight}}; }
  Fields fields() const override {
    return Fields("Embedding")
        .argument("num_embeddings", entries_)
        .argument("embedding_dim", features_)
        .option("padding_idx", padding_, -1);
  }

 private:
  Tensor<Scalar> do_infer(Tensor<Scalar> x) const override { return rows_of(detail::ids_of(*this, x)); }
  Tensor<Scalar> do_forward(Tensor<Scalar> x, Tape& tape) override {
    const Labels ids = detail::ids_of(*this, x);
    Tensor<Scalar> y = rows_of(ids);
    tape.push(ids);
    return y;
  }

  Tensor<Scalar> rows_of(const Labels& ids) const {
    const std::int32_t* const id = ids.data();
    for (Index i = 0; i < ids.numel(); ++i)
      require(id[i] >= 0 && id[i] < entries_, *this, ": id ", id[i], " at position ", i, " is not one of the ",
              entries_, " entries 0 to ", entries_ - 1);
    Tensor<Scalar> y(output_shape(ids.shape()));
    Scalar* const out = y.data();
    const Scalar* const rows = weight.value.data();
    parallel_for(0, ids.numel(), std::max<Index>(1, (1 << 15) / features_), [&](Index first, Index last) {
      for (Index i = first; i < last; ++i) std::copy_n(rows + id[i] * features_, features_, out + i * features_);
    });
    return y;
  }

  Tensor<Scalar> do_backward(Tensor<Scalar> dy, Tape& tape, InputGrad) override {
    const auto [ids] = tape.pop<Labels>();
    if (!weight.requires_grad) return {};
    const std::int32_t* const id = ids.data();
    const Scalar* const in = std::as_const(dy).data();
    Scalar* const grad = weight.gradient().data();
    const Index count = ids.numel();
    // An id may occur often: every thread adds all rows, in order, but only some of their columns.
    parallel_for(0, features_, std::max<Index>(64, (1 << 15) / std::max<Index>(count, 1)),
                 [&](Index first, Index last) {
                   for (Index i = 0; i < count; ++i) {
                     if (id[i] == padding_) continue;
                     const Scalar* const from = in + i * features_ + first;
                     Scalar* const to = grad + id[i] * features_ + first;
                     kernels::map_run(last - first, to, kernels::SumAt<Scalar>{to, from});
                   }
                 });
    return {};
  }

  Index entries_, features_, padding_;
};

}  // namespace lamina::inline LAMINA_ABI
