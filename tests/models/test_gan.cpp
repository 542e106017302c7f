#include <doctest/doctest.h>

#include "lamina/models/gan.hpp"
#include "lamina/nn/hinge_loss.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/testing/conformance.hpp"

using namespace lamina;

namespace {

Index size_of(Module<float>& net) {
  Index total = 0;
  for (const auto& [name, parameter, owner] : parameters(net)) total += parameter->value.numel();
  return total;
}

Index generator_work(const GanGenerator<float>& net) {
  const GanOptions& o = net.options();
  return record(net, Values<float>(Value<float>::of_shape({1, o.latent}), Value<float>::of_shape({1}))).multiply_adds();
}
Index discriminator_work(const GanDiscriminator<float>& net) {
  const GanOptions& o = net.options();
  return record(net,
                Values<float>(Value<float>::of_shape({1, o.channels, o.image, o.image}), Value<float>::of_shape({1})))
      .multiply_adds();
}

}  // namespace

TEST_CASE("parameters and multiply-adds of the authors' GANs") {
  const SkipInit skip;
  struct Row {
    const char* context;
    double generator, generator_work, discriminator, discriminator_work;  // in millions and thousand millions
  };
  for (const Row& row : {Row{"none", 42.00, 8.637, 39.44, 4.593}, Row{"attention", 42.08, 8.763, 39.46, 4.634},
                         Row{"ylg", 42.08, 8.723, 39.46, 4.615}, Row{"hamburger", 42.64, 8.914, 39.48, 4.661}}) {
    CAPTURE(row.context);
    const GanOptions options{.image = 128, .classes = 1000, .latent = 128, .width = 64, .context = row.context};
    GanGenerator<float> generator(options);
    GanDiscriminator<float> discriminator(options);
    const auto near = [](Index got, double expected, double unit) {
      return doctest::Approx(static_cast<double>(got) / unit).epsilon(1e-3) == expected;
    };
    CAPTURE(size_of(generator));
    CAPTURE(size_of(discriminator));
    CAPTURE(generator_work(generator));
    CAPTURE(discriminator_work(discriminator));
    CHECK(near(size_of(generator), row.generator, 1e6));
    CHECK(near(generator_work(generator), row.generator_work, 1e9));
    CHECK(near(size_of(discriminator), row.discriminator, 1e6));
    CHECK(near(discriminator_work(discriminator), row.discriminator_work, 1e9));
  }
}

TEST_CASE("the context modules' multiply-adds at 32 x 32 and 256 channels") {
  const Shape features{1, 256, 32, 32};
  CHECK(SAGANAttention<float>(256).multiply_adds(features) == 125829120);
  CHECK(YLGAttention<float>(256).multiply_adds(features) == 85969920);
  CHECK(GanHamburger<float>(256).multiply_adds(features) == 277086208);
}

