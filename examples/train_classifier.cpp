// Trains an image classifier and writes what became of it into a folder: metrics, curves, predictions, weights.
//
//   train_classifier                                                    LeNet on drawn digits, which need no download
//   train_classifier --dataset fashion-mnist --data DIR                 DIR/fashion-mnist/train-images-idx3-ubyte.gz,
//   ... train_classifier --epochs 20 --resume out/checkpoint.safetensors    goes on where an earlier run stopped

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lamina/data/digits.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/models/lenet.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/optim/rmsprop.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/train/checkpoint.hpp"
#include "lamina/train/fit.hpp"
#include "lamina/train/plots.hpp"

namespace {

using namespace lamina;

/// A model by name. To add one, add its line to `models`.
struct Model {
  std::string name;
  Index side;  // of the images that it is made for
  double lr;   // for SGD
  std::function<Sequential<float>(Index channels, Index classes)> make;
};
const std::vector<Model> models = {
    {"lenet", 28, 0.9,
     [](Index channels, Index classes) { return lenet({.in_channels = channels, .classes = classes}); }},
};

/// A dataset by name; `limit` is the largest number of samples wanted.
struct Data {
  std::string name;
  std::vector<std::string> classes;
  std::function<TensorDataset<float>(const std::string& dir, bool train, Index limit)> load;
};
template <class Names>
std::vector<std::string> list(const Names& names) {
  return std::vector<std::string>(names.begin(), names.end());
}
const std::vector<Data> datasets = {
    {"digits", list(digit_classes),
     [](const std::string&, bool train, Index limit) {
       constexpr Index training = 60000, test = 10000;
       return digits(std::min(limit, train ? training : test), {.first = train ? 0 : training});
     }},
    {"mnist", list(digit_classes),
     [](const std::string& dir, bool train, Index) { return load_mnist(data_directory(dir), train); }},
    {"fashion-mnist", list(fashion_mnist_classes),
     [](const std::string& dir, bool train, Index) { return load_fashion_mnist(data_directory(dir), train); }},
    {"cifar10", list(cifar10_classes),
     [](const std::string& dir, bool train, Index) { return load_cifar10(data_directory(dir), train); }},
};

template <class Table>
std::vector<std::string> names_of(const Table& table) {
  std::vector<std::string> names;
  for (const auto& entry : table) names.push_back(entry.name);
  return names;
}
template <class Table>
const auto& find(const Table& table, const std::string& name) {
  return *std::find_if(table.begin(), table.end(), [&](const auto& entry) { return entry.name == name; });
}

constexpr Index no_limit = std::numeric_limits<Index>::max();

struct Settings {
  std::string model = "lenet", dataset = "digits", data, optimizer = "sgd", schedule = "none", out = "out", resume;
  Index epochs = 10, batch_size = 256, limit_train = no_limit, limit_test = no_limit, resize = 0, checkpoint_every = 1;
  std::optional<double> lr, momentum;
  double weight_decay = 0;
  int threads = num_threads();
  std::uint64_t seed = 0;

  std::string file(const std::string& name) const { return out + "/" + name; }
};

/// Whole numbers from `low` on.
CLI::Validator at_least(long long low) {
  const auto check = [low](const std::string& text) -> std::string {
    long long value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= low) return {};
    return detail::text("expected a whole number of at least ", low, ", got ", text);
  };
  return CLI::Validator(check, detail::text(">=", low), "at_least");
}

void add_options(CLI::App& app, Settings& s) {
  const auto choice = [](const std::vector<std::string>& names) { return CLI::IsMember(names); };
  app.add_option("--model", s.model, "The network")->check(choice(names_of(models)))->capture_default_str();
  app.add_option("--dataset", s.dataset, "The images; digits are drawn, the others read from --data")
      ->check(choice(names_of(datasets)))
      ->capture_default_str();
  app.add_option("--data", s.data, "Folder with mnist/, fashion-mnist/, cifar10/ (default: LAMINA_DATA)");
  app.add_option("--epochs", s.epochs, "Passes over the training data, those of a resumed run included")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--batch-size", s.batch_size, "Images in a training step")->check(at_least(1))->capture_default_str();
  app.add_option("--lr", s.lr, "Learning rate (default: the model's for sgd, 0.001 for the others)");
  app.add_option("--optimizer", s.optimizer, "How weights are updated")
      ->check(choice({"sgd", "adam", "adamw", "rmsprop"}))
      ->capture_default_str();
  app.add_option("--momentum", s.momentum, "For sgd and rmsprop (default: 0)");
  app.add_option("--weight-decay", s.weight_decay, "Of weights, not of biases and norms")->capture_default_str();
  app.add_option("--schedule", s.schedule,
                 "Learning rate over the epochs: step divides it by ten after each third, cosine lets it fall to zero, "
                 "plateau divides it by ten when the test loss has not fallen for two epochs")
      ->check(choice({"none", "step", "cosine", "plateau"}))
      ->capture_default_str();
  app.add_option("--threads", s.threads, "Threads; results do not depend on them")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--seed", s.seed, "Of initial weights, order of images and dropout")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--limit-train", s.limit_train, "Use only the first training images (default: all)")
      ->check(at_least(1));
  app.add_option("--limit-test", s.limit_test, "Use only the first test images (default: all)")->check(at_least(1));
  app.add_option("--resize", s.resize, "Side to which images are resized (default: what the model is made for)")
      ->check(CLI::Range(Index{1}, Index{4096}));
  app.add_option("--out", s.out, "Folder for the results; made if it does not exist")->capture_default_str();
  app.add_option("--resume", s.resume, "Continue from this checkpoint");
  app.add_option("--checkpoint-every", s.checkpoint_every, "Epochs between checkpoints; 0: none")
      ->check(at_least(0))
      ->capture_default_str();
}

