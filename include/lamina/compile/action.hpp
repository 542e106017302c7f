#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "lamina/compile/place.hpp"
#include "lamina/kernels/planned.hpp"
#include "lamina/nn/options.hpp"

/// Steps as they run: with their kernel chosen, their filters packed and their memory known.
namespace lamina::inline LAMINA_ABI::compiler {

/// A value of a running call: where its elements are (of a root, see Place), how long its first axis is. A layer's
/// result, and an input of the program, is a tensor.
template <class T>
struct Slot {
  T* data = nullptr;                                ///< the first element
  Index batch = 0;                                  ///< the first axis
  Tensor<T> tensor = {};                            ///< if it is one
  std::shared_ptr<const Sequences> sequences = {};  ///< of packed values
};

/// What a running call has: its values and its memory.
template <class T>
struct Call {
  std::vector<Slot<T>> slots;  ///< by number
  T* arena = nullptr;          ///< the plan's own memory

  /// A value by its number.
  /// @{
  Slot<T>& slot(Index id) { return slots[static_cast<std::size_t>(id)]; }
  const Slot<T>& slot(Index id) const { return slots[static_cast<std::size_t>(id)]; }
  /// @}
  /// Where a place is in memory.
  T* at(const Place& place) const { return slot(place.root).data + place.offset; }
  /// The same as images in blocks.
  kernels::BlockedImages<T> images(const Place& place) const { return {at(place), place.sample}; }
};

/// What a step does, in phases, each cut into units that threads may do in any order. The cut depends on the sizes
/// alone. n is the length of the first axis.
template <class T>
class Action {
 public:
  virtual ~Action() = default;
  /// Phases that follow each other.
  virtual Index phases() const { return 1; }
  /// Units of a phase for n samples.
  virtual Index units(Index n, Index phase) const = 0;
  /// Values of memory for a thread, and of memory that lies between the phases for n samples.
  /// @{
  virtual Index scratch() const { return 0; }
  virtual Index shared(Index) const { return 0; }
  /// @}
  /// One unit of a phase, in memory as large as those functions say.
  virtual void run(const Call<T>& call, Index n, Index phase, Index unit, T* shared, T* scratch) const = 0;
};

namespace detail {

/// A vector of values by channel in whole vectors, zeros behind.
template <class T>
Tensor<T> in_whole_vectors(const Tensor<T>& values) {
  const Index pair = 2 * kernels::block_lanes<T>();
  Tensor<T> result = Tensor<T>::zeros({std::max<Index>(1, parts_of(values.numel(), pair)) * pair});
  std::copy_n(values.data(), values.numel(), result.data());
  return result;
}

/// A step's finish, but for what a call knows.
template <class T>
struct FinishOf {
  Tensor<T> bias;
  kernels::Finish<T> finish;
  LayerCopy<T> activation;
  Place residual = {-1};

  FinishOf(const Program<T>& program, const Step<T>& step, bool with_bias) : activation(step.activation) {
    if (with_bias) bias = in_whole_vectors(step.bias);
    finish.bias = with_bias ? std::as_const(bias).data() : nullptr;
    if (step.clamp != lamina::Activation::none) finish.lowest = T(0);
    if (step.clamp == lamina::Activation::relu6) finish.highest = T(6);
    if (activation)
      finish.activation = {
          [](const void* layer, T* y, Index n) { static_cast<const Primitive<T>*>(layer)->apply(y, n); },
          activation.get()};
    if (step.residual >= 0) residual = place_of(program, step.residual);
  }

  kernels::Finish<T> of(const Call<T>& call) const {
    kernels::Finish<T> result = finish;
    if (residual.root >= 0) {
      result.residual = call.at(residual);
      result.residual_sample = residual.sample;
    }
    return result;
  }
};

/// A step's intake, likewise.
template <class T>
struct IntakeOf {
  Tensor<T> scale, shift;
  kernels::Intake<T> intake;
  Place gate = {-1};

  IntakeOf(const Program<T>& program, const Step<T>& step) {
    if (!step.intake_scale.empty()) {
      scale = in_whole_vectors(step.intake_scale);
      shift = in_whole_vectors(step.intake_shift);
      intake.scale = std::as_const(scale).data();
      intake.shift = std::as_const(shift).data();
      intake.relu = step.intake_relu;
    }
    if (step.intake_gate >= 0) gate = place_of(program, step.intake_gate);
  }

