#pragma once

#include <utility>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/convolution_shape.hpp"
#include "lamina/kernels/layout.hpp"

/// Convolution, its gradients, and which of the kernels does them.
namespace lamina::kernels {

/// The ways to compute a convolution.
enum class ConvolutionMethod {
  sweep,       ///< sweep.hpp: pixels in vectors; for few channels
  direct,      ///< direct.hpp: channels in vectors
  depthwise,   ///< depthwise.hpp: groups = C = M
  winograd_2,  ///< winograd.hpp: F(2x2, 3x3)
  winograd_4,  ///< F(4x4, 3x3)
  winograd_5   ///< F(2x2, 5x5)
};

/// The filters of a convolution as the kernel for a shape reads them.
template <class T>
struct PackedFilters {
  ConvolutionMethod method = ConvolutionMethod::sweep;  ///< the kernel that reads them
  Tensor<T> values = {};                                ///< in its order
};

inline namespace LAMINA_KERNELS {

/// Which method makes y. Measured over 3 to 1024 channels and maps of 7 to 224 pixels, one thread of a Zen 4 at 512
/// bits, in GFLOP/s of the definition's arithmetic (the limit is 115):
///
///   3x3, C -> M, pixels       sweep  direct  F(2x2)  F(4x4)
///   3 -> 64, 56 x 56             83      80      58      74
///   8 -> 16, 56 x 56             92      94      96     107
///   24 -> 24, 28 x 28            92      80     125     172
///   64 -> 64, 56 x 56           104     111     215     330
///   256 -> 256, 14 x 14          97     112     246     320
///   512 -> 512, 7 x 7, N = 1     86     112     192     198
///   512 -> 512, 7 x 7, N = 8     85     110     185     302
///
/// Winograd's filters are transformed once for inference but at every step of training, where F(2x2) would be better
/// for one small image. But then a sample's bits would depend on how many others are in its batch: the method is chosen
/// by the sizes of one. F(2x2, 5x5) makes 266 where direct makes 115 (96 -> 256, 27 x 27), and 68 where direct makes 97
/// (6 -> 16, 10 x 10).
template <class T>
ConvolutionMethod forward_method(const ConvolutionShape& s);

/// Whether this convolution can have x and y, or if it is not depthwise one of them, with their channels in blocks.
template <class T>
bool takes_blocks(const ConvolutionShape& s);

/// Which method makes dx: the same rule for the convolution over dy.
template <class T>
ConvolutionMethod backward_input_method(const ConvolutionShape& s);

/// Which method makes the gradient of the weight. Its sums are as large as the filters, so F(2x2) is better up to more
/// tiles (256 -> 256, 14 x 14, N = 1: 193 against 171; N = 8: 210 against 220; 128 -> 128, 28 x 28: 226 against 319).
template <class T>
ConvolutionMethod backward_weight_method(const ConvolutionShape& s);

/// How many values a step of training takes at most, in one of its three parts, beside images, weight and their
/// gradients and what each thread has for itself: the filters as a kernel reads them, for Winograd's methods several
/// times the weight, or the transforms of images, or sums of the weight's gradient.
template <class T>
Index convolution_memory(const ConvolutionShape& s);

/// The weight [M, C / groups, KH, KW] for convolution_forward.
template <class T>
PackedFilters<T> pack_filters(const ConvolutionShape& s, const T* weight, ConvolutionMethod method);

/// y = x * weight + bias (cross-correlation, as in every framework); bias may be null.
template <class T>
void convolution_forward(const ConvolutionShape& s, const T* x, const PackedFilters<T>& filters, const T* bias, T* y);

/// The same from the weight, for once: the bits are the same.
template <class T>
void convolution_forward(const ConvolutionShape& s, const T* x, const T* weight, const T* bias, T* y,
                         ConvolutionMethod method);

/// dx, the gradient with respect to x.
template <class T>
void convolution_backward_input(const ConvolutionShape& s, const T* dy, const T* weight, T* dx,
                                ConvolutionMethod method);

/// Adds that to dx, if its sums can begin with what is there: dx in blocks, by direct convolution. Otherwise returns
/// false, and does nothing.
template <class T>
bool add_convolution_backward_input(const ConvolutionShape& s, const T* dy, const T* weight, T* dx);

/// Adds the gradients with respect to the weight and, unless null, the bias: dw[m, c, a, b] is the sum over samples and
/// outputs of dy times the pixel that tap (a, b) meets.
template <class T>
void convolution_backward_weight(const ConvolutionShape& s, const T* x, const T* dy, T* dweight, T* dbias,
                                 ConvolutionMethod method);

/// The same for some of the kernel's taps, a list of a KW + b: the weight is [M, C, as many]. One group; bias may be
/// null.
/// @{
template <class T>
void tap_convolution_forward(const ConvolutionShape& s, const std::vector<Index>& taps, const T* x, const T* weight,
                             const T* bias, T* y);
template <class T>
void tap_convolution_backward_input(const ConvolutionShape& s, const std::vector<Index>& taps, const T* dy,
                                    const T* weight, T* dx);
template <class T>
void tap_convolution_backward_weight(const ConvolutionShape& s, const std::vector<Index>& taps, const T* x, const T* dy,
                                     T* dweight);
/// @}

/// By the method that is fastest for this shape.
/// @{
template <class T>
PackedFilters<T> pack_filters(const ConvolutionShape& s, const T* weight) {
  return pack_filters(s, weight, forward_method<T>(s));
}
template <class T>
void convolution_forward(const ConvolutionShape& s, const T* x, const T* weight, const T* bias, T* y) {
  convolution_forward(s, x, weight, bias, y, forward_method<T>(s));
}
template <class T>
void convolution_backward_input(const ConvolutionShape& s, const T* dy, const T* weight, T* dx) {
  convolution_backward_input(s, dy, weight, dx, backward_input_method<T>(s));
}
template <class T>
void convolution_backward_weight(const ConvolutionShape& s, const T* x, const T* dy, T* dweight, T* dbias) {
  convolution_backward_weight(s, x, dy, dweight, dbias, backward_weight_method<T>(s));
}
/// @}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels

#ifndef LAMINA_DISPATCHED
#include "lamina/kernels/convolution-inl.hpp"
#endif
