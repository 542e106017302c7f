#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "lamina/lamina.hpp"

using namespace lamina;

// Threads as unkind programs use them: their number changes while everything runs, loops are nested, the process forks.
// Whatever happens, the results are the bits that one thread makes. Made for the thread and address sanitizers.

namespace {

/// Every kernel with scratch memory of its own: Winograd's, the direct sum, the sweep, depthwise, involution, pooling,
/// the decompositions, matrix products.
Sequential<float> network() {
  manual_seed(3);
  return {Conv2d(2, 6, 3, {.padding = 1}),
          BatchNorm2d(6),
          ReLU(),
          Conv2d(6, 32, 5, {.stride = 2, .padding = 2}),
          Conv2d(32, 32, 3, {.padding = 1}),
          Conv2d(32, 32, 3, {.stride = 2, .padding = 1, .groups = 32}),
          Involution(32, 3, {.groups = 2}),
          MaxPool2d(3, {.stride = 1, .padding = 1}),
          AvgPool2d(2, {.stride = 1}),
          hamburger_v1<float>(32, {.D = 16, .ham = {.rank = 4}}),
          Conv2d(32, 5, 1)};
}

const Tensor<float>& images() {
  static const Tensor<float> x = Random(1).normal<float>({3, 2, 26, 30});
  return x;
}

/// The loss, a gradient and the result of inference after one step.
std::vector<Tensor<float>> step(Sequential<float> net) {
  Tape tape(7);
  Tensor<float> logits = net.forward(images(), tape);
  Labels labels({logits.dim(0), logits.dim(2), logits.dim(3)});
  for (Index i = 0; i < labels.numel(); ++i) labels.data()[i] = static_cast<std::int32_t>(i % 5);
  auto [loss, grad] = cross_entropy(std::move(logits), labels);
  Tensor<float> dx = net.backward(std::move(grad), tape);
  std::vector<Tensor<float>> result{Tensor<float>::full({}, static_cast<float>(loss)), std::move(dx), net(images())};
  for (const auto& entry : parameters(net)) result.push_back(entry.parameter->grad);
  return result;
}

/// Sets the number of threads to 1 to 6 in turn, as long as it lives.
class Meddler {
 public:
  ~Meddler() {
    stop_ = true;
    thread_.join();
    set_num_threads(before_);
  }

 private:
  int before_ = num_threads();
  std::atomic<bool> stop_{false};
  std::thread thread_{[this] {
    for (int n = 0; !stop_; ++n) {
      set_num_threads(1 + n % 6);
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }};
};

std::vector<Tensor<float>> expected_step(const Sequential<float>& net) {
  const int before = num_threads();
  set_num_threads(1);
  auto result = step(net);
  set_num_threads(before);
  return result;
}

/// What `run` returns in a child of a fork, or -1 if the child does not end within a minute.
template <class Run>
int in_child(Run run) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    int result = 100;
    try {
      result = run();
    } catch (...) {
    }
    _exit(result);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("several threads train while another changes the number of threads") {
  const auto net = network();
  const auto expected = expected_step(net);
  const Meddler meddler;
  std::atomic<int> wrong{0};
  std::vector<std::thread> users;
  for (int user = 0; user < 3; ++user)
    users.emplace_back([&] {
      for (int i = 0; i < 10; ++i) wrong += step(net) != expected;
    });
  for (auto& user : users) user.join();
  CHECK(wrong == 0);
}

TEST_CASE("networks inside a parallel_for, each piece of which sets the number of threads") {
  const auto net = network();
  const auto expected = expected_step(net);
  const int before = num_threads();
  set_num_threads(4);
  std::atomic<int> wrong{0};
  parallel_for(0, 12, 1, [&](Index i, Index) {
    set_num_threads(i % 3 == 0 ? 1 : 5);
    wrong += step(net) != expected;
  });
  CHECK(wrong == 0);
  set_num_threads(before);
}

TEST_CASE("children of a fork have threads of their own, whatever the parent's were doing") {
  const auto net = network();
  const Tensor<float> expected = net(images());
  const int before = num_threads();
  set_num_threads(3);
  std::atomic<bool> stop{false};
  std::vector<std::thread> others;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose own locks a fork may leave taken
  others.emplace_back([&] {
    while (!stop) net(images());
  });
#endif
  for (int i = 0; i < 20; ++i) {
    net(images());
    const int result = in_child([&] {
      set_num_threads(1 + i % 5);
      for (int j = 0; j < 3; ++j)
        if (net(images()) != expected) return 1;
      std::atomic<int> seen{0};  // another thread takes part, if there may be one
      const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (i % 5 > 0 && seen == 0 && std::chrono::steady_clock::now() < patience)
        parallel_for(0, 8, 1, [&](Index, Index) {
          if (worker() > 0) seen = 1;
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        });
      return i % 5 == 0 || seen ? 0 : 2;
    });
    CHECK(result == 0);
  }
  stop = true;
  for (auto& other : others) other.join();
  CHECK(net(images()) == expected);
  set_num_threads(before);
}

TEST_CASE("a child of a fork inside a parallel_for may not return into it") {
  const int before = num_threads();
  set_num_threads(2);
  parallel_for(0, 8, 1, [](Index, Index) {});  // the other thread is there
  const int result = in_child([] {
    // In the child's own pool, so that the grandchild's error comes back to where this test is.
    const pid_t self = getpid();
    try {
      parallel_for(0, 64, 1, [&](Index i, Index) {
        if (i == 0 && worker() == 0 && getpid() == self) {
          const pid_t child = fork();
          int status = 0;
          if (child > 0) waitpid(child, &status, 0);
          if (child > 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 7)) _exit(3);
        }
      });
    } catch (const StateError&) {
      return 7;  // the grandchild
    }
    return 0;
  });
  CHECK(result == 0);
  set_num_threads(before);
}

TEST_CASE("where no thread can be started, the caller does the work") {
  const auto net = network();
  const Tensor<float> expected = net(images());
  const int result = in_child([&] {
    if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return 3;
    const rlimit none{1, 1};
    if (setrlimit(RLIMIT_NPROC, &none) != 0) return 4;
    set_num_threads(4);
    return net(images()) == expected ? 0 : 1;
  });
  CHECK(result == 0);
}
