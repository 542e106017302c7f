// Trains an image classifier and writes what became of it into a folder: metrics, curves, predictions, weights.
//
//   train_classifier                                                    LeNet on drawn digits, which need no download
//   train_classifier --dataset fashion-mnist --data DIR                 DIR/fashion-mnist/train-images-idx3-ubyte.gz,
//   train_classifier --dataset folder --data DIR --model resnet18       your own photographs: DIR/CLASS/*.jpg
//   ... train_classifier --epochs 20 --resume out/checkpoint.safetensors    goes on where an earlier run stopped
//   train_classifier --model resnet18 --summary                         the network's table
//   mpirun -n 4 train_classifier --distributed ...                      on four processes, see distributed/README.md

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/classifier_file.hpp"
#include "common/distributed.hpp"
#include "common/interruption.hpp"
#include "common/metrics.hpp"
#include "common/networks.hpp"
#include "common/options.hpp"
#include "common/program.hpp"
#include "lamina/data/augmentation.hpp"
#include "lamina/data/digits.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/data/mixup.hpp"
#include "lamina/data/statistics.hpp"
#include "lamina/io/checkpoint.hpp"
#include "lamina/io/datasets.hpp"
#include "lamina/io/history.hpp"
#include "lamina/io/image.hpp"
#include "lamina/io/image_folder.hpp"
#include "lamina/io/safetensors.hpp"
#include "lamina/nn/conv2d.hpp"
#include "lamina/nn/init.hpp"
#include "lamina/nn/linear.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/adam.hpp"
#include "lamina/optim/lamb.hpp"
#include "lamina/optim/lars.hpp"
#include "lamina/optim/rmsprop.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/plot/charts.hpp"
#include "lamina/plot/training.hpp"
#include "lamina/train/fit.hpp"
#include "lamina/train/lr_find.hpp"

namespace {

using namespace lamina;
using examples::at_least;
using examples::Network;

/// A published dataset by name; `limit` is the largest number of samples wanted.
struct Published {
  std::string name;
  std::vector<std::string> classes;
  Index channels;
  std::function<TensorDataset<float>(const std::string& dir, bool train, Index limit)> load;
};
template <class Names>
std::vector<std::string> list(const Names& names) {
  return std::vector<std::string>(names.begin(), names.end());
}
const std::vector<Published> datasets = {
    {"digits", list(digit_classes), 1,
     [](const std::string&, bool train, Index limit) {
       constexpr Index training = 60000, test = 10000;
       return digits(std::min(limit, train ? training : test), {.first = train ? 0 : training});
     }},
    {"mnist", list(digit_classes), 1,
     [](const std::string& dir, bool train, Index) { return load_mnist(data_directory(dir), train); }},
    {"fashion-mnist", list(fashion_mnist_classes), 1,
     [](const std::string& dir, bool train, Index) { return load_fashion_mnist(data_directory(dir), train); }},
    {"cifar10", list(cifar10_classes), 3,
     [](const std::string& dir, bool train, Index) { return load_cifar10(data_directory(dir), train); }},
    {"cifar100", list(cifar100_classes), 3,
     [](const std::string& dir, bool train, Index) { return load_cifar100(data_directory(dir), train); }},
};

std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  for (const Published& data : datasets) names.push_back(data.name);
  names.push_back("folder");
  return names;
}

constexpr Index no_limit = std::numeric_limits<Index>::max();

struct Settings {
  std::string model = "lenet", init = "model", weights, dataset, data, test_data, normalize = "none", optimizer = "sgd",
              schedule = "none", out = "out", resume;
  std::vector<std::string> augment;
  std::vector<Index> milestones;
  Index epochs = 10, batch_size = 256, limit_train = no_limit, limit_test = no_limit, resize = 0, warmup = 0,
        checkpoint_every = 1;
  std::optional<double> lr, momentum, dropout, test_share, ema, mixup, cutmix;
  std::optional<Index> hidden, freeze_backbone, scale_lr;
  std::optional<std::string> unreadable;
  double width = 1, weight_decay = 0, label_smoothing = 0;
  bool auxiliary_heads = false, new_head = false, summary = false, lr_find = false, freeze_norms = false;
  int threads = num_threads();
  std::uint64_t seed = 0;
  examples::DistributedSettings distributed;

