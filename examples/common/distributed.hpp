#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "lamina/core/tensor.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/nn/losses.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/train/parallel.hpp"

namespace lamina::examples {

/// What a command line says of training on several processes.
struct DistributedSettings {
  bool distributed = false, sync_batch_norm = false;
  std::string compression = "none";
  double top_k = 0.01;
  Index check_every = 0;
};

/// --distributed and what goes with it.
void add_distributed_options(CLI::App& app, DistributedSettings& settings);

/// The processes that run a program together, ranks: under mpirun with --distributed, else this one alone.
class Ranks {
 public:
  virtual ~Ranks() = default;

  virtual Index rank() const { return 0; }
  virtual Index size() const { return 1; }
  /// Whether this is the one that writes files and talks.
  bool first() const { return rank() == 0; }
  /// For loaders.
  Shard shard() const { return {rank(), size()}; }
  /// For fit; null without --distributed.
  virtual Parallel<float>* parallel() { return nullptr; }
  /// Before training: batch norms are synchronised, if that is asked for.
  virtual void prepare(Module<float>&) {}
  /// What a loss of the embeddings [2, N, D] of all ranks says, and its gradient by those of this one, [2, n, D]. The
  /// gradients of `shared`, parameters of the loss itself, are counted once.
  virtual Loss<float> joint_loss(const Tensor<float>& embeddings,
                                 const std::function<Loss<float>(const Tensor<float>&)>& loss,
                                 std::initializer_list<Parameter<float>*> shared);
};

/// body(ranks). Under mpirun an error ends all ranks, and names the one. Throws ValueError where --distributed is asked
/// for and the program was built without MPI.
void with_ranks(const DistributedSettings& settings, const std::function<void(Ranks&)>& body);

}  // namespace lamina::examples
