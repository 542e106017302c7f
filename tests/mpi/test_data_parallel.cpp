#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>

#include "lamina/io/checkpoint.hpp"
#include "message.hpp"
#include "world.hpp"

using namespace lamina;
using lamina::testing::message;

namespace {

using Net = Sequential<double>;

Net plain() {
  manual_seed(11);
  return Net{Conv2d<double>(1, 4, 3, {.padding = 1}),
             ReLU<double>(),
             MaxPool2d<double>(2),
             Flatten<double>(),
             Linear<double>(36, 12),
             Tanh<double>(),
             Linear<double>(12, 3)};
}
Net normed() {
  manual_seed(12);
  return Net{Conv2d<double>(1, 4, 3, {.padding = 1}),
             BatchNorm2d<double>(4),
             ReLU<double>(),
             Checkpoint(Net{Conv2d<double>(4, 4, 3, {.padding = 1}), BatchNorm2d<double>(4, {.momentum = {}}),
                            ReLU<double>()}),
             Flatten<double>(),
             Linear<double>(144, 12),
             BatchNorm1d<double>(12),
             Tanh<double>(),
             Linear<double>(12, 3)};
}

/// Images whose class is where they are bright, far from 0 on average.
TensorDataset<double> images(Index count, std::uint64_t seed = 7) {
  Random random(seed);
  Tensor<double> x({count, 1, 6, 6});
  for (double& value : x.values()) value = 3 + random.normal();
  Labels y({count});
  for (Index i = 0; i < count; ++i) {
    y(i) = static_cast<std::int32_t>(random.below(3));
    for (Index k = 0; k < 6; ++k) x(i, 0, 2 * static_cast<Index>(y(i)), k) += 2;
  }
  return TensorDataset<double>(x, y);
}

struct How {
  Index accumulate = 1, epochs = 5, batch_size = 14, samples = 50;
  mpi::DataParallelOptions options = {.bucket_bytes = 500};
  double lr = 0.05;
  std::optional<double> ema = {};
};

/// Trains on all ranks, or alone; the history.
History trained(Net& net, bool together, const How& how, FitState<double>* from = nullptr,
                mpi::ExchangeTimes* times = nullptr) {
  mpi::DataParallel<double> parallel(*world(), how.options);
  const Shard shard = together ? parallel.shard() : Shard{};
  if (together) mpi::sync_batch_norm(net, *world());
  SGD<double> optimizer(parameters(net), {.lr = how.lr, .momentum = 0.9});
  DataLoader<double> train(images(how.samples),
                           {.batch_size = how.batch_size, .shuffle = true, .seed = 3, .shard = shard});
  DataLoader<double> test(images(23, 8), {.batch_size = 5, .shard = shard});
  FitOptions<double> options{.epochs = how.epochs,
                             .test = &test,
                             .accumulate = how.accumulate,
                             .ema_decay = how.ema,
                             .clip_grad_norm = 5,
                             .progress = false,
                             .parallel = together ? &parallel : nullptr};
  FitState<double> state;
  History history = fit(net, optimizer, train, options, from ? *from : state);
  if (times) *times = parallel.times();
  return history;
}

/// The largest difference of two models' parameters and buffers, relative to the largest number of a tensor.
double difference(const Net& a, const Net& b) {
  const auto x = state_dict(a), y = state_dict(b);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto* const p = std::get_if<Tensor<double>>(&x[i].second);
    if (!p) {
      if (!(x[i].second == y[i].second)) worst = 1;
      continue;
    }
    const auto& q = std::get<Tensor<double>>(y[i].second);
    double largest = 0, most = 0;
    for (Index k = 0; k < p->numel(); ++k) {
      largest = std::max(largest, std::abs(q.data()[k]));
      most = std::max(most, std::abs(p->data()[k] - q.data()[k]));
    }
    if (!(most <= worst * largest)) worst = most / largest;
  }
  return worst;
}

std::string hash_of(const Net& net) {
  Hash hash;
  hash.add(state_dict(net));
  return hash.text();
}

std::string shared_path(const char* name) {
  std::int64_t process = ::getpid();
  world()->broadcast(std::span<std::int64_t>(&process, 1));
  return (std::filesystem::temp_directory_path() / text("lamina-mpi-", process, "-", name)).string();
}

}  // namespace

