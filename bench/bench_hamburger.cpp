#include <chrono>

#include "cases.hpp"
#include "lamina/models/segnext.hpp"
#include "lamina/nn/context/context.hpp"

namespace lamina::bench {

namespace {

/// One of a ham's steps on [1, 512, 128, 128] at rank 64: what seven steps take longer than one does, by six.
template <class Ham>
void ham_step(benchmark::State& state) {
  const Shape shape{1, 512, 128, 128};
  const Tensor<float> x = Random(1).uniform(shape);
  const Ham one({.eval_steps = 1}), seven({.eval_steps = 7});
  const auto seconds = [&x](const Ham& ham) {
    const auto start = std::chrono::steady_clock::now();
    keep(ham(x));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  seconds(seven);
  for (auto _ : state) state.SetIterationTime((seconds(seven) - seconds(one)) / 6);
  state.counters["GFLOP"] = 2e-9 * static_cast<double>(seven.multiply_adds(shape) - one.multiply_adds(shape)) / 6;
}

}  // namespace

void add_cases() {
  const auto burger = [](HamKind kind) { return [kind] { return hamburger_v1<float>(512, {.kind = kind}); }; };
  add_case(Kind::layer, "ham/512x128x128", burger(HamKind::nmf), {1, 512, 128, 128});
  add_case(Kind::layer, "ham/512x64x64", burger(HamKind::nmf), {1, 512, 64, 64});
  add_case(Kind::layer, "ham/vq_512x128x128", burger(HamKind::vq), {1, 512, 128, 128});
  add_case(Kind::layer, "ham/cd_512x128x128", burger(HamKind::cd), {1, 512, 128, 128});
  // With the Hamburgers, the paper's table 3. (compare_torch.py --memory has its peaks of memory.)
  for (const Index side : {64, 128}) {
    const Shape shape{1, 512, side, side};
    const std::string size = "_512x" + std::to_string(side) + "x" + std::to_string(side);
    add_case(
        Kind::layer, "context/self" + size, [] { return self_attention<float>(512); }, shape);
    add_case(
        Kind::layer, "context/dual" + size, [] { return dual_attention<float>(512); }, shape);
    add_case(
        Kind::layer, "context/double" + size, [] { return double_attention<float>(512); }, shape);
    add_case(
        Kind::layer, "context/apc" + size, [] { return adaptive_pyramid<float>(512); }, shape);
    add_case(
        Kind::layer, "context/dm" + size, [] { return dynamic_pyramid<float>(512); }, shape);
    add_case(
        Kind::layer, "context/acf" + size, [] { return CoOccurrence<float>(512); }, shape);
  }
  const auto segnext = [] { return SegNeXt<float>(); };
  const Shape photograph{1, 3, 512, 512};
  add_case(Kind::layer, "segnext_t/512", segnext, photograph);
  const auto planned = [=](benchmark::State& state) { run_plan(state, segnext, photograph, {}); };
  benchmark::RegisterBenchmark("segnext_t/512/plan", planned)->Unit(benchmark::kMillisecond);
  const auto add_step = [](const char* name, void (*run)(benchmark::State&)) {
    benchmark::RegisterBenchmark(name, run)->UseManualTime()->Unit(benchmark::kMillisecond);
  };
  add_step("ham/step/nmf", ham_step<NMF<float>>);
  add_step("ham/step/vq", ham_step<VQ<float>>);
  add_step("ham/step/cd", ham_step<CD<float>>);
}

}  // namespace lamina::bench
