#pragma once

#include "lamina/core/detail/io_inline.hpp"
#include "lamina/io/history.hpp"
#include "lamina/plot/training.hpp"

namespace lamina::inline LAMINA_ABI {

LAMINA_IO_INLINE void save_history(const std::string& folder, const History& history) {
  write_file_atomically(folder + "/history.csv", to_csv(history));
  write_png(folder + "/curves.png", plot_history(history));
}

}  // namespace lamina::inline LAMINA_ABI
