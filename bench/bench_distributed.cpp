// What training on several ranks costs and brings, against one rank of as many threads in the same run:
//
//   mpirun -n 2 bench_distributed [--compression bfloat16] [resnet18 lenet ...]
//
// For each network, in alternation, the shortest of several rounds: a step of one rank while the others sleep; of all
// ranks, without an exchange; with the exchange after backward; with the exchange during backward. What hides behind
// backward is the share of the exchange's time that the last does not take. JSON lines on stdout.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "lamina/lamina.hpp"
#include "lamina/mpi.hpp"

namespace {

using namespace lamina;

struct Case {
  std::string name;
  Index batch;
  std::function<Value<float>(Random&)> input;
  std::function<std::unique_ptr<Module<float>>()> make;
  int steps;  // of a round
};

std::function<Value<float>(Random&)> images(Index batch, Index channels, Index side) {
  return [=](Random& random) {
    Tensor<float> x({batch, channels, side, side});
    for (float& value : x.values()) value = static_cast<float>(random.normal());
    return Value<float>(x);
  };
}
Value<float> tokens(Random& random) {
  Labels ids({8, 64});
  for (std::int32_t& id : ids.values()) id = static_cast<std::int32_t>(random.below(30522));
  return Value<float>(ids);
}

const std::vector<Case> cases = {
    {"resnet18", 8, images(8, 3, 224), [] { return resnet<float>(18).clone(); }, 2},
    {"resnet50", 8, images(8, 3, 224), [] { return resnet<float>(50).clone(); }, 1},
    {"distilbert", 8, tokens, [] { return DistilBert<float>().clone(); }, 1},
    {"lenet", 256, images(256, 1, 28), [] { return lenet<float>().clone(); }, 20},
};

/// Waits for all without keeping a core busy.
void meet(const mpi::Communicator& world) {
  MPI_Request request = MPI_REQUEST_NULL;
  mpi::check(MPI_Ibarrier(world.raw(), &request), "MPI_Ibarrier");
  for (int arrived = 0; !arrived; ::usleep(500))
    mpi::check(MPI_Test(&request, &arrived, MPI_STATUS_IGNORE), "MPI_Test");
}

enum class Mode { one, alone, after, during };

void measure(const Case& c, const mpi::Communicator& world, const mpi::DataParallelOptions& options, int rounds) {
  const int steps = c.steps;
  manual_seed(1);
  const auto net = c.make();
  SGD<float> optimizer(parameters(*net), {.lr = 1e-4});
  mpi::DataParallel<float> parallel(world, options);
  parallel.begin(*net);
  Random random(static_cast<std::uint64_t>(world.rank()));
  const Value<float> x = c.input(random);
  Tape tape;
  const auto step = [&](Mode mode) {
    Tensor<float> gradient = net->forward(x, tape, InputGrad::skip);  // of half the sum of squares
    const bool exchanges = mode == Mode::after || mode == Mode::during;
    if (exchanges) parallel.before_backward(tape, mode == Mode::during);
    net->backward(std::move(gradient), tape, InputGrad::skip);
    if (exchanges) parallel.after_backward(tape);
    optimizer.step();
  };
  constexpr double never = std::numeric_limits<double>::infinity();
  std::vector<double> best(4, never);
  mpi::ExchangeTimes times;
  for (int round = 0; round <= rounds; ++round)
    for (const Mode mode : {Mode::one, Mode::alone, Mode::after, Mode::during}) {
      meet(world);
      parallel.reset_times();
      const double begin = seconds_now();
      if (mode != Mode::one || world.rank() == 0)
        for (int i = 0; i < steps; ++i) step(mode);
      double seconds = (seconds_now() - begin) / steps;
      meet(world);
      if (mode != Mode::one) {  // the slowest rank's
        const auto all = world.gather(std::span<const double>(&seconds, 1));
        seconds = *std::max_element(all.begin(), all.end());
      }
      double& least = best[static_cast<std::size_t>(mode)];
      if (round > 0 && seconds < least) {  // the first warms up
        least = seconds;
        if (mode == Mode::during) times = parallel.times();
      }
    }
  if (world.rank() > 0) return;
  const double one = best[0], alone = best[1], after = best[2], during = best[3];
  const auto n = static_cast<double>(world.size());
  std::printf(
      "{\"network\": \"%s\", \"batch\": %td, \"ranks\": %td, \"threads\": %d, \"compression\": \"%s\", \"buckets\": "
      "%td, "
      "\"megabytes_sent\": %.2f, \"one_rank_ms\": %.2f, \"no_exchange_ms\": %.2f, \"after_backward_ms\": %.2f, "
      "\"during_backward_ms\": %.2f, \"speedup\": %.3f, \"speedup_without_exchange\": %.3f, \"exchange_ms\": %.2f, "
      "\"hidden\": %.2f, \"working_ms\": %.2f, \"waiting_ms\": %.2f}\n",
      c.name.c_str(), c.batch, world.size(), num_threads(), parallel.options().compression.word(), parallel.buckets(),
      parallel.bytes_sent() / 1e6, 1e3 * one, 1e3 * alone, 1e3 * after, 1e3 * during, n * one / during, n * one / alone,
      1e3 * (after - alone), 1 - (during - alone) / (after - alone), 1e3 * times.during_backward / steps,
      1e3 * times.after_backward / steps);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  return mpi::run([&](const mpi::Communicator& world) {
    mpi::DataParallelOptions options;
    std::vector<std::string> names;
    int rounds = 7;
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      if (word == "--compression" && i + 1 < argc)
        options.compression = std::string(argv[++i]);
      else if (word == "--rounds" && i + 1 < argc)
        rounds = std::stoi(argv[++i]);
      else if (word == "--bucket-bytes" && i + 1 < argc)
        options.bucket_bytes = std::stoll(argv[++i]);
      else
        names.push_back(word);
    }
    if (names.empty()) names = {"resnet18", "lenet"};
    for (const std::string& name : names) {
      const auto found = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return c.name == name; });
      require(found != cases.end(), "bench_distributed: there is no network ", name,
              "; there are resnet18, resnet50, distilbert and lenet");
      measure(*found, world, options, rounds);
    }
  });
}
