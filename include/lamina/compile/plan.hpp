#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lamina/compile/action.hpp"
#include "lamina/compile/fold.hpp"
#include "lamina/compile/fuse.hpp"
#include "lamina/compile/layouts.hpp"
#include "lamina/compile/lower.hpp"
#include "lamina/compile/memory.hpp"
#include "lamina/compile/place.hpp"
#include "lamina/compile/text.hpp"
#include "lamina/core/denormals.hpp"

namespace lamina::inline LAMINA_ABI {

/// How numbers are stored.
enum class Precision {
  full,     ///< as the network's scalar type
  bfloat16  ///< the upper half of a float, 8 bits of fraction
};

/// Options of compile.
struct CompileOptions {
  /// Of linear layers' weights, where it is memory that takes the time. Arithmetic is in float. For float only.
  Precision weights = Precision::full;
};

namespace compiler {

/// A graph through all passes.
template <class Scalar>
Program<Scalar> optimized(const Graph<Scalar>& graph) {
  Program<Scalar> program = lower(graph);
  fold(program);
  choose_layouts(program);
  fuse(program);
  place_concats(program);
  place_in_place(program);
  return program;
}

/// A program that is ready to run: everything that does not change from call to call.
template <class T>
class Executable {
 public:
  /// Chooses actions, packs weights and plans memory.
  Executable(Program<T> program, const CompileOptions& options, bool packed)
      : program_(std::move(program)), packed_(packed) {
    places_.reserve(program_.values.size());
    for (std::size_t i = 0; i < program_.values.size(); ++i)
      places_.push_back(place_of(program_, static_cast<Index>(i)));
    for (const Step<T>& step : program_.steps) {
      Entry entry{action_of(program_, step, options.weights == Precision::bfloat16)};
      if (step.kind == StepKind::convolution && step.method == Method::planar) {
        entry.planes = kernels::pack_filters(step.shape, step.weight.data());
        entry.finish = std::make_unique<detail::FinishOf<T>>(program_, step, true);
      }
      if (entry.action) scratch_ = std::max(scratch_, entry.action->scratch());
      entries_.push_back(std::move(entry));
    }
    for (Step<T>& step : program_.steps) step.weight = {};  // packed by now
    plan_arena();
  }

  /// What it runs.
  const Program<T>& program() const { return program_; }
  /// Whether its inputs are packed sequences.
  bool packed() const { return packed_; }
  /// Values of memory for a call, and the least that would do.
  /// @{
  Index arena_size() const { return arena_size_; }
  Index live_size() const { return live_size_; }
  /// @}

  /// Runs it. times, if given, has a place for the seconds of each step, which then run one by one.
  Few<Tensor<T>> run(Values<T> inputs, std::vector<double>* times = nullptr) const {
    const Borrowed state(*this);
    Call<T>& call = state->call;
    check(inputs);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      Slot<T>& slot = call.slot(program_.inputs[i]);
      slot.batch = inputs[i].shape()[0];
      slot.sequences = inputs[i].sequences;
      slot.tensor = std::move(inputs[i].tensor);
      slot.data = const_cast<T*>(std::as_const(slot.tensor).data());  // which no step writes
    }
    const std::size_t count = program_.steps.size();
    for (std::size_t i = 0; i < count;) {
      std::size_t end = i;
      while (end < count && (end == i || !times) && !runs_alone(end)) open(*state, end++);
      const auto start = std::chrono::steady_clock::now();
      if (end > i) {
        run_together(*state, i, end);
      } else {
        run_alone(call, i);
        end = i + 1;
      }
      if (times) (*times)[i] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      for (; i < end; ++i)
        for (Index id : entries_[i].releases) call.slot(id).tensor = {};
    }
    Few<Tensor<T>> results;
    for (Index id : program_.outputs) {
      const Place& place = places_[static_cast<std::size_t>(id)];
      const Tensor<T>& tensor = call.slot(place.root).tensor;
      results.push_back(place.root == id ? tensor : tensor.reshape(shape_in(call, id)));
    }
    return results;
  }

