#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "cases.hpp"
#include "exported.hpp"

namespace lamina::bench {

namespace {
/// Two residual blocks of 64 channels twice over, and a head: the first stage of ResNet-34, for its memory.
Sequential<float> resnet_blocks() {
  Sequential<float> net;
  for (int i = 0; i < 4; ++i)
    net.add(residual_block<float>({.bottleneck = false, .in = 64, .channels = 64, .stride = 1, .dilation = 1}, {}));
  net.add(AdaptiveAvgPool2d(1));
  net.add(Flatten());
  net.add(Linear(64, 10));
  return net;
}

/// Images drawn pixel by pixel. PyTorch's side makes a forward pass for each of the 784 pixels of a grey image.
template <class Make>
void add_sampling(const std::string& name, Make make, const Shape& images, const SampleOptions& options = {}) {
  benchmark::RegisterBenchmark((name + "/infer").c_str(), [=](benchmark::State& state) {
    manual_seed(0);
    const auto net = make();
    for (auto _ : state) keep(sample(net, images, options));
    state.SetItemsProcessed(state.iterations() * images[0]);
  })->Unit(benchmark::kMillisecond);
}

/// A convolution over 28 x 28 pixels, batch 8, by the direct kernel with all its taps: what masks must be compared
/// with.
void dense_convolution(benchmark::State& state, Index c, Index m, Index kernel) {
  const Index around = kernel / 2;
  const kernels::ConvolutionShape s{.n = 8,
                                    .c = c,
                                    .h = 28,
                                    .w = 28,
                                    .m = m,
                                    .kh = kernel,
                                    .kw = kernel,
                                    .top = around,
                                    .bottom = around,
                                    .left = around,
                                    .right = around};
  const std::vector<Index> taps = kernels::all_taps(s);
  Random random(0);
  const Tensor x = random.normal({8, c, 28, 28}), weight = random.normal({m, c, kernel, kernel}),
               bias = random.normal({m});
  for (auto _ : state) {
    Tensor<float> y({8, m, 28, 28});
    kernels::tap_convolution_forward(s, taps, x.data(), weight.data(), bias.data(), y.data());
    benchmark::DoNotOptimize(y.data());
  }
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
    for (auto _ : state) keep(net.infer(tokens));
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
      keep(net.forward(tokens, tape));
      net.backward(dy, tape, InputGrad::skip);
      optimizer.step();
    }
    count(state, net, 3);
  };
  benchmark::RegisterBenchmark(("distilbert/" + name + "/infer").c_str(), infer)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark(("distilbert/" + name + "/train").c_str(), train)->Unit(benchmark::kMillisecond);
}

/// serve/NAME_threads8/plan: eight threads ask one plan for an image each, again and again. The time is that between
/// answers; p50_ms and p99_ms are from a request to its answer.
template <class Make>
void add_serving(const std::string& name, Make make, const Shape& shape) {
  const auto serve = [=, plan = std::make_shared<std::optional<Plan<float>>>()](benchmark::State& state) {
    const int threads = num_threads();
    if (state.thread_index() == 0) {  // the others wait at the loop until it is there
      manual_seed(0);
      set_num_threads(1);  // there are as many requests as processors, or more
      plan->emplace(compile(make(), shape));
    }
    const Tensor<float> x = Random(static_cast<std::uint64_t>(state.thread_index())).normal(shape);
    std::vector<double> latencies;
    for (auto _ : state) {
      const double begin = seconds_now();
      keep((**plan)(x));
      latencies.push_back(1e3 * (seconds_now() - begin));
    }
    std::sort(latencies.begin(), latencies.end());
    const auto quantile = [&](double share) {
      const double value = latencies[static_cast<std::size_t>(share * static_cast<double>(latencies.size() - 1))];
      return benchmark::Counter(value, benchmark::Counter::kAvgThreads);
    };
    state.counters["p50_ms"] = quantile(0.5);
    state.counters["p99_ms"] = quantile(0.99);
    state.SetItemsProcessed(state.iterations());
    if (state.thread_index() == 0) set_num_threads(threads);
  };
  benchmark::RegisterBenchmark(("serve/" + name + "_threads8/plan").c_str(), serve)
      ->Threads(8)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

/// net/NAME/infer, plan and plan_bfloat16 of one of the networks that ONNX Runtime gets.
void add_exported(const ExportedNetwork& network) {
  const auto add = [&](const std::string& side, auto prepare) {
    const auto time = [=](benchmark::State& state) {
      manual_seed(0);
      const Tensor<float> x = network.input();
      const auto model = prepare(network.make());
      const auto run = [&] { keep(model(x)); };
      run();
      for (auto _ : state) run();
      state.SetItemsProcessed(state.iterations() * x.dim(0));
    };
    benchmark::RegisterBenchmark(text("net/", network.name, "/", side).c_str(), time)->Unit(benchmark::kMillisecond);
  };
  const auto compiled = [&](Precision weights) {
    return [=](const auto& net) { return compile(*net, network.shape, {.weights = weights}); };
  };
  add("infer", [](auto net) {
    return [net = std::shared_ptr<Module<float>>(std::move(net))](const Tensor<float>& x) { return net->infer(x); };
  });
  add("plan", compiled(Precision::full));
  add("plan_bfloat16", compiled(Precision::bfloat16));
}
}  // namespace

