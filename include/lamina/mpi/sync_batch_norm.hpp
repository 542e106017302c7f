#pragma once

#include <memory>
#include <span>

#include "lamina/mpi/communicator.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/state.hpp"

namespace lamina::mpi::inline LAMINA_ABI {

/// Makes every BatchNorm1d and BatchNorm2d of a model take its statistics, in training, over the batches of all ranks
/// (BatchNorm2d::synchronize): training is then that of one process with the batches of all. It costs two messages of
/// 2 C numbers for a layer in each step, that all ranks wait for. Returns how many there are. Collective.
template <class Scalar>
Index sync_batch_norm(Module<Scalar>& net, const Communicator& ranks) {
  Index count = 0;
  const auto sum =
      std::make_shared<const SumOverRanks>([own = ranks.duplicate()](std::span<double> values) { own.sum(values); });
  const auto set = [&](auto& norm) {
    norm.synchronize(sum);
    ++count;
  };
  for_each<BatchNorm2d<Scalar>>(net, set);
  for_each<BatchNorm1d<Scalar>>(net, set);
  return count;
}

}  // namespace lamina::mpi::inline LAMINA_ABI
