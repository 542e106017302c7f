#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "lamina/core/choice.hpp"
#include "lamina/core/numbers.hpp"
#include "lamina/core/tensor.hpp"
#include "lamina/mpi/communicator.hpp"

namespace lamina::mpi::inline LAMINA_ABI {

/// How gradients are sent. What a message leaves out is added to the next one's (error feedback; Seide et al. 2014,
/// Karimireddy et al. 2019): nothing is lost, but comes later.
enum class Compression {
  none,      ///< as they are
  bfloat16,  ///< half of the bytes: 8 bits of fraction on the way to the rank that sums a part, and from it; sums are
             ///< exact
  top_k      ///< the largest by absolute value (Aji and Heafield 2017), with their places
};
}  // namespace lamina::mpi::inline LAMINA_ABI

namespace lamina::inline LAMINA_ABI {
/// The same.
template <>
struct Words<mpi::Compression> {
  static constexpr const char* what = "compression";               ///< in messages
  static constexpr std::array words{"none", "bfloat16", "top_k"};  ///< of each
};
}  // namespace lamina::inline LAMINA_ABI

namespace lamina::mpi::inline LAMINA_ABI {

/// The upper 16 bits of a float, rounded to the nearest, to even where two are as near; a NaN stays one.
inline std::uint16_t to_bfloat16(float value) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}
/// The float of those bits.
inline float from_bfloat16(std::uint16_t value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value) << 16;
  float result = 0;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

/// A sum over ranks of `size` numbers that goes on while the program computes: write values(), start(), call move_on()
/// now and then until done(); values() are then the sums, the same bits on all ranks. Calls that start a message
/// (start, and move_on where it may) are collective: all ranks make them in the same order for several exchanges over
/// the same communicators.
template <class Scalar>
class Exchange {
 public:
  /// `ranks` and, for the second message of bfloat16, `second` are for exchanges alone. `top_k` is the share that
  /// Compression::top_k sends. Throws MpiError where a message has more numbers than MPI can count.
  Exchange(const Communicator& ranks, const Communicator& second, Index size, Compression compression, double top_k)
      : ranks_(ranks), second_(second), compression_(compression), size_(static_cast<std::size_t>(size)) {
    require<MpiError>(size < Index{1} << 30, "MPI: a message of ", size, " numbers is too long");
    const auto n = static_cast<std::size_t>(ranks.size());
    if (compression != Compression::none) values_.resize(size_);
    if (compression == Compression::bfloat16) {
      part_ = (size_ + n - 1) / n;
      left_.resize(size_);
      own_left_.resize(part_);
      sent_.resize(part_ * n);
      received_.resize(part_ * n);
    } else if (compression == Compression::top_k) {
      const double wanted = std::ceil(top_k * static_cast<double>(size));
      part_ = std::min(size_, static_cast<std::size_t>(wanted));
      left_.resize(size_);
      places_.resize(size_);
      chosen_.resize(part_);
      all_chosen_.resize(part_ * n);
    }
  }

  /// What is summed, and the sums; uninitialised at first.
  Scalar* values() {
    values_.resize(size_);
    return values_.data();
  }
  /// Whether the sums are there.
  bool done() const { return state_ == State::idle; }

  /// Sends the values. Without compression they may be elsewhere: nobody touches them then until the sums are there.
  void start(Scalar* elsewhere = nullptr) {
    state_ = State::first;
    if (compression_ == Compression::none) {
      check(MPI_Iallreduce(MPI_IN_PLACE, elsewhere ? elsewhere : values(), static_cast<int>(size_), type_of<Scalar>(),
                           MPI_SUM, ranks_.raw(), &request_),
            "MPI_Iallreduce");
    } else if (compression_ == Compression::bfloat16) {
      for (std::size_t i = 0; i < values_.size(); ++i) sent_[i] = compressed(values_[i], left_[i]);
      const auto part = static_cast<int>(part_);
      check(MPI_Ialltoall(sent_.data(), part, MPI_UINT16_T, received_.data(), part, MPI_UINT16_T, ranks_.raw(),
                          &request_),
            "MPI_Ialltoall");
    } else {
      choose();
      const auto bytes = static_cast<int>(part_ * sizeof(Chosen));
      check(
          MPI_Iallgather(chosen_.data(), bytes, MPI_BYTE, all_chosen_.data(), bytes, MPI_BYTE, ranks_.raw(), &request_),
          "MPI_Iallgather");
    }
  }

