#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <utility>

#include "lamina/data/loader.hpp"
#include "lamina/data/scenes.hpp"
#include "lamina/data/segmentation.hpp"
#include "lamina/io/segmentation.hpp"
#include "lamina/models/hamnet.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/testing/conformance.hpp"
#include "lamina/train/segmentation.hpp"

using namespace lamina;

namespace test_hamnet {

namespace {

HamNetOptions small(Context context) {
  HamNetOptions options{.classes = 4, .depth = 18, .channels = 16, .aligned = 8, .context = context};
  options.backbone.width = 1.0 / 16;
  options.hamburger = {.D = 16, .ham = {.rank = 4}};
  return options;
}

}  // namespace

TEST_CASE("HamNet has the listing's keys and the images' size, with any context") {
  for (const Context context :
       {Context::none, Context::nmf, Context::vq, Context::cd, Context::self_attention, Context::dual_attention,
        Context::double_attention, Context::adaptive_pyramid, Context::dynamic_pyramid, Context::co_occurrence}) {
    auto net = hamnet<float>(small(context));
    CHECK(net.output_shape({2, 3, 33, 40}) == Shape{2, 4, 33, 40});
    CHECK(net(Tensor<float>::ones({1, 3, 33, 40})).shape() == Shape{1, 4, 33, 40});
    Tape tape;
    const Tensor<float> y = net.forward(Tensor<float>::ones({2, 3, 33, 40}), tape);
    net.backward(y, tape, InputGrad::skip);
    CHECK(tape.empty());
  }
  std::vector<std::string> keys;
  auto net = hamnet<float>(small(Context::nmf));
  for (const auto& [name, parameter, owner] : parameters(net)) keys.push_back(name);
  for (const char* key :
       {"backbone.0.0.weight", "backbone.1.bias", "backbone.5.0.downsample.0.weight", "squeeze.conv.weight",
        "hamburger.lower_bread.0.weight", "hamburger.upper_bread.1.weight", "align.bn.bias", "fc.1.bias"})
    CHECK(std::count(keys.begin(), keys.end(), key) == 1);
}

TEST_CASE("HamNet with ResNet-50 has the listing's number of parameters, and learns strides 8 and 16") {
  auto net = hamnet<float>({.classes = 21});
  CHECK(count_parameters(net).total == 34781397);
  HamNetOptions options = small(Context::none);
  options.backbone.output_stride = 16;
  CHECK(hamnet<float>(options).net.output_shape({1, 3, 64, 96}) == Shape{1, 4, 4, 6});
  options.backbone.output_stride = 8;
  CHECK(hamnet<float>(options).net.output_shape({1, 3, 64, 96}) == Shape{1, 4, 8, 12});
}

TEST_CASE("HamNet on MobileNet V2 takes ImageNet's weights, and DeepLab's, by name") {
  for (const Index stride : {8, 16}) {
    HamNetOptions options = small(Context::nmf);
    options.mobilenet_v2 = MobileNetV2Options{.width = 0.25, .output_stride = stride};
    auto net = hamnet<float>(options);
    CHECK(net.name() == text("AtInputSize(bilinear, align_corners, stride=", stride, ")"));
    CHECK(net.net[0].output_shape({1, 3, 65, 33}) == Shape{1, 80, 64 / stride + 1, 32 / stride + 1});
    CHECK(net(Tensor<float>::ones({1, 3, 40, 31})).shape() == Shape{1, 4, 40, 31});
    // The keys of the backbone are those of mobilenet_v2 behind "backbone.", without the last convolution.
    StateDict<float> state;
    const auto classifier = mobilenet_v2<float>({.width = 0.25});
    for (const auto& [name, value] : state_dict(classifier))
      if (name.starts_with("features.") && !name.starts_with("features.18."))
        state.emplace_back("backbone." + name, value);
    const LoadReport report = load_state_dict(net, state, {.strict = false});
    CHECK(report.unexpected.empty());
    for (const std::string& key : report.missing) CHECK_MESSAGE(!key.starts_with("backbone."), key);
  }
  auto net = hamnet<float>({.mobilenet_v2 = MobileNetV2Options{.output_stride = 16}});
  CHECK(count_parameters(net).total == 4998677);
}

TEST_CASE("HamNet's head on a backbone of one's own") {
  Sequential<float> backbone{Conv2d<float>(3, 6, 3, {.stride = 4, .padding = 1}), ReLU<float>()};
  auto net = hamnet<float>(std::move(backbone), 6, 4, small(Context::cd));
  CHECK(net(Tensor<float>::ones({2, 3, 18, 21})).shape() == Shape{2, 4, 18, 21});
  CHECK(net.name() == "AtInputSize(bilinear, align_corners, stride=4)");
}

TEST_CASE("AtInputSize pads to k stride + 1 and cuts") {
  for (const auto& [side, aligned] : {std::pair(1, 1), {2, 9}, {8, 9}, {9, 9}, {10, 17}, {120, 121}, {160, 161}})
    CHECK(aligned_size(side, 8) == Size2(aligned));
  CHECK(aligned_size({7, 12}, 1) == Size2(7, 12));

  const InterpolateOptions corners{.mode = InterpolateMode::bilinear, .align_corners = true};
  const auto strided = [] { return Sequential<double>{Conv2d<double>(2, 3, 3, {.stride = 4, .padding = 1})}; };
  for (const Shape& shape : {Shape{2, 2, 7, 9}, Shape{1, 2, 5, 13}, Shape{1, 2, 4, 8}, Shape{2, 2, 1, 1}})
    CHECK(conforms(AtInputSize<double>(strided(), corners, 4), shape));
  // The feature of pixel 4 k comes back to pixel 4 k.
  const AtInputSize<double> net(strided(), corners, 4);
  const Tensor<double> x = Random(1).normal<double>({1, 2, 8, 14});
  const Tensor<double> y = net(x), coarse = net.net(net.padded(x));
  CHECK(coarse.shape() == Shape{1, 3, 3, 5});
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 4; ++j) CHECK(y(0, 1, 4 * i, 4 * j) == doctest::Approx(coarse(0, 1, i, j)).epsilon(1e-12));
  CHECK(net.name() == "AtInputSize(bilinear, align_corners, stride=4)");
  CHECK(AtInputSize<double>(strided(), corners).name() == "AtInputSize(bilinear, align_corners)");
  CHECK_THROWS_WITH_AS(AtInputSize<double>(strided(), corners, 0), "PadToAligned(0): stride must be at least 1, got 0",
                       ValueError);
  CHECK_THROWS_WITH_AS(net.padded(Tensor<double>({1, 2, 0, 3})),
                       "PadToAligned(4): expected images [N, C, H, W], got shape [1, 2, 0, 3]", ShapeError);
  CHECK(hamnet<float>(small(Context::none)).name() == "AtInputSize(bilinear, align_corners, stride=8)");
}

