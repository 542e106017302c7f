#pragma once

#include <string>
#include <vector>

#include "lamina/models/gan.hpp"
#include "lamina/optim/adam.hpp"

namespace lamina::examples::gan {

/// Means over the steps of an epoch.
struct EpochOfRun {
  double discriminator_loss = 0, generator_loss = 0, real_score = 0, fake_score = 0;
  double spread = 0;   ///< of the images of a class, as a share of that of real ones
  double seconds = 0;  ///< that it took
};

struct Rates {
  double lr_generator, lr_discriminator;
};

/// Everything that a run needs to go on.
class Run {
 public:
  Run(const GanOptions& options, const Rates& rates)
      : generator(options),
        discriminator(options),
        generator_optimizer(parameters(generator), {.lr = rates.lr_generator, .betas = {0, 0.9}}),
        discriminator_optimizer(parameters(discriminator), {.lr = rates.lr_discriminator, .betas = {0, 0.9}}) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  GanGenerator<float> generator;
  GanDiscriminator<float> discriminator;
  Adam<float> generator_optimizer, discriminator_optimizer;
  StateDict<float> average{};  ///< of the generator's weights
  std::vector<EpochOfRun> epochs{};
  Index resumed = 0;  ///< epochs that were done before

  Index epoch() const { return static_cast<Index>(epochs.size()); }
  /// Whether this run itself has written a checkpoint.
  bool epochs_here(const std::string& resume) const { return resume.empty() || epoch() > resumed; }
};

/// Writes a run, whole or not at all.
void save_run(const std::string& path, const Run& run);

/// Goes on from there. Throws FileError for what is no run of this program, StateError for one of other networks.
void load_run(const std::string& path, Run& run);

}  // namespace lamina::examples::gan
