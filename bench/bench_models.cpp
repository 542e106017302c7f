#include "cases.hpp"

namespace lamina::bench {

namespace {
/// Two residual blocks of 64 channels twice over, and a head: the first stage of ResNet-34, for its memory.
Sequential<float> resnet_blocks() {
  Sequential<float> net;
  for (int i = 0; i < 4; ++i)
    net.add(
        detail::residual_block<float>({.bottleneck = false, .in = 64, .channels = 64, .stride = 1, .dilation = 1}, {}));
  net.add(AdaptiveAvgPool2d(1));
  net.add(Flatten());
  net.add(Linear(64, 10));
  return net;
}

/// Texts of these many tokens.
PackedTokens texts(const std::vector<Index>& lengths) {
  PackedTokens tokens{{}, Sequences(lengths)};
  tokens.ids = Labels({tokens.sequences.tokens()});
  Random random(1);
  for (std::int32_t& id : tokens.ids.values()) id = static_cast<std::int32_t>(1 + random.below(30521));
  return tokens;
}

/// distilbert/NAME/infer; and train with an even gradient of all real tokens, and a step of plain SGD.
void add_distilbert(const std::string& name, const std::vector<Index>& lengths) {
  const auto count = [lengths](benchmark::State& state, const DistilBert<float>& net, double passes) {
    double total = 0;
    for (const Index length : lengths) total += static_cast<double>(net.multiply_adds({length}));
    state.counters["GFLOP"] = 2e-9 * passes * total;
  };
  const auto infer = [=](benchmark::State& state) {
    manual_seed(0);
    const DistilBert<float> net;
    const PackedTokens tokens = texts(lengths);
    for (auto _ : state) benchmark::DoNotOptimize(net.infer(tokens).data());
    count(state, net, 1);
  };
  const auto train = [=](benchmark::State& state) {
    manual_seed(0);
    DistilBert<float> net;
    const PackedTokens tokens = texts(lengths);
    const Index elements = tokens.sequences.tokens() * net.features();
    const auto dy = Tensor<float>::full({tokens.sequences.tokens(), net.features()}, 1 / static_cast<float>(elements));
    SGD optimizer(parameters(net), {.lr = 1e-3});
    Tape tape;
    for (auto _ : state) {
      benchmark::DoNotOptimize(net.forward(tokens, tape).data());
      net.backward(dy, tape, InputGrad::skip);
      optimizer.step();
    }
    count(state, net, 3);
  };
  benchmark::RegisterBenchmark(("distilbert/" + name + "/infer").c_str(), infer)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark(("distilbert/" + name + "/train").c_str(), train)->Unit(benchmark::kMillisecond);
}

/// PixelCNN's images drawn pixel by pixel. PyTorch's side makes a forward pass for each of the 784 pixels.
void sample_pixelcnn(benchmark::State& state, Index count) {
  manual_seed(0);
  const auto net = pixelcnn();
  for (auto _ : state) benchmark::DoNotOptimize(sample(net, {count, 1, 28, 28}, {}).data());
  state.SetItemsProcessed(state.iterations() * count);
}
}  // namespace

void add_cases() {
  add_case(Kind::layer, "pixelcnn/b8", [] { return pixelcnn(); }, {8, 1, 28, 28});
  for (const Index count : {1, 64})
    benchmark::RegisterBenchmark(("pixelcnn/sample_b" + std::to_string(count) + "/infer").c_str(),
                                 [=](benchmark::State& state) { sample_pixelcnn(state, count); })
        ->Unit(benchmark::kMillisecond);

  const auto network = [](const std::string& name, auto make, const Shape& infer, const Shape& train) {
    add_case(Kind::network, "net/" + name, make, infer, train);
  };
  network("lenet_b256", [] { return lenet(); }, {256, 1, 28, 28}, {256, 1, 28, 28});
  network("resnet_blocks_b8", resnet_blocks, {8, 64, 56, 56}, {8, 64, 56, 56});

  // As torchvision's: one image to infer, a batch to train.
  const Shape one{1, 3, 224, 224}, four{4, 3, 224, 224}, eight{8, 3, 224, 224};
  network(
      "alexnet", [] { return alexnet(); }, one, four);
  network(
      "vgg11", [] { return vgg(Vgg::A); }, one, four);
  network(
      "googlenet", [] { return googlenet(); }, one, eight);
  network(
      "resnet18", [] { return resnet(18); }, one, eight);
  network(
      "resnet50", [] { return resnet(50); }, one, eight);
  network(
      "densenet121", [] { return densenet(121); }, one, eight);
  network(
      "mobilenet_v2", [] { return mobilenet_v2(); }, one, eight);
  network(
      "mobilenet_v3_large", [] { return mobilenet_v3_large(); }, one, eight);

  // Full texts; and captions, whose lengths are the octiles of Flickr8k's.
  add_distilbert("b8_l64", std::vector<Index>(8, 64));
  add_distilbert("b8_captions", {9, 10, 12, 13, 14, 15, 17, 20});
}

}  // namespace lamina::bench
