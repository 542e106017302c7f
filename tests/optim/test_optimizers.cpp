#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include "expected.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/optim/clip_grad.hpp"
#include "lamina/optim/lamb.hpp"
#include "lamina/optim/lars.hpp"
#include "lamina/optim/rmsprop.hpp"
#include "lamina/optim/sgd.hpp"

using namespace lamina;

namespace {

// The formulas of make_optim.py.
const std::vector<Shape> shapes = {{2, 3}, {5}};

template <class Scalar>
Tensor<Scalar> formula(std::size_t p, double (*function)(double), double scale, double offset) {
  Tensor<Scalar> result(shapes[p]);
  for (Index i = 0; i < result.numel(); ++i)
    result.data()[i] = static_cast<Scalar>(function(scale * static_cast<double>(i) + offset));
  return result;
}
template <class Scalar>
Tensor<Scalar> start(std::size_t p) {
  return formula<Scalar>(p, std::sin, 1, 1 + 10 * static_cast<double>(p));
}
template <class Scalar>
Tensor<Scalar> gradient(std::size_t p, int t) {
  return formula<Scalar>(p, std::cos, 0.7, 1.3 * t + 5 * static_cast<double>(p));
}

template <class Scalar>
struct Two {
  Parameter<Scalar> first{start<Scalar>(0)}, second{start<Scalar>(1)};
  std::vector<NamedParameter<Scalar>> list{{"first", &first, nullptr}, {"second", &second, nullptr}};

  void set_gradients(int t) {
    first.grad = gradient<Scalar>(0, t);
    if (t >= 2) second.grad = gradient<Scalar>(1, t);
  }
  void append(std::vector<double>& values) const {
    for (const auto& named : list)
      for (Scalar value : named.parameter->value.values()) values.push_back(value);
  }
};

template <class Scalar>
using Maker = std::function<std::unique_ptr<Optimizer<Scalar>>(std::vector<NamedParameter<Scalar>>)>;

template <class O, class Scalar, class Options>
Maker<Scalar> make(Options options) {
  return [=](auto list) { return std::make_unique<O>(list, options); };
}

template <class S>
std::vector<std::pair<std::string, Maker<S>>> cases() {
  const auto sgd = [](SGDOptions o) { return make<SGD<S>, S>(o); };
  const auto adam = [](AdamOptions o) { return make<Adam<S>, S>(o); };
  const auto adamw = [](AdamWOptions o) { return make<AdamW<S>, S>(o); };
  const auto rmsprop = [](RMSpropOptions o) { return make<RMSprop<S>, S>(o); };
  const auto lars = [](LARSOptions o) { return make<LARS<S>, S>(o); };
  const auto lamb = [](LAMBOptions o) { return make<LAMB<S>, S>(o); };
  return {
      {"sgd", sgd({.lr = 0.1})},
      {"sgd decay", sgd({.lr = 0.1, .weight_decay = 0.01})},
      {"sgd momentum", sgd({.lr = 0.1, .momentum = 0.9})},
      {"sgd dampening", sgd({.lr = 0.1, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01})},
      {"sgd nesterov", sgd({.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true})},
      {"adam", adam({.lr = 0.01})},
      {"adam decay", adam({.lr = 0.01, .weight_decay = 0.1})},
      {"adam betas", adam({.lr = 0.01, .betas = {0.5, 0.9}, .eps = 1e-3})},
      {"adam amsgrad", adam({.lr = 0.01, .betas = {0.9, 0.5}, .amsgrad = true})},
      {"adamw", adamw({.lr = 0.01})},
      {"adamw decay", adamw({.lr = 0.01, .weight_decay = 0.3})},
      {"adamw amsgrad", adamw({.lr = 0.01, .betas = {0.9, 0.5}, .amsgrad = true})},
      {"rmsprop", rmsprop({})},
      {"rmsprop decay", rmsprop({.alpha = 0.9, .eps = 1e-4, .weight_decay = 0.1})},
      {"rmsprop momentum", rmsprop({.momentum = 0.9})},
      {"rmsprop centered", rmsprop({.centered = true})},
      {"rmsprop all", rmsprop({.alpha = 0.9, .weight_decay = 0.1, .momentum = 0.8, .centered = true})},
      {"lars", lars({.lr = 2, .weight_decay = 0.01, .trust = 0.02})},
      {"lars undecayed", lars({.lr = 0.1})},
      {"lars all", lars({.lr = 3, .momentum = 0, .trust = 0.05, .adapts_undecayed = true})},
      {"lamb", lamb({.lr = 0.01})},
      {"lamb undecayed", lamb({.lr = 0.01, .weight_decay = 0})},
      {"lamb all", lamb({.lr = 0.02, .betas = {0.5, 0.9}, .eps = 1e-3, .weight_decay = 0, .adapts_undecayed = true})},
  };
}

constexpr int steps = 8;

}  // namespace

