#include <doctest/doctest.h>

#include <numeric>

#include "lamina/incremental/likelihood.hpp"
#include "lamina/incremental/sampling.hpp"
#include "lamina/models/gated_pixelcnn.hpp"
#include "lamina/nn/max_pool2d.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

/// The definition, in double, with the mask spelled out tap by tap.
Tensor<double> masked_by_definition(const Tensor<double>& x, const Tensor<double>& weight, const Tensor<double>& bias,
                                    Mask mask, Index groups) {
  const Index n = x.dim(0), c = x.dim(1), h = x.dim(2), w = x.dim(3), m = weight.dim(0);
  const Index kh = weight.dim(2), kw = weight.dim(3);
  Tensor<double> y({n, m, h, w});
  const auto open = [&](Index out, Index in, Index a, Index b) {
    if (a != kh / 2) return a < kh / 2;
    if (mask == Mask::vertical_A) return false;
    if (mask == Mask::vertical_B) return true;
    if (b != kw / 2) return b < kw / 2;
    const Index out_group = out * groups / m, in_group = in * groups / c;
    return mask == Mask::A ? in_group < out_group : in_group <= out_group;
  };
  for (Index i = 0; i < n; ++i)
    for (Index o = 0; o < m; ++o)
      for (Index r = 0; r < h; ++r)
        for (Index q = 0; q < w; ++q) {
          double sum = bias(o);
          for (Index j = 0; j < c; ++j)
            for (Index a = 0; a < kh; ++a)
              for (Index b = 0; b < kw; ++b) {
                const Index row = r + a - kh / 2, column = q + b - kw / 2;
                if (open(o, j, a, b) && row >= 0 && row < h && column >= 0 && column < w)
                  sum += weight(o, j, a, b) * x(i, j, row, column);
              }
          y(i, o, r, q) = sum;
        }
  return y;
}

/// Weights and running statistics that a trained model might have.
template <class S>
void stir(Module<S>& net) {
  Random random(5);
  for_each<BatchNorm2d<S>>(net, [&](BatchNorm2d<S>& norm) {
    norm.running_mean = random.normal<S>(norm.running_mean.shape(), 0, S(0.1));
    norm.running_var = random.uniform<S>(norm.running_var.shape(), S(0.5), S(2));
    norm.weight.value = random.uniform<S>(norm.weight.value.shape(), S(0.5), S(1.5));
    norm.bias.value = random.normal<S>(norm.bias.value.shape(), 0, S(0.1));
  });
}

/// Whether d logits / d images is exactly zero where a value would see itself or a later one, by backward and, where
/// the network is the same function in both modes, by changing the image.
void check_causal(Module<float>& net, Index colours, Index levels, Index side, Index classes = 0) {
  const Shape shape{1, colours + classes, side, side};
  const Index pixels = side * side;
  const Tensor<float> x = Random(2).uniform(shape);
  const Tensor<float> y = net.infer(x);
  bool reacts = false;
  for (Index pixel = 0; pixel < pixels; pixel += 3)
    for (Index c = 0; c < colours; ++c) {
      Tensor<float> changed = x;
      for (Index p = pixel; p < pixels; ++p)
        for (Index d = p == pixel ? c : 0; d < colours; ++d) changed.data()[d * pixels + p] += 1;
      const Tensor<float> z = net.infer(changed);
      for (Index p = 0; p <= pixel; ++p)
        for (Index d = 0; d < (p == pixel ? c + 1 : colours); ++d)
          for (Index k = 0; k < levels; ++k)
            REQUIRE(y.data()[(d * levels + k) * pixels + p] == z.data()[(d * levels + k) * pixels + p]);
      reacts |= !(y == z);
    }
  CHECK(reacts);
}

}  // namespace