TEST_CASE("ranks train as one process does with the batch of all") {
  for (Net (*make)() : {plain, normed})
    for (const How& how : {How{}, How{.accumulate = 3, .epochs = 15}, How{.batch_size = 11, .samples = 47},
                           How{.options = {.bucket_bytes = 1 << 20}, .ema = 0.9}}) {
      Net alone = make(), one = make();
      const History single = trained(alone, false, how), history = trained(one, true, how);
      CHECK(difference(one, alone) < 1e-6);
      for (std::size_t e = 0; e < single.epochs.size(); ++e) {
        CHECK(history.epochs[e].train_loss == doctest::Approx(single.epochs[e].train_loss).epsilon(1e-7));
        CHECK(history.epochs[e].test_loss == doctest::Approx(single.epochs[e].test_loss).epsilon(1e-7));
        CHECK(history.epochs[e].train_accuracy == single.epochs[e].train_accuracy);
        CHECK(history.epochs[e].test_accuracy == single.epochs[e].test_accuracy);
      }
      CHECK(history.epochs.back().train_loss < 0.7 * history.epochs.front().train_loss);
    }
}

TEST_CASE("bits are the same from run to run, and on all ranks") {
  for (const char* compression : {"none", "bfloat16", "top_k"}) {
    const How how{.options = {.bucket_bytes = 700, .compression = compression, .top_k = 0.2, .check_every = 3}};
    Net first = normed(), second = normed();
    trained(first, true, how);
    trained(second, true, how);
    CHECK(hash_of(first) == hash_of(second));
    for (const std::string& other : world()->gather(hash_of(first))) CHECK(other == hash_of(first));
  }
}

TEST_CASE("exchanges begin before backward has ended") {
  mpi::DataParallel<double> parallel(*world(), {.bucket_bytes = 300});
  Net net = plain();
  parallel.begin(net);
  Tape tape;
  std::vector<std::string> order;
  const Tensor<double> x({4, 1, 6, 6}, std::vector<double>(144, 0.5));
  const Tensor<double> y = net.forward(x, tape, InputGrad::skip);
  parallel.before_backward(tape);
  net.backward(y, tape, InputGrad::skip);
  parallel.after_backward(tape);
  CHECK(tape.empty());
  if (world()->size() == 1) return;
  CHECK(parallel.buckets() == 6);  // a bucket for each parameter
  CHECK(parallel.times().steps == 1);
  CHECK(parallel.times().during_backward > 0);
  parallel.reset_times();
  CHECK(parallel.times().steps == 0);
}

TEST_CASE("the model of rank 0 is everybody's") {
  Net net = plain();
  const std::string before = hash_of(net);
  for (auto& [name, parameter, owner] : parameters(net))
    if (world()->rank() > 0) parameter->value.fill(static_cast<double>(world()->rank()));
  mpi::DataParallel<double> parallel(*world());
  parallel.begin(net);
  CHECK(hash_of(net) == before);
}

TEST_CASE("a parameter that nobody uses has no gradient, one that is used on one rank has its sum on all") {
  manual_seed(2);
  Net net{Linear<double>(2, 2), Linear<double>(2, 2), Linear<double>(2, 2)};
  mpi::DataParallel<double> parallel(*world());
  parallel.begin(net);
  Tape tape;
  parallel.before_backward(tape);
  auto list = parameters(net);
  list[0].parameter->gradient().fill(1);
  if (world()->rank() == world()->size() - 1) list[2].parameter->gradient().fill(3);
  parallel.after_backward(tape);
  CHECK(list[0].parameter->grad == Tensor<double>::full({2, 2}, static_cast<double>(world()->size())));
  CHECK(list[2].parameter->grad == Tensor<double>::full({2, 2}, 3));
  CHECK(list[4].parameter->grad.empty());
}

