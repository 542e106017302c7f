#include <doctest/doctest.h>

#include <numeric>

#include "message.hpp"
#include "world.hpp"

using namespace lamina;
using lamina::testing::message;

TEST_CASE("ranks add up, broadcast and gather numbers and texts") {
  const mpi::Communicator& ranks = *world();
  const Index n = ranks.size(), r = ranks.rank();
  const auto total = static_cast<double>(n * (n - 1) / 2);

  std::vector<double> numbers{static_cast<double>(r), 1, 0.5};
  ranks.sum(std::span<double>(numbers));
  CHECK(numbers == std::vector<double>{total, static_cast<double>(n), 0.5 * static_cast<double>(n)});
  std::vector<float> singles(5000, static_cast<float>(r));
  ranks.sum(std::span<float>(singles));
  CHECK(singles == std::vector<float>(5000, static_cast<float>(total)));
  std::vector<std::uint8_t> bytes(7, static_cast<std::uint8_t>(1));
  ranks.sum(std::span<std::uint8_t>(bytes));
  CHECK(bytes == std::vector<std::uint8_t>(7, static_cast<std::uint8_t>(n)));
  numbers = {static_cast<double>(r), 2};
  ranks.sum_in_order(numbers);
  CHECK(numbers == std::vector<double>{total, 2.0 * static_cast<double>(n)});
  numbers = {static_cast<double>(r), 2};
  ranks.sum_over_ranks()(numbers);
  CHECK(numbers == std::vector<double>{total, 2.0 * static_cast<double>(n)});

  std::vector<std::int64_t> given{r, 10 + r};
  ranks.broadcast(std::span<std::int64_t>(given), n - 1);
  CHECK(given == std::vector<std::int64_t>{n - 1, 9 + n});

  const std::vector<std::int32_t> own(static_cast<std::size_t>(r), static_cast<std::int32_t>(r));
  const auto all = ranks.gather_all(std::span<const std::int32_t>(own));
  REQUIRE(all.size() == static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < all.size(); ++i)
    CHECK(all[i] == std::vector<std::int32_t>(i, static_cast<std::int32_t>(i)));
  const auto texts = ranks.gather(text("I am ", r, std::string(static_cast<std::size_t>(r), '!')));
  for (std::size_t i = 0; i < texts.size(); ++i) CHECK(texts[i] == text("I am ", i, std::string(i, '!')));

  const mpi::Communicator other = ranks.duplicate();
  CHECK(other.size() == n);
  CHECK(other.rank() == r);
  ranks.barrier();
}

TEST_CASE("MPI's errors and missing threads are named") {
  CHECK_THROWS_WITH_AS(mpi::check(MPI_ERR_COMM, "MPI_Send"), doctest::Contains("MPI_Send: MPI_ERR_COMM"),
                       mpi::MpiError);
  mpi::check(MPI_SUCCESS, "MPI_Send");
  mpi::check_threads(MPI_THREAD_FUNNELED);
  CHECK(message([] { mpi::check_threads(MPI_THREAD_SINGLE); }) ==
        "MPI: this library was built without threads (it gives MPI_THREAD_SINGLE, and MPI_THREAD_FUNNELED is needed), "
        "but Lamina computes and loads data with some");
  std::vector<double> none(1);
  CHECK_THROWS_WITH_AS(world()->broadcast(std::span<double>(none), world()->size()), doctest::Contains("MPI_Bcast: "),
                       mpi::MpiError);
}

TEST_CASE("a second session uses the MPI that runs") {
  const mpi::Session second;
  CHECK(second.world().size() == world()->size());
}

TEST_CASE("rows of all ranks make one contrastive batch, with the gradients of one process") {
  const mpi::Communicator& ranks = *world();
  const Index n = 7, features = 4;
  Random random(5);
  Tensor<double> whole({2, n, features});
  for (double& value : whole.values()) value = random.normal();
  const Shard shard{ranks.rank(), ranks.size()};
  const Index first = shard.begin(n), count = shard.end(n) - first;
  Tensor<double> own({2, count, features}), expected(own.shape());
  Parameter<double> scale(Tensor<double>({}, {1.5})), same(scale);
  const auto [loss, gradient] = contrastive_loss(whole, same);
  for (Index half = 0; half < 2; ++half)
    for (Index i = 0; i < count; ++i)
      for (Index d = 0; d < features; ++d) {
        own(half, i, d) = whole(half, first + i, d);
        expected(half, i, d) = gradient(half, first + i, d);
      }
  const mpi::GatherRows<double> rows(ranks, own, 1);
  CHECK(rows.all() == whole);
  CHECK(rows.first() == first);
  const auto [value, back] = contrastive_loss(rows.all(), scale);
  CHECK(value == loss);
  CHECK(rows.own(back) == expected);
  CHECK(scale.grad == same.grad);

  CHECK(message([&] { rows.own(own.reshape({-1})); }) ==
        text("GatherRows: expected a gradient of shape [2, 7, 4], got shape [", 2 * count * features, "]"));
  if (ranks.size() == 1) return;
  const Index width = ranks.rank() == 1 ? 3 : 4;
  CHECK_THROWS_WITH_AS(mpi::GatherRows<double>(ranks, Tensor<double>({2, 2, width}), 1),
                       doctest::Contains("GatherRows: rank 1 has rows of another shape than rank 0"), ShapeError);
}
