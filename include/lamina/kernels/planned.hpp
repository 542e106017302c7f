#pragma once

#include <memory>
#include <vector>

#include "lamina/core/tensor.hpp"
#include "lamina/kernels/convolution.hpp"
#include "lamina/kernels/finish.hpp"
#include "lamina/kernels/pooling.hpp"

/// The kernels of planned inference: images in blocks of channels (see blocked.hpp), values finished as they are
/// stored. What takes long is cut into units that threads may do in any order; the cut depends on the sizes alone.
namespace lamina::kernels {

/// What a convolution in blocks works on.
template <class T>
struct BlockedWork {
  BlockedImages<const T> x;  ///< images, in blocks or planar
  Intake<T> intake;          ///< changes x
  const T* filters;          ///< as pack_filters has written them
  BlockedImages<T> y;        ///< the results
  Finish<T> finish;          ///< of the results
  T* means = nullptr;        ///< unless null: of each result channel over its pixels, by sample and channel
  Index means_sample = 0;    ///< values from one sample's means to the next
  T* shared = nullptr;       ///< memory between the phases
  T* scratch = nullptr;      ///< memory of the thread
};

/// A convolution of one group from blocks of channels to blocks of channels, in phases that follow each other.
template <class T>
class BlockedKernel {
 public:
  static constexpr Index most_phases = 9;  ///< no more than these
  virtual ~BlockedKernel() = default;
  /// Values that pack_filters writes.
  virtual Index filters_size() const = 0;
  /// The weight [M, C, KH, KW] in the order in which run() reads it.
  virtual void pack_filters(const T* weight, T* filters) const = 0;
  /// Phases, and units of work of one of them for n samples.
  /// @{
  virtual Index phases() const { return 1; }
  virtual Index units(Index n, Index phase) const = 0;
  /// @}
  /// Values of memory that lies between the phases for n samples, and of memory that a thread needs.
  /// @{
  virtual Index shared(Index) const { return 0; }
  virtual Index scratch() const = 0;
  /// @}
  /// One unit of a phase.
  virtual void run(Index phase, Index unit, const BlockedWork<T>& work) const = 0;
};

/// y = x weightᵀ + bias for rows in memory.
template <class T>
class LinearKernel {
 public:
  virtual ~LinearKernel() = default;
  /// Units of work for so many rows.
  virtual Index units(Index rows) const = 0;
  /// Values of memory that a thread needs.
  virtual Index scratch() const = 0;
  /// One unit: x [rows, in], y [rows, out].
  virtual void run(Index unit, Index rows, const T* x, T* y, const Finish<T>& finish, T* scratch) const = 0;
};

inline namespace LAMINA_KERNELS {

/// By the definition. s describes one group. planar: the input is [N, C, H, W]. changes: it is changed as it is read.
template <class T>
std::unique_ptr<BlockedKernel<T>> blocked_convolution(const ConvolutionShape& s, bool planar, bool changes);

/// By Winograd's algorithm of this method. Its intake must be none.
template <class T>
std::unique_ptr<BlockedKernel<T>> blocked_winograd(const ConvolutionShape& s, ConvolutionMethod method);

/// Each channel for itself; the weight is [C, 1, KH, KW]. whole: a unit takes all rows, so that it can find the means.
template <class T>
std::unique_ptr<BlockedKernel<T>> blocked_depthwise(const ConvolutionShape& s, bool whole);

/// Of the weight [out, in], kept in T, or (narrow, for float) rounded to bfloat16.
template <class T>
std::unique_ptr<LinearKernel<T>> finished_linear(Index in, Index out, const T* weight, bool narrow);

/// Passes over one block of channels of one sample, or some of its pixels; x and y are the block's.
/// @{

/// The largest value in each window; a NaN counts as the largest.
template <class T>
void blocked_max_pool(const WindowAxis& rows, const WindowAxis& columns, const T* x, T* y);

/// The average of each window; the block is changed as it is read.
template <class T>
void blocked_avg_pool(const std::vector<Span>& rows, const std::vector<Span>& columns, Index w, Index sample,
                      Index block, const Intake<T>& intake, const T* x, T* y);

/// y = the change of x.
template <class T>
void intake_pass(const Intake<T>& intake, Index sample, Index block, Index pixels, const T* x, T* y);

/// y = f(clamp(x + residual)) for n values; y may be x or the residual, which may be null.
template <class T>
void finish_pass(Index n, const T* x, const T* residual, const Finish<T>& finish, T* y);
/// @}

}  // namespace LAMINA_KERNELS

}  // namespace lamina::kernels

#ifndef LAMINA_DISPATCHED
#include "lamina/kernels/planned-inl.hpp"
#endif
