#pragma once

/// Training on several processes or machines, by MPI: opt-in, needs lamina::mpi.
// clang-format off: this include is the first one
#include "lamina/core/detail/macros_hide.inc"
// clang-format on

#include "lamina/mpi/communicator.hpp"
#include "lamina/mpi/data_parallel.hpp"
#include "lamina/mpi/exchange.hpp"
#include "lamina/mpi/gather_rows.hpp"
#include "lamina/mpi/sync_batch_norm.hpp"

// clang-format off: and this the last
#include "lamina/core/detail/macros_restore.inc"
