#include <doctest/doctest.h>

#include <random>

#include "lamina/incremental/likelihood.hpp"
#include "lamina/incremental/sampling.hpp"
#include "lamina/models/gated_pixelcnn.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/concat.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/gelu.hpp"
#include "lamina/nn/leaky_relu.hpp"
#include "lamina/nn/product.hpp"
#include "lamina/nn/relu6.hpp"
#include "lamina/nn/scale.hpp"
#include "lamina/nn/sigmoid.hpp"
#include "lamina/nn/silu.hpp"
#include "lamina/nn/softmax.hpp"
#include "lamina/nn/state.hpp"
#include "lamina/nn/tanh.hpp"

using namespace lamina;

namespace {

/// Of a user: elementwise, and one that looks at all channels of a pixel.
class Cube : public Elementwise<Cube, float> {
 public:
  using Pack = simd::Pack<float>;
  Saved saved() const override { return Saved::input; }
  static Pack value(Pack x) { return x * x * x; }
  static Pack gradient(Pack x, Pack dy) { return dy * Pack(3) * x * x; }
};
class LessMean : public Layer<LessMean, float> {
 public:
  Locality locality() const override { return Locality::pixel; }

 private:
  Tensor<float> do_infer(Tensor<float> x) const override {
    const Index channels = x.dim(1), pixels = x.dim(2) * x.dim(3);
    float* const values = x.data();
    for (Index i = 0; i < x.dim(0) * pixels; ++i) {
      float* const at = values + i / pixels * channels * pixels + i % pixels;
      float sum = 0;
      for (Index c = 0; c < channels; ++c) sum += at[c * pixels];
      for (Index c = 0; c < channels; ++c) at[c * pixels] -= sum / static_cast<float>(channels);
    }
    return x;
  }
  Tensor<float> do_forward(Tensor<float> x, Tape&) override { return do_infer(std::move(x)); }
  Tensor<float> do_backward(Tensor<float> dy, Tape&, InputGrad) override { return do_infer(std::move(dy)); }
};

/// How many logits see what they must not: with all values from one on changed, those for it and before it must stay,
/// bit by bit. Each sample of one batch has the changes from another value on.
Index leaks(const Module<float>& net, Index colours, Index extra, Index h, Index w) {
  const Index pixels = h * w, values = pixels * colours, channels = colours + extra;
  const Tensor<float> image = Random(2).uniform({1, channels, h, w});
  Tensor<float> x({values + 1, channels, h, w});
  for (Index s = 0; s <= values; ++s) {
    float* const to = x.data() + s * channels * pixels;
    for (Index c = 0; c < channels; ++c)
      for (Index p = 0; p < pixels; ++p) {
        const float known = c < colours ? image.data()[c * pixels + p] : static_cast<float>(c);
        to[c * pixels + p] = known + (c < colours && p * colours + c >= s ? 1.0f + known : 0.0f);
      }
  }
  const Tensor<float> y = net.infer(x);
  const Index levels = y.dim(1) / colours;
  const auto logits = [&](Index s, Index value, Index k) {
    return y.data()[((s * colours + value % colours) * levels + k) * pixels + value / colours];
  };
  Index count = 0;
  for (Index s = 0; s < values; ++s)
    for (Index value = 0; value <= s; ++value)
      for (Index k = 0; k < levels; ++k) count += logits(s, value, k) != logits(values, value, k);
  return count;
}

/// Whether the incremental form gives infer's bits, colour by colour, whatever stands for colours not yet known.
bool same_bits(const Module<float>& net, Index colours, Index extra, Index h, Index w) {
  const Index n = 2, levels_all = net.output_shape({n, colours + extra, h, w})[1], levels = levels_all / colours;
  Tensor<float> x = Random(3).uniform({n, colours + extra, h, w});
  for (Index i = 0; i < n; ++i)
    for (Index c = colours; c < colours + extra; ++c) std::fill_n(&x(i, c, 0, 0), h * w, static_cast<float>(i + c));
  const Tensor<float> expected = net.infer(x);
  Incremental<float> form(net, x, colours);
  for (Index p = 0; p < h * w; ++p)
    for (Index known = p % 3 == 0 ? colours : 0; known <= colours; ++known) {  // some pixels at once
      const Pixel at{p / w, p % w};
      Tensor<float> here = pixels_of(x, n, at, 1);
      for (Index i = 0; i < n; ++i)
        for (Index c = known; c < colours; ++c) here(i, c, 0, 0) = 7;
      const Tensor<float> y = form.step(here, at, known), all = pixels_of(expected, n, at, 1);
      for (Index i = 0; i < n; ++i)
        for (Index m = 0; m < std::min(levels_all, (known + 1) * levels); ++m)
          if (!(y(i, m, 0, 0) == all(i, m, 0, 0))) return false;
    }
  return true;
}

/// Models drawn from all modules that have an incremental form, and some that have none. `wild` is the share of
/// choices that need not fit.
class Models {
 public:
  Models(unsigned seed, Index colours, Index extra, double wild)
      : random_(seed), colours_(colours), extra_(extra), wild_(wild) {}