  std::string file(const std::string& name) const { return out + "/" + name; }
  bool augments(const std::string& how) const {
    return std::find(augment.begin(), augment.end(), how) != augment.end();
  }
  /// Whether an image, or its target, is another one in every epoch.
  bool random_images() const { return !(augment.empty() || augments("none")) || mixup || cutmix; }
};

void add_options(CLI::App& app, Settings& s) {
  const auto choice = [](const std::vector<std::string>& names) { return CLI::IsMember(names); };
  app.add_option("--model", s.model, "The network, see below")
      ->check(choice(names_of(examples::networks())).description(""))
      ->capture_default_str();
  app.add_option("--width", s.width, "Factor of the network's channels")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--hidden", s.hidden, "Units of AlexNet's and VGG's hidden layers (default: 4096)")
      ->check(at_least(1));
  app.add_option("--dropout", s.dropout, "Probability (default: the network's)")->check(CLI::Range(0.0, 1.0));
  app.add_flag("--auxiliary-heads", s.auxiliary_heads,
               "Train GoogLeNet with its auxiliary heads; their losses count 0.3");
  app.add_option("--init", s.init, "Initial weights: the model's own, or Xavier-uniform convolutions and linear layers")
      ->check(choice({"model", "xavier"}))
      ->capture_default_str();
  app.add_option("--weights", s.weights, "Start from the weights of this safetensors file");
  app.add_flag("--new-head", s.new_head, "Of --weights, leave out the last layer: for other classes")
      ->needs("--weights");
  app.add_option("--freeze-backbone", s.freeze_backbone,
                 "Keep all but the last layer as they are, for this many epochs; without a\nnumber, or 0, for all")
      ->type_name("[EPOCHS]")
      ->expected(0, 1)
      ->default_str("0")
      ->check(at_least(0));
  app.add_flag("--freeze-norms", s.freeze_norms,
               "Keep batch normalisations as they are: for --weights and few images, and for weights\n"
               "into which they were folded");
  CLI::Option* const summary = app.add_flag(
      "--summary", s.summary, "Print the network's table, for --dataset or what it was published for, and stop");
  app.add_option("--dataset", s.dataset,
                 "The images; digits are drawn, the others read from --data (default: digits);\n"
                 "folder: PNG and JPEG files of your own, in a folder for each class")
      ->check(choice(dataset_names()));
  app.add_option("--data", s.data,
                 "Folder with mnist/, fashion-mnist/, cifar10/, cifar100/ (default: LAMINA_DATA),\n"
                 "or with the classes' folders");
  CLI::Option* const test_data =
      app.add_option("--test-data", s.test_data, "For --dataset folder: the classes' folders with the test images");
  app.add_option("--test-share", s.test_share,
                 "For --dataset folder: the share of each class that is kept for the test\n"
                 "(default: 0.2); the same images every time")
      ->check(CLI::Range(0.01, 0.99))
      ->excludes(test_data);
  app.add_option("--unreadable", s.unreadable, "For --dataset folder: images that cannot be read (default: skip)")
      ->check(choice({"skip", "error"}));
  app.add_option("--normalize", s.normalize,
                 "Take mean and deviation from each channel: ImageNet's, as torchvision's weights\n"
                 "need; 0.5 and 0.5, as TensorFlow's do; those of the training images")
      ->check(choice({"imagenet", "tensorflow", "dataset", "none"}))
      ->capture_default_str();
  app.add_option("--epochs", s.epochs, "Passes over the training data, those of a resumed run included")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--batch-size", s.batch_size, "Images in a training step")->check(at_least(1))->capture_default_str();
  app.add_option("--lr", s.lr, "Learning rate (default: the model's for sgd, 0.001 for the others)");
  app.add_option("--scale-lr", s.scale_lr,
                 "Multiply the learning rate by --batch-size / B: for large batches, with --warmup\n"
                 "(Goyal et al. 2017); B is 256 where no number is given")
      ->type_name("[B]")
      ->expected(0, 1)
      ->default_str("256")
      ->check(at_least(1));
  app.add_option("--optimizer", s.optimizer, "How weights are updated; lars and lamb are for large batches")
      ->check(choice({"sgd", "adam", "adamw", "rmsprop", "lars", "lamb"}))
      ->capture_default_str();
  app.add_option("--momentum", s.momentum, "For sgd and rmsprop (default: 0), and lars (default: 0.9)");
  app.add_option("--weight-decay", s.weight_decay, "Of weights, not of biases and norms")->capture_default_str();
  app.add_option("--schedule", s.schedule,
                 "Learning rate over the epochs: step divides it by ten after each third,\n"
                 "multistep at --milestones, plateau when the test loss has not fallen for\n"
                 "two epochs; cosine lets it fall to zero")
      ->check(choice({"none", "step", "multistep", "cosine", "plateau"}))
      ->capture_default_str();
  app.add_option("--milestones", s.milestones, "Epochs after which --schedule multistep divides by ten: 30,60")
      ->delimiter(',')
      ->check(at_least(1));
  app.add_option("--warmup", s.warmup, "Epochs before those of the schedule in which the learning rate grows evenly")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--label-smoothing", s.label_smoothing, "Share of the target that is spread over all classes")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--augment", s.augment,
                 "Random changes of the training images, any of: one of the crops pad-crop\n"
                 "(anywhere in the image with an eighth of it around, as for CIFAR), crop (of the\n"
                 "image at 8/7 of the size; in tests the middle, as AlexNet's) and resized-crop\n"
                 "(of random size and shape; in tests as crop); flip (left and right, half of the\n"
                 "images), randaugment, jitter (brightness, contrast, saturation, each by 40 %,\n"
                 "and hue by 10 %), colour (along the principal components of RGB), erase (a\n"
                 "window, of half of the images); or none (the default)")
      ->delimiter(',')
      ->check(choice({"pad-crop", "crop", "resized-crop", "flip", "randaugment", "jitter", "colour", "erase", "none"}));
  CLI::Option* const mixup =
      app.add_option("--mixup", s.mixup, "Mix images of a batch and their classes, by shares from Beta(A, A)")
          ->type_name("A")
          ->check(CLI::PositiveNumber);
  app.add_option("--cutmix", s.cutmix, "Put windows of other images into those of a batch, likewise")
      ->type_name("A")
      ->check(CLI::PositiveNumber)
      ->excludes(mixup);
  app.add_option("--ema", s.ema,
                 "Test and keep a moving average of the weights, that after every step goes\n"
                 "1 - D of the way to them, such as 0.999")
      ->type_name("D")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--threads", s.threads, "Threads; results do not depend on them")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--seed", s.seed, "Of initial weights, order of images, augmentation and dropout")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--limit-train", s.limit_train, "Use only the first training images (default: all)")
      ->check(at_least(1));
  app.add_option("--limit-test", s.limit_test, "Use only the first test images (default: all)")->check(at_least(1));
  app.add_option("--resize", s.resize, "Side to which images are resized (default: what the model is made for)")
      ->check(CLI::Range(Index{1}, Index{4096}));
  app.add_option("--out", s.out, "Folder for the results; made if it does not exist")->capture_default_str();
  CLI::Option* const resume = app.add_option("--resume", s.resume, "Continue from this checkpoint");
  CLI::Option* const lr_find =
      app.add_flag("--lr-find", s.lr_find,
                   "Try learning rates from 1e-7 on, a step of training with each, draw the losses\n"
                   "(lr_find.png), print the suggested rate for a training with the other options,\n"
                   "and stop")
          ->excludes(summary)
          ->excludes(resume);
  app.add_option("--checkpoint-every", s.checkpoint_every, "Epochs between checkpoints; 0: none")
      ->check(at_least(0))
      ->capture_default_str();
  examples::add_distributed_options(app, s.distributed);
  lr_find->excludes(app.get_option("--distributed"));
  app.footer([] { return "\n" + table_of(examples::networks()); });
}

