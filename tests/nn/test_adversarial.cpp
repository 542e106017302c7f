#include <doctest/doctest.h>

#include "lamina/nn/context/ylg_attention.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/film.hpp"
#include "lamina/nn/hinge_loss.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/mean.hpp"
#include "lamina/nn/sequences.hpp"
#include "lamina/nn/spectral_norm.hpp"
#include "lamina/nn/weight_norm.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

template <class M>
M still(M layer) {
  freeze(layer);
  set_requires_grad(layer, true);
  return layer;
}

/// FiLM of x by linear maps of its means.
class Modulated : public Block<Modulated, double> {
 public:
  Linear<double> gamma{3, 3}, beta{3, 3};
  Value<double> flow(Flow<double>& run, Value<double> x) const {
    const Value<double> mean = run(mean_, x);
    Value<double> factors = run(gamma, mean), offsets = run(beta, mean);
    return run(film_, std::move(x), std::move(factors), std::move(offsets));
  }
  Members<double> members() override { return {{"gamma", gamma}, {"beta", beta}}; }

 private:
  Mean<double> mean_{-1};
  FiLM<double> film_;
};

/// A label from each image, 1 where its first number is positive.
class LabelOf : public Layer<LabelOf, double> {
 public:
  Shape output_shape(const Shape& input) const override { return {input[0]}; }

 private:
  Tensor<double> do_infer(Tensor<double> x) const override {
    Tensor<double> labels({x.dim(0)});
    const Index size = x.shape().product(1, x.rank());
    for (Index i = 0; i < x.dim(0); ++i) labels(i) = std::as_const(x).data()[i * size] > 0 ? 1 : 0;
    return labels;
  }
  Tensor<double> do_forward(Tensor<double> x, Tape& tape) override {
    tape.push(x.shape());
    return do_infer(std::move(x));
  }
  Tensor<double> do_backward(Tensor<double>, Tape& tape, InputGrad) override {
    return Tensor<double>::zeros(std::get<0>(tape.pop<Shape>()));
  }
};
class Conditional : public Block<Conditional, double> {
 public:
  ConditionalBatchNorm2d<double> norm{3, 2};
  Value<double> flow(Flow<double>& run, Value<double> x) const { return run(norm, x, run(label_, x)); }
  Members<double> members() override { return {{"", norm}}; }

 private:
  LabelOf label_;
};

}  // namespace

TEST_CASE("spectral normalisation conforms, and finds the largest singular value") {
  manual_seed(11);
  const SpectralNormOptions many{.n_power_iterations = 200};
  const ConformanceOptions trains{.training_differs = true};
  CHECK(conforms(SpectralNorm<Linear<double>>(Linear<double>(4, 3), many), {5, 4}, trains));
  CHECK(conforms(SpectralNorm<Conv2d<double>>(Conv2d<double>(2, 3, 2, {.stride = 2}), many), {2, 2, 5, 4}, trains));
  CHECK(conforms(SpectralNorm<ConvTranspose2d<double>>(ConvTranspose2d<double>(3, 2, 2, {.bias = false}), many),
                 {2, 3, 2, 3}, trains));
  CHECK(conforms(still(SpectralNorm<Linear<double>>(Linear<double>(4, 3))), {5, 4}));
  CHECK(conforms(still(SpectralNorm<Conv2d<double>>(Conv2d<double>(4, 6, 3, {.groups = 2}))), {2, 4, 5, 4}));

  Linear<double> diagonal(3, 3);
  diagonal.weight.value = Tensor<double>({3, 3}, {0.5, 0, 0, 0, -4, 0, 0, 0, 1});
  SpectralNorm<Linear<double>> layer(diagonal, many);
  Tape tape;
  layer.forward(Tensor<double>::ones({1, 3}), tape);
  CHECK(layer.sigma() == doctest::Approx(4));
  CHECK(layer.plain().weight.value(1, 1) == doctest::Approx(-1));
  CHECK(layer.plain().weight.value(0, 0) == doctest::Approx(0.125));
}

TEST_CASE("spectral normalisation moves in training alone, not when frozen or run again") {
  manual_seed(12);
  SpectralNorm<Linear<float>> layer(Linear(6, 5), {.n_power_iterations = 1});
  const Tensor<float> x = Random(1).normal({2, 6});
  layer.weight_u = Random(2).normal({5});
  const Tensor<float> u = layer.weight_u;
  layer.infer(x);
  CHECK(layer.weight_u == u);
  Tape tape;
  layer.set_frozen(true);
  layer.forward(x, tape);
  CHECK(layer.weight_u == u);
  layer.set_frozen(false);
  Tape again = Tape::replaying(Random(1));
  layer.forward(x, again);
  CHECK(layer.weight_u == u);
  layer.forward(x, tape);
  CHECK(!(layer.weight_u == u));
  CHECK(layer.name() == "SpectralNorm(Linear(6, 5))");
  CHECK(SpectralNorm<Linear<float>>(Linear(6, 5), {.n_power_iterations = 2}).name() ==
        "SpectralNorm(Linear(6, 5), n_power_iterations=2)");
}

