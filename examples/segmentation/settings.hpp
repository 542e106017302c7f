#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/distributed.hpp"
#include "common/metrics.hpp"
#include "lamina/core/parallel.hpp"
#include "lamina/models/hamnet.hpp"

/// What `segment` was asked for.
namespace lamina::examples::segmentation {

constexpr Index no_limit = std::numeric_limits<Index>::max();

inline const std::map<std::string, Context> contexts = {{"none", Context::none},
                                                        {"nmf", Context::nmf},
                                                        {"vq", Context::vq},
                                                        {"cd", Context::cd},
                                                        {"self-attention", Context::self_attention},
                                                        {"danet", Context::dual_attention},
                                                        {"double-attention", Context::double_attention},
                                                        {"apc", Context::adaptive_pyramid},
                                                        {"dm", Context::dynamic_pyramid},
                                                        {"acf", Context::co_occurrence}};
inline const std::map<std::string, HamburgerVersion> versions = {
    {"v1", HamburgerVersion::v1}, {"v2", HamburgerVersion::v2}, {"v2+", HamburgerVersion::v2_plus}};
inline const std::map<std::string, HamGradient> gradients = {{"one-step", HamGradient::one_step},
                                                             {"bptt", HamGradient::bptt}};
/// The networks before the context module; a depth of the ResNets, or 0.
inline const std::map<std::string, Index> backbones = {{"resnet18", 18},   {"resnet34", 34},    {"resnet50", 50},
                                                       {"resnet101", 101}, {"mobilenet_v2", 0}, {"plain", 0}};
inline const std::vector<std::string> datasets = {"shapes", "context", "camvid", "voc", "ade20k", "cityscapes"};
/// Which parts of a Hamburger V1 there are (table 2 of the paper).
inline const std::vector<std::string> burger_parts = {"all", "no-lower", "no-upper", "only-ham", "no-ham"};

struct Settings {
  std::string dataset = "shapes", data, backbone, weights, context = "nmf", version = "v1", gradient = "one-step",
              bases, parts = "all", out = "out", pretrained, labels, ablation;
  std::vector<std::string> photos;
  Index stride = 8, steps = 6, rank = 16, heads = 1, width = 128, epochs = 20, batch_size = 8, limit_train = no_limit,
        limit_test = no_limit, crop = 0, window = 0, size = 513, seeds = 3;
  std::optional<Index> eval_steps, gradient_steps;
  double lr = 0.02, balance = 0, inverse_temperature = 100;
  bool multi_scale = false, oracle = false, all = false;
  std::uint64_t seed = 0;
  int threads = num_threads();
  DistributedSettings distributed;

  std::string file(const std::string& name) const { return out + "/" + name; }
  std::string backbone_name() const {
    return !backbone.empty() ? backbone : dataset == "context" ? "plain" : "resnet18";
  }
  bool decomposes() const { return context == "nmf" || context == "vq" || context == "cd"; }
  bool keeps_bases() const { return bases.empty() ? context == "cd" : bases == "kept"; }
};

/// What makes a run what it is, for metrics.json: threads and folders are not among it.
inline Json to_json(const Settings& s) {
  Json result = {{"dataset", s.dataset},
                 {"backbone", s.backbone_name()},
                 {"weights", s.weights},
                 {"stride", s.stride},
                 {"context", s.context},
                 {"version", s.version},
                 {"parts", s.parts},
                 {"gradient", s.gradient},
                 {"gradient_steps", s.gradient_steps ? Json(*s.gradient_steps) : Json()},
                 {"bases", s.keeps_bases() ? "kept" : "random"},
                 {"steps", s.steps},
                 {"eval_steps", s.eval_steps.value_or(s.steps)},
                 {"rank", s.rank},
                 {"heads", s.heads},
                 {"inverse_temperature", s.inverse_temperature},
                 {"width", s.width},
                 {"crop", s.crop},
                 {"window", s.window},
                 {"multi_scale", s.multi_scale},
                 {"epochs", s.epochs},
                 {"batch_size", s.batch_size},
                 {"lr", s.lr},
                 {"balance", s.balance},
                 {"limit_train", s.limit_train == no_limit ? Json() : Json(s.limit_train)},
                 {"limit_test", s.limit_test == no_limit ? Json() : Json(s.limit_test)},
                 {"seed", s.seed}};
  return result;
}

}  // namespace lamina::examples::segmentation
