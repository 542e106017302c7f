#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/incremental/likelihood.hpp"
#include "lamina/models/gated_pixelcnn.hpp"

using namespace lamina;
using testing::Golden;

TEST_CASE_TEMPLATE("PixelCNN as in PyTorch", S, float, double) {
  Golden<S> golden("pixelcnn");
  CHECK(golden.layer("masked/A", MaskedConv2d<S>(Mask::A, 1, 4, 7)));
  CHECK(golden.layer("masked/B", MaskedConv2d<S>(Mask::B, 3, 4, 3)));
  CHECK(golden.layer("masked/1x1", MaskedConv2d<S>(Mask::B, 3, 4, 1)));
  CHECK(golden.layer("masked/vertical_A", MaskedConv2d<S>(Mask::vertical_A, 2, 3, 3)));
  CHECK(golden.layer("masked/vertical_B", MaskedConv2d<S>(Mask::vertical_B, 2, 3, 5)));
  CHECK(golden.layer("pixelcnn/norm", pixelcnn<S>({.blocks = 2, .hidden = 4, .levels = 3}), 10));
  CHECK(golden.layer("pixelcnn/plain", pixelcnn<S>({.blocks = 1, .hidden = 3, .levels = 4, .norm = false})));
  CHECK(golden.layer("gated/plain", GatedStack<S>({.blocks = 2, .hidden = 3})));
  CHECK(golden.layer("gated/condition", GatedStack<S>({.blocks = 1, .hidden = 4, .classes = 2})));
  CHECK(golden.loss("loss", [&](const Tensor<S>& x) {
    return pixel_loss(x, golden.labels("loss/target").reshape({3, 1, 2, 5}));
  }));
  CHECK(golden.untested() == "");
}