TEST_CASE("perfect labels of drawn scenes survive strides 16 and 8, where images are padded") {
  std::map<std::pair<Index, Index>, double> known;
  const auto reached = [&](Index size, Index stride) {
    const auto [place, unknown] = known.try_emplace({size, stride});
    if (unknown)
      place->second = mean_intersection_over_union(perfect_labels(scenes(20, {.size = size}), 4, 255, stride));
    return place->second;
  };
  // Sides of k S + 1 are what other sizes are padded to: about as good, where a displaced grid would lose a fifth.
  for (const Index stride : {8, 16}) {
    CAPTURE(stride);
    CHECK(reached(192, stride) == doctest::Approx(reached(193, stride)).epsilon(0.03));
    CHECK(reached(185, stride) == doctest::Approx(reached(193, stride)).epsilon(0.03));
  }
  CHECK(reached(192, 8) > 0.85);
  CHECK(reached(192, 16) > 0.7);
  CHECK(reached(192, 8) > reached(192, 16));
  CHECK_THROWS_WITH_AS(perfect_labels(scenes(1), 2, 255, 8),
                       "perfect_labels: label 2 of sample 0 is not one of the 2 classes", ValueError);
}

TEST_CASE("perfect labels of CamVid survive strides 16 and 8, where LAMINA_DATA has them") {
  const char* const dir = std::getenv("LAMINA_DATA");
  if (!dir || !std::filesystem::exists(dir + std::string("/camvid"))) {
    MESSAGE("no camvid/ in LAMINA_DATA");
    return;
  }
  const auto data = load_camvid<float>(dir, "test");
  const auto classes = static_cast<Index>(camvid_classes.size());
  CHECK(mean_intersection_over_union(perfect_labels(data, classes, camvid_void, 16)) > 0.57);
  CHECK(mean_intersection_over_union(perfect_labels(data, classes, camvid_void, 8)) > 0.68);
}

