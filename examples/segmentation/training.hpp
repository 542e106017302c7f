#pragma once

#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lamina/compile/plan.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/models/hamnet.hpp"
#include "lamina/nn/summary.hpp"
#include "lamina/optim/sgd.hpp"
#include "lamina/train/fit.hpp"
#include "lamina/train/segmentation.hpp"
#include "segmentation/data.hpp"

/// One run of `segment`: training, and what became of it.
namespace lamina::examples::segmentation {

/// What a network makes of the test images.
struct Score {
  double loss, pixel_accuracy, mean_iou, mean_accuracy, weighted_iou;
  std::vector<double> iou;  // of each class
};

inline Score score_of(const ConfusionMatrix& confusion, double loss) {
  Score score{loss,
              confusion.accuracy(),
              mean_intersection_over_union(confusion),
              mean_class_accuracy(confusion),
              frequency_weighted_iou(confusion),
              {}};
  for (Index k = 0; k < confusion.classes(); ++k) score.iou.push_back(intersection_over_union(confusion, k));
  return score;
}

/// The measures of segmentation, by name.
inline Json to_json(const Score& score, const Data& data) {
  Json iou;
  for (std::size_t k = 0; k < score.iou.size(); ++k) iou[data.classes[k]] = score.iou[k];
  return {{"mean_iou", score.mean_iou},
          {"mean_accuracy", score.mean_accuracy},
          {"frequency_weighted_iou", score.weighted_iou},
          {"iou", iou}};
}

/// Images of equal size go through a Plan batch by batch; others one by one, through windows if there is --window. With
/// `ranks`, each takes its part of them.
inline Score judge(const Module<float>& net, const Settings& s, const Data& data, Ranks* ranks = nullptr) {
  const bool whole = data.equal && s.window == 0;
  const Shard shard = ranks ? ranks->shard() : Shard{};
  const Index together = whole ? std::max(s.batch_size, shard.ranks) : shard.ranks;  // one by one on each
  DataLoader<float> loader(data.test, {.batch_size = together, .transform = normalize_for(s), .shard = shard});
  std::function<Tensor<float>(Tensor<float>)> logits_of = [&](Tensor<float> x) { return net(std::move(x)); };
  if (whole) {
    const auto plan = std::make_shared<const Plan<float>>(compile(net, data.image().batch(loader.batch_size())));
    logits_of = [plan](Tensor<float> x) { return (*plan)(std::move(x)); };
  } else if (s.window > 0) {
    logits_of = [&](Tensor<float> x) {
      return sliding_window_logits(net, x, {.window = s.window, .stride = std::max<Index>(1, 2 * s.window / 3)});
    };
  }
  ConfusionMatrix confusion(data.count());
  double loss = 0;
  for (auto& [images, labels] : loader) {
    Tensor<float> logits = logits_of(std::move(images));
    add_pixels(confusion, labels, predicted_classes(logits), data.ignored);
    loss += pixel_cross_entropy(std::move(logits), labels, {.ignore_index = data.ignored}).value *
            static_cast<double>(labels.dim(0));
  }
  if (Parallel<float>* const parallel = ranks ? ranks->parallel() : nullptr) {
    const auto sum = [parallel](std::span<double> values) { parallel->sum(values); };
    sum(std::span<double>(&loss, 1));
    confusion.add_up(sum);
  }
  return score_of(confusion, loss / static_cast<double>(loader.samples()));
}

/// Over many sizes and mirror images, as the authors test (there is no loss).
inline Score judge_at_many_sizes(const Module<float>& net, const Settings& s, const Data& data) {
  DataLoader<float> loader(data.test, {.batch_size = data.equal ? s.batch_size : 1, .transform = normalize_for(s)});
  ConfusionMatrix confusion(data.count());
  for (auto& [images, labels] : loader)
    add_pixels(confusion, labels, predicted_classes(multi_scale_probabilities(net, images)), data.ignored);
  return score_of(confusion, std::numeric_limits<double>::quiet_NaN());
}

struct Outcome {
  AtInputSize<float> net;
  Index parameters;
  History history;
  std::vector<Score> scores;  // of the epochs
  Score last;
  Json results;  // of the finished network, by name
};

/// Of the classes' pixels in the loss, for --balance; empty for ones.
inline std::vector<double> class_weights(const Settings& s, const Data& data) {
  if (s.balance == 0) return {};
  std::vector<double> weights = median_frequency_weights(*data.train, data.count(), data.ignored);
  for (double& weight : weights) weight = std::pow(weight, s.balance);
  return weights;
}

/// The recipe of Geng et al. 2021, appendix E.1: SGD with momentum, decay of convolutions alone, biases at twice the
/// rate, the rate falling as (1 - t)^0.9, images scaled, cut and mirrored at random. Of several ranks, each learns from
/// its part of every batch and judges its part of the test images.
inline Outcome train_network(const Settings& s, const Data& data, Ranks& ranks, bool quiet = false) {
  LoaderOptions<float> options{.shuffle = true, .seed = s.seed, .drop_last = true, .transform = normalize_for(s)};
  SegmentationAugmentOptions augment{.ignore_index = data.ignored};
  if (s.dataset == "shapes" || s.dataset == "context") augment.scales = {1};  // the signal must not be cut off
  const Size2 crop = crop_size(s, data);
  options.augment = SegmentationAugment(crop, augment);
  options.batch_size = std::min(s.batch_size, data.train->size());
  options.shard = ranks.shard();
  DataLoader<float> loader(data.train, options);

  manual_seed(s.seed);
  auto net = make_network(s, data.count(), crop);
  if (!s.weights.empty()) {
    load_backbone(net, s.weights);
    DataLoader<float> some(
        data.train, {.batch_size = 32, .seed = s.seed, .transform = options.transform, .augment = options.augment});
    unfold_norms(net, (*some.begin()).inputs);
  }
  SGD<float> optimizer(bias_groups(parameters(net), 2 * s.lr), {.lr = s.lr, .momentum = 0.9, .weight_decay = 1e-4});
  PolynomialLR schedule(optimizer, {.total_iters = std::max<Index>(1, s.epochs * loader.size()), .power = 0.9});
  const Index count = count_parameters(net).total;
  if (!quiet)
    std::printf("%s, stride %td, context %s, on %s: %s training and %s test images, %s parameters, %d thread%s\n",
                s.backbone_name().c_str(), s.stride, s.context.c_str(), s.dataset.c_str(),
                with_commas(loader.samples()).c_str(), with_commas(data.test->size()).c_str(),
                with_commas(count).c_str(), s.threads, s.threads == 1 ? "" : "s");
  ranks.prepare(net);
  std::fflush(stdout);

  std::vector<Score> scores;
  FitOptions<float> fitting{.epochs = s.epochs, .schedule = &schedule, .schedule_per_batch = true, .seed = s.seed};
  fitting.parallel = ranks.parallel();
  const PixelCrossEntropyOptions entropy{.ignore_index = data.ignored, .weight = class_weights(s, data)};
  fitting.loss = [&](Tensor<float> logits, const Labels& labels) {
    return pixel_cross_entropy(std::move(logits), labels, entropy);
  };
  fitting.metric = [&](const Tensor<float>& logits, const Labels& labels) {
    return count_correct(logits, labels, {.ignore_index = data.ignored});
  };
  fitting.on_epoch = [&](const FitState<float>& state) {
    scores.push_back(judge(net, s, data, &ranks));
    const Score& score = scores.back();
    if (!quiet)
      std::printf("epoch %td: test loss %.4f, %.2f %% of pixels right, mean IoU %.4f\n", state.epoch, score.loss,
                  100 * score.pixel_accuracy, score.mean_iou);
    std::fflush(stdout);
  };
  History history = fit(net, optimizer, loader, fitting);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    history.epochs[i].test_loss = scores[i].loss;
    history.epochs[i].test_accuracy = scores[i].pixel_accuracy;
  }
  const Score last = scores.empty() ? judge(net, s, data, &ranks) : scores.back();
  Json results = {{"loss", last.loss}, {"pixel_accuracy", last.pixel_accuracy}};
  results.update(to_json(last, data));
  if (s.multi_scale && ranks.first()) {
    const Score many = judge_at_many_sizes(net, s, data);
    Json measures = {{"pixel_accuracy", many.pixel_accuracy}};
    measures.update(to_json(many, data));
    results["multi_scale"] = measures;
  }
  return {std::move(net), count, std::move(history), std::move(scores), last, std::move(results)};
}

inline void write_metrics(const Settings& s, const Data& data, const Outcome& outcome) {
  std::vector<Json> measures;
  for (const Score& score : outcome.scores) measures.push_back(to_json(score, data));
  Json settings = to_json(s);
  settings["threads"] = num_threads();
  examples::write_metrics(s.out, settings,
                          {{.name = "hamnet",
                            .parameters = outcome.parameters,
                            .history = outcome.history,
                            .measures = std::move(measures),
                            .results = outcome.results}});
}

}  // namespace lamina::examples::segmentation