  Sequential<float> draw() {
    Sequential<float> net;
    Index channels = first(net);
    const Index layers = below(4);
    for (Index i = 0; i < layers; ++i) net.add(body(channels, channels, 0));
    if (colours_ == 1 && maybe(0.5))
      net.add(Conv2d(channels, levels, 1));
    else
      net.add(MaskedConv2d(Mask::B, channels, colours_ * levels, 1, {.groups = groups(channels, colours_ * levels)}));
    return net;
  }

 private:
  static constexpr Index levels = 2;
  using Part = Child<float>;

  Index below(Index n) { return static_cast<Index>(random_() % static_cast<unsigned>(n)); }
  bool maybe(double p) { return static_cast<double>(random_()) < p * 4294967296.0; }
  bool wild() { return maybe(wild_); }

  Index groups(Index in, Index out) {
    const Index wanted = wild() ? 1 + below(3) : colours_;
    return std::min({wanted, in, out});
  }
  Size2 kernel(bool first) {
    const Size2 all[] = {{1, 1}, {3, 3}, {1, 3}, {3, 1}, {5, 5}, {5, 3}};
    return all[first ? 1 + below(5) : below(6)];
  }
  MaskedConv2d<float> masked(Mask mask, Index in, Index out) {
    const bool vertical = mask == Mask::vertical_A || mask == Mask::vertical_B;
    Size2 size = kernel(mask == Mask::A);
    if (mask == Mask::vertical_A && size.h == 1) size.h = 3;
    return {mask, in, out, size, {.groups = vertical ? 1 : groups(in, out), .bias = maybe(0.8)}};
  }

  /// From the image, and what is known beside it.
  Index first(Sequential<float>& net) {
    const Index width = 6;
    if (wild()) {
      net.add(body(colours_ + extra_, width, 0));
    } else if (maybe(0.25)) {
      net.add(GatedStack<float>({.channels = colours_, .blocks = below(2), .hidden = width, .classes = extra_}));
    } else if (extra_ == 0) {
      net.add(masked(Mask::A, colours_, width));
    } else if (colours_ == 1 && maybe(0.3)) {
      net.add(masked(Mask::A, 1 + extra_, width));
    } else {
      Sequential<float> image{Narrow(1, 0, colours_)}, beside{Narrow(1, colours_, extra_)};
      image.add(masked(Mask::A, colours_, width));
      const bool pooled = maybe(0.5);
      if (pooled)
        beside.add(Sequential<float>{AdaptiveAvgPool2d(1), Conv2d(extra_, width, 1), Sigmoid()});
      else
        beside.add(Conv2d(extra_, width, 3, {.padding = 1}));
      if (pooled || maybe(0.5))
        net.add(Product<float>{std::move(image), std::move(beside)});
      else
        net.add(Sum<float>{std::move(image), std::move(beside)});
    }
    return width;
  }

  Part activation() {
    switch (below(9)) {
      case 0:
        return ReLU();
      case 1:
        return ReLU6();
      case 2:
        return Sigmoid();
      case 3:
        return Tanh();
      case 4:
        return LeakyReLU();
      case 5:
        return SiLU();
      case 6:
        return GELU();
      case 7:
        return Dropout(0.3);
      default:
        return Cube();
    }
  }