 private:
  struct Entry {
    std::unique_ptr<Action<T>> action;
    kernels::PackedFilters<T> planes = {};  // of a convolution in planes
    std::unique_ptr<detail::FinishOf<T>> finish = {};
    std::vector<Index> releases = {};  // tensors that nobody reads behind this step
    Index shared = 0;                  // where in the arena
  };

  static constexpr auto most_phases = static_cast<std::size_t>(kernels::BlockedKernel<T>::most_phases);
  /// How far the threads are with a phase of a step.
  struct alignas(64) Progress {
    std::atomic<Index> next{0}, done{0};
  };

  /// What a call needs for itself.
  struct State {
    Call<T> call;
    Tensor<T> memory;
    std::vector<Index> batches;  // of the steps
    std::vector<Progress> progress;
  };
  /// One that no other call uses now, for as long as this object lives.
  class Borrowed {
   public:
    explicit Borrowed(const Executable& owner) : owner_(owner) {
      {
        const std::lock_guard lock(owner.mutex_);
        if (!owner.free_.empty()) {
          state_ = std::move(owner.free_.back());
          owner.free_.pop_back();
        }
      }
      if (!state_) state_ = owner.make_state();
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    ~Borrowed() {
      for (auto& slot : state_->call.slots) slot.tensor = {}, slot.sequences = nullptr;
      const std::lock_guard lock(owner_.mutex_);
      owner_.free_.push_back(std::move(state_));
    }
    State* operator->() const { return state_.get(); }
    State& operator*() const { return *state_; }

   private:
    const Executable& owner_;
    std::unique_ptr<State> state_;
  };

  Index root(Index id) const { return places_[static_cast<std::size_t>(id)].root; }
  bool runs_alone(std::size_t i) const { return !entries_[i].action && program_.steps[i].kind != StepKind::view; }
  Shape shape_in(const Call<T>& call, Index id) const { return program_.value(id).shape.with(0, call.slot(id).batch); }

