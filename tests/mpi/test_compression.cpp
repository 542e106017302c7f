#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "message.hpp"
#include "world.hpp"

using namespace lamina;
using lamina::testing::message;

TEST_CASE("bfloat16 is a float's upper half, rounded to the nearest, ties to even") {
  const auto there_and_back = [](float value) { return mpi::from_bfloat16(mpi::to_bfloat16(value)); };
  for (const float value : {0.0F, 1.0F, -2.5F, 0x1p-126F, 0x1.fep127F, std::numeric_limits<float>::infinity()})
    CHECK(there_and_back(value) == value);
  CHECK(std::signbit(there_and_back(-0.0F)));
  CHECK(there_and_back(1 + 0x1p-8F) == 1);  // half way, to the even one
  CHECK(there_and_back(1 + 3 * 0x1p-8F) == 1 + 0x1p-6F);
  CHECK(there_and_back(1 + 0x1p-8F + 0x1p-20F) == 1 + 0x1p-7F);
  CHECK(there_and_back(std::numeric_limits<float>::max()) == std::numeric_limits<float>::infinity());
  CHECK(std::isnan(there_and_back(std::numeric_limits<float>::quiet_NaN())));
  Random random(3);
  for (int i = 0; i < 1000; ++i) {
    const auto value = static_cast<float>(random.normal());
    CHECK(std::abs(there_and_back(value) - value) <= std::abs(value) * 0x1p-8F);
  }
}

namespace {

/// Sums numbers over the ranks, and waits.
template <class Scalar>
void sum(mpi::Exchange<Scalar>& exchange) {
  exchange.start();
  while (!exchange.done()) exchange.move_on(true);
}

}  // namespace

TEST_CASE_TEMPLATE("what a message leaves out comes with the next", Scalar, float, double) {
  const mpi::Communicator first = world()->duplicate(), second = world()->duplicate();
  const Index size = 101;
  const auto n = static_cast<double>(world()->size());
  for (const auto compression : {mpi::Compression::none, mpi::Compression::bfloat16, mpi::Compression::top_k}) {
    mpi::Exchange<Scalar> exchange(first, second, size, compression, 0.1);
    std::vector<double> wanted(size), got(size);
    Random random(17);
    double most = 0;
    constexpr int steps = 60;
    for (int step = 0; step < steps; ++step) {
      for (Index r = 0; r < world()->size(); ++r)
        for (Index i = 0; i < size; ++i) {
          const auto value = static_cast<Scalar>(random.normal() * (1 + static_cast<double>(i % 7)) + 0.2);
          wanted[static_cast<std::size_t>(i)] += static_cast<double>(value);
          most = std::max(most, std::abs(static_cast<double>(value)));
          if (r == world()->rank()) exchange.values()[i] = value;
        }
      sum(exchange);
      for (Index i = 0; i < size; ++i) got[static_cast<std::size_t>(i)] += static_cast<double>(exchange.values()[i]);
    }
    // Only the last message's remainder is missing, however many there were: without error feedback the errors would
    // grow with their number.
    double worst = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) worst = std::max(worst, std::abs(wanted[i] - got[i]));
    if (compression == mpi::Compression::none)
      CHECK(worst < (std::is_same_v<Scalar, float> ? 1e-3 : 1e-12));
    else if (compression == mpi::Compression::bfloat16)
      CHECK(worst < n * most * 3 * 0x1p-8);  // half an ulp of n numbers and of their sum
    else
      CHECK(worst < n * 12 * most);  // a number waits some ten steps for its turn
    Hash hash;
    hash.add(exchange.values(), static_cast<std::size_t>(size) * sizeof(Scalar));
    for (const std::string& other : world()->gather(hash.text())) CHECK(other == hash.text());
  }
}

TEST_CASE("numbers that are not finite are passed on, and forgotten") {
  const mpi::Communicator first = world()->duplicate(), second = world()->duplicate();
  for (const auto compression : {mpi::Compression::bfloat16, mpi::Compression::top_k}) {
    mpi::Exchange<float> exchange(first, second, 4, compression, 0.5);
    const auto send = [&](float value) {
      std::fill_n(exchange.values(), 4, 0.0F);
      exchange.values()[2] = value;
      sum(exchange);
      return exchange.values()[2];
    };
    CHECK(std::isnan(send(std::numeric_limits<float>::quiet_NaN())));
    CHECK(send(std::numeric_limits<float>::infinity()) == std::numeric_limits<float>::infinity());
    CHECK(send(1) == static_cast<float>(world()->size()));
  }
}

TEST_CASE("messages are half as long in bfloat16, and shorter with top_k") {
  const Index n = world()->size();
  const auto bytes = [&](mpi::Compression compression) {
    return mpi::Exchange<float>(*world(), *world(), 1000, compression, 0.01).bytes_sent();
  };
  const double whole = 2.0 * static_cast<double>(n - 1) / static_cast<double>(n) * 4000;
  CHECK(bytes(mpi::Compression::none) == doctest::Approx(whole));
  CHECK(bytes(mpi::Compression::bfloat16) == doctest::Approx(whole / 2));
  CHECK(bytes(mpi::Compression::top_k) == doctest::Approx(static_cast<double>(n - 1) * 10 * 8));
}

TEST_CASE("compressed training learns as training does, with synchronised batch norms too") {
  const auto run = [](const char* compression, bool norms) {
    manual_seed(5);
    Sequential<float> net{Conv2d(1, 8, 3, {.stride = 2, .padding = 1})};
    if (norms) net.add("a", BatchNorm2d(8));
    net.add("b", ReLU());
    net.add("c", Conv2d(8, 16, 3, {.stride = 2, .padding = 1}));
    if (norms) net.add("d", BatchNorm2d(16));
    net.add("e", ReLU());
    net.add("f", Flatten());
    net.add("g", Linear(16 * 49, 10));
    mpi::sync_batch_norm(net, *world());
    mpi::DataParallel<float> parallel(*world(), {.bucket_bytes = 20000, .compression = compression, .top_k = 0.25});
    SGD optimizer(parameters(net), {.lr = 0.05, .momentum = 0.9});
    DataLoader<float> train(digits(600), {.batch_size = 60, .shuffle = true, .shard = parallel.shard()});
    return fit(net, optimizer, train, {.epochs = 6, .progress = false, .parallel = &parallel}).epochs.back().train_loss;
  };
  for (const bool norms : {false, true}) {
    const double exact = run("none", norms), half = run("bfloat16", norms), largest = run("top_k", norms);
    CAPTURE(exact);
    CHECK(half < 1.1 * exact + 0.005);
    CHECK(largest < 1.5 * exact + 0.1);
  }
}
