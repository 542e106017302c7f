#include <doctest/doctest.h>

#include "lamina/incremental/likelihood.hpp"
#include "lamina/incremental/sampling.hpp"
#include "lamina/models/gated_pixelcnn.hpp"
#include "lamina/models/pixelcnn_plus_plus.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

const PixelCNNPlusPlusOptions small{.resnets = 1, .filters = 6, .mixtures = 3, .weight_norm = false};

/// Levels of which some lie at both ends.
Labels drawn_levels(const Shape& shape, std::uint64_t seed) {
  Random random(seed);
  Labels result(shape);
  for (auto& level : result.values()) {
    const Index place = random.below(300);
    level = static_cast<std::int32_t>(std::clamp<Index>(place - 22, 0, 255));
  }
  return result;
}

/// Narrow, wide and far logistics.
Tensor<double> wild_parameters(const Shape& shape) {
  Tensor<double> result = Random(5).normal<double>(shape, 0, 3);
  const Tensor<double> large = Random(6).uniform<double>(shape);
  for (Index i = 0; i < result.numel(); ++i)
    if (large.data()[i] > 0.9) result.data()[i] *= 20;
  return result;
}

}  // namespace

TEST_CASE("the layers of PixelCNN++ conform") {
  manual_seed(1);
  CHECK(conforms(ConcatELU<double>(), {2, 3, 2, 5}));
  CHECK(conforms(Shift2d<double>({.down = 1, .right = 2}), {2, 2, 4, 5}));
  CHECK(conforms(Shift2d<double>({.down = 7}), {1, 2, 4, 5}));
  CHECK(conforms(SignedImage<double>(), {2, 3, 2, 2}));
  CHECK(conforms(WeightNorm<Conv2d<double>>(Conv2d<double>(3, 4, 2, {.stride = 2})), {2, 3, 5, 4}));
  CHECK(conforms(WeightNorm<ConvTranspose2d<double>>(ConvTranspose2d<double>(3, 4, 2, {.stride = 2, .bias = false})),
                 {2, 3, 2, 3}));
  CHECK(conforms(PixelCNNPlusPlus<double>({.resnets = 1, .filters = 2, .mixtures = 1, .classes = 2, .dropout = 0}),
                 {1, 5, 4, 4}));
}

TEST_CASE("weight normalisation starts from data, and can be left away") {
  manual_seed(2);
  PixelCNNPlusPlus<float> net({.resnets = 1, .filters = 8, .mixtures = 2, .dropout = 0});
  const Tensor<float> x = Random(3).uniform({6, 3, 8, 8});
  initialize_weight_norm(net, x);
  const Tensor<float> y = net(x);
  for (Index c = 0; c < y.dim(1); ++c) {
    double sum = 0, squares = 0;
    for (Index n = 0; n < 6; ++n)
      for (Index i = 0; i < 64; ++i) {
        const double value = static_cast<double>(y.data()[(n * y.dim(1) + c) * 64 + i]);
        sum += value / 384;
        squares += value * value / 384;
      }
    CHECK(sum == doctest::Approx(0).epsilon(1e-4));
    CHECK(squares == doctest::Approx(1).epsilon(1e-3));
  }
  // The gated layers' second convolutions begin with a tenth: the layers nearly hand on what they get.
  std::size_t gains = 0;
  for (const auto& [name, parameter, owner] : parameters(net)) gains += name.ends_with("conv_out.weight_g");
  CHECK(gains == 16);

  PixelCNNPlusPlus<float> plain({.resnets = 1, .filters = 8, .mixtures = 2, .weight_norm = false});
  load_state_dict(plain, plain_weights(net));
  CHECK(testing::worst_difference(plain(x).cast<double>(), y.cast<double>()).error < 1e-5);
}