  /// The arena's pieces: what actions make, unless it is a result, and what lies between their phases.
  void plan_arena() {
    const std::size_t values = program_.values.size(), count = program_.steps.size();
    std::vector<Lifetime> lives(values, {0, static_cast<Index>(count), -1});
    is_result_.assign(values, false);
    for (Index id : program_.outputs) is_result_[static_cast<std::size_t>(root(id))] = true;
    std::vector<bool> is_tensor(values, false);  // of layers, and inputs
    for (Index id : program_.inputs) is_tensor[static_cast<std::size_t>(id)] = true;
    for (std::size_t i = 0; i < count; ++i) {
      const Step<T>& step = program_.steps[i];
      const auto touch = [&](Index id) {
        Lifetime& life = lives[static_cast<std::size_t>(root(id))];
        life.first = std::min(life.first, static_cast<Index>(i));
        life.last = std::max(life.last, static_cast<Index>(i));
      };
      for (Index id : step.reads()) touch(id);
      for (Index id : step.writes()) touch(id);
      if (step.kind == StepKind::layer)
        for (Index id : step.outputs) is_tensor[static_cast<std::size_t>(id)] = true;
    }
    std::vector<Lifetime> pieces;
    std::vector<Index*> offsets;
    arena_offsets_.assign(values, -1);
    constexpr Index line = 64 / static_cast<Index>(sizeof(T));
    const auto whole_lines = [](Index size) { return parts_of(size, line) * line; };
    for (std::size_t id = 0; id < values; ++id) {
      const Lifetime& life = lives[id];
      if (life.last < 0 || is_result_[id]) continue;
      if (is_tensor[id]) {
        entries_[static_cast<std::size_t>(life.last)].releases.push_back(static_cast<Index>(id));
        continue;
      }
      const Shape& shape = program_.values[id].shape;
      pieces.push_back({whole_lines(sample_size<T>(program_.values[id]) * shape[0]), life.first, life.last});
      offsets.push_back(&arena_offsets_[id]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (!entries_[i].action) continue;
      const Index shared = entries_[i].action->shared(program_.value(program_.steps[i].inputs[0]).shape[0]);
      if (shared == 0) continue;
      pieces.push_back({whole_lines(shared), static_cast<Index>(i), static_cast<Index>(i)});
      offsets.push_back(&entries_[i].shared);
    }
    arena_size_ = plan_memory(pieces);
    live_size_ = largest_live_sum(pieces);
    for (std::size_t i = 0; i < pieces.size(); ++i) *offsets[i] = pieces[i].offset;
  }

  std::unique_ptr<State> make_state() const {
    auto state = std::make_unique<State>();
    state->memory = Tensor<T>({arena_size_});
    state->call.arena = state->memory.data();
    state->call.slots.resize(program_.values.size());
    for (std::size_t id = 0; id < arena_offsets_.size(); ++id)
      if (arena_offsets_[id] >= 0) state->call.slots[id].data = state->call.arena + arena_offsets_[id];
    state->batches.resize(program_.steps.size());
    state->progress = std::vector<Progress>(most_phases * program_.steps.size());
    return state;
  }

  void check(const Values<T>& inputs) const {
    require(inputs.size() == program_.inputs.size(), "Plan: takes ", program_.inputs.size(), " values, got ",
            inputs.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Shape &expected = program_.value(program_.inputs[i]).shape, &got = inputs[i].shape();
      require<ShapeError>(got.rank() == expected.rank() && got.rank() > 0 && got.with(0, expected[0]) == expected,
                          "Plan: compiled for inputs of shape ", expected,
                          ", or fewer along the first axis, got shape ", got);
      require<ShapeError>(got[0] <= expected[0], "Plan: compiled for at most ", expected[0],
                          packed_ ? " tokens" : " samples", ", got shape ", got);
      require<ShapeError>((inputs[i].sequences != nullptr) == packed_, "Plan: compiled for ",
                          packed_ ? "a packed batch, got a dense one" : "a dense batch, got a packed one");
    }
  }

  /// The lengths of a step's results, and memory for those that are the program's.
  void open(State& state, std::size_t i) const {
    Call<T>& call = state.call;
    const Step<T>& step = program_.steps[i];
    const Slot<T>& in = call.slot(step.inputs[0]);
    const Index n = state.batches[i] = in.batch;
    for (Index id : step.writes()) {
      for (Index part = id; part >= 0; part = program_.value(part).whole) {  // and of what it is a part
        call.slot(part).batch = n;
        call.slot(part).sequences = in.sequences;
      }
      if (root(id) != id || !is_result_[static_cast<std::size_t>(id)] || step.kind == StepKind::view) continue;
      Slot<T>& slot = call.slot(id);
      slot.tensor = Tensor<T>(shape_in(call, id));
      slot.data = slot.tensor.data();
    }
    for (std::size_t phase = 0; phase < most_phases; ++phase) {
      Progress& progress = state.progress[most_phases * i + phase];
      progress.next.store(0, std::memory_order_relaxed);
      progress.done.store(0, std::memory_order_relaxed);
    }
  }

  /// Steps begin..end-1, all threads together. Each takes units from a step's counter, and goes on to the next step
  /// when all that somebody has taken are done: nobody waits for a thread that has not come yet.
  void run_together(State& state, std::size_t begin, std::size_t end) const {
    const auto work = [&](T* scratch, bool alone) {
      for (std::size_t i = begin; i < end; ++i) {
        const Action<T>* const action = entries_[i].action.get();
        if (!action || state.batches[i] == 0) continue;
        T* const shared = state.call.arena + entries_[i].shared;
        for (Index phase = 0; phase < action->phases(); ++phase) {
          const Index n = state.batches[i], units = action->units(n, phase);
          if (alone) {
            for (Index unit = 0; unit < units; ++unit) action->run(state.call, n, phase, unit, shared, scratch);
            continue;
          }
          Progress& progress = state.progress[most_phases * i + static_cast<std::size_t>(phase)];
          for (Index unit; (unit = progress.next.fetch_add(1, std::memory_order_relaxed)) < units;) {
            action->run(state.call, n, phase, unit, shared, scratch);
            progress.done.fetch_add(1, std::memory_order_release);
          }
          wait([&] { return progress.done.load(std::memory_order_acquire) >= units; });
        }
      }
    };
    const Workers workers;
    const Index threads = workers.count();
    workers.parallel_for(0, threads, 1, Scratch<T>{scratch_},
                         [&](Index, Index, T* scratch) { work(scratch, threads == 1); });
  }

  /// Spins for a while: the others are at work on units of microseconds.
  template <class Condition>
  static void wait(Condition condition) {
    for (int i = 0; !condition(); ++i) {
      if (i > 20000) std::this_thread::yield();
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
  }

  /// A layer, or a convolution in planes.
  void run_alone(Call<T>& call, std::size_t i) const {
    const Step<T>& step = program_.steps[i];
    if (step.kind == StepKind::convolution) return run_planes(call, i);
    Values<T> inputs;
    for (Index id : step.inputs) {
      const Place& place = places_[static_cast<std::size_t>(id)];
      const Slot<T>& slot = call.slot(place.root);
      const Shape shape = shape_in(call, id);
      Value<T> value;
      if (slot.tensor.shape() != Tensor<T>().shape())
        value = place.root == id ? slot.tensor : slot.tensor.reshape(shape);
      else
        value = Tensor<T>::wrap(static_cast<const T*>(call.at(place)), shape);
      value.sequences = call.slot(id).sequences;
      inputs.push_back(std::move(value));
    }
    for (Index id : entries_[i].releases) call.slot(id).tensor = {};  // so that the layer may work in place
    Values<T> results;
    try {
      results = step.layer->infer_values(std::move(inputs), lamina::Activation::none);
    } catch (Error& error) {
      error.locate(step.path);
      throw;
    }
    for (std::size_t j = 0; j < results.size() && j < step.outputs.size(); ++j) {
      Slot<T>& slot = call.slot(step.outputs[j]);
      slot.tensor = std::move(results[j].tensor);
      const T* const data = std::as_const(slot.tensor).data();
      if (data >= call.arena && data < call.arena + arena_size_)  // a view of what will be overwritten
        slot.tensor = Tensor<T>(slot.tensor.shape(), slot.tensor.values());
      slot.data = const_cast<T*>(std::as_const(slot.tensor).data());
      slot.batch = slot.tensor.rank() > 0 ? slot.tensor.dim(0) : 1;
      slot.sequences = results[j].sequences;
    }
  }

  void run_planes(Call<T>& call, std::size_t i) const {
    const Step<T>& step = program_.steps[i];
    const Entry& entry = entries_[i];
    const Index n = call.slot(step.inputs[0]).batch, y_id = step.outputs[0];
    call.slot(y_id).batch = n;
    if (root(y_id) == y_id && is_result_[static_cast<std::size_t>(y_id)]) {
      call.slot(y_id).tensor = Tensor<T>(shape_in(call, y_id));
      call.slot(y_id).data = call.slot(y_id).tensor.data();
    }
    if (n == 0) return;
    kernels::ConvolutionShape s = step.shape;
    s.n = n;
    kernels::Finish<T> finish = entry.finish->of(call);
    T* const y = call.at(places_[static_cast<std::size_t>(y_id)]);
    kernels::convolution_forward(s, std::as_const(call).at(places_[static_cast<std::size_t>(step.inputs[0])]),
                                 entry.planes, finish.bias, y);
    if (!step.finished()) return;
    parallel_for(0, shape_in(call, y_id).numel(), Index{1} << 14, [&](Index first, Index last) {
      kernels::finish_pass(last - first, y + first, finish.residual ? finish.residual + first : nullptr, finish,
                           y + first);
    });
  }

  Program<T> program_;
  bool packed_;
  std::vector<Place> places_;
  std::vector<Entry> entries_;
  std::vector<bool> is_result_;       // roots that are tensors of the program's results
  std::vector<Index> arena_offsets_;  // of roots, or -1
  Index arena_size_ = 0, live_size_ = 0, scratch_ = 1;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<State>> free_;
};

}  // namespace compiler

/// A network compiled for inference on inputs of one shape: normalisations folded, what can be fused fused, channels in
/// blocks from layer to layer, filters packed, memory planned. It computes what the network's infer does, up to
/// rounding, and is independent of it: the network may be trained on or go.
///
///   const Plan plan = compile(net, {8, 3, 224, 224});
///   Tensor logits = plan(images);  // of up to 8 images
///
/// A value; a copy is cheap. Any number of threads may use it at once: each call has memory of its own, kept for the
/// next. Results do not depend on the number of threads.
template <class Scalar = float>
class Plan {
 public:
  /// The (first) result for an input of the compiled shape, or shorter along the first axis: fewer samples, or fewer
  /// tokens of a packed batch. Throws ShapeError for another shape.
  Tensor<Scalar> operator()(Value<Scalar> x) const { return infer(std::move(x)); }
  /// The same by the name that it has in the network.
  Tensor<Scalar> infer(Value<Scalar> x) const { return std::move(infer(Values<Scalar>(std::move(x)))[0]); }
  /// All results, of several inputs.
  Few<Tensor<Scalar>> infer(Values<Scalar> inputs) const {
    const FlushDenormals flush;
    return executable_->run(std::move(inputs));
  }

