#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "lamina/core/print.hpp"

using namespace lamina;

namespace {

template <class Scalar>
std::string printed(const Tensor<Scalar>& x) {
  std::ostringstream out;
  out << x;
  return out.str();
}
template <class Scalar>
Tensor<Scalar> counted(const Shape& shape) {
  Tensor<Scalar> x(shape);
  for (Index i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<Scalar>(i);
  return x;
}

}  // namespace

// The texts are those of NumPy 1.24.
TEST_CASE("tensors are printed as NumPy prints arrays") {
  CHECK(printed(Tensor<float>({2, 2}, {1, 2.5, 3, -4})) == "[[ 1.   2.5]\n [ 3.  -4. ]]");
  CHECK(printed(Tensor<float>({3}, {0.1f, 1.0f / 3, 2.0f / 3})) == "[0.1        0.33333334 0.6666667 ]");
  CHECK(printed(Tensor<double>({3}, {0.1, 1.0 / 3, 1e-5})) == "[1.00000000e-01 3.33333333e-01 1.00000000e-05]");
  CHECK(printed(Tensor<double>({2}, {1e10, 1})) == "[1.e+10 1.e+00]");
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(printed(Tensor<double>({3}, {std::nan(""), 1, -infinity})) == "[ nan   1. -inf]");
  CHECK(printed(counted<std::int32_t>({2, 3, 4})) ==
        "[[[ 0  1  2  3]\n  [ 4  5  6  7]\n  [ 8  9 10 11]]\n\n [[12 13 14 15]\n  [16 17 18 19]\n  [20 21 22 23]]]");
  CHECK(printed(Tensor<float>({}, {3.5f})) == "3.5");
  CHECK(printed(Tensor<float>({0, 3})) == "[]");
}

TEST_CASE("long tensors are shortened, long lines broken") {
  CHECK(printed(counted<float>({2000})) == "[0.000e+00 1.000e+00 2.000e+00 ... 1.997e+03 1.998e+03 1.999e+03]");
  CHECK(printed(counted<std::int32_t>({30, 40})) ==
        "[[   0    1    2 ...   37   38   39]\n [  40   41   42 ...   77   78   79]\n"
        " [  80   81   82 ...  117  118  119]\n ...\n [1080 1081 1082 ... 1117 1118 1119]\n"
        " [1120 1121 1122 ... 1157 1158 1159]\n [1160 1161 1162 ... 1197 1198 1199]]");
  Tensor<float> line({23});
  for (Index i = 0; i < 23; ++i) line.data()[i] = static_cast<float>(static_cast<double>(i) / 22);
  CHECK(printed(line) ==
        "[0.         0.04545455 0.09090909 0.13636364 0.18181819 0.22727273\n"
        " 0.27272728 0.3181818  0.36363637 0.4090909  0.45454547 0.5\n"
        " 0.54545456 0.59090906 0.6363636  0.6818182  0.72727275 0.77272725\n"
        " 0.8181818  0.8636364  0.90909094 0.95454544 1.        ]");
}
