#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "lamina/data/mixup.hpp"
#include "lamina/io/checkpoint.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/optim/rmsprop.hpp"
#include "lamina/optim/sgd.hpp"
#include "train/problems.hpp"

using namespace lamina;
using namespace problems;

namespace {

/// A folder that is removed at the end.
struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / text("lamina-checkpoint-", ::getpid());
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file(const char* name = "run.safetensors") const { return (path / name).string(); }
};

/// What is set beside the optimiser's options.
struct Extra {
  Index accumulate = 1;
  std::optional<double> ema_decay = {};
};

/// Everything of one run.
template <class O, class Options>
struct Run {
  Sequential<float> net = network();
  O optimizer;
  LinearWarmup schedule;
  DataLoader<float> train = noisy_loader(), test = test_loader();
  FitState<float> state;
  Extra extra;

  explicit Run(Options options, Extra with = {})
      : optimizer(parameters(net), options),
        schedule(optimizer, {.total_iters = 2},
                 ReduceLROnPlateau(optimizer, {.factor = 0.5, .patience = 0, .threshold = 0.2})),
        extra(with) {}
  void go(Index epochs) {
    fit(net, optimizer, train,
        {.epochs = epochs,
         .test = &test,
         .schedule = &schedule,
         .accumulate = extra.accumulate,
         .ema_decay = extra.ema_decay,
         .clip_grad_norm = 2.0,
         .keep_best = true,
         .seed = 77,
         .progress = false},
        state);
  }
};

template <class O, class Options>
void resumes(Options options, Extra extra = {}) {
  const Folder folder;
  Run<O, Options> whole(options, extra);
  {
    // Stops after three epochs of seven, at a moment that on_epoch sees.
    Run<O, Options> first(options, extra);
    FitOptions<float> fit_options{.epochs = 3, .test = &first.test, .schedule = &first.schedule, .clip_grad_norm = 2.0};
    fit_options.accumulate = extra.accumulate;
    fit_options.ema_decay = extra.ema_decay;
    fit_options.keep_best = true;
    fit_options.seed = 77;
    fit_options.progress = false;
    fit_options.on_epoch = [&](const FitState<float>& state) {
      save_checkpoint(folder.file(), state, first.net, first.optimizer, &first.schedule);
    };
    fit(first.net, first.optimizer, first.train, fit_options, first.state);
  }
  whole.go(7);
  Run<O, Options> second(options, extra);
  init::weights<Linear<float>>(second.net, [](auto& weight) { weight.fill(9); });  // all must come from the file
  second.state = load_checkpoint(folder.file(), second.net, second.optimizer, &second.schedule);
  CHECK(second.state.epoch == 3);
  second.go(7);

  CHECK(state_dict(whole.net) == state_dict(second.net));
  CHECK(whole.optimizer.state() == second.optimizer.state());
  CHECK(whole.schedule.state() == second.schedule.state());
  CHECK(whole.state.random == second.state.random);
  CHECK(whole.state.best == second.state.best);
  CHECK(whole.state.best_weights == second.state.best_weights);
  CHECK(whole.state.average == second.state.average);
  CHECK(whole.state.average.empty() == !extra.ema_decay);
  REQUIRE(second.state.history.epochs.size() == 7);
  for (std::size_t i = 0; i < 7; ++i) {
    const EpochRecord &a = whole.state.history.epochs[i], &b = second.state.history.epochs[i];
    CHECK(a.epoch == b.epoch);
    CHECK(a.train_loss == b.train_loss);
    CHECK(a.test_accuracy == b.test_accuracy);
    CHECK(a.lr == b.lr);
  }
}

}  // namespace

TEST_CASE("a resumed run ends with the same bits as one that was never interrupted") {
  resumes<SGD<float>>(SGDOptions{.lr = 0.1, .momentum = 0.9, .nesterov = true});
  resumes<Adam<float>>(AdamOptions{.lr = 0.01, .amsgrad = true});
  resumes<AdamW<float>>(AdamWOptions{.lr = 0.01});
  resumes<RMSprop<float>>(RMSpropOptions{.momentum = 0.5, .centered = true});
  resumes<SGD<float>>(SGDOptions{.lr = 0.1, .momentum = 0.9}, {.accumulate = 3, .ema_decay = 0.9});
}

