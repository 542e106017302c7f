#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lamina/core/choice.hpp"
#include "lamina/data/loader.hpp"
#include "lamina/mpi/communicator.hpp"
#include "lamina/mpi/exchange.hpp"
#include "lamina/nn/module.hpp"
#include "lamina/nn/state.hpp"
#include "lamina/train/parallel.hpp"
#include "lamina/train/progress.hpp"

namespace lamina::mpi::inline LAMINA_ABI {

/// Options of DataParallel.
struct DataParallelOptions {
  Index bucket_bytes = 4 << 20;  ///< gradients are sent together up to this size; one of a quarter of it is sent alone
  Choice<Compression> compression = Compression::none;  ///< how they are sent
  double top_k = 0.01;    ///< of Compression::top_k: the share of a bucket's gradients that is sent, in (0, 1]
  Index check_every = 0;  ///< steps between two comparisons of the ranks' parameters; 0: after each epoch of fit only
};

/// Where the time of the exchanges went, in seconds, since they were last reset.
struct ExchangeTimes {
  double during_backward = 0;  ///< packing, starting, and moving on what runs, between two layers of backward
  double after_backward = 0;   ///< waiting for what had not arrived by the end of backward
  Index steps = 0;             ///< how many
};

/// Trains a model on all ranks, each with its part of every batch: after backward, the gradients of all ranks are added
/// up, so that the optimisers of all ranks take the same step. For fit:
///
///   mpi::DataParallel<float> parallel(world);
///   DataLoader train(data, {.batch_size = 256, .shuffle = true, .shard = parallel.shard()});
///   fit(net, optimizer, train, {.epochs = 10, .parallel = &parallel});
///
/// or in a loop of one's own, where d(loss) of a mean must be scaled by the part's share of the batch:
///
///   parallel.begin(net);
///   for (auto& [images, labels] : train) {
///     ...
///     grad *= float(images.dim(0)) / float(train.samples_of(batch++));
///     parallel.before_backward(tape);
///     net.backward(grad, tape);
///     parallel.after_backward(tape);
///     optimizer.step();
///   }
///
/// Gradients are exchanged in buckets, from the last parameter to the first, as Li et al. 2020 ("PyTorch distributed",
/// section 3.2) do it: as soon as backward has finished all of a bucket, its exchange is started, and goes on while
/// backward works on the layers before. A bucket follows the one before it, so that all ranks start them in the same
/// order. Results have the same bits in every run with as many ranks, and on all ranks.
///
/// The model must stay where it is, and begin() is called again for another. Compression is approximate, see
/// Compression; what has not been sent yet is kept on each rank, and is not in checkpoints.
template <class Scalar = float>
class DataParallel : public Parallel<Scalar> {
 public:
  /// Throws ValueError for an option out of its range. Collective.
  explicit DataParallel(const Communicator& ranks, const DataParallelOptions& options = {})
      : ranks_(ranks.duplicate()), second_(ranks.duplicate()), options_(options) {
    require(options.bucket_bytes >= 1, "DataParallel: bucket_bytes must be at least 1, got ", options.bucket_bytes);
    require(options.top_k > 0 && options.top_k <= 1, "DataParallel: top_k must be in (0, 1], got ", options.top_k);
    require(options.check_every >= 0, "DataParallel: check_every must not be negative, got ", options.check_every);
  }
  /// Exchanges that an error has left are left to their end.
  ~DataParallel() override { abandon(); }
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  Index rank() const override { return ranks_.rank(); }
  Index ranks() const override { return ranks_.size(); }
  /// For LoaderOptions.
  Shard shard() const { return {rank(), ranks()}; }
  /// What it was made with.
  const DataParallelOptions& options() const { return options_; }

  void begin(Module<Scalar>& net, const RunSettings& settings = {}) override {
    RunSettings all = settings;
    all.emplace_back("compression", options_.compression.word());
    all.emplace_back("top_k", text(options_.top_k));
    all.emplace_back("bucket_bytes", text(options_.bucket_bytes));
    all.emplace_back("check_every", text(options_.check_every));
    all.emplace_back("bytes of a number", text(sizeof(Scalar)));
    all.emplace_back("synchronised batch norms", text(synchronized(net)));
    for (const auto& [name, value] : state_dict(std::as_const(net)))
      all.emplace_back(name, std::visit([](const auto& tensor) { return tensor.shape().to_string(); }, value));
    for (const auto& [name, parameter, owner] : lamina::parameters(net))
      all.emplace_back(text("whether ", name, " is learned"), text(parameter->requires_grad));
    agree(all);
    broadcast(net);
    find_owners(net);
    lay_out();
  }