/// The images of a run.
struct Data {
  std::shared_ptr<const Dataset<float>> train, test;
  std::vector<std::string> classes;
  Index channels;
  std::optional<Shape> image;  ///< the shape of all images, if they have one
};

/// With `decode`, images that cannot be read are looked for, if they are to be skipped.
ImageFolder<float> read_folder(const Settings& s, const std::string& dir, std::vector<std::string> classes = {},
                               bool decode = true) {
  require(!dir.empty(), "--dataset folder needs --data DIR, with a folder of images for each class");
  const bool skip = decode && s.unreadable.value_or("skip") == "skip";
  ImageFolder<float> folder(dir, {.classes = std::move(classes), .skip_unreadable = skip});
  if (const auto& skipped = folder.skipped(); !skipped.empty())
    std::fprintf(stderr, "skipped %s of %s images that cannot be read, the first: %s\n",
                 with_commas(static_cast<Index>(skipped.size())).c_str(),
                 with_commas(static_cast<Index>(skipped.size()) + folder.size()).c_str(), skipped[0].reason.c_str());
  require<FileError>(folder.classes().size() >= 2, dir, ": there is one class only, '", folder.classes()[0],
                     "'; a classifier needs two");
  return folder;
}

std::shared_ptr<const Dataset<float>> limited(std::shared_ptr<const Dataset<float>> data, std::vector<Index> samples,
                                              Index limit) {
  samples.resize(std::min(samples.size(), static_cast<std::size_t>(limit)));
  return std::make_shared<Subset<float>>(std::move(data), std::move(samples));
}

