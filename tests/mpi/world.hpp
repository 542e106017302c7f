#pragma once

#include <string>

#include "lamina/lamina.hpp"
#include "lamina/mpi.hpp"

/// The ranks that run the tests.
inline const lamina::mpi::Communicator*& world() {
  static const lamina::mpi::Communicator* ranks = nullptr;
  return ranks;
}
