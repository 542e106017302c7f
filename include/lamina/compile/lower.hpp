#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lamina/compile/program.hpp"
#include "lamina/nn/adaptive_avg_pool2d.hpp"
#include "lamina/nn/add.hpp"
#include "lamina/nn/avg_pool2d.hpp"
#include "lamina/nn/batch_norm.hpp"
#include "lamina/nn/cat.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/drop_path.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/dropout2d.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/identity.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/masked_conv2d.hpp"
#include "lamina/nn/max_pool2d.hpp"
#include "lamina/nn/multiply.hpp"

namespace lamina::inline LAMINA_ABI::compiler {

namespace detail {

/// A graph's layers as steps.
template <class Scalar>
class Lowering {
 public:
  static Program<Scalar> lower(const Graph<Scalar>& graph) {
    Program<Scalar> program;
    std::vector<Index> values(graph.shapes.size(), -1);
    const auto at = [&](Index edge) -> Index& { return values[static_cast<std::size_t>(edge)]; };
    const auto make = [&](Index edge) { return at(edge) = program.add_value(graph.shape(edge)); };
    for (Index edge : graph.inputs) program.inputs.push_back(make(edge));
    for (const auto& node : graph.nodes) {
      std::vector<Index> in;
      for (Index edge : node.inputs) in.push_back(at(edge));
      if (passes_on(node)) {
        at(node.outputs[0]) = in[0];
        continue;
      }
      Step<Scalar> step = step_of(node, graph);
      step.inputs = in;
      for (Index edge : node.outputs) step.outputs.push_back(make(edge));
      step.path = node.path;
      step.layers.push_back((node.path.empty() ? "" : node.path + ": ") + node.layer->name());
      step.multiply_adds = node.multiply_adds;
      program.steps.push_back(std::move(step));
    }
    for (Index edge : graph.outputs) program.outputs.push_back(at(edge));
    return program;
  }

 private:
  /// What inference hands on as it is.
  static bool passes_on(const Node<Scalar>& node) {
    return node.template as<Identity<Scalar>>() || node.template as<Dropout<Scalar>>() ||
           node.template as<Dropout2d<Scalar>>() || node.template as<DropPath<Scalar>>();
  }

  static Step<Scalar> step_of(const Node<Scalar>& node, const Graph<Scalar>& graph) {
    const Shape& x = graph.shape(node.inputs[0]);
    const Shape& y = graph.shape(node.outputs[0]);
    Step<Scalar> step{StepKind::layer, {}, {}, {}};
    if (const auto* conv = node.template as<Conv2d<Scalar>>()) {
      step.kind = StepKind::convolution;
      step.shape = conv->sizes(x);
      step.weight = conv->weight.value;
      step.bias = conv->options().bias ? conv->bias.value : Tensor<Scalar>::zeros({conv->out_channels()});
    } else if (const auto* masked = node.template as<MaskedConv2d<Scalar>>()) {
      step.kind = StepKind::convolution;
      set_masked(*masked, x, step);
    } else if (const auto* linear = node.template as<Linear<Scalar>>()) {
      step.kind = StepKind::linear;
      step.weight = linear->weight.value;
      step.bias = linear->bias.value.empty() ? Tensor<Scalar>::zeros({y[-1]}) : linear->bias.value;
    } else if (set_norm<BatchNorm2d<Scalar>>(node, step) || set_norm<BatchNorm1d<Scalar>>(node, step)) {
      step.kind = StepKind::norm;
    } else if (node.layer->apply(nullptr, 0)) {
      step.kind = StepKind::activation;
      step.clamp = node.layer->activation();
      if (step.clamp == lamina::Activation::none) step.activation = copy_of(*node.layer);
    } else if (node.template as<Add<Scalar>>() && x == graph.shape(node.inputs[1])) {
      step.kind = StepKind::add;
    } else if (node.template as<Multiply<Scalar>>() && is_gate(x, graph.shape(node.inputs[1]))) {
      step.kind = StepKind::gate;
    } else if (const auto* max = node.template as<MaxPool2d<Scalar>>()) {
      step.kind = StepKind::max_pool;
      step.windows = {max->rows(x[2]), max->columns(x[3])};
    } else if (set_average<AvgPool2d<Scalar>>(node, x, step) || set_average<AdaptiveAvgPool2d<Scalar>>(node, x, step)) {
      step.kind = StepKind::average_pool;
    } else if (const auto* cat = node.template as<Cat<Scalar>>(); cat && x.rank() == 4 && (cat->dim() + 4) % 4 == 1) {
      step.kind = StepKind::concat;
    } else if (node.template as<Flatten<Scalar>>() && y.rank() >= 1 && y[0] == x[0]) {
      step.kind = StepKind::view;
    }
    step.layer = copy_of(*node.layer);
    return step;
  }