TEST_CASE_TEMPLATE("every optimiser makes PyTorch's steps", S, float, double) {
  for (const auto& entry : cases<S>()) {
    const std::string& name = entry.first;
    const auto& maker = entry.second;
    CAPTURE(name);
    Two<S> two;
    const auto optimizer = maker(two.list);
    std::vector<double> values;
    const double lr = optimizer->lr();
    for (int t = 0; t < steps; ++t) {
      optimizer->set_lr(lr * rate_factors[static_cast<std::size_t>(t) % rate_factors.size()]);
      two.set_gradients(t);
      optimizer->step();
      two.append(values);
    }
    const auto& wanted = expected.at(name);
    REQUIRE(values.size() == wanted.size());
    double worst = 0;
    for (std::size_t i = 0; i < values.size(); ++i) worst = std::max(worst, std::abs(values[i] - wanted[i]));
    CHECK(worst < (std::is_same_v<S, double> ? 1e-14 : 3e-6));
  }
}

TEST_CASE("a step zeroes the gradients and keeps their storage") {
  Two<float> two;
  SGD optimizer(two.list, {.lr = 0.1, .momentum = 0.9});
  two.set_gradients(2);
  const float* storage = std::as_const(two.first.grad).data();
  optimizer.step();
  CHECK(two.first.grad == Tensor<float>::zeros({2, 3}));
  CHECK(std::as_const(two.first.grad).data() == storage);
  two.set_gradients(3);
  optimizer.zero_grad();
  CHECK(two.second.grad == Tensor<float>::zeros({5}));
  CHECK(two.first.value != start<float>(0));
}

TEST_CASE("frozen parameters and those without gradient stay as they are") {
  Two<float> two;
  two.first.requires_grad = false;
  Adam optimizer(two.list);
  two.set_gradients(0);  // none for the second
  optimizer.step();
  CHECK(two.first.value == start<float>(0));
  CHECK(two.second.value == start<float>(1));
  CHECK(two.first.grad == gradient<float>(0, 0));
}

TEST_CASE("a weight that is shared with a saved state is not changed under it") {
  Two<float> two;
  const Tensor<float> saved = two.first.value;
  SGD optimizer(two.list, {.lr = 0.1});
  two.set_gradients(0);
  optimizer.step();
  CHECK(saved == start<float>(0));
  CHECK(two.first.value != saved);
}

