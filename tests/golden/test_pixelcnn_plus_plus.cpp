#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/models/pixelcnn_plus_plus.hpp"

using namespace lamina;
using testing::Golden;

TEST_CASE_TEMPLATE("PixelCNN++ as the authors'", S, float, double) {
  Golden<S> golden("pixelcnn_plus_plus");
  CHECK(golden.layer("concat_elu", ConcatELU<S>()));
  CHECK(golden.layer("shift", Shift2d<S>({.down = 2, .right = 1})));
  CHECK(golden.layer("weight_norm/conv", WeightNorm<Conv2d<S>>(Conv2d<S>(2, 3, {2, 3}, {.stride = 2, .padding = 1}))));
  CHECK(golden.layer("weight_norm/transposed",
                     WeightNorm<ConvTranspose2d<S>>(ConvTranspose2d<S>(3, 2, {2, 3}, {.stride = 2}))));
  CHECK(golden.layer("network", PixelCNNPlusPlus<S>({.resnets = 1, .filters = 3, .mixtures = 2, .dropout = 0}), 10));
  CHECK(golden.layer(
      "network/grey",
      PixelCNNPlusPlus<S>({.channels = 1, .resnets = 2, .filters = 2, .mixtures = 3, .classes = 2, .dropout = 0}), 10));
  for (const char* name : {"logistic/colour", "logistic/grey", "logistic/vanishing"})
    CHECK(golden.loss(name, [&](const Tensor<S>& x) {
      return logistic_mixture_loss(x, golden.labels(std::string(name) + "/target"));
    }));
  CHECK(golden.untested() == "");
}