TEST_CASE("what is unfrozen later is exchanged from then on") {
  const How how{.epochs = 4};
  const auto run = [&](bool together) {
    Net net = plain();
    freeze(net[0]);
    mpi::DataParallel<double> parallel(*world(), how.options);
    SGD<double> optimizer(parameters(net), {.lr = how.lr});
    DataLoader<double> train(images(50),
                             {.batch_size = 14, .shuffle = true, .shard = together ? parallel.shard() : Shard{}});
    fit(net, optimizer, train,
        {.epochs = 4,
         .progress = false,
         .on_epoch =
             [&](const FitState<double>& state) {
               if (state.epoch == 2) unfreeze(net[0]);
             },
         .parallel = together ? &parallel : nullptr});
    return net;
  };
  const Net alone = run(false), one = run(true);
  CHECK(difference(one, alone) < 1e-6);
  Net start = plain();
  CHECK(difference(one, start) > 1e-3);
}

TEST_CASE("running statistics of batch norms that are not synchronised are averaged after each epoch") {
  Net net = normed();
  mpi::DataParallel<double> parallel(*world());
  SGD<double> optimizer(parameters(net), {.lr = 0.01});
  DataLoader<double> train(images(50), {.batch_size = 14, .shard = parallel.shard()});
  fit(net, optimizer, train, {.epochs = 2, .progress = false, .parallel = &parallel});
  for (const std::string& other : world()->gather(hash_of(net))) CHECK(other == hash_of(net));
}

TEST_CASE("dropout draws by rank and epoch") {
  manual_seed(4);
  Net net{Dropout<double>(0.5), Flatten<double>(), Linear<double>(36, 3)};
  Net other = net;
  const auto run = [](Net& model) {
    mpi::DataParallel<double> parallel(*world());
    SGD<double> optimizer(parameters(model), {.lr = 0.01});
    DataLoader<double> train(images(24), {.batch_size = 6, .shard = parallel.shard()});
    return fit(model, optimizer, train, {.epochs = 2, .progress = false, .parallel = &parallel});
  };
  run(net);
  run(other);
  CHECK(hash_of(net) == hash_of(other));
}

TEST_CASE("any number of ranks goes on from a checkpoint") {
  const std::string path = shared_path("checkpoint");
  const How half{.epochs = 2}, whole{.epochs = 4};
  Net expected = normed();
  trained(expected, false, whole);

  // `first` together or alone, then the rest the other way.
  for (const bool first : {true, false}) {
    Net net = normed();
    const auto run = [&](bool together, Index epochs, bool resumes) {
      mpi::DataParallel<double> parallel(*world(), half.options);
      mpi::sync_batch_norm(net, *world());
      const auto alone = [&](auto& norm) {
        if (!together) norm.synchronize(nullptr);
      };
      for_each<BatchNorm2d<double>>(net, alone);
      for_each<BatchNorm1d<double>>(net, alone);
      SGD<double> optimizer(parameters(net), {.lr = half.lr, .momentum = 0.9});
      DataLoader<double> train(
          images(50), {.batch_size = 14, .shuffle = true, .seed = 3, .shard = together ? parallel.shard() : Shard{}});
      FitState<double> state;
      if (resumes) state = load_checkpoint(path, net, optimizer);
      FitOptions<double> options{.epochs = epochs, .clip_grad_norm = 5, .progress = false};
      if (together) options.parallel = &parallel;
      options.on_epoch = [&](const FitState<double>& now) {
        if (!resumes && now.epoch == epochs && world()->rank() == 0) save_checkpoint(path, now, net, optimizer);
      };
      fit(net, optimizer, train, options, state);
      world()->barrier();
    };
    run(first, 2, false);
    for (auto& [name, parameter, owner] : parameters(net)) parameter->value.fill(0);
    run(!first, 4, true);
    CHECK(difference(net, expected) < 1e-6);
  }
  world()->barrier();
  if (world()->rank() == 0) std::remove(path.c_str());
}