TEST_CASE("a model without spectral and weight normalisation gives the same results") {
  manual_seed(13);
  Sequential<float> net{{"a", SpectralNorm<Conv2d<float>>(Conv2d(2, 3, 3))},
                        {"b", Sequential<float>{{"c", WeightNorm<Conv2d<float>>(Conv2d(3, 4, 1))},
                                                {"d", SpectralNorm<Conv2d<float>>(Conv2d(4, 2, 1, {.bias = false}))}}}};
  Sequential<float> plain{{"a", Conv2d(2, 3, 3)},
                          {"b", Sequential<float>{{"c", Conv2d(3, 4, 1)}, {"d", Conv2d(4, 2, 1, {.bias = false})}}}};
  const Tensor<float> x = Random(1).normal({2, 2, 5, 5});
  load_state_dict(plain, plain_weights(net));
  CHECK(testing::worst_difference(plain(x).cast<double>(), net(x).cast<double>()).error < 1e-6);
}

TEST_CASE("FiLM and conditional batch normalisation conform") {
  manual_seed(14);
  CHECK(conforms(Modulated(), {2, 3, 7}));
  CHECK(conforms(Modulated(), {1, 3, 37}));
  CHECK(conforms(Conditional(), {5, 3, 2, 3}, {.training_differs = true}));
  CHECK(conforms(still(Conditional()), {5, 3, 2, 3}));
}

TEST_CASE("the attentions of GANs conform") {
  manual_seed(15);
  const GanAttentionOptions plain{.spectral_norm = false};
  SAGANAttention<double> attention(8, plain);
  attention.gamma.coefficient.value.fill(0.7);
  CHECK(conforms(attention, {2, 8, 4, 2}));
  YLGAttention<double> ylg(64, plain);
  ylg.gamma.coefficient.value.fill(-0.4);
  CHECK(conforms(ylg, {1, 64, 4, 4}));
  SAGANAttention<double> normalised(8);
  normalised.gamma.coefficient.value.fill(1);
  CHECK(conforms(still(normalised), {1, 8, 2, 2}));
}

TEST_CASE("YLG's heads see keys of the pattern alone, and two steps reach all") {
  for (const auto& [queries, keys] : {std::pair<Size2, Size2>{32, 16}, {8, 8}, {{6, 8}, {3, 4}}}) {
    const SparseKeys floor = ylg_keys(YLGStep::left_floor, keys, keys);
    const SparseKeys repetitive = ylg_keys(YLGStep::left_repetitive, queries, keys);
    const auto n = static_cast<std::size_t>(keys.h * keys.w);
    CHECK(repetitive.begin.size() == static_cast<std::size_t>(queries.h * queries.w) + 1);
    // The largest stretch of keys that one query sees goes through all strides.
    std::size_t most = 0;
    for (std::size_t q = 0; q < n; ++q)
      most = std::max(most, static_cast<std::size_t>(floor.begin[q + 1] - floor.begin[q]));
    CHECK(most == static_cast<std::size_t>(std::sqrt(static_cast<double>(n))));
    std::vector<bool> seen(n);
    for (const Index key : repetitive.key) seen[static_cast<std::size_t>(key)] = true;
    CHECK(std::find(seen.begin(), seen.end(), false) == seen.end());
  }

  const Random random(3);
  Tensor<double> q = Random(1).normal<double>({1, 8, 4, 4}), k = Random(2).normal<double>({1, 8, 2, 2}),
                 v = Random(3).normal<double>({1, 8, 2, 2});
  const YLGCore<double> core;
  const Tensor<double> y = core.infer({q, k, v})[0];
  const SparseKeys first = ylg_keys(YLGStep::right_floor, 4, 2);
  for (Index key = 0; key < 4; ++key) {
    Tensor<double> other = v;
    other.data()[key] += 1;  // channel 0: head 0
    const Tensor<double> changed = core.infer({q, k, other})[0];
    for (Index query = 0; query < 16; ++query) {
      const auto begin = first.key.begin() + first.begin[static_cast<std::size_t>(query)];
      const auto end = first.key.begin() + first.begin[static_cast<std::size_t>(query + 1)];
      CHECK((changed.data()[query] != y.data()[query]) == (std::find(begin, end, key) != end));
    }
  }
}

