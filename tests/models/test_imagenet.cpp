#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
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
#include "lamina/models/mobilenet.hpp"
#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/nn/softmax.hpp"
#include "lamina/train/metrics.hpp"

// Pretrained networks on photographs, beside the probabilities that PyTorch gives in float64: imagenet/ of LAMINA_DATA
// has weights, photographs and expected.json.

using namespace lamina;
using Json = nlohmann::json;

namespace {

/// How many of the photographs the network names rightly first, and among its first five.
struct Right {
  int first = 0, five = 0;
  friend bool operator==(const Right&, const Right&) = default;
};

/// The largest difference to the five expected probabilities of each photograph, of infer and of a Plan.
template <class Net>
Right check_photographs(Net net, const std::string& dir, const Json& network, const char* form) {
  load_state_dict(net, load_safetensors<float>(dir + "/" + network["weights"].get<std::string>()));
  const Json& preparation = network["preprocessing"];
  const auto side = preparation["crop"]["side"].get<Index>();
  const Resize resize(preparation["resize"]["shorter_side"].get<Index>());
  const CenterCrop crop(side);
  const Normalize normalize(preparation["mean"].get<std::vector<double>>(),
                            preparation["std"].get<std::vector<double>>());
  const Plan plan = compile(net, {1, 3, side, side});
  Index compared = 0;
  Right right;
  for (const auto& [photo, expected] : network["photos"].items()) {
    CAPTURE(photo);
    // The expected ones are of the pixels that Pillow decodes; other decoders of JPEG round otherwise.
    const double tolerance = photo.ends_with(".png") ? 1e-4 : 1e-2;
    Tensor<float> image = to_float(read_image(dir + "/photos/" + photo, {.channels = 3}));
    image = normalize(crop(resize(std::move(image)))).reshape({1, 3, side, side});
    const Tensor<float> by_plan = softmax(plan(image)), by_infer = softmax(net(image));
    const auto any_right = [&](Index k) {
      const Json& all = expected.at("right");
      return std::any_of(all.begin(), all.end(), [&](const Json& label) {
        return count_correct_top(k, by_infer, Labels({1}, {label.get<std::int32_t>()})).correct == 1;
      });
    };
    right.first += any_right(1);
    right.five += any_right(5);
    for (const Json& entry : expected.at(form)) {
      const auto k = entry["class"].get<Index>();
      const auto probability = entry["probability"].get<double>();
      CHECK(std::abs(static_cast<double>(by_plan.data()[k]) - probability) < tolerance);
      CHECK(std::abs(static_cast<double>(by_infer.data()[k]) - probability) < tolerance);
      ++compared;
    }
  }
  CHECK(compared >= 50);
  return right;
}

}  // namespace

TEST_CASE("pretrained networks give PyTorch's probabilities of photographs, where LAMINA_DATA has them") {
  const char* const data = std::getenv("LAMINA_DATA");
  const std::string dir = std::string(data ? data : "") + "/imagenet";
  if (!data || !file_exists(dir + "/expected.json")) {
    MESSAGE("no imagenet/ in LAMINA_DATA");
    return;
  }
  const Json networks = Json::parse(read_file(dir + "/expected.json"))["networks"];
  const Json &v2 = networks["mobilenet_v2"], &v2_at_225 = networks["mobilenet_v2 at 225"],
             &v1 = networks["mobilenet_v1_075"];
  CHECK(check_photographs(mobilenet_v2<float>({}), dir, v2, "symmetric") == Right{14, 15});
  CHECK(check_photographs(mobilenet_v2<float>({}), dir, v2_at_225, "symmetric") == Right{14, 16});
  CHECK(check_photographs(mobilenet<float>({.width = 0.75}), dir, v1, "symmetric_relu") == Right{12, 13});
  CHECK(check_photographs(mobilenet<float>({.width = 0.75, .relu6 = true}), dir, v1, "symmetric") == Right{13, 15});
  // As TensorFlow trained them.
  CHECK(check_photographs(mobilenet_v2<float>({.same_padding = true}), dir, v2, "tf") == Right{14, 16});
  CHECK(check_photographs(mobilenet_v2<float>({.same_padding = true}), dir, v2_at_225, "tf") == Right{14, 16});
  CHECK(check_photographs(mobilenet<float>({.width = 0.75, .same_padding = true, .relu6 = true}), dir, v1, "tf") ==
        Right{14, 15});
}