TEST_CASE("HamNet gives an image the same logits anywhere in a batch") {
  for (const Context context :
       {Context::nmf, Context::vq, Context::cd, Context::self_attention, Context::dual_attention,
        Context::double_attention, Context::adaptive_pyramid, Context::dynamic_pyramid, Context::co_occurrence}) {
    const auto net = hamnet<float>(small(context));
    CAPTURE(net.net[2].name());
    CHECK(testing::check_batches<float>(net, {3, 33, 40}, {.training_differs = true}) == "");
  }
}

TEST_CASE("norms of context modules move by a tenth, those of HamNet as in the paper") {
  const auto moved = [](Module<float>& net, const Shape& shape) {
    Tape tape;
    net.forward(Random(1).normal<float>(shape), tape);
    double largest = 0;  // of the distances from the initial variance, 1, to that of a batch
    for (const auto& [name, value] : state_dict(net))
      if (name.ends_with("running_var"))
        for (const float v : std::get<Tensor<float>>(value).values()) largest = std::max(largest, std::abs(v - 1.0));
    return largest;
  };
  const Shape shape{2, 16, 6, 6};
  const HamburgerOptions options{.D = 16, .ham = {.rank = 4}};
  auto v1 = hamburger_v1<float>(16, options), v2 = hamburger_v2<float>(16, options);
  auto self = self_attention<float>(16), twice = double_attention<float>(16);
  auto dual = dual_attention<float>(16);
  for (Module<float>* net : std::initializer_list<Module<float>*>{&v1, &v2, &self, &twice, &dual})
    CHECK(moved(*net, shape) > 0.02);
  auto net = hamnet<float>(small(Context::nmf));
  CHECK(moved(net, {2, 3, 33, 41}) < 0.01);
}