TEST_CASE("PixelCNN++ is causal, and drawn pixel by pixel with the naive loop's bits") {
  manual_seed(3);
  for (const auto& [channels, classes, filters] : {std::array<Index, 3>{3, 0, 16}, {1, 2, 20}, {3, 2, 5}, {1, 0, 33}}) {
    CAPTURE(channels);
    CAPTURE(filters);
    PixelCNNPlusPlusOptions options = small;
    options.channels = channels, options.classes = classes, options.filters = filters;
    options.weight_norm = filters == 20;
    const PixelCNNPlusPlus<float> net(options);
    Tensor<float> x = Random(4).uniform({2, channels + classes, 8, 12});
    for (Index i = 0; i < 2; ++i)  // the condition is that of the first pixel
      for (Index k = 0; k < classes; ++k) std::fill_n(&x(i, channels + k, 0, 0), 96, i == k ? 1.0f : 0.0f);
    const Tensor<float> y = net(x);
    for (const Index pixel : {0, 13, 14, 50, 95}) {
      Tensor<float> changed = x;
      for (Index i = 0; i < 2 * channels; ++i)
        for (Index p = pixel; p < 96; ++p) changed.data()[(i / channels * x.dim(1) + i % channels) * 96 + p] += 1;
      const Tensor<float> z = net(changed);
      for (Index i = 0; i < y.dim(0) * y.dim(1); ++i)
        for (Index p = 0; p <= pixel; ++p) REQUIRE(y.data()[i * 96 + p] == z.data()[i * 96 + p]);
      CHECK((y == z) == (pixel == 95));
    }
    Incremental<float> form(net, x, channels, Given::none);
    for (Index p = 0; p < 96; ++p) {
      const Pixel at{p / 12, p % 12};
      REQUIRE(form.step(pixels_of(x, 2, at, 1), at, p % 5 == 0 ? channels : 0) == pixels_of(y, 2, at, 1));
      if (p % 5 != 0) form.step(pixels_of(x, 2, at, 1), at, channels);
    }

    Tensor<float> condition = classes > 0 ? Tensor<float>::zeros({3, classes}) : Tensor<float>();
    for (Index i = 0; i < 3 && classes > 0; ++i) condition(i, i % classes) = 1;
    SampleOptions how{.mixtures = options.mixtures, .temperature = 0.8, .seed = 11};
    const Shape images{3, channels, 8, 8};
    const Tensor<float> fast = sample(net, images, how, condition);
    how.incremental = false;
    CHECK(fast == sample(net, images, how, condition));
    how.given = 29;
    const Tensor<float> completed = complete(net, fast, how, condition);
    how.incremental = true;
    how.seed = 12;
    CHECK_FALSE(completed == complete(net, fast, how, condition));
    how.seed = 11;
    CHECK(completed == complete(net, fast, how, condition));
    pixel_levels(fast, 256);  // throws unless they are levels
  }
}

TEST_CASE("the probabilities of all levels sum to one, however narrow or far the logistics are") {
  for (const Index colours : {1, 3})
    for (const Index levels : {2, 16, 256}) {
      const Tensor<double> parameters = wild_parameters({2, logistic_mixture_parameters(colours, 5), 6, 7});
      Labels given = drawn_levels({2, colours, 6, 7}, 8);
      for (auto& level : given.values()) level = static_cast<std::int32_t>(level * levels / 256);
      const Tensor<double> p = logistic_mixture_probabilities(parameters, given, {.levels = levels});
      const Tensor<double> single = logistic_mixture_probabilities(parameters.cast<float>(), given, {.levels = levels});
      for (const Tensor<double>& q : {p, single})
        for (Index i = 0; i < 2 * colours; ++i)
          for (Index pixel = 0; pixel < 42; ++pixel) {
            double sum = 0;
            for (Index level = 0; level < levels; ++level) sum += q.data()[(i * levels + level) * 42 + pixel];
            REQUIRE(std::abs(sum - 1) < 1e-6);
          }
      // The loss is that of the levels that are there.
      double nats = 0;
      for (Index n = 0; n < 2; ++n)
        for (Index c = 0; c < colours; ++c)
          for (Index pixel = 0; pixel < 42; ++pixel) {
            const Index i = n * colours + c;
            nats -= std::log(p.data()[(i * levels + given.data()[i * 42 + pixel]) * 42 + pixel]) / 2;
          }
      if (nats < 1e9)
        CHECK(logistic_mixture_loss(parameters, given, {.levels = levels}).value == doctest::Approx(nats));
    }
}

