#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lamina/kernels/convolution_shape.hpp"
#include "lamina/kernels/pooling.hpp"
#include "lamina/nn/graph.hpp"

/// The form in which a network is while it is compiled: steps over values. The passes (fold, fuse, ...) change it; each
/// leaves a program that computes the same.
namespace lamina::inline LAMINA_ABI::compiler {

/// A tensor between two steps. Its first axis may be shorter in a call than here.
struct ProgramValue {
  Shape shape;           ///< for the compiled inputs
  bool blocked = false;  ///< channels in blocks of a vector, see kernels/blocked.hpp; else row-major

  // It lies in another's memory: a branch in its concatenation, from this channel on; a view in what it views; a result
  // in an input that it takes the place of.
  Index whole = -1;   ///< the value in whose memory it lies, or -1
  Index channel = 0;  ///< its first channel there
};

/// The kernel of a convolution.
enum class Method { planar, direct, depthwise, winograd_2, winograd_4, winograd_5 };

/// What a step does.
enum class StepKind {
  convolution,   ///< weight [M, C / groups, KH, KW], bias
  linear,        ///< weight [out, in], bias
  norm,          ///< y = x scale + shift by channel: weight and bias hold them
  activation,    ///< finish alone
  add,           ///< of two values of the same shape
  gate,          ///< x [N, C, H, W] times g [N, C, 1, 1]
  max_pool,      ///
  average_pool,  ///
  concat,        ///< along the channels
  view,          ///< the same elements under another shape
  layer,         ///< anything else: runs as its layer does
  to_blocked,
  to_planar,
};
/// In words, for reports.
inline const char* name_of(StepKind kind) {
  static constexpr const char* names[] = {"convolution", "linear",    "norm",     "activation", "add",
                                          "gate",        "max pool",  "average",  "concat",     "view",
                                          "layer",       "to blocks", "to planes"};
  return names[static_cast<int>(kind)];
}

/// A layer of the network, which the program shares.
template <class Scalar>
using LayerCopy = std::shared_ptr<const Primitive<Scalar>>;

/// One step. The finish (residual, clamp, activation) is done to the result as it is stored, the intake (scale, shift,
/// relu; gate) to inputs[0] as it is read.
template <class Scalar>
struct Step {
  StepKind kind;  ///< what it does
  /// Values that it reads, and makes.
  /// @{
  std::vector<Index> inputs, outputs;
  /// @}
  std::vector<std::string> layers;  ///< that it stands for: "features.0: Conv2d(...)"
  Index multiply_adds = 0;          ///< of infer
  std::string path = {};            ///< of the first of them

  LayerCopy<Scalar> layer = {};  ///< as which a `layer` step runs

  kernels::ConvolutionShape shape = {};  ///< of a convolution
  Method method = Method::planar;        ///< of a convolution
  /// See StepKind.
  /// @{
  Tensor<Scalar> weight = {}, bias = {};
  /// @}

  std::vector<kernels::WindowAxis> windows = {};       ///< of max_pool: rows, columns
  std::vector<std::vector<kernels::Span>> spans = {};  ///< of average_pool: rows, columns

  // Finish.
  Index residual = -1;                                  ///< a value that is added
  lamina::Activation clamp = lamina::Activation::none;  ///< ReLU, ReLU6
  LayerCopy<Scalar> activation = {};                    ///< any other elementwise layer, behind the clamp
  Index mean = -1;                                      ///< a value that becomes the mean over the result's pixels

  // Intake.
  /// By input channel; empty: none.
  /// @{
  Tensor<Scalar> intake_scale = {}, intake_shift = {};
  /// @}
  bool intake_relu = false;  ///< behind scale and shift
  Index intake_gate = -1;    ///< a value, or -1

  /// Whether something is done behind the sums already, so that nothing linear can be folded in any more.
  bool finished() const { return residual >= 0 || clamp != lamina::Activation::none || activation; }
  /// Whether an activation is done behind the sums.
  bool activated() const { return clamp != lamina::Activation::none || activation; }
  /// Whether the input is changed as it is read.
  bool changes_input() const { return !intake_scale.empty() || intake_gate >= 0; }

  /// All values that it reads.
  std::vector<Index> reads() const {
    std::vector<Index> result = inputs;
    if (residual >= 0) result.push_back(residual);
    if (intake_gate >= 0) result.push_back(intake_gate);
    return result;
  }
  /// All values that it makes.
  std::vector<Index> writes() const {
    std::vector<Index> result = outputs;
    if (mean >= 0) result.push_back(mean);
    return result;
  }
};

/// Steps over values.
template <class Scalar>
struct Program {
  std::vector<ProgramValue> values;  ///< by number
  std::vector<Step<Scalar>> steps;   ///< in an order in which they can run
  /// Values that come in, and the results.
  /// @{
  std::vector<Index> inputs, outputs;
  /// @}

  /// A value by its number.
  /// @{
  ProgramValue& value(Index id) { return values[static_cast<std::size_t>(id)]; }
  const ProgramValue& value(Index id) const { return values[static_cast<std::size_t>(id)]; }
  /// @}
  /// A new value; its number.
  Index add_value(const Shape& shape) {
    values.push_back({shape});
    return static_cast<Index>(values.size()) - 1;
  }

  /// How many steps read each value; the program's results are read once more.
  std::vector<Index> uses() const {
    std::vector<Index> result(values.size(), 0);
    for (const auto& step : steps)
      for (Index id : step.reads()) ++result[static_cast<std::size_t>(id)];
    for (Index id : outputs) ++result[static_cast<std::size_t>(id)];
    return result;
  }
  /// The step that makes each value, or -1.
  std::vector<Index> makers() const {
    std::vector<Index> result(values.size(), -1);
    for (std::size_t i = 0; i < steps.size(); ++i)
      for (Index id : steps[i].writes()) result[static_cast<std::size_t>(id)] = static_cast<Index>(i);
    return result;
  }
  /// Lets everything that reads `from` read `to`.
  void replace(Index from, Index to) {
    const auto change = [&](Index& id) {
      if (id == from) id = to;
    };
    for (auto& step : steps) {
      for (Index& id : step.inputs) change(id);
      change(step.residual);
      change(step.intake_gate);
    }
    for (Index& id : outputs) change(id);
  }
  /// Takes out the steps for which dead(step) holds.
  template <class F>
  void erase_steps(F dead) {
    std::erase_if(steps, dead);
  }
};

/// The step's layers and those of another that it takes over.
template <class Scalar>
void take_layers(Step<Scalar>& into, const Step<Scalar>& from) {
  into.layers.insert(into.layers.end(), from.layers.begin(), from.layers.end());
  into.multiply_adds += from.multiply_adds;
}

}  // namespace lamina::inline LAMINA_ABI::compiler