TEST_CASE("networks of all sizes and contexts give images and scores, learn, and lose their normalisation") {
  for (const Index image : {32, 64, 128})
    for (const char* context : {"none", "attention", "ylg", "hamburger"})
      for (const Index classes : {0, 3}) {
        if (image != 32 && classes == 0) continue;
        manual_seed(static_cast<std::uint64_t>(image));
        const Index width = std::string(context) == "ylg" ? (image == 128 ? 32 : 64) : image == 32 ? 8 : 4;
        GanOptions options{.image = image,
                           .channels = 2,
                           .classes = classes,
                           .latent = 5,
                           .width = image == 64 && width == 4 ? 8 : width,
                           .context = context};
        if (image == 128 && width == 4) options.context = "hamburger";
        CAPTURE(image);
        CAPTURE(context);
        CAPTURE(classes);
        GanGenerator<float> generator(options);
        GanDiscriminator<float> discriminator(options);
        const auto with = [&](Tensor<float> x) {
          Values<float> result(std::move(x));
          if (classes > 0) result.push_back(Labels({2}, {2, 0}));
          return result;
        };
        Tape tape;
        const Tensor<float> images = generator.forward(with(Random(1).normal({2, 5})), tape)[0];
        REQUIRE(images.shape() == Shape{2, 2, image, image});
        const Tensor<float> scores = discriminator.forward(with(images), tape)[0];
        REQUIRE(scores.shape() == Shape{2, 1});
        auto [loss, grad] = generator_hinge_loss(scores);
        generator.backward(discriminator.backward(std::move(grad), tape), tape, InputGrad::skip);
        bool all = true;
        for (const auto& [name, parameter, owner] : parameters(generator)) all &= !parameter->grad.empty();
        CHECK(all);
        all = true;
        for (const auto& [name, parameter, owner] : parameters(discriminator)) all &= !parameter->grad.empty();
        CHECK(all);
        CHECK(tape.empty());

        options.spectral_norm = false;
        GanGenerator<float> plain(options);
        load_state_dict(plain, plain_weights(generator));
        const auto z = with(Random(2).normal({2, 5}));
        CHECK(testing::worst_difference(plain.infer(z)[0].cast<double>(), generator.infer(z)[0].cast<double>()).error <
              1e-4);
        if (image > 32) break;  // of the classes
      }
}

TEST_CASE("the Hamburger of GANs conforms") {
  manual_seed(3);
  GanHamburger<double> burger(4, {.spectral_norm = false});
  burger.ham = NMF<double>({.rank = 2, .train_steps = 2, .eval_steps = 2, .gradient = HamGradient::bptt});
  burger.gamma.coefficient.value.fill(0.8);
  CHECK(conforms(burger, {2, 4, 3, 2}, {.training_differs = true}));
}

TEST_CASE("errors of the networks of GANs") {
  CHECK_THROWS_WITH_AS(GanGenerator<float>({.image = 28}), "GanGenerator: image must be 32, 64 or 128, got 28",
                       ValueError);
  CHECK_THROWS_WITH_AS(GanDiscriminator<float>({.width = 0}),
                       "GanDiscriminator: channels, latent and width must be at least 1, got 3, 128 and 0", ValueError);
  CHECK_THROWS_WITH_AS(GanGenerator<float>({.classes = -1}), "GanGenerator: classes must not be negative, got -1",
                       ValueError);
  CHECK_THROWS_WITH_AS(GanOptions{.context = "sagan"},
                       "context: expected none, attention, ylg or hamburger, got 'sagan'", ValueError);
  CHECK_THROWS_WITH_AS(GanGenerator<float>({.width = 4, .context = "attention"}),
                       "SAGANAttention: expected a multiple of 8 channels, got 4", ValueError);
  const GanGenerator<float> generator({.classes = 2, .latent = 4, .width = 1});
  CHECK_THROWS_WITH_AS(generator.infer(Tensor<float>({1, 4})),
                       "GanGenerator(32, classes=2, latent=4, width=1): takes z and labels, got one value", ValueError);
  CHECK_THROWS_WITH_AS(generator.infer({Tensor<float>({1, 4}), Labels({1}, {2})}),
                       "block1.norm1.gamma: Embedding(2, 4): id 2 at position 0 is not one of the 2 entries 0 to 1",
                       ValueError);
  const GanDiscriminator<float> discriminator({.classes = 0, .width = 1});
  CHECK_THROWS_WITH_AS(discriminator.infer(Tensor<float>({1, 3, 28, 28})),
                       "GanDiscriminator(32, classes=0, width=1): expected images [N, 3, 32, 32], got shape "
                       "[1, 3, 28, 28]",
                       ShapeError);
  CHECK_THROWS_WITH_AS(discriminator.infer({Tensor<float>({1, 3, 32, 32}), Labels({1}, {0})}),
                       "GanDiscriminator(32, classes=0, width=1): takes images alone, got two values", ValueError);
}
