#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>
#include <utility>

#include "common/interruption.hpp"
#include "common/metrics.hpp"
#include "common/program.hpp"
#include "gan/images.hpp"
#include "gan/model.hpp"
#include "gan/options.hpp"
#include "gan/run.hpp"
#include "lamina/core/numbers.hpp"
#include "lamina/io/image.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/train/adversarial.hpp"
#include "lamina/train/progress.hpp"

namespace lamina::examples::gan {

namespace {

/// The mean squared difference of neighbouring images of a class: images [K n, ...], those of a class at every K-th
/// place.
double spread(const Tensor<float>& images, Index classes) {
  const Index size = images.numel() / images.dim(0);
  double sum = 0;
  for (Index i = 0; i + classes < images.dim(0); ++i)
    for (Index k = 0; k < size; ++k) {
      const auto difference =
          static_cast<double>(images.data()[i * size + k] - images.data()[(i + classes) * size + k]);
      sum += difference * difference;
    }
  return sum / static_cast<double>(size * std::max<Index>(1, images.dim(0) - classes));
}

class Training {
 public:
  explicit Training(const Settings& s)
      : s_(s),
        images_(load_images(s, true)),
        used_(std::min(s.limit_train, images_.size())),
        run_(s.network, {s.lr_generator.value_or(1e-4), s.lr_discriminator.value_or(4e-4)}) {
    if (!s_.resume.empty()) load_run(s_.resume, run_);
    if (s_.lr_generator) run_.generator_optimizer.set_lr(*s_.lr_generator);
    if (s_.lr_discriminator) run_.discriminator_optimizer.set_lr(*s_.lr_discriminator);
    real_spread_ = spread(real_sheet(), sheet_classes());
  }

  void run() {
    Interruption interruption(s_.resume);
    std::printf("%s, context %s, on %td images of %s: %s and %s parameters\n",
                s_.network.classes > 0 ? "conditional" : "unconditional", s_.network.context.word(), used_,
                s_.dataset.c_str(), with_commas(count_parameters(run_.generator).total).c_str(),
                with_commas(count_parameters(run_.discriminator).total).c_str());
    std::printf("%6s %10s %10s %10s %10s %9s %9s\n", "epoch", "loss D", "loss G", "D(real)", "D(fake)", "spread",
                "steps/s");
    std::fflush(stdout);
    while (run_.epoch() < s_.epochs) {
      run_.epochs.push_back(train_epoch());
      check_finite();
      const GanGenerator<float> net = averaged();
      const Tensor<float> images = sheet_of(net);
      run_.epochs.back().spread = spread(images, sheet_classes()) / std::max(real_spread_, 1e-12);
      interruption.save_checkpoint(s_.file("checkpoint.safetensors"),
                                   [&] { save_run(s_.file("checkpoint.safetensors"), run_); });
      finish(net, images);
    }
  }

 private:
  Index sheet_classes() const { return std::max<Index>(1, s_.network.classes); }

  /// Real images in the order of a sheet.
  Tensor<float> real_sheet() const {
    const Index classes = sheet_classes(), rows = 8;
    std::vector<Index> places(static_cast<std::size_t>(rows * classes), -1), found(static_cast<std::size_t>(classes));
    for (Index i = 0; i < used_; ++i) {
      const Index k = s_.network.classes > 0 ? images_.targets().data()[i] : 0;
      Index& row = found[static_cast<std::size_t>(k)];
      if (row < rows) places[static_cast<std::size_t>(row++ * classes + k)] = i;
    }
    for (Index& place : places) place = std::max<Index>(place, 0);
    return to_network(pick(images_, places).input, s_.network.image);
  }

  Example<float> real_batch(Random& random) const {
    std::vector<Index> places(static_cast<std::size_t>(s_.batch_size));
    for (Index& place : places) place = random.below(used_);
    Example<float> batch = pick(images_, places);
    batch.input = to_network(batch.input, s_.network.image);
    return batch;
  }
  Values<float> with(const Tensor<float>& x, const Labels& labels) const {
    return generator_input(s_.network, x, labels);
  }
  Tensor<float> latent(Index n, Random& random) const { return random.normal<float>({n, s_.network.latent}); }

  /// A step's numbers depend on the seed and its place alone, so that a run goes on from a checkpoint with the same
  /// bits.
  void step(Index number, EpochOfRun& sums) {
    Random random = Random(s_.seed).split(static_cast<std::uint64_t>(number), 1);
    Tape tape(Random(s_.seed).split(static_cast<std::uint64_t>(number), 2));
    const Index n = s_.batch_size, classes = s_.network.classes;
    for (Index i = 0; i < s_.discriminator_steps; ++i) {
      const Example<float> real = real_batch(random);
      const Labels labels = drawn_labels(n, classes, random);
      const Tensor<float> fake = run_.generator.forward(with(latent(n, random), labels), tape, InputGrad::skip)[0];
      run_.generator.discard(tape);
      const DiscriminatorStep result = discriminator_step<float>(
          run_.discriminator, run_.discriminator_optimizer, with(real.input, real.target), with(fake, labels), tape);
      const double share = 1 / static_cast<double>(s_.discriminator_steps);
      sums.discriminator_loss += share * result.loss;
      sums.real_score += share * result.real_score;
      sums.fake_score += share * result.fake_score;
    }
    const Labels labels = drawn_labels(n, classes, random);
    sums.generator_loss += generator_step<float>(
        run_.generator, run_.discriminator, run_.generator_optimizer, with(latent(n, random), labels),
        [&](const Tensor<float>& x) { return with(x, labels); }, tape);
    move_average<float>(run_.average, run_.generator, s_.ema);
  }

