#pragma once

#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/container.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/sigmoid.hpp"

namespace lamina::inline LAMINA_ABI {

/// Options of lenet.
struct LeNetOptions {
  Index in_channels = 1;  ///< of the images
  Index classes = 10;     ///< K
};

/// LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, section II.B and figure 2) in today's usual form, "Dive into Deep
/// Learning", section 7.6: images [N, in_channels, 28, 28] -> logits [N, classes]; 61,706 parameters for one channel
/// and ten classes.
///
/// It differs from the paper: 28 x 28 images padded by 2 instead of 32 x 32; the second convolution sees all six maps;
/// plain average pooling without coefficients; the logistic sigmoid instead of a scaled tanh; a linear last layer with
/// cross entropy instead of radial basis functions. Convolution and linear weights are Xavier-uniform.
template <class Scalar = float>
Sequential<Scalar> lenet(const LeNetOptions& options = {}) {
  Sequential<Scalar> net{Conv2d<Scalar>(options.in_channels, 6, 5, {.padding = 2}),
                         Sigmoid<Scalar>(),
                         AvgPool2d<Scalar>(2),
                         Conv2d<Scalar>(6, 16, 5),
                         Sigmoid<Scalar>(),
                         AvgPool2d<Scalar>(2),
                         Flatten<Scalar>(),
                         Linear<Scalar>(16 * 5 * 5, 120),
                         Sigmoid<Scalar>(),
                         Linear<Scalar>(120, 84),
                         Sigmoid<Scalar>(),
                         Linear<Scalar>(84, options.classes)};
  init::weights<Conv2d<Scalar>, Linear<Scalar>>(net, [](Tensor<Scalar>& weight) { init::xavier_uniform(weight); });
  return net;
}

}  // namespace lamina::inline LAMINA_ABI
