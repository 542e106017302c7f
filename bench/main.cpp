#include <cstdio>
#include <string>

#include "cases.hpp"

// Google Benchmark's main, with the number of threads (LAMINA_NUM_THREADS) among the facts about the run.
int main(int argc, char** argv) {
  try {
    benchmark::AddCustomContext("lamina_threads", std::to_string(lamina::num_threads()));
    benchmark::AddCustomContext("lamina_simd_bytes", std::to_string(sizeof(lamina::simd::Pack<float>)));
    lamina::bench::add_cases();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    if (benchmark::RunSpecifiedBenchmarks() == 0) return 1;
    benchmark::Shutdown();
    return 0;
  } catch (const lamina::Error& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}
