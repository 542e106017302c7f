// Every rank runs the same test cases in the same order; what fails on one of them fails all.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "world.hpp"

int main(int argc, char** argv) {
  const lamina::mpi::Session session;
  world() = &session.world();
  doctest::Context context(argc, argv);
  context.setOption("no-breaks", true);
  double failed = context.run();
  world()->sum(std::span<double>(&failed, 1));
  return failed != 0;
}