TEST_CASE("MaskedConv2d is the definition and conforms") {
  struct Case {
    Mask mask;
    Index in, out;
    Size2 kernel;
    Index groups;
  };
  for (const Case& c : {Case{Mask::A, 1, 5, 7, 1},
                        {Mask::B, 4, 6, 3, 1},
                        {Mask::A, 3, 6, 5, 3},
                        {Mask::B, 5, 7, 3, 3},
                        {Mask::B, 6, 3, 1, 3},
                        {Mask::A, 2, 3, {1, 3}, 1},
                        {Mask::vertical_A, 2, 3, 3, 1},
                        {Mask::vertical_B, 2, 3, {3, 5}, 1},
                        {Mask::B, 17, 18, 5, 1}}) {
    manual_seed(7);
    const MaskedConv2d<double> conv(c.mask, c.in, c.out, c.kernel, {.groups = c.groups});
    CAPTURE(conv.name());
    const Tensor<double> x = Random(3).normal<double>({2, c.in, 5, 6});
    // Whatever stands at the masked taps is not looked at.
    MaskedConv2d<double> filled = conv;
    filled.weight.value = Random(4).normal<double>(conv.weight.value.shape());
    const Tensor<double> expected = masked_by_definition(x, filled.weight.value, filled.bias.value, c.mask, c.groups);
    CHECK(testing::worst_difference(filled(x), expected).error < 1e-12);
    if (c.in < 10) CHECK(conforms(conv, {2, c.in, 4, 5}));
  }
}

TEST_CASE("MaskedConv2d by Winograd's gradient") {
  manual_seed(1);
  MaskedConv2d<double> conv(Mask::B, 16, 16, 3);
  Conv2d<double> dense(16, 16, 3, {.padding = 1});
  dense.weight.value = conv.weight.value;
  dense.bias.value = conv.bias.value;
  const Tensor<double> x = Random(3).normal<double>({8, 16, 12, 12}), dy = Random(4).normal<double>({8, 16, 12, 12});
  Tape tape, dense_tape;
  CHECK(testing::worst_difference(conv.forward(x, tape), dense.forward(x, dense_tape)).error < 1e-11);
  const auto dense_dx = dense.backward(dy, dense_tape);
  CHECK(testing::worst_difference(conv.backward(dy, tape), dense_dx).error < 1e-11);
  for (Index i = 0; i < 256; ++i)
    for (Index t = 0; t < 9; ++t)
      CHECK(conv.weight.grad.data()[i * 9 + t] ==
            doctest::Approx(t < 5 ? dense.weight.grad.data()[i * 9 + t] : 0).epsilon(1e-9));
}

TEST_CASE("PixelCNN has the listing's parameters and keys") {
  const auto net = pixelcnn();
  CHECK(count_parameters(net).total == 3313664);
  const auto& block = dynamic_cast<const Sequential<float>&>(net[2])[0];
  CHECK(count_parameters(block).total == 214528);
  CHECK(count_parameters(net[0]).total == 12800);
  CHECK(count_parameters(net[1]).total == 512);
  const auto& head = dynamic_cast<const Sequential<float>&>(net[4]);
  CHECK(count_parameters(head[0]).total == 32896);
  CHECK(count_parameters(head[2]).total == 16512);
  CHECK(count_parameters(head[4]).total == 33024);
  const auto state = state_dict(net);
  CHECK(state[0].first == "conv1.conv.weight");
  const auto has = [&](const char* key) {
    return std::any_of(state.begin(), state.end(), [&](const auto& entry) { return entry.first == key; });
  };
  for (const char* key : {"bn1.running_var", "residual_blocks.14.conv1.weight", "residual_blocks.0.conv2.conv.bias",
                          "residual_blocks.3.bn3.num_batches_tracked", "head.0.conv.weight", "head.4.bias"})
    CHECK_MESSAGE(has(key), key);
}

TEST_CASE("PixelCNN is causal, exactly") {
  manual_seed(2);
  auto net = pixelcnn({.blocks = 2, .hidden = 20, .levels = 3});
  stir(net);
  check_causal(net, 1, 3, 9);
  auto colour = pixelcnn({.channels = 3, .blocks = 2, .hidden = 20, .levels = 4});
  stir(colour);
  check_causal(colour, 3, 4, 6);
  auto gated = gated_pixelcnn({.blocks = 2, .hidden = 18, .levels = 3, .classes = 2});
  check_causal(gated, 1, 3, 9, 2);
  auto gated_colour = gated_pixelcnn({.channels = 3, .blocks = 2, .hidden = 18, .levels = 4});
  check_causal(gated_colour, 3, 4, 6);
}

