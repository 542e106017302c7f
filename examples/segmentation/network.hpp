#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lamina/io/safetensors.hpp"
#include "lamina/models/hamnet.hpp"
#include "lamina/nn/graph.hpp"
#include "lamina/nn/receptive_field.hpp"
#include "segmentation/settings.hpp"

/// The networks that `segment` trains.
namespace lamina::examples::segmentation {

/// Three 3x3/2 convolutions: they see little, so that the context module has something to tell.
inline Sequential<float> plain_backbone() {
  Sequential<float> result;
  Index in = 3;
  for (const Index out : {16, 32, 64}) {
    result.add(Child<float>(Conv2d<float>(in, out, 3, {.stride = 2, .padding = 1, .bias = false})));
    result.add(Child<float>(BatchNorm2d<float>(out)));
    result.add(Child<float>(ReLU<float>()));
    in = out;
  }
  init::weights<Conv2d<float>>(result, [](Tensor<float>& w) {
    init::kaiming_normal(w, {.mode = init::FanMode::fan_out, .nonlinearity = "relu"});
  });
  return result;
}

/// Puts the weights of a MobileNet V2 into the backbone, from a file with torchvision's names or deeplab_v3's.
inline void load_backbone(AtInputSize<float>& net, const std::string& path) {
  StateDict<float> state;
  const StateDict<float> own = state_dict(std::as_const(net));
  for (auto& [name, value] : load_safetensors<float>(path)) {
    const std::string key = name.starts_with("features.") ? "backbone." + name : name;
    const auto named = [&](const auto& entry) { return entry.first == key; };
    if (key.starts_with("backbone.") && std::any_of(own.begin(), own.end(), named)) state.emplace_back(key, value);
  }
  try {
    for (const std::string& key : load_state_dict(net, state, {.strict = false}).missing)
      lamina::require<FileError>(!key.starts_with("backbone."), path, ": no weights for ", key);
  } catch (const StateError& error) {
    const std::string what = error.what();  // a line with the whole model, then the list
    throw StateError(text(path, ": not the weights of MobileNet V2", what.substr(what.find('\n'))));
  }
}

/// Gives a norm the mean and variance of x [N, C, H, W], and the weight and bias with which it computes what it did.
inline void take_statistics(BatchNorm2d<float>& norm, const Tensor<float>& x) {
  const Index pixels = x.dim(2) * x.dim(3);
  for (Index c = 0; c < x.dim(1); ++c) {
    double sum = 0, squares = 0;
    for (Index n = 0; n < x.dim(0); ++n)
      for (Index p = 0; p < pixels; ++p) {
        const double v = static_cast<double>(x.data()[(n * x.dim(1) + c) * pixels + p]);
        sum += v, squares += v * v;
      }
    const double count = static_cast<double>(x.dim(0) * pixels), mean = sum / count;
    const double variance = std::max(0.0, squares / count - mean * mean), eps = norm.options().eps;
    const double slope = static_cast<double>(norm.weight.value.data()[c]) /
                         std::sqrt(static_cast<double>(norm.running_var.data()[c]) + eps);
    const double moved = mean - static_cast<double>(norm.running_mean.data()[c]);
    norm.bias.value.data()[c] += static_cast<float>(slope * moved);
    norm.weight.value.data()[c] = static_cast<float>(slope * std::sqrt(variance + eps));
    norm.running_mean.data()[c] = static_cast<float>(mean);
    norm.running_var.data()[c] = static_cast<float>(variance);
  }
}

/// Files may have the norms' statistics folded into the convolutions: in training, batches' own would then change what
/// the backbone computes. So all norms take those of these images.
inline void unfold_norms(AtInputSize<float>& net, const Tensor<float>& images) {
  std::vector<Tensor<float>> edges;
  const Tensor<float> padded = net.padded(images);
  const Graph<float> graph = record(std::as_const(net).net[0], padded.shape());
  edges.resize(graph.shapes.size());
  edges[static_cast<std::size_t>(graph.inputs[0])] = padded;
  for (const Node<float>& node : graph.nodes) {
    Values<float> in;
    for (const Index edge : node.inputs) in.push_back(edges[static_cast<std::size_t>(edge)]);
    for_each<BatchNorm2d<float>>(net.net[0], [&](BatchNorm2d<float>& norm) {
      if (&norm == node.layer) take_statistics(norm, std::as_const(in)[0].tensor);
    });
    const Values<float> out = node.layer->infer_values(std::move(in), Activation::none);
    for (std::size_t i = 0; i < out.size(); ++i) edges[static_cast<std::size_t>(node.outputs[i])] = out[i].tensor;
  }
}

/// Takes parts of a Hamburger V1 away, see burger_parts.
inline void take_away(AtInputSize<float>& net, const std::string& parts) {
  if (parts == "all") return;
  auto& burger = net.net.get<Sequential<float>>(2).get<Sum<float>>(0).get<Sequential<float>>(0);
  const auto nothing = [&](Index i) { burger.replace(i, Child<float>(Identity<float>())); };
  if (parts == "no-lower" || parts == "only-ham") burger.replace(0, Child<float>(ReLU<float>()));
  if (parts == "no-upper" || parts == "only-ham") nothing(2);
  if (parts == "no-ham") nothing(1);
}

inline AtInputSize<float> make_network(const Settings& s, Index classes, const Size2& crop) {
  const std::string backbone = s.backbone_name();
  lamina::require(s.bases.empty() || s.decomposes(), "--bases is for the contexts nmf, vq and cd, not for ", s.context);
  lamina::require(s.parts == "all" || (s.context == "nmf" && s.version == "v1"),
                  "--parts is for the context nmf and --version v1");
  lamina::require(!s.gradient_steps || s.gradient == "bptt", "--gradient-steps is for --gradient bptt");
  lamina::require(s.weights.empty() || backbone == "mobilenet_v2", "--weights is for --backbone mobilenet_v2, not for ",
                  backbone);
  lamina::require(backbone != "plain" || s.stride == 8, "--backbone plain has --stride 8");
  HamNetOptions options{.classes = classes,
                        .depth = backbones.at(backbone),
                        .channels = s.width,
                        .aligned = std::max<Index>(s.width / 2, 8),
                        .context = contexts.at(s.context),
                        .version = versions.at(s.version)};
  options.backbone.output_stride = s.stride;
  options.backbone.deep_stem = options.depth >= 50;
  options.backbone.norm.momentum = 0.1;  // the paper's 3e-4 is for sixty thousand steps
  if (backbone == "mobilenet_v2") options.mobilenet_v2 = MobileNetV2Options{.output_stride = s.stride};
  options.hamburger.D = options.version == HamburgerVersion::v2_plus ? s.width / 2 / s.heads : s.width;
  options.hamburger.pixels = ((crop.h - 1) / s.stride + 1) * ((crop.w - 1) / s.stride + 1);
  options.hamburger.ham = {.heads = s.heads,
                           .rank = s.rank,
                           .train_steps = s.steps,
                           .eval_steps = s.eval_steps.value_or(s.steps),
                           .inverse_temperature = s.inverse_temperature,
                           .gradient = gradients.at(s.gradient),
                           .gradient_steps = s.gradient_steps,
                           .seed = s.seed,
                           .random_bases = !s.keeps_bases()};
  auto net = backbone == "plain" ? hamnet<float>(plain_backbone(), 64, 8, options) : hamnet<float>(options);
  take_away(net, s.parts);
  return net;
}

/// How far from a pixel the network without its context module sees, in images of this size.
inline Index reach_without_context(Settings s, const Size2& image) {
  s.context = "none";
  s.bases = s.weights = "";
  s.parts = "all";
  const auto net = make_network(s, 2, image);
  return receptive_field(record(net, {1, 3, image.h, image.w})).reach();
}

}  // namespace lamina::examples::segmentation
