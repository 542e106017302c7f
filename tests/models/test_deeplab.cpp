#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lamina/compile/plan.hpp"
#include "lamina/data/dataset.hpp"
#include "lamina/data/transforms.hpp"
#include "lamina/io/file.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/models/deeplab.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/testing/conformance.hpp"
#include "lamina/train/metrics.hpp"

using namespace lamina;
using Json = nlohmann::json;

namespace {

/// A photograph as `form` of expected.json says.
Tensor<float> prepare(const std::string& path, const std::string& form, const Json& size) {
  const Size2 target(size[0].get<Index>(), size[1].get<Index>());
  Tensor<float> image = to_float(read_image(path, {.channels = 3}));
  if (form == "whole")
    image = Resize(target)(std::move(image));
  else
    image = CenterCrop(target)(Resize(target.h)(std::move(image)));
  return Normalize({0.5, 0.5, 0.5}, {0.5, 0.5, 0.5})(std::move(image)).reshape({1, 3, target.h, target.w});
}

/// Pixels of another class than the expected image says.
Index differing(const Tensor<float>& logits, const Tensor<std::uint8_t>& expected) {
  const Labels classes = predicted_classes(logits)[0];
  REQUIRE(classes.numel() == expected.numel());
  Index count = 0;
  for (Index i = 0; i < classes.numel(); ++i) count += classes.data()[i] != expected.data()[i];
  return count;
}

DeepLabV3Options small() {
  return {.classes = 3, .backbone = {.width = 0.05, .output_stride = 16}, .channels = 4, .dropout = 0};
}

}  // namespace

TEST_CASE("DeepLab v3 has the converted network's parameters and keys, and the images' size") {
  auto net = deeplab_v3<float>();
  CHECK(count_parameters(net).total == 2113557);
  CHECK(net.multiply_adds({1, 3, 513, 513}) == 2740709056);
  CHECK(net.multiply_adds({1, 3, 257, 257}) == 720425664);
  std::vector<std::string> keys;
  for (const auto& [name, value] : state_dict(std::as_const(net))) keys.push_back(name);
  CHECK(keys.size() == 326);
  for (const char* key :
       {"backbone.features.0.0.weight", "backbone.features.1.conv.2.running_mean", "backbone.features.17.conv.3.bias",
        "head.pool.0.weight", "head.aspp0.1.num_batches_tracked", "head.project.1.weight", "classifier.bias"})
    CHECK(std::count(keys.begin(), keys.end(), key) == 1);
  for (const Shape& shape : {Shape{2, 3, 33, 49}, Shape{1, 3, 40, 31}, Shape{1, 3, 1, 1}})
    CHECK(net.output_shape(shape) == shape.with(1, 21));
}

TEST_CASE("the dilated MobileNet V2 keeps its output stride, and the features of pixels 0, S, 2 S, ...") {
  // Only 14 loses its stride, and 15 to 17 are dilated: the structure of TensorFlow's file.
  const auto features = mobilenet_v2_features<float>({.output_stride = 16});
  REQUIRE(features.size() == 18);
  const auto depthwise = [](const Sequential<float>& net, Index block) {
    auto copy = net;
    std::string name;
    for_each<Conv2d<float>>(copy[block], [&](Conv2d<float>& conv) {
      if (conv.options().groups > 1) name = conv.name();
    });
    return name;
  };
  CHECK(depthwise(features, 13) == "Conv2d(576, 576, 3, padding=1, groups=576, bias=false)");
  CHECK(depthwise(features, 14) == "Conv2d(576, 576, 3, padding=1, groups=576, bias=false)");
  CHECK(depthwise(features, 15) == "Conv2d(960, 960, 3, padding=2, dilation=2, groups=960, bias=false)");
  CHECK(depthwise(features, 17) == "Conv2d(960, 960, 3, padding=2, dilation=2, groups=960, bias=false)");
  const auto by_8 = mobilenet_v2_features<float>({.output_stride = 8});
  CHECK(depthwise(by_8, 7) == "Conv2d(192, 192, 3, padding=1, groups=192, bias=false)");
  CHECK(depthwise(by_8, 8) == "Conv2d(384, 384, 3, padding=2, dilation=2, groups=384, bias=false)");
  CHECK(depthwise(by_8, 14) == "Conv2d(576, 576, 3, padding=2, dilation=2, groups=576, bias=false)");
  CHECK(depthwise(by_8, 15) == "Conv2d(960, 960, 3, padding=4, dilation=4, groups=960, bias=false)");
  CHECK(by_8.output_shape({1, 3, 65, 33}) == Shape{1, 320, 9, 5});
  CHECK(features.output_shape({1, 3, 65, 33}) == Shape{1, 320, 5, 3});
  CHECK(mobilenet_v2_features<float>().output_shape({1, 3, 65, 33}) == Shape{1, 320, 3, 2});
  CHECK_THROWS_WITH_AS(mobilenet_v2({.output_stride = 4}), "mobilenet_v2: output_stride must be 8, 16 or 32, got 4",
                       ValueError);
}

