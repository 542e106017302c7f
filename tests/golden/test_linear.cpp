#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/linear.hpp"

using namespace lamina;
using testing::Golden;

TEST_CASE_TEMPLATE("Linear as in PyTorch", S, float, double) {
  Golden<S> golden("linear");
  CHECK(golden.layer("linear/rank2", Linear<S>(5, 4)));
  CHECK(golden.layer("linear/rank1", Linear<S>(5, 4)));
  CHECK(golden.layer("linear/rank3", Linear<S>(6, 3)));
  CHECK(golden.layer("linear/rank4", Linear<S>(3, 5)));
  CHECK(golden.layer("linear/no_bias", Linear<S>(7, 2, {.bias = false})));
  CHECK(golden.layer("linear/one_in", Linear<S>(1, 6)));
  CHECK(golden.layer("linear/one_out", Linear<S>(9, 1)));
  CHECK(golden.layer("linear/batch1", Linear<S>(8, 8)));
  CHECK(golden.layer("linear/wide", Linear<S>(33, 19)));
  CHECK(golden.untested() == "");
}