void add_cases() {
  add_case(Kind::layer, "masked/3x3_B_128", [] { return MaskedConv2d(Mask::B, 128, 128, 3); }, {8, 128, 28, 28});
  add_case(Kind::layer, "masked/7x7_A_1_256", [] { return MaskedConv2d(Mask::A, 1, 256, 7); }, {8, 1, 28, 28});
  add_case(Kind::layer, "masked/7x7_A_128", [] { return MaskedConv2d(Mask::A, 128, 128, 7); }, {8, 128, 28, 28});
  for (const auto& [name, c, m, kernel] : {std::tuple<const char*, Index, Index, Index>{"3x3_128", 128, 128, 3},
                                           {"7x7_1_256", 1, 256, 7},
                                           {"7x7_128", 128, 128, 7}})
    benchmark::RegisterBenchmark(("masked/direct_" + std::string(name) + "/infer").c_str(),
                                 [=](benchmark::State& state) { dense_convolution(state, c, m, kernel); })
        ->Unit(benchmark::kMillisecond);
  add_case(Kind::layer, "pixelcnn/b64", [] { return pixelcnn(); }, {64, 1, 28, 28});
  add_case(Kind::layer, "pixelcnn/b8", [] { return pixelcnn(); }, {8, 1, 28, 28});
  for (const Index count : {1, 64})
    add_sampling("pixelcnn/sample_b" + std::to_string(count), [] { return pixelcnn(); }, {count, 1, 28, 28});
  const auto colour = [] { return pixelcnn({.channels = 3, .hidden = 126}); };
  const auto gated = [] { return gated_pixelcnn({.channels = 3, .hidden = 126}); };
  const Shape images{64, 3, 32, 32};
  add_case(Kind::layer, "pixelcnn/colour_b64", colour, images);
  add_sampling("pixelcnn/sample_colour_b64", colour, images);
  add_case(Kind::layer, "gated/colour_b64", gated, images);
  add_sampling("gated/sample_colour_b64", gated, images);
  const auto plusplus = [] { return PixelCNNPlusPlus<float>({.resnets = 2, .filters = 64, .weight_norm = false}); };
  add_case(Kind::layer, "plusplus/b64", plusplus, images);
  add_sampling("plusplus/sample_b64", plusplus, images, {.mixtures = 10});

  const auto network = [](const std::string& name, auto make, const Shape& infer, const Shape& train) {
    add_case(Kind::network, "net/" + name, make, infer, train);
  };
  network("lenet_b256", [] { return lenet(); }, {256, 1, 28, 28}, {256, 1, 28, 28});
  network("resnet_blocks_b8", resnet_blocks, {8, 64, 56, 56}, {8, 64, 56, 56});

  // As torchvision's: one image to infer, a batch to train.
  const Shape one{1, 3, 224, 224}, eight{8, 3, 224, 224};
  network(
      "alexnet", [] { return alexnet(); }, one, eight);
  network(
      "vgg11", [] { return vgg(Vgg::A); }, one, eight);
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

  for (const auto& exported : exported_networks())
    if (std::string(exported.name) != "lenet_b256") add_exported(exported);  // LeNet is above

  add_serving(
      "mobilenet_v2", [] { return mobilenet_v2(); }, one);
  add_serving(
      "resnet18", [] { return resnet(18); }, one);

  // Full texts; and captions, whose lengths are the octiles of Flickr8k's.
  add_distilbert("b8_l64", std::vector<Index>(8, 64));
  add_distilbert("b8_captions", {9, 10, 12, 13, 14, 15, 17, 20});
}

}  // namespace lamina::bench