/// Makes the folder and sees that files can be written there, before any time is spent.
void prepare(const Settings& s) {
  std::error_code error;
  std::filesystem::create_directories(s.out, error);
  detail::require<FileError>(!error, s.out, ": cannot make the folder: ", error.message());
  AtomicFile probe(s.file("metrics.json"));
}

std::unique_ptr<Optimizer<float>> make_optimizer(const Settings& s, double model_lr, Module<float>& net) {
  const bool takes_momentum = s.optimizer == "sgd" || s.optimizer == "rmsprop";
  detail::require(takes_momentum || !s.momentum, "--momentum is for sgd and rmsprop, not ", s.optimizer);
  const double lr = s.lr.value_or(s.optimizer == "sgd" ? model_lr : 1e-3), momentum = s.momentum.value_or(0);
  const auto groups = decay_groups(parameters(net));
  if (s.optimizer == "sgd")
    return std::make_unique<SGD<float>>(groups,
                                        SGDOptions{.lr = lr, .momentum = momentum, .weight_decay = s.weight_decay});
  if (s.optimizer == "adam")
    return std::make_unique<Adam<float>>(groups, AdamOptions{.lr = lr, .weight_decay = s.weight_decay});
  if (s.optimizer == "adamw")
    return std::make_unique<AdamW<float>>(groups, AdamWOptions{.lr = lr, .weight_decay = s.weight_decay});
  return std::make_unique<RMSprop<float>>(
      groups, RMSpropOptions{.lr = lr, .weight_decay = s.weight_decay, .momentum = momentum});
}

std::unique_ptr<Schedule> make_schedule(const Settings& s, OptimizerBase& optimizer) {
  const Index epochs = std::max<Index>(s.epochs, 1);
  if (s.schedule == "step") return std::make_unique<StepLR>(optimizer, StepLROptions{.step_size = (epochs + 2) / 3});
  if (s.schedule == "cosine")
    return std::make_unique<CosineAnnealingLR>(optimizer, CosineAnnealingLROptions{.T_max = epochs});
  if (s.schedule == "plateau")
    return std::make_unique<ReduceLROnPlateau>(optimizer, ReduceLROnPlateauOptions{.patience = 2});
  return nullptr;
}

/// What the finished model says about the test data.
struct Verdict {
  ConfusionMatrix confusion;
  std::vector<std::int32_t> labels, predicted;
};
Verdict judge(const Module<float>& net, DataLoader<float>& test, Index classes) {
  Verdict verdict{ConfusionMatrix(classes), {}, {}};
  for (auto& [images, labels] : test) {
    const Labels predicted = predicted_classes(net(std::move(images)));
    verdict.confusion.add(labels, predicted);
    verdict.labels.insert(verdict.labels.end(), labels.values().begin(), labels.values().end());
    verdict.predicted.insert(verdict.predicted.end(), predicted.values().begin(), predicted.values().end());
  }
  return verdict;
}

/// The first 30 test images, and the first 10 mistakes among the others.
Tensor<std::uint8_t> draw_predictions(const Verdict& verdict, const Dataset<float>& data,
                                      const std::vector<std::string>& classes) {
  std::vector<Index> shown;
  std::vector<std::string> captions;
  ImageGridOptions options;
  Index mistakes = 0;
  for (std::size_t i = 0; i < verdict.labels.size(); ++i) {
    const bool wrong = verdict.labels[i] != verdict.predicted[i];
    if (i >= 30 && !(wrong && mistakes < 10)) continue;
    if (i >= 30) ++mistakes;
    shown.push_back(static_cast<Index>(i));
    captions.push_back(detail::text("predicted ", classes[static_cast<std::size_t>(verdict.predicted[i])], "\ntrue ",
                                    classes[static_cast<std::size_t>(verdict.labels[i])]));
    options.marked.push_back(wrong);
  }
  options.title = detail::text("The first ", static_cast<Index>(shown.size()) - mistakes, " test images",
                               mistakes ? detail::text(", and ", mistakes, " of the mistakes among the others") : "");
  return plot_images(data.batch(shown).inputs, captions, options);
}

