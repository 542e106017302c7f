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
}  // namespace

void add_cases() {
  for (const Convolution& s : convolutions)
    add_case(Kind::layer, s.name,
             [s] {
               return Conv2d<float>(s.c, s.m, s.kernel, {.stride = s.stride, .padding = s.padding, .groups = s.groups});
             },
             {s.n, s.c, s.h, s.w});
  add_case(Kind::layer, "norm/local_response_96_55",
           [] { return LocalResponseNorm<float>(5, {.alpha = 5e-4, .k = 2}); }, {8, 96, 55, 55});
}

}  // namespace lamina::bench