TEST_CASE("a resumed run with mixed samples ends with the same bits") {
  const Folder folder;
  using Target = Tensor<float>;
  const auto batches = [] {
    LoaderOptions<float, Target> options{.batch_size = 30, .shuffle = true, .seed = 5};
    options.collate = MixUp({.alpha = 0.4});
    return DataLoader(OneHot(clouds(300, 1), 3), options);
  };
  struct Mixing {
    explicit Mixing(DataLoader<float, Target> batches) : train(std::move(batches)) {}
    Sequential<float> net = network();
    SGD<float> optimizer{parameters(net), SGDOptions{.lr = 0.1, .momentum = 0.9}};
    DataLoader<float, Target> train, test = DataLoader(OneHot(clouds(90, 2), 3));
    FitState<float> state;

    void go(Index epochs, const std::string& file = "") {
      FitOptions<float, Target> options{.epochs = epochs, .test = &test};
      options.loss = CrossEntropyLoss({.label_smoothing = 0.1});
      options.metric = [](const Tensor<float>& y, const Target& shares) { return count_correct(y, shares); };
      options.accumulate = 2;
      options.ema_decay = 0.9;
      options.progress = false;
      options.on_epoch = [&](const FitState<float>& now) {
        if (!file.empty()) save_checkpoint(file, now, net, optimizer);
      };
      fit(net, optimizer, train, options, state);
    }
  };
  Mixing whole(batches()), first(batches()), second(batches());
  whole.go(7);
  first.go(3, folder.file());
  second.state = load_checkpoint(folder.file(), second.net, second.optimizer);
  second.go(7);
  CHECK(state_dict(whole.net) == state_dict(second.net));
  CHECK(whole.optimizer.state() == second.optimizer.state());
  CHECK(whole.state.average == second.state.average);
  CHECK(whole.state.history.epochs.back().test_loss == second.state.history.epochs.back().test_loss);
  CHECK(whole.state.history.epochs.back().test_accuracy > 0.8);
}

TEST_CASE("a checkpoint of something else is refused, and nothing changes") {
  const Folder folder;
  auto net = network();
  Adam adam(parameters(net));
  ExponentialLR schedule(adam, {.gamma = 0.5});
  auto train = loader();
  FitState<float> state;
  fit(net, adam, train, {.epochs = 1, .schedule = &schedule, .progress = false}, state);
  const std::string path = folder.file();
  save_checkpoint(path, state, net, adam, &schedule);
  const auto refuses = [&](auto& other_net, auto& optimizer, Schedule* other_schedule, const std::string& message) {
    const auto before = state_dict(other_net);
    CHECK_THROWS_WITH_AS(load_checkpoint(path, other_net, optimizer, other_schedule), (path + message).c_str(),
                         StateError);
    CHECK(state_dict(other_net) == before);
  };

  manual_seed(8);
  auto fresh = network();
  SGD sgd(parameters(fresh));
  AdamW adamw(parameters(fresh));
  refuses(fresh, sgd, nullptr, ": the checkpoint's optimizer is Adam, this run's is SGD");
  refuses(fresh, adamw, nullptr, ": the checkpoint's optimizer is Adam, this run's is AdamW");
  Adam right(parameters(fresh));
  StepLR step(right, {.step_size = 1});
  refuses(fresh, right, nullptr, ": the checkpoint's schedule is ExponentialLR, this run's is none");
  refuses(fresh, right, &step, ": the checkpoint's schedule is ExponentialLR, this run's is StepLR");

  Sequential small{Linear(8, 3)};
  Adam of_small(parameters(small));
  ExponentialLR of_small_schedule(of_small, {.gamma = 0.5});
  CHECK_THROWS_WITH_AS(load_checkpoint(path, small, of_small, &of_small_schedule),
                       doctest::Contains(": load_state_dict: the state does not fit Sequential(Linear(8, 3))\n "
                                         "unexpected:\n  1.weight"),
                       StateError);
  CHECK(of_small_schedule.steps() == 0);

  Adam groups(decay_groups(parameters(fresh)));
  ExponentialLR groups_schedule(groups, {.gamma = 0.5});
  refuses(fresh, groups, &groups_schedule,
          ": Adam: the state does not fit\n mis-shaped:\n  lr: expected shape [2], got [1]");
}

TEST_CASE("files that are no checkpoints are refused") {
  const Folder folder;
  auto net = network();
  SGD optimizer(parameters(net));
  const std::string path = folder.file();
  CHECK_THROWS_WITH_AS(load_checkpoint(path, net, optimizer),
                       (path + ": cannot open: No such file or directory").c_str(), FileError);
  save_state_dict(path, state_dict(net));
  CHECK_THROWS_WITH_AS(load_checkpoint(path, net, optimizer),
                       (path + ": not a checkpoint: expected format 'lamina checkpoint 1', found ''").c_str(),
                       FileError);
  save_checkpoint(path, FitState<float>(), net, optimizer);
  CHECK(load_checkpoint(path, net, optimizer).epoch == 0);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  CHECK_THROWS_WITH_AS(load_checkpoint(path, net, optimizer), doctest::Contains("cut short"), FileError);
}

