#include "cases.hpp"

namespace lamina::bench {

namespace {
struct Convolution {
  const char* name;
  Index n, c, h, w;  // the input
  Index m, kernel, stride, padding, groups;
};

// Convolutions of the published networks, at their sizes.
constexpr Convolution convolutions[] = {
    {"conv/resnet_stem", 1, 3, 224, 224, 64, 7, 2, 3, 1},
    {"conv/3x3_64_56", 1, 64, 56, 56, 64, 3, 1, 1, 1},
    {"conv/3x3_128_28", 1, 128, 28, 28, 128, 3, 1, 1, 1},
    {"conv/3x3_256_14", 1, 256, 14, 14, 256, 3, 1, 1, 1},
    {"conv/3x3_512_7", 1, 512, 7, 7, 512, 3, 1, 1, 1},
    {"conv/3x3_s2_128_56", 1, 128, 56, 56, 128, 3, 2, 1, 1},
    {"conv/1x1_64_256_56", 1, 64, 56, 56, 256, 1, 1, 0, 1},
    {"conv/1x1_1024_256_14", 1, 1024, 14, 14, 256, 1, 1, 0, 1},
    {"conv/1x1_512_512_128", 1, 512, 128, 128, 512, 1, 1, 0, 1},
    {"conv/vgg_64_224", 1, 64, 224, 224, 64, 3, 1, 1, 1},
    {"conv/alexnet_11x11", 1, 3, 224, 224, 96, 11, 4, 1, 1},
    {"conv/alexnet_5x5", 1, 96, 27, 27, 256, 5, 1, 2, 1},
    {"conv/grouped_32_56", 1, 128, 56, 56, 128, 3, 1, 1, 32},
    {"conv/depthwise_32_112", 1, 32, 112, 112, 32, 3, 1, 1, 32},
    {"conv/depthwise_512_14", 1, 512, 14, 14, 512, 3, 1, 1, 512},
    {"conv/depthwise_s2_128_56", 1, 128, 56, 56, 128, 3, 2, 1, 128},
    {"conv/pixelcnn_b8", 8, 128, 28, 28, 128, 3, 1, 1, 1},
    {"conv/lenet1_b256", 256, 1, 28, 28, 6, 5, 1, 2, 1},
    {"conv/lenet2_b256", 256, 6, 14, 14, 16, 5, 1, 0, 1},
    {"conv/3x3_64_56_b8", 8, 64, 56, 56, 64, 3, 1, 1, 1},
    {"conv/3x3_256_14_b8", 8, 256, 14, 14, 256, 3, 1, 1, 1},
    {"conv/1x1_64_256_56_b8", 8, 64, 56, 56, 256, 1, 1, 0, 1},
};

/// The most multiply-adds that a core does: chains of them in registers, enough to hide each other's delay.
void multiply_add_limit(benchmark::State& state) {
  using Pack = simd::Pack<float>;
  constexpr int chains = 12, repetitions = 10000;
  auto sums = simd::filled<chains>(Pack(1.0f));
  Pack factor(0.999f), term(0.001f);
  for (auto _ : state) {
    benchmark::DoNotOptimize(factor);
    benchmark::DoNotOptimize(term);
    for (int i = 0; i < repetitions; ++i)
      LAMINA_UNROLL(k, chains) sums[k] = multiply_add(sums[k], factor, term);
    benchmark::DoNotOptimize(sums);
  }
  state.counters["GFLOP"] = 2e-9 * chains * repetitions * static_cast<double>(simd::width<float>);
}
}  // namespace

void add_cases() {
  benchmark::RegisterBenchmark("limit/multiply_add", multiply_add_limit)->Unit(benchmark::kMillisecond);
  for (const Convolution& s : convolutions)
    add_case(Kind::layer, s.name,
             [s] {
               return Conv2d<float>(s.c, s.m, s.kernel, {.stride = s.stride, .padding = s.padding, .groups = s.groups});
             },
             {s.n, s.c, s.h, s.w});

  add_case(Kind::layer, "conv/1d_128_k3_1000_b8", [] { return Conv1d<float>(128, 128, 3, {.padding = 1}); },
           {8, 128, 1000});
  // As generators and segmentation networks double an image: DCGAN's, U-Net's, and depthwise.
  add_case(Kind::layer, "conv/transpose_k4_s2_256_128_14_b8",
           [] { return ConvTranspose2d<float>(256, 128, 4, {.stride = 2, .padding = 1}); }, {8, 256, 14, 14});
  add_case(Kind::layer, "conv/transpose_k2_s2_128_64_56",
           [] { return ConvTranspose2d<float>(128, 64, 2, {.stride = 2}); }, {1, 128, 56, 56});
  add_case(Kind::layer, "conv/transpose_k3_128_28_b8",
           [] { return ConvTranspose2d<float>(128, 128, 3, {.padding = 1}); }, {8, 128, 28, 28});
  add_case(Kind::layer, "conv/same_s2_32_64_112",
           [] { return Conv2d<float>(32, 64, 3, {.stride = 2, .padding = "same"}); }, {1, 32, 112, 112});

  // The Keras listing's layer on its test's pixels, and RedNet's first stage but with 256 channels.
  add_case(Kind::layer, "involution/32x16x64x64_k5",
           [] { return Involution<float>(16, 5, {.reduction = 2, .bias = true}); }, {32, 16, 64, 64});
  add_case(Kind::layer, "involution/1x256x56x56_k7_g16",
           [] { return Involution<float>(256, 7, {.groups = 16, .bias = true}); }, {1, 256, 56, 56});

  // The passes over memory between the products.
  const auto batch_norm_relu = [](Index channels) {
    return [channels] { return Sequential{BatchNorm2d(channels), ReLU()}; };
  };
  add_case(Kind::layer, "norm/batch_norm_64_56_b8", [] { return BatchNorm2d(64); }, {8, 64, 56, 56});
  add_case(Kind::layer, "norm/batch_norm_relu_64_56_b8", batch_norm_relu(64), {8, 64, 56, 56});
  add_case(Kind::layer, "norm/batch_norm_relu_64_112_b8", batch_norm_relu(64), {8, 64, 112, 112});
  add_case(Kind::layer, "norm/batch_norm_relu_512_7_b8", batch_norm_relu(512), {8, 512, 7, 7});
  add_case(Kind::layer, "norm/batch_norm_1d_1024_b256", [] { return BatchNorm1d(1024); }, {256, 1024});
  add_case(Kind::layer, "norm/layer_norm_512_b4096", [] { return LayerNorm(512); }, {4096, 512});
  add_case(Kind::layer, "norm/rms_norm_512_b4096", [] { return RMSNorm(512); }, {4096, 512});
  add_case(Kind::layer, "norm/group_norm_64_56_b8", [] { return GroupNorm(8, 64); }, {8, 64, 56, 56});
  add_case(Kind::layer, "norm/instance_norm_64_56_b8", [] { return InstanceNorm2d<float>(64, {.affine = true}); },
           {8, 64, 56, 56});
  add_case(Kind::layer, "norm/drop_path_64_56_b8", [] { return DropPath(0.2); }, {8, 64, 56, 56});
  add_case(Kind::layer, "shape/pixel_shuffle_2_64_56_b8", [] { return PixelShuffle(2); }, {8, 64, 56, 56});
  add_case(Kind::layer, "shape/zero_pad_64_56_b8", [] { return ZeroPad2d(1); }, {8, 64, 56, 56});
  add_case(Kind::layer, "shape/reflection_pad_64_56_b8", [] { return ReflectionPad2d(1); }, {8, 64, 56, 56});
  add_case(Kind::layer, "shape/upsample_nearest_64_56_b8", [] { return Upsample(2); }, {8, 64, 56, 56});
  add_case(Kind::layer, "shape/upsample_bilinear_64_56_b8", [] { return Upsample<float>(2, {.mode = "bilinear"}); },
           {8, 64, 56, 56});
  add_case(Kind::layer, "shape/upsample_bicubic_64_56_b8", [] { return Upsample<float>(2, {.mode = "bicubic"}); },
           {8, 64, 56, 56});
  add_case(Kind::layer, "pool/max_2x2_64_112_b8", [] { return MaxPool2d(2); }, {8, 64, 112, 112});
  add_case(Kind::layer, "pool/max_3x3_s2_64_112_b8", [] { return MaxPool2d(3, {.stride = 2, .padding = 1}); },
           {8, 64, 112, 112});
  add_case(Kind::layer, "pool/adaptive_max_7_512_14_b8", [] { return AdaptiveMaxPool2d(7); }, {8, 512, 14, 14});
  const Shape activations{8, 64, 56, 56};
  add_case(
      Kind::layer, "act/relu", [] { return ReLU(); }, activations);
  add_case(
      Kind::layer, "act/sigmoid", [] { return Sigmoid(); }, activations);
  add_case(
      Kind::layer, "act/tanh", [] { return Tanh(); }, activations);
  add_case(
      Kind::layer, "act/gelu", [] { return GELU(); }, activations);
  add_case(
      Kind::layer, "act/silu", [] { return SiLU(); }, activations);
  add_case(
      Kind::layer, "act/elu", [] { return ELU(); }, activations);
  add_case(
      Kind::layer, "act/selu", [] { return SELU(); }, activations);
  add_case(
      Kind::layer, "act/softplus", [] { return Softplus(); }, activations);
  add_case(
      Kind::layer, "act/mish", [] { return Mish(); }, activations);
  add_case(
      Kind::layer, "act/hardtanh", [] { return Hardtanh(); }, activations);
  add_case(
      Kind::layer, "act/prelu", [] { return PReLU<float>({.num_parameters = 64}); }, activations);
  add_case(
      Kind::layer, "act/glu", [] { return GLU(1); }, activations);
  add_case(
      Kind::layer, "act/swiglu", [] { return SwiGLU(1); }, activations);
  add_case(
      Kind::layer, "act/geglu", [] { return GEGLU(1); }, activations);
  add_case(Kind::layer, "shape/mean_tokens_512_b64", [] { return Mean(1); }, {64, 196, 512});
  add_case(Kind::layer, "act/softmax_1000_b256", [] { return Softmax(1); }, {256, 1000});
  add_case(Kind::layer, "norm/local_response_96_55",
           [] { return LocalResponseNorm<float>(5, {.alpha = 5e-4, .k = 2}); }, {8, 96, 55, 55});
}

}  // namespace lamina::bench
