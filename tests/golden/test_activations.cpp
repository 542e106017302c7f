#include <doctest/doctest.h>

#include "golden/golden.hpp"
#include "lamina/nn/elu.hpp"
#include "lamina/nn/gelu.hpp"
#include "lamina/nn/glu.hpp"
#include "lamina/nn/hardsigmoid.hpp"
#include "lamina/nn/hardswish.hpp"
#include "lamina/nn/hardtanh.hpp"
#include "lamina/nn/leaky_relu.hpp"
#include "lamina/nn/mish.hpp"
#include "lamina/nn/prelu.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/relu6.hpp"
#include "lamina/nn/selu.hpp"
#include "lamina/nn/sigmoid.hpp"
#include "lamina/nn/silu.hpp"
#include "lamina/nn/softmax.hpp"
#include "lamina/nn/softplus.hpp"
#include "lamina/nn/tanh.hpp"

using namespace lamina;
using testing::Golden;

namespace {

template <class L, class S>
void check_activation(Golden<S>& golden, const std::string& name, const L& layer) {
  for (const char* part : {"/random", "/kinks", "/tails", "/small"}) CHECK(golden.layer(name + part, layer));
}

template <template <class> class Softmax, class S>
void check_softmax(Golden<S>& golden, const std::string& name) {
  CHECK(golden.layer(name + "/rank1", Softmax<S>(0)));
  CHECK(golden.layer(name + "/rows", Softmax<S>(-1)));
  CHECK(golden.layer(name + "/columns", Softmax<S>(0)));
  for (int dim = 0; dim < 4; ++dim) CHECK(golden.layer(name + "/rank4_dim" + std::to_string(dim), Softmax<S>(dim)));
  CHECK(golden.layer(name + "/one", Softmax<S>(1)));
  CHECK(golden.layer(name + "/long", Softmax<S>(-1)));
  CHECK(golden.layer(name + "/large", Softmax<S>(-1)));
}

}  // namespace

TEST_CASE_TEMPLATE("activations as in PyTorch", S, float, double) {
  Golden<S> golden("activations");
  check_activation(golden, "sigmoid", Sigmoid<S>());
  check_activation(golden, "tanh", Tanh<S>());
  check_activation(golden, "relu", ReLU<S>());
  check_activation(golden, "relu6", ReLU6<S>());
  check_activation(golden, "leaky_relu", LeakyReLU<S>());
  check_activation(golden, "leaky_relu_0.2", LeakyReLU<S>(0.2));
  check_activation(golden, "gelu", GELU<S>());
  check_activation(golden, "gelu_tanh", GELU<S>({.approximate = "tanh"}));
  check_activation(golden, "silu", SiLU<S>());
  check_activation(golden, "hardsigmoid", Hardsigmoid<S>());
  check_activation(golden, "hardswish", Hardswish<S>());
  check_activation(golden, "elu", ELU<S>());
  check_activation(golden, "elu_0.3", ELU<S>(0.3));
  check_activation(golden, "selu", SELU<S>());
  check_activation(golden, "softplus", Softplus<S>());
  check_activation(golden, "softplus_2", Softplus<S>({.beta = 2, .threshold = 5}));
  check_activation(golden, "mish", Mish<S>());
  check_activation(golden, "hardtanh", Hardtanh<S>());
  check_activation(golden, "hardtanh_3", Hardtanh<S>(-3, 3.5));
  check_activation(golden, "prelu", PReLU<S>());
  CHECK(golden.layer("prelu/channels", PReLU<S>({.num_parameters = 3})));
  CHECK(golden.layer("prelu/features", PReLU<S>({.num_parameters = 19})));
  CHECK(golden.layer("glu/last", GLU<S>()));
  CHECK(golden.layer("glu/channels", GLU<S>(1)));
  CHECK(golden.layer("glu/first", GLU<S>(0)));
  CHECK(golden.layer("swiglu/last", SwiGLU<S>()));
  CHECK(golden.layer("swiglu/channels", SwiGLU<S>(1)));
  CHECK(golden.layer("geglu/last", GEGLU<S>()));
  CHECK(golden.layer("geglu/tanh", GEGLU<S>(0, {.approximate = "tanh"})));
  CHECK(golden.layer("gated/llama", GatedActivation(SiLU<S>(), Identity<S>())));
  CHECK(golden.layer("gated/pixelcnn", GatedActivation(Tanh<S>(), Sigmoid<S>(), 1)));
  CHECK(golden.layer("gated/relu_gelu", GatedActivation(ReLU<S>(), GELU<S>(), 1)));
  for (const auto& [name, options] : {std::pair<std::string, HardsigmoidOptions>{"keras", {.alpha = 0.2}},
                                      {"steep", {.alpha = 1.5, .beta = -0.25}}}) {
    CHECK(golden.layer("hardsigmoid/" + name, Hardsigmoid<S>(options)));
    CHECK(golden.layer("hardsigmoid/" + name + "_tails", Hardsigmoid<S>(options)));
  }
  check_softmax<Softmax>(golden, "softmax");
  check_softmax<LogSoftmax>(golden, "log_softmax");
  CHECK(golden.layer("softmax/masked", Softmax<S>(-1)));
  CHECK(golden.untested() == "");
}
