#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "lamina/lamina.hpp"
#include "lamina/models/distilbert.hpp"
#include "lamina/models/openai_clip.hpp"

/// The networks that compare_onnxruntime.py gives to ONNX Runtime as Lamina exports them (export_onnx does), beside
/// those of torchvision.
namespace lamina::bench {

struct ExportedNetwork {
  const char* name;
  std::function<std::unique_ptr<Module<float>>()> make;
  Shape shape;           ///< of the input
  Index vocabulary = 0;  ///< of a network that takes ids; 0: it takes numbers

  Tensor<float> input() const {
    if (vocabulary == 0) return Random(1).normal(shape);
    Tensor<float> ids(shape);
    Random random(1);
    for (float& id : ids.values()) id = static_cast<float>(random.below(static_cast<std::uint64_t>(vocabulary)));
    return ids;
  }
};

template <class Net>
std::unique_ptr<Module<float>> module_of(Net net) {
  return std::make_unique<Net>(std::move(net));
}

inline std::vector<ExportedNetwork> exported_networks() {
  HamNetOptions ham{.classes = 11, .depth = 18};
  return {
      {"lenet_b256", [] { return module_of(lenet()); }, {256, 1, 28, 28}},
      {"pixelcnn_b8", [] { return module_of(pixelcnn()); }, {8, 1, 28, 28}},
      {"hamnet_resnet18", [ham] { return module_of(hamnet(ham)); }, {1, 3, 128, 160}},
      {"clip_resnet18",
       [] {
         return module_of(ImageEncoder<float>(resnet(18), {3, 224, 224}));
       },
       {1, 3, 224, 224}},
      {"clip_vit_b32", [] { return module_of(VisionTransformer<float>()); }, {1, 3, 224, 224}},
      {"clip_text_l77", [] { return module_of(TextTransformer<float>()); }, {1, 77}, 49408},
      {"distilbert_b8_l64", [] { return module_of(DistilBert<float>()); }, {8, 64}, 30522},
  };
}

}  // namespace lamina::bench