  kernels::Intake<T> of(const Call<T>& call) const {
    kernels::Intake<T> result = intake;
    if (gate.root >= 0) {
      result.gate = call.at(gate);
      result.gate_sample = gate.sample;
    }
    return result;
  }
};

/// One group's part of a convolution's sizes.
inline kernels::ConvolutionShape group_of(kernels::ConvolutionShape s) {
  s.c = s.group_c();
  s.m = s.group_m();
  s.groups = 1;
  return s;
}

/// The kernel of a convolution's step.
template <class T>
std::unique_ptr<kernels::BlockedKernel<T>> kernel_of(const Program<T>& program, const Step<T>& step) {
  using kernels::ConvolutionMethod;
  switch (step.method) {
    case Method::depthwise:
      return kernels::blocked_depthwise<T>(step.shape, step.mean >= 0);
    case Method::direct:
      return kernels::blocked_convolution<T>(group_of(step.shape), !program.value(step.inputs[0]).blocked,
                                             step.changes_input());
    default:
      return kernels::blocked_winograd<T>(group_of(step.shape),
                                          step.method == Method::winograd_5   ? ConvolutionMethod::winograd_5
                                          : step.method == Method::winograd_4 ? ConvolutionMethod::winograd_4
                                                                              : ConvolutionMethod::winograd_2);
  }
}

/// A convolution in blocks, one group after the other; a depthwise one is of one piece.
template <class T>
class ConvolutionAction final : public Action<T> {
 public:
  ConvolutionAction(const Program<T>& program, const Step<T>& step)
      : s_(step.shape),
        groups_(step.method == Method::depthwise ? 1 : s_.groups),
        kernel_(kernel_of(program, step)),
        x_(place_of(program, step.inputs[0])),
        y_(place_of(program, step.outputs[0])),
        finish_(program, step, true),
        intake_(program, step),
        filters_({groups_, kernel_->filters_size()}) {
    if (step.mean >= 0) mean_ = place_of(program, step.mean);
    for (Index g = 0; g < groups_; ++g)
      kernel_->pack_filters(step.weight.data() + g * s_.group_weight(), filters_.data() + g * kernel_->filters_size());
  }
  Index phases() const override { return kernel_->phases(); }
  Index units(Index n, Index phase) const override { return groups_ * kernel_->units(n, phase); }
  Index scratch() const override { return kernel_->scratch(); }
  Index shared(Index n) const override { return groups_ * kernel_->shared(n); }
  void run(const Call<T>& call, Index n, Index phase, Index unit, T* shared, T* scratch) const override {
    const Index units = kernel_->units(n, phase), g = unit / units;
    kernels::BlockedWork<T> work{call.images(x_),
                                 intake_.of(call),
                                 filters_.data() + g * kernel_->filters_size(),
                                 call.images(y_),
                                 finish_.of(call),
                                 mean_.root >= 0 ? call.at(mean_) : nullptr,
                                 mean_.sample,
                                 shared + g * kernel_->shared(n),
                                 scratch};
    work.x.data += g * s_.group_x();
    work.y.data += g * s_.group_y();
    work.finish.bias += g * s_.group_m();
    if (work.finish.residual) work.finish.residual += g * s_.group_y();
    kernel_->run(phase, unit % units, work);
  }

 private:
  kernels::ConvolutionShape s_;
  Index groups_;
  std::unique_ptr<kernels::BlockedKernel<T>> kernel_;
  Place x_, y_, mean_{-1};
  FinishOf<T> finish_;
  IntakeOf<T> intake_;
  Tensor<T> filters_;
};

template <class T>
class LinearAction final : public Action<T> {
 public:
  LinearAction(const Program<T>& program, const Step<T>& step, bool narrow)
      : kernel_(kernels::finished_linear(step.weight.dim(1), step.weight.dim(0), step.weight.data(), narrow)),
        each_(sample_size<T>(program.value(step.outputs[0])) / step.weight.dim(0)),
        x_(place_of(program, step.inputs[0])),
        y_(place_of(program, step.outputs[0])),
        finish_(program, step, true) {}
  Index units(Index n, Index) const override { return kernel_->units(n * each_); }
  Index scratch() const override { return kernel_->scratch(); }
  void run(const Call<T>& call, Index n, Index, Index unit, T*, T* scratch) const override {
    kernel_->run(unit, n * each_, call.at(x_), call.at(y_), finish_.of(call), scratch);
  }

 private:
  std::unique_ptr<kernels::LinearKernel<T>> kernel_;
  Index each_;  // rows of a sample
  Place x_, y_;
  FinishOf<T> finish_;
};

/// Norms, activations, sums and gates that stand alone; in blocks, or activations and sums in rows.
template <class T>
class ElementwiseAction final : public Action<T> {
 public:
  ElementwiseAction(const Program<T>& program, const Step<T>& step)
      : blocked_(program.value(step.outputs[0]).blocked),
        size_(sample_size<T>(program.value(step.outputs[0]))),
        x_(place_of(program, step.inputs[0])),
        y_(place_of(program, step.outputs[0])),
        finish_(program, step, false),
        intake_(program, step) {
    const Shape& shape = program.value(step.outputs[0]).shape;
    blocks_ = blocked_ ? parts_of(shape[1], lanes_) : std::max<Index>(1, parts_of(size_, Index{1} << 13));
    each_ = blocked_ ? shape[2] * shape[3] * lanes_ : parts_of(size_, blocks_);
    if (step.kind == StepKind::add) other_ = place_of(program, step.inputs[1]);
    if (step.kind == StepKind::gate) intake_.gate = place_of(program, step.inputs[1]);
    if (step.kind == StepKind::norm) {
      Step<T> as_intake{step.kind, {}, {}, {}};
      as_intake.intake_scale = step.weight;
      as_intake.intake_shift = step.bias;
      intake_ = IntakeOf<T>(program, as_intake);
    }
  }
  Index units(Index n, Index) const override { return n * blocks_; }
  void run(const Call<T>& call, Index, Index, Index unit, T*, T*) const override {
    const Index n = unit / blocks_, block = unit % blocks_, at = block * each_;
    const Index count = std::min(each_, size_ - at);
    if (count <= 0) return;
    const T* x = call.at(x_) + n * x_.sample + at;
    T* const y = call.at(y_) + n * y_.sample + at;
    if (const auto intake = intake_.of(call)) {
      kernels::intake_pass(intake, n, block, count / lanes_, x, y);
      x = y;
    }
    kernels::finish_pass(count, x, other_.root >= 0 ? call.at(other_) + n * other_.sample + at : nullptr,
                         finish_.of(call), y);
  }