  /// For one backward to a step.
  void before_backward(Tape& tape) { before_backward(tape, true); }
  void before_backward(Tape& tape, bool last) override {
    if (!last || ranks() == 1) return;
    if (trained_ != trained_now()) lay_out();
    for (Entry& entry : entries_) entry.waiting = entry.owners;
    for (Bucket& bucket : buckets_) bucket.waiting = static_cast<Index>(bucket.entries.size());
    next_ = 0;
    tape.observe([this](const ModuleBase& layer) { finished(layer); });
  }

  void after_backward(Tape& tape) override {
    if (ranks() == 1) return;
    tape.observe({});
    const double begin = seconds_now();
    while (next_ < buckets_.size()) start(buckets_[next_++]);
    const std::vector<std::uint8_t> given = given_anywhere();
    for (Bucket& bucket : buckets_) {
      while (!bucket.exchange.done()) move_on();
      unpack(bucket, given);
    }
    next_ = 0;
    ++times_.steps;
    ++steps_;
    times_.after_backward += seconds_now() - begin;
    if (options_.check_every > 0 && steps_ % options_.check_every == 0) check_parameters();
  }

  void sum(std::span<double> values) override { ranks_.sum_in_order(values); }

  void end_epoch(Module<Scalar>& net) override {
    if (ranks() == 1) return;
    check_parameters();
    average_buffers(net);
  }

  /// Where time went.
  const ExchangeTimes& times() const { return times_; }
  /// From now on.
  void reset_times() { times_ = {}; }
  /// How many buckets the gradients are sent in.
  Index buckets() const { return static_cast<Index>(buckets_.size()); }
  /// Bytes that one rank sends in a step, by the usual algorithms, in which each passes on 2 (n - 1) / n of what it
  /// has, or, with top_k, all that it chose to the n - 1 others.
  double bytes_sent() const {
    double bytes = 0;
    for (const Bucket& bucket : buckets_) bytes += bucket.exchange.bytes_sent();
    return bytes;
  }

  /// Throws StateError, which names the rank, if the parameters of a rank are not those of rank 0. Collective.
  void check_parameters() const {
    Hash hash;
    for (const Entry& entry : entries_) {
      hash.add(entry.name);
      hash.add(entry.parameter->value);
    }
    const std::uint64_t own = hash.value();
    const auto all = ranks_.gather(std::span(&own, 1));
    for (std::size_t r = 1; r < all.size(); ++r)
      require<StateError>(all[r] == all[0], "DataParallel: after ", steps_, " steps the parameters of rank ", r,
                          " are not those of rank 0");
  }

 private:
  /// A parameter that may be learned.
  struct Entry {
    std::string name;
    Parameter<Scalar>* parameter;
    Index owners = 0;   // layers whose backward adds to its gradient, and one for ever where that is not known
    Index waiting = 0;  // of them, in this backward
    std::size_t bucket = 0;
  };
  /// Some parameters whose gradients are sent together.
  struct Bucket {
    std::vector<std::size_t> entries;
    Index waiting = 0;      // of its parameters, in this backward
    bool in_place = false;  // its one gradient is summed where it is
    Exchange<Scalar> exchange;
  };

  void abandon() {
    for (Bucket& bucket : buckets_) {
      if (bucket.in_place && !bucket.exchange.done())  // MPI may still write there
        new Tensor<Scalar>(entries_[bucket.entries[0]].parameter->grad);
      bucket.exchange.abandon();
    }
  }

  static Index synchronized(Module<Scalar>& net) {
    Index count = 0;
    const auto add = [&](auto& norm) { count += norm.synchronized() ? 1 : 0; };
    for_each<BatchNorm2d<Scalar>>(net, add);
    for_each<BatchNorm1d<Scalar>>(net, add);
    return count;
  }

  /// Throws StateError at the first setting in which a rank differs from rank 0.
  void agree(const RunSettings& settings) const {
    std::string own;
    for (const auto& [name, value] : settings) own += name + '\n' + value + '\n';
    const std::vector<std::string> all = ranks_.gather(own);
    const auto lines = [](const std::string& list) {
      std::vector<std::string> result;
      for (std::size_t at = 0, end; (end = list.find('\n', at)) != std::string::npos; at = end + 1)
        result.push_back(list.substr(at, end - at));
      return result;
    };
    const std::vector<std::string> first = lines(all[0]);
    for (std::size_t r = 1; r < all.size(); ++r) {
      if (all[r] == all[0]) continue;
      const std::vector<std::string> other = lines(all[r]);
      for (std::size_t i = 0; i + 1 < std::max(first.size(), other.size()); i += 2) {
        const auto at = [i](const std::vector<std::string>& list, std::size_t place) {
          return i + place < list.size() ? list[i + place] : std::string("nothing");
        };
        if (at(first, 0) == at(other, 0) && at(first, 1) == at(other, 1)) continue;
        if (at(first, 0) == at(other, 0))
          throw StateError(text("DataParallel: rank ", r, " has another ", at(first, 0), " than rank 0: ", at(other, 1),
                                ", not ", at(first, 1)));
        throw StateError(text("DataParallel: rank ", r, " has ", at(other, 0), " where rank 0 has ", at(first, 0)));
      }
    }
  }

