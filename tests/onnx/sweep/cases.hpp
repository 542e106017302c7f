#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lamina/lamina.hpp"
#include "lamina/nn/conv_transpose2d.hpp"
#include "lamina/nn/negative_log_likelihood.hpp"
#include "lamina/nn/tensor/combine.hpp"
#include "lamina/nn/tensor/map.hpp"
#include "lamina/nn/tensor/matmul.hpp"
#include "lamina/nn/tensor/reduce.hpp"
#include "lamina/nn/tensor/reshape.hpp"
#include "lamina/nn/tensor/select.hpp"

/// Modules with inputs: every layer that ONNX can say, with options drawn from a seed, and every model.
namespace sweep {

using namespace lamina;

struct Case {
  std::string name;
  std::unique_ptr<Module<float>> module;
  std::vector<Tensor<float>> inputs;
  double tolerance = 1e-5;  ///< of the largest |a - b| / (1 + the largest |b|), and of the relative L2 error
};
using Take = std::function<void(Case)>;

/// Running statistics as of a network that has seen something.
inline void draw_statistics(Module<float>& module, Random& random) {
  for (const auto& member : module.members()) {
    if (auto* const* child = std::get_if<Module<float>*>(&member.part)) draw_statistics(**child, random);
    if (auto* const* buffer = std::get_if<Tensor<float>*>(&member.part)) {
      if (member.name == "running_mean") **buffer = random.normal<float>((*buffer)->shape(), 0.f, 0.2f);
      if (member.name == "running_var") {
        **buffer = random.uniform<float>((*buffer)->shape());
        (*buffer)->array() += 0.5f;
      }
    }
  }
}

class Sweep {
 public:
  Sweep(std::uint64_t seed, Take take) : random_(seed), take_(std::move(take)) { default_random() = random_.split(1); }

  Random& random() { return random_; }
  /// A number from first to last.
  Index draw(Index first, Index last) {
    return first + static_cast<Index>(random_.uniform() * static_cast<double>(last - first + 1));
  }
  bool coin() { return draw(0, 1) == 1; }
  Tensor<float> normal(const Shape& shape) { return random_.normal<float>(shape); }
  Tensor<float> uniform(const Shape& shape) { return random_.uniform<float>(shape); }
  /// Whole numbers below n, as numbers.
  Tensor<float> ids(const Shape& shape, Index n) {
    Tensor<float> result(shape);
    for (float& value : result.values()) value = static_cast<float>(draw(0, n - 1));
    return result;
  }

  template <class M>
  void add(const std::string& name, M module, std::vector<Tensor<float>> inputs, double tolerance = 1e-5) {
    draw_statistics(module, random_);
    add_as_it_is(name, std::move(module), std::move(inputs), tolerance);
  }
  template <class M>
  void add_as_it_is(const std::string& name, M module, std::vector<Tensor<float>> inputs, double tolerance = 1e-5) {
    take_({text(name, "_", ++count_), std::make_unique<M>(std::move(module)), std::move(inputs), tolerance});
  }
  template <class M>
  void add(const std::string& name, M module, const Shape& input, double tolerance = 1e-5) {
    add(name, std::move(module), {normal(input)}, tolerance);
  }

 private:
  Random random_;
  Take take_;
  int count_ = 0;
};

/// Two values for a layer that takes several.
template <class Layer>
class Joined : public Block<Joined<Layer>, float> {
 public:
  explicit Joined(Layer layer) : layer_(std::move(layer)) {}
  Members<float> members() override { return {{"layer", layer_}}; }
  Values<float> flow(Flow<float>& run, Values<float> x) const { return run.all(layer_, std::move(x)); }

