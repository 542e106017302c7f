#include "cases.hpp"
#include "lamina/models/gan.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/train/adversarial.hpp"

namespace lamina::bench {

namespace {

/// An iteration of adversarial training on images of 128 x 128: a step of the discriminator on two real and two
/// generated images, a step of the generator on two, at half the authors' width.
void adversarial_step(benchmark::State& state, GanContext context) {
  constexpr Index batch = 2;
  manual_seed(0);
  const GanOptions options{.image = 128, .classes = 10, .width = 32, .context = context};
  GanGenerator<float> generator(options);
  GanDiscriminator<float> discriminator(options);
  Adam<float> first(parameters(generator), {.lr = 1e-4, .betas = {0, 0.9}}),
      second(parameters(discriminator), {.lr = 4e-4, .betas = {0, 0.9}});
  const Tensor<float> z = Random(1).normal({batch, options.latent}),
                      real = Random(2).uniform<float>({batch, 3, 128, 128}, -1, 1);
  const Labels labels({batch}, {3, 7});
  const auto with = [&](const Tensor<float>& x) { return Values<float>(x, Value<float>(labels)); };
  Tape tape;
  const auto run = [&] {
    const Tensor<float> fake = generator.forward(with(z), tape, InputGrad::skip)[0];
    generator.discard(tape);
    discriminator_step<float>(discriminator, second, with(real), with(fake), tape);
    generator_step<float>(generator, discriminator, first, with(z), with, tape);
  };
  run();
  for (auto _ : state) run();
  Index count = 0;
  for (Module<float>* net : {static_cast<Module<float>*>(&generator), static_cast<Module<float>*>(&discriminator)})
    for (const auto& [name, parameter, owner] : parameters(*net)) count += parameter->value.numel();
  state.counters["parameters"] = static_cast<double>(count);
  state.SetItemsProcessed(state.iterations());
}

}  // namespace

void add_cases() {
  const Shape features{4, 256, 32, 32};
  add_case(
      Kind::layer, "gan/attention_256x32x32", [] { return SAGANAttention<float>(256); }, features);
  add_case(
      Kind::layer, "gan/ylg_256x32x32", [] { return YLGAttention<float>(256); }, features);
  add_case(
      Kind::layer, "gan/hamburger_256x32x32", [] { return GanHamburger<float>(256); }, features);
  for (const GanContext context : {GanContext::none, GanContext::attention, GanContext::ylg, GanContext::hamburger}) {
    const std::string name = std::string("gan/step_") + Choice<GanContext>(context).word() + "/train";
    benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
      adversarial_step(state, context);
    })->Unit(benchmark::kMillisecond);
  }
}

}  // namespace lamina::bench
