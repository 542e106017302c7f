#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/mpi/communicator.hpp"

namespace lamina::mpi::inline LAMINA_ABI {

/// What the ranks have computed of the parts of a batch, put together on every rank, and the way back: so a loss that
/// compares the samples of a batch with each other, as a contrastive one, sees all of it (Radford et al. 2021, figure
/// 3, with the batch over many machines).
///
///   GatherRows<float> rows(ranks, embeddings, 1);                 // [2, n, D] of each rank: all() is [2, N, D]
///   auto [loss, grad] = contrastive_loss(rows.all(), scale);      // the same number on all ranks
///   net.backward(rows.own(grad), tape);                           // the gradient of this rank's rows
///
/// Every rank computes the same loss, so that d(loss)/d(its rows) is its part of d(loss)/d(all rows), without another
/// message; the sum over ranks of the gradients of a parameter behind the rows is that of the whole batch. A parameter
/// of the loss itself (a temperature) has its whole gradient on each rank: divide it by ranks.size() before a sum.
template <class Scalar>
class GatherRows {
 public:
  /// Puts together along an axis; the ranks' shapes are the same but for that. Throws ShapeError, which names the rank,
  /// if they are not. Collective.
  GatherRows(const Communicator& ranks, const Tensor<Scalar>& own, int axis) : axis_(axis), own_(own.dim(axis)) {
    const Shape& shape = own.shape();
    std::vector<std::int64_t> dims;
    for (int i = 0; i < shape.rank(); ++i) dims.push_back(i == axis ? 0 : shape[i]);
    const auto all_dims = ranks.gather_all(std::span<const std::int64_t>(dims));
    for (std::size_t r = 0; r < all_dims.size(); ++r)
      require<ShapeError>(all_dims[r] == all_dims[0], "GatherRows: rank ", r,
                          " has rows of another shape than rank 0; here the shape is ", shape);
    const auto parts = ranks.gather_all(std::span<const Scalar>(own.data(), static_cast<std::size_t>(own.numel())));
    outer_ = shape.product(0, axis);
    inner_ = shape.product(axis + 1, shape.rank());
    Index total = 0;
    for (std::size_t r = 0; r < parts.size(); ++r) {
      if (static_cast<Index>(r) == ranks.rank()) first_ = total;
      total += rows_of(parts[r]);
    }
    all_ = Tensor<Scalar>(shape.with(axis, total));
    Index row = 0;
    for (const auto& part : parts) {
      const Index size = rows_of(part) * inner_;
      for (Index i = 0; i < outer_; ++i)
        std::copy_n(part.data() + i * size, size, all_.data() + (i * total + row) * inner_);
      row += rows_of(part);
    }
  }

  /// The rows of all ranks, in their order.
  const Tensor<Scalar>& all() const { return all_; }
  /// Which of them is this rank's first.
  Index first() const { return first_; }

  /// This rank's part of d(loss)/d(all rows). Throws ShapeError for another shape.
  Tensor<Scalar> own(const Tensor<Scalar>& gradient) const {
    require<ShapeError>(gradient.shape() == all_.shape(), "GatherRows: expected a gradient of shape ", all_.shape(),
                        ", got shape ", gradient.shape());
    const Index total = all_.dim(axis_);
    Tensor<Scalar> result(all_.shape().with(axis_, own_));
    for (Index i = 0; i < outer_; ++i)
      std::copy_n(gradient.data() + (i * total + first_) * inner_, own_ * inner_, result.data() + i * own_ * inner_);
    return result;
  }

 private:
  Index rows_of(const std::vector<Scalar>& part) const {
    return outer_ * inner_ > 0 ? static_cast<Index>(part.size()) / (outer_ * inner_) : 0;
  }

  int axis_;
  Index own_, first_ = 0, outer_ = 1, inner_ = 1;
  Tensor<Scalar> all_;
};

}  // namespace lamina::mpi::inline LAMINA_ABI