  EpochOfRun train_epoch() {
    EpochOfRun sums;
    Progress progress(s_.epoch_steps);
    progress.section(text("epoch ", run_.epoch() + 1, "/", s_.epochs), s_.epoch_steps);
    const double begin = seconds_now();
    for (Index i = 0; i < s_.epoch_steps; ++i) {
      const Index number = run_.epoch() * s_.epoch_steps + i;
      try {
        step(number, sums);
      } catch (const NumericalError& error) {
        progress.clear();
        stop(text("step ", number + 1, ": ", error.what()));
      }
      progress.advance(1, "steps");
    }
    progress.clear();
    const double steps = static_cast<double>(s_.epoch_steps);
    sums.discriminator_loss /= steps;
    sums.generator_loss /= steps;
    sums.real_score /= steps;
    sums.fake_score /= steps;
    sums.seconds = seconds_now() - begin;
    return sums;
  }

  [[noreturn]] void stop(const std::string& what) const {
    throw NumericalError(text(what, run_.epoch() > 0 ? "; the last good state is kept: --resume " : "",
                              run_.epoch() == 0             ? "; there is no good state yet"
                              : run_.epochs_here(s_.resume) ? s_.file("checkpoint.safetensors")
                                                            : s_.resume));
  }
  void check_finite() {
    for (Module<float>* net :
         {static_cast<Module<float>*>(&run_.generator), static_cast<Module<float>*>(&run_.discriminator)})
      for (const auto& [name, parameter, owner] : parameters(*net))
        for (const float value : std::as_const(parameter->value).values())
          if (!is_finite(value)) {
            run_.epochs.pop_back();
            stop(text("after epoch ", run_.epoch() + 1, ": ", name, " is not finite"));
          }
  }

  /// The average of the weights, with the running statistics of its own.
  GanGenerator<float> averaged() const {
    GanGenerator<float> net = run_.generator;
    load_state_dict(net, run_.average);
    Random random = Random(s_.seed).split(7, 7);
    for (int i = 0; i < 20; ++i) {
      Tape tape;
      const Labels labels = drawn_labels(s_.batch_size, s_.network.classes, random);
      net.forward(with(latent(s_.batch_size, random), labels), tape, InputGrad::skip);
      net.discard(tape);
    }
    return net;
  }

  /// Images of all classes, a column for each, from the same latent numbers every time.
  Tensor<float> sheet_of(const GanGenerator<float>& net) const {
    const Index classes = sheet_classes(), count = 8 * classes;
    Labels labels({count});
    for (Index i = 0; i < count; ++i) labels.data()[i] = static_cast<std::int32_t>(i % classes);
    Random random = Random(s_.seed).split(8, 8);
    return generate(net, latent(count, random), labels);
  }

  /// Sheet, curves, metrics and model of an epoch, and whether all images of a class look alike.
  void finish(const GanGenerator<float>& net, const Tensor<float>& images) {
    const EpochOfRun& epoch = run_.epochs.back();
    std::printf("%6td %10.4f %10.4f %10.4f %10.4f %9.3f %9.2f\n", run_.epoch(), epoch.discriminator_loss,
                epoch.generator_loss, epoch.real_score, epoch.fake_score, epoch.spread,
                static_cast<double>(s_.epoch_steps) / epoch.seconds);
    std::fflush(stdout);
    if (epoch.spread < 0.3)
      std::fprintf(stderr,
                   "warning: the generator collapses: its images of a class differ by %.3f of what real ones do\n",
                   epoch.spread);
    if (run_.epoch() > 1 && epoch.discriminator_loss < 0.02)
      std::fprintf(stderr,
                   "warning: the discriminator wins: its loss is %.4f, it scores real images %.2f, others %.2f\n",
                   epoch.discriminator_loss, epoch.real_score, epoch.fake_score);
    save_generator(s_.file("model.safetensors"), net, s_.dataset);
    char name[48];
    std::snprintf(name, sizeof name, "samples_epoch%03td.png", run_.epoch());
    write_sheet(s_.file(name), images, text("Epoch ", run_.epoch()), s_.network.classes > 0 ? sheet_classes() : 8);
    write_curves();
    write_numbers();
  }

