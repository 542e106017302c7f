#pragma once

#include <mpi.h>

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lamina/nn/batch_norm.hpp"

/// Several processes, ranks, that compute together, on one machine or many, by MPI 3. Opt-in: needs lamina::mpi.
namespace lamina::mpi::inline LAMINA_ABI {

/// MPI cannot do what is asked of it, or a call of it failed; the message names the call.
class MpiError : public Error {
 public:
  using Error::Error;
};

/// What is sent as it is: float, double, and integers of 1, 4 and 8 bytes.
template <class T>
concept Sendable = std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, std::uint8_t> ||
    std::same_as<T, std::uint16_t> || std::same_as<T, std::int32_t> || std::same_as<T, std::int64_t> ||
    std::same_as<T, std::uint64_t>;

/// MPI's name of a type.
template <Sendable T>
MPI_Datatype type_of() {
  if constexpr (std::is_same_v<T, float>)
    return MPI_FLOAT;
  else if constexpr (std::is_same_v<T, double>)
    return MPI_DOUBLE;
  else if constexpr (std::is_same_v<T, std::uint8_t>)
    return MPI_UINT8_T;
  else if constexpr (std::is_same_v<T, std::uint16_t>)
    return MPI_UINT16_T;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return MPI_INT32_T;
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return MPI_INT64_T;
  else
    return MPI_UINT64_T;
}

/// Throws MpiError, which names the call and MPI's reason, unless its result is success.
inline void check(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  char reason[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(result, reason, &length);
  throw MpiError(text(call, ": ", reason));
}

/// Throws MpiError unless MPI, by what MPI_Init_thread gave, lets a program have threads of its own, as a loader's.
inline void check_threads(int provided) {
  require<MpiError>(provided >= MPI_THREAD_FUNNELED,
                    "MPI: this library was built without threads (it gives MPI_THREAD_SINGLE, and MPI_THREAD_FUNNELED "
                    "is needed), but Lamina computes and loads data with some");
}

/// A group of ranks. All calls but rank(), size() and raw() are collective: every rank makes them, in the same order.
/// Copies are the same group. Calls throw MpiError where MPI reports a failure.
class Communicator {
 public:
  /// The ranks of `ranks`, with messages of its own.
  explicit Communicator(MPI_Comm ranks) {
    MPI_Comm own = MPI_COMM_NULL;
    check(MPI_Comm_dup(ranks, &own), "MPI_Comm_dup");
    comm_ = std::shared_ptr<MPI_Comm>(new MPI_Comm(own), [](MPI_Comm* comm) {
      int ended = 0;
      MPI_Finalized(&ended);
      if (!ended) MPI_Comm_free(comm);
      delete comm;
    });
    check(MPI_Comm_set_errhandler(own, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    int number = 0;
    check(MPI_Comm_rank(own, &number), "MPI_Comm_rank");
    rank_ = number;
    check(MPI_Comm_size(own, &number), "MPI_Comm_size");
    size_ = number;
  }
  /// The same ranks, whose messages are not mixed up with this one's.
  Communicator duplicate() const { return Communicator(raw()); }

  Index rank() const { return rank_; }     ///< which one this is, from 0
  Index size() const { return size_; }     ///< how many there are
  MPI_Comm raw() const { return *comm_; }  ///< MPI's handle

  /// Waits for all.
  void barrier() const { check(MPI_Barrier(raw()), "MPI_Barrier"); }

  /// Adds up over all ranks, in place; all get the same bits.
  template <Sendable T>
  void sum(std::span<T> values) const {
    for_each_piece(values, [this](T* first, int count) {
      check(MPI_Allreduce(MPI_IN_PLACE, first, count, type_of<T>(), MPI_SUM, raw()), "MPI_Allreduce");
    });
  }
  /// Adds up in the order of the ranks: the same bits for every MPI. For few numbers, since every rank gets all.
  void sum_in_order(std::span<double> values) const {
    const std::vector<double> all = gather(std::span<const double>(values));
    std::fill(values.begin(), values.end(), 0.0);
    for (std::size_t i = 0; i < all.size(); ++i) values[i % values.size()] += all[i];
  }
  /// Gives all ranks the values of one.
  template <Sendable T>
  void broadcast(std::span<T> values, Index from = 0) const {
    for_each_piece(values, [&](T* first, int count) {
      check(MPI_Bcast(first, count, type_of<T>(), static_cast<int>(from), raw()), "MPI_Bcast");
    });
  }
  /// The values of all ranks, one rank's after the other's, on every rank. All have equally many.
  template <Sendable T>
  std::vector<T> gather(std::span<const T> values) const {
    std::vector<T> all(values.size() * static_cast<std::size_t>(size_));
    const int count = counted(values.size());
    check(MPI_Allgather(values.data(), count, type_of<T>(), all.data(), count, type_of<T>(), raw()), "MPI_Allgather");
    return all;
  }
  /// The values of all ranks, who may have different numbers of them.
  template <Sendable T>
  std::vector<std::vector<T>> gather_all(std::span<const T> values) const {
    const std::int64_t own = static_cast<std::int64_t>(values.size());
    const std::vector<std::int64_t> sizes = gather(std::span(&own, 1));
    std::vector<int> counts, places;
    std::size_t total = 0;
    for (const std::int64_t size : sizes) {
      places.push_back(counted(total));
      counts.push_back(counted(static_cast<std::size_t>(size)));
      total += static_cast<std::size_t>(size);
    }
    std::vector<T> all(total);
    check(MPI_Allgatherv(values.data(), counted(values.size()), type_of<T>(), all.data(), counts.data(), places.data(),
                         type_of<T>(), raw()),
          "MPI_Allgatherv");
    std::vector<std::vector<T>> result;
    for (std::size_t i = 0; i < counts.size(); ++i)
      result.emplace_back(all.begin() + places[i], all.begin() + places[i] + counts[i]);
    return result;
  }
  /// The texts of all ranks.
  std::vector<std::string> gather(const std::string& text) const {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
    std::vector<std::string> result;
    for (const auto& part : gather_all(std::span(bytes, text.size()))) result.emplace_back(part.begin(), part.end());
    return result;
  }

  /// sum_in_order, for evaluate.
  SumOverRanks sum_over_ranks() const {
    return [ranks = *this](std::span<double> values) { ranks.sum_in_order(values); };
  }

 private:
  /// MPI counts by int.
  static int counted(std::size_t count) {
    require<MpiError>(count <= most, "MPI: ", count, " values are too many for one message, ", most, " are possible");
    return static_cast<int>(count);
  }
  template <class T, class F>
  static void for_each_piece(std::span<T> values, F f) {
    for (std::size_t first = 0; first < values.size(); first += most)
      f(values.data() + first, static_cast<int>(std::min(most, values.size() - first)));
  }
  static constexpr std::size_t most = std::size_t{1} << 30;

  std::shared_ptr<MPI_Comm> comm_;
  Index rank_ = 0, size_ = 1;
};

/// Says on stderr which rank has failed and why, and ends all ranks.
[[noreturn]] inline void abort(const Communicator& ranks, const char* cause) {
  std::fprintf(stderr, "rank %td of %td: %s\n", ranks.rank(), ranks.size(), cause);
  std::fflush(stderr);
  std::fflush(stdout);
  MPI_Abort(MPI_COMM_WORLD, 1);
  std::terminate();  // MPI_Abort does not return
}

/// From its making to its end the program is a part of MPI's world: a rank under mpirun, or without it the only one.
/// One at a time. Where MPI runs already, started by somebody else, it is used, and left running.
///
/// A session that is ended by an exception ends all ranks: those that wait for this one would wait for ever. The cause
/// is named by run(), which is the better way.
class Session {
 public:
  /// Starts MPI. Throws MpiError if that fails, it was ended before, or it has no threads (see check_threads).
  Session() : exceptions_(std::uncaught_exceptions()) {
    int ended = 0, running = 0, provided = MPI_THREAD_SINGLE;
    check(MPI_Finalized(&ended), "MPI_Finalized");
    require<MpiError>(!ended, "MPI: it was ended before, and cannot be started twice");
    check(MPI_Initialized(&running), "MPI_Initialized");
    if (running) {
      check(MPI_Query_thread(&provided), "MPI_Query_thread");
    } else {
      check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
      started_ = true;
    }
    try {
      check_threads(provided);
      world_ = std::make_unique<Communicator>(MPI_COMM_WORLD);
    } catch (...) {
      if (started_) MPI_Finalize();
      throw;
    }
  }
  /// Waits for the other ranks, and ends MPI.
  ~Session() {
    if (std::uncaught_exceptions() > exceptions_ && world_->size() > 1) abort(*world_, "ended by an exception");
    world_.reset();
    if (started_) MPI_Finalize();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// All ranks.
  const Communicator& world() const { return *world_; }

 private:
  int exceptions_;
  bool started_ = false;
  std::unique_ptr<Communicator> world_;
};

/// The main of a program of several ranks: body(world), where world is a Communicator. What it throws is said on stderr
/// with the rank, "rank 1 of 4: fit: the loss is nan ...", and ends all ranks within seconds, with the exit code 1; a
/// rank that is killed ends them too, and mpirun names it. Returns 0.
///
///   int main() {
///     return mpi::run([](const mpi::Communicator& world) { train(world); });
///   }
template <class Body>
int run(const Body& body) {
  Session session;
  try {
    body(session.world());
    return 0;
  } catch (const std::bad_alloc&) {
    abort(session.world(), "out of memory");
  } catch (const std::exception& error) {
    abort(session.world(), error.what());
  }
}

}  // namespace lamina::mpi::inline LAMINA_ABI
