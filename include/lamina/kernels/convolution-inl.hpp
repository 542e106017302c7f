#pragma once

#include <utility>

#include "lamina/kernels/blocked_depthwise.hpp"
#include "lamina/kernels/convolution.hpp"
#include "lamina/kernels/depthwise.hpp"
#include "lamina/kernels/dilation.hpp"
#include "lamina/kernels/direct.hpp"
#include "lamina/kernels/layout-inl.hpp"
#include "lamina/kernels/narrow_convolution.hpp"
#include "lamina/kernels/sweep.hpp"
#include "lamina/kernels/winograd.hpp"

/// Convolution by the kernels of these headers.
namespace lamina::kernels::inline LAMINA_ISA {

namespace detail {
/// Whether a method of Winograd's exists and beats the direct sum, from so many channels of input and output on. The
/// tiles of a dilated convolution's phases hang over the ends of many small images: a third of what they make must be
/// asked for.
template <class T>
bool suits_winograd(const ConvolutionShape& s, Index fewest_c, Index fewest_m) {
  const bool exists = s.kh == s.kw && (s.kh == 3 || s.kh == 5) && s.sh == 1 && s.sw == 1 &&
                      std::min({s.top, s.bottom, s.left, s.right}) >= 0 && s.group_c() >= fewest_c &&
                      s.group_m() >= fewest_m;
  const Index side = s.kh == 3 ? 4 : 2;
  return exists && (!dilated(s) || 3 * s.n * s.oh() * s.ow() >= winograd_tiles(s, side) * side * side);
}

/// F(4x4, 3x3) or, for few tiles, F(2x2, 3x3), whose filters are less than half as large.
inline ConvolutionMethod winograd_method(const ConvolutionShape& s, Index few_tiles) {
  if (s.kh == 5) return ConvolutionMethod::winograd_5;
  return winograd_tiles(s, 4) < few_tiles ? ConvolutionMethod::winograd_2 : ConvolutionMethod::winograd_4;
}

inline bool is_winograd(ConvolutionMethod method) {
  return method == ConvolutionMethod::winograd_2 || method == ConvolutionMethod::winograd_4 ||
         method == ConvolutionMethod::winograd_5;
}
}  // namespace detail

namespace detail {
template <class T>
const WinogradTile<T>& tile_for(ConvolutionMethod method) {
  return method == ConvolutionMethod::winograd_2   ? winograd_tile<T, 2, 3>()
         : method == ConvolutionMethod::winograd_4 ? winograd_tile<T, 4, 3>()
                                                   : winograd_tile<T, 2, 5>();
}

/// f(kernel) for the kernel that makes y, or dx.
template <class T, class F>
void with_forward(ConvolutionMethod method, const ConvolutionShape& s, F f) {
  if (method == ConvolutionMethod::direct)
    f(DirectConvolution<T>::forward(s));
  else
    f(Winograd<T>::forward(tile_for<T>(method), s));
}
template <class T, class F>
void with_backward_input(ConvolutionMethod method, const ConvolutionShape& s, F f) {
  if (method == ConvolutionMethod::direct)
    f(DirectConvolution<T>::backward_input(s));
  else
    f(Winograd<T>::backward_input(tile_for<T>(method), s));
}

/// Images in blocks as planes, for a kernel that takes no others.
template <class T>
Tensor<T> planes_of(Index n, Index channels, Index pixels, const T* images) {
  Tensor<T> planes({n, channels, pixels});
  blocks_to_planes(n, channels, pixels, images, planes.data());
  return planes;
}

/// f(s, x) for the convolution whose x is in planes; likewise with y, which is read.
/// @{
template <class T, class F>
void with_planar_x(ConvolutionShape s, const T* x, F f) {
  if (!s.blocked_x) return f(s, x);
  const Tensor<T> planes = planes_of(s.n, s.c, s.h * s.w, x);
  s.blocked_x = false;
  f(s, planes.data());
}
template <class T, class F>
void with_planar_y(ConvolutionShape s, const T* y, F f) {
  if (!s.blocked_y) return f(s, y);
  const Tensor<T> planes = planes_of(s.n, s.m, s.oh() * s.ow(), y);
  s.blocked_y = false;
  f(s, planes.data());
}
/// @}

/// A dilated convolution in phases.
template <class T>
struct Phases {
  explicit Phases(const ConvolutionShape& s) : whole(s), shape(phases_of(s)) {}

  Tensor<T> split_x(const T* x) const {
    Tensor<T> result({shape.n, shape.c, shape.h, shape.w});
    split_phases(PhaseGrid::of_x(whole), whole.n, whole.c, x, result.data());
    return result;
  }
  Tensor<T> split_y(const T* y) const {
    Tensor<T> result({shape.n, shape.m, shape.oh(), shape.ow()});
    split_phases(PhaseGrid::of_y(whole), whole.n, whole.m, y, result.data());
    return result;
  }

