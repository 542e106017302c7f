#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <ostream>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "lamina/nn/state.hpp"

/// Values against PyTorch. make_layers.py says what the fixture files hold and how they were made.
///
///   Golden<S> golden("linear");                                  // linear.safetensors
///   CHECK(golden.layer("linear/rank2", Linear<S>(5, 4)));        // state, y, dy, dx, gradients, buffers, inference
///   CHECK(golden.untested() == "");                              // no case was forgotten
///
/// Every element is compared: |got - expected| <= tolerance * (largest expected entry of that tensor), with tolerance
/// 1e-10 in double and 1e-5 in float.
namespace lamina::inline LAMINA_ABI::testing {

/// Converts to true if all values agree, and prints the worst entry of each tensor that does not.
struct Agreement {
  std::string failure;
  explicit operator bool() const { return failure.empty(); }
  friend std::ostream& operator<<(std::ostream& out, const Agreement& a) {
    return out << (a.failure.empty() ? "agrees" : a.failure);
  }
};

/// One fixture file: tensors by key ("conv2d/stride/x") and PyTorch's text for each case.
struct Fixtures {
  std::map<std::string, StateTensor<double>> tensors;
  std::map<std::string, std::string> cases;
};

/// The file of an area, read once per process. Throws FileError if it is missing or damaged.
const Fixtures& fixtures(const std::string& area);

/// The largest finite entry by magnitude.
double largest(const Tensor<double>& x);

/// "" if every element agrees, else a line with the worst; NaN agrees with NaN only. Where `expected` has no entry
/// above 1e-9 it is rounding noise around zero, and the tolerance is relative to `noise_scale`.
std::string disagreement(const std::string& what, const Tensor<double>& got, const Tensor<double>& expected,
                         double tolerance, double noise_scale = 1e-9);

template <class Scalar>
class Golden {
 public:
  static constexpr double tolerance = std::is_same_v<Scalar, double> ? 1e-10 : 1e-5;

  explicit Golden(const std::string& area) : fixtures_(fixtures(area)) {}

  /// A tensor of the fixture. Throws ValueError if there is none of that name.
  Tensor<Scalar> tensor(const std::string& key) const { return expected(key).template cast<Scalar>(); }
  Labels labels(const std::string& key) const { return expected(key).template cast<std::int32_t>(); }

  /// The entries "case/part.KEY" under their KEYs, as the state of a model.
  StateDict<Scalar> state(const std::string& case_name, const std::string& part) const {
    StateDict<Scalar> result;
    const std::string prefix = case_name + "/" + part + ".";
    for (auto entry = fixtures_.tensors.lower_bound(prefix);
         entry != fixtures_.tensors.end() && entry->first.starts_with(prefix); ++entry)
      result.emplace_back(entry->first.substr(prefix.size()), tensor(entry->first));
    return result;
  }

  /// Loads the case's state by name, runs forward, backward and inference, and compares everything with PyTorch's.
  /// `slack` widens the tolerance where a case is ill-conditioned on purpose.
  Agreement layer(const std::string& case_name, const Module<Scalar>& original, double slack = 1) {
    return run(case_name, [&](Report& report) {
      report.slack = slack;
      const auto copy = original.clone();
      Module<Scalar>& net = *copy;
      load_state_dict(net, state(case_name, "state"));
      Tape tape;
      report.add("y", net.forward(tensor(case_name + "/x"), tape));
      report.add("dx", net.backward(tensor(case_name + "/dy"), tape));
      if (!tape.empty()) report.text += "\n  the tape is not empty";
      gradients(net, report);
      buffers(net, report);
      const bool differs = fixtures_.tensors.contains(case_name + "/infer");
      report.add(differs ? "infer" : "y", net.infer(tensor(case_name + "/x")), "infer: ");
    });
  }

  /// Compares function(x), a Loss, with PyTorch's value and gradient.
  template <class F>
  Agreement loss(const std::string& case_name, F function) {
    return run(case_name, [&](Report& report) {
      const auto loss = function(tensor(case_name + "/x"));
      if (loss.losses.empty())
        report.add("value", Tensor<double>({}, {loss.value}));
      else
        report.add("value", loss.losses);
      report.add("grad", loss.grad);
    });
  }

  /// What compare(report) adds to the report of a case.
  struct Report {
    const Golden& golden;
    std::string case_name, text;
    double slack = 1;

    /// Compares a tensor with the fixture's "case/key".
    template <class T>
    void add(const std::string& key, const Tensor<T>& got, const std::string& note = "", double noise_scale = 1e-9) {
      text += disagreement(note + key, got.template cast<double>(), golden.expected(case_name + "/" + key),
                           slack * tolerance, noise_scale);
    }
  };
  template <class F>
  Agreement run(const std::string& case_name, F compare) {
    tested_.insert(case_name);
    Report report{*this, case_name, "", 1};
    const auto torch = fixtures_.cases.find(case_name);
    if (torch == fixtures_.cases.end()) return {case_name + ": no such case in the fixture"};
    try {
      compare(report);
    } catch (const Error& error) {
      report.text += std::string("\n  ") + error.what();
    }
    if (report.text.empty()) return {};
    return {case_name + ", in PyTorch " + torch->second + report.text};
  }

  /// Every parameter's gradient, and that PyTorch has no other. A gradient that is zero but for rounding (that of a
  /// bias before a BatchNorm) is compared on the scale of the model's largest.
  void gradients(Module<Scalar>& net, Report& report) const {
    double scale = 1e-9;
    for (const auto& [name, parameter, owner] : parameters(net))
      scale = std::max(scale, largest(expected(report.case_name + "/grad." + name)));
    std::size_t count = 0;
    for (const auto& [name, parameter, owner] : parameters(net)) {
      report.add("grad." + name, parameter->grad, "", scale);
      ++count;
    }
    if (const std::size_t expected_count = state(report.case_name, "grad").size(); count != expected_count)
      report.text += lamina::text("\n  ", count, " parameters, expected ", expected_count);
  }

  /// Everything in the state that the fixture has as "after.KEY".
  void buffers(const Module<Scalar>& net, Report& report) const {
    for (const auto& [name, value] : state_dict(net))
      if (fixtures_.tensors.contains(report.case_name + "/after." + name))
        std::visit([&, key = "after." + name](const auto& tensor) { report.add(key, tensor); }, value);
  }

  /// The names of the cases that nobody asked for, each after a space.
  std::string untested() const {
    std::string result;
    for (const auto& [name, torch] : fixtures_.cases)
      if (!tested_.contains(name)) result += " " + name;
    return result;
  }

 private:
  Tensor<double> expected(const std::string& key) const {
    const auto entry = fixtures_.tensors.find(key);
    lamina::require(entry != fixtures_.tensors.end(), "no entry ", key, " in the fixture");
    return std::visit([](const auto& tensor) { return tensor.template cast<double>(); }, entry->second);
  }

  const Fixtures& fixtures_;
  std::set<std::string> tested_;
};

}  // namespace lamina::inline LAMINA_ABI::testing