TEST_CASE("the gradient at a pixel is zero exactly for itself and those behind it") {
  manual_seed(4);
  const auto check = [](Module<float>& net, Index classes) {
    const Shape shape{1, 1 + classes, 7, 7};
    const Tensor<float> x = Random(2).uniform(shape);
    for (Index pixel = 0; pixel < 49; pixel += 4) {
      Tape tape;
      Tensor<float> dy = Tensor<float>::zeros(net.forward(x, tape).shape());
      for (Index k = 0; k < dy.dim(1); ++k) dy.data()[k * 49 + pixel] = static_cast<float>(k + 1);
      const Tensor<float> dx = net.backward(dy, tape);
      for (Index p = 0; p < 49; ++p)
        if (p >= pixel) REQUIRE(dx.data()[p] == 0);
    }
  };
  auto plain = pixelcnn({.blocks = 2, .hidden = 12, .levels = 2, .norm = false});
  check(plain, 0);
  auto gated = gated_pixelcnn({.blocks = 2, .hidden = 12, .levels = 2, .classes = 3});
  check(gated, 3);
}

TEST_CASE("Gated PixelCNN has no blind spot") {
  // A pixel sees all before it whose distance the kernels bridge: 3 + blocks rows up, as many columns to both sides.
  manual_seed(6);
  auto net = gated_pixelcnn<double>({.blocks = 2, .hidden = 8, .levels = 2});
  const Tensor<double> x = Random(2).normal<double>({1, 1, 13, 13});
  Tape tape;
  Tensor<double> dy = Tensor<double>::zeros(net.forward(x, tape).shape());
  const Index row = 7, column = 6;
  dy(0, 1, row, column) = 1;
  const Tensor<double> dx = net.backward(dy, tape);
  for (Index r = 0; r < 13; ++r)
    for (Index c = 0; c < 13; ++c) {
      const bool before = r < row || (r == row && c < column);
      const bool seen = before && row - r <= 5 && std::abs(column - c) <= 5;
      CAPTURE(r);
      CAPTURE(c);
      CHECK((dx(0, 0, r, c) != 0) == seen);
    }
}

TEST_CASE("Gate and GatedStack conform") {
  CHECK(conforms(Gate<double>(), {2, 6, 3, 2}));
  CHECK(conforms(Gate<double>({.groups = 3}), {2, 12}));
  const Tensor<double> x = Random(3).normal<double>({1, 4, 17});
  const Tensor<double> y = Gate<double>({.groups = 2})(x);
  CHECK(y(0, 1, 16) == doctest::Approx(std::tanh(x(0, 2, 16)) / (1 + std::exp(-x(0, 3, 16)))));
  manual_seed(9);
  CHECK(conforms(GatedStack<double>({.blocks = 2, .hidden = 3}), {2, 1, 4, 3}));
  CHECK(conforms(GatedStack<double>({.channels = 3, .blocks = 1, .hidden = 3, .classes = 2}), {2, 5, 3, 4}));
}

namespace {

void check_sampling(const Sequential<float>& net, Index colours, Index levels, Index classes = 0) {
  const Index columns = 9, pixels = 7 * columns;
  for (const Index n : {1, 5}) {
    const Shape shape{n, colours, 7, columns};
    Tensor<float> condition = classes > 0 ? Tensor<float>::zeros({n, classes}) : Tensor<float>();
    for (Index i = 0; i < n && classes > 0; ++i) condition(i, i % classes) = 1;
    SampleOptions how{.levels = levels, .temperature = 0.7, .seed = 11};
    const auto fast = sample(net, shape, how, condition);
    how.incremental = false;
    CHECK(fast == sample(net, shape, how, condition));
    how.incremental = true;
    how.seed = 12;
    CHECK_FALSE(fast == sample(net, shape, how, condition));
    how.given = 31;
    how.top_k = 2;
    const auto completed = complete(net, fast, how, condition);
    how.incremental = false;
    CHECK(completed == complete(net, fast, how, condition));
    for (Index i = 0; i < n * colours; ++i)
      for (Index p = 0; p < 31; ++p) REQUIRE(completed.data()[i * pixels + p] == fast.data()[i * pixels + p]);
  }
  // The logits themselves, bit by bit.
  const Shape shape{3, colours + classes, 6, 5};
  auto x = Random(8).uniform(shape);
  for (Index i = 0; i < 3; ++i)  // the condition is that of the first pixel
    for (Index k = 0; k < classes; ++k) std::fill_n(&x(i, colours + k, 0, 0), 30, i == k ? 1.0f : 0.0f);
  const auto logits = net(x);
  Incremental<float> form(net, x, colours);
  for (Index p = 0; p < 30; ++p) {
    const Pixel at{p / 5, p % 5};
    CHECK(form.step(pixels_of(x, 3, at, 1), at, colours) == pixels_of(logits, 3, at, 1));
  }
}

}  // namespace