  ConvolutionShape whole, shape;
};

}  // namespace detail

/// The weight [M, C / groups, KH, KW] as a kernel for one group reads it, one group after the other.
template <class Kernel, class T>
Tensor<T> pack_groups(const Kernel& kernel, const ConvolutionShape& s, const T* weight) {
  Tensor<T> packed({s.groups, kernel.filters_size()});
  for (Index g = 0; g < s.groups; ++g)
    kernel.pack_filters(weight + g * s.group_weight(), packed.data() + g * kernel.filters_size());
  return packed;
}

}  // namespace lamina::kernels::inline LAMINA_ISA

#ifndef LAMINA_DISPATCHED
namespace lamina::kernels::inline LAMINA_KERNELS {

template <class T>
bool takes_blocks(const ConvolutionShape& s) {
  if (s.depthwise()) return is_blocked_depthwise(s);
  const bool apart =
      dilated(s) && (detail::is_winograd(forward_method<T>(s)) || detail::is_winograd(backward_input_method<T>(s)) ||
                     detail::is_winograd(backward_weight_method<T>(s)));
  return s.groups == 1 && !apart;
}

template <class T>
ConvolutionMethod forward_method(const ConvolutionShape& s) {
  if (s.depthwise()) return ConvolutionMethod::depthwise;
  if (detail::suits_winograd<T>(s, s.kh == 3 ? 8 : 16, simd::width<T>))
    return s.kh == 5 ? ConvolutionMethod::winograd_5 : ConvolutionMethod::winograd_4;
  return fills_vectors<T>(s.group_m()) || s.blocked_y ? ConvolutionMethod::direct : ConvolutionMethod::sweep;
}

template <class T>
ConvolutionMethod backward_input_method(const ConvolutionShape& s) {
  if (s.depthwise()) return ConvolutionMethod::depthwise;
  if (s.sh == 1 && s.sw == 1) return forward_method<T>(transposed(s));
  return fills_vectors<T>(s.group_c()) || s.blocked_x ? ConvolutionMethod::direct : ConvolutionMethod::sweep;
}

template <class T>
ConvolutionMethod backward_weight_method(const ConvolutionShape& s) {
  if (s.depthwise()) return ConvolutionMethod::depthwise;
  if (detail::suits_winograd<T>(s, 16, 16)) return detail::winograd_method(s, 32);
  const bool direct = s.blocked_x || fills_vectors<T>(s.group_c()) ||
                      (s.group_c() >= 6 && s.group_c() < s.group_m() && fills_vectors<T>(s.group_m()));
  return direct ? ConvolutionMethod::direct : ConvolutionMethod::sweep;
}

template <class T>
Index convolution_memory(const ConvolutionShape& s) {
  using detail::is_winograd;
  const auto packed = [&](const auto& kernel) {
    if constexpr (requires { kernel.once_size(); })
      return dilated(s) ? s.groups * kernel.filters_size() : kernel.once_size();
    else
      return s.groups * kernel.filters_size();
  };
  const auto computes = [](ConvolutionMethod method) {
    return method == ConvolutionMethod::direct || is_winograd(method);
  };
  Index most = s.groups * s.group_weight();
  const auto take = [&](Index size) { most = std::max(most, size); };
  if (const auto method = forward_method<T>(s); computes(method))
    detail::with_forward<T>(method, s, [&](const auto& kernel) { take(packed(kernel)); });
  if (const auto method = backward_input_method<T>(s); computes(method))
    detail::with_backward_input<T>(method, s, [&](const auto& kernel) { take(packed(kernel)); });
  if (const auto method = backward_weight_method<T>(s); computes(method))
    detail::with_forward<T>(method, s, [&](const auto& kernel) { take(kernel.gradient_size()); });
  return most;
}

template <class T>
PackedFilters<T> pack_filters(const ConvolutionShape& s, const T* weight, ConvolutionMethod method) {
  if (method == ConvolutionMethod::sweep) return {method, pack_sweep_filters(s, weight)};
  if (method == ConvolutionMethod::depthwise)
    return {method, Tensor<T>({s.m, s.taps()}, std::span(weight, static_cast<std::size_t>(s.m * s.taps())))};
  Tensor<T> packed;
  detail::with_forward<T>(method, s, [&](const auto& kernel) { packed = pack_groups(kernel, s, weight); });
  return {method, std::move(packed)};
}

template <class T>
void convolution_forward(const ConvolutionShape& s, const T* x, const PackedFilters<T>& filters, const T* bias, T* y) {
  if (dilated(s) && detail::is_winograd(filters.method)) {
    const detail::Phases<T> phases(s);
    const Tensor<T> in = phases.split_x(x);
    Tensor<T> out({phases.shape.n, s.m, phases.shape.oh(), phases.shape.ow()});
    convolution_forward(phases.shape, in.data(), filters, bias, out.data());
    return join_phases(PhaseGrid::of_y(s), s.n, s.m, std::as_const(out).data(), y);
  }
  const T* const packed = filters.values.data();
  if (filters.method == ConvolutionMethod::sweep)
    return detail::with_planar_x(s, x,
                                 [&](const auto& planar, const T* in) { sweep_forward(planar, in, packed, bias, y); });
  if (filters.method == ConvolutionMethod::depthwise)
    return blocked(s) ? blocked_depthwise_forward(s, x, packed, bias, y) : depthwise_forward(s, x, packed, bias, y);
  detail::with_forward<T>(filters.method, s, [&](const auto& kernel) {
    for (Index g = 0; g < s.groups; ++g)
      kernel.run(x + g * s.group_x(), packed + g * kernel.filters_size(), y + g * s.group_y(),
                 bias ? bias + g * s.group_m() : nullptr);
  });
}

template <class T>
void convolution_forward(const ConvolutionShape& s, const T* x, const T* weight, const T* bias, T* y,
                         ConvolutionMethod method) {
  if (!detail::is_winograd(method) || dilated(s))
    return convolution_forward(s, x, pack_filters(s, weight, method), bias, y);
  const auto kernel = Winograd<T>::forward(detail::tile_for<T>(method), s);
  for (Index g = 0; g < s.groups; ++g)
    kernel.run_once(x + g * s.group_x(), weight + g * s.group_weight(), y + g * s.group_y(),
                    bias ? bias + g * s.group_m() : nullptr);
}

template <class T>
void convolution_backward_input(const ConvolutionShape& s, const T* dy, const T* weight, T* dx,
                                ConvolutionMethod method) {
  if (dilated(s) && detail::is_winograd(method)) {
    const detail::Phases<T> phases(s);
    const Tensor<T> gradient = phases.split_y(dy);
    Tensor<T> out({phases.shape.n, s.c, phases.shape.h, phases.shape.w});
    convolution_backward_input(phases.shape, gradient.data(), weight, out.data(), method);
    return join_phases(PhaseGrid::of_x(s), s.n, s.c, std::as_const(out).data(), dx);
  }
  if (method == ConvolutionMethod::sweep)
    return detail::with_planar_y(
        s, dy, [&](const auto& planar, const T* gradient) { sweep_backward_input(planar, gradient, weight, dx); });
  if (method == ConvolutionMethod::depthwise)
    return blocked(s) ? blocked_depthwise_backward_input(s, dy, weight, dx)
                      : depthwise_backward_input(s, dy, weight, dx);
  detail::with_backward_input<T>(method, s, [&](const auto& kernel) {
    for (Index g = 0; g < s.groups; ++g)
      kernel.run_once(dy + g * s.group_y(), weight + g * s.group_weight(), dx + g * s.group_x(), nullptr);
  });
}

template <class T>
bool add_convolution_backward_input(const ConvolutionShape& s, const T* dy, const T* weight, T* dx) {
  if (!s.blocked_x || backward_input_method<T>(s) != ConvolutionMethod::direct) return false;
  const auto kernel = DirectConvolution<T>::backward_input(s);
  for (Index g = 0; g < s.groups; ++g)
    kernel.run_once(dy + g * s.group_y(), weight + g * s.group_weight(), dx + g * s.group_x(), nullptr, true);
  return true;
}

template <class T>
void convolution_backward_weight(const ConvolutionShape& s, const T* x, const T* dy, T* dweight, T* dbias,
                                 ConvolutionMethod method) {
  if (dilated(s) && detail::is_winograd(method)) {
    const detail::Phases<T> phases(s);
    const Tensor<T> in = phases.split_x(x), gradient = phases.split_y(dy);
    return convolution_backward_weight(phases.shape, in.data(), gradient.data(), dweight, dbias, method);
  }
  if (narrow_backward_weight(s, x, dy, dweight, dbias)) return;
  if (method == ConvolutionMethod::sweep)
    return detail::with_planar_y(s, dy, [&](const auto& planar, const T* gradient) {
      sweep_backward_weight(planar, x, gradient, dweight, dbias);
    });
  if (method == ConvolutionMethod::depthwise)
    return blocked(s) ? blocked_depthwise_backward_weight(s, x, dy, dweight, dbias)
                      : depthwise_backward_weight(s, x, dy, dweight, dbias);
  detail::with_forward<T>(method, s, [&](const auto& kernel) {
    for (Index g = 0; g < s.groups; ++g)
      kernel.backward_weight(x + g * s.group_x(), dy + g * s.group_y(), dweight + g * s.group_weight(),
                             dbias ? dbias + g * s.group_m() : nullptr);
  });
}

template <class T>
void tap_convolution_forward(const ConvolutionShape& s, const std::vector<Index>& taps, const T* x, const T* weight,
                             const T* bias, T* y) {
  DirectConvolution<T>::forward(s, taps).run_once(x, weight, y, bias);
}

template <class T>
void tap_convolution_backward_input(const ConvolutionShape& s, const std::vector<Index>& taps, const T* dy,
                                    const T* weight, T* dx) {
  DirectConvolution<T>::backward_input(s, taps).run_once(dy, weight, dx, nullptr);
}

template <class T>
void tap_convolution_backward_weight(const ConvolutionShape& s, const std::vector<Index>& taps, const T* x, const T* dy,
                                     T* dweight) {
  DirectConvolution<T>::forward(s, taps).backward_weight(x, dy, dweight, nullptr);
}

}  // namespace lamina::kernels::inline LAMINA_KERNELS
#endif