  /// Lets MPI work, and takes what has come. A second message is only started if it may follow; returns whether another
  /// exchange's may follow this one's.
  bool move_on(bool may_follow) {
    const bool two = compression_ == Compression::bfloat16;
    if (state_ == State::idle) return may_follow;
    if (state_ != State::waiting) {
      int arrived = 0;
      check(MPI_Test(&request_, &arrived, MPI_STATUS_IGNORE), "MPI_Test");
      if (arrived) arrive();
    }
    if (state_ == State::waiting && may_follow) send_second();
    return may_follow && !(two && (state_ == State::first || state_ == State::waiting));
  }

  /// After an error: what runs is not waited for. Its memory is left to MPI, which may still write there.
  void abandon() {
    if (state_ != State::idle) new Exchange(std::move(*this));
    state_ = State::idle;
  }

  /// See DataParallel::bytes_sent.
  double bytes_sent() const {
    const auto n = static_cast<double>(ranks_.size());
    if (compression_ == Compression::top_k) return (n - 1) * static_cast<double>(part_ * sizeof(Chosen));
    const std::size_t each = compression_ == Compression::none ? sizeof(Scalar) : sizeof(std::uint16_t);
    return 2 * (n - 1) / n * static_cast<double>(size_ * each);
  }

 private:
  enum class State { idle, first, waiting, second };
  /// A number of top_k.
  struct Chosen {
    Scalar value;
    std::int32_t place;
  };

  /// The 16 bits that are sent for a value with what was left of those before; notes what is left.
  template <class T>
  static std::uint16_t compressed(T value, T& left) {
    const T wanted = value + left;
    const std::uint16_t bits = to_bfloat16(static_cast<float>(wanted));
    left = wanted - static_cast<T>(from_bfloat16(bits));
    if (!is_finite(left)) left = 0;  // or what comes after it would be lost, too
    return bits;
  }

  /// The largest numbers of the values with what was left.
  void choose() {
    for (std::size_t i = 0; i < values_.size(); ++i) left_[i] += values_[i];
    std::iota(places_.begin(), places_.end(), std::int32_t{0});
    const auto size_of = [this](std::int32_t place) {
      const Scalar size = std::abs(left_[static_cast<std::size_t>(place)]);
      return is_nan(size) ? std::numeric_limits<Scalar>::infinity() : size;
    };
    const auto larger = [&](std::int32_t a, std::int32_t b) {
      const Scalar x = size_of(a), y = size_of(b);
      return x != y ? x > y : a < b;
    };
    const auto end = places_.begin() + static_cast<std::ptrdiff_t>(part_);
    std::nth_element(places_.begin(), end, places_.end(), larger);
    std::sort(places_.begin(), end);
    for (std::size_t i = 0; i < part_; ++i) {
      Scalar& value = left_[static_cast<std::size_t>(places_[i])];
      chosen_[i] = {std::exchange(value, Scalar(0)), places_[i]};
    }
  }

  /// The running message has arrived.
  void arrive() {
    if (compression_ == Compression::bfloat16 && state_ == State::first) {
      state_ = State::waiting;
      return;
    }
    if (compression_ == Compression::bfloat16) {
      for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = static_cast<Scalar>(from_bfloat16(received_[i]));
    } else if (compression_ == Compression::top_k) {
      std::fill(values_.begin(), values_.end(), Scalar(0));
      for (const Chosen& chosen : all_chosen_) values_[static_cast<std::size_t>(chosen.place)] += chosen.value;
    }
    state_ = State::idle;
  }

  /// Adds up this rank's part of bfloat16's numbers, and sends the sums.
  void send_second() {
    const auto n = static_cast<std::size_t>(ranks_.size());
    sums_.assign(part_, 0);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t i = 0; i < part_; ++i) sums_[i] += static_cast<Scalar>(from_bfloat16(received_[r * part_ + i]));
    for (std::size_t i = 0; i < part_; ++i) sent_[i] = compressed(sums_[i], own_left_[i]);
    const auto part = static_cast<int>(part_);
    check(MPI_Iallgather(sent_.data(), part, MPI_UINT16_T, received_.data(), part, MPI_UINT16_T, second_.raw(),
                         &request_),
          "MPI_Iallgather");
    state_ = State::second;
  }

  Communicator ranks_, second_;
  Compression compression_;
  std::size_t size_;
  std::vector<Scalar> values_;
  State state_ = State::idle;
  MPI_Request request_ = MPI_REQUEST_NULL;
  std::size_t part_ = 0;                        // bfloat16: numbers that a rank adds up; top_k: that it sends
  std::vector<Scalar> left_, own_left_, sums_;  // not sent yet, of the values and of the sums of its part
  std::vector<std::uint16_t> sent_, received_;
  std::vector<std::int32_t> places_;
  std::vector<Chosen> chosen_, all_chosen_;
};

}  // namespace lamina::mpi::inline LAMINA_ABI