  void write_curves() const {
    std::vector<double> x;
    std::vector<Series> series{{"loss of D", {}, {}}, {"loss of G", {}, {}}, {"D(real)", {}, {}}, {"D(fake)", {}, {}}};
    for (std::size_t i = 0; i < run_.epochs.size(); ++i) {
      const EpochOfRun& e = run_.epochs[i];
      const double values[] = {e.discriminator_loss, e.generator_loss, e.real_score, e.fake_score};
      for (std::size_t k = 0; k < series.size(); ++k) {
        series[k].x.push_back(static_cast<double>(i + 1));
        series[k].y.push_back(values[k]);
      }
    }
    write_png(s_.file("curves.png"),
              plot_lines(series, {.title = "Generator and discriminator", .x_label = "epoch", .y_label = "mean"}));
  }

  void write_numbers() {
    History history;
    std::vector<Json> measures;
    for (std::size_t i = 0; i < run_.epochs.size(); ++i) {
      const EpochOfRun& e = run_.epochs[i];
      EpochRecord record;
      record.epoch = static_cast<Index>(i) + 1;
      record.train_loss = e.generator_loss;
      record.seconds = e.seconds;
      record.examples_per_second = static_cast<double>(s_.epoch_steps * s_.batch_size) / e.seconds;
      record.lr = run_.generator_optimizer.lr();
      history.epochs.push_back(record);
      measures.push_back({{"discriminator_loss", e.discriminator_loss},
                          {"real_score", e.real_score},
                          {"fake_score", e.fake_score},
                          {"spread", e.spread}});
    }
    write_metrics(s_.out,
                  {{"dataset", s_.dataset},
                   {"context", s_.network.context.word()},
                   {"classes", s_.network.classes},
                   {"width", s_.network.width},
                   {"latent", s_.network.latent},
                   {"batch_size", s_.batch_size},
                   {"epoch_steps", s_.epoch_steps},
                   {"discriminator_steps", s_.discriminator_steps},
                   {"lr_generator", run_.generator_optimizer.lr()},
                   {"lr_discriminator", run_.discriminator_optimizer.lr()},
                   {"ema", s_.ema},
                   {"seed", s_.seed},
                   {"threads", num_threads()}},
                  {{.name = "generator",
                    .parameters = count_parameters(run_.generator).total,
                    .history = history,
                    .measures = std::move(measures),
                    .results = {{"discriminator_parameters", count_parameters(run_.discriminator).total}}}});
  }

  const Settings& s_;
  TensorDataset<float> images_;
  Index used_;
  Run run_;
  double real_spread_;
};

void run_training(Settings s) {
  s.network.channels = channels_of(s.dataset);
  s.network.context = s.context;
  s.network.classes = s.unconditional ? 0 : 10;
  prepare_folder(s.out);
  manual_seed(s.seed);
  Training(s).run();
  print_outputs(s.out, {{"model.safetensors", "the generator, an average of its weights"},
                        {"checkpoint.safetensors", "everything, for --resume"},
                        {"samples_epochNNN.png", "a sheet of each epoch"},
                        {"curves.png", "losses and scores"},
                        {"metrics.json", "all numbers"}});
}

}  // namespace

void add_train(CLI::App& app, Settings& s) {
  CLI::App* sub = add_command(app, s, "train", "Learns to generate a dataset's images", run_training);
  add_dataset(sub, s);
  const auto positive = CLI::PositiveNumber;
  sub->add_option("--context", s.context, "Context module at features of 32 x 32")
      ->check(CLI::IsMember({"none", "attention", "ylg", "hamburger"}))
      ->capture_default_str();
  sub->add_flag("--unconditional", s.unconditional, "Without the images' classes");
  sub->add_option("--width", s.network.width, "Channels at full size")->check(positive)->capture_default_str();
  sub->add_option("--latent", s.network.latent, "Numbers from which an image is made")
      ->check(positive)
      ->capture_default_str();
  sub->add_option("--epochs", s.epochs, "Sheets, and checkpoints")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  sub->add_option("--epoch-steps", s.epoch_steps, "Steps of the generator in each")
      ->check(positive)
      ->capture_default_str();
  sub->add_option("--batch-size", s.batch_size, "Images in a step")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  sub->add_option("--discriminator-steps", s.discriminator_steps, "Of the discriminator before each of the generator")
      ->check(positive)
      ->capture_default_str();
  sub->add_option("--lr-generator", s.lr_generator, "Adam's learning rate (default: 1e-4, or the resumed run's)")
      ->check(positive);
  sub->add_option("--lr-discriminator", s.lr_discriminator, "Likewise (default: 4e-4, or the resumed run's)")
      ->check(positive);
  sub->add_option("--ema", s.ema, "Decay of the average of the generator's weights")
      ->check(CLI::Range(0.0, 0.999999))
      ->capture_default_str();
  sub->add_option("--resume", s.resume, "Continue from this checkpoint");
}

}  // namespace lamina::examples::gan
