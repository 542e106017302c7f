#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "lamina/data/dataset.hpp"
#include "lamina/data/transforms.hpp"

namespace lamina::inline LAMINA_ABI {

/// One of several processes, ranks, that train one model: which part of each batch it loads.
struct Shard {
  Index rank = 0;   ///< which one, from 0
  Index ranks = 1;  ///< how many there are

  /// The part of `count` things that is this rank's: the first, and the first behind it. Parts differ by one at most.
  /// @{
  Index begin(Index count) const { return count / ranks * rank + std::min(rank, count % ranks); }
  Index end(Index count) const { return begin(count) + count / ranks + (rank < count % ranks ? 1 : 0); }
  /// @}
};

/// How DataLoader makes batches.
template <class Scalar = float, class Target = Labels>
struct LoaderOptions {
  Index batch_size = 1;              ///< samples in a batch, the last of an epoch perhaps fewer
  bool shuffle = false;              ///< another order every epoch, drawn from the seed
  std::uint64_t seed = 0;            ///< of the order and of the transform
  bool drop_last = false;            ///< leave out the last batch if it is smaller
  Index prefetch = 2;                ///< batches prepared ahead on background threads; 0 or no threads: when asked for
  Index workers = 1;                 ///< how many threads that are, each at a batch; at most prefetch + 1 have work
  Transform<Scalar> transform = {};  ///< applied to each input
  /// Applied to each sample, after that: where the target changes with the input, as in segmentation.
  std::function<Example<Scalar, Target>(Example<Scalar, Target>, Random&)> augment = {};
  /// Applied to each batch, last: what mixes its samples, such as MixUp and CutMix.
  std::function<Batch<Scalar, Target>(Batch<Scalar, Target>, Random&)> collate = {};
  /// The loader gives this rank's part of each batch: all ranks' parts, in order, are the batch that one process would
  /// get, but that collate mixes within a part. batch_size is that of all ranks together.
  Shard shard = {};
};

namespace detail {

/// One pass over a dataset: hands out its batches in order, made by background threads ahead of the consumer.
template <class Scalar, class Target>
class Epoch {
 public:
  Epoch(std::shared_ptr<const Dataset<Scalar, Target>> dataset, LoaderOptions<Scalar, Target> options,
        std::uint64_t epoch)
      : dataset_(std::move(dataset)), options_(std::move(options)), epoch_(epoch), samples_(dataset_->size()) {
    // The transform of sample i draws from split(epoch, i); the order takes a key that no sample has.
    if (options_.shuffle) order_ = Random(options_.seed).split(epoch, ~std::uint64_t{0}).permutation(samples_);
    batches_ = batches_of(samples_, options_);
    if (options_.prefetch == 0) return;
    const auto workers = static_cast<std::size_t>(std::min({options_.workers, options_.prefetch + 1, batches_}));
    try {
      while (workers_.size() < workers) workers_.emplace_back([this] { work(); });
    } catch (const std::exception&) {  // the system allows no more: those that there are do the work, or the consumer
    }
  }
  Epoch(const Epoch&) = delete;
  Epoch& operator=(const Epoch&) = delete;

  ~Epoch() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  /// Puts the next batch into current(); false after the last.
  bool advance() {
    current_ = {};  // its storage is free for the batches to come
    if (taken_ == batches_) return false;
    if (workers_.empty()) {
      current_ = make(taken_);
      ++taken_;
      return true;
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return made_.contains(taken_); });
    Made made = std::move(made_.extract(taken_).mapped());
    ++taken_;
    if (made.failure) taken_ = batches_, stop_ = true;  // nobody wants those behind it
    lock.unlock();
    changed_.notify_all();
    if (made.failure) std::rethrow_exception(made.failure);
    current_ = std::move(made.batch);
    return true;
  }

  Batch<Scalar, Target>& current() { return current_; }

  /// The batches of an epoch of which the shard has a part: perhaps not the last.
  static Index batches_of(Index samples, const LoaderOptions<Scalar, Target>& options) {
    const Index whole = samples / options.batch_size, rest = samples % options.batch_size;
    const bool has_rest = !options.drop_last && options.shard.end(rest) > options.shard.begin(rest);
    return whole + (has_rest ? 1 : 0);
  }

 private:
  /// A batch, or what was thrown in its place.
  struct Made {
    Batch<Scalar, Target> batch;
    std::exception_ptr failure;
  };