Data load_folder(const Settings& s) {
  const auto all = std::make_shared<const ImageFolder<float>>(read_folder(s, s.data));
  const double share = s.test_data.empty() ? s.test_share.value_or(0.2) : 0;
  TrainTestSplit split = split_by_class(all->labels(), share);  // by one seed: the test images stay unseen
  auto tested = all;
  if (!s.test_data.empty()) {
    tested = std::make_shared<const ImageFolder<float>>(read_folder(s, s.test_data, all->classes()));
    split.test = split_by_class(tested->labels(), 1).test;
  }
  require<FileError>(!split.test.empty(), s.data, ": no class has two images, so that one could be for the test");
  return {limited(all, std::move(split.train), s.limit_train), limited(tested, std::move(split.test), s.limit_test),
          all->classes(), 3, std::nullopt};
}

const Published& find_published(const std::string& name) {
  return *std::find_if(datasets.begin(), datasets.end(), [&](const Published& data) { return data.name == name; });
}

Data load_data(const Settings& s) {
  if (s.dataset == "folder") return load_folder(s);
  require(s.test_data.empty() && !s.test_share && !s.unreadable,
          "--test-data, --test-share and --unreadable are for --dataset folder, not for ", s.dataset);
  const Published& data = find_published(s.dataset);
  const auto load = [&](bool train, Index limit) {
    return std::make_shared<const TensorDataset<float>>(data.load(s.data, train, limit));
  };
  const auto first = [](const std::shared_ptr<const TensorDataset<float>>& all, Index limit) {
    return std::make_shared<const Subset<float>>(all, std::min(limit, all->size()));
  };
  const auto train = load(true, s.limit_train), test = load(false, s.limit_test);
  return {first(train, s.limit_train), first(test, s.limit_test), data.classes, data.channels, train->input_shape()};
}

/// What the network is made with, for images [channels, side, side].
examples::NetworkOptions network_options(const Settings& s, Index channels, Index classes, Index side) {
  return {.channels = channels,
          .classes = classes,
          .side = side,
          .width = s.width,
          .hidden = s.hidden,
          .dropout = s.dropout,
          .auxiliary_heads = s.auxiliary_heads};
}

/// The network with its initial weights.
std::unique_ptr<Module<float>> make_network(const Settings& s, const examples::NetworkOptions& options) {
  const Network& network = examples::find_network(s.model);
  manual_seed(s.seed);
  auto net = network.make(options);
  check_side(*net, network, options.channels, *options.side, "--resize");
  if (s.init == "xavier")
    init::weights<Conv2d<float>, Linear<float>>(*net, [](Tensor<float>& weight) { init::xavier_uniform(weight); });
  if (!s.weights.empty())
    load_weights(*net, network, s.weights, s.new_head ? examples::Head::keep : examples::Head::load);
  return net;
}

Index side_of(const Settings& s) { return s.resize ? s.resize : examples::find_network(s.model).side; }

void print_summary(const Settings& s) {
  const Network& network = examples::find_network(s.model);
  Index channels = network.channels, classes = network.classes;
  if (s.dataset == "folder") {
    channels = 3;
    classes = static_cast<Index>(read_folder(s, s.data, {}, false).classes().size());
  } else if (!s.dataset.empty()) {
    channels = find_published(s.dataset).channels;
    classes = static_cast<Index>(find_published(s.dataset).classes.size());
  }
  const Index side = side_of(s);
  std::puts(summary(*make_network(s, network_options(s, channels, classes, side)), {1, channels, side, side}).c_str());
}

