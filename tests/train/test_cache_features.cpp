#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/train/lr_find.hpp"
#include "problems.hpp"

using namespace lamina;
using namespace problems;

namespace {

/// y = x, and counts the samples that it sees.
class Counting : public Layer<Counting, float> {
 public:
  Fields fields() const override { return Fields("Counting"); }
  std::shared_ptr<std::atomic<Index>> samples = std::make_shared<std::atomic<Index>>(0);

 private:
  Tensor<float> do_infer(Tensor<float> x) const override {
    *samples += x.dim(0);
    return x;
  }
  Tensor<float> do_forward(Tensor<float> x, Tape&) override { return do_infer(std::move(x)); }
  Tensor<float> do_backward(Tensor<float> dy, Tape&, InputGrad) override { return dy; }
};

/// Images [3, 24, 24] of three classes.
TensorDataset<float> images(Index count, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> inputs = random.normal<float>({count, 3, 24, 24});
  Labels labels({count});
  for (Index i = 0; i < count; ++i) {
    labels(i) = static_cast<std::int32_t>(i % 3);
    float* const plane = inputs.data() + (i * 3 + i % 3) * 576;
    std::transform(plane, plane + 576, plane, [](float x) { return x + 0.3f; });
  }
  return {inputs, labels};
}
DataLoader<float> train_images(Index count = 70) {
  return DataLoader<float>(images(count, 1), {.batch_size = 16, .shuffle = true, .seed = 4});
}

/// Features of which the first two blocks are frozen, with a head behind the rest.
struct Net {
  Counting counting;
  Sequential<float> net;

  Net() {
    manual_seed(8);
    Sequential<float> features{Sequential{Conv2d(3, 24, 3, {.padding = 1}), BatchNorm2d(24), ReLU()},
                               Sequential{Conv2d(24, 24, 3, {.padding = 1}), BatchNorm2d(24), ReLU(), Dropout(0.3)},
                               Sequential{Conv2d(24, 8, 3, {.stride = 2}), BatchNorm2d(8), ReLU()}};
    Sequential<float> begin{counting};
    net = Sequential<float>{{"count", std::move(begin)},
                            {"features", std::move(features)},
                            {"pool", AdaptiveAvgPool2d<float>(1)},
                            {"", Flatten<float>()},
                            {"head", Sequential{Dropout(0.2), Linear(8, 3)}}};
    freeze(net[0]);
    for (Index i = 0; i < 2; ++i) freeze(features_block(i));
  }
  Module<float>& features_block(Index i) { return net.get<Sequential<float>>(1)[i]; }
};

FitOptions<float> options(Index epochs, bool cached, DataLoader<float>& test) {
  FitOptions<float> result{.epochs = epochs, .test = &test};
  result.cache_features = cached;
  result.ema_decay = 0.8;
  result.accumulate = 2;
  result.clip_grad_norm = 1.0;
  result.progress = false;
  return result;
}

}  // namespace

TEST_CASE("training with cached features ends with the same bits, and computes what is frozen once per sample") {
  const auto run = [](bool cached) {
    auto model = std::make_unique<Net>();
    auto train = train_images();
    DataLoader<float> test(images(30, 2), {.batch_size = 7});
    const StateDict<float> frozen[] = {state_dict(model->features_block(0)), state_dict(model->features_block(1))};
    SGD optimizer(parameters(model->net), {.lr = 0.05, .momentum = 0.9, .weight_decay = 0.01});
    const History history = fit(model->net, optimizer, train, options(4, cached, test));
    CHECK(state_dict(model->features_block(0)) == frozen[0]);
    CHECK(state_dict(model->features_block(1)) == frozen[1]);
    CHECK(*model->counting.samples == (cached ? 100 : 400));
    CHECK(train.epoch() == 4);
    return std::tuple(state_dict(model->net), optimizer.state(), history.epochs.back().train_loss,
                      history.epochs.back().test_loss);
  };
  CHECK(run(true) == run(false));
}

TEST_CASE("an epoch of cached features is ten times faster than one that computes them") {
  const auto fastest_epoch = [](bool cached) {
    Net model;
    freeze(model.features_block(2));
    freeze(model.net[2]);  // the pooling
    auto train = train_images(192);
    SGD optimizer(parameters(model.net), {.lr = 0.05});
    FitOptions<float> options{.epochs = cached ? 60 : 3};  // the fastest, whoever else uses the machine
    options.cache_features = cached;
    options.progress = false;
    double seconds = 1e9;
    for (const EpochRecord& record : fit(model.net, optimizer, train, options).epochs)
      seconds = std::min(seconds, record.seconds);
    return seconds;
  };
  const double computed = fastest_epoch(false), cached = fastest_epoch(true);
  MESSAGE("an epoch of features computed: " << computed << " s, cached: " << cached << " s");
  CHECK(cached * 10 < computed);
}