TEST_CASE("the loss of vanishing masses is finite, and its gradient that of differences") {
  const Index mixtures = 2;
  Tensor<double> parameters = wild_parameters({1, 20, 3, 4});
  const Labels levels = drawn_levels({1, 3, 3, 4}, 3);
  const auto [nats, grad] = logistic_mixture_loss(parameters, levels);
  CHECK(std::isfinite(nats));
  for (Index i = 0; i < parameters.numel(); ++i) {
    REQUIRE(std::isfinite(grad.data()[i]));
    const double kept = parameters.data()[i], h = 1e-6 * std::max(1.0, std::abs(kept));
    const bool is_scale = (i / 12 - mixtures) >= 0 && (i / 12 - mixtures) % 6 / 2 == 1;
    if (is_scale && std::abs(kept + 7) < h) continue;  // where it is clamped
    parameters.data()[i] = kept + h;
    const double up = logistic_mixture_loss(parameters, levels).value;
    parameters.data()[i] = kept - h;
    const double down = logistic_mixture_loss(parameters, levels).value;
    parameters.data()[i] = kept;
    CAPTURE(i);
    CHECK(std::abs((up - down) / (2 * h) - grad.data()[i]) < 1e-4 * std::max(1.0, nats));
  }
}

TEST_CASE("samples of mixtures have their probabilities") {
  // The same parameters at every pixel: a model of one convolution whose weights are zero.
  Sequential<float> net{MaskedConv2d(Mask::A, 3, 20, 3)};
  auto& conv = net.get<MaskedConv2d<float>>(0);
  conv.weight.value.fill(0);
  conv.bias.value = Random(3).normal<float>({20}, 0, 1);
  const Index levels = 5, n = 400;
  const Tensor<float> images = sample(net, {n, 3, 4, 4}, {.levels = levels, .mixtures = 2, .seed = 4});
  const Labels drawn = pixel_levels(images, levels);
  std::array<std::array<double, 5>, 5> share{}, expected{};  // of red and blue
  for (Index i = 0; i < n; ++i)
    for (Index p = 0; p < 16; ++p)
      share[static_cast<std::size_t>(drawn.data()[i * 48 + p])]
           [static_cast<std::size_t>(drawn.data()[i * 48 + 32 + p])] += 1.0 / static_cast<double>(16 * n);
  const Tensor<float> parameters = Tensor<float>(conv.bias.value).reshape({1, 20, 1, 1});
  for (std::int32_t r = 0; r < 5; ++r)
    for (std::int32_t g = 0; g < 5; ++g)
      for (std::int32_t b = 0; b < 5; ++b) {
        const double nats =
            logistic_mixture_loss(parameters, Labels({1, 3, 1, 1}, {r, g, b}), {.levels = levels}).value;
        expected[static_cast<std::size_t>(r)][static_cast<std::size_t>(b)] += std::exp(-nats);
      }
  for (std::size_t r = 0; r < 5; ++r)
    for (std::size_t b = 0; b < 5; ++b) CHECK(std::abs(share[r][b] - expected[r][b]) < 0.018);
}

TEST_CASE("PixelCNN++ learns") {
  manual_seed(8);
  PixelCNNPlusPlus<float> net({.channels = 1, .resnets = 1, .filters = 8, .mixtures = 3, .dropout = 0.1});
  // Stripes whose brightness the first row tells.
  const Index n = 8, side = 8;
  Tensor<float> images({n, 1, side, side});
  for (Index i = 0; i < n; ++i)
    for (Index p = 0; p < side * side; ++p)
      images.data()[i * 64 + p] = p / side % 2 == 0 ? static_cast<float>(i) / 7 : 1 - static_cast<float>(i) / 7;
  images = quantize(std::move(images), 256);
  const Labels targets = pixel_levels(images, 256);
  initialize_weight_norm(net, images);
  Adam optimizer(parameters(net), {.lr = 1e-2});
  double first = 0, last = 0;  // the mean of the last 20 steps: at this rate single ones stand out
  for (int step = 0; step < 120; ++step) {
    Tape tape;
    auto [nats, grad] = logistic_mixture_loss(net.forward(images, tape), targets);
    net.backward(std::move(grad), tape, InputGrad::skip);
    optimizer.step();
    if (step == 0) first = nats;
    if (step >= 100) last += nats / 20;
  }
  CHECK(first > 250);  // 64 log 256 = 355 for a model that knows nothing
  CHECK(last < 0.6 * first);
}

