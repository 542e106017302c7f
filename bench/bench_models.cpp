#include "cases.hpp"

namespace lamina::bench {

void add_cases() {
  add_case(Kind::network, "net/lenet_b256", [] { return lenet(); }, {256, 1, 28, 28});
}

}  // namespace lamina::bench
