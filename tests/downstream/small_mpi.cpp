#include <lamina/mpi.hpp>

// A program that knows of MPI, started without mpirun: one rank.
int main() {
  return lamina::mpi::run([](const lamina::mpi::Communicator& world) {
    std::vector<double> numbers{1, 2};
    world.sum(std::span<double>(numbers));
    lamina::require(world.size() == 1 && numbers[1] > 1.5, "there is one rank");
  });
}