/// Transforms one after the other; none if there are none, which is faster.
Transform<float> chain(std::vector<Transform<float>> steps) {
  if (steps.empty()) return {};
  return [steps = std::move(steps)](Tensor<float> image, Random& random) {
    for (const auto& step : steps) image = step(std::move(image), random);
    return image;
  };
}

/// What brings images to side x side, and changes those for training; the preparation is that of test images.
Transform<float> make_transform(const Settings& s, const Data& data, const examples::Preparation& preparation,
                                bool training) {
  std::vector<Transform<float>> steps;
  const auto augments = [&](const char* how) { return training && s.augments(how); };
  const Index before = preparation.resize, side = preparation.crop;
  const bool square = data.image && (*data.image)[1] == (*data.image)[2];
  if (augments("resized-crop")) {
    steps.emplace_back(RandomResizedCrop(side));
  } else {
    if (data.image != Shape{data.channels, before, before}) steps.emplace_back(Resize(before));
    if (augments("crop"))
      steps.emplace_back(RandomCrop(side));
    else if (before != side || !square)
      steps.emplace_back(CenterCrop(side));
    if (augments("pad-crop")) steps.emplace_back(RandomCrop(side, {.padding = parts_of(side, 8)}));
  }
  if (augments("flip")) steps.emplace_back(RandomHorizontalFlip());
  if (augments("randaugment")) steps.emplace_back(RandAugment());
  if (augments("jitter"))
    steps.emplace_back(ColorJitter({.brightness = 0.4, .contrast = 0.4, .saturation = 0.4, .hue = 0.1}));
  if (augments("colour")) steps.emplace_back(Lighting());
  if (!preparation.mean.empty()) steps.emplace_back(Normalize(preparation.mean, preparation.std));
  if (augments("erase")) steps.emplace_back(RandomErasing());
  return chain(std::move(steps));
}

template <class Target = Labels>
LoaderOptions<float, Target> loading(const Settings& s, const Data& data, const examples::Preparation& preparation,
                                     bool training, const Shard& shard = {}) {
  return {.batch_size = s.batch_size,
          .shuffle = training,
          .seed = s.seed,
          .workers = data.image ? 1 : s.threads,  // image files have to be decoded
          .transform = make_transform(s, data, preparation, training),
          .shard = shard};
}

/// What options there are together, where neither the command line nor what they are given to sees it.
void check_options(const Settings& s, const Data& data) {
  Index crops = 0;
  for (const char* crop : {"pad-crop", "crop", "resized-crop"}) crops += s.augments(crop);
  require(crops <= 1, "--augment: pad-crop, crop and resized-crop exclude each other");
  require(!s.augments("none") || s.augment.size() == 1, "--augment none excludes others");
  require(!s.augments("colour") || data.channels == 3, "--augment colour is for colour images; these have ",
          data.channels, " channel");
  require(s.ema.value_or(0) < 1, "--ema 1 would keep the initial weights");
}

examples::Preparation make_preparation(const Settings& s, const Data& data) {
  const Index side = side_of(s);
  const bool cropped = s.augments("crop") || s.augments("resized-crop");
  const Index before = cropped ? static_cast<Index>(std::lround(static_cast<double>(side) * 8 / 7)) : side;
  examples::Preparation result{before, side};
  if (s.normalize == "imagenet") {
    require(data.channels == 3, "--normalize imagenet is for colour images; these have ", data.channels, " channel");
    result.mean = {0.485, 0.456, 0.406};
    result.std = {0.229, 0.224, 0.225};
  } else if (s.normalize == "tensorflow") {
    result.mean = result.std = std::vector<double>(static_cast<std::size_t>(data.channels), 0.5);
  } else if (s.normalize == "dataset") {
    DataLoader<float> images(data.train, loading(s, data, result, false));
    const ChannelStatistics statistics = channel_statistics(images);
    for (std::size_t c = 0; c < statistics.std.size(); ++c)
      require(statistics.std[c] > 0, "--normalize dataset: channel ", c, " of the training images is ",
              statistics.mean[c], " everywhere");
    result.mean = statistics.mean;
    result.std = statistics.std;
  }
  return result;
}

