#include "common/distributed.hpp"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "common/options.hpp"

#ifdef LAMINA_EXAMPLES_MPI
#include "lamina/mpi.hpp"
#endif

namespace lamina::examples {

void add_distributed_options(CLI::App& app, DistributedSettings& settings) {
  CLI::Option* const distributed =
      app.add_flag("--distributed", settings.distributed,
                   "Train on all processes that mpirun has started, each with its part of every\n"
                   "batch: mpirun -n 4 PROGRAM --distributed ...");
  app.add_flag("--sync-batch-norm", settings.sync_batch_norm,
               "With --distributed, batch norms take their statistics over all processes")
      ->needs(distributed);
  app.add_option("--compression", settings.compression,
                 "With --distributed, how gradients are sent: bfloat16 is half as long, top_k sends\n"
                 "the largest; what is left out comes with a later step")
      ->check(CLI::IsMember({"none", "bfloat16", "top_k"}))
      ->capture_default_str()
      ->needs(distributed);
  app.add_option("--compression-share", settings.top_k, "The share that --compression top_k sends")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str()
      ->needs(distributed);
  app.add_option("--check-every", settings.check_every,
                 "With --distributed, steps between comparisons of the processes' weights, beside\n"
                 "that after each epoch (default: none)")
      ->check(at_least(0))
      ->needs(distributed);
}

Loss<float> Ranks::joint_loss(const Tensor<float>& embeddings,
                              const std::function<Loss<float>(const Tensor<float>&)>& loss,
                              std::initializer_list<Parameter<float>*>) {
  return loss(embeddings);
}

#ifdef LAMINA_EXAMPLES_MPI

namespace {

class MpiRanks final : public Ranks {
 public:
  MpiRanks(const mpi::Communicator& world, const DistributedSettings& settings)
      : world_(world),
        settings_(settings),
        parallel_(world,
                  {.compression = settings.compression, .top_k = settings.top_k, .check_every = settings.check_every}) {
  }

  Index rank() const override { return world_.rank(); }
  Index size() const override { return world_.size(); }
  Parallel<float>* parallel() override { return &parallel_; }
  void prepare(Module<float>& net) override {
    if (settings_.sync_batch_norm) mpi::sync_batch_norm(net, world_);
  }
  Loss<float> joint_loss(const Tensor<float>& embeddings, const std::function<Loss<float>(const Tensor<float>&)>& loss,
                         std::initializer_list<Parameter<float>*> shared) override {
    const mpi::GatherRows<float> rows(world_, embeddings, 1);
    auto [value, gradient] = loss(rows.all());
    for (Parameter<float>* parameter : shared)  // every rank has the whole of it
      if (!parameter->grad.empty()) parameter->grad *= 1 / static_cast<float>(size());
    return {value, rows.own(gradient)};
  }

 private:
  mpi::Communicator world_;
  DistributedSettings settings_;
  mpi::DataParallel<float> parallel_;
};

}  // namespace

void with_ranks(const DistributedSettings& settings, const std::function<void(Ranks&)>& body) {
  if (!settings.distributed) {
    Ranks alone;
    return body(alone);
  }
  mpi::run([&](const mpi::Communicator& world) {
    // One of them talks; errors are on stderr.
    if (world.rank() > 0)
      require<FileError>(std::freopen("/dev/null", "w", stdout), "/dev/null: cannot be opened for writing");
    MpiRanks ranks(world, settings);
    body(ranks);
  });
}

#else

void with_ranks(const DistributedSettings& settings, const std::function<void(Ranks&)>& body) {
  require(!settings.distributed,
          "--distributed: this program was built without MPI, which was not found then (Debian's "
          "packages: libopenmpi-dev openmpi-bin)");
  Ranks alone;
  body(alone);
}

#endif

}  // namespace lamina::examples