TEST_CASE_TEMPLATE("steps are the same for any number of threads", S, float, double) {
  const auto run = [](int threads) {
    set_num_threads(threads);
    Random random(3);
    Parameter<S> parameter(random.normal<S>({200'003}));
    AdamW<S> optimizer(std::vector<NamedParameter<S>>{{"w", &parameter, nullptr}});
    for (int t = 0; t < 3; ++t) {
      parameter.grad = random.normal<S>({200'003});
      clip_grad_norm(optimizer.parameters(), 1.0);
      optimizer.step();
    }
    set_num_threads(1);
    return parameter.value;
  };
  const Tensor<S> one = run(1);
  CHECK(one == run(2));
  CHECK(one == run(3));
}

TEST_CASE("groups have settings of their own") {
  Sequential net{Linear(4, 3), Linear(3, 2)};
  SGD<float> optimizer({{.parameters = parameters(net[0]), .lr = 0.25}, {.parameters = parameters(net[1])}},
                       {.lr = 0.5});
  CHECK(optimizer.groups() == 2);
  CHECK(optimizer.lr(0) == 0.25);
  CHECK(optimizer.lr(1) == 0.5);
  const Tensor<float> before0 = net.get<Linear<float>>(0).bias.value, before1 = net.get<Linear<float>>(1).bias.value;
  for (const auto& [name, parameter, owner] : optimizer.parameters()) parameter->gradient().fill(1);
  optimizer.step();
  for (Index i = 0; i < 3; ++i) CHECK(net.get<Linear<float>>(0).bias.value(i) == before0(i) - 0.25f);
  for (Index i = 0; i < 2; ++i) CHECK(net.get<Linear<float>>(1).bias.value(i) == before1(i) - 0.5f);
  optimizer.set_lr(0.125);
  CHECK(optimizer.lr(0) == 0.125);
  CHECK(optimizer.lr(1) == 0.125);
  optimizer.set_lr(0.0, 1);
  CHECK(optimizer.lr(0) == 0.125);
  CHECK(optimizer.lr(1) == 0);
}

TEST_CASE("decay_groups spares vectors") {
  Sequential net{Linear(4, 3), Linear(3, 2)};
  const auto groups = decay_groups(parameters(net));
  REQUIRE(groups.size() == 2);
  REQUIRE(groups[0].parameters.size() == 2);
  CHECK(groups[0].parameters[1].name == "1.weight");
  CHECK(groups[1].parameters[0].name == "0.bias");
  const StateDict<float> before = state_dict(net);
  SGD optimizer(groups, {.lr = 1, .weight_decay = 0.5});
  for (const auto& [name, parameter, owner] : optimizer.parameters()) parameter->gradient();
  optimizer.step();
  const StateDict<float> after = state_dict(net);
  for (std::size_t i = 0; i < before.size(); ++i) {
    auto wanted = std::get<Tensor<float>>(before[i].second);
    if (wanted.rank() != 1) wanted *= 0.5f;
    CHECK(std::get<Tensor<float>>(after[i].second) == wanted);
  }
}

TEST_CASE("name_groups: the first pattern that fits, the rest by the optimiser's settings") {
  Sequential<float> net{{"features", Sequential{Linear(4, 3), Linear(3, 3)}}, {"classifier", Linear(3, 2)}};
  const auto groups = name_groups(
      parameters(net), {{.pattern = "classifier.*", .lr = 0.5}, {.pattern = "*.bias", .lr = 0.25, .weight_decay = 0}});
  const auto names = [&](std::size_t k) {
    std::string result;
    for (const auto& named : groups[k].parameters) result += named.name + " ";
    return result;
  };
  REQUIRE(groups.size() == 3);
  CHECK(names(0) == "features.0.weight features.1.weight ");
  CHECK(names(1) == "classifier.weight classifier.bias ");
  CHECK(names(2) == "features.0.bias features.1.bias ");
  AdamW optimizer(groups, {.lr = 0.125, .weight_decay = 0.5});
  CHECK(optimizer.lr(0) == 0.125);
  CHECK(optimizer.lr(1) == 0.5);
  CHECK(optimizer.lr(2) == 0.25);
  for (const auto& [name, parameter, owner] : optimizer.parameters()) parameter->gradient().fill(1);
  optimizer.step();
  optimizer.set_lr(0.0625, 1);
  AdamW other(groups, {.lr = 0.125, .weight_decay = 0.5});
  other.load_state(optimizer.state());
  CHECK(other.state() == optimizer.state());
  CHECK(other.lr(1) == 0.0625);
  CHECK_THROWS_WITH_AS(AdamW(parameters(net)).load_state(optimizer.state()),
                       "AdamW: the state does not fit\n mis-shaped:\n  lr: expected shape [1], got [3]", StateError);

  CHECK(name_groups(parameters(net), {{.pattern = "*"}}).size() == 1);  // no group without parameters
  CHECK_THROWS_WITH_AS(name_groups(parameters(net), {{.pattern = "clasifier.*"}}),
                       "name_groups: 'clasifier.*' fits no parameter; the first is 'features.0.weight'", ValueError);
  CHECK_THROWS_WITH_AS(name_groups(parameters(net), {{.pattern = "*"}, {.pattern = "classifier.*"}}),
                       "name_groups: 'classifier.*' fits no parameter that an earlier pattern has left; the first is "
                       "'features.0.weight'",
                       ValueError);
}

TEST_CASE("patterns of names: * for any characters, ? for one") {
  const auto fits = [](const char* pattern, std::vector<const char*> those, std::vector<const char*> others) {
    CAPTURE(pattern);
    for (const char* name : those) {
      CAPTURE(name);
      CHECK(detail::matches(pattern, name));
    }
    for (const char* name : others) {
      CAPTURE(name);
      CHECK_FALSE(detail::matches(pattern, name));
    }
  };
  fits("classifier.*", {"classifier.", "classifier.1.weight"}, {"classifier", "xclassifier.1", "features.0"});
  fits("*.bias", {".bias", "a.b.bias", "bias.bias"}, {"bias", "a.bias.b"});
  fits("a*b*c", {"abc", "axbxbxc", "abbcc"}, {"ab", "acb", "abca"});
  fits("conv?.weight", {"conv1.weight", "conv..weight"}, {"conv.weight", "conv12.weight"});
  fits("", {""}, {"a"});
  fits("**", {"", "abc"}, {});
}

TEST_CASE_TEMPLATE("a run continues from a saved state with the same bits", S, float, double) {
  for (const auto& entry : cases<S>()) {
    const std::string& name = entry.first;
    const auto& maker = entry.second;
    CAPTURE(name);
    Two<S> whole, halves;
    const auto uninterrupted = maker(whole.list);
    TrainingState saved;
    {
      const auto first = maker(halves.list);
      for (int t = 0; t < 4; ++t) {
        whole.set_gradients(t);
        uninterrupted->step();
        halves.set_gradients(t);
        if (t == 1) saved = first->state();  // the second parameter has no step yet
        if (t == 1) first->load_state(saved);
        first->step();
      }
      uninterrupted->set_lr(0.0123456789);
      first->set_lr(0.0123456789);
      saved = first->state();
    }
    const auto second = maker(halves.list);
    second->load_state(saved);
    CHECK(second->lr() == 0.0123456789);
    for (int t = 4; t < steps; ++t) {
      whole.set_gradients(t);
      uninterrupted->step();
      halves.set_gradients(t);
      second->step();
    }
    CHECK(whole.first.value == halves.first.value);
    CHECK(whole.second.value == halves.second.value);
  }
}

TEST_CASE("a state that does not fit is refused as a whole") {
  Two<float> two;
  two.set_gradients(2);
  Adam adam(two.list);
  adam.step();
  SGD sgd(two.list, {.lr = 0.5});
  CHECK_THROWS_WITH_AS(sgd.load_state(adam.state()),
                       "SGD: the state does not fit\n unexpected:\n  first.exp_avg\n  first.exp_avg_sq\n  "
                       "second.exp_avg\n  second.exp_avg_sq",
                       StateError);
  CHECK(sgd.lr() == 0.5);
  two.set_gradients(0);
  sgd.step();
  CHECK_THROWS_WITH_AS(adam.load_state(sgd.state()),
                       "Adam: the state does not fit\n missing:\n  first.exp_avg\n  first.exp_avg_sq\n  "
                       "second.exp_avg\n  second.exp_avg_sq",
                       StateError);
  Parameter<float> other(Tensor<float>::zeros({4}));
  other.gradient();
  Adam small(std::vector<NamedParameter<float>>{{"first", &other, nullptr}});
  small.step();
  CHECK_THROWS_WITH_AS(small.load_state({{"lr", Tensor<double>::zeros({1})},
                                         {"first.step", Tensor<std::int64_t>({}, {3})},
                                         {"first.exp_avg", Tensor<float>::zeros({2})},
                                         {"first.exp_avg_sq", Tensor<float>::zeros({4})}}),
                       "Adam: the state does not fit\n mis-shaped:\n  first.exp_avg: expected shape [4], got [2]",
                       StateError);
}

TEST_CASE("clip_grad_norm is PyTorch's") {
  for (const double max_norm : {0.5, 100.0}) {
    Two<double> two;
    two.set_gradients(0);
    two.second.grad = gradient<double>(1, 0);
    std::vector<double> values{clip_grad_norm(two.list, max_norm)};
    for (const auto& named : two.list)
      for (double value : named.parameter->grad.values()) values.push_back(value);
    const auto& wanted = expected.at(max_norm < 1 ? "clip 0.5" : "clip 100.0");
    REQUIRE(values.size() == wanted.size());
    for (std::size_t i = 0; i < values.size(); ++i) CHECK(values[i] == doctest::Approx(wanted[i]).epsilon(1e-13));
  }
}

TEST_CASE("clip_grad_norm: frozen, missing and NaN gradients") {
  Two<float> two;
  CHECK(clip_grad_norm(two.list, 1.0) == 0);
  two.first.grad = Tensor<float>::full({2, 3}, 100);
  two.first.requires_grad = false;
  two.second.grad = Tensor<float>({5}, {3, 0, 0, 4, 0});
  CHECK(clip_grad_norm(two.list, 10.0) == doctest::Approx(5));
  CHECK(two.second.grad(3) == 4);
  two.second.grad(0) = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(clip_grad_norm(two.list, 10.0)));
  CHECK(std::isnan(two.second.grad(3)));
  CHECK_THROWS_WITH_AS(clip_grad_norm(two.list, 0), "clip_grad_norm: max_norm must be positive, got 0", ValueError);
}

TEST_CASE("options are checked") {
  Two<float> two;
  const auto& list = two.list;
  const auto refuses = [](auto make_it, const char* message) { CHECK_THROWS_WITH_AS(make_it(), message, ValueError); };
  refuses([&] { SGD(list, {.lr = -1}); }, "SGD: lr must be finite and not negative, got -1");
  refuses([&] { SGD(list, {.lr = std::nan("")}); }, "SGD: lr must be finite and not negative, got nan");
  refuses([&] { SGD(list, {.momentum = -0.1}); }, "SGD: momentum must be finite and not negative, got -0.1");
  refuses([&] { SGD(list, {.weight_decay = -2}); }, "SGD: weight_decay must be finite and not negative, got -2");
  refuses([&] { SGD(list, {.nesterov = true}); },
          "SGD: nesterov needs momentum > 0 and dampening 0, got momentum 0, dampening 0");
  refuses([&] { Adam(list, {.betas = {0.9, 1}}); }, "Adam: betas[1] must be in [0, 1), got 1");
  refuses([&] { AdamW(list, {.betas = {-0.5, 0.9}}); }, "AdamW: betas[0] must be in [0, 1), got -0.5");
  refuses([&] { AdamW(list, {.eps = -1}); }, "AdamW: eps must be finite and not negative, got -1");
  refuses([&] { RMSprop(list, {.alpha = -1}); }, "RMSprop: alpha must be finite and not negative, got -1");
  refuses([&] { RMSprop(list, {.momentum = -1}); }, "RMSprop: momentum must be finite and not negative, got -1");
  refuses([&] { SGD(std::vector<NamedParameter<float>>{}); }, "SGD: there are no parameters");
  refuses([&] { SGD<float>({list[0], list[0]}); }, "SGD: parameter 'first' comes twice");
  refuses([&] { SGD<float>({{.parameters = list, .lr = -3}}, {.lr = 1}); },
          "SGD: lr must be finite and not negative, got -3");
  SGD optimizer(list);
  refuses([&] { optimizer.lr(1); }, "SGD: no parameter group 1, there are 1");
  refuses([&] { optimizer.set_lr(-1); }, "SGD: lr must be finite and not negative, got -1");
}

TEST_CASE("a number behind the parameters is the learning rate, as PyTorch writes it") {
  Linear<float> net(2, 2);
  CHECK(Adam(parameters(net), 0.25).lr(0) == 0.25);
  CHECK(AdamW(parameters(net), 0.25f).lr(0) == 0.25);
  CHECK(SGD(parameters(net), 0.25).lr(0) == 0.25);
  CHECK(RMSprop(parameters(net), 0.25).lr(0) == 0.25);
  CHECK(Adam(parameters(net), {}).lr(0) == AdamOptions{}.lr);
}

TEST_CASE("LARS and LAMB take a plain step where a norm is zero, and refuse what cannot be") {
  Parameter<double> zero(Tensor<double>::zeros({3}));
  const std::vector<NamedParameter<double>> list{{"zero", &zero, nullptr}};
  LARS<double> lars(list, {.lr = 0.5, .momentum = 0, .weight_decay = 0.1});
  zero.grad = Tensor<double>({3}, {1, -2, 4});
  lars.step();
  CHECK(zero.value == Tensor<double>({3}, {-0.5, 1, -2}));
  zero.value.fill(0);
  LAMB<double> lamb(list, {.lr = 0.5, .eps = 0});
  zero.grad = Tensor<double>({3}, {1, -2, 4});
  lamb.step();
  for (Index i = 0; i < 3; ++i) CHECK(zero.value(i) == doctest::Approx(i == 1 ? 0.5 : -0.5).epsilon(1e-12));
  CHECK(lars.name() == "LARS");
  CHECK(lamb.name() == "LAMB");

  CHECK_THROWS_WITH_AS(LARS<double>(list, {.momentum = -1}), "LARS: momentum must be finite and not negative, got -1",
                       ValueError);
  CHECK_THROWS_WITH_AS(LARS<double>(list, {.trust = -0.5}), "LARS: trust must be finite and not negative, got -0.5",
                       ValueError);
  CHECK_THROWS_WITH_AS(LAMB<double>(list, {.betas = {1, 0.9}}), "LAMB: betas[0] must be in [0, 1), got 1", ValueError);
  CHECK_THROWS_WITH_AS(LAMB<double>(list, {.betas = {0.9, -1}}), "LAMB: betas[1] must be in [0, 1), got -1",
                       ValueError);
  CHECK_THROWS_WITH_AS(LAMB<double>(list, {.eps = -1}), "LAMB: eps must be finite and not negative, got -1",
                       ValueError);
  CHECK_THROWS_WITH_AS(LAMB<double>(list, {.weight_decay = -1}),
                       "LAMB: weight_decay must be finite and not negative, got -1", ValueError);
}