  /// f(tensor) for everything in a model's state.
  template <class F>
  static void for_each_tensor(Module<Scalar>& module, const F& f) {
    for (const Member<Scalar>& member : module.members()) {
      if (auto* parameter = std::get_if<Parameter<Scalar>*>(&member.part))
        f((*parameter)->value, true);
      else if (auto* buffer = std::get_if<Tensor<Scalar>*>(&member.part))
        f(**buffer, false);
      else if (auto* counter = std::get_if<Tensor<std::int64_t>*>(&member.part))
        f(**counter, false);
      else
        for_each_tensor(*std::get<Module<Scalar>*>(member.part), f);
    }
  }
  void broadcast(Module<Scalar>& net) const {
    if (ranks() == 1) return;
    for_each_tensor(net, [this]<class T>(Tensor<T>& tensor, bool) {
      ranks_.broadcast(std::span<T>(tensor.data(), static_cast<std::size_t>(tensor.numel())));
    });
  }

  /// Running statistics differ unless batch norms are synchronised: their average is as good a model's as any.
  void average_buffers(Module<Scalar>& net) const {
    Hash hash;
    std::vector<double> values;
    for_each_tensor(net, [&]<class T>(const Tensor<T>& tensor, bool learned) {
      if constexpr (std::is_same_v<T, Scalar>)
        if (!learned) {
          hash.add(tensor);
          values.insert(values.end(), tensor.data(), tensor.data() + tensor.numel());
        }
    });
    const std::uint64_t own = hash.value();
    const auto all = ranks_.gather(std::span(&own, 1));
    if (std::all_of(all.begin(), all.end(), [&](std::uint64_t other) { return other == all[0]; })) return;
    ranks_.sum(std::span<double>(values));
    auto from = values.begin();
    for_each_tensor(net, [&]<class T>(Tensor<T>& tensor, bool learned) {
      if constexpr (std::is_same_v<T, Scalar>)
        if (!learned)
          for (Scalar& value : tensor.values()) value = static_cast<Scalar>(*from++ / static_cast<double>(ranks()));
    });
  }

  /// Notes all parameters, from the last to the first, and which layers' backward adds to their gradients: a layer
  /// tells of those in it. What stands in a block itself is used by a layer that is not known.
  void find_owners(Module<Scalar>& net) {
    abandon();
    entries_.clear();
    buckets_.clear();
    by_layer_.clear();
    std::unordered_map<const Parameter<Scalar>*, std::size_t> places;
    auto list = lamina::parameters(net);
    for (auto named = list.rbegin(); named != list.rend(); ++named)
      if (places.emplace(named->parameter, entries_.size()).second) entries_.push_back({named->name, named->parameter});
    std::set<std::pair<const ModuleBase*, std::size_t>> seen;
    const auto visit = [&](const auto& self, const Module<Scalar>& module, const ModuleBase* layer) -> void {
      if (!layer && dynamic_cast<const Primitive<Scalar>*>(&module)) layer = &module;
      for (const Member<Scalar>& member : members_of(module)) {
        if (auto* parameter = std::get_if<Parameter<Scalar>*>(&member.part)) {
          const std::size_t place = places.at(*parameter);
          if (!seen.emplace(layer, place).second) continue;
          ++entries_[place].owners;
          if (layer) by_layer_[layer].push_back(place);
        } else if (auto* child = std::get_if<Module<Scalar>*>(&member.part)) {
          self(self, **child, layer);
        }
      }
    };
    visit(visit, net, nullptr);
    // What waits for the end of backward must not hold up the others.
    std::vector<std::size_t> order(entries_.size()), place(entries_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_partition(order.begin(), order.end(), [&](std::size_t i) { return !seen.contains({nullptr, i}); });
    std::vector<Entry> sorted;
    for (const std::size_t i : order) {
      place[i] = sorted.size();
      sorted.push_back(std::move(entries_[i]));
    }
    entries_ = std::move(sorted);
    for (auto& [layer, own] : by_layer_)
      for (std::size_t& i : own) i = place[i];
  }

  std::vector<bool> trained_now() const {
    std::vector<bool> result;
    for (const Entry& entry : entries_) result.push_back(entry.parameter->requires_grad);
    return result;
  }

  /// Puts those that are learned now into buckets.
  void lay_out() {
    abandon();
    buckets_.clear();
    trained_ = trained_now();
    // What is large is sent alone, from where it is: packing takes longer than a message's latency.
    const bool uncompressed = options_.compression == Compression::none;
    std::vector<std::vector<std::size_t>> groups;
    const auto most = static_cast<Index>(options_.bucket_bytes / static_cast<Index>(sizeof(Scalar)));
    Index size = 0;
    bool closed = true;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      if (!trained_[i]) continue;
      const Index own = entries_[i].parameter->value.numel();
      const bool alone = uncompressed && own >= most / 4;
      if (closed || alone || size + own > most) {
        groups.emplace_back();
        size = 0;
      }
      closed = alone;
      groups.back().push_back(i);
      entries_[i].bucket = groups.size() - 1;
      size += own;
    }
    buckets_.reserve(groups.size());
    for (auto& group : groups) {
      Index numbers = 0;
      for (const std::size_t i : group) numbers += entries_[i].parameter->value.numel();
      buckets_.push_back({std::move(group), 0, false,
                          Exchange<Scalar>(ranks_, second_, numbers, options_.compression, options_.top_k)});
    }
  }