TEST_CASE("a checkpoint with a number that cannot be is refused with its path, and nothing changes") {
  using Sgd = Run<SGD<float>, SGDOptions>;
  const SGDOptions options{.lr = 0.1, .momentum = 0.9};
  const Folder folder;
  const std::string path = folder.file();
  Sgd run(options);
  run.go(4);
  save_checkpoint(path, run.state, run.net, run.optimizer, &run.schedule);
  const SafetensorsFile whole(path);
  const auto refuses = [&](const std::string& key, const AnyTensor& value, const std::string& message) {
    NamedTensors tensors;
    for (const std::string& each : whole.keys()) tensors.emplace_back(each, each == key ? value : whole.any(each));
    const std::string damaged = folder.file("damaged.safetensors");
    write_safetensors(damaged, tensors, whole.metadata());
    Sgd other(options);
    other.go(1);
    const auto net = state_dict(other.net);
    const auto optimizer = other.optimizer.state(), schedule = other.schedule.state();
    CAPTURE(key);
    CHECK_THROWS_WITH_AS(load_checkpoint(damaged, other.net, other.optimizer, &other.schedule),
                         (damaged + ": " + message).c_str(), StateError);
    CHECK(state_dict(other.net) == net);
    CHECK(other.optimizer.state() == optimizer);
    CHECK(other.schedule.state() == schedule);
  };
  const auto count = [](std::int64_t value) { return Tensor<std::int64_t>({}, {value}); };
  const auto count1 = [](std::int64_t value) { return Tensor<std::int64_t>({1}, {value}); };
  const auto rate = [](double value) { return Tensor<double>({1}, {value}); };
  const std::string sgd = "SGD: the state does not fit\n impossible:\n  ",
                    fit = "fit: the state does not fit\n impossible:\n  ",
                    warmup = "LinearWarmup, then ReduceLROnPlateau: the state does not fit\n impossible:\n  ",
                    plateau = "ReduceLROnPlateau: the state does not fit\n impossible:\n  ";
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  refuses("fit.epoch", count1(1 << 30), fit + "epoch: 1073741824, but the history has 4 epochs");
  refuses("fit.epoch", count1(-1),
          fit + "epoch: expected a count, got -1\n  epoch: -1, but the history has 4 epochs\n  best_epoch: " +
              std::to_string(run.state.history.best_epoch) + " of -1 epochs");
  refuses("fit.best_epoch", count1(5), fit + "best_epoch: 5 of 4 epochs");
  refuses("fit.stopped_early", count1(-1), fit + "stopped_early: expected a count, got -1");
  refuses("optimizer.lr", rate(nan), sgd + "lr: must be finite and not negative, got nan");
  refuses("optimizer.lr", rate(-0.1), sgd + "lr: must be finite and not negative, got -0.1");
  refuses("optimizer.lr", rate(infinity), sgd + "lr: must be finite and not negative, got inf");
  refuses("optimizer.0.weight.step", count(-1), sgd + "0.weight.step: expected a count, got -1");
  refuses("optimizer.0.weight.step", count(most), sgd + "0.weight.step: expected a count, got 9223372036854775807");
  refuses("schedule.base_lr", rate(nan), warmup + "base_lr: must be finite and not negative, got nan");
  refuses("schedule.base_lr", rate(-1), warmup + "base_lr: must be finite and not negative, got -1");
  refuses("schedule.steps", count(most), warmup + "steps: expected a count, got 9223372036854775807");
  refuses("schedule.then.base_lr", rate(-1), plateau + "base_lr: must be finite and not negative, got -1");
  refuses("schedule.then.best", Tensor<double>({}, {nan}), plateau + "best: expected a number, got nan");
  refuses("schedule.then.bad_steps", count(-2), plateau + "bad_steps: expected a count, got -2");
  refuses("schedule.then.cooldown_steps", count(most),
          plateau + "cooldown_steps: expected a count, got 9223372036854775807");
}

TEST_CASE("a run cannot continue with another order of the samples") {
  auto net = network();
  SGD optimizer(parameters(net));
  FitState<float> state;
  auto train = loader(5), other = loader(6);
  fit(net, optimizer, train, {.epochs = 1, .progress = false}, state);
  CHECK_THROWS_WITH_AS(fit(net, optimizer, other, {.epochs = 2, .progress = false}, state),
                       "fit: the run began with the loader's seed 5, it cannot continue with 6", StateError);
}

TEST_CASE("the last checkpoint survives a NaN loss and an unwritable place") {
  const Folder folder;
  auto net = network();
  auto train = loader();
  SGD optimizer(parameters(net), {.lr = 0.1});
  FitOptions<float> options{.epochs = 5, .progress = false};
  options.on_epoch = [&](const FitState<float>& state) {
    save_checkpoint(folder.file(), state, net, optimizer);
    if (state.epoch == 2) net.get<Linear<float>>(0).weight.value.fill(std::numeric_limits<float>::infinity());
  };
  CHECK_THROWS_WITH_AS(fit(net, optimizer, train, options), "fit: the loss is nan in epoch 3, batch 1 of 10",
                       NumericalError);
  auto again = network();
  SGD other(parameters(again), {.lr = 0.1});
  CHECK(load_checkpoint(folder.file(), again, other).epoch == 2);
  CHECK_THROWS_AS(save_checkpoint(folder.file("no/such/folder"), FitState<float>(), net, optimizer), FileError);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);  // no temporary is left
}