TEST_CASE("ranks that differ are named, before the first step") {
  const bool odd = world()->rank() == 1;
  const auto start = [&](double lr, Index batch_size, std::uint64_t seed, std::uint64_t data, Index width,
                         const char* compression, std::uint64_t fit_seed) {
    manual_seed(1);
    Net net{Flatten<double>(), Linear<double>(36, width), Linear<double>(width, 3)};
    mpi::DataParallel<double> parallel(*world(), {.compression = compression});
    SGD<double> optimizer(parameters(net), {.lr = lr});
    DataLoader<double> train(images(24, data), {.batch_size = batch_size, .seed = seed, .shard = parallel.shard()});
    fit(net, optimizer, train, {.epochs = 1, .seed = fit_seed, .progress = false, .parallel = &parallel});
  };
  const auto says = [&](const char* expected, auto... arguments) {
    const std::string got = message([&] { start(arguments...); });
    if (world()->size() == 1)
      CHECK(got == "");
    else
      CHECK(got.find(expected) == 0);
  };
  says("DataParallel: rank 1 has another batch_size than rank 0: 6, not 12", 0.1, odd ? 6 : 12, 0, 7, 4, "none", 0);
  says("DataParallel: rank 1 has another loader seed than rank 0: 5, not 0", 0.1, 12, odd ? 5 : 0, 7, 4, "none", 0);
  says("DataParallel: rank 1 has another training data than rank 0: ", 0.1, 12, 0, odd ? 9 : 7, 4, "none", 0);
  says("DataParallel: rank 1 has another 1.weight than rank 0: [5, 36], not [4, 36]", 0.1, 12, 0, 7, odd ? 5 : 4,
       "none", 0);
  says("DataParallel: rank 1 has another learning rate than rank 0: 0.2, not 0.1", odd ? 0.2 : 0.1, 12, 0, 7, 4, "none",
       0);
  says("DataParallel: rank 1 has another compression than rank 0: top_k, not none", 0.1, 12, 0, 7, 4,
       odd ? "top_k" : "none", 0);
  says("DataParallel: rank 1 has another seed than rank 0: 3, not 0", 0.1, 12, 0, 7, 4, "none", odd ? 3 : 0);
}

TEST_CASE("models that have diverged are found") {
  Net net = plain();
  mpi::DataParallel<double> parallel(*world(), {.check_every = 2});
  parallel.begin(net);
  parallel.check_parameters();
  Tape tape;
  const auto step = [&] {
    parallel.before_backward(tape);
    parallel.after_backward(tape);
  };
  step();
  step();
  if (world()->rank() == 1) parameters(net)[0].parameter->value.data()[3] += 1e-12;
  step();
  const std::string got = message(step);
  CHECK(got ==
        (world()->size() == 1 ? "" : "DataParallel: after 4 steps the parameters of rank 1 are not those of rank 0"));
}

TEST_CASE("batches and shards that do not fit the ranks are refused") {
  const Index n = world()->size();
  if (n == 1) return;
  mpi::DataParallel<double> parallel(*world());
  const Shard shard = parallel.shard();
  CHECK(message([&] { DataLoader<double>(images(24), {.batch_size = n - 1, .shard = shard}); }) ==
        text("DataLoader: batch_size is ", n - 1, ", fewer than the ", n, " ranks that share a batch"));
  Net net = plain();
  SGD<double> optimizer(parameters(net), {.lr = 0.1});
  const auto run = [&](Index samples, Shard which) {
    DataLoader<double> train(images(samples), {.batch_size = 6, .shard = which});
    return message([&] { fit(net, optimizer, train, {.epochs = 1, .progress = false, .parallel = &parallel}); });
  };
  CHECK(run(12 + n - 1, shard) == text("fit: the last batch of an epoch has ", n - 1, " samples, fewer than the ", n,
                                       " ranks that share it: drop_last, or another batch_size, leaves none such"));
  CHECK(run(12, {}) ==
        text("fit: the training data's shard is that of rank 0 of 1, this is rank ", shard.rank, " of ", n));
}

TEST_CASE("options out of their range are refused") {
  CHECK(message([] { mpi::DataParallel<float>(*world(), {.bucket_bytes = 0}); }) ==
        "DataParallel: bucket_bytes must be at least 1, got 0");
  CHECK(message([] { mpi::DataParallel<float>(*world(), {.top_k = 0}); }) ==
        "DataParallel: top_k must be in (0, 1], got 0");
  CHECK(message([] { mpi::DataParallel<float>(*world(), {.check_every = -1}); }) ==
        "DataParallel: check_every must not be negative, got -1");
  CHECK(message([] { mpi::DataParallel<float>(*world(), {.compression = "zip"}); }) ==
        "compression: expected none, bfloat16 or top_k, got 'zip'");
}
