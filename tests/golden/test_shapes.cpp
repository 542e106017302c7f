#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/dropout.hpp"
#include "lamina/nn/dropout2d.hpp"
#include "lamina/nn/flatten.hpp"
#include "lamina/nn/identity.hpp"

using namespace lamina;
using testing::Golden;

TEST_CASE_TEMPLATE("Flatten, Dropout and Identity as in PyTorch", S, float, double) {
  Golden<S> golden("shapes");
  CHECK(golden.layer("flatten/images", Flatten<S>()));
  CHECK(golden.layer("flatten/rank2", Flatten<S>()));
  CHECK(golden.layer("flatten/all", Flatten<S>(0)));
  CHECK(golden.layer("flatten/middle", Flatten<S>(1, 2)));
  CHECK(golden.layer("flatten/last", Flatten<S>(-2, -1)));
  CHECK(golden.layer("dropout/p0", Dropout<S>(0)));
  CHECK(golden.layer("dropout/p1", Dropout<S>(1)));
  CHECK(golden.layer("dropout2d/p0", Dropout2d<S>(0)));
  CHECK(golden.layer("dropout2d/p1", Dropout2d<S>(1)));
  CHECK(golden.layer("identity/rank3", Identity<S>()));
  CHECK(golden.untested() == "");
}
