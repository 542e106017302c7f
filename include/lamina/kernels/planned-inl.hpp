#pragma once

#include <limits>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/kernels/blocked_convolution.hpp"
#include "lamina/kernels/blocked_depthwise.hpp"
#include "lamina/kernels/blocked_winograd.hpp"
#include "lamina/kernels/convolution-inl.hpp"
#include "lamina/kernels/finished_linear.hpp"
#include "lamina/kernels/planned.hpp"

/// The kernels of planned inference by those of these headers.
namespace lamina::kernels::inline LAMINA_ISA::detail {

/// What BlockedConvolution, BlockedWinograd and BlockedDepthwise have in common.
template <class Kernel, class T>
class Blocked : public BlockedKernel<T> {
 public:
  template <class... Arguments>
  explicit Blocked(const Arguments&... arguments) : kernel_(arguments...) {}
  Index filters_size() const final { return kernel_.filters_size(); }
  void pack_filters(const T* weight, T* filters) const final { kernel_.pack_filters(weight, filters); }
  Index scratch() const final { return kernel_.scratch(); }

 protected:
  Kernel kernel_;
};

template <class T>
struct PlannedConvolution final : Blocked<BlockedConvolution<T>, T> {
  using Blocked<BlockedConvolution<T>, T>::Blocked;
  Index units(Index n, Index) const override { return this->kernel_.units(n); }
  void run(Index, Index unit, const BlockedWork<T>& work) const override {
    this->kernel_.run(unit, work.x, work.intake, work.filters, work.y, work.finish, work.scratch);
  }
};

template <class T>
struct PlannedWinograd final : Blocked<BlockedWinograd<T>, T> {
  using Blocked<BlockedWinograd<T>, T>::Blocked;
  Index phases() const override { return this->kernel_.phases(); }
  Index units(Index n, Index phase) const override { return this->kernel_.units(n, phase); }
  Index shared(Index n) const override { return this->kernel_.shared(n); }
  void run(Index phase, Index unit, const BlockedWork<T>& work) const override {
    this->kernel_.run(phase, unit, work.x, work.filters, work.y, work.finish, work.shared, work.scratch);
  }
};

template <class T>
struct PlannedDepthwise final : Blocked<BlockedDepthwise<T>, T> {
  using Blocked<BlockedDepthwise<T>, T>::Blocked;
  Index units(Index n, Index) const override { return this->kernel_.units(n); }
  void run(Index, Index unit, const BlockedWork<T>& work) const override {
    this->kernel_.run(unit, work.x, work.filters, work.y, work.finish, work.means, work.means_sample, work.scratch);
  }
};

/// FinishedLinear with its weights as they are stored.
template <class T>
class PlannedLinear final : public LinearKernel<T> {
 public:
  PlannedLinear(Index in, Index out, const T* weight, bool narrow) : kernel_(in, out) {
    Tensor<T> filters({kernel_.filters_size()});
    kernel_.pack_filters(weight, filters.data());
    if constexpr (std::is_same_v<T, float>)
      if (narrow) {
        std::vector<BFloat16> halves(static_cast<std::size_t>(filters.numel()));
        parallel_for(0, filters.numel(), Index{1} << 16, [&, from = std::as_const(filters).data()](Index i, Index end) {
          for (; i < end; ++i) halves[static_cast<std::size_t>(i)] = BFloat16::from(from[i]);
        });
        filters_ = std::move(halves);
        return;
      }
    filters_ = std::move(filters);
  }
  Index units(Index rows) const override { return kernel_.units(rows); }
  Index scratch() const override { return kernel_.scratch(); }
  void run(Index unit, Index rows, const T* x, T* y, const Finish<T>& finish, T* scratch) const override {
    if constexpr (std::is_same_v<T, float>)
      if (const auto* narrow = std::get_if<1>(&filters_))
        return kernel_.run(unit, rows, x, narrow->data(), y, finish, scratch);
    kernel_.run(unit, rows, x, std::get<0>(filters_).data(), y, finish, scratch);
  }

 private:
  FinishedLinear<T> kernel_;
  std::variant<Tensor<T>, std::vector<BFloat16>> filters_;
};

}  // namespace lamina::kernels::inline LAMINA_ISA::detail

#ifndef LAMINA_DISPATCHED
namespace lamina::kernels::inline LAMINA_KERNELS {

template <class T>
std::unique_ptr<BlockedKernel<T>> blocked_convolution(const ConvolutionShape& s, bool planar, bool changes) {
  return std::make_unique<detail::PlannedConvolution<T>>(s, planar, changes);
}

template <class T>
std::unique_ptr<BlockedKernel<T>> blocked_winograd(const ConvolutionShape& s, ConvolutionMethod method) {
  return std::make_unique<detail::PlannedWinograd<T>>(detail::tile_for<T>(method), s);
}

template <class T>
std::unique_ptr<BlockedKernel<T>> blocked_depthwise(const ConvolutionShape& s, bool whole) {
  return std::make_unique<detail::PlannedDepthwise<T>>(s, whole);
}

template <class T>
std::unique_ptr<LinearKernel<T>> finished_linear(Index in, Index out, const T* weight, bool narrow) {
  return std::make_unique<detail::PlannedLinear<T>>(in, out, weight, narrow);
}

template <class T>
void intake_pass(const Intake<T>& intake, Index sample, Index block, Index pixels, const T* x, T* y) {
  change(intake, sample, block, pixels, x, y);
}

template <class T>
void blocked_max_pool(const WindowAxis& rows, const WindowAxis& columns, const T* x, T* y) {
  detail::max_pool_block<T, const void>(rows, columns, x, y, nullptr);
}

template <class T>
void blocked_avg_pool(const std::vector<Span>& rows, const std::vector<Span>& columns, Index w, Index sample,
                      Index block, const Intake<T>& intake, const T* x, T* y) {
  using Pack = simd::Pack<T>;
  constexpr Index width = simd::width<T>;
  alignas(64) T changed[16 * width];
  for (const Span& row : rows)
    for (const Span& column : columns) {
      Pack sum(T(0)), other(T(0));
      for (Index i = row.first; i < row.last; ++i)
        for (Index j = column.first; j < column.last; j += 16) {
          const Index count = std::min<Index>(16, column.last - j);
          const T* from = x + (i * w + j) * width;
          if (intake) {
            change(intake, sample, block, count, from, changed);
            from = changed;
          }
          Index p = 0;
          for (; p + 2 <= count; p += 2) {
            sum += Pack::load(from + p * width);
            other += Pack::load(from + (p + 1) * width);
          }
          if (p < count) sum += Pack::load(from + p * width);
        }
      ((sum + other) * Pack(T(1) / static_cast<T>(row.divisor * column.divisor))).store(y);
      y += width;
    }
}

template <class T>
void finish_pass(Index n, const T* x, const T* residual, const Finish<T>& finish, T* y) {
  map_run(n, y, [&](auto load) {
    auto v = load(x);
    if (residual) v += load(residual);
    return clamped(finish, v);
  });
  if (finish.activation) finish.activation(y, n);
}

}  // namespace lamina::kernels::inline LAMINA_KERNELS
#endif