TEST_CASE("the recipe: groups, average over pixels, augmentation, many scales") {
  auto net = hamnet<float>([] {
    HamNetOptions options = small(Context::nmf);
    options.version = HamburgerVersion::v2_plus;
    options.hamburger.D = 8;
    return options;
  }());
  const auto groups = bias_groups(parameters(net), 0.02);
  CHECK(groups.size() == 3);
  CHECK(groups[2].lr == 0.02);
  std::size_t count = 0;
  for (const auto& group : groups) count += group.parameters.size();
  CHECK(count == parameters(net).size());
  for (const auto& named : groups[2].parameters) CHECK(named.name.ends_with("bias"));
  const auto is_bias = [](const auto& named) { return named.name.ends_with("bias"); };
  const auto all_parameters = parameters(net);
  CHECK(static_cast<Index>(groups[2].parameters.size()) ==
        std::count_if(all_parameters.begin(), all_parameters.end(), is_bias));

  const Tensor<float> logits = Random(1).normal<float>({2, 4, 3, 5});
  Labels labels = Labels::zeros({2, 3, 5});
  for (Index j = 0; j < 5; ++j) labels(1, 2, j) = 255;
  const auto all = pixel_cross_entropy(logits, labels),
             valid = pixel_cross_entropy(logits, labels, {.over_all = false});
  CHECK(all.value * 30 == doctest::Approx(valid.value * 25));
  CHECK(all.grad(0, 1, 2, 3) * 30 == doctest::Approx(valid.grad(0, 1, 2, 3) * 25));
  CHECK(all.grad(1, 0, 2, 1) == 0);
  for (Index i = 0; i < 30; ++i)
    if (labels.data()[i] != 255) labels.data()[i] = static_cast<std::int32_t>(i % 4);
  const std::vector<double> weight = {0.5, 2, 0, 1.5};
  const auto weighted = pixel_cross_entropy(logits, labels, {.over_all = false, .weight = weight}),
             expected = cross_entropy(logits, labels,
                                      {.ignore_index = 255, .weight = Tensor<float>({4}, {0.5f, 2.0f, 0.0f, 1.5f})}),
             summed = pixel_cross_entropy(logits, labels, {.weight = weight});
  double total = 0;
  for (const std::int32_t label : labels.values())
    if (label != 255) total += weight[static_cast<std::size_t>(label)];
  CHECK(weighted.value == expected.value);
  CHECK(weighted.grad == expected.grad);
  CHECK(summed.value * 30 == doctest::Approx(expected.value * total));
  CHECK_THROWS_WITH_AS(pixel_cross_entropy(logits, labels, {.weight = {1, 2}}),
                       "cross_entropy: expected a weight of shape [4], got shape [2]", ShapeError);
  labels(0, 1, 2) = 4;
  CHECK_THROWS_WITH_AS(pixel_cross_entropy(logits, labels),
                       "cross_entropy: label 4 at position [0, 1, 2] is not one of the 4 classes 0 to 3", ValueError);
  CHECK_THROWS_WITH_AS(pixel_cross_entropy(logits, Labels::zeros({2, 3, 4})),
                       "cross_entropy: expected labels of shape [2, 3, 5], got shape [2, 3, 4]", ShapeError);
  CHECK_THROWS_AS(pixel_cross_entropy(logits, Labels::zeros({3, 3, 5})), ShapeError);

  const Tensor<float> images = Random(2).uniform<float>({1, 3, 32, 40});
  const Tensor<float> probabilities = multi_scale_probabilities(net, images, {.scales = {0.5, 1}});
  CHECK(probabilities.shape() == Shape{1, 4, 32, 40});
  for (Index i = 0; i < 32 * 40; ++i) {
    float sum = 0;
    for (Index k = 0; k < 4; ++k) sum += probabilities.data()[k * 32 * 40 + i];
    CHECK(sum == doctest::Approx(1).epsilon(1e-5));
  }
  const auto equal = [](const Tensor<float>& a, const Tensor<float>& b) {
    return (a.array() - b.array()).abs().maxCoeff() < 1e-6f;
  };
  const auto halved = [](Tensor<float> x) { return std::move(x *= 0.5f); };
  for (const auto average : {MultiScaleAverage::logits, MultiScaleAverage::probabilities})
    CHECK(equal(multi_scale_probabilities(net, images, {.scales = {1}, .flip = false, .average = average}),
                softmax(net(images), 1)));
  // 0.79 * 32 is 25.28 and 0.79 * 40 is 31.6: rounded down.
  const InterpolateOptions corners{.mode = InterpolateMode::bilinear, .align_corners = true};
  const Tensor<float> small_logits = interpolate(net(interpolate(images, {25, 31}, corners)), {32, 40}, corners);
  const Tensor<float> sum = net(images) + small_logits;
  CHECK(equal(multi_scale_probabilities(net, images, {.scales = {1, 0.79}, .flip = false}), softmax(halved(sum), 1)));
  CHECK(equal(multi_scale_probabilities(
                  net, images, {.scales = {1, 0.79}, .flip = false, .average = MultiScaleAverage::probabilities}),
              halved(softmax(net(images), 1) + softmax(small_logits, 1))));
  CHECK_THROWS_AS(multi_scale_probabilities(net, images, {.scales = {}}), ValueError);
}

TEST_CASE("augmentation keeps images and labels together") {
  // The image shows its labels, so that they must still agree afterwards (away from edges, which are blended).
  const Index h = 24, w = 30;
  Example<float> example{Tensor<float>({1, h, w}), Labels({h, w})};
  for (Index i = 0; i < h; ++i)
    for (Index j = 0; j < w; ++j) {
      example.target(i, j) = j < w / 3 ? 1 : i < h / 2 ? 2 : 3;
      example.input(0, i, j) = static_cast<float>(example.target(i, j));
    }
  const SegmentationAugment augment(28, {.fill = 9, .ignore_index = 9});
  Random random(4);
  for (int round = 0; round < 40; ++round) {
    const auto [image, labels] = augment(example, random);
    REQUIRE(image.shape() == Shape{1, 28, 28});
    REQUIRE(labels.shape() == Shape{28, 28});
    Index differ = 0;
    for (Index k = 0; k < labels.numel(); ++k)
      differ += std::abs(image.data()[k] - static_cast<float>(labels.data()[k])) > 0.75f;
    CHECK(differ <= 28 * 2);
  }
  CHECK_THROWS_WITH_AS(SegmentationAugment(0), "SegmentationAugment: the crop must be at least 1, got 0", ValueError);
  example.target = Labels::zeros({h, w - 1});
  CHECK_THROWS_WITH_AS(augment(example, random),
                       "SegmentationAugment: expected labels of shape [24, 30], got shape [24, 29]", ShapeError);
}

