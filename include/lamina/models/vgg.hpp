#pragma once

#include <array>

#include "lamina/models/blocks.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/local_response_norm.hpp"
#include "lamina/nn/max_pool2d.hpp"

namespace lamina::inline LAMINA_ABI {

/// The columns of the paper's table 1.
enum class Vgg { A, A_LRN, B, C, D, E };

/// Options of vgg.
struct VggOptions {
  Index in_channels = 3;    ///< of the images
  Index classes = 1000;     ///< K
  bool batch_norm = false;  ///< between each convolution and its ReLU
  double width = 1;         ///< factor of the convolutions' channels
  Index hidden = 4096;      ///< units in each of the two hidden layers
  double dropout = 0.5;     ///< of the hidden layers
};

/// VGG (Simonyan and Zisserman 2015, table 1): images [N, in_channels, H, W], made for 224 x 224, at least 32 x 32 ->
/// logits [N, classes]. Every stage ends with a 2x2 pool that halves the image:
///
///   channels    A    A-LRN    B    C          D    E
///   64          1    1, LRN   2    2          2    2    3x3 convolutions
///   128         1    1        2    2          2    2
///   256         2    2        2    2 and 1x1  3    4
///   512         2    2        2    2 and 1x1  3    4
///   512         2    2        2    2 and 1x1  3    4
///   layers      11   11       13   16         16   19
///
/// then the average to 7 x 7 (nothing changes for 224 x 224) and linear layers: hidden, hidden, classes. A, B, D, E are
/// torchvision's vgg11, vgg13, vgg16, vgg19, with batch_norm vgg11_bn and so on: 132,863,336 parameters for A. The
/// listing of "Dive into Deep Learning" is A with {.in_channels = 1, .classes = 10}; for Fashion-MNIST it takes
/// {.width = 0.25}. Initial values are torchvision's.
template <class Scalar = float>
Sequential<Scalar> vgg(Vgg configuration, const VggOptions& options = {}) {
  const bool normalised = configuration == Vgg::A_LRN, with_1x1 = configuration == Vgg::C;
  const std::array<Index, 5> convolutions = [&]() -> std::array<Index, 5> {
    switch (configuration) {
      case Vgg::B:
        return {2, 2, 2, 2, 2};
      case Vgg::C:
      case Vgg::D:
        return {2, 2, 3, 3, 3};
      case Vgg::E:
        return {2, 2, 4, 4, 4};
      default:
        return {1, 1, 2, 2, 2};
    }
  }();

  Sequential<Scalar> features;
  Index in = options.in_channels;
  for (std::size_t stage = 0; stage < 5; ++stage) {
    const Index out = detail::scaled("vgg", std::array<Index, 5>{64, 128, 256, 512, 512}[stage], options.width);
    for (Index i = 0; i < convolutions[stage]; ++i) {
      const Index kernel = with_1x1 && i == 2 ? 1 : 3;
      features.add(Conv2d<Scalar>(in, out, kernel, {.padding = kernel / 2}));
      if (options.batch_norm) features.add(BatchNorm2d<Scalar>(out));
      features.add(ReLU<Scalar>());
      in = out;
    }
    if (normalised && stage == 0) features.add(LocalResponseNorm<Scalar>(5, {.alpha = 5e-4, .beta = 0.75, .k = 2}));
    features.add(MaxPool2d<Scalar>(2));
  }

  Sequential<Scalar> net{
      {"features", std::move(features)},
      {"avgpool", AdaptiveAvgPool2d<Scalar>(7)},
      {"", Flatten<Scalar>()},
      {"classifier",
       Sequential<Scalar>{Linear<Scalar>(in * 7 * 7, options.hidden), ReLU<Scalar>(), Dropout<Scalar>(options.dropout),
                          Linear<Scalar>(options.hidden, options.hidden), ReLU<Scalar>(),
                          Dropout<Scalar>(options.dropout), Linear<Scalar>(options.hidden, options.classes)}}};
  detail::initialise_for_relu(net);
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