  /// A module from `in` channels to `out`.
  Part body(Index in, Index out, int depth) {
    if (wild()) return wild_body(in, out);
    switch (below(depth < 2 ? 8 : 3)) {
      case 0: {
        Sequential<float> block;
        block.add(activation());
        block.add(masked(Mask::B, in, out));
        block.add(BatchNorm2d(out));
        return block;
      }
      case 1:
        if (colours_ == 1 && in % 2 == 0 && out % 2 == 0) return Conv2d(in, out, 1, {.groups = 1 + below(2)});
        return MaskedConv2d(Mask::B, in, out, 1, {.groups = groups(in, out)});
      case 2: {
        Sequential<float> gated;
        if (out % colours_ != 0) return masked(Mask::B, in, out);
        gated.add(masked(Mask::B, in, 2 * out));
        gated.add(Gate({.groups = colours_}));
        return gated;
      }
      case 3: {
        Sequential<float> sum;
        sum.add(Sum<float>{Identity(), body(in, in, depth + 1)});
        sum.add(masked(Mask::B, in, out));
        return sum;
      }
      case 4: {
        Sequential<float> concat;
        concat.add(Concat<float>{body(in, 3, depth + 1), body(in, 3, depth + 1)});
        concat.add(masked(colours_ == 1 ? Mask::B : Mask::A, 6, out));
        return concat;
      }
      case 5:
        return Product<float>{body(in, out, depth + 1), Sequential<float>{body(in, out, depth + 1), Scale(0.5)}};
      case 6: {
        Sequential<float> rows;  // the rows above, and the pixels before
        rows.add(masked(Mask::vertical_A, in, 6));
        rows.add(masked(Mask::vertical_B, 6, out));
        return Sum<float>{std::move(rows), body(in, out, depth + 1)};
      }
      default: {
        Sequential<float> stack;
        if (in % colours_ != 0 || in > 6) return masked(Mask::B, in, out);
        stack.add(masked(Mask::B, in, colours_));
        stack.add(GatedStack<float>({.channels = colours_, .blocks = below(2), .hidden = 2 * colours_}));
        stack.add(masked(Mask::B, 2 * colours_, out));
        return stack;
      }
    }
  }

  Part wild_body(Index in, Index out) {
    Sequential<float> net;
    switch (below(9)) {
      case 0:
        net.add(masked(static_cast<Mask>(below(4)), in, out));
        return net;
      case 1:
        return Conv2d(in, out, 3, {.padding = 1});
      case 2:
        return Conv2d(in, out, 1, {.groups = in % 3 == 0 && out % 3 == 0 ? 3 : 1});
      case 3:
        net.add(BatchNorm2d(in, {.track_running_stats = maybe(0.3)}));
        break;
      case 4:
        net.add(Product<float>{Identity(), AdaptiveAvgPool2d(1)});
        break;
      case 5:
        net.add(LessMean());
        break;
      case 6:
        net.add(Softmax());
        break;
      case 7:
        if (in < 4) return masked(Mask::B, in, out);
        net.add(Concat<float>{Narrow(1, in - 2, 2), Narrow(1, 0, in - 2)});
        break;
      default:
        net.add(Concat<float>{Identity(), Identity()}), net.add(Gate());
    }
    net.add(masked(Mask::B, in, out));
    return net;
  }