  /// x [N, C, H, W] times [N, C, 1, 1].
  static bool is_gate(const Shape& x, const Shape& gate) {
    return x.rank() == 4 && gate.rank() == 4 && gate == Shape{x[0], x[1], 1, 1};
  }

  /// A convolution with zeros where the mask covers the kernel: all of the kernel where Winograd's method takes it,
  /// which does that in fewer operations than the open taps need; else the rows of it that see something.
  static void set_masked(const MaskedConv2d<Scalar>& conv, const Shape& x, Step<Scalar>& step) {
    kernels::ConvolutionShape& s = step.shape;
    s = conv.sizes(x);
    kernels::ConvolutionShape whole = s;
    whole.kh = conv.kernel_size().h, whole.bottom = s.top;
    const auto method = kernels::forward_method<Scalar>(whole);
    if (method == kernels::ConvolutionMethod::winograd_4 || method == kernels::ConvolutionMethod::winograd_5) s = whole;
    step.weight = Tensor<Scalar>({s.m, s.c, s.kh, s.kw});
    kernels::copy_rows(s.m * s.c, s.taps(), conv.masked_weight().data(), whole.taps(), step.weight.data(), s.taps());
    step.bias = conv.options().bias ? conv.bias.value : Tensor<Scalar>::zeros({s.m});
  }

  template <class Norm>
  static bool set_norm(const Node<Scalar>& node, Step<Scalar>& step) {
    const auto* norm = node.template as<Norm>();
    if (!norm || norm->locality() != Locality::element) return false;  // it goes by the batch
    const Index c = norm->running_mean.numel();
    step.weight = Tensor<Scalar>({c});
    step.bias = Tensor<Scalar>({c});
    for (Index i = 0; i < c; ++i) {
      const bool affine = norm->options().affine;
      const double scale = (affine ? static_cast<double>(norm->weight.value(i)) : 1) /
                           std::sqrt(static_cast<double>(norm->running_var(i)) + norm->options().eps);
      const double shift = affine ? static_cast<double>(norm->bias.value(i)) : 0;
      step.weight.data()[i] = static_cast<Scalar>(scale);
      step.bias.data()[i] = static_cast<Scalar>(shift - static_cast<double>(norm->running_mean(i)) * scale);
    }
    return true;
  }
  template <class Pool>
  static bool set_average(const Node<Scalar>& node, const Shape& x, Step<Scalar>& step) {
    const auto* pool = node.template as<Pool>();
    if (!pool) return false;
    step.spans = {pool->row_spans(x[2]), pool->column_spans(x[3])};
    return true;
  }

  static LayerCopy<Scalar> copy_of(const Primitive<Scalar>& layer) {
    return LayerCopy<Scalar>(static_cast<const Primitive<Scalar>*>(layer.clone().release()));
  }
};

}  // namespace detail

/// The steps of a graph, independent of its model: one for each layer, but none for what inference hands on as it
/// is.
template <class Scalar>
Program<Scalar> lower(const Graph<Scalar>& graph) {
  return detail::Lowering<Scalar>::lower(graph);
}

}  // namespace lamina::inline LAMINA_ABI::compiler