void write_metrics(const Settings& s, const Module<float>& net, const History& history, double test_accuracy) {
  std::string epochs = to_json(history);
  write_file_atomically(
      s.file("metrics.json"),
      detail::text("{\"model\": \"", s.model, "\", \"dataset\": \"", s.dataset, "\", \"seed\": ", s.seed,
                   ", \"threads\": ", num_threads(), ", \"parameters\": ", count_parameters(net).total,
                   ",\n\"epochs\":\n", epochs, ",\n\"test_accuracy\": ", detail::number(test_accuracy, "null"), "}\n"));
}

void run(const Settings& s) {
  set_num_threads(s.threads);
  prepare(s);
  const Model& model = find(models, s.model);
  const Data& data = find(datasets, s.dataset);

  const TensorDataset<float> all = data.load(s.data, true, s.limit_train),
                             all_test = data.load(s.data, false, s.limit_test);
  const Subset train_set(all, std::min(s.limit_train, all.size())),
      test_set(all_test, std::min(s.limit_test, all_test.size()));
  const Index side = s.resize ? s.resize : model.side, channels = all.input_shape()[0];
  LoaderOptions<float> training{.batch_size = s.batch_size, .shuffle = true, .seed = s.seed};
  if (all.input_shape() != Shape{channels, side, side}) training.transform = Resize(Size2(side, side));
  LoaderOptions<float> testing = training;
  testing.shuffle = false;
  DataLoader<float> train(train_set, training), test(test_set, testing);

  manual_seed(s.seed);
  Sequential<float> net = model.make(channels, static_cast<Index>(data.classes.size()));
  const auto optimizer = make_optimizer(s, model.lr, net);
  const auto schedule = make_schedule(s, *optimizer);
  std::printf("%s on %s: %s training and %s test images, %d thread%s\n%s\n", s.model.c_str(), s.dataset.c_str(),
              detail::grouped(train.samples()).c_str(), detail::grouped(test.samples()).c_str(), s.threads,
              s.threads == 1 ? "" : "s", summary(net, {1, channels, side, side}).c_str());
  std::fflush(stdout);

  FitState<float> state;
  if (!s.resume.empty()) {
    state = load_checkpoint(s.resume, net, *optimizer, schedule.get());
    std::fprintf(stderr, "continuing %s after epoch %td\n", s.resume.c_str(), state.epoch);
  }
  FitOptions<float> options{.epochs = s.epochs, .test = &test, .schedule = schedule.get(), .seed = s.seed};
  options.on_epoch = [&](const FitState<float>& now) {
    if (s.checkpoint_every > 0 && (now.epoch % s.checkpoint_every == 0 || now.epoch == s.epochs))
      save_checkpoint(s.file("checkpoint.safetensors"), now, net, *optimizer, schedule.get());
  };
  const History history = fit(net, *optimizer, train, options, state);

  const Verdict verdict = judge(net, test, static_cast<Index>(data.classes.size()));
  const double accuracy = verdict.confusion.accuracy();
  char title[96];
  std::snprintf(title, sizeof title, "%.2f %% of %s test images are right", 100 * accuracy,
                detail::grouped(test.samples()).c_str());
  write_metrics(s, net, history, accuracy);
  write_file_atomically(s.file("history.csv"), to_csv(history));
  write_png(s.file("curves.png"), plot_history(history));
  write_png(s.file("predictions.png"), draw_predictions(verdict, test_set, data.classes));
  write_png(s.file("confusion.png"), plot_confusion(verdict.confusion, data.classes, title));
  save_state_dict(s.file("model.safetensors"), state_dict(net), {{"model", s.model}, {"dataset", s.dataset}});

  std::printf("\n%s\n\n", title);
  const auto wrote = [&](const char* file, const char* what) {
    std::printf("  %-36s %s\n", s.file(file).c_str(), what);
  };
  wrote("metrics.json", "settings and every epoch's numbers");
  wrote("history.csv", "the same numbers as a table");
  wrote("curves.png", "loss and accuracy by epoch");
  wrote("predictions.png", "test images with predicted and true class");
  wrote("confusion.png", "which classes are taken for which");
  wrote("model.safetensors", "the weights, under PyTorch's names");
  if (s.checkpoint_every > 0 && s.epochs > 0) wrote("checkpoint.safetensors", "to go on with: --resume");
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Trains an image classifier and writes metrics, pictures and weights into a folder.");
  try {
    Settings settings;
    add_options(app, settings);
    app.parse(argc, argv);
    run(settings);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