TEST_CASE("scenes are reproducible, and a small HamNet learns them") {
  const auto train = scenes(32, {.size = 32}), same = scenes(8, {.size = 32, .first = 24});
  CHECK(train.get(24).input == same.get(0).input);
  CHECK(train.get(31).target == same.get(7).target);
  std::array<Index, 4> pixels{};
  for (const std::int32_t label : train.targets().values()) ++pixels.at(static_cast<std::size_t>(label));
  for (const Index count : pixels) CHECK(count > 0);
  CHECK_THROWS_WITH_AS(scenes(1, {.size = {8, 32}}), "scenes: sides must be at least 16, got (8, 32)", ValueError);

  manual_seed(1);
  HamNetOptions options = small(Context::nmf);
  options.backbone.width = 0.25;
  options.backbone.norm.momentum = 0.1;
  auto net = hamnet<float>(options);
  SGD<float> optimizer(bias_groups(parameters(net), 0.04), {.lr = 0.02, .momentum = 0.9, .weight_decay = 1e-4});
  DataLoader<float> loader(train,
                           {.batch_size = 8, .shuffle = true, .augment = SegmentationAugment(32, {.scales = {1}})});
  Tape tape;
  std::vector<double> losses;
  for (Index epoch = 0; epoch < 10; ++epoch) {
    loader.set_epoch(epoch);
    losses.push_back(0);
    for (auto& [images, labels] : loader) {
      auto [loss, grad] = pixel_cross_entropy(net.forward(std::move(images), tape), labels);
      net.backward(std::move(grad), tape, InputGrad::skip);
      optimizer.step();
      losses.back() += loss / 4;
    }
  }
  CHECK(losses.back() < 0.6 * losses.front());
}

TEST_CASE("intersection over union") {
  ConfusionMatrix confusion(3);
  add_pixels(confusion, Labels({6}, {0, 0, 0, 1, 1, 255}), Labels({6}, {0, 0, 1, 1, 0, 2}), 255);
  CHECK(intersection_over_union(confusion, 0) == doctest::Approx(2.0 / 4));
  CHECK(intersection_over_union(confusion, 1) == doctest::Approx(1.0 / 3));
  CHECK(std::isnan(intersection_over_union(confusion, 2)));
  CHECK(mean_intersection_over_union(confusion) == doctest::Approx((0.5 + 1.0 / 3) / 2));
  CHECK(mean_class_accuracy(confusion) == doctest::Approx((2.0 / 3 + 1.0 / 2) / 2));
  CHECK(frequency_weighted_iou(confusion) == doctest::Approx((3 * 0.5 + 2 * (1.0 / 3)) / 5));
  CHECK(std::isnan(frequency_weighted_iou(ConfusionMatrix(2))));
}

TEST_CASE("weights of classes by their frequency in the images that have them") {
  const auto of = [](std::vector<std::int32_t> labels) {
    return TensorDataset<float, Labels>(Tensor<float>::zeros({2, 3, 1, 4}), Labels({2, 1, 4}, std::move(labels)));
  };
  // Class 0: 5 of 7 pixels, class 1: 1 of 4, class 2: 1 of 3, which is the median; class 3: none.
  const auto weights = median_frequency_weights(of({0, 0, 0, 1, 0, 0, 2, 255}), 4, 255);
  const std::vector<double> expected = {7.0 / 15, 4.0 / 3, 1, 0};
  for (std::size_t k = 0; k < 4; ++k) CHECK(weights[k] == doctest::Approx(expected[k]));
  CHECK(median_frequency_weights(of({255, 255, 255, 255, 255, 255, 255, 255}), 1, 255) == std::vector<double>{0});
  CHECK_THROWS_WITH_AS(median_frequency_weights(of({0, 0, 0, 1, 0, 0, 2, 9}), 4, 255),
                       "median_frequency_weights: 9 is none of 4 classes in the labels of image 1", ValueError);
}