  Batch<Scalar, Target> make(Index batch) {
    const Index whole = std::min(options_.batch_size, samples_ - batch * options_.batch_size);
    const Index first = batch * options_.batch_size + options_.shard.begin(whole);
    const auto count = static_cast<std::size_t>(options_.shard.end(whole) - options_.shard.begin(whole));
    std::vector<Index> samples(count);
    if (order_.empty())
      std::iota(samples.begin(), samples.end(), first);
    else
      std::copy_n(order_.begin() + first, count, samples.begin());
    Batch<Scalar, Target> result = gather(samples);
    if (!options_.collate || stop_) return result;
    // The order's key is the largest; those of batches lie below it, where no sample's are.
    Random random = Random(options_.seed).split(epoch_, ~std::uint64_t{1} - static_cast<std::uint64_t>(batch));
    return options_.collate(std::move(result), random);
  }

  /// Samples, transformed and stacked.
  Batch<Scalar, Target> gather(std::span<const Index> samples) const {
    if (!options_.transform && !options_.augment) return dataset_->batch(samples);
    const std::size_t count = samples.size();
    Batch<Scalar, Target> result;
    for (std::size_t k = 0; k < count && !stop_; ++k) {
      Example<Scalar, Target> example = dataset_->get(samples[k]);
      Random random = Random(options_.seed).split(epoch_, static_cast<std::uint64_t>(samples[k]));
      if (options_.transform) example.input = options_.transform(std::move(example.input), random);
      if (options_.augment) example = options_.augment(std::move(example), random);
      put(result, example, samples[k], static_cast<Index>(k), static_cast<Index>(count));
    }
    return result;
  }

  /// Fills the storage cache with the blocks of a full queue, so that later steps ask the system for none.
  void reserve(const Batch<Scalar, Target>& first) {
    std::vector<Batch<Scalar, Target>> queue;
    while (static_cast<Index>(queue.size()) <= std::min(options_.prefetch, batches_ - 2))
      queue.push_back({Tensor<Scalar>(first.inputs.shape()), Target(first.targets.shape())});
  }

  /// Makes one batch after the other, until `prefetch` are ready and one more is in the making.
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stop_ || begun_ >= batches_ || begun_ <= taken_ + options_.prefetch; });
      if (stop_ || begun_ >= batches_) return;
      const Index batch = begun_++;
      lock.unlock();
      Made made;
      try {
        made.batch = make(batch);
        if (batch == 0) reserve(made.batch);
      } catch (...) {
        made.failure = std::current_exception();
      }
      lock.lock();
      made_.emplace(batch, std::move(made));
      changed_.notify_all();
    }
  }

  const std::shared_ptr<const Dataset<Scalar, Target>> dataset_;
  const LoaderOptions<Scalar, Target> options_;
  const std::uint64_t epoch_;
  const Index samples_;
  std::vector<Index> order_;
  Index batches_ = 0;
  Batch<Scalar, Target> current_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  Index taken_ = 0, begun_ = 0;    // batches
  std::map<Index, Made> made_;     // that nobody has taken yet
  std::atomic<bool> stop_{false};  // set under the mutex, read anywhere
  std::vector<std::thread> workers_;
};

}  // namespace detail

/// The batches of a dataset:
///
///   DataLoader loader(TensorDataset(images, labels), {.batch_size = 256, .shuffle = true, .seed = 0});
///   for (auto& [images, labels] : loader) ...   // one epoch; the next loop is the next epoch
///
/// It keeps the dataset, a temporary one too; if that is made of names alone, braces tell C++ that no function is
/// declared: `DataLoader loader{ImageFolder(directory)}`.
///
/// The order of an epoch is a function of the seed and the epoch's number, and the transform of sample i in epoch e
/// draws from Random(seed).split(e, i), what mixes a batch from another for each batch: equal seeds give equal batches,
/// however many are prepared ahead, by however many threads. Leaving a loop early stops the threads; what the dataset
/// or the transform throws reaches the loop.
template <class Scalar = float, class Target = Labels>
class DataLoader {
 public:
  /// Throws ValueError for an empty dataset, batch_size < 1, prefetch < 0, workers < 1, a shard that cannot be or whose
  /// batch would be empty, and when drop_last would leave no batch.
  /// @{
  template <DatasetLike D>
  explicit DataLoader(D dataset, LoaderOptions<Scalar, Target> options = {})
      : DataLoader(std::make_shared<const D>(std::move(dataset)), std::move(options)) {}
  explicit DataLoader(std::shared_ptr<const Dataset<Scalar, Target>> dataset,
                      LoaderOptions<Scalar, Target> options = {})
      : dataset_(std::move(dataset)), options_(std::move(options)) {
    require(options_.batch_size >= 1, "DataLoader: batch_size must be at least 1, got ", options_.batch_size);
    require(options_.prefetch >= 0, "DataLoader: prefetch must not be negative, got ", options_.prefetch);
    require(options_.workers >= 1, "DataLoader: workers must be at least 1, got ", options_.workers);
    require(samples() >= 1, "DataLoader: the dataset is empty");
    const Shard& shard = options_.shard;
    require(shard.ranks >= 1 && shard.rank >= 0 && shard.rank < shard.ranks, "DataLoader: there is no rank ",
            shard.rank, " of ", shard.ranks);
    require(options_.batch_size >= shard.ranks, "DataLoader: batch_size is ", options_.batch_size, ", fewer than the ",
            shard.ranks, " ranks that share a batch");
    require(!options_.drop_last || size() >= 1, "DataLoader: drop_last leaves no batch: batch_size is ",
            options_.batch_size, ", the dataset has ", samples(), " samples");
  }
  /// @}

