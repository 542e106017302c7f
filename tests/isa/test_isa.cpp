#include <doctest/doctest.h>

#include <lamina/core/random.hpp>
#include <string>

#include "unit.hpp"

using namespace lamina;

TEST_CASE("units of one program that are compiled for different instruction sets compute the same") {
  Random random(3);
  const auto images = random.uniform<float>({3, 2, 12, 12});
  const Labels labels({3}, {4, 0, 2});
  const isa::Results expected = isa::generic(images, labels);

  struct Case {
    std::string name;
    bool supported;
    isa::Results (*unit)(const Tensor<float>&, const Labels&);
  };
  for (const Case& other : {Case{"avx2", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), &isa::avx2},
                            Case{"avx512",
                                 __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                                     __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"),
                                 &isa::avx512}}) {
    CAPTURE(other.name);
    if (!other.supported) {
      MESSAGE("this processor has no ", other.name);
      continue;
    }
    const isa::Results results = other.unit(images, labels);
    REQUIRE(results.size() == expected.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      CAPTURE(i);
      REQUIRE(results[i].shape() == expected[i].shape());
      CHECK((results[i].array() - expected[i].array()).abs().maxCoeff() <= 1e-4f);
    }
  }
}