TEST_CASE("sliding windows cover an image, and their logits are averaged") {
  // A net that adds to every pixel the sum of what it sees: windows show where they were.
  struct Window : Layer<Window, float> {
    Fields fields() const override { return Fields("Window"); }

   private:
    Tensor<float> do_infer(Tensor<float> x) const override {
      for (Index i = 0; i < x.dim(0); ++i) {
        const float sum = x[i].array().sum();
        for (Index k = 0; k < x[i].numel(); ++k) x.data()[i * x[i].numel() + k] += sum;
      }
      return x;
    }
    Tensor<float> do_forward(Tensor<float> x, Tape&) override { return x; }
    Tensor<float> do_backward(Tensor<float> dy, Tape&, InputGrad) override { return dy; }
  };
  const Tensor<float> image = Random(1).uniform<float>({2, 3, 11, 8});
  const Tensor<float> y = sliding_window_logits<float>(Window(), image, {.window = {5, 8}, .stride = {4, 6}});
  REQUIRE(y.shape() == image.shape());
  for (Index n = 0; n < 2; ++n) {
    std::array<float, 3> sums{};  // of rows 0 to 4, 4 to 8, 6 to 10
    for (std::size_t w = 0; w < 3; ++w)
      for (Index c = 0; c < 3; ++c)
        for (Index i = 0; i < 5; ++i)
          for (Index j = 0; j < 8; ++j) sums[w] += image(n, c, std::array<Index, 3>{0, 4, 6}[w] + i, j);
    for (Index i = 0; i < 11; ++i) {
      float expected = 0, count = 0;
      for (std::size_t w = 0; w < 3; ++w)
        if (const Index top = std::array<Index, 3>{0, 4, 6}[w]; i >= top && i < top + 5) expected += sums[w], ++count;
      CHECK(y(n, 1, i, 3) == doctest::Approx(image(n, 1, i, 3) + expected / count));
    }
  }
  auto net = hamnet<float>(small(Context::nmf));
  const Tensor<float> small_image = Random(2).uniform<float>({1, 3, 20, 30});
  CHECK(testing::worst_difference(sliding_window_logits<float>(net, small_image), net(small_image)).error < 1e-6);
  CHECK_THROWS_WITH_AS(
      sliding_window_logits<float>(net, small_image, {.window = 8, .stride = 9}),
      "sliding_window_logits: expected a stride of 1 up to the window's size, got windows of 8 every 9", ValueError);
  CHECK_THROWS_AS(sliding_window_logits<float>(AvgPool2d<float>(2), small_image, {.window = 8, .stride = 8}),
                  ShapeError);
}

TEST_CASE("scenes whose signal is apart from what it decides") {
  const Index count = 20, size = 96;
  const auto data = scenes(count, {.size = size, .apart = 30});
  Index shapes = 0;
  for (Index n = 0; n < count; ++n) {
    const Labels labels = data.get(n).target;
    double nearest = 1e9;
    for (Index a = 0; a < labels.numel(); ++a) {
      if (labels.data()[a] != 1) continue;
      for (Index b = 0; b < labels.numel(); ++b)
        if (labels.data()[b] > 1)
          nearest = std::min(
              nearest, std::hypot(static_cast<double>(a / size - b / size), static_cast<double>(a % size - b % size)));
    }
    CHECK(nearest >= 30);
    shapes += nearest < 1e9;
  }
  CHECK(shapes == count);
}

TEST_CASE("HamNet's context goes before its hamburger's kind, the backbone's momentum before its own") {
  HamNetOptions options = small(Context::vq);
  options.hamburger.kind = HamKind::cd;
  options.hamburger.norm_momentum = 0.5;
  options.backbone.norm.momentum = 0.25;
  auto net = hamnet<float>(options);
  Index vqs = 0, cds = 0;
  for_each<VQ<float>>(net, [&](VQ<float>&) { ++vqs; });
  for_each<CD<float>>(net, [&](CD<float>&) { ++cds; });
  CHECK(vqs == 1);
  CHECK(cds == 0);
  for_each<BatchNorm2d<float>>(net, [&](BatchNorm2d<float>& norm) {
    CAPTURE(norm.name());
    CHECK(norm.name().find("momentum=0.25") != std::string::npos);
  });
}

}  // namespace test_hamnet
