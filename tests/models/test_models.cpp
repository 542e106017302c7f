#include <doctest/doctest.h>

#include <cmath>

#include "lamina/data/digits.hpp"
#include "lamina/data/transforms.hpp"
#include "lamina/models/alexnet.hpp"
#include "lamina/models/densenet.hpp"
#include "lamina/models/googlenet.hpp"
#include "lamina/models/mobilenet.hpp"
#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/models/mobilenet_v3.hpp"
#include "lamina/models/nin.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/models/vgg.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/train/fit.hpp"

using namespace lamina;

namespace {

/// The root of the mean square of the entries.
double scale(const Tensor<float>& tensor) {
  return static_cast<double>(tensor.vector().norm()) / std::sqrt(static_cast<double>(tensor.numel()));
}

const Tensor<float>& weight(Module<float>& net, const std::string& key) {
  for (auto& [name, parameter, owner] : parameters(net))
    if (name == key) return parameter->value;
  throw ValueError("no parameter " + key);
}

}  // namespace

TEST_CASE("the ImageNet forms have their papers' multiply-adds") {
  const auto millions = [](const Module<float>& net, Index side) {
    return static_cast<double>(net.multiply_adds({1, 3, side, side})) / 1e6;
  };
  CHECK(millions(resnet(18), 224) == doctest::Approx(1814).epsilon(0.001));
  CHECK(millions(resnet(50), 224) == doctest::Approx(4089).epsilon(0.001));
  CHECK(millions(densenet(121), 224) == doctest::Approx(2834).epsilon(0.001));
  CHECK(millions(mobilenet(), 224) == doctest::Approx(569).epsilon(0.002));
  CHECK(millions(mobilenet(), 128) == doctest::Approx(186).epsilon(0.005));
  CHECK(millions(mobilenet({.width = 0.5}), 192) == doctest::Approx(110).epsilon(0.005));
  CHECK(millions(mobilenet_v2(), 224) == doctest::Approx(300).epsilon(0.005));
  CHECK(millions(mobilenet_v3_large(), 224) == doctest::Approx(217).epsilon(0.002));
}

TEST_CASE("classes, channels and widths are the caller's") {
  CHECK(alexnet({.in_channels = 1, .classes = 7, .width = 0.25, .hidden = 32}).output_shape({2, 1, 64, 64}) ==
        Shape{2, 7});
  CHECK(nin({.in_channels = 3, .classes = 5, .width = 0.125}).output_shape({2, 3, 67, 67}) == Shape{2, 5});
  CHECK(googlenet({.in_channels = 1, .classes = 4, .width = 0.1, .auxiliary = true}).output_shape({2, 1, 15, 15}) ==
        Shape{2, 4});
  CHECK(densenet(169, {.in_channels = 2, .classes = 3, .width = 0.1}).output_shape({1, 2, 32, 32}) == Shape{1, 3});
  CHECK(resnet(152, {.in_channels = 4, .classes = 6, .width = 0.05}).output_shape({1, 4, 1, 1}) == Shape{1, 6});
  CHECK(mobilenet_v3_small({.in_channels = 1, .classes = 2, .width = 0.1}).output_shape({3, 1, 9, 9}) == Shape{3, 2});
  CHECK(
      resnet_features(18, {.width = 0.25, .output_stride = 8, .multi_grid = {1, 2, 4}}).output_shape({1, 3, 65, 33}) ==
      Shape{1, 128, 9, 5});
  CHECK(resnet_features(50, {.width = 0.25, .output_stride = 16, .deep_stem = true}).output_shape({1, 3, 64, 64}) ==
        Shape{1, 512, 4, 4});
  const auto net = resnet(18, {.width = 0.25, .norm = {.momentum = 3e-4}});
  CHECK(net[1].name() == "BatchNorm2d(16, momentum=0.0003)");
}

