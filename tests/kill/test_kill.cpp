// Programs that write files are killed at random moments; what is on the disk is whole each time. LAMINA_KILLS says how
// often (default 40, a few seconds). A program of its own, since children are made by fork.

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

#include "lamina/core/random.hpp"
#include "lamina/io/checkpoint.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/optim/sgd.hpp"

using namespace lamina;

namespace {

struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / text("lamina-kill-", ::getpid());
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file(const char* name) const { return (path / name).string(); }
  std::ptrdiff_t entries() const { return std::distance(std::filesystem::directory_iterator(path), {}); }
};

bool are_all(const StateDict<float>& weights, float number) {
  return std::all_of(weights.begin(), weights.end(), [&](const auto& entry) {
    const auto values = std::get<Tensor<float>>(entry.second).values();
    return std::all_of(values.begin(), values.end(), [&](float value) { return value == number; });
  });
}

/// A run of which every part says how far it is.
struct Run {
  Sequential<float> net{Linear(100, 200), Linear(200, 100)};
  SGD<float> optimizer{parameters(net), {.lr = 0}};
  FitState<float> state;

  void set(Index step) {
    for (auto& [name, parameter, owner] : parameters(net)) parameter->value.fill(static_cast<float>(step));
    optimizer.set_lr(static_cast<double>(step));
    state.epoch = step % 7;
    state.history.epochs.assign(static_cast<std::size_t>(step % 7), {.lr = static_cast<double>(step)});
    state.best = static_cast<double>(step);
    state.best_weights = state_dict(std::as_const(net));
  }
  /// Whether all parts are as far, and how far that is.
  Index step() const {
    const double step = optimizer.lr();
    REQUIRE(are_all(state_dict(net), static_cast<float>(step)));
    REQUIRE(are_all(state.best_weights, static_cast<float>(step)));
    REQUIRE(state.best == step);
    REQUIRE(state.epoch == static_cast<Index>(step) % 7);
    for (const EpochRecord& record : state.history.epochs) REQUIRE(record.lr == step);
    return static_cast<Index>(step);
  }
};

int kills() {
  const char* given = std::getenv("LAMINA_KILLS");
  return given ? std::atoi(given) : 40;
}

/// Runs write(step) for step, step + 1, ... in a process that is killed after a while.
template <class Write>
void write_until_killed(Index step, std::chrono::microseconds wait, Write write) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      while (true) write(step++);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    ::_exit(1);
  }
  REQUIRE(child > 0);
  std::this_thread::sleep_for(wait);
  REQUIRE(::kill(child, SIGKILL) == 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));  // it had not ended before, by an error
  REQUIRE(WTERMSIG(status) == SIGKILL);
}

}  // namespace

TEST_CASE("a program that writes checkpoints is killed: the one on the disk is always whole, and the newest") {
  const Folder folder;
  const std::string path = folder.file("run.safetensors");
  const auto save = [&](Index step) {
    static Run run;
    run.set(step);
    save_checkpoint(path, run.state, run.net, run.optimizer);
  };
  Random random(7);
  save(1);
  Index last = 1;
  int advanced = 0;
  for (int i = 0; i < kills(); ++i) {
    write_until_killed(last + 1, std::chrono::microseconds(200 + random.below(60000)), save);
    Run read;
    read.state = load_checkpoint(path, read.net, read.optimizer);
    const Index step = read.step();
    REQUIRE(step >= last);  // and never an older one
    advanced += step > last;
    last = step;
    REQUIRE(folder.entries() <= 2);  // what the killed one left, once
  }
  CHECK(advanced > 0);
  save(last + 1);
  CHECK(folder.entries() == 1);
}

TEST_CASE("two programs that write one file are killed: it is that of one of them, and nothing is left") {
  const Folder folder;
  const std::string path = folder.file("model.safetensors");
  const auto save = [&](Index step) {
    static Run run;
    run.set(step);
    save_state_dict(path, state_dict(std::as_const(run.net)));
  };
  Random random(8);
  save(1);
  for (int i = 0; i < kills() / 2; ++i) {
    const pid_t other = ::fork();
    if (other == 0) {
      for (Index step = 1000000;; ++step) save(step);
    }
    write_until_killed(1, std::chrono::microseconds(200 + random.below(30000)), save);
    REQUIRE(::kill(other, SIGKILL) == 0);
    int status = 0;
    REQUIRE(::waitpid(other, &status, 0) == other);
    REQUIRE(WIFSIGNALED(status));
    Run read;
    load_state_dict(read.net, load_safetensors(path));
    const float step = parameters(read.net)[0].parameter->value.data()[0];
    REQUIRE(are_all(state_dict(std::as_const(read.net)), step));
    REQUIRE(folder.entries() <= 3);
  }
  save(2);
  CHECK(folder.entries() == 1);
}
