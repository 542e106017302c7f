#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lamina/data/loader.hpp"
#include "lamina/nn/container.hpp"

namespace lamina::inline LAMINA_ABI {

/// What a part of a model infers from every sample of a loader, in the order of the dataset, with the targets: the
/// features of a frozen part are computed once, and what is behind it is trained with them.
///
///   freeze(net[0]);
///   DataLoader features(cache_features(net[0], train), {.batch_size = 64, .shuffle = true});
///   fit(head, optimizer, features);
///
/// They equal, bit for bit, what the part gives in training when it is frozen. The loader's transform and augment are
/// applied; throws ValueError when they draw random numbers, since another epoch's features would be others, or when
/// the loader collates. fit does all this itself with FitOptions::cache_features.
template <class Scalar, class Target>
TensorDataset<Scalar, Target> cache_features(const Module<Scalar>& part, const DataLoader<Scalar, Target>& loader) {
  LoaderOptions<Scalar, Target> options = loader.options();
  options.shuffle = options.drop_last = false;
  options.shard = {};  // features of all samples, from which a shard takes its own
  require(!options.collate, "cache_features: the loader collates, so that a sample depends on others of its batch");
  // What draws moves the generator on.
  const auto steady = [](auto change, const char* what) {
    return [change = std::move(change), what](auto sample, Random& random) {
      const Random before = random;
      sample = change(std::move(sample), random);
      require(random == before, "cache_features: the loader's ", what,
              " draws random numbers, so that a sample's features differ from epoch to epoch");
      return sample;
    };
  };
  if (options.transform) options.transform = steady(std::move(options.transform), "transform");
  if (options.augment) options.augment = steady(std::move(options.augment), "augment");

  Tensor<Scalar> features;
  Target targets;
  Index done = 0;
  const auto put = [&, samples = loader.samples()](auto& all, const auto& some) {
    if (done == 0) all = std::remove_reference_t<decltype(all)>(some.shape().tail(1).batch(samples));
    require<ShapeError>(some.shape().tail(1) == all.shape().tail(1), "cache_features: sample ", done, " has shape ",
                        some.shape().tail(1), ", others have ", all.shape().tail(1));
    std::copy_n(some.data(), some.numel(), all.data() + done * all.shape().product(1, all.rank()));
  };
  DataLoader<Scalar, Target> in_order = loader.with(std::move(options));
  for (auto& batch : in_order) {
    const Tensor<Scalar> some = part(std::move(batch.inputs));
    put(features, some);
    put(targets, batch.targets);
    done += some.dim(0);
  }
  return {std::move(features), std::move(targets)};
}

namespace detail {

/// Parts of a model, one after the other; the model must outlive it and stay where it is.
template <class Scalar>
class Chain : public Block<Chain<Scalar>, Scalar> {
 public:
  void add(std::string name, Module<Scalar>& module) { parts_.push_back({std::move(name), &module}); }
  bool empty() const { return parts_.empty(); }
  bool same(const Chain& other) const {
    return std::equal(parts_.begin(), parts_.end(), other.parts_.begin(), other.parts_.end(),
                      [](const auto& a, const auto& b) { return a.second == b.second; });
  }

  Fields fields() const override { return Fields("Sequential"); }
  Members<Scalar> members() override {
    Members<Scalar> result;
    for (auto& [name, module] : parts_) result.push_back({name, module});
    return result;
  }
  Value<Scalar> flow(Flow<Scalar>& run, Value<Scalar> x) const {
    for (const auto& [name, module] : parts_) x = run(*module, std::move(x));
    return x;
  }

 private:
  std::vector<std::pair<std::string, Module<Scalar>*>> parts_;
};

/// Whether a module, with all below it, is frozen.
template <class Scalar>
bool stands_still(const Module<Scalar>& module) {
  if (!module.frozen()) return false;
  for (const Member<Scalar>& member : members_of(module)) {
    if (auto* parameter = std::get_if<Parameter<Scalar>*>(&member.part); parameter && (*parameter)->requires_grad)
      return false;
    if (auto* child = std::get_if<Module<Scalar>*>(&member.part); child && !stands_still(**child)) return false;
  }
  return true;
}

/// Takes a Sequential apart, and those in it, into the frozen modules that it begins with and the others.
template <class Scalar>
void split_frozen(Module<Scalar>& module, const std::string& path, Chain<Scalar>& frozen, Chain<Scalar>& rest) {
  if (rest.empty() && stands_still(module)) return frozen.add(path, module);
  if (!rest.empty() || !module.template as<Sequential<Scalar>>()) return rest.add(path, module);
  for (const Member<Scalar>& member : module.members())
    split_frozen(*std::get<Module<Scalar>*>(member.part),
                 path + (path.empty() || member.name.empty() ? "" : ".") + member.name, frozen, rest);
}

}  // namespace detail
}  // namespace lamina::inline LAMINA_ABI