TEST_CASE("initial values are the recipes'") {
  manual_seed(4);
  auto one_tower = alexnet({.hidden = 256});
  auto two_towers = alexnet({.form = AlexNetForm::two_towers, .hidden = 256});
  CHECK(scale(weight(two_towers, "features.0.weight")) == doctest::Approx(0.01).epsilon(0.02));
  CHECK(scale(weight(two_towers, "features.0.bias")) == 0);
  CHECK(scale(weight(two_towers, "features.4.bias")) == 1);
  CHECK(scale(weight(two_towers, "features.8.bias")) == 0);
  CHECK(scale(weight(two_towers, "classifier.3.bias")) == 1);
  CHECK(scale(weight(two_towers, "classifier.6.bias")) == 0);
  CHECK(scale(weight(one_tower, "features.0.bias")) > 0);
  auto residual = resnet(18);
  CHECK(scale(weight(residual, "layer2.0.conv1.weight")) == doctest::Approx(std::sqrt(2.0 / (128 * 9))).epsilon(0.02));
  auto dense = densenet(121, {.width = 0.5});
  CHECK(scale(weight(dense, "features.transition1.conv.weight")) ==
        doctest::Approx(std::sqrt(2.0 / 128)).epsilon(0.03));
  CHECK(scale(weight(dense, "classifier.bias")) == 0);
  auto inception = googlenet();
  CHECK(scale(weight(inception, "fc.weight")) == doctest::Approx(0.01).epsilon(0.02));
  auto small = mobilenet_v3_small();
  CHECK(scale(weight(small, "classifier.3.weight")) == doctest::Approx(0.01).epsilon(0.02));
  CHECK(scale(weight(small, "features.1.block.1.fc1.bias")) == 0);
  auto listing = resnet(18, {.in_channels = 1, .classes = 10, .form = Form::listing});
  CHECK(weight(listing, "fc.weight").array().abs().maxCoeff() <= std::sqrt(6.0f / 522));
  CHECK(weight(listing, "layer1.0.conv1.weight").array().abs().maxCoeff() <= std::sqrt(6.0f / (2 * 64 * 9)));
}

TEST_CASE("GoogLeNet's heads") {
  manual_seed(1);
  auto net = googlenet({.classes = 5, .width = 0.1, .auxiliary = true, .dropout = 0});
  const Tensor<float> x = Random(2).normal({3, 3, 33, 40});
  auto copy = net;
  Tape tape, all_tape;
  const Tensor<float> main = net.forward(x, tape);
  const auto logits = copy.forward(Values<float>(x), all_tape);  // main, aux2, aux1
  REQUIRE(logits.size() == 3);
  CHECK(main == logits[0]);
  CHECK(logits[1].shape() == Shape{3, 5});
  CHECK(logits[2].shape() == Shape{3, 5});
  CHECK(net.infer(Values<float>(x)).size() == 1);

  // Without gradients of the auxiliary heads, backward is the main head's.
  const auto zeros = Tensor<float>::zeros({3, 5}), ones = Tensor<float>::ones({3, 5});
  const Tensor<float> dx = net.backward(ones, tape);
  const Tensor<float> dx_all = copy.backward({ones, zeros, zeros}, all_tape)[0];
  CHECK(tape.empty());
  CHECK(all_tape.empty());
  CHECK((dx.array() - dx_all.array()).abs().maxCoeff() <= 1e-6f * dx.array().abs().maxCoeff());

  // Every parameter learns from all heads; with main's alone, the heads do not.
  for (auto& [name, parameter, owner] : parameters(net)) CHECK(parameter->grad.empty() == name.starts_with("aux"));
  copy.forward(x, all_tape);
  CHECK(copy.backward({ones, ones, ones}, all_tape, InputGrad::skip)[0].empty());
  for (auto& [name, parameter, owner] : parameters(copy)) CHECK_MESSAGE(scale(parameter->grad) > 0, name);

  auto plain = googlenet({.classes = 5, .width = 0.1});
  CHECK(summary(plain, {1, 3, 33, 40}).find("inception4a.branch2.1.conv") != std::string::npos);
  CHECK(plain.forward(Values<float>(x), tape).size() == 1);
  CHECK_THROWS_WITH_AS(plain.backward({ones, ones}, tape), "GoogLeNet(3, 5): has 1 results, got 2 gradients",
                       ValueError);
  CHECK_THROWS_AS(copy.forward(Tensor<float>::zeros({1, 2, 33, 40}), tape), ShapeError);
  CHECK(tape.empty());
}

