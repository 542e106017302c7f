#pragma once

#include <limits>

#include "lamina/kernels/run.hpp"

/// What kernels for planned inference do to values as they read and as they store them, said at run time: one
/// compiled kernel serves every combination of bias, residual sum and activation.
namespace lamina::kernels {

/// An elementwise function of memory, y[i] = f(y[i]): for activations that are more than a clamp.
template <class T>
struct InPlace {
  void (*call)(const void* function, T* y, Index n) = nullptr;  ///< calls the function
  const void* function = nullptr;                               ///< what `call` gets

  /// Whether there is a function.
  explicit operator bool() const { return call != nullptr; }
  /// y[i] = f(y[i]) for i < n.
  void operator()(T* y, Index n) const { call(function, y, n); }
};

/// y = f(min(max(v + bias + residual, lowest), highest)). The clamp is ReLU, ReLU6 or nothing, and is done in
/// registers; f, if there is one, runs over what was stored while it is still in the first-level cache.
template <class T>
struct Finish {
  const T* bias = nullptr;      ///< by output channel, in whole vectors
  const T* residual = nullptr;  ///< laid out as the output, but for the distance of samples
  Index residual_sample = 0;    ///< values from one sample's residual to the next
  /// Of the clamp.
  /// @{
  T lowest = -std::numeric_limits<T>::infinity(), highest = std::numeric_limits<T>::infinity();
  /// @}
  InPlace<T> activation = {};  ///< f, if there is one
};

/// What happens to images in blocks of channels as they are read: v scale + shift, by channel, and then perhaps ReLU
/// (a normalisation that could not be folded); or v gate, by sample and channel (squeeze-and-excitation).
template <class T>
struct Intake {
  const T* scale = nullptr;  ///< by channel
  const T* shift = nullptr;  ///< by channel
  bool relu = false;         ///< behind scale and shift
  const T* gate = nullptr;   ///< by sample and channel
  Index gate_sample = 0;     ///< values from one sample's gates to the next

  /// Whether anything is changed.
  explicit operator bool() const { return scale || gate; }
};

/// Images with their channels in blocks of one vector: pixel p of block b of sample n is the vector at
/// data + n * sample + (b * pixels + p) * width. Lanes beyond the last channel are zero in what is read, anything in
/// what is written.
template <class T>
struct BlockedImages {
  T* data = nullptr;  ///< the first pixel
  Index sample = 0;   ///< values from one sample to the next

  /// The same to read.
  operator BlockedImages<const T>() const requires(!std::is_const_v<T>) { return {data, sample}; }
};

inline namespace LAMINA_ISA {

/// The clamp of a finish; a NaN stays.
template <class T>
simd::Pack<T> clamped(const Finish<T>& finish, simd::Pack<T> v) {
  return min(max(v, finish.lowest), finish.highest);
}

/// y[p] = the change of x[p] for `pixels` pixels of a block of channels of a sample.
template <class T>
void change(const Intake<T>& intake, Index sample, Index block, Index pixels, const T* x, T* y) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  if (intake.gate) {
    const Pack factor = Pack::load(intake.gate + sample * intake.gate_sample + block * width);
    for (Index p = 0; p < pixels; ++p) (Pack::load(x + p * width) * factor).store(y + p * width);
  } else {
    const Pack factor = Pack::load(intake.scale + block * width), term = Pack::load(intake.shift + block * width);
    const Pack least(intake.relu ? T(0) : -std::numeric_limits<T>::infinity());
    for (Index p = 0; p < pixels; ++p)
      max(multiply_add(Pack::load(x + p * width), factor, term), least).store(y + p * width);
  }
}

}  // namespace LAMINA_ISA

}  // namespace lamina::kernels
