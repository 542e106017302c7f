#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "lamina/compile/plan.hpp"
#include "lamina/data/dataset.hpp"
#include "lamina/data/transforms.hpp"
#include "lamina/io/file.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/models/mobilenet.hpp"
#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/nn/softmax.hpp"

// Pretrained networks on photographs, beside the probabilities that PyTorch gives in float64: imagenet/ of LAMINA_DATA
// has weights, photographs and expected.json.

using namespace lamina;
using Json = nlohmann::json;

namespace {

/// The largest difference to the five expected probabilities of each photograph, of infer and of a Plan.
template <class Net>
void check_photographs(Net net, const std::string& dir, const Json& network, const char* form) {
  load_state_dict(net, load_safetensors<float>(dir + "/" + network["weights"].get<std::string>()));
  const Json& preparation = network["preprocessing"];
  const auto side = preparation["crop"]["side"].get<Index>();
  const Resize resize(preparation["resize"]["shorter_side"].get<Index>());
  const CenterCrop crop(side);
  const Normalize normalize(preparation["mean"].get<std::vector<double>>(),
                            preparation["std"].get<std::vector<double>>());
  const Plan plan = compile(net, {1, 3, side, side});
  Index compared = 0;
  for (const auto& [photo, expected] : network["photos"].items()) {
    CAPTURE(photo);
    // The expected ones are of the pixels that Pillow decodes; other decoders of JPEG round otherwise.
    const double tolerance = photo.ends_with(".png") ? 1e-4 : 1e-2;
    Tensor<float> image = to_float(read_image(dir + "/photos/" + photo, {.channels = 3}));
    image = normalize(crop(resize(std::move(image)))).reshape({1, 3, side, side});
    const Tensor<float> by_plan = softmax(plan(image)), by_infer = softmax(net(image));
    for (const Json& entry : expected.at(form)) {
      const auto k = entry["class"].get<Index>();
      const auto probability = entry["probability"].get<double>();
      CHECK(std::abs(static_cast<double>(by_plan.data()[k]) - probability) < tolerance);
      CHECK(std::abs(static_cast<double>(by_infer.data()[k]) - probability) < tolerance);
      ++compared;
    }
  }
  CHECK(compared >= 50);
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
  check_photographs(mobilenet_v2<float>({}), dir, networks["mobilenet_v2"], "symmetric");
  check_photographs(mobilenet_v2<float>({}), dir, networks["mobilenet_v2 at 225"], "symmetric");
  check_photographs(mobilenet<float>({.width = 0.75}), dir, networks["mobilenet_v1_075"], "symmetric_relu");
}