TEST_CASE("what cannot be built or run is refused") {
  CHECK_THROWS_WITH_AS(resnet(20), "resnet: expected depth 18, 34, 50, 101 or 152, got 20", ValueError);
  CHECK_THROWS_WITH_AS(resnet(18, {.output_stride = 4}), "resnet: output_stride must be 8, 16 or 32, got 4",
                       ValueError);
  CHECK_THROWS_WITH_AS(resnet(18, {.width = 0.001}), "resnet: width 0.001 leaves none of 64 channels", ValueError);
  CHECK_THROWS_WITH_AS(densenet(100), "densenet: expected depth 121, 169, 201 or 161, or the listing's 21, got 100",
                       ValueError);
  CHECK_THROWS_WITH_AS(vgg(Vgg::A, {.width = 0.001, .hidden = 1}), "vgg: width 0.001 leaves none of 64 channels",
                       ValueError);
  CHECK_THROWS_AS(mobilenet({.width = 0}), ValueError);
  CHECK_THROWS_WITH_AS(mobilenet_v2({.width = 0}), "mobilenet_v2: width must be positive, got 0", ValueError);
  CHECK_THROWS_WITH_AS(mobilenet_v3_small({.width = -1}), "mobilenet_v3: width must be positive, got -1", ValueError);
  CHECK_THROWS_AS(googlenet({.width = 0.01}), ValueError);

  CHECK_NOTHROW(alexnet({.hidden = 8}).output_shape({1, 3, 63, 63}));
  CHECK_THROWS_AS(alexnet({.hidden = 8}).output_shape({1, 3, 62, 63}), ShapeError);
  CHECK_NOTHROW(alexnet({.form = AlexNetForm::listing, .hidden = 8}).output_shape({1, 3, 65, 65}));
  CHECK_THROWS_AS(vgg(Vgg::A, {.hidden = 8}).output_shape({1, 3, 31, 32}), ShapeError);
  CHECK_THROWS_AS(nin().output_shape({1, 1, 66, 67}), ShapeError);
  CHECK_NOTHROW(googlenet().output_shape({1, 3, 15, 15}));
  CHECK_THROWS_AS(densenet(121).output_shape({1, 3, 28, 28}), ShapeError);
  CHECK_NOTHROW(densenet(121).output_shape({1, 3, 29, 29}));

  // Weights of another network: the error names what is missing and what is unexpected.
  auto net = resnet(18, {.width = 0.1});
  CHECK_THROWS_AS(load_state_dict(net, state_dict(resnet(34, {.width = 0.1}))), StateError);
}

TEST_CASE("small settings learn drawn digits") {
  const auto learns = [](Module<float>& net) {
    DataLoader train(digits(600), {.batch_size = 20, .shuffle = true, .transform = Resize(Size2(32, 32))}),
        test(digits(200, {.first = 1500}), {.batch_size = 100, .transform = Resize(Size2(32, 32))});
    Adam optimizer(parameters(net), {.lr = 0.004});
    const History history = fit(net, optimizer, train, {.epochs = 3, .progress = false});
    CHECK(history.epochs.back().train_accuracy > 0.3);
    return evaluate(std::as_const(net), test).accuracy;
  };
  manual_seed(1);
  auto residual = resnet(18, {.in_channels = 1, .classes = 10, .form = Form::listing, .width = 0.125});
  CHECK(learns(residual) > 0.6);
  auto dense = densenet(21, {.in_channels = 1, .classes = 10, .form = Form::listing, .width = 0.25});
  CHECK(learns(dense) > 0.6);
  auto inverted = mobilenet_v3_small({.in_channels = 1, .classes = 10, .width = 0.25, .dropout = 0});
  learns(inverted);  // its running statistics are slow, so what it infers lags behind
  auto separable = mobilenet({.in_channels = 1, .classes = 10, .width = 0.25});
  learns(separable);
  auto inception = googlenet({.in_channels = 1, .classes = 10, .width = 0.25});
  learns(inception);
}
