#pragma once

#include <string>
#include <utility>

#include "lamina/io/file.hpp"
#include "lamina/io/image.hpp"
#include "lamina/train/fit.hpp"
#include "lamina/train/history.hpp"

namespace lamina::inline LAMINA_ABI {

/// Writes history.csv and curves.png, the curves of loss and accuracy, into a folder, each whole or not at all: who
/// looks at them meanwhile sees the old or the new. Throws FileError when they cannot be written.
void save_history(const std::string& folder, const History& history);

/// Does so after every epoch of fit:
///
///   fit(net, optimizer, train, {.epochs = 10, .on_epoch = HistoryFiles("out")});
///
/// or, with something else to do then, `save_history("out", state.history)` in an on_epoch of one's own.
class HistoryFiles {
 public:
  /// The folder, which must be there.
  explicit HistoryFiles(std::string folder) : folder_(std::move(folder)) {}

  /// Of the epochs done so far.
  template <class Scalar>
  void operator()(const FitState<Scalar>& state) const {
    save_history(folder_, state.history);
  }

 private:
  std::string folder_;
};

}  // namespace lamina::inline LAMINA_ABI

#ifndef LAMINA_COMPILED_IO
#include "lamina/io/history-inl.hpp"
#endif