  /// A table of the steps: milliseconds of the fastest of `runs` runs on zeros, share of the whole, GFLOP/s, megabytes
  /// read and written, and the layers that each step holds.
  std::string report(int runs = 10) const {
    require(runs >= 1, "Plan::report: runs must be at least 1, got ", runs);
    const auto& program = executable_->program();
    std::vector<double> best(program.steps.size(), 1e30);
    for (int run = 0; run < runs; ++run) {
      std::vector<double> times(program.steps.size(), 0);
      executable_->run(zeros(), &times);
      for (std::size_t i = 0; i < times.size(); ++i) best[i] = std::min(best[i], times[i]);
    }
    return compiler::report_table(program, best);
  }
  /// The steps and the values between them, for Graphviz.
  std::string to_dot() const { return compiler::to_dot(executable_->program()); }

  /// Bytes of memory that a call holds, beside the weights and the results.
  std::size_t memory() const { return static_cast<std::size_t>(executable_->arena_size()) * sizeof(Scalar); }

 private:
  explicit Plan(std::shared_ptr<const compiler::Executable<Scalar>> executable) : executable_(std::move(executable)) {}

  Values<Scalar> zeros() const {
    const auto& program = executable_->program();
    Values<Scalar> inputs;
    for (Index id : program.inputs) {
      Value<Scalar> value = Tensor<Scalar>::zeros(program.value(id).shape);
      if (executable_->packed())
        value.sequences = std::make_shared<const Sequences>(Index{1}, program.value(id).shape[0]);
      inputs.push_back(std::move(value));
    }
    return inputs;
  }