TEST_CASE("a run goes on with cached features, and unfreezing at an epoch's end ends the cache") {
  const auto run = [](bool cached, bool in_two, bool unfreezes) {
    auto model = std::make_unique<Net>();
    auto train = train_images();
    DataLoader<float> test(images(30, 2), {.batch_size = 7});
    SGD optimizer(parameters(model->net), {.lr = 0.05, .momentum = 0.9});
    FitState<float> state;
    auto with = options(4, cached, test);
    with.ema_decay = {};
    with.on_epoch = [&](const FitState<float>& now) {
      if (unfreezes && now.epoch == 2) unfreeze(model->features_block(1));
      if (unfreezes && now.epoch == 3) unfreeze(model->net);
    };
    if (in_two) {
      with.epochs = 2;
      fit(model->net, optimizer, train, with, state);
      with.epochs = 4;
    }
    fit(model->net, optimizer, train, with, state);
    // With the first block still frozen its features are cached anew.
    CHECK(*model->counting.samples == (!cached ? 400 : in_two ? 200 : unfreezes ? 300 : 100));
    return state_dict(model->net);
  };
  const auto whole = run(false, false, false);
  CHECK(run(true, true, false) == whole);
  const auto unfrozen = run(false, false, true);
  CHECK(unfrozen != whole);
  CHECK(run(true, false, true) == unfrozen);
}

TEST_CASE("lr_find with cached features finds what it finds without") {
  const auto find = [](bool cached) {
    Net model;
    auto train = train_images();
    SGD optimizer(parameters(model.net), {.lr = 0.05});
    const auto before = state_dict(model.net);
    const LrFind found = lr_find(model.net, optimizer, train, {.steps = 20}, {.cache_features = cached});
    CHECK(state_dict(model.net) == before);
    CHECK(*model.counting.samples == (cached ? 70 : 4 * 70));
    return found.losses;
  };
  CHECK(find(true) == find(false));
}

TEST_CASE("cache_features: features of a dataset in order, by transforms that do not draw") {
  Net model;
  const auto data = images(20, 3);
  LoaderOptions<float> loading{.batch_size = 6, .shuffle = true, .drop_last = true};
  loading.transform = [](Tensor<float> x, Random&) { return x *= 2; };
  const auto features = cache_features(model.features_block(0), DataLoader<float>(data, loading));
  CHECK(features.size() == 20);
  CHECK(features.targets() == data.targets());
  for (Index i = 0; i < 20; ++i) {
    Tensor<float> twice = data.get(i).input.reshape({1, 3, 24, 24});
    twice *= 2;
    CHECK(features.get(i).input == model.features_block(0)(twice)[0]);
  }

  const auto refuses = [&](auto change, const char* message) {
    LoaderOptions<float> changed{.batch_size = 6};
    change(changed);
    DataLoader<float> loader(data, changed), test = train_images();
    CHECK_THROWS_WITH_AS(cache_features(model.features_block(0), loader), message, ValueError);
    SGD optimizer(parameters(model.net), {.lr = 0.05});
    FitOptions<float> options{.epochs = 1, .test = &loader, .cache_features = true};
    options.progress = false;
    CHECK_THROWS_WITH_AS(fit(model.net, optimizer, loader, options), message, ValueError);
    CHECK_THROWS_WITH_AS(fit(model.net, optimizer, test, options), message, ValueError);  // of the test data, too
  };
  refuses([](auto& o) { o.transform = RandomHorizontalFlip(); },
          "cache_features: the loader's transform draws random numbers, so that a sample's features differ from epoch "
          "to epoch");
  refuses(
      [](auto& o) {
        o.augment = [](Example<float> example, Random& random) {
          random.uniform();
          return example;
        };
      },
      "cache_features: the loader's augment draws random numbers, so that a sample's features differ from epoch to "
      "epoch");
  refuses([](auto& o) { o.collate = [](Batch<float> batch, Random&) { return batch; }; },
          "cache_features: the loader collates, so that a sample depends on others of its batch");
}

TEST_CASE("fit refuses to cache features of a model that does not begin with frozen modules") {
  auto net = network();
  auto train = loader();
  SGD optimizer(parameters(net), {.lr = 0.05});
  FitOptions<float> options{.epochs = 1, .cache_features = true};
  options.progress = false;
  const char* message =
      "fit: cache_features needs a Sequential that begins with frozen modules and goes on with others, got "
      "Sequential(Linear(8, 24), BatchNorm1d(24), ReLU(), ...); see freeze()";
  CHECK_THROWS_WITH_AS(fit(net, optimizer, train, options), message, ValueError);
  freeze(net[1]);
  CHECK_THROWS_WITH_AS(fit(net, optimizer, train, options), message, ValueError);
  freeze(net);
  CHECK_THROWS_WITH_AS(fit(net, optimizer, train, options), message, ValueError);

  // What is wrong behind the frozen modules is told by its place in the model.
  Sequential<float> wrong{{"first", Linear(8, 4)}, {"head", Sequential{ReLU(), Linear(5, 3)}}};
  freeze(wrong[0]);
  SGD other(parameters(wrong), {.lr = 0.05});
  CHECK_THROWS_WITH_AS(fit(wrong, other, train, options),
                       "head.1: Linear(5, 3): expected 5 features in the last axis, got shape [30, 4]", ShapeError);
}
