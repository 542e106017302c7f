#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/nn/tape.hpp"

namespace lamina::inline LAMINA_ABI {

/// The gradients of a contrastive batch that is too large for one forward (GradCache; Gao, Zhang, Han, Callan 2021):
/// the embeddings of all parts are computed and forgotten but for themselves, the loss of all of them gives their
/// gradients, and then every part is run again, forward and backward. Memory is that of one part and of the embeddings,
/// however large the batch; the price is a second forward.
///
///   const double loss = grad_cache<float>(
///       16, tape, [&](Index part, Tape& t) { return net.forward(images(part), tokens(part), t); },
///       [&](Tensor<float> grad, Tape& t) { net.backward(std::move(grad), t, InputGrad::skip); },
///       [&](const Tensor<float>& all) { return contrastive_loss(all, net.logit_scale); });
///
/// forward gives the embeddings [2, n, D] of a part, the same each time it is asked; loss sees those of all parts in
/// order, [2, N, D]. Both forwards of a part drop the same units, and running statistics move with the first one. The
/// gradients are those of one piece, but for a BatchNorm that learns, whose statistics are those of a part: freeze it.
/// Returns the loss. Throws ValueError for no parts, ShapeError when their embeddings do not fit.
template <class Scalar, class Forward, class Backward, class LossOf>
double grad_cache(Index parts, Tape& tape, const Forward& forward, const Backward& backward, const LossOf& loss_of) {
  require(parts >= 1, "grad_cache: expected at least one part, got ", parts);
  std::vector<Random> draws;
  std::vector<Tensor<Scalar>> embeddings;
  Index total = 0;
  for (Index part = 0; part < parts; ++part) {
    draws.push_back(tape.random());
    Tape scratch(tape.random());
    embeddings.push_back(forward(part, scratch));
    tape.random() = scratch.random();
    const Shape& shape = embeddings.back().shape();
    require<ShapeError>(shape.rank() == 3 && shape[0] == 2 && shape[2] == embeddings[0].dim(-1),
                        "grad_cache: expected embeddings [2, n, D], got shape ", shape, " of part ", part);
    total += shape[1];
  }
  const Index features = embeddings[0].dim(2);
  Tensor<Scalar> all({2, total, features});
  Index row = 0;
  for (const Tensor<Scalar>& part : embeddings) {
    const Index size = part.dim(1) * features;
    for (Index half = 0; half < 2; ++half)
      std::copy_n(part.data() + half * size, size, all.data() + (half * total + row) * features);
    row += part.dim(1);
  }
  const auto [value, gradient] = loss_of(std::as_const(all));
  row = 0;
  for (Index part = 0; part < parts; ++part) {
    Tensor<Scalar> own(embeddings[static_cast<std::size_t>(part)].shape());
    const Index size = own.dim(1) * features;
    for (Index half = 0; half < 2; ++half)
      std::copy_n(gradient.data() + (half * total + row) * features, size, own.data() + half * size);
    row += own.dim(1);
    Tape again = Tape::replaying(draws[static_cast<std::size_t>(part)]);
    forward(part, again);
    backward(std::move(own), again);
  }
  return value;
}

}  // namespace lamina::inline LAMINA_ABI