TEST_CASE("incremental sampling gives the naive sampler's images") {
  manual_seed(3);
  for (const PixelCNNOptions& options : {PixelCNNOptions{.blocks = 2, .hidden = 32, .levels = 2},
                                         {.blocks = 2, .hidden = 20, .levels = 256},
                                         {.blocks = 1, .hidden = 18, .levels = 7, .norm = false},
                                         {.channels = 3, .blocks = 2, .hidden = 21, .levels = 5},
                                         {.channels = 3, .blocks = 1, .hidden = 128, .levels = 256},
                                         {.channels = 2, .blocks = 1, .hidden = 9, .levels = 3, .norm = false}}) {
    auto net = pixelcnn(options);
    stir(net);
    check_sampling(net, options.channels, options.levels);
  }
  for (const GatedPixelCNNOptions& options : {GatedPixelCNNOptions{.blocks = 2, .hidden = 32, .levels = 2},
                                              {.blocks = 1, .hidden = 20, .levels = 16, .classes = 3},
                                              {.channels = 3, .blocks = 2, .hidden = 21, .levels = 5, .classes = 2}})
    check_sampling(gated_pixelcnn(options), options.channels, options.levels, options.classes);
}

TEST_CASE("threads draw some of the images each, the same ones however many they are") {
  manual_seed(5);
  const auto net = gated_pixelcnn({.blocks = 1, .hidden = 16, .levels = 4, .classes = 2});
  const Shape shape{13, 1, 5, 6};
  Tensor<float> condition = Random(6).uniform({13, 2});
  std::vector<Index> told;
  SampleOptions how{.levels = 4, .seed = 7, .progress = [&](Index done, Index pixels) {
                      CHECK(pixels == 30);
                      told.push_back(done);
                    }};
  const int before = num_threads();
  set_num_threads(1);
  const Tensor<float> expected = sample(net, shape, how, condition);
  std::vector<Index> all(30);
  std::iota(all.begin(), all.end(), Index{1});
  CHECK(told == all);
  for (const int threads : {2, 3, 4, 32}) {
    set_num_threads(threads);
    told.clear();
    CHECK(sample(net, shape, how, condition) == expected);
    CHECK(told == all);
  }
  // What fails in one thread stops the others, and names the image among all.
  condition(9, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH_AS(
      sample(net, shape, how, condition),
      doctest::Contains("complete: the model's logits are not finite for sample 9, channel 0 at row 0"),
      NumericalError);
  CHECK(sample(pixelcnn({.blocks = 1, .hidden = 4, .levels = 4}), {0, 1, 5, 6}, how).shape() == Shape{0, 1, 5, 6});
  set_num_threads(before);
}

TEST_CASE("a mask says which pixels stay") {
  manual_seed(4);
  const auto net = pixelcnn({.channels = 3, .blocks = 1, .hidden = 12, .levels = 4});
  const Tensor<float> images = quantize(Random(3).uniform({2, 3, 5, 6}), 4);
  SampleOptions how{.levels = 4, .seed = 2, .given = 4, .mask = Labels::zeros({5, 6})};
  for (const Index p : {5, 9, 10, 29}) how.mask.data()[p] = 1;
  const Tensor<float> completed = complete(net, images, how);
  Index changed = 0;
  for (Index i = 0; i < 6; ++i)
    for (Index p = 0; p < 30; ++p) {
      const bool same = completed.data()[i * 30 + p] == images.data()[i * 30 + p];
      if (p < 4 || how.mask.data()[p] != 0) CHECK(same);
      changed += !same;
    }
  CHECK(changed > 60);
  how.incremental = false;
  CHECK(completed == complete(net, images, how));
  how.mask = Labels::zeros({6, 5});
  CHECK_THROWS_WITH_AS(complete(net, images, how),
                       "complete: expected a mask [5, 6] for images [2, 3, 5, 6], got shape [6, 5]", ShapeError);
}

namespace {

/// x, counting what it is given.
class Counting : public Layer<Counting, float> {
 public:
  std::shared_ptr<Index> count = std::make_shared<Index>(0);
  Fields fields() const override { return Fields("Counting"); }
  Locality locality() const override { return Locality::element; }

 private:
  Tensor<float> do_infer(Tensor<float> x) const override {
    *count += x.numel();
    return x;
  }
  Tensor<float> do_forward(Tensor<float> x, Tape&) override { return x; }
  Tensor<float> do_backward(Tensor<float> dy, Tape&, InputGrad) override { return dy; }
};

}  // namespace

TEST_CASE("a colour computes the channels that see it, and no others") {
  manual_seed(5);
  const Counting first, second, third;
  const Sequential<float> net{MaskedConv2d(Mask::A, 3, 12, 3, {.groups = 3}),
                              first,
                              MaskedConv2d(Mask::B, 12, 9, 3, {.groups = 3}),
                              BatchNorm2d(9),
                              second,
                              Conv2d(9, 12, 1, {.groups = 3}),
                              third};
  const Shape images{2, 3, 5, 4};
  const Tensor<float> drawn = sample(net, images, {.levels = 4});
  CHECK(*first.count == 2 * 12 * 20);
  CHECK(*second.count == 2 * 9 * 20);
  CHECK(*third.count == 2 * 12 * 20);
  CHECK(drawn == sample(net, images, {.levels = 4, .incremental = false}));
}

TEST_CASE("temperature and top_k") {
  // A model whose levels have the probabilities 0.1, 0.2, 0.3 and 0.4 everywhere.
  Sequential<float> net{MaskedConv2d(Mask::A, 1, 4, 3)};
  net.get<MaskedConv2d<float>>(0).weight.value.fill(0);
  for (Index k = 0; k < 4; ++k)
    net.get<MaskedConv2d<float>>(0).bias.value(k) = std::log(0.1f * static_cast<float>(k + 1));
  const auto frequencies = [&](const SampleOptions& options) {
    const Labels drawn = pixel_levels(sample(net, {40, 1, 16, 16}, options), 4);
    std::array<double, 4> shares{};
    for (const auto level : drawn.values()) shares[static_cast<std::size_t>(level)] += 1.0 / 10240;
    return shares;
  };
  const auto all = frequencies({.levels = 4}), cold = frequencies({.levels = 4, .temperature = 0.5}),
             two = frequencies({.levels = 4, .top_k = 2}), frozen = frequencies({.levels = 4, .temperature = 0.01});
  for (std::size_t k = 0; k < 4; ++k) {
    const double p = 0.1 * static_cast<double>(k + 1);
    CHECK(all[k] == doctest::Approx(p).epsilon(0.06));
    CHECK(cold[k] == doctest::Approx(p * p / 0.3).epsilon(0.1));
    CHECK(two[k] == doctest::Approx(k < 2 ? 0 : p / 0.7).epsilon(0.06));
    CHECK(frozen[k] == doctest::Approx(k == 3 ? 1 : 0));
  }
}

TEST_CASE("top_k takes exactly k of equal logits, the lowest levels first") {
  // Levels with the logits 1, 2, 2, 1, 2 everywhere.
  Sequential<float> net{MaskedConv2d(Mask::A, 1, 5, 3)};
  net.get<MaskedConv2d<float>>(0).weight.value.fill(0);
  net.get<MaskedConv2d<float>>(0).bias.value = Tensor<float>({5}, {1, 2, 2, 1, 2});
  const std::vector<std::vector<std::int32_t>> wanted{{1}, {1, 2}, {1, 2, 4}, {0, 1, 2, 4}, {0, 1, 2, 3, 4}};
  for (const bool incremental : {true, false})
    for (Index k = 1; k <= 5; ++k) {
      CAPTURE(k);
      std::vector<bool> drawn(5, false);
      const Tensor<float> images =
          sample(net, {8, 1, 8, 8}, {.levels = 5, .top_k = k, .seed = 3, .incremental = incremental});
      for (const auto level : pixel_levels(images, 5).values()) drawn[static_cast<std::size_t>(level)] = true;
      std::vector<std::int32_t> levels;
      for (std::int32_t level = 0; level < 5; ++level)
        if (drawn[static_cast<std::size_t>(level)]) levels.push_back(level);
      CHECK(levels == wanted[static_cast<std::size_t>(k - 1)]);
    }
}

TEST_CASE("a model that gives no numbers draws nothing") {
  Sequential<float> net{MaskedConv2d(Mask::A, 1, 3, 3)};
  net.get<MaskedConv2d<float>>(0).weight.value.fill(0);
  auto& bias = net.get<MaskedConv2d<float>>(0).bias.value;
  constexpr float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const auto fails = [&](const SampleOptions& options) {
    CHECK_THROWS_WITH_AS(sample(net, {2, 1, 4, 4}, options),
                         "complete: the model's logits are not finite for sample 0, channel 0 at row 0, column 0: look "
                         "for NaN in its weights, or a training run that diverged",
                         NumericalError);
  };
  for (const auto& logits : {std::array{nan, 1.f, 2.f},
                             {1.f, 2.f, nan},
                             {1.f, infinity, 2.f},
                             {nan, nan, nan},
                             {-infinity, -infinity, -infinity}}) {
    bias = Tensor<float>({3}, {logits[0], logits[1], logits[2]});
    fails({.levels = 3});
    fails({.levels = 3, .top_k = 1});
    fails({.levels = 3, .incremental = false});
  }
  bias = Tensor<float>({3}, {-infinity, 0, -infinity});  // what cannot be is no error
  CHECK(sample(net, {2, 1, 4, 4}, {.levels = 3}) == Tensor<float>::full({2, 1, 4, 4}, 0.5f));
}

TEST_CASE("Gated PixelCNN learns what its condition says") {
  manual_seed(8);
  auto net = gated_pixelcnn({.blocks = 1, .hidden = 8, .levels = 2, .classes = 2});
  Adam optimizer(parameters(net), {.lr = 1e-2});
  const Index side = 5, pixels = side * side, n = 8;
  Tensor<float> x = Tensor<float>::zeros({n, 3, side, side}), images = Tensor<float>::zeros({n, 1, side, side});
  for (Index i = 0; i < n; ++i) {  // class 1 is white with black columns, class 0 the reverse
    for (Index p = 0; p < pixels; ++p)
      images.data()[i * pixels + p] = x.data()[i * 3 * pixels + p] = static_cast<float>((p + i) % 2);
    std::fill_n(x.data() + (3 * i + 1 + i % 2) * pixels, pixels, 1.0f);
  }
  const Labels targets = pixel_levels(images, 2);
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    Tape tape;
    auto [nats, grad] = pixel_loss(net.forward(x, tape), targets);
    net.backward(std::move(grad), tape, InputGrad::skip);
    optimizer.step();
    (step == 0 ? first : last) = nats;
  }
  CHECK(first > 15);
  CHECK(last < 1.5);  // the first pixel, too, which the class alone tells
  Tensor<float> condition = Tensor<float>::zeros({n, 2});
  for (Index i = 0; i < n; ++i) condition(i, i % 2) = 1;
  CHECK(sample(net, images.shape(), {.levels = 2, .temperature = 0.05}, condition) == images);
}

