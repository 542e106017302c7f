// Trains on several ranks, one of which fails after the first epoch: what it throws, a signal that ends it, a loss that
// is not a number, or other options than the others from the start. `resume` goes on from the checkpoint, and is to
// work on one rank.

#include <csignal>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <string>

#include "lamina/io/checkpoint.hpp"
#include "lamina/lamina.hpp"
#include "lamina/mpi.hpp"

using namespace lamina;

namespace {

void train(const mpi::Communicator& world, const std::string& how, const std::string& path) {
  manual_seed(1);
  Sequential<float> net{Linear(6, 32), Tanh(), Linear(32, 3)};
  SGD<float> optimizer(parameters(net), {.lr = how == "options" && world.rank() == 1 ? 0.2 : 0.1});
  Random random(3);
  Tensor<float> x({48, 6});
  for (float& value : x.values()) value = static_cast<float>(random.normal());
  Labels y({48});
  for (Index i = 0; i < 48; ++i) y(i) = static_cast<std::int32_t>(i % 3);

  mpi::DataParallel<float> parallel(world);
  DataLoader<float> loader(TensorDataset<float>(x, y), {.batch_size = 12, .shuffle = true, .shard = parallel.shard()});
  FitState<float> state;
  FitOptions<float> options{.epochs = 3, .progress = false, .parallel = &parallel};
  if (how == "resume") {
    state = load_checkpoint(path, net, optimizer);
    if (state.epoch < 1) throw std::runtime_error("the checkpoint has no epoch");
  } else {
    options.epochs = 1000000;  // the failure ends it
    options.on_epoch = [&](const FitState<float>& now) {
      if (world.rank() == 0 && now.epoch <= 2) save_checkpoint(path, now, net, optimizer);
      // On the others nothing is as slow as rank 0's file.
      if (how == "throws" && now.epoch == 2 && world.rank() == 1)
        throw std::runtime_error("the data of rank 1 are gone");
      if (how == "unguarded" && now.epoch == 2 && world.rank() == 1) throw std::runtime_error("nobody says this");
      if (how == "killed" && now.epoch == 2 && world.rank() == 1) std::raise(SIGKILL);
    };
    options.loss = [&](Tensor<float> output, const Labels& labels) {
      auto loss = cross_entropy(std::move(output), labels);
      if (how == "nan" && state.epoch == 2 && world.rank() == 2) loss.value = std::numeric_limits<float>::quiet_NaN();
      return loss;
    };
  }
  fit(net, optimizer, loader, options, state);
  if (world.rank() == 0) std::printf("epochs: %td\n", state.epoch);
}

}  // namespace

int main(int, char** argv) {
  const std::string how = argv[1], path = argv[2];
  if (how != "unguarded") return mpi::run([&](const mpi::Communicator& world) { train(world, how, path); });
  try {
    mpi::Session session;
    train(session.world(), how, path);
  } catch (const std::exception&) {
    return 1;
  }
  return 0;
}
