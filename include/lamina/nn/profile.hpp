#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "lamina/nn/block.hpp"

namespace lamina::inline LAMINA_ABI {

/// What one step of an inference took.
struct ProfileRow {
  double seconds;       ///< the smallest of the runs
  Index multiply_adds;  ///< of the step
  Index bytes;          ///< of the values that it reads and writes
  std::string what;     ///< the layers, with their path
};

/// A table: milliseconds, share of the whole, GFLOP/s (two for each multiply-add), megabytes of 10^6 bytes, what; and
/// the sums.
inline std::string profile_table(const std::vector<ProfileRow>& rows) {
  ProfileRow total{0, 0, 0, "all"};
  for (const ProfileRow& row : rows) {
    total.seconds += row.seconds;
    total.multiply_adds += row.multiply_adds;
    total.bytes += row.bytes;
  }
  std::string out = "      ms   share  GFLOP/s       MB  step\n";
  const auto add = [&](const ProfileRow& row) {
    char line[128];
    const double share = total.seconds > 0 ? 100 * row.seconds / total.seconds : 0;
    const double rate = row.seconds > 0 ? 2e-9 * static_cast<double>(row.multiply_adds) / row.seconds : 0;
    std::snprintf(line, sizeof line, "%8.3f %6.1f%% %8.1f %8.2f  ", 1e3 * row.seconds, share, rate,
                  1e-6 * static_cast<double>(row.bytes));
    out += line + row.what + "\n";
  };
  for (const ProfileRow& row : rows) add(row);
  add(total);
  return out;
}

namespace detail {
/// Inference that takes the time of each layer, in the order in which they run.
template <class Scalar>
class Timing final : public Computing<Scalar> {
 public:
  explicit Timing(const Module<Scalar>& root) : root_(root) {}
  std::vector<ProfileRow> rows;

 private:
  Values<Scalar> compute(const Primitive<Scalar>& layer, Values<Scalar> inputs, Activation activation, bool) override {
    ProfileRow row{0, layer.multiply_adds_of(inputs), bytes_of(inputs), ""};
    find_path(root_, static_cast<const Module<Scalar>*>(&layer), row.what);
    row.what += (row.what.empty() ? "" : ": ") + layer.name();
    if (activation != Activation::none) row.what += " + activation";
    const auto start = std::chrono::steady_clock::now();
    Values<Scalar> results = layer.infer_values(std::move(inputs), activation);
    row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    row.bytes += bytes_of(results);
    rows.push_back(std::move(row));
    return results;
  }
  static Index bytes_of(const Values<Scalar>& values) {
    Index bytes = 0;
    for (std::size_t i = 0; i < values.size(); ++i) bytes += values[i].shape().numel() * Index{sizeof(Scalar)};
    return bytes;
  }

  const Module<Scalar>& root_;
};
}  // namespace detail

/// A table of what each layer's part of infer takes, the fastest of `runs` runs. (That of a Plan: Plan::report.) Throws
/// as infer, and ValueError for less than one run.
template <class Scalar>
std::string profile(const Module<Scalar>& net, Values<Scalar> inputs, int runs = 10) {
  require(runs >= 1, "profile: runs must be at least 1, got ", runs);
  std::vector<ProfileRow> best;
  for (int run = 0; run < runs; ++run) {
    detail::Timing<Scalar> flow(net);
    try {
      flow.settled(flow.all(net, inputs));
    } catch (Error& error) {
      detail::locate(error, net, flow.failed());
      throw;
    }
    if (run == 0) best = flow.rows;
    for (std::size_t i = 0; i < best.size(); ++i) best[i].seconds = std::min(best[i].seconds, flow.rows[i].seconds);
  }
  return profile_table(best);
}
/// Of one input.
template <class Scalar>
std::string profile(const Module<Scalar>& net, const Tensor<Scalar>& x, int runs = 10) {
  return profile(net, Values<Scalar>(Value<Scalar>(x)), runs);
}

}  // namespace lamina::inline LAMINA_ABI