std::unique_ptr<Optimizer<float>> make_optimizer(const Settings& s, Module<float>& net) {
  const bool takes_momentum = s.optimizer == "sgd" || s.optimizer == "rmsprop" || s.optimizer == "lars";
  require(takes_momentum || !s.momentum, "--momentum is for sgd, rmsprop and lars, not ", s.optimizer);
  const double own_lr = s.optimizer == "sgd" ? examples::find_network(s.model).lr : 1e-3;
  const double scale = s.scale_lr ? static_cast<double>(s.batch_size) / static_cast<double>(*s.scale_lr) : 1;
  const double lr = scale * s.lr.value_or(own_lr), momentum = s.momentum.value_or(s.optimizer == "lars" ? 0.9 : 0);
  const auto groups = decay_groups(parameters(net));
  if (s.optimizer == "sgd")
    return std::make_unique<SGD<float>>(groups,
                                        SGDOptions{.lr = lr, .momentum = momentum, .weight_decay = s.weight_decay});
  if (s.optimizer == "adam")
    return std::make_unique<Adam<float>>(groups, AdamOptions{.lr = lr, .weight_decay = s.weight_decay});
  if (s.optimizer == "adamw")
    return std::make_unique<AdamW<float>>(groups, AdamWOptions{.lr = lr, .weight_decay = s.weight_decay});
  if (s.optimizer == "lars")
    return std::make_unique<LARS<float>>(groups,
                                         LARSOptions{.lr = lr, .momentum = momentum, .weight_decay = s.weight_decay});
  if (s.optimizer == "lamb")
    return std::make_unique<LAMB<float>>(groups, LAMBOptions{.lr = lr, .weight_decay = s.weight_decay});
  return std::make_unique<RMSprop<float>>(
      groups, RMSpropOptions{.lr = lr, .weight_decay = s.weight_decay, .momentum = momentum});
}