 private:
  bool blocked_;
  Index lanes_ = kernels::block_lanes<T>();
  Index size_, blocks_, each_;
  Place x_, y_, other_{-1};
  FinishOf<T> finish_;
  IntakeOf<T> intake_;
};

/// Passes over one block of channels at a time: pooling, copies into a concatenation, the way into blocks and back.
template <class T>
class BlockAction final : public Action<T> {
 public:
  BlockAction(const Program<T>& program, const Step<T>& step)
      : kind_(step.kind),
        shape_(program.value(step.inputs[0]).shape),
        windows_(step.windows),
        spans_(step.spans),
        y_(place_of(program, step.outputs[0])),
        intake_(program, step) {
    const Shape& y = program.value(step.outputs[0]).shape;
    const Index in = shape_.product(2, shape_.rank()), out = y.product(2, y.rank());
    Index channel = 0;
    for (Index id : step.inputs) {
      const ProgramValue& x = program.value(id);
      const bool there = kind_ == StepKind::concat && x.whole == step.outputs[0] && x.channel == channel;
      for (Index c = 0; c < x.shape[1] && !there; c += lanes_)
        parts_.push_back({place_of(program, id), c * in, (channel + c) * out, std::min(lanes_, x.shape[1] - c)});
      channel += x.shape[1];
    }
  }
  Index units(Index n, Index) const override { return n * static_cast<Index>(parts_.size()); }
  void run(const Call<T>& call, Index, Index, Index unit, T*, T*) const override {
    const Index parts = static_cast<Index>(parts_.size()), n = unit / parts;
    const Part& part = parts_[static_cast<std::size_t>(unit % parts)];
    const T* const x = call.at(part.x) + n * part.x.sample + part.from;
    T* const y = call.at(y_) + n * y_.sample + part.to;
    const Index pixels = shape_.product(2, shape_.rank());
    switch (kind_) {
      case StepKind::max_pool:
        return kernels::blocked_max_pool(windows_[0], windows_[1], x, y);
      case StepKind::average_pool:
        return kernels::blocked_avg_pool(spans_[0], spans_[1], shape_[3], n, unit % parts, intake_.of(call), x, y);
      case StepKind::to_blocked:
        return kernels::plane_to_block(pixels, part.channels, x, y);
      case StepKind::to_planar:
        return kernels::block_to_plane(pixels, part.channels, x, y);
      default:
        std::copy_n(x, pixels * lanes_, y);
    }
  }

 private:
  struct Part {
    Place x;
    Index from, to, channels;
  };
  StepKind kind_;
  Index lanes_ = kernels::block_lanes<T>();
  Shape shape_;
  std::vector<kernels::WindowAxis> windows_;
  std::vector<std::vector<kernels::Span>> spans_;
  Place y_;
  IntakeOf<T> intake_;
  std::vector<Part> parts_;
};

}  // namespace detail

/// The action of a step; null for a layer, a view, or a convolution in planes, which plan.hpp runs.
template <class T>
std::unique_ptr<Action<T>> action_of(const Program<T>& program, const Step<T>& step, bool narrow_weights) {
  switch (step.kind) {
    case StepKind::convolution:
      if (step.method == Method::planar) return nullptr;
      return std::make_unique<detail::ConvolutionAction<T>>(program, step);
    case StepKind::linear:
      return std::make_unique<detail::LinearAction<T>>(program, step, narrow_weights);
    case StepKind::norm:
    case StepKind::activation:
    case StepKind::add:
    case StepKind::gate:
      return std::make_unique<detail::ElementwiseAction<T>>(program, step);
    case StepKind::max_pool:
    case StepKind::average_pool:
    case StepKind::concat:
    case StepKind::to_blocked:
    case StepKind::to_planar:
      return std::make_unique<detail::BlockAction<T>>(program, step);
    default:
      return nullptr;
  }
}

}  // namespace lamina::inline LAMINA_ABI::compiler
