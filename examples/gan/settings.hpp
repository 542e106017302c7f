#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "lamina/core/parallel.hpp"
#include "lamina/models/gan.hpp"

namespace lamina::examples::gan {

struct Settings {
  std::string dataset = "digits", data, out = "out", model, resume, context = "none", judge, features;
  GanOptions network{.channels = 1, .classes = 10, .latent = 64, .width = 16};
  bool unconditional = false;
  Index epochs = 20, epoch_steps = 250, batch_size = 32, discriminator_steps = 1, limit_train = 60000, count = 2000,
        images = 80, label = -1, columns = 9, judge_epochs = 6;
  std::optional<double> lr_generator, lr_discriminator;
  double ema = 0.999;
  int threads = num_threads();
  std::uint64_t seed = 0;

  std::string file(const std::string& name) const { return out + "/" + name; }
};

}  // namespace lamina::examples::gan