std::unique_ptr<Schedule> make_main_schedule(const Settings& s, OptimizerBase& optimizer) {
  const Index epochs = std::max<Index>(s.epochs - s.warmup, 1);
  if (s.schedule == "step") return std::make_unique<StepLR>(optimizer, StepLROptions{.step_size = (epochs + 2) / 3});
  if (s.schedule == "multistep") {
    std::vector<Index> milestones = s.milestones;  // counted from the end of the warm-up
    for (Index& epoch : milestones) epoch = std::max<Index>(epoch - s.warmup, 1);
    return std::make_unique<MultiStepLR>(optimizer, MultiStepLROptions{.milestones = std::move(milestones)});
  }
  if (s.schedule == "cosine")
    return std::make_unique<CosineAnnealingLR>(optimizer, CosineAnnealingLROptions{.T_max = epochs});
  if (s.schedule == "plateau")
    return std::make_unique<ReduceLROnPlateau>(optimizer, ReduceLROnPlateauOptions{.patience = 2});
  return nullptr;
}
std::unique_ptr<Schedule> make_schedule(const Settings& s, OptimizerBase& optimizer) {
  require((s.schedule == "multistep") == !s.milestones.empty(), "--schedule multistep and --milestones go together");
  auto schedule = make_main_schedule(s, optimizer);
  if (s.warmup == 0) return schedule;
  const double start = 1 / static_cast<double>(s.warmup + 1);  // epoch e, from 0, has (e + 1) / (warmup + 1)
  return std::make_unique<LinearWarmup>(optimizer, LinearWarmupOptions{.total_iters = s.warmup, .start_factor = start},
                                        std::move(schedule));
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

/// The first 30 test images, and the first 10 mistakes among the others, as the network sees them but for the
/// normalisation.
Tensor<std::uint8_t> draw_predictions(const Settings& s, const Verdict& verdict, const Data& data,
                                      const examples::Preparation& preparation) {
  const std::vector<std::string>& classes = data.classes;
  std::vector<Index> shown;
  std::vector<std::string> captions;
  ImageGridOptions options;
  Index mistakes = 0;
  for (std::size_t i = 0; i < verdict.labels.size(); ++i) {
    const bool wrong = verdict.labels[i] != verdict.predicted[i];
    if (i >= 30 && !(wrong && mistakes < 10)) continue;
    if (i >= 30) ++mistakes;
    shown.push_back(static_cast<Index>(i));
    captions.push_back(text("predicted ", classes[static_cast<std::size_t>(verdict.predicted[i])], "\ntrue ",
                            classes[static_cast<std::size_t>(verdict.labels[i])]));
    options.marked.push_back(wrong);
  }
  options.title = text("The first ", static_cast<Index>(shown.size()) - mistakes, " test images",
                       mistakes ? text(", and ", mistakes, " of the mistakes among the others") : "");
  DataLoader<float> images(limited(data.test, shown, no_limit),
                           {.batch_size = static_cast<Index>(shown.size()),
                            .transform = make_transform(s, data, {preparation.resize, preparation.crop}, false)});
  return plot_images(images.begin()->inputs, captions, options);
}

void write_metrics(const Settings& s, const Module<float>& net, const History& history, double test_accuracy) {
  examples::write_metrics(s.out,
                          {{"model", s.model}, {"dataset", s.dataset}, {"seed", s.seed}, {"threads", num_threads()}},
                          {{.name = s.model,
                            .parameters = count_parameters(net).total,
                            .history = history,
                            .results = {{"test_accuracy", test_accuracy}}}});
}

/// A network and what trains it.
struct Learner {
  Module<float>& net;
  Optimizer<float>& optimizer;
  Schedule* schedule;
  examples::Ranks& ranks;
};

/// Writes lr_find.png, and prints the suggestion.
template <class Target>
void find_lr(const Settings& s, const Learner& learner, DataLoader<float, Target>& train,
             FitOptions<float, Target> options) {
  const LrFind found = lr_find(learner.net, learner.optimizer, train, {}, std::move(options));
  write_png(s.file("lr_find.png"), plot_lr_find(found));
  std::printf("suggested learning rate: %.3g\n\n", found.suggestion);
  examples::print_outputs(s.out, {{"lr_find.png", "the losses by learning rate"}});
}

/// Trains from where the state stands, or finds a learning rate. The history, and a checkpoint, are written after each
/// epoch.
template <class Target>
void train_with(const Settings& s, const Learner& learner, DataLoader<float, Target> train,
                DataLoader<float, Target> test, FitState<float>& state, examples::Interruption& interruption) {
  Module<float>& net = learner.net;
  FitOptions<float, Target> options{
      .epochs = s.epochs,
      .test = &test,
      .loss = CrossEntropyLoss<float>({.label_smoothing = s.label_smoothing}),
      .metric = [](const auto& logits, const auto& targets) { return count_correct(logits, targets); },
      .schedule = learner.schedule,
      .ema_decay = s.ema,
      .seed = s.seed,
      .parallel = learner.ranks.parallel()};
  const auto frozen = [&](Index epoch) { return s.freeze_backbone == 0 || s.freeze_backbone > epoch; };
  const auto freeze_norms = [&] {
    if (s.freeze_norms) examples::freeze_norms(net, examples::find_network(s.model));
  };
  if (frozen(state.epoch)) {
    examples::freeze_backbone(net);
    options.cache_features = net.as<Sequential<float>>() && !s.random_images();
  }
  freeze_norms();
  if (s.lr_find) return find_lr(s, learner, train, std::move(options));
  options.on_epoch = [&](const FitState<float>& now) {
    if (s.freeze_backbone && !frozen(now.epoch)) {
      unfreeze(net);
      freeze_norms();
    }
    if (!learner.ranks.first()) return;
    if (s.checkpoint_every > 0 && (now.epoch % s.checkpoint_every == 0 || now.epoch == s.epochs))
      interruption.save_checkpoint(s.file("checkpoint.safetensors"), [&] {
        save_checkpoint(s.file("checkpoint.safetensors"), now, net, learner.optimizer, learner.schedule);
      });
    try {
      save_history(s.out, now.history);
    } catch (const FileError& error) {  // the weights of this run are worth more; the end tries again
      std::fprintf(stderr, "%s\n", error.what());
    }
  };
  fit(net, learner.optimizer, train, options, state);
}

/// The same with images of a batch mixed, whose targets are shares of classes.
void train_with_mixed(const Settings& s, const Learner& learner, const Data& data,
                      const examples::Preparation& preparation, FitState<float>& state,
                      examples::Interruption& interruption) {
  using Shares = Tensor<float>;
  const auto classes = static_cast<Index>(data.classes.size());
  const auto with_shares = [&](const std::shared_ptr<const Dataset<float>>& images, bool training) {
    LoaderOptions<float, Shares> options = loading<Shares>(s, data, preparation, training, learner.ranks.shard());
    if (training && s.mixup) options.collate = MixUp({.alpha = *s.mixup});
    if (training && s.cutmix) options.collate = CutMix({.alpha = *s.cutmix});
    return DataLoader<float, Shares>(OneHot<float>(images, classes), std::move(options));
  };
  train_with(s, learner, with_shares(data.train, true), with_shares(data.test, false), state, interruption);
}

void train(Settings& s, examples::Ranks& ranks) {
  if (s.dataset.empty()) s.dataset = "digits";
  examples::Interruption interruption(s.resume);
  set_num_threads(s.threads);
  if (ranks.first()) examples::prepare_folder(s.out);
  const Data data = load_data(s);
  check_options(s, data);
  const examples::Preparation preparation = make_preparation(s, data);
  DataLoader<float> train(data.train, loading(s, data, preparation, true, ranks.shard())),
      test(data.test, loading(s, data, preparation, false, ranks.shard()));
  const Index side = preparation.crop, channels = data.channels, classes = static_cast<Index>(data.classes.size());
  const examples::ClassifierFile file{s.model, network_options(s, channels, classes, side), data.classes, preparation};

  const auto network = make_network(s, file.options);
  Module<float>& net = *network;
  const auto optimizer = make_optimizer(s, net);
  const auto schedule = make_schedule(s, *optimizer);
  std::printf("%s on %s: %s training and %s test images of %td x %td, %d thread%s\n", s.model.c_str(),
              s.dataset.c_str(), with_commas(train.samples()).c_str(), with_commas(test.samples()).c_str(), side, side,
              s.threads, s.threads == 1 ? "" : "s");
  if (s.distributed.distributed)
    std::printf("%td process%s, each with its part of every batch of %td\n", ranks.size(),
                ranks.size() == 1 ? "" : "es", s.batch_size);
  std::printf("%s parameters, %s multiply-adds for an image (--summary prints the network's table)\n\n",
              with_commas(count_parameters(net).total).c_str(),
              with_commas(net.multiply_adds({1, channels, side, side})).c_str());
  std::fflush(stdout);

  FitState<float> state;
  if (!s.resume.empty()) {
    state = load_checkpoint(s.resume, net, *optimizer, schedule.get());
    require(s.ema || state.average.empty(), s.resume, ": the run keeps an average of the weights; give its --ema");
    if (ranks.first()) std::fprintf(stderr, "continuing %s after epoch %td\n", s.resume.c_str(), state.epoch);
  }
  ranks.prepare(net);
  const Learner learner{net, *optimizer, schedule.get(), ranks};
  if (s.mixup || s.cutmix)
    train_with_mixed(s, learner, data, preparation, state, interruption);
  else
    train_with(s, learner, train, test, state, interruption);
  if (s.lr_find || !ranks.first()) return;
  const History& history = state.history;
  save_classifier(s.file("model.safetensors"), net, file, s.dataset);

  DataLoader<float> whole_test(data.test, loading(s, data, preparation, false));
  const Verdict verdict = judge(net, whole_test, classes);
  const double accuracy = verdict.confusion.accuracy();
  char title[96];
  std::snprintf(title, sizeof title, "%.2f %% of %s test images are right", 100 * accuracy,
                with_commas(test.samples()).c_str());
  write_metrics(s, net, history, accuracy);
  save_history(s.out, history);
  write_png(s.file("predictions.png"), draw_predictions(s, verdict, data, preparation));
  write_png(s.file("confusion.png"), plot_confusion(verdict.confusion, data.classes, title));

  std::printf("\n%s\n\n", title);
  examples::print_outputs(s.out,
                          {{"metrics.json", "settings and every epoch's numbers"},
                           {"history.csv", "the same numbers as a table"},
                           {"curves.png", "loss and accuracy by epoch"},
                           {"predictions.png", "test images with predicted and true class"},
                           {"confusion.png", "which classes are taken for which"},
                           {"model.safetensors", "weights, classes and preparation, for classify_image --model-file"}});
  if (s.checkpoint_every > 0 && s.epochs > 0)
    examples::print_outputs(s.out, {{"checkpoint.safetensors", "to go on with: --resume"}});
}

void run(Settings& s) {
  if (s.summary) return print_summary(s);
  examples::with_ranks(s.distributed, [&](examples::Ranks& ranks) { train(s, ranks); });
}

}  // namespace

int main(int argc, char** argv) {
  return examples::program<Settings>(
      argc, argv, "Trains an image classifier and writes metrics, pictures and weights into a folder.", add_options,
      run);
}