  /// Backward has gone through a layer for the last time.
  void finished(const ModuleBase& layer) {
    const double begin = seconds_now();
    if (const auto own = by_layer_.find(&layer); own != by_layer_.end())
      for (const std::size_t place : own->second) {
        Entry& entry = entries_[place];
        if (trained_[place] && --entry.waiting == 0) --buckets_[entry.bucket].waiting;
      }
    while (next_ < buckets_.size() && buckets_[next_].waiting <= 0) start(buckets_[next_++]);
    move_on();
    times_.during_backward += seconds_now() - begin;
  }

  void start(Bucket& bucket) {
    Parameter<Scalar>& first = *entries_[bucket.entries[0]].parameter;
    bucket.in_place = options_.compression == Compression::none && bucket.entries.size() == 1 &&
                      first.grad.shape() == first.value.shape();
    if (bucket.in_place) return bucket.exchange.start(first.grad.data());
    Scalar* to = bucket.exchange.values();
    for (const std::size_t place : bucket.entries) {
      const Parameter<Scalar>& parameter = *entries_[place].parameter;
      const Index size = parameter.value.numel();
      if (parameter.grad.shape() == parameter.value.shape())
        std::copy_n(parameter.grad.data(), size, to);
      else
        std::fill_n(to, size, Scalar(0));
      to += size;
    }
    bucket.exchange.start();
  }

  /// Lets MPI work on what runs. The second message of a bucket follows that of the one before.
  void move_on() {
    bool may_follow = true;
    for (std::size_t i = 0; i < next_; ++i) may_follow = buckets_[i].exchange.move_on(may_follow);
  }

  /// Which parameters have a gradient on any rank: the others keep none, as they would on one process.
  std::vector<std::uint8_t> given_anywhere() const {
    std::vector<std::uint8_t> given;
    for (const Entry& entry : entries_)
      given.push_back(entry.parameter->grad.shape() == entry.parameter->value.shape());
    // All first messages have been started, on every rank, but not all second ones.
    check(MPI_Allreduce(MPI_IN_PLACE, given.data(), static_cast<int>(given.size()), MPI_UINT8_T, MPI_MAX, ranks_.raw()),
          "MPI_Allreduce");
    return given;
  }

  void unpack(Bucket& bucket, const std::vector<std::uint8_t>& given) {
    if (bucket.in_place) return;
    const Scalar* from = bucket.exchange.values();
    for (const std::size_t place : bucket.entries) {
      Parameter<Scalar>& parameter = *entries_[place].parameter;
      const Index size = parameter.value.numel();
      if (given[place]) std::copy_n(from, size, parameter.gradient().data());
      from += size;
    }
  }

  Communicator ranks_, second_;
  DataParallelOptions options_;
  std::vector<Entry> entries_;  // from the model's last parameter to its first
  std::unordered_map<const ModuleBase*, std::vector<std::size_t>> by_layer_;
  std::vector<bool> trained_;  // of the entries, when the buckets were made
  std::vector<Bucket> buckets_;
  std::size_t next_ = 0;  // bucket to be started
  ExchangeTimes times_;
  Index steps_ = 0;
};

}  // namespace lamina::mpi::inline LAMINA_ABI
