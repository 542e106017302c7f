#include "cases.hpp"

namespace lamina::bench {

void add_cases() {
  const auto add = [](const char* name, auto make, const Shape& shape) { add_case(Kind::network, name, make, shape); };
  add("net/lenet_b256", [] { return lenet(); }, {256, 1, 28, 28});
  const Shape images{8, 3, 224, 224};
  add(
      "net/alexnet_b8", [] { return alexnet(); }, images);
  add(
      "net/vgg11_b8", [] { return vgg(Vgg::A); }, images);
  add(
      "net/googlenet_b8", [] { return googlenet(); }, images);
  add(
      "net/resnet18_b8", [] { return resnet(18); }, images);
  add(
      "net/resnet50_b8", [] { return resnet(50); }, images);
  add(
      "net/densenet121_b8", [] { return densenet(121); }, images);
  add(
      "net/mobilenet_v2_b8", [] { return mobilenet_v2(); }, images);
  add(
      "net/mobilenet_v3_large_b8", [] { return mobilenet_v3_large(); }, images);
}

}  // namespace lamina::bench