TEST_CASE("likelihood") {
  // A model that knows nothing: every level is as likely.
  const Tensor<float> images = quantize(Random(1).uniform({3, 3, 4, 5}), 8);
  const Labels targets = pixel_levels(images, 8);
  const auto [nats, grad] = pixel_loss(Tensor<float>::zeros({3, 24, 4, 5}), targets);
  CHECK(nats == doctest::Approx(60 * std::log(8.0)));
  CHECK(bits_per_dimension(nats, 60) == doctest::Approx(3));
  CHECK(grad.shape() == Shape{3, 24, 4, 5});
  CHECK(grad(1, 8 + targets(1, 1, 2, 3), 2, 3) == doctest::Approx((1.0 / 8 - 1) / 3));
}

TEST_CASE("PixelCNN says what is wrong") {
  CHECK_THROWS_WITH_AS(MaskedConv2d(Mask::A, 1, 8, 4), "MaskedConv2d(A, 1, 8, 4): kernel_size must be odd, got 4",
                       ValueError);
  CHECK_THROWS_WITH_AS(MaskedConv2d(Mask::A, 1, 8, 1),
                       "MaskedConv2d(A, 1, 8, 1): the mask leaves nothing of the kernel", ValueError);
  CHECK_THROWS_WITH_AS(MaskedConv2d(Mask::B, 2, 8, 3, {.groups = 3}),
                       "MaskedConv2d(B, 2, 8, 3, groups=3): expected 1 to 2 groups, got 3", ValueError);
  CHECK_THROWS_WITH_AS(MaskedConv2d(Mask::B, 2, 8, 3)(Tensor<float>::zeros({1, 3, 4, 4})),
                       "MaskedConv2d(B, 2, 8, 3): expected 2 input channels, got shape [1, 3, 4, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(pixelcnn({.levels = 1}), "pixelcnn: expected at least 2 levels, got 1", ValueError);
  CHECK_THROWS_WITH_AS(gated_pixelcnn({.levels = 1}), "gated_pixelcnn: expected at least 2 levels, got 1", ValueError);
  CHECK_THROWS_WITH_AS(gated_pixelcnn({.channels = 3, .hidden = 8}),
                       "GatedStack: expected at least 1 channel and a multiple of hidden units, got 3 and 8",
                       ValueError);
  CHECK_THROWS_WITH_AS(
      gated_pixelcnn({.blocks = 1, .hidden = 8, .classes = 10})(Tensor<float>::zeros({1, 1, 4, 4})),
      "stack: GatedStack(1, 8, blocks=1, classes=10): expected an input [N, 11, H, W], got shape [1, 1, 4, 4]",
      ShapeError);
  CHECK_THROWS_WITH_AS(Gate()(Tensor<float>::zeros({1, 3})),
                       "Gate(): expected [N, channels, ...] with a multiple of 2 channels, got shape [1, 3]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(pixel_levels(Tensor<float>::full({1, 1, 1, 2}, 0.3f), 2),
                       "pixel_levels: 0.3 at position 0 is none of 2 levels from 0 to 1; quantize() makes it one",
                       ValueError);
  CHECK_THROWS_WITH_AS(pixel_levels(Tensor<float>::full({1, 1, 1, 2}, 1.5f), 3),
                       "pixel_levels: 1.5 at position 0 is none of 3 levels from 0 to 1; quantize() makes it one",
                       ValueError);
  CHECK_THROWS_WITH_AS(pixel_levels(Tensor<float>::full({1, 1, 1, 2}, std::numeric_limits<float>::quiet_NaN()), 3),
                       "pixel_levels: nan at position 0 is none of 3 levels from 0 to 1; quantize() makes it one",
                       ValueError);
  CHECK_THROWS_WITH_AS(
      sample(gated_pixelcnn({.blocks = 1, .hidden = 8, .levels = 2, .classes = 10}), {2, 1, 4, 4}, {.levels = 2}),
      "stack: GatedStack(1, 8, blocks=1, classes=10): expected an input [N, 11, H, W], got shape [2, 1, 4, 4]",
      ShapeError);
  CHECK_THROWS_WITH_AS(
      sample(Sequential<float>{MaskedConv2d(Mask::A, 1, 3, 3)}, {1, 1, 4, 4}, {.levels = 2}),
      "complete: expected logits [1, 2, 4, 4] for 1 channels of 2 levels, the model gives [1, 3, 4, 4]", ShapeError);
  CHECK_THROWS_WITH_AS(
      complete(Sequential<float>{MaskedConv2d(Mask::A, 1, 2, 3)}, Tensor<float>::zeros({1, 4, 4}), {.levels = 2}),
      "complete: expected images [N, C, H, W], got shape [1, 4, 4]", ShapeError);
  const Sequential<float> good{MaskedConv2d(Mask::A, 1, 2, 3)};
  const Tensor<float> image = Tensor<float>::zeros({2, 1, 4, 4});
  CHECK_THROWS_WITH_AS(complete(good, image, {.levels = 1}), "complete: expected at least 2 levels, got 1", ValueError);
  CHECK_THROWS_WITH_AS(complete(good, image, {.levels = 2, .temperature = 0}),
                       "complete: the temperature must be positive, got 0", ValueError);
  CHECK_THROWS_WITH_AS(complete(good, image, {.levels = 2, .top_k = 3}), "complete: top_k must be in [0, 2], got 3",
                       ValueError);
  CHECK_THROWS_WITH_AS(complete(good, image, {.levels = 2, .given = 17}),
                       "complete: expected 0 to 16 given pixels, got 17", ValueError);
  CHECK_THROWS_WITH_AS(complete(good, image, {.levels = 2}, Tensor<float>::zeros({3, 10})),
                       "complete: expected a condition [2, K] or [2, K, 4, 4], got shape [3, 10]", ShapeError);
  CHECK_THROWS_WITH_AS(
      pixel_loss(Tensor<float>::zeros({1, 5, 2, 2}), Labels::zeros({1, 2, 2, 2})),
      "pixel_loss: expected logits [N, C levels, H, W] for targets [1, 2, 2, 2], got shape [1, 5, 2, 2]", ShapeError);
}