  /// Batches in an epoch. Of a shard, those of which it has a part: a last batch of fewer samples than ranks has none
  /// for some.
  Index size() const { return detail::Epoch<Scalar, Target>::batches_of(samples(), options_); }
  /// Samples of batch `batch` of an epoch, from 0: those of all ranks.
  Index samples_of(Index batch) const {
    return std::clamp<Index>(samples() - batch * options_.batch_size, 0, options_.batch_size);
  }
  /// Samples in the dataset.
  Index samples() const { return dataset_->size(); }
  /// Samples in the largest batch; of a shard, in its part.
  Index batch_size() const {
    const Index whole = std::min(options_.batch_size, samples());
    return options_.shard.end(whole) - options_.shard.begin(whole);
  }
  /// What it was made with.
  const LoaderOptions<Scalar, Target>& options() const { return options_; }
  /// What it loads from.
  const Dataset<Scalar, Target>& dataset() const { return *dataset_; }
  /// A loader of the same dataset with other options, at its first epoch. Throws as the constructor does.
  DataLoader with(LoaderOptions<Scalar, Target> options) const { return DataLoader(dataset_, std::move(options)); }

  /// The number of the epoch that the next loop runs, from 0. Setting it resumes an interrupted training.
  /// @{
  Index epoch() const { return epoch_; }
  void set_epoch(Index epoch) {
    require(epoch >= 0, "DataLoader: the epoch must not be negative, got ", epoch);
    epoch_ = epoch;
  }
  /// @}

  /// An input iterator over one epoch's batches. A batch belongs to the iterator until it is advanced; copying or
  /// moving its tensors out is free.
  class Iterator {
   public:
    /// What input iterators say of themselves.
    /// @{
    using value_type = Batch<Scalar, Target>;
    using difference_type = std::ptrdiff_t;
    /// @}

    Iterator() = default;
    /// At the first batch.
    explicit Iterator(std::unique_ptr<detail::Epoch<Scalar, Target>> epoch) : epoch_(std::move(epoch)) { ++*this; }

    /// The batch.
    /// @{
    Batch<Scalar, Target>& operator*() const { return epoch_->current(); }
    Batch<Scalar, Target>* operator->() const { return &epoch_->current(); }
    /// @}
    /// Goes on to the next batch.
    /// @{
    Iterator& operator++() {
      if (!epoch_->advance()) epoch_.reset();
      return *this;
    }
    void operator++(int) { ++*this; }
    /// @}
    /// Whether the epoch is over.
    friend bool operator==(const Iterator& it, std::default_sentinel_t) { return !it.epoch_; }

   private:
    std::unique_ptr<detail::Epoch<Scalar, Target>> epoch_;
  };

  /// Starts an epoch, and counts it.
  Iterator begin() {
    const auto epoch = static_cast<std::uint64_t>(epoch_);
    Iterator first(std::make_unique<detail::Epoch<Scalar, Target>>(dataset_, options_, epoch));
    count_up(epoch_);
    return first;
  }
  /// See Iterator.
  std::default_sentinel_t end() const { return {}; }

 private:
  std::shared_ptr<const Dataset<Scalar, Target>> dataset_;
  LoaderOptions<Scalar, Target> options_;
  Index epoch_ = 0;
};

/// Takes the types of the dataset.
/// @{
template <DatasetLike D>
DataLoader(D) -> DataLoader<typename D::scalar_type, typename D::target_type>;
template <DatasetLike D>
DataLoader(D, LoaderOptions<typename D::scalar_type, typename D::target_type>)
    -> DataLoader<typename D::scalar_type, typename D::target_type>;
/// @}

}  // namespace lamina::inline LAMINA_ABI