  template <class S>
  friend Plan<S> compile(const Module<S>& net, Values<S> inputs, const CompileOptions& options);

  std::shared_ptr<const compiler::Executable<Scalar>> executable_;
};

/// Compiles a module for these inputs, of which only the shapes count (Value::of_shape). Throws ShapeError where the
/// module does not take them, ValueError for narrow weights of another type than float.
template <class Scalar>
Plan<Scalar> compile(const Module<Scalar>& net, Values<Scalar> inputs, const CompileOptions& options = {}) {
  require(options.weights == Precision::full || std::is_same_v<Scalar, float>,
          "compile: weights can be bfloat16 in networks of float only");
  for (std::size_t i = 0; i < inputs.size(); ++i)
    require<ShapeError>(inputs[i].shape().rank() >= 1 && inputs[i].shape().numel() > 0,
                        "compile: expected inputs with at least one element, got shape ", inputs[i].shape());
  const bool packed = inputs.size() > 0 && inputs[0].sequences != nullptr;
  compiler::Program<Scalar> program = compiler::optimized(record(net, std::move(inputs)));
  return Plan<Scalar>(std::make_shared<const compiler::Executable<Scalar>>(std::move(program), options, packed));
}
/// For one input.
template <class Scalar>
Plan<Scalar> compile(const Module<Scalar>& net, const Shape& shape, const CompileOptions& options = {}) {
  return compile(net, Values<Scalar>(Value<Scalar>::of_shape(shape)), options);
}

}  // namespace lamina::inline LAMINA_ABI