TEST_CASE("a spatial condition tells each pixel something of its own") {
  manual_seed(9);
  const auto net =
      gated_pixelcnn({.channels = 3, .blocks = 1, .hidden = 12, .levels = 4, .classes = 2, .spatial = true});
  const Tensor<float> map = Random(5).uniform({3, 2, 6, 7});
  SampleOptions how{.levels = 4, .seed = 1};
  const Tensor<float> fast = sample(net, {3, 3, 6, 7}, how, map);
  how.incremental = false;
  CHECK(fast == sample(net, {3, 3, 6, 7}, how, map));
  // The logits of a pixel see the map, there and around; those of the rows above do not see a row below.
  Tensor<float> x = Random(6).uniform({1, 5, 6, 7}), changed = x;
  changed(0, 4, 3, 4) += 1;
  const Tensor<float> y = net(x), z = net(changed);
  CHECK(y(0, 0, 3, 4) != z(0, 0, 3, 4));
  CHECK(y(0, 0, 2, 4) == z(0, 0, 2, 4));
  CHECK_THROWS_WITH_AS(sample(net, {3, 3, 6, 7}, how, Random(1).uniform({3, 2, 7, 6})),
                       "complete: expected a condition [3, K] or [3, K, 6, 7], got shape [3, 2, 7, 6]", ShapeError);
  CHECK_THROWS_WITH_AS(gated_pixelcnn({.spatial = true}), "GatedStack: a spatial condition wants classes, its channels",
                       ValueError);
}

TEST_CASE("PixelCNN++ says what is wrong") {
  CHECK_THROWS_WITH_AS(PixelCNNPlusPlus<float>({.channels = 2}), "logistic mixtures are of 1 or 3 colours, got 2",
                       ValueError);
  CHECK_THROWS_WITH_AS(PixelCNNPlusPlus<float>({.mixtures = 0}), "expected at least 1 logistic in a mixture, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(PixelCNNPlusPlus<float>({.resnets = 0}),
                       "PixelCNNPlusPlus: expected at least 1 gated residual layer and filter, got 0 and 160",
                       ValueError);
  const PixelCNNPlusPlus<float> net(small);
  CHECK_THROWS_WITH_AS(
      net(Tensor<float>::zeros({1, 3, 6, 8})),
      doctest::Contains("expected an input [N, 3, H, W] with H and W multiples of 4, got shape [1, 3, 6, 8]"),
      ShapeError);
  CHECK_THROWS_WITH_AS(
      sample(net, {1, 3, 8, 8}, {.mixtures = 4}),
      "complete: expected parameters [1, 40, 8, 8] for 3 channels of 4 mixtures, the model gives [1, 30, "
      "8, 8]",
      ShapeError);
  CHECK_THROWS_WITH_AS(sample(net, {1, 3, 8, 8}, {.mixtures = 3, .top_k = 2}),
                       "complete: top_k chooses among logits, of mixtures there are none", ValueError);
  CHECK_THROWS_WITH_AS(Shift2d({.down = -1}), "Shift2d(down=-1): down and right must not be negative", ValueError);
  CHECK_THROWS_WITH_AS(WeightNorm<Conv2d<float>>(Conv2d(4, 4, 3, {.groups = 2})),
                       "WeightNorm(Conv2d(4, 4, 3, groups=2)): expected one group, got 2", ValueError);
  const Labels levels = Labels::zeros({1, 3, 2, 2});
  CHECK_THROWS_WITH_AS(logistic_mixture_loss(Tensor<float>::zeros({1, 12, 2, 2}), levels),
                       "logistic_mixture_loss: expected parameters [N, 10 mixtures, H, W] for levels [1, 3, 2, 2], got "
                       "shape [1, 12, 2, 2]",
                       ShapeError);
  Labels wrong = levels;
  wrong(0, 1, 0, 1) = 256;
  CHECK_THROWS_WITH_AS(logistic_mixture_loss(Tensor<float>::zeros({1, 10, 2, 2}), wrong),
                       "logistic_mixture_loss: level 256 at position 5 is not in [0, 256)", ValueError);
}