 private:
  Layer layer_;
};

inline void convolutions(Sweep& s) {
  for (int i = 0; i < 12; ++i) {
    const Index groups = s.draw(1, 3), in = groups * s.draw(1, 3), out = groups * s.draw(1, 3);
    const Size2 kernel(s.draw(1, 4), s.draw(1, 4));
    const Conv2dOptions options{.stride = {s.draw(1, 3), s.draw(1, 3)},
                                .padding = {s.draw(0, 3), s.draw(0, 3), s.draw(0, 3), s.draw(0, 3)},
                                .dilation = {s.draw(1, 2), s.draw(1, 2)},
                                .groups = groups,
                                .bias = s.coin()};
    const Shape input{s.draw(1, 2), in, s.draw(7, 12), s.draw(7, 12)};
    s.add("conv2d", Conv2d<float>(in, out, kernel, options), input);
    s.add("conv_transpose2d",
          ConvTranspose2d<float>(in, out, kernel,
                                 {.stride = options.stride,
                                  .padding = {s.draw(0, 1), s.draw(0, 1), s.draw(0, 1), s.draw(0, 1)},
                                  .output_padding = {s.draw(0, options.stride.h - 1), s.draw(0, options.stride.w - 1)},
                                  .dilation = options.dilation,
                                  .groups = groups,
                                  .bias = s.coin()}),
          input);
  }
  s.add("conv2d_same", Conv2d<float>(2, 3, {4, 3}, {.padding = "same"}), {1, 2, 7, 6});
  s.add("conv2d_same", Conv2d<float>(2, 3, {4, 3}, {.stride = 2, .padding = "same"}), {1, 2, 7, 6});
  s.add("conv_transpose2d", ConvTranspose2d<float>(2, 3, 3, {.output_padding = 1, .dilation = 2}), {1, 2, 4, 5});
  for (int i = 0; i < 6; ++i) {
    const Index groups = s.draw(1, 3), in = groups * s.draw(1, 2);
    s.add("conv1d",
          Conv1d<float>(in, groups * 2, s.draw(1, 4),
                        {.stride = s.draw(1, 3),
                         .padding = {s.draw(0, 3), s.draw(0, 3)},
                         .dilation = s.draw(1, 2),
                         .groups = groups,
                         .bias = s.coin()}),
          {s.draw(1, 2), in, s.draw(8, 12)});
  }
  for (const Mask mask : {Mask::A, Mask::B, Mask::vertical_A, Mask::vertical_B})
    for (const Index groups : {1, 3}) {
      if (groups > 1 && mask != Mask::A && mask != Mask::B) continue;
      MaskedConv2d<float> layer(mask, 3, 6, {3, 5}, {.groups = groups, .bias = s.coin()});
      layer.weight.value = s.normal(layer.weight.value.shape());  // what the mask covers must not count
      s.add("masked_conv2d", std::move(layer), {2, 3, 6, 7});
    }
  for (int i = 0; i < 8; ++i) {
    const Index groups = s.draw(1, 2), channels = groups * s.draw(2, 4);
    s.add("involution",
          Involution<float>(channels, 2 * s.draw(0, 2) + 1,
                            {.groups = groups,
                             .stride = s.draw(1, 2),
                             .reduction = 2,
                             .dilation = s.draw(1, 2),
                             .groups_innermost = s.coin(),
                             .bias = s.coin()}),
          {s.draw(1, 2), channels, s.draw(5, 9), s.draw(5, 9)});
  }
  for (const Shape& shape : {Shape{5}, Shape{3, 5}, Shape{2, 3, 5}, Shape{2, 1, 3, 5}})
    s.add("linear", Linear<float>(5, 4, {.bias = s.coin()}), shape);
  s.add("embedding", Embedding<float>(11, 3), {s.ids({2, 5}, 11)});
  s.add("embedding_behind", Sequential<float>{Map<float>(Function::floor), Embedding<float>(11, 3)}, {s.ids({4}, 11)});
}

inline void pooling(Sweep& s) {
  for (int i = 0; i < 12; ++i) {
    const Size2 kernel(s.draw(1, 4), s.draw(1, 4));
    const Size2 stride(s.draw(1, 3), s.draw(1, 3));
    const Padding padding(s.draw(0, kernel.h / 2), s.draw(0, kernel.w / 2));
    const Shape input{2, 2, s.draw(8, 12), s.draw(8, 12)};
    s.add("max_pool2d",
          MaxPool2d<float>(
              kernel,
              {.stride = stride, .padding = padding, .dilation = {s.draw(1, 2), s.draw(1, 2)}, .ceil_mode = s.coin()}),
          input);
    AvgPool2dOptions options{.stride = stride, .padding = padding, .ceil_mode = s.coin()};
    options.count_include_pad = s.coin();
    if (s.draw(0, 3) == 0) options.divisor_override = 3;
    s.add("avg_pool2d", AvgPool2d<float>(kernel, options), input);
  }
  for (const Size2& size : {Size2(1), Size2(3, 2), Size2(6), Size2(4, -1), Size2(7, 6)}) {
    s.add("adaptive_avg_pool2d", AdaptiveAvgPool2d<float>(size), {2, 3, 6, 6});
    s.add("adaptive_max_pool2d", AdaptiveMaxPool2d<float>(size), {2, 3, 6, 6});
  }
  for (const Padding& padding : {Padding("same"), Padding(0, 1, 1, 0)})
    for (const Index stride : {1, 2}) {
      s.add("max_pool2d_sides", MaxPool2d<float>(3, {.stride = stride, .padding = padding}), {2, 2, 8, 7});
      for (const bool counts : {true, false})
        s.add("avg_pool2d_sides",
              AvgPool2d<float>(3, {.stride = stride, .padding = padding, .count_include_pad = counts}), {2, 2, 8, 7});
    }
}

inline void activations(Sweep& s) {
  const Shape shape{2, 3, 5};
  const auto wide = [&] {
    Tensor<float> x = s.normal(shape);
    x *= 4.f;
    return std::vector<Tensor<float>>{x};
  };
  s.add("relu", ReLU<float>(), wide());
  s.add("relu6", ReLU6<float>(), wide());
  s.add("leaky_relu", LeakyReLU<float>(0.2), wide());
  s.add("sigmoid", Sigmoid<float>(), wide());
  s.add("tanh", Tanh<float>(), wide());
  s.add("hardsigmoid", Hardsigmoid<float>(), wide());
  s.add("hardswish", Hardswish<float>(), wide());
  s.add("silu", SiLU<float>(), wide());
  s.add("gelu", GELU<float>(), wide());
  s.add("elu", ELU<float>(0.7), wide());
  s.add("selu", SELU<float>(), wide());
  s.add("softplus", Softplus<float>(), wide());
  s.add("softplus", Softplus<float>({.beta = 0.5}), wide());
  s.add("mish", Mish<float>(), wide());
  s.add("hardtanh", Hardtanh<float>(-0.5, 2), wide());
  s.add("prelu", PReLU<float>(), wide());
  s.add("prelu", PReLU<float>({.num_parameters = 3, .init = 0.4}), wide());
  s.add("prelu", PReLU<float>({.num_parameters = 4}), {3, 4});
  s.add("glu", GLU<float>(), {3, 4});
  s.add("glu", GLU<float>(1), {2, 6, 4, 5});
  s.add("swiglu", SwiGLU<float>(), {3, 4});
  s.add("geglu", GEGLU<float>(-2, {.approximate = "tanh"}), {2, 3, 4, 5});
  s.add("gated_activation", GatedActivation(SiLU<float>(), Identity<float>()), {3, 5, 6});
  s.add("gated_activation", GatedActivation(Tanh<float>(), Hardsigmoid<float>(), 1), {2, 6, 4, 5});
  s.add("gelu_tanh", GELU<float>({.approximate = "tanh"}), wide());
  for (const int dim : {0, 1, 2, -1, -2}) {
    s.add("softmax", Softmax<float>(dim), wide());
    s.add("log_softmax", LogSoftmax<float>(dim), wide());
  }
}

inline void norms(Sweep& s) {
  for (int i = 0; i < 6; ++i) {
    const BatchNormOptions options{.eps = s.coin() ? 1e-5 : 1e-2, .affine = s.coin(), .track_running_stats = s.coin()};
    s.add("batch_norm2d", BatchNorm2d<float>(3, options), {2, 3, 4, 5});
    s.add("batch_norm1d", BatchNorm1d<float>(3, options), s.coin() ? Shape{4, 3} : Shape{2, 3, 6});
  }
  s.add("layer_norm", LayerNorm<float>(5), {2, 3, 5});
  s.add("layer_norm", LayerNorm<float>(Shape{3, 5}, {.eps = 1e-3, .bias = false}), {2, 3, 5});
  s.add("layer_norm", LayerNorm<float>(5, {.elementwise_affine = false}), {4, 5});
  s.add("rms_norm", RMSNorm<float>(5), {2, 3, 5});
  s.add("rms_norm", RMSNorm<float>(Shape{3, 5}, {.eps = 1e-3, .elementwise_affine = false}), {2, 3, 5});
  for (const bool affine : {true, false}) {
    s.add("group_norm", GroupNorm<float>(2, 6, {.eps = 1e-3, .affine = affine}), {2, 6, 3, 4});
    s.add("group_norm", GroupNorm<float>(3, 6, {.affine = affine}), {2, 6});
    for (const bool tracks : {true, false})
      s.add("instance_norm2d", InstanceNorm2d<float>(3, {.affine = affine, .track_running_stats = tracks}),
            {2, 3, 4, 5});
  }
  for (const Index size : {1, 2, 3, 4, 5})
    for (const Shape& shape : {Shape{2, 6, 3, 4}, Shape{2, 6, 4}})
      s.add("local_response_norm",
            LocalResponseNorm<float>(size, {.alpha = 0.5, .beta = s.coin() ? 0.75 : 0.6, .k = 2}), shape);
}

inline void shapes(Sweep& s) {
  const Shape shape{2, 6, 4, 5};
  s.add("identity", Identity<float>(), shape);
  s.add("dropout", Sequential<float>{Dropout<float>(), ReLU<float>(), Dropout2d<float>()}, shape);
  s.add("flatten", Flatten<float>(), shape);
  s.add("flatten", Flatten<float>(2), shape);
  s.add("flatten", Flatten<float>(0, 1), shape);
  s.add("drop_path", Sequential<float>{DropPath<float>(0.5), ReLU<float>()}, shape);
  s.add("unflatten", Unflatten<float>(1, {2, -1}), shape);
  s.add("pixel_shuffle", PixelShuffle<float>(2), {2, 8, 3, 5});
  s.add("pixel_shuffle", PixelShuffle<float>(3), {1, 9, 2, 2});
  s.add("constant_pad2d", ConstantPad2d<float>({1, 0, 2, 3}, -0.5), shape);
  s.add("zero_pad2d", ZeroPad2d<float>(2), shape);
  s.add("reflection_pad2d", ReflectionPad2d<float>({3, 0, 1, 4}), shape);
  s.add("replication_pad2d", ReplicationPad2d<float>({3, 5, 1, 4}), shape);
  s.add("narrow", Narrow<float>(1, 2, 3), shape);
  s.add("narrow", Narrow<float>(-1, 0, 2), shape);
  s.add("scale", Scale<float>(0.7, "gamma"), shape);
  s.add("gate", Gate<float>(), shape);
  s.add("gate", Gate<float>({.groups = 3}), shape);
  s.add("sum", Sum<float>{Identity<float>(), ReLU<float>(), AdaptiveAvgPool2d<float>({4, 5})}, shape);
  s.add("product", Product<float>{Identity<float>(), Sequential<float>{AdaptiveAvgPool2d<float>(1), Sigmoid<float>()}},
        shape);
  s.add("concat", Concat<float>{Identity<float>(), ReLU<float>()}, shape);
  s.add("concat", Concat<float>({Identity<float>(), ReLU<float>()}, {.dim = -1}), shape);
  s.add("add", Joined(Add<float>()), {s.normal(shape), s.normal({1, 6, 1, 5})});
  s.add("multiply", Joined(Multiply<float>()), {s.normal({2, 1, 4, 5}), s.normal(shape)});
  s.add("cat", Joined(Cat<float>(2)), {s.normal(shape), s.normal({2, 6, 1, 5})});
  s.add("stack", Joined(Stack<float>()), {s.normal(shape), s.normal(shape), s.normal(shape)});
  for (const InterpolateOptions& options :
       {InterpolateOptions{}, InterpolateOptions{.mode = InterpolateMode::bilinear},
        InterpolateOptions{.mode = InterpolateMode::bilinear, .align_corners = true}})
    for (const Size2& size : {Size2(8, 10), Size2(3, 7), Size2(4, 5), Size2(1), Size2(13, 2)})
      s.add("interpolate", Interpolate<float>(size, options), shape);
  for (const InterpolateMode mode : {InterpolateMode::nearest, InterpolateMode::bilinear})
    for (const ScaleFactor& factor : {ScaleFactor(2), ScaleFactor(0.6, 1.7), ScaleFactor(3, 0.4)})
      s.add("upsample", Upsample<float>(factor, {.mode = mode}), shape);
  s.add("upsample", Upsample<float>(1.7, {.mode = InterpolateMode::bilinear, .align_corners = true}), shape);
  for (const InterpolateMode mode : {InterpolateMode::nearest, InterpolateMode::bilinear})
    for (const Index stride : {1, 3})
      s.add("at_input_size",
            AtInputSize<float>({Conv2d<float>(3, 2, 3, {.stride = 2, .padding = 1})},
                               {.mode = mode, .align_corners = mode == InterpolateMode::bilinear}, stride),
            {1, 3, 11, 8});
  for (const Index bottleneck : {0, 2})
    s.add("dense_block",
          DenseBlock<float>(4, 3, {.growth = 3, .bottleneck = bottleneck, .bias = s.coin(), .dropout = 0.1}),
          {2, 4, 5, 6});
}

inline void attention(Sweep& s) {
  s.add("multi_head_attention", MultiHeadAttention<float>(8, 2), {2, 5, 8});
  s.add("multi_head_attention", MultiHeadAttention<float>(6, 3), {5, 6});
  for (const NormPosition position : {NormPosition::pre, NormPosition::post})
    s.add("transformer_block", TransformerBlock<float>(8, 4, 12, {.norm = position, .dropout = 0.1}), {2, 5, 8});
  s.add("learned_positions", LearnedPositions<float>(7, 4), {2, 5, 4});
  s.add("first_token", FirstToken<float>(), {3, 5, 4});
  s.add("pixel_attention", PixelAttention<float>(2, 0.7), {2, 7, 3, 4});
  s.add("channel_attention", ChannelAttention<float>(), {2, 4, 3, 4});
  s.add("gather_distribute", GatherDistribute<float>(2), {2, 7, 3, 4});
  s.add("self_attention", self_attention<float>(8), {2, 8, 4, 5});
  s.add("double_attention", double_attention<float>(8), {2, 8, 4, 5});
  s.add("dual_attention", dual_attention<float>(8), {2, 8, 4, 5});
  for (const bool spatial : {true, false})
    for (const bool random : {true, false})
      for (const Index steps : {0, 1, 6}) {
        const HamOptions options{.spatial = spatial,
                                 .heads = 2,
                                 .rank = 3,
                                 .eval_steps = steps,
                                 .inverse_temperature = 10,
                                 .seed = 5,
                                 .random_bases = random,
                                 .dimension = random    ? 0
                                              : spatial ? Index{4}
                                                        : Index{30}};
        const Shape shape{2, 8, 5, 6};
        s.add("nmf", NMF<float>(options), {s.uniform(shape)});
        s.add("vq", VQ<float>(options), {s.normal(shape)});
        s.add("cd", CD<float>(options), {s.normal(shape)});
      }
  for (const Index rank : {3, 12}) {
    const HamOptions options{.rank = rank};  // the defaults, with a temperature of 1 / 100
    s.add("vq_default", VQ<float>(options), {2, 8, 5, 6});
    s.add("cd_default", CD<float>(options), {2, 8, 5, 6});
    s.add("nmf_default", NMF<float>(options), {s.uniform({2, 8, 5, 6})});
  }
  for (const HamKind kind : {HamKind::nmf, HamKind::vq, HamKind::cd}) {
    const HamburgerOptions options{
        .kind = kind, .D = 6, .ham = {.heads = 1, .rank = 4, .inverse_temperature = 10}, .zero_ham = false};
    s.add("hamburger_v1", hamburger_v1<float>(5, options), {2, 5, 4, 5});
    s.add("hamburger_v2", hamburger_v2<float>(5, options), {2, 5, 4, 5});
    s.add("hamburger_v2_plus", hamburger_v2_plus<float>(5, options), {2, 5, 4, 5});
  }
}

inline void tensors(Sweep& s) {
  const Shape shape{2, 3, 4};
  for (int f = 0; f <= static_cast<int>(Function::shrink); ++f) {
    const auto function = static_cast<Function>(f);
    Tensor<float> x = s.uniform(shape);
    if (function == Function::acosh) x.array() += 1.f;
    const bool signs = function != Function::sqrt && function != Function::log && function != Function::acosh;
    if (signs) x.array() = x.array() * 1.9f - 0.95f;
    if (function >= Function::sign && signs) x *= 3.f;
    if (function == Function::logical_not) x = s.ids(shape, 2);
    s.add("map", Map<float>(function, function == Function::clamp ? -0.5 : 0.6, 0.7), {x});
  }
  for (int o = 0; o <= static_cast<int>(Operation::logical_xor); ++o) {
    const auto operation = static_cast<Operation>(o);
    const bool power = operation == Operation::power;
    for (const auto& [a, b] : {std::pair{shape, shape}, {shape, Shape{4}}, {Shape{3, 1}, shape}})
      if (operation >= Operation::equal)
        s.add("combine", Joined(Combine<float>(operation)), {s.ids(a, 3), s.ids(b, 3)});
      else
        s.add("combine", Joined(Combine<float>(operation)), {power ? s.uniform(a) : s.normal(a), s.normal(b)});
  }
  s.add("where", Joined(Where<float>()), {s.ids({3, 1}, 2), s.normal(shape), s.normal({4})});
  s.add("matmul", Joined(MatMul<float>()), {s.normal({2, 1, 3, 4}), s.normal({5, 4, 2})});
  s.add("reshape", Reshape<float>({0, -1, 2}), shape);
  s.add("unsqueeze", Unsqueeze<float>({0, -1}), shape);
  s.add("squeeze", Squeeze<float>({1}), {2, 1, 4});
  s.add("permute", Permute<float>({2, 0, 1}), shape);
  s.add("permute", Permute<float>(), shape);
  s.add("slice", Slice<float>({{1, 0, 2}, {2, -1, -9, -2}}), shape);
  s.add("pad", Pad<float>({0, 1, 2}, {1, 0, 1}, PadMode::constant, 0.5), shape);
  s.add("pad", Pad<float>({0, 1, 2}, {0, 2, 1}, PadMode::reflect), shape);
  s.add("pad", Pad<float>({0, 1, 2}, {1, 0, 3}, PadMode::edge), shape);
  s.add("index_select", IndexSelect<float>(1, {2, 0, -1, 2}), shape);
  s.add("tile", Tile<float>({2, 1, 3}), shape);
  s.add("gather", Joined(Gather<float>(1)), {s.normal(shape), s.ids({2, 2}, 3)});
  s.add("mix", Mix<float>(1, 3, {{{0, 0.25f}, {2, 0.75f}}, {{1, 1.f}}, {}, {{2, 2.f}}}), shape);
  for (int a = 0; a <= static_cast<int>(Aggregate::log_sum_exp); ++a)
    for (const bool keep : {true, false})
      s.add("reduce",
            Reduce<float>(static_cast<Aggregate>(a), {keep ? std::vector<Index>{0, -1} : std::vector<Index>{}, keep}),
            {s.uniform(shape)});
  for (const char* const reduction : {"mean", "sum", "none"})
    s.add("negative_log_likelihood", Joined(NegativeLogLikelihood<float>({reduction, 1})),
          {s.normal(shape), s.ids({2, 4}, 3), s.uniform({3})});
}

inline void small_models(Sweep& s) {
  s.add("lenet", lenet<float>(), {2, 1, 28, 28});
  s.add("inn", inn<float>(), {2, 3, 32, 32});
  s.add("inn_counterpart", inn_counterpart<float>(), {2, 3, 32, 32});
  // With drawn statistics the involutions, products of two features each, would leave the finite numbers.
  s.add_as_it_is("rednet26", rednet<float>(26), {s.uniform({1, 3, 64, 64})});
  s.add("pixelcnn", pixelcnn<float>({.channels = 3, .blocks = 2, .hidden = 12, .levels = 4}),
        {s.uniform({2, 3, 8, 8})});
  s.add("gated_pixelcnn", gated_pixelcnn<float>({.channels = 3, .blocks = 2, .hidden = 12, .levels = 4, .classes = 2}),
        {s.uniform({2, 5, 8, 8})});
  for (const Context context : {Context::none, Context::nmf, Context::vq, Context::cd, Context::self_attention,
                                Context::dual_attention, Context::double_attention})
    s.add("hamnet",
          hamnet<float>({.depth = 18,
                         .backbone = {.width = 0.25, .output_stride = 8, .deep_stem = true},
                         .channels = 16,
                         .aligned = 8,
                         .context = context,
                         .hamburger = {.D = 16, .ham = {.rank = 8, .inverse_temperature = 10}}}),
          {1, 3, 48, 41});
  const DistilBertOptions bert{
      .vocabulary = 50, .positions = 20, .layers = 2, .features = 16, .heads = 4, .hidden = 32};
  s.add("distilbert", DistilBert<float>(bert), {s.ids({2, 7}, 50)});
  s.add("text_encoder", TextEncoder<float>(bert), {s.ids({2, 7}, 50)});
  s.add("clip",
        ClipModel<float>(ImageEncoder<float>(resnet<float>(18, {.width = 0.25}), {3, 32, 32}), TextEncoder<float>(bert),
                         {.projection = 8}),
        {s.normal({2, 3, 32, 32}), s.ids({2, 7}, 50)});
}

inline void large_models(Sweep& s) {
  const Shape image{1, 3, 224, 224};
  s.add("alexnet", alexnet<float>(), image);
  s.add("vgg11", vgg<float>(Vgg::A), image);
  s.add("googlenet", googlenet<float>(), image);
  s.add("resnet18", resnet<float>(18), image);
  s.add("resnet50", resnet<float>(50), image);
  s.add("densenet121", densenet<float>(121), image);
  s.add("nin", nin<float>({.in_channels = 3}), image);
  s.add("mobilenet", mobilenet<float>(), image);
  s.add("mobilenet_v2", mobilenet_v2<float>(), image);
  s.add("mobilenet_v3_large", mobilenet_v3_large<float>(), image);
  s.add("mobilenet_v3_small", mobilenet_v3_small<float>(), image);
  s.add_as_it_is("rednet50", rednet<float>(50), {s.uniform({1, 3, 128, 128})});
  s.add("hamnet50", hamnet<float>(), {1, 3, 97, 129});
  s.add("pixelcnn", pixelcnn<float>(), {s.uniform({1, 1, 28, 28})});
  s.add("distilbert", DistilBert<float>(), {s.ids({2, 16}, 30522)});
}

inline void all_layers(Sweep& s) {
  convolutions(s);
  pooling(s);
  activations(s);
  norms(s);
  shapes(s);
  attention(s);
  tensors(s);
}

}  // namespace sweep