TEST_CASE("DeepLab's head conforms, and images get the same logits anywhere in a batch") {
  CHECK(conforms(PyramidPooling<double>(3, 2), {2, 3, 4, 5}, {.training_differs = true}));
  CHECK(conforms(PyramidPooling<double>(2, 2, {1, 2}), {2, 2, 5, 4}, {.training_differs = true}));
  CHECK(testing::check_batches<float>(deeplab_v3<float>(small()), {3, 20, 33}, {.training_differs = true}) == "");
  auto options = small();
  options.dilations = {6, 12, 18};
  auto net = deeplab_v3<float>(options);
  std::vector<std::string> keys;
  for (const auto& [name, parameter, owner] : parameters(net)) keys.push_back(name);
  CHECK(std::count(keys.begin(), keys.end(), "head.aspp3.0.weight") == 1);
  CHECK(net(Tensor<float>::ones({1, 3, 30, 30})).shape() == Shape{1, 3, 30, 30});
  CHECK_THROWS_AS(net(Tensor<float>::ones({1, 4, 33, 33})), ShapeError);
}

TEST_CASE("pretrained DeepLab segments photographs as PyTorch does, where LAMINA_DATA has them") {
  const char* const data = std::getenv("LAMINA_DATA");
  const std::string photos = std::string(data ? data : "") + "/imagenet/photos/",
                    dir = std::string(data ? data : "") + "/imagenet/deeplab/";
  if (!data || !file_exists(dir + "expected.json")) {
    MESSAGE("no imagenet/deeplab/ in LAMINA_DATA");
    return;
  }
  const Json expected = Json::parse(read_file(dir + "expected.json"));
  auto net = deeplab_v3<float>();
  load_state_dict(net, load_safetensors<float>(dir + expected["weights"].get<std::string>()));  // strictly
  const StateDict<float> logits_257 = load_safetensors<float>(dir + "expected/logits_257.safetensors");
  Index compared = 0;
  for (const auto& [photo, about] : expected["photos"].items()) {
    for (const auto& [form, result] : about["expected"].items()) {
      CAPTURE(photo);
      CAPTURE(form);
      const Tensor<float> image = prepare(photos + photo, form, result["size"]);
      const Tensor<std::uint8_t> classes = read_image(dir + result["file"].get<std::string>());
      const bool exact = photo.ends_with(".png");  // other decoders of JPEG round otherwise
      const Index allowed = exact ? result["pixels_with_a_margin_below"]["0.001"].get<Index>()
                                  : (form == "257"   ? 16
                                     : form == "513" ? 152
                                                     : 202);
      CHECK(differing(net(image), classes) <= allowed);
      CHECK(differing(compile(net, image.shape())(image), classes) <= allowed);
      ++compared;
      if (form != "257") continue;
      const auto entry =
          std::find_if(logits_257.begin(), logits_257.end(), [&](const auto& named) { return named.first == photo; });
      REQUIRE(entry != logits_257.end());
      const auto& wanted = std::get<Tensor<float>>(entry->second);
      const Tensor<float> coarse = net.net(image)[0];
      REQUIRE(coarse.shape() == wanted.shape());
      CHECK((coarse.array() - wanted.array()).abs().maxCoeff() < (exact ? 1e-4f : 1.f));
    }
  }
  CHECK(compared == 33);
}
