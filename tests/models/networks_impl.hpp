#pragma once

// The definitions behind networks.hpp, which networks_float.cpp and networks_double.cpp instantiate.

#include <cmath>
#include <functional>
#include <map>

#include "lamina/models/alexnet.hpp"
#include "lamina/models/densenet.hpp"
#include "lamina/models/googlenet.hpp"
#include "lamina/models/mobilenet.hpp"
#include "lamina/models/mobilenet_v2.hpp"
#include "lamina/models/mobilenet_v3.hpp"
#include "lamina/models/nin.hpp"
#include "lamina/models/resnet.hpp"
#include "lamina/models/vgg.hpp"
#include "models/networks.hpp"

namespace lamina::inline LAMINA_ABI::testing {

namespace {

template <class Scalar>
using Make = std::function<std::unique_ptr<Module<Scalar>>(const NetworkOptions&)>;

/// A model of `make` with these options, and the classes and dropout that are asked for.
template <class Scalar, class Options, class F>
Make<Scalar> with(F make, const Options& options) {
  return [=](const NetworkOptions& wanted) {
    Options changed = options;
    if (wanted.classes) changed.classes = wanted.classes;
    if constexpr (requires { changed.dropout; })
      if (!wanted.dropout) changed.dropout = 0;
    if constexpr (requires { changed.auxiliary_dropout; })
      if (!wanted.dropout) changed.auxiliary_dropout = 0;
    auto net = make(changed);
    return std::make_unique<decltype(net)>(std::move(net));
  };
}
template <class Scalar>
Make<Scalar> vgg_case(Vgg configuration, const VggOptions& options) {
  return with<Scalar>([=](const VggOptions& o) { return vgg<Scalar>(configuration, o); }, options);
}
template <class Scalar>
Make<Scalar> resnet_case(Index depth, const ResNetOptions& options = {}) {
  return with<Scalar>([=](const ResNetOptions& o) { return resnet<Scalar>(depth, o); }, options);
}
template <class Scalar>
Make<Scalar> densenet_case(Index depth, const DenseNetOptions& options = {}) {
  return with<Scalar>([=](const DenseNetOptions& o) { return densenet<Scalar>(depth, o); }, options);
}

template <class Scalar>
const std::map<std::string, Make<Scalar>>& table() {
  constexpr auto listing = Form::listing;
  static const std::map<std::string, Make<Scalar>> networks{
      {"alexnet", with<Scalar>(alexnet<Scalar>, AlexNetOptions{})},
      {"alexnet_small_images", with<Scalar>(alexnet<Scalar>, AlexNetOptions{})},
      {"alexnet_two_towers",
       with<Scalar>(alexnet<Scalar>, AlexNetOptions{.form = AlexNetForm::two_towers, .hidden = 64})},
      {"alexnet_listing",
       with<Scalar>(alexnet<Scalar>, AlexNetOptions{.in_channels = 1, .classes = 10, .form = AlexNetForm::listing})},
      {"vgg_a", vgg_case<Scalar>(Vgg::A, {})},
      {"vgg_a_bn", vgg_case<Scalar>(Vgg::A, {.batch_norm = true, .hidden = 64})},
      {"vgg_a_lrn", vgg_case<Scalar>(Vgg::A_LRN, {.hidden = 64})},
      {"vgg_b", vgg_case<Scalar>(Vgg::B, {.hidden = 64})},
      {"vgg_b_bn", vgg_case<Scalar>(Vgg::B, {.batch_norm = true, .hidden = 64})},
      {"vgg_c", vgg_case<Scalar>(Vgg::C, {.hidden = 64})},
      {"vgg_d", vgg_case<Scalar>(Vgg::D, {.hidden = 64})},
      {"vgg_d_bn", vgg_case<Scalar>(Vgg::D, {.batch_norm = true, .hidden = 64})},
      {"vgg_e", vgg_case<Scalar>(Vgg::E, {.hidden = 64})},
      {"vgg_e_bn", vgg_case<Scalar>(Vgg::E, {.batch_norm = true, .hidden = 64})},
      {"vgg_listing", vgg_case<Scalar>(Vgg::A, {.in_channels = 1, .classes = 10, .width = 0.25})},
      {"nin", with<Scalar>(nin<Scalar>, NinOptions{})},
      {"nin_imagenet", with<Scalar>(nin<Scalar>, NinOptions{.in_channels = 3, .classes = 1000, .head = 1024})},
      {"googlenet", with<Scalar>(googlenet<Scalar>, GoogLeNetOptions{})},
      {"googlenet_auxiliary", with<Scalar>(googlenet<Scalar>, GoogLeNetOptions{.auxiliary = true})},
      {"googlenet_listing",
       with<Scalar>(googlenet<Scalar>, GoogLeNetOptions{.in_channels = 1, .classes = 10, .form = listing})},
      {"resnet18", resnet_case<Scalar>(18)},
      {"resnet34", resnet_case<Scalar>(34)},
      {"resnet50", resnet_case<Scalar>(50)},
      {"resnet101", resnet_case<Scalar>(101)},
      {"resnet152", resnet_case<Scalar>(152)},
      {"resnet18_listing", resnet_case<Scalar>(18, {.in_channels = 1, .classes = 10, .form = listing})},
      {"resnet50_stride16", resnet_case<Scalar>(50, {.output_stride = 16})},
      {"resnet50_stride8", resnet_case<Scalar>(50, {.output_stride = 8})},
      {"resnet50_hamnet16", resnet_case<Scalar>(50, {.output_stride = 16, .multi_grid = {1, 2, 4}, .deep_stem = true})},
      {"resnet50_hamnet8", resnet_case<Scalar>(50, {.output_stride = 8, .multi_grid = {1, 2, 4}, .deep_stem = true})},
      {"densenet121", densenet_case<Scalar>(121)},
      {"densenet121_narrow", densenet_case<Scalar>(121, {.width = 0.25})},
      {"densenet169", densenet_case<Scalar>(169)},
      {"densenet201", densenet_case<Scalar>(201)},
      {"densenet161", densenet_case<Scalar>(161)},
      {"densenet_listing", densenet_case<Scalar>(21, {.in_channels = 1, .classes = 10, .form = listing})},
      {"mobilenet", with<Scalar>(mobilenet<Scalar>, MobileNetOptions{})},
      {"mobilenet_half", with<Scalar>(mobilenet<Scalar>, MobileNetOptions{.width = 0.5})},
      {"mobilenet_listing", with<Scalar>(mobilenet<Scalar>, MobileNetOptions{.in_channels = 1, .classes = 10})},
      {"mobilenet_v2", with<Scalar>(mobilenet_v2<Scalar>, MobileNetV2Options{})},
      {"mobilenet_v2_wide", with<Scalar>(mobilenet_v2<Scalar>, MobileNetV2Options{.width = 1.4})},
      {"mobilenet_v2_narrow", with<Scalar>(mobilenet_v2<Scalar>, MobileNetV2Options{.width = 0.35})},
      {"mobilenet_v3_large", with<Scalar>(mobilenet_v3_large<Scalar>, MobileNetV3Options{})},
      {"mobilenet_v3_large_narrow", with<Scalar>(mobilenet_v3_large<Scalar>, MobileNetV3Options{.width = 0.75})},
      {"mobilenet_v3_small", with<Scalar>(mobilenet_v3_small<Scalar>, MobileNetV3Options{})},
  };
  return networks;
}

}  // namespace

template <class Scalar>
std::unique_ptr<Module<Scalar>> network(const std::string& name, const NetworkOptions& options) {
  const auto entry = table<Scalar>().find(name);
  lamina::require(entry != table<Scalar>().end(), "no network ", name);
  return entry->second(options);
}

template <class Scalar>
void fill(Module<Scalar>& net) {
  const auto set = [](const std::string& key, Tensor<Scalar>& tensor) {
    const Shape& shape = tensor.shape();
    double center = 0, scale = 0.1;
    if (shape.rank() > 1)
      scale = std::sqrt(6.0 / static_cast<double>(shape.numel() / shape[0]));
    else if (key.ends_with("running_var"))
      center = 1, scale = 0.5;
    else if (key.ends_with("weight"))
      center = 1, scale = 0.25;
    Uniform(key).fill(center, scale, tensor.numel(), tensor.data());
  };
  StateDict<Scalar> state = state_dict(net);
  for (auto& [key, value] : state)
    if (auto* tensor = std::get_if<Tensor<Scalar>>(&value)) set(key, *tensor);
  load_state_dict(net, state);
}

template <class Scalar>
Tensor<Scalar> images(const Shape& shape) {
  Tensor<Scalar> result(shape);
  Uniform("images").fill(0, 1, result.numel(), result.data());
  return result;
}

}  // namespace lamina::inline LAMINA_ABI::testing