  std::mt19937 random_;
  Index colours_, extra_;
  double wild_;
};

void stir(Module<float>& net) {
  Random random(5);
  for_each<BatchNorm2d<float>>(net, [&](BatchNorm2d<float>& norm) {
    if (norm.running_mean.empty()) return;
    norm.running_mean = random.normal<float>(norm.running_mean.shape(), 0, 0.1f);
    norm.running_var = random.uniform<float>(norm.running_var.shape(), 0.5f, 2.0f);
  });
}

std::string layers(const Graph<float>& graph) {
  std::string result;
  for (const auto& node : graph.nodes) {
    result += text("\n", node.path, ": ", *node.layer, " of");
    for (const Index edge : node.inputs) result += text(" ", edge);
    for (const Index edge : node.outputs) result += text(" -> ", edge);
  }
  return result;
}

/// What sampling says of a model, or nothing.
std::string objection(const Sequential<float>& net, Index colours, Index levels = 2) {
  try {
    sample(net, {1, colours, 4, 4}, {.levels = levels});
  } catch (const StateError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("what leaks is refused, with the path of the layer that leaks") {
  using M = MaskedConv2d<float>;
  const MaskedConv2dOptions two{.groups = 2}, three{.groups = 3};
  CHECK(objection({M(Mask::B, 1, 2, 3)}, 1) ==
        "Sequential(MaskedConv2d(B, 1, 2, 3)) is not causal: the logits depend on the pixel that is to be predicted "
        "through 0: MaskedConv2d(B, 1, 2, 3)");
  CHECK(objection({Sum<float>{M(Mask::A, 1, 2, 3), Conv2d(1, 2, 1)}}, 1) ==
        "Sequential(Sum(MaskedConv2d(A, 1, 2, 3), Conv2d(1, 2, 1))) is not causal: the logits depend on the pixel that "
        "is to be predicted through 0.1: Conv2d(1, 2, 1)");
  CHECK(objection({M(Mask::A, 1, 2, 3), Conv2d(2, 2, 3, {.padding = 1})}, 1) ==
        "Sequential(MaskedConv2d(A, 1, 2, 3), Conv2d(2, 2, 3, padding=1)) is not causal: the logits depend on pixels "
        "that come later through 1: Conv2d(2, 2, 3, padding=1)");
  CHECK(objection({M(Mask::A, 1, 2, 3), M(Mask::vertical_B, 2, 2, 3)}, 1) ==
        "Sequential(MaskedConv2d(A, 1, 2, 3), MaskedConv2d(vertical_B, 2, 2, 3)) is not causal: the logits depend on "
        "pixels that come later in the row through 1: MaskedConv2d(vertical_B, 2, 2, 3)");
  CHECK(objection({M(Mask::A, 3, 6, 3, three), Conv2d(6, 6, 1)}, 3) ==
        "Sequential(MaskedConv2d(A, 3, 6, 3, groups=3), Conv2d(6, 6, 1)) is not causal: the logits of colour 0 depend "
        "on colour 1 of the same pixel through 1: Conv2d(6, 6, 1)");
  CHECK(
      objection({M(Mask::A, 3, 12, 3, three), Gate()}, 3) ==
      "Sequential(MaskedConv2d(A, 3, 12, 3, groups=3), Gate()) is not causal: the logits of colour 0 depend on colour "
      "0 of the same pixel through 1: Gate()");
  // Two streams of three colours one after the other are not three groups.
  CHECK(objection({Concat<float>{M(Mask::A, 3, 3, 3, three), M(Mask::A, 3, 3, 3, three)}, M(Mask::B, 6, 6, 1, three)},
                  3) ==
        "Sequential(Concat(MaskedConv2d(A, 3, 3, 3, groups=3), MaskedConv2d(A, 3, 3, 3, groups=3)), MaskedConv2d(B, 6, "
        "6, 1, groups=3)) is not causal: the logits of colour 0 depend on colour 0 of the same pixel through 1: "
        "MaskedConv2d(B, 6, 6, 1, groups=3)");
  // Two groups of three colours: the second colour is in the first group, and a part of the second group's results.
  CHECK(
      objection({M(Mask::A, 3, 6, 3, two)}, 3) ==
      "Sequential(MaskedConv2d(A, 3, 6, 3, groups=2)) is not causal: the logits of colour 1 depend on colour 1 of the "
      "same pixel through 0: MaskedConv2d(A, 3, 6, 3, groups=2)");
}

TEST_CASE("what is causal but cannot be computed pixel by pixel is refused by its layer") {
  using M = MaskedConv2d<float>;
  CHECK(objection({M(Mask::vertical_B, 1, 2, 3), M(Mask::vertical_A, 2, 2, 3)}, 1) ==
        "0: MaskedConv2d(vertical_B, 1, 2, 3) has no incremental form: it cannot be computed pixel by pixel");
  const Sequential<float> rows{M(Mask::vertical_B, 1, 2, 3), M(Mask::vertical_A, 2, 2, 3)};
  CHECK(sample(rows, {1, 1, 4, 4}, {.levels = 2, .incremental = false}).shape() == Shape{1, 1, 4, 4});
}

TEST_CASE("a gated stack behind a masked convolution samples as the naive loop does") {
  for (const Index colours : {1, 3}) {
    manual_seed(3);
    const MaskedConv2dOptions groups{.groups = colours};
    const Sequential<float> net{MaskedConv2d(Mask::A, colours, colours, 3, groups),
                                GatedStack<float>({.channels = colours, .blocks = 1, .hidden = 6}),
                                MaskedConv2d(Mask::B, 6, 4 * colours, 1, groups)};
    SampleOptions how{.levels = 4, .temperature = 0.5, .seed = 2};
    const Tensor<float> fast = sample(net, {3, colours, 6, 7}, how);
    how.incremental = false;
    CHECK(fast == sample(net, {3, colours, 6, 7}, how));
  }
}

TEST_CASE("what values depend on") {
  const GatedStack<float> stack({.channels = 2, .blocks = 0, .hidden = 2, .classes = 3});
  const Graph<float> graph = record(stack, {1, 5, 4, 4});
  const Causality<float> causality(graph, 2);
  const auto of = [&](const char* path) {
    for (const auto& node : graph.nodes)
      if (node.path == path) return causality.of(node.outputs[0]);
    return std::vector<Dependence>();
  };
  using D = std::vector<Dependence>;
  CHECK(of("0.vertical") == D(4, {Reach::above}));
  CHECK(of("0.link") == D(4, {Reach::above}));
  CHECK(of("0.vertical_condition") == D(4, {Reach::nothing}));
  const Dependence none{Reach::before}, one{Reach::before, 1};
  CHECK(of("0.horizontal") == D{none, none, one, one});
  CHECK(of("0.out") == D{none, one});
}

TEST_CASE("steps come in order") {
  const Sequential<float> net{MaskedConv2d(Mask::A, 2, 4, 3, {.groups = 2})};
  const Tensor<float> images = Tensor<float>::zeros({1, 2, 2, 2}), x = Tensor<float>::zeros({1, 2, 1, 1});
  Incremental<float> form(net, images, 2);
  form.step(x, {0, 0}, 0);
  CHECK_THROWS_WITH_AS(form.step(x, {0, 1}, 0),
                       "Incremental: expected more colours of the same pixel, got 0 colours at (0, 1)", StateError);
  CHECK_THROWS_WITH_AS(form.step(x, {0, 0}, 0),
                       "Incremental: expected more colours of the same pixel, got 0 colours at (0, 0)", StateError);
  form.step(x, {0, 0}, 2);
  CHECK_THROWS_WITH_AS(form.step(x, {1, 0}, 0), "Incremental: expected the next pixel, got 0 colours at (1, 0)",
                       StateError);
  CHECK_THROWS_WITH_AS(Causality<float>(record(net, images.shape()), 3), "Causality: expected 1 to 2 colours, got 3",
                       ValueError);
}

TEST_CASE("few channels and small images: the sums of a pixel do not depend on the size of the image") {
  for (const Index w : {1, 2, 5, 9})
    for (const Index channels : {3, 6, 27}) {
      manual_seed(static_cast<std::uint64_t>(w));
      Sequential<float> net{MaskedConv2d<float>(Mask::A, 3, channels, 3, {.groups = 3}),
                            MaskedConv2d<float>(Mask::B, channels, 3, 5, {.groups = 3})};
      CAPTURE(w);
      CAPTURE(channels);
      CHECK(same_bits(net, 3, 0, w == 1 ? 1 : 4, w));
    }
}

TEST_CASE("1,000 models: refused, or causal and the same bits pixel by pixel") {
  int accepted = 0, refused = 0, formless = 0, strict = 0;
  const unsigned seed = 1;
  for (unsigned i = 0; i < 1000; ++i) {
    const Index colours = i % 2 == 0 ? 1 : 2 + i / 2 % 2, extra = i % 5 == 0 ? 2 : 0;
    const double wild = std::array{0.0, 0.1, 0.3, 0.6}[i / 4 % 4];
    manual_seed(i);
    Sequential<float> net = Models(seed + i, colours, extra, wild).draw();
    stir(net);
    CAPTURE(i);
    CAPTURE(colours);
    std::string why;
    try {
      const Graph<float> graph = record(net, {2, colours + extra, 4, 5});
      Causality<float>(graph, colours).check();
      REQUIRE_MESSAGE(leaks(net, colours, extra, 4, 4) == 0, layers(graph));
      Incremental<float>(net, Tensor<float>::zeros({2, colours + extra, 4, 5}), colours);
    } catch (const StateError& error) {
      why = error.what();
    }
    if (why.empty()) {
      ++accepted;
      REQUIRE_MESSAGE(same_bits(net, colours, extra, 4, 5), layers(record(net, {2, colours + extra, 4, 5})));
    } else if (why.find("is not causal") != std::string::npos) {
      ++refused;
      strict += leaks(net, colours, extra, 4, 4) == 0;
    } else {
      ++formless;
    }
    if (wild == 0) REQUIRE_MESSAGE(why.empty(), why);
  }
  MESSAGE(accepted, " accepted, ", refused, " not causal, of which ", strict, " do not leak; ", formless,
          " without an incremental form");
  CHECK(accepted >= 334);
  CHECK(strict * 5 < refused);  // a Softmax, what is constant, and statistics of a batch, which all samples share here
  CHECK(refused + formless >= 334);
}