TEST_CASE("the hinge losses' sums, and what is not a number") {
  const Tensor<double> x({3}, {2, 0.5, -3});
  CHECK(real_hinge_loss(x).value == doctest::Approx(4.5 / 3));
  CHECK(fake_hinge_loss(x, {.reduction = "sum"}).value == doctest::Approx(4.5));
  CHECK(generator_hinge_loss(x, {.reduction = Reduction::sum}).value == doctest::Approx(0.5));
  const auto each = real_hinge_loss(x, {.reduction = "none"});
  CHECK(each.losses == Tensor<double>({3}, {0, 0.5, 4}));
  CHECK(each.grad == Tensor<double>({3}, {0, -1, -1}));
  const Tensor<double> bad({2}, {NAN, 1});
  CHECK(std::isnan(real_hinge_loss(bad).value));
  CHECK(std::isnan(generator_hinge_loss(bad).value));
}

TEST_CASE("errors of the layers of GANs") {
  using V = Values<float>;
  CHECK_THROWS_WITH_AS(SpectralNorm<Linear<float>>(Linear(2, 3), {.n_power_iterations = -1}),
                       "SpectralNorm(Linear(2, 3), n_power_iterations=-1): n_power_iterations must not be negative, "
                       "got -1",
                       ValueError);
  CHECK_THROWS_WITH_AS(SpectralNorm<Linear<float>>(Linear(2, 3), {.eps = -1}),
                       "SpectralNorm(Linear(2, 3), eps=-1): eps must not be negative, got -1", ValueError);
  CHECK_THROWS_WITH_AS(SpectralNorm<ConvTranspose2d<float>>(ConvTranspose2d(2, 4, 3, {.groups = 2})),
                       "SpectralNorm(ConvTranspose2d(2, 4, 3, groups=2)): expected one group, got 2", ValueError);
  CHECK_THROWS_WITH_AS(FiLM<float>().infer(V(Tensor<float>({2, 3}))), "FiLM(): takes x, gamma and beta, got 1 values",
                       ValueError);
  CHECK_THROWS_WITH_AS(FiLM<float>().infer({Tensor<float>({2}), Tensor<float>({2}), Tensor<float>({2})}),
                       "FiLM(): expected an input [N, C, ...], got shape [2]", ShapeError);
  CHECK_THROWS_WITH_AS(FiLM<float>().infer({Tensor<float>({2, 3, 4}), Tensor<float>({2, 3}), Tensor<float>({2, 4})}),
                       "FiLM(): expected beta of shape [2, 3], got shape [2, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(
      ConditionalBatchNorm2d<float>(2, 3).infer({Tensor<float>::zeros({1, 2, 1, 1}), Labels({1}, {3})}),
      "gamma: Embedding(3, 2): id 3 at position 0 is not one of the 3 entries 0 to 2", ValueError);
  CHECK_THROWS_WITH_AS(SAGANAttention<float>(12), "SAGANAttention: expected a multiple of 8 channels, got 12",
                       ValueError);
  CHECK_THROWS_WITH_AS(YLGAttention<float>(32), "YLGAttention: expected a multiple of 64 channels, got 32", ValueError);
  CHECK_THROWS_WITH_AS(SAGANAttention<float>(8).infer(Tensor<float>({1, 8, 3, 4})),
                       "SAGANAttention(8): expected an image [N, C, H, W] of even height and width, got shape "
                       "[1, 8, 3, 4]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(PixelCrossAttention<float>().infer(
                           {Tensor<float>({1, 2, 4, 4}), Tensor<float>({1, 3, 2, 2}), Tensor<float>({1, 4, 2, 2})}),
                       "PixelCrossAttention(): expected queries [N, K, H, W], keys [N, K, h, w] and values "
                       "[N, V, h, w], got [1, 2, 4, 4], [1, 3, 2, 2] and [1, 4, 2, 2]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(
      YLGCore<float>().infer({Tensor<float>({1, 8, 4, 4}), Tensor<float>({1, 8, 2, 3}), Tensor<float>({1, 8, 2, 3})}),
      "YLGCore(): expected queries [N, K, H, W], keys [N, K, h, w] and values [N, V, h, w], K and V "
      "multiples of 8 and H W one of h w, got [1, 8, 4, 4], [1, 8, 2, 3] and [1, 8, 2, 3]",
      ShapeError);
  CHECK_THROWS_WITH_AS(ylg_keys(YLGStep::left_floor, 3, 2), "ylg_keys: expected a multiple of 2 x 2 queries, got 3 x 3",
                       ValueError);
  CHECK_THROWS_WITH_AS(real_hinge_loss(Tensor<float>({0, 1})),
                       "real_hinge_loss: expected at least one score, got shape [0, 1]", ShapeError);
}
