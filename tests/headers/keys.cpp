// Prints the keys of a state_dict of containers written every way; the test compares them with keys.txt, for every
// compiler that is at hand. Weights saved by a program of one compiler must load into that of another.
#include <cstdio>

#include "lamina/nn/concat.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/relu.hpp"
#include "lamina/nn/state.hpp"
#include "lamina/nn/sum.hpp"

using namespace lamina;

namespace {

Sequential<float> block() { return {Linear(2, 2), ReLU()}; }

/// A model that is a Sequential by inheritance.
struct Model : Sequential<float> {
  Model() : Sequential<float>{{"first", Linear(2, 2)}, {"", block()}} {}
};

template <class M>
void print(const char* title, const M& module) {
  std::printf("%s:", title);
  for (const auto& entry : state_dict(module)) std::printf(" %s", entry.first.c_str());
  std::printf("\n");
}

}  // namespace

int main() {
  const Sequential<float> one = block();
  print("one nested block", Sequential{block()});
  print("one nested block, typed", Sequential<float>{block()});
  print("one nested block, by name", Sequential<float>{one});
  print("in round brackets", Sequential<float>(block()));
  print("as a named child", Sequential<float>{{"0", block()}});
  print("twice nested", Sequential{Sequential{block()}});
  print("two nested blocks", Sequential{block(), block()});
  print("a block and a layer", Sequential{block(), ReLU()});
  print("a model", Model());
  print("a list of one model", Sequential<float>{Model()});
  print("Sum of one block", Sum{block()});
  print("Sum of one Sum", Sum{Sum{block(), block()}});
  print("Concat of one Concat", Concat{Concat{block(), block()}});
  print("Concat with options", Concat<float>({Concat{block(), block()}}, {.dim = 0}));
  const Concat<float> rows({block(), block()}, {.dim = 0});
  std::printf("Concat of one Concat along rows: %s\n", Concat<float>{rows}.name().c_str());
  Sequential<float> added;
  added.add(block());
  print("added", added);
}
